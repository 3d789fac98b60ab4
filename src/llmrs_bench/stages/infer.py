"""Stage `infer`: rank or score every request with a recommender, a model of clicks or a language model."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from llmrs_bench.clicks.baselines import RATING_BASELINES, TRIVIAL
from llmrs_bench.core.artifacts import StageResult
from llmrs_bench.core.config import RATING, LanguageModelConfig, RecommenderConfig
from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.registry import CLICK_MODELS, ENGINES, RECOMMENDERS, unknown_name
from llmrs_bench.core.types import Progress
from llmrs_bench.llm.identity import find_files
from llmrs_bench.llm.model_aliases import MODEL_ALIASES
from llmrs_bench.stages.demo_lm import NAME as DEMO_LM
from llmrs_bench.stages.fuse import FUSION
from llmrs_bench.stages.import_run import FILE
from llmrs_bench.stages.infer_language_model import infer_language
from llmrs_bench.stages.infer_recommender import infer_labelled, infer_recommender, predicts_labels, spec_of
from llmrs_bench.stages.prompt import open_plan
from llmrs_bench.stages.serving import (
    TUNED,
    OpenEngine,
    check_served,
    choose_engine,
    file_name,
    is_language_model,
    label_of,
    names_own_models,
    option_files,
)
from llmrs_bench.stages.trained_models import is_exported, is_recommender, parse_options
from llmrs_bench.stages.workspace import Data

_LONGEST = 255  # bytes of a file name
_LOCAL = ("transformers", "vllm", "ray")  # engines that read the files of a model
# What else `infer` takes, beside the fields of the configuration.
_TRAINING = {"export", "seeds", "name"}
_ASKING = {
    *("from_cache", "fresh", "max_age", "prior", "check_determinism", "seeds", "dry_run"),
    *("max_seconds", "max_price", "name"),
}
# Kinds of models, and the options that each of them reads.
_READ = {
    "recommenders": {*RecommenderConfig.model_fields, *_TRAINING},
    "click models": {*RecommenderConfig.model_fields, *_TRAINING} - {"retrain"},
    "language models": {*LanguageModelConfig.model_fields, *_ASKING},
    "fusions": {"model", "options"},
    "rankings made elsewhere": {"model", "options"},
}


def infer(
    data: Data,
    config: RecommenderConfig | LanguageModelConfig,
    progress: Progress,
    export_to: Path | None = None,
    *,
    from_cache: bool = False,
    prior: bool = False,
    max_age: float | None = None,
    engines: OpenEngine | None = None,
    name: str | None = None,
) -> StageResult:
    """Make the artifact `run` of a model: rankings of the candidates of every request.

    Args:
        data: The prepared data set.
        config: The options, as `infer_config` makes them.
        progress: Shows training and answers.
        export_to: A new folder for a copy of a trained recommender.
        from_cache: Read the kept answers of a language model, and load nothing.
        prior: Ask a language model for each title without a history, too; `find_priors` finds what it says.
        max_age: Seconds: ask a language model again, and keep the answers beside the old ones, where these are older.
        engines: Keeps the engine of a language model open for the next run, and says what may be spent.
        name: What the run will be called; refused before anything is asked or trained if another one has that name.

    Raises:
        BudgetError: If what may be spent is.
        OptionError: If the model is unknown, or an option does not fit it.
        ModelError: If the model cannot be had or trained.
        EngineError: If it fails while it answers.
    """
    given = {
        "export": export_to is not None,
        "from_cache": from_cache,
        "prior": prior,
        "max_age": max_age is not None,
    }
    refuse_unread(config.model, [name for name, there in given.items() if there])
    if predicts_labels(config.model):
        return infer_labelled(data, RecommenderConfig.model_validate(config), progress, export_to, name)
    if isinstance(config, RecommenderConfig):
        _refuse_ratings(data, config.model)
        return infer_recommender(data, config, progress, export_to, name)
    if not from_cache:  # the model itself may be gone where answers are read again
        check_known(config)
    if data.whole_catalogue:
        raise OptionError(
            f"{data.place.reference} has no candidate lists, and a language model cannot rank a whole catalogue",
            hint="Prepare lists, for instance from a retriever: --candidates model:sasrec.",
        )
    return infer_language(
        data, config, progress, from_cache=from_cache, prior=prior, max_age=max_age, engines=engines, name=name
    )


def _refuse_ratings(data: Data, model: str) -> None:
    """Refuse a recommender where ratings are asked for.

    Raises:
        OptionError: If they are.
    """
    if data.task == RATING:
        raise OptionError(
            f"{model} ranks items, but {data.place.reference} asks for ratings: its scores are not ratings",
            hint=f"Choose {', '.join(RATING_BASELINES)}, or ask a language model: --template stars.",
        )


def infer_config(given: Mapping[str, Any]) -> RecommenderConfig | LanguageModelConfig:
    """Return the configuration of a recommender or of a language model, whichever `given["model"]` is.

    Args:
        given: Options by name; those that were not typed are left out.

    Raises:
        OptionError: If an option is wrong, or belongs to another kind of model.
    """
    refuse_unread(given["model"], given)
    trained = is_recommender(given["model"]) or predicts_labels(given["model"])
    kind = RecommenderConfig if trained else LanguageModelConfig
    return kind.parse_flags(given, command="infer")


def reads_titles(model: str) -> bool:
    """Return whether a model reads titles of items: language models do, and recommenders by texts; others may."""
    own = {*RECOMMENDERS.builtin, *CLICK_MODELS.builtin, *TRIVIAL} - {"bm25", "embedding"}
    return model not in own


def run_stem(config: RecommenderConfig | LanguageModelConfig) -> str:
    """Return what the name of a run begins with, up to its fingerprint."""
    if isinstance(config, RecommenderConfig):
        return config.model
    return f"{file_name(label_of(config))}-{open_plan(config.prompt).name}"


def refuse_unread(model: str, given: Iterable[str]) -> None:
    """Refuse options that the model does not read.

    Args:
        model: As typed.
        given: Names of options, with underscores.

    Raises:
        OptionError: Naming the first.
    """
    own = _kind_of(model)
    for name in given:
        if name not in _READ[own]:
            kinds = [kind for kind, read in _READ.items() if name in read]
            if not kinds:
                raise unknown_name("option of infer", name, sorted(_READ[own]))
            option = name.replace("_", "-").replace("template-options", "template-option")
            raise OptionError(
                f"--{option} applies only to {' and '.join(kinds)}; {model!r} is one of the {own}", hint="Remove it."
            )


def is_asked(model: str) -> bool:
    """Return whether a model is a language model: one that is asked prompts."""
    return _kind_of(model) == "language models"


def check_length(model: str) -> None:
    """Refuse the name of a model that no path can have: a name on a server may be longer.

    Raises:
        OptionError: If it is one.
    """
    if any(len(part.encode()) > _LONGEST for part in model.split("/")):
        raise OptionError(
            f"--model {model[:40]}... is longer than a file name may be, {_LONGEST} bytes",
            hint="Give a short name as --model, and the server's name of the model as `-O model=NAME`.",
        )


def _kind_of(model: str) -> str:
    check_length(model)
    if is_outside(model):
        return "fusions" if model == FUSION else "rankings made elsewhere"
    if predicts_labels(model):
        return "click models"
    return "recommenders" if is_recommender(model) else "language models"


def check_model(config: RecommenderConfig | LanguageModelConfig) -> None:
    """Look whether the model of a run can be had, as far as that is known without its data set and without loading it.

    Raises:
        OptionError: If the model, the engine or an option is unknown.
        ModelError: If the Hugging Face hub does not have it, or does not give it to this user.
    """
    if isinstance(config, RecommenderConfig):
        check_trained(config)
        return
    check_known(config)
    here = config.model == DEMO_LM or config.model.startswith(TUNED) or Path(config.model).exists()
    check_served(config, looked_up=config.engine != "openai" and not here)


def check_trained(config: RecommenderConfig) -> None:
    """Refuse options that a recommender or a model of clicks does not have.

    Raises:
        OptionError: If one is unknown or wrong.
    """
    if config.model not in TRIVIAL and not is_exported(config.model):
        parse_options(spec_of(config))


def check_known(config: LanguageModelConfig) -> None:
    """Refuse the name of a language model that nobody knows, and files that are not there; no engine is imported.

    Raises:
        OptionError: If the name is unknown, or an option is wrong or names a file that is not there.
        ModelError: If the model is written as a path and nothing is there, or it is not clear which files are meant.
    """
    check_length(config.model)
    if not names_own_models(config) and not is_language_model(config.model):
        if config.model in (*RECOMMENDERS.names(), *CLICK_MODELS.names(), *TRIVIAL):
            raise OptionError(
                f"{config.model!r} is not a language model",
                hint="Give a Hugging Face id, a folder, a GGUF file, or a name from `llmrs-bench list models`.",
            )
        raise unknown_name(
            "model",
            config.model,
            [*RECOMMENDERS.names(), *CLICK_MODELS.names(), *TRIVIAL, *MODEL_ALIASES, DEMO_LM, "mock", FUSION],
            hint="Any Hugging Face id (ORG/NAME), folder (./PATH) or GGUF file will do, too.",
            listing="`llmrs-bench list models`",
        )
    name = choose_engine(config)
    options: Any = ENGINES.options_of(name).parse(config.options, owner=name)
    option_files(options)
    if name in _LOCAL:
        find_files(config.model, gguf_file=getattr(options, "gguf_file", None), lora=getattr(options, "lora", None))
    elif (tokenizer := getattr(options, "tokenizer", None)) is not None:
        find_files(str(tokenizer))


def is_outside(model: str) -> bool:
    """Return whether `model` is a file with a ranking, or a fusion of runs."""
    return model == FUSION or model.startswith(FILE)

"""Stage `infer`: rank every request with a recommender, a language model, a file from elsewhere, or joined runs."""

from collections.abc import Collection
from pathlib import Path

from llmrs_bench.core.artifacts import StageResult
from llmrs_bench.core.config import InferConfig
from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.registry import RECOMMENDERS, unknown_name
from llmrs_bench.core.types import Progress
from llmrs_bench.llm.model_aliases import MODEL_ALIASES
from llmrs_bench.stages.demo_lm import NAME as DEMO_LM
from llmrs_bench.stages.fuse import FUSION, infer_fusion
from llmrs_bench.stages.import_run import FILE, infer_file
from llmrs_bench.stages.infer_language_model import infer_language
from llmrs_bench.stages.infer_recommender import infer_recommender, is_recommender
from llmrs_bench.stages.serving import check_served, is_language_model, names_own_models
from llmrs_bench.stages.workspace import Data


def infer(
    data: Data,
    config: InferConfig,
    progress: Progress,
    export_to: Path | None = None,
    *,
    from_cache: bool = False,
    prior: bool = False,
) -> StageResult:
    """Make the artifact `run` of a model: rankings of the candidates of every request.

    Args:
        data: The prepared data set.
        config: The options.
        progress: Shows training and answers.
        export_to: A new folder for a copy of a trained recommender.
        from_cache: Read the kept answers of a language model, and load nothing.
        prior: Ask a language model for each title without a history, too; `find_priors` finds what it says.

    Raises:
        OptionError: If the model is unknown, or an option does not fit it.
        DataError: If a ranking that was made elsewhere cannot be read, or does not fit the requests.
        IncomparableError: If runs to be joined are of other requests.
        ModelError: If the model cannot be had or trained.
        EngineError: If it fails while it answers.
    """
    asked = [name for name, given in (("from-cache", from_cache), ("prior", prior)) if given]
    if is_outside(config.model):
        read = ("seed",) if config.model == FUSION else ()
        refuse_idle(config, read=read, export_to=export_to, asked=asked)
        return infer_fusion(data, config, progress) if config.model == FUSION else infer_file(data, config)
    if is_recommender(config.model):
        if asked:
            raise OptionError(
                f"--{asked[0]} means nothing to the recommender {config.model!r}",
                hint="It is about the answers of a language model: leave it out.",
            )
        return infer_recommender(data, config, progress, export_to)
    if not from_cache:  # the model itself may be gone where answers are read again
        _check_known(config)
    _refuse_recommender_options(config, export_to)
    if data.whole_catalogue:
        raise OptionError(
            f"{data.place.reference} has no candidate lists, and a language model cannot rank a whole catalogue",
            hint="Prepare lists, for instance from a retriever: --candidates model:sasrec.",
        )
    return infer_language(data, config, progress, from_cache=from_cache, prior=prior)


def check_model(config: InferConfig) -> None:
    """Look whether the model of a run can be had, as far as that is known without its data set and without loading it.

    Raises:
        OptionError: If the model, the engine or an option is unknown.
        ModelError: If the Hugging Face hub does not have it, or does not give it to this user.
    """
    if is_outside(config.model) or is_recommender(config.model):
        return
    _check_known(config)
    if config.model != DEMO_LM and config.engine != "openai" and not Path(config.model).exists():
        check_served(config)


def _check_known(config: InferConfig) -> None:
    if not names_own_models(config) and not is_language_model(config.model):
        raise unknown_name(
            "model",
            config.model,
            [*RECOMMENDERS.names(), *MODEL_ALIASES, DEMO_LM, "mock", FUSION],
            hint="Any Hugging Face id (ORG/NAME), folder (./PATH) or GGUF file will do, too.",
        )


def _refuse_recommender_options(config: InferConfig, export_to: Path | None) -> None:
    defaults = InferConfig(model=config.model)
    given = [name for name in ("train_fraction", "max_users") if getattr(config, name) != getattr(defaults, name)]
    given += ["export"] if export_to is not None else []
    if "max_history" in config.options:
        raise OptionError(
            f"max_history means nothing to the language model {config.model!r}",
            hint="--history is the number of items that its prompts show.",
        )
    if given:
        raise OptionError(
            f"--{given[0].replace('_', '-')} means nothing to the language model {config.model!r}",
            hint="It is not trained here: leave the option out.",
        )


def is_outside(model: str) -> bool:
    """Tell whether `model` is a file with a ranking, or a fusion of runs."""
    return model == FUSION or model.startswith(FILE)


def refuse_idle(config: InferConfig, *, read: Collection[str], export_to: Path | None, asked: Collection[str]) -> None:
    """Refuse options of `infer` that the model does not read.

    Args:
        config: The options.
        read: Names of those that are read, beside `model` and `options`.
        export_to: Where a trained model should be copied to.
        asked: Names of options for language models that were given.

    Raises:
        OptionError: Naming the first.
    """
    defaults = InferConfig(model=config.model)
    names = [name for name in InferConfig.model_fields if name not in ("model", "options", *read)]
    given = [name for name in names if getattr(config, name) != getattr(defaults, name)]
    given += ["export"] if export_to is not None else []
    given += asked
    if given:
        option = given[0].replace("_", "-").replace("template-options", "template-option")
        raise OptionError(f"--{option} means nothing to --model {config.model}", hint="Leave it out.")

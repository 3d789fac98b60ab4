"""The run of a model of clicks, or of a trivial row: for every request log-odds of a like, or a predicted rating."""

import time
from pathlib import Path
from typing import Any

import polars as pl

from llmrs_bench.clicks.base import ClickCorpus
from llmrs_bench.clicks.baselines import BASELINES_OF, TRIVIAL, baseline, rating_baseline
from llmrs_bench.core.artifacts import Draft, Recipe, StageResult, get_or_create
from llmrs_bench.core.config import CLICK, RATING, RecommenderConfig
from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.schemas import RANKINGS
from llmrs_bench.core.types import Progress
from llmrs_bench.data.training_part import WHOLE, TrainingPart
from llmrs_bench.ranking import TIE_RULE
from llmrs_bench.stages.infer_recommender import future, run_name, spec_of, train_part, typed_options
from llmrs_bench.stages.trained_models import (
    RecommenderSpec,
    TrainingData,
    export,
    fitted,
    is_click_model,
    is_exported,
    lesson,
    settings,
)
from llmrs_bench.stages.workspace import Data, check_name_of

# Bumped when what a model of clicks learns from the same data changes: older artifacts are then recomputed.
FORMAT = "1"


def infer_labelled(
    data: Data,
    config: RecommenderConfig,
    progress: Progress,
    export_to: Path | None = None,
    name: str | None = None,
) -> StageResult:
    """Make the run of a model of clicks, or of one of the trivial rows.

    Args:
        data: The prepared data set, of the task `click`; trivial rows of ratings also take `rating`.
        config: The options.
        progress: Shows the training.
        export_to: A new folder for a copy of the trained model.
        name: What it will be called; refused before anything is trained if another run has that name.

    Raises:
        OptionError: If an option is unknown, the name is taken, or the model does not do the task of the data set.
        ModelError: If the model cannot be fitted.
    """
    _require_task(data, config.model)
    if trivial := config.model in TRIVIAL:
        _refuse_options(config)
    spec = spec_of(config)
    recipe = Recipe(
        "infer",
        run_name(config),
        _trivial_settings(spec) if trivial else settings(spec),
        {table: data.artifact.digest(table) for table in ("samples", "items", "requests", "outcomes")},
        {"format": FORMAT, "tie_rule": TIE_RULE, "tie_seed": str(data.tie_seed)},
    )

    def fill(draft: Draft) -> None:
        asked, taught = data.labelled_rows(), labelled_training_data(data)
        if trivial:
            started = time.perf_counter()
            learned = lesson(spec, taught)
            assert isinstance(learned, ClickCorpus)
            made = rating_baseline if data.task == RATING else baseline
            scores, training = made(config.model, learned.samples, asked)["score"], 0.0
            draft.facts.update(log_odds=config.model == "logistic", training={}, typed=spec.part.typed, warnings=[])
        else:
            found = fitted(spec, taught, progress)
            started = time.perf_counter()
            scores, training = pl.Series(found.model.score(asked, taught.corpus.items)), found.seconds
            draft.facts.update(
                log_odds=True,
                training=found.facts,
                history=found.options.model_dump().get("max_history"),
                typed=typed_options(config),
                warnings=[] if is_exported(config.model) else _unseen(spec, taught, asked),
            )
        part = None if is_exported(config.model) else train_part(spec, taught)
        draft.write("rankings", asked.select("request_id", "item_id", rank=1, score=scores).cast(RANKINGS))
        scoring = time.perf_counter() - started
        draft.facts.update(
            kind="baseline" if trivial else "click model",
            requests=asked.height,
            scoring_seconds=round(scoring, 3),
            seconds=round(training + scoring, 3),
            seed=config.seed,
            fit_on="train",
            train_part=part,
            timeline=future(data, spec, taught, data.artifact.table("requests")),
        )

    check_name_of(recipe.place(data.place.runs), name)
    made = get_or_create(recipe.place(data.place.runs), recipe, fill)
    if export_to is not None:
        export(fitted(spec, labelled_training_data(data), progress), export_to)
    return made


def _require_task(data: Data, model: str) -> None:
    """Refuse a model that does not predict the labels of a data set.

    Raises:
        OptionError: Saying which models do.
    """
    if model in BASELINES_OF.get(data.task, ()) or (data.task == CLICK and is_click_model(model)):
        return
    does = "predicts ratings" if model in BASELINES_OF[RATING] and model not in BASELINES_OF[CLICK] else ""
    hints = {
        "ranking": "Prepare labelled requests: llmrs-bench prepare --task click. Or rank: --model sasrec.",
        CLICK: "Prepare it with --task rating, or choose a model of clicks, such as --model logistic.",
        RATING: f"Choose {', '.join(BASELINES_OF[RATING])}, or ask a language model: --template stars.",
    }
    asks = {"ranking": "asks for rankings", CLICK: "asks what users like", RATING: "asks for ratings"}[data.task]
    raise OptionError(
        f"{model} {does or 'says whether a user will like an item'}, and {data.place.reference} {asks}",
        hint=hints[data.task],
    )


def predicts_labels(name: str) -> bool:
    """Return whether `name` is that of a trivial row or of a model of clicks, or a folder with an exported one."""
    return name in TRIVIAL or is_click_model(name)


def labelled_training_data(data: Data) -> TrainingData:
    """Return what models of labelled rows may learn from a prepared data set, and where they are kept."""
    corpus = ClickCorpus(data.artifact.table("samples"), data.artifact.table("items"))
    digests = {table: data.artifact.digest(table) for table in ("samples", "items")}
    return TrainingData(corpus, digests, data.place.models)


def _trivial_settings(spec: RecommenderSpec) -> dict[str, Any]:
    """Return what decides the scores of a trivial row: nothing of the part where that is the whole."""
    part = {**spec.part.identity, "seed": spec.seed} if spec.part != WHOLE else {}
    return {"model": spec.model, **part}


def _refuse_options(config: RecommenderConfig) -> None:
    part = TrainingPart.of(config) != WHOLE
    read = {"model", *TrainingPart.__dataclass_fields__, *(["seed"] if part else [])}
    for name in config.model_dump(exclude=read, exclude_defaults=True):
        raise OptionError(
            f"--{name.replace('options', 'option').replace('_', '-')} has no effect on {config.model}, "
            f"which is a formula over {'its' if part else 'all'} training rows",
            hint="Remove it.",
        )


def _unseen(spec: RecommenderSpec, taught: TrainingData, asked: pl.DataFrame) -> list[str]:
    """Say how many test rows are of users, and of items, without a row to learn from."""
    corpus = lesson(spec, taught)
    assert isinstance(corpus, ClickCorpus)
    learned = corpus.samples.filter(pl.col("part") == "train")
    test = asked.filter(pl.col("part") == "test")
    counts = {word: test.join(learned, on=f"{word}_id", how="anti").height for word in ("user", "item")}
    told = [f"in {count:,} the {word}" for word, count in counts.items() if count]
    return (
        [f"of {test.height:,} test rows {' and '.join(told)} is in no row that {spec.model} learns from"]
        if told
        else []
    )

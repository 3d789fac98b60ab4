"""Models that are fitted on a data set, for rankings and for clicks: what they learn from, kept, exported, loaded."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from llmrs_bench.clicks.base import ClickCorpus
from llmrs_bench.core.artifacts import Draft, Recipe, get_or_create
from llmrs_bench.core.config import CLICK, Options
from llmrs_bench.core.errors import ModelError, OptionError, TooLittleError, is_damage
from llmrs_bench.core.registry import CLICK_MODELS, RECOMMENDERS, Registry
from llmrs_bench.core.types import Progress
from llmrs_bench.data.time_split import events_before
from llmrs_bench.data.training_part import WHOLE, TrainingPart, labelled_samples, sampled_events
from llmrs_bench.recommenders.base import Corpus, TrainContext
from llmrs_bench.recommenders.model_store import damaged, read_facts
from llmrs_bench.stages.workspace import Data

# Bumped when what a recommender learns from the same data changes: older artifacts are then recomputed.
FORMAT = "2"


@dataclass(frozen=True)
class RecommenderSpec:
    """A recommender as asked for: its name or the folder of an exported one, options, and what it may learn from."""

    model: str
    options: Mapping[str, str]
    seed: int = 0
    device: str = "auto"
    part: TrainingPart = WHOLE


@dataclass(frozen=True)
class TrainingData:
    """A corpus, the digests of its tables, and the folder where models fitted on it are kept.

    `labelled` are the rows of which `--train-samples` takes some, where these are not the events of the corpus; of
    rankings a sample shows the newest `history` events before its target.
    """

    corpus: Corpus | ClickCorpus
    digests: Mapping[str, str]
    models: Path
    labelled: pl.DataFrame | None = None
    history: int = 0


@dataclass(frozen=True)
class FittedRecommender:
    """A model that can score, its parsed options, facts about its training, and where it is kept, if it is."""

    model: Any
    options: Options
    facts: dict[str, Any]
    seconds: float = 0.0
    folder: Path | None = None


def is_recommender(name: str) -> bool:
    """Return whether `name` is a recommender's, or a folder with an exported one."""
    return name in RECOMMENDERS or (is_exported(name) and _exported_registry(name) is RECOMMENDERS)


def is_click_model(name: str) -> bool:
    """Return whether `name` is that of a model of clicks, or a folder with an exported one."""
    return _registry(name) is CLICK_MODELS or (is_exported(name) and _exported_registry(name) is CLICK_MODELS)


def is_exported(name: str) -> bool:
    """Return whether `name` is a folder with an exported model."""
    known = name in RECOMMENDERS or name in CLICK_MODELS
    return not known and (Path(name) / "model.json").is_file()


def _registry(model: str) -> Registry:
    """Return the kind of models that has one of this name; that of recommenders where none has."""
    return CLICK_MODELS if model not in RECOMMENDERS and model in CLICK_MODELS else RECOMMENDERS


def _exported_registry(folder: str) -> Registry:
    """Return the kind of models of an exported one; that of recommenders where its file does not say."""
    try:
        return _registry(str(read_facts(Path(folder)).get("kind")))
    except ModelError:
        return RECOMMENDERS


def settings(spec: RecommenderSpec, history: int = 0) -> dict[str, Any]:
    """Return everything about `spec` that decides what is learned, for a fingerprint.

    Args:
        spec: The model.
        history: How many events a sample of rankings shows before its target.

    Raises:
        OptionError: If an option is unknown, or is given for a model that is trained already.
    """
    if is_exported(spec.model):
        return {"model": Path(spec.model).resolve().name, "weights": _exported_facts(spec)["sha256"]}
    options = parse_options(spec)
    _refuse_less(spec, options)
    return {
        "model": spec.model,
        "seed": spec.seed,
        "device": spec.device,
        "options": options.model_dump(mode="json"),
        **spec.part.identity,
        **({"sample_history": history} if spec.part.train_samples is not None and history else {}),
        **_contents(options),
        **_from_package(spec.model),
    }


def _from_package(model: str) -> dict[str, Any]:
    """Return the version of the package that brings a recommender, where another one does."""
    package = _registry(model).package(model)
    return {"package": package} if package else {}


def _contents(options: Options) -> dict[str, str]:
    """Return what identifies the pretrained model that `options` name, if they name one: its files, not its path."""
    source, revision = getattr(options, "model", None), getattr(options, "revision", None)
    if not isinstance(source, str):
        return {}
    from llmrs_bench.llm.identity import identify
    from llmrs_bench.llm.model_aliases import ModelSpec

    return identify(ModelSpec(source, source, chat=False, revision=revision))


def _refuse_less(spec: RecommenderSpec, options: Options) -> None:
    for name in spec.part.typed:
        if not learns(spec):
            raise OptionError(
                f"{name.replace('_', '-')} has no effect on {spec.model}: it does not learn from interactions",
                hint="Leave it out.",
            )
    if spec.part.train_samples is not None and getattr(options, "fit_on", "train") != "train":
        raise OptionError(
            "--train-samples takes events of the part train, but -O fit_on=train+valid adds others",
            hint="Leave out -O fit_on, or use --train-fraction instead.",
        )


def learns(spec: RecommenderSpec) -> bool:
    """Return whether a model learns here: it is not an exported one, and fewer events would make another of it."""
    return not is_exported(spec.model) and bool(_registry(spec.model).load(spec.model).learns)


def parse_options(spec: RecommenderSpec) -> Options:
    """Return the recommender's own options.

    Raises:
        OptionError: If one is unknown or wrong.
    """
    parsed: Options = _registry(spec.model).options_of(spec.model).parse(spec.options, owner=spec.model)
    return parsed


def fitted(spec: RecommenderSpec, training_data: TrainingData, progress: Progress) -> FittedRecommender:
    """Return the fitted model; one that can be saved is fitted once.

    Raises:
        ModelError: If it cannot be fitted, or was exported from other data.
    """
    if is_exported(spec.model):
        return _exported(spec, training_data)
    kind: Any = _registry(spec.model).load(spec.model)
    options = parse_options(spec)
    if not hasattr(kind, "load"):
        model = kind(options, seed=spec.seed, device=spec.device)
        return FittedRecommender(model, options, _fit(model, spec, training_data, TrainContext(progress)))
    recipe = Recipe(
        "infer", spec.model, settings(spec, training_data.history), training_data.digests, {"format": FORMAT}
    )
    place = recipe.place(training_data.models)
    checkpoint = place.with_name(f"{place.name}.training")

    def fill(draft: Draft) -> None:
        made = kind(options, seed=spec.seed, device=spec.device)
        draft.facts.update(_fit(made, spec, training_data, TrainContext(progress, checkpoint)))
        made.save(draft.folder("model"))
        (draft.path / "model" / "corpus.json").write_text(json.dumps(dict(training_data.digests)) + "\n", "utf-8")

    trained = get_or_create(place, recipe, fill).artifact
    for left in place.parent.glob(f"{checkpoint.name}.*"):
        left.unlink(missing_ok=True)
    folder = trained.path / "model"
    model = kind.load(folder, device=spec.device)
    seconds = trained.manifest.seconds + trained.facts.get("seconds_before", 0.0)  # of processes that were killed
    return FittedRecommender(model, options, trained.facts, seconds, folder)


def _fit(model: Any, spec: RecommenderSpec, training_data: TrainingData, context: TrainContext) -> dict[str, Any]:
    """Fit a model, and return the facts about its training.

    Raises:
        ModelError: If it cannot be fitted.
        TooLittleError: If there is too little to learn from; where a part was asked for, that is named as the cause.
    """
    corpus, whole = lesson(spec, training_data), training_data.corpus
    try:
        return dict(model.fit(corpus, context))
    except TooLittleError as error:
        if spec.part == WHOLE or isinstance(corpus, ClickCorpus) or isinstance(whole, ClickCorpus):
            raise
        typed = spec.part.typed
        words = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in typed.items())
        events, of = corpus.interactions.height, whole.interactions.height
        raise TooLittleError(
            f"{words} leaves {events:,} of {of:,} training and validation events: {error.message}",
            hint="Take a larger part"
            + ("." if spec.part.train_by == "users" else ", or whole users: --train-by users."),
        ) from error


def export(found: FittedRecommender, target: Path) -> None:
    """Copy a trained model to the folder `target`, from which `--model` takes it.

    Raises:
        OptionError: If the folder exists, or the model has nothing to keep.
    """
    if found.folder is None:
        raise OptionError("this model has no trained state to export", hint="Leave out --export.")
    if target.exists():
        raise OptionError(f"{target} exists already", hint="Export to a new folder.")
    shutil.copytree(found.folder, target)


def lesson(spec: RecommenderSpec, taught: TrainingData) -> Corpus | ClickCorpus:
    """Return the part of a corpus to learn from; of samples of clicks, those of validation stay as they are.

    Raises:
        DataError: If there are fewer samples than asked for, or events without times are to be taken in time.
    """
    corpus, samples = taught.corpus, spec.part.train_samples
    if isinstance(corpus, ClickCorpus):
        train, valid = (corpus.samples.filter(pl.col("part") == part) for part in ("train", "valid"))
        taken = spec.part.take(train, spec.seed) if samples is None else labelled_samples(train, samples, spec.seed)
        return ClickCorpus(pl.concat([taken, valid]), corpus.items)
    events = corpus.interactions
    if samples is None:
        return Corpus(spec.part.take(events, spec.seed), corpus.items)
    if taught.labelled is None:
        return Corpus(sampled_events(events, samples, spec.seed, history=taught.history), corpus.items)
    rows = labelled_samples(taught.labelled, samples, spec.seed)
    chosen = rows.select("user_id", "item_id", "part", timestamp="cutoff")
    chosen = pl.concat([chosen, events.filter(pl.col("part") == "valid").select(chosen.columns)])
    return Corpus(events.join(chosen, on=chosen.columns, how="semi", maintain_order="left"), corpus.items)


def _exported(spec: RecommenderSpec, training_data: TrainingData) -> FittedRecommender:
    facts = _exported_facts(spec)
    folder = Path(spec.model)
    try:
        learned = json.loads((folder / "corpus.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, OSError) and not is_damage(error):
            raise
        raise ModelError(
            f"{folder} does not say what it was trained on: {error}", hint="Export the model again with --export."
        ) from error
    if learned != dict(training_data.digests):
        raise ModelError(
            f"the model in {folder} was trained on other data, or on another split of them, than this data set",
            hint="It may have learned from test events. Train on this data set: --model " + facts["kind"],
        )
    kind: Any = _registry(facts["kind"]).load(facts["kind"])
    model = kind.load(folder, device=spec.device)
    return FittedRecommender(model, model.options, {"loaded_from": str(folder), "kind": facts["kind"]})


def _exported_facts(spec: RecommenderSpec) -> dict[str, Any]:
    if typed := [*(name for name in ("options", "seed") if getattr(spec, name)), *spec.part.typed]:
        raise OptionError(
            f"{typed[0].replace('_', '-')} has no effect on the model in {spec.model}: it is trained already",
            hint="Leave it out, or train one: --model NAME.",
        )
    facts = read_facts(Path(spec.model))
    _registry(str(facts.get("kind"))).check(str(facts.get("kind")))
    if "sha256" not in facts:
        raise damaged(Path(spec.model), str(facts["kind"]), "model.json names no digest of the weights")
    return facts


def training_data(data: Data) -> TrainingData:
    """Return what recommenders may learn from a prepared data set, and where they are kept.

    Of the task `click` they learn from what was liked alone: to them an event is a choice.
    """
    interactions, samples = data.artifact.table("interactions"), None
    if data.task == CLICK:
        samples = data.artifact.table("samples")
        keys = ["user_id", "item_id", "timestamp", "part"]
        liked = samples.filter(pl.col("label") > 0).select("user_id", "item_id", "part", timestamp="cutoff")
        interactions = interactions.join(liked, on=keys, how="semi", maintain_order="left")
    corpus = Corpus(interactions, data.artifact.table("items"))
    digests = {table: data.artifact.digest(table) for table in learned_tables(data)}
    return TrainingData(corpus, digests, data.place.models, samples, sample_history(data))


def sample_history(data: Data) -> int:
    """Return how many events a sample shows before its target; of clicks none is learned from."""
    return 0 if data.task == CLICK else data.default_history


def learned_tables(data: Data) -> tuple[str, ...]:
    """Return the tables that recommenders learn from."""
    return ("interactions", "items", "samples") if data.task == CLICK else ("interactions", "items")


def data_before(data: Data, window: int) -> TrainingData:
    """Return what recommenders may learn from that are fitted right before a window: all events up to its beginning.

    Before the first window that is what `training_data` returns: a model that was fitted on it is the same.
    """
    whole, config = training_data(data), data.artifact.manifest.config
    assert isinstance(whole.corpus, Corpus)
    events = events_before(
        whole.corpus.interactions,
        data.artifact.table("later_events"),
        window,
        validation=config.get("validation", "last-item"),
        cut=config.get("cut", "0.9"),
    )
    digests = {**whole.digests, **(later_digests(data, window, window) if window > 1 else {})}
    return replace(whole, corpus=Corpus(events, whole.corpus.items), digests=digests)


def later_digests(data: Data, last: int, first: int = 2) -> dict[str, str]:
    """Return the inputs of models fitted before some windows, beside those of one fitted at the cut."""
    digest = data.artifact.digest("later_events")
    return {f"events before window {window}": digest for window in range(first, last + 1)}

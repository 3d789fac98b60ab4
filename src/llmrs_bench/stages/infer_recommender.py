"""The run of a recommender: fitted once for all candidate lists of the same data, kept, exported, loaded by path.

Models of clicks are fitted, kept and loaded here in the same way; `infer_clicks` makes their runs.
"""

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from llmrs_bench.clicks.base import ClickCorpus
from llmrs_bench.core.artifacts import Draft, Recipe, StageResult, get_or_create
from llmrs_bench.core.config import CLICK, DEPTH, Options, RecommenderConfig
from llmrs_bench.core.errors import ModelError, OptionError
from llmrs_bench.core.registry import CLICK_MODELS, RECOMMENDERS, Registry
from llmrs_bench.core.schemas import RANKINGS
from llmrs_bench.core.types import Progress
from llmrs_bench.data.split import later_shares
from llmrs_bench.data.training_part import WHOLE, TrainingPart, labelled_samples, sampled_events
from llmrs_bench.llm.identity import identify
from llmrs_bench.llm.model_aliases import ModelSpec
from llmrs_bench.ranking import TIE_RULE, rank_best, rank_candidates
from llmrs_bench.recommenders.base import Corpus, Forgetful, Recommender, TrainContext, best_items, score_candidates
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
    return name in RECOMMENDERS.names() or (is_exported(name) and _exported_registry(name) is RECOMMENDERS)


def is_click_model(name: str) -> bool:
    """Return whether `name` is that of a model of clicks, or a folder with an exported one."""
    return _registry(name) is CLICK_MODELS or (is_exported(name) and _exported_registry(name) is CLICK_MODELS)


def is_exported(name: str) -> bool:
    """Return whether `name` is a folder with an exported model."""
    known = name in RECOMMENDERS.names() or name in CLICK_MODELS.names()
    return not known and (Path(name) / "model.json").is_file()


def _registry(model: str) -> Registry:
    """Return the kind of models that has one of this name; that of recommenders where none has."""
    return CLICK_MODELS if model not in RECOMMENDERS.names() and model in CLICK_MODELS.names() else RECOMMENDERS


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
    return identify(ModelSpec(source, source, chat=False, revision=revision)) if isinstance(source, str) else {}


def _refuse_less(spec: RecommenderSpec, options: Options) -> None:
    for name in spec.part.typed:
        if not _learns(spec):
            raise OptionError(
                f"{name.replace('_', '-')} has no effect on {spec.model}: it does not learn from interactions",
                hint="Leave it out.",
            )
    if spec.part.train_samples is not None and getattr(options, "fit_on", "train") != "train":
        raise OptionError(
            "samples are events of the part train, and -O fit_on=train+valid learns from others as well",
            hint="Leave out -O fit_on, or take a share: --train-fraction.",
        )


def _learns(spec: RecommenderSpec) -> bool:
    """Return whether a model learns here: it is not an exported one, and fewer events would make another of it."""
    return not is_exported(spec.model) and bool(_registry(spec.model).load(spec.model).learns)


def parse_options(spec: RecommenderSpec) -> Options:
    """Return the recommender's own options.

    Raises:
        OptionError: If one is unknown or wrong.
    """
    parsed: Options = _registry(spec.model).load(spec.model).Options.parse(spec.options, owner=spec.model)
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
        return FittedRecommender(model, options, dict(model.fit(lesson(spec, training_data), TrainContext(progress))))
    recipe = Recipe(
        "infer", spec.model, settings(spec, training_data.history), training_data.digests, {"format": FORMAT}
    )
    place = recipe.place(training_data.models)
    checkpoint = place.with_name(f"{place.name}.training")

    def fill(draft: Draft) -> None:
        made = kind(options, seed=spec.seed, device=spec.device)
        draft.facts.update(made.fit(lesson(spec, training_data), TrainContext(progress, checkpoint)))
        made.save(draft.folder("model"))
        (draft.path / "model" / "corpus.json").write_text(json.dumps(dict(training_data.digests)) + "\n", "utf-8")

    trained = get_or_create(place, recipe, fill).artifact
    for left in place.parent.glob(f"{checkpoint.name}.*"):
        left.unlink(missing_ok=True)
    folder = trained.path / "model"
    model = kind.load(folder, device=spec.device)
    seconds = trained.manifest.seconds + trained.facts.get("seconds_before", 0.0)  # of processes that were killed
    return FittedRecommender(model, options, trained.facts, seconds, folder)


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


def train_part(spec: RecommenderSpec, taught: TrainingData) -> dict[str, Any]:
    """Return how many events of the part train a model learns from, and of how many users, each out of how many.

    `until` is the time of the latest where they are the earliest, and `tied` how many more are of that second.
    """
    learned, whole = (_train(corpus) for corpus in (lesson(spec, taught), taught.corpus))
    time = "timestamp" if "timestamp" in whole.columns else "cutoff"
    until = learned[time].max() if spec.part.train_by == "time" else None
    return {
        "events": learned.height,
        "of_events": whole.height,
        "users": learned["user_id"].n_unique(),
        "of_users": whole["user_id"].n_unique(),
        "until": until,
        "tied": 0
        if until is None
        else whole.filter(pl.col(time) == until).height - learned.filter(pl.col(time) == until).height,
        "samples": spec.part.train_samples,
    }


def _unseen_items(spec: RecommenderSpec, taught: TrainingData, asked: pl.DataFrame) -> dict[str, int]:
    """Return how many items of the candidate lists no training event is of, and of how many, where a part is learned.

    A whole catalogue has no lists, and nothing is counted.
    """
    if spec.part == WHOLE:
        return {}
    listed = asked.select(item_id="candidates").explode("item_id").drop_nulls().unique()
    unseen = listed.join(_train(lesson(spec, taught)), on="item_id", how="anti")
    return {"unseen_items": unseen.height, "of_items": listed.height}


def future(data: Data, spec: RecommenderSpec, taught: TrainingData) -> Any:
    """Return what is later than requests, of what a model learns from; None where events have no times."""
    whole = data.artifact.facts.get("timeline")
    if whole is None or spec.part == WHOLE:
        return whole
    corpus = lesson(spec, taught)
    events = corpus.samples if isinstance(corpus, ClickCorpus) else corpus.interactions
    cutoffs = data.artifact.table("requests")["cutoff"]
    later = float(later_shares(events["cutoff" if "cutoff" in events.columns else "timestamp"], cutoffs).mean())
    said = f"{100 * later:.1f} %" if later else "none"
    return {"later": later, "words": f"leaks: of the events learned from {said} are later than a request"}


def _train(corpus: Corpus | ClickCorpus) -> pl.DataFrame:
    rows = corpus.samples if isinstance(corpus, ClickCorpus) else corpus.interactions
    return rows.filter(pl.col("part") == "train")


def _unknown_warnings(
    model: Recommender, spec: RecommenderSpec, taught: TrainingData, asked: pl.DataFrame, task: str
) -> list[str]:
    """Say for how many requests the model knows less of the user than a reader of the board may think."""
    if not isinstance(model, Forgetful):
        return []
    less = spec.part != WHOLE and (spec.part.train_by != "each-user" or spec.part.max_users is not None)
    share = less and spec.part.train_samples is None
    instead = "; --train-by each-user learns from a share of every user's interactions" if share else ""
    one_each = task != CLICK and asked["user_id"].is_unique().all()
    of_all = f"of {asked.height:,} {'test users' if one_each else 'requests'}"
    if unknown := model.unknown(asked):
        mixed = ": AUC then compares scores of two kinds" if task == CLICK and unknown < asked.height else ""
        words = f"{spec.model} knows nothing of {unknown:,} {of_all}, and ranks for them {model.fallback}"
        return [f"{words}{mixed}{instead}"]
    left = _train(lesson(spec, taught)) if less else asked
    unseen = asked.join(left, on="user_id", how="anti").height
    words = f"{spec.model} did not learn from {unseen:,} {of_all}, and ranks for them by their history alone{instead}"
    return [words] if unseen else []


def _exported(spec: RecommenderSpec, training_data: TrainingData) -> FittedRecommender:
    facts = _exported_facts(spec)
    folder = Path(spec.model)
    try:
        learned = json.loads((folder / "corpus.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{folder} does not say what it was trained on: {error}", hint="Export the model again with --export."
        ) from error
    if learned != dict(training_data.digests):
        raise ModelError(
            f"the model in {folder} was trained on other data, or on another split of them, than this data set",
            hint="Its training may hold what is tested here. Train on this data set: --model " + facts["kind"],
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


def infer_recommender(
    data: Data, config: RecommenderConfig, progress: Progress, export_to: Path | None = None
) -> StageResult:
    """Make the run of a recommender.

    Args:
        data: The prepared data set.
        config: The options.
        progress: Shows the training.
        export_to: A new folder for a copy of the trained model.

    Raises:
        OptionError: If an option is unknown.
        ModelError: If the recommender cannot be fitted.
    """
    spec = spec_of(config)
    recipe = Recipe(
        "infer",
        run_name(config),
        settings(spec, sample_history(data)),
        {table: data.artifact.digest(table) for table in (*_learned(data), "requests", *_told(data))},
        {"format": FORMAT, "tie_rule": TIE_RULE, "tie_seed": str(data.tie_seed)},
    )

    def fill(draft: Draft) -> None:
        taught = training_data(data)
        found = fitted(spec, taught, progress)
        requests = asked_requests(data)
        started = time.perf_counter()
        draft.write("rankings", _rankings(data, found.model, requests))
        scoring = time.perf_counter() - started
        draft.facts.update(
            kind="recommender",
            requests=requests.height,
            training=found.facts,
            scoring_seconds=round(scoring, 3),
            seconds=round(found.seconds + scoring, 3),
            seed=config.seed,
            history=found.options.model_dump().get("max_history"),
            fit_on=found.options.model_dump().get("fit_on"),
            typed=typed_options(config),
            train_part={**train_part(spec, taught), **_unseen_items(spec, taught, requests)} if _learns(spec) else None,
            warnings=_unknown_warnings(found.model, spec, taught, requests, data.task),
            timeline=future(data, spec, taught) if getattr(found.model, "learns", False) else None,
        )

    made = get_or_create(recipe.place(data.place.runs), recipe, fill)
    if export_to is not None:
        export(fitted(spec, training_data(data), progress), export_to)
    return made


def spec_of(config: RecommenderConfig) -> RecommenderSpec:
    """Return the model that a run is of."""
    part = TrainingPart.of(config)
    return RecommenderSpec(config.model, config.options, seed=config.seed, device=config.device, part=part)


def sample_history(data: Data) -> int:
    """Return how many events a sample shows before its target; of clicks none is learned from."""
    return 0 if data.task == CLICK else data.default_history


def run_name(config: RecommenderConfig) -> str:
    """Return the name of a run: the model's, or that of its folder."""
    return Path(config.model).resolve().name if "/" in config.model else config.model


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
    digests = {table: data.artifact.digest(table) for table in _learned(data)}
    return TrainingData(corpus, digests, data.place.models, samples, sample_history(data))


def asked_requests(data: Data) -> pl.DataFrame:
    """Return the table `requests` as recommenders are asked it: of the task `click`, histories of liked items alone."""
    requests = data.artifact.table("requests")
    if data.task != CLICK:
        return requests
    told = data.click_rows().select("request_id", "history", "liked").explode("history", "liked")
    liked = told.filter(pl.col("liked")).group_by("request_id", maintain_order=True).agg(history="history")
    joined = requests.drop("history").join(liked, on="request_id", how="left", maintain_order="left")
    return joined.with_columns(pl.col("history").fill_null([])).select(requests.columns)


def _learned(data: Data) -> tuple[str, ...]:
    """Return the tables that recommenders learn from."""
    return ("interactions", "items", "samples") if data.task == CLICK else ("interactions", "items")


def _told(data: Data) -> tuple[str, ...]:
    """Return the tables that say what they are asked, beside `requests`."""
    return ("outcomes",) if data.task == CLICK else ()


def _rankings(data: Data, model: Recommender, requests: pl.DataFrame) -> pl.DataFrame:
    if not data.whole_catalogue:
        return rank_candidates(requests, score_candidates(model, requests), seed=data.tie_seed)
    catalogue = data.artifact.table("items")["item_id"]
    best = best_items(model, requests, catalogue, depth=DEPTH, include_seen=data.include_seen)
    ranked = [rank_best(part, depth=DEPTH, seed=data.tie_seed) for part in best]
    return pl.concat([pl.DataFrame(schema=RANKINGS), *ranked])


def typed_options(config: RecommenderConfig) -> dict[str, Any]:
    """Return what was typed for this model, for the board to show."""
    return {**config.options, **TrainingPart.of(config).typed}

"""The run of a recommender: rankings of one model, or of one for each window of time, or labels of requests.

Labels are log-odds of a like, or predicted ratings, of a model of clicks or of a trivial row.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from llmrs_bench.clicks.base import ClickCorpus, ClickModel
from llmrs_bench.clicks.baselines import BASELINES_OF, READ_IDS, TRIVIAL, baseline, rating_baseline
from llmrs_bench.core.artifacts import Draft, Recipe, StageResult, get_or_create
from llmrs_bench.core.config import CLICK, DEPTH, RATING, RecommenderConfig
from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.schemas import RANKINGS
from llmrs_bench.core.types import Progress
from llmrs_bench.data.split import later_shares
from llmrs_bench.data.training_part import WHOLE, TrainingPart
from llmrs_bench.recommenders.base import Corpus, Forgetful, Recommender, best_items, score_candidates
from llmrs_bench.stages.ties import ranked, tie_parts
from llmrs_bench.stages.trained_models import (
    FORMAT,
    FittedRecommender,
    RecommenderSpec,
    TrainingData,
    data_before,
    export,
    fitted,
    is_click_model,
    is_exported,
    later_digests,
    learned_tables,
    learns,
    lesson,
    sample_history,
    settings,
    training_data,
)
from llmrs_bench.stages.unseen_items import UNSEEN, unseen_items, unseen_table
from llmrs_bench.stages.workspace import Data, check_name_of

# Bumped when what a model of clicks learns from the same data changes: older artifacts are then recomputed.
LABELLED_FORMAT = "1"


def infer_recommender(
    data: Data,
    config: RecommenderConfig,
    progress: Progress,
    export_to: Path | None = None,
    name: str | None = None,
) -> StageResult:
    """Make the run of a recommender.

    Args:
        data: The prepared data set.
        config: The options.
        progress: Shows the training.
        export_to: A new folder for a copy of the trained model.
        name: What it will be called; refused before anything is trained if another run has that name.

    Raises:
        OptionError: If an option is unknown, or the name is taken.
        ModelError: If the recommender cannot be fitted.
    """
    spec, again = spec_of(config), config.retrain == "each"
    if again:
        _check_retrained(data, spec, export_to)
    recipe = Recipe(
        "infer",
        run_name(config),
        {**settings(spec, sample_history(data)), **({"retrain": "each"} if again else {})},
        {
            **{table: data.artifact.digest(table) for table in (*learned_tables(data), "requests", *_told(data))},
            **(later_digests(data, data.artifact.manifest.config["windows"]) if again else {}),
        },
        {"format": FORMAT, **tie_parts(data)},
    )

    def fill(draft: Draft) -> None:
        made = [_ranked(data, spec, window, progress) for window in (_windows(data) if again else [None])]
        first, requests = made[0], asked_requests(data)
        rankings = pl.concat([each.rankings for each in made])
        draft.write("rankings", rankings.sort("request_id", "rank") if again else rankings)
        if learns(spec):
            draft.write(UNSEEN, unseen_table({each.window: each.unseen for each in made}))
        scoring = sum(each.scoring for each in made)
        options, said = first.fitted.options.model_dump(), "; ".join(each.warning for each in made if each.warning)
        draft.facts.update(
            kind="recommender",
            requests=requests.height,
            training=[each.fitted.facts for each in made] if again else first.fitted.facts,
            scoring_seconds=round(scoring, 3),
            seconds=round(sum(each.fitted.seconds for each in made) + scoring, 3),
            seed=config.seed,
            history=options.get("max_history"),
            fit_on=options.get("fit_on"),
            typed=typed_options(config),
            train_part=None if again else first.part,
            warnings=[said + _instead(spec, sum(each.helped for each in made))] if said else [],
            timeline=_timeline(made) if again else first.timeline,
            **({"retrained": [each.account for each in made]} if again else {}),
        )

    check_name_of(recipe.place(data.place.runs), name)
    made = get_or_create(recipe.place(data.place.runs), recipe, fill)
    if export_to is not None:
        export(fitted(spec, training_data(data), progress), export_to)
    return made


@dataclass(frozen=True)
class _Ranked:
    """The rankings of all requests, or of those of a window, and what is known of the model that made them.

    `helped` is for how many of the requests that the warning is about another share would have had data.
    """

    fitted: FittedRecommender
    rankings: pl.DataFrame
    scoring: float
    requests: int
    part: dict[str, Any] | None
    unseen: pl.Series
    warning: str
    helped: int
    timeline: Any
    window: int | None

    @property
    def account(self) -> dict[str, Any]:
        """What a run says of one window."""
        names = ("events", "users", "unseen_items", "of_items", "unseen_candidates", "of_candidates")
        told = {name: self.part[name] for name in names if name in self.part} if self.part else {}
        return {"window": self.window, "requests": self.requests, **told}


def _ranked(data: Data, spec: RecommenderSpec, window: int | None, progress: Progress) -> _Ranked:
    """Fit a model, and rank all requests with it; or fit it before a window, and rank those of the window."""
    taught = training_data(data) if window is None else data_before(data, window)
    found = fitted(spec, taught, progress)
    requests = asked_requests(data)
    if window is not None:
        inside = data.artifact.table("conditions").filter(pl.col("window") == window)
        requests = requests.join(inside, on="request_id", how="semi", maintain_order="left")
    started = time.perf_counter()
    rankings = _rankings(data, found.model, requests)
    scoring = time.perf_counter() - started
    unseen, part = pl.Series([], dtype=pl.String), None
    if learns(spec):
        unseen, counts = unseen_items(data, _learned(spec, taught), requests)
        part = {**train_part(spec, taught), **counts}
    # Of labelled rows those of the part valid are asked, too, and are on no board.
    tested = requests.filter(pl.col("part") == "test") if data.labelled else requests
    warning, helped = _unknown_words(found.model, spec, taught, tested, data.task)
    return _Ranked(
        fitted=found,
        rankings=rankings,
        scoring=scoring,
        requests=requests.height,
        part=part,
        unseen=unseen,
        warning=warning if window is None or not warning else f"window {window}: {warning}",
        helped=helped,
        timeline=future(data, spec, taught, requests) if getattr(found.model, "learns", False) else None,
        window=window,
    )


def _timeline(made: Sequence[_Ranked]) -> Any:
    """Return what is later than requests, of what the models of all windows learned from; None without times."""
    if any(each.timeline is None for each in made):
        return None
    asked = sum(each.requests for each in made)
    return _future_words(sum(each.timeline["later"] * each.requests for each in made) / asked)


def _check_retrained(data: Data, spec: RecommenderSpec, export_to: Path | None) -> None:
    """Refuse to fit a model before each window where there are none, or where it would stay the same."""
    if not data.artifact.manifest.config.get("windows"):
        raise OptionError(
            f"--retrain each trains before each window, but {data.place.reference} has no windows",
            hint="Prepare windows: --split time --cut 0.5 --windows 4.",
        )
    if "later_events" not in data.artifact.manifest.tables:
        raise OptionError(
            f"{data.place.reference} was prepared by an earlier version, which kept no events after the cut",
            hint="Prepare it again under another name.",
        )
    if not learns(spec):
        raise OptionError(f"--retrain each has no effect on {spec.model}: it is not trained here", hint="Leave it out.")
    if export_to is not None:
        raise OptionError(
            "--export copies one model, --retrain each trains one per window", hint="Leave one of them out."
        )


def _windows(data: Data) -> list[int]:
    """Return the windows that have requests."""
    return sorted(data.artifact.table("conditions")["window"].unique())


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


def future(data: Data, spec: RecommenderSpec, taught: TrainingData, asked: pl.DataFrame) -> Any:
    """Return what is later than the test requests among `asked`, of what a model learns from; None without times."""
    whole = data.artifact.facts.get("timeline")
    if whole is None or (spec.part == WHOLE and asked.height == data.artifact.manifest.tables["requests"].rows):
        return whole
    events, test = _learned(spec, taught), asked.filter(pl.col("part") == "test")
    later = later_shares(events["cutoff" if "cutoff" in events.columns else "timestamp"], test["cutoff"])
    return _future_words(float(later.mean()))


def _future_words(later: float) -> dict[str, Any]:
    said = f"{100 * later:.1f} %" if later else "none"
    return {"later": later, "words": f"leaks: {said} of the training events are later than a request"}


def _train(corpus: Corpus | ClickCorpus) -> pl.DataFrame:
    rows = corpus.samples if isinstance(corpus, ClickCorpus) else corpus.interactions
    return rows.filter(pl.col("part") == "train")


def _learned(spec: RecommenderSpec, taught: TrainingData) -> pl.DataFrame:
    """Return the events or samples that a model learns from: those of validation if it is fitted on them, too."""
    corpus = lesson(spec, taught)
    rows = corpus.samples if isinstance(corpus, ClickCorpus) else corpus.interactions
    return rows.filter(pl.col("part").is_in(spec.options.get("fit_on", "train").split("+")))


def _unknown_words(
    model: Recommender, spec: RecommenderSpec, taught: TrainingData, asked: pl.DataFrame, task: str
) -> tuple[str, int]:
    """Say for how many requests the model knows less of the user than a reader of the board may think.

    The number is that of those among them whose users a share of each user's events would have told of.
    """
    if not isinstance(model, Forgetful):
        return "", 0
    less = spec.part != WHOLE and (spec.part.train_by != "each-user" or spec.part.max_users is not None)
    there = _train(taught.corpus) if less and spec.part.train_samples is None else asked.clear()
    one_each = task != CLICK and asked["user_id"].is_unique().all()
    of_all = f"of {asked.height:,} {'test rows' if task == CLICK else 'test users' if one_each else 'requests'}"
    if unknown := model.unknown(asked):
        mixed = ": AUC then compares scores of two kinds" if task == CLICK and unknown < asked.height else ""
        bare = _count_unknown(model, asked.filter(pl.col("history").list.len() == 0))
        of_all += f" ({bare:,} without a history)" if bare else ""
        words = f"{spec.model} has no data on {unknown:,} {of_all}, and ranks for them {model.fallback}{mixed}"
        return words, _count_unknown(model, asked.join(there, on="user_id", how="semi"))
    left = _train(lesson(spec, taught)) if less else asked
    unseen = asked.join(left, on="user_id", how="anti")
    words = f"{spec.model} did not learn from {unseen.height:,} {of_all}, and ranks for them by their history alone"
    return (words, unseen.join(there, on="user_id", how="semi").height) if unseen.height else ("", 0)


def _count_unknown(model: Forgetful, asked: pl.DataFrame) -> int:
    return model.unknown(asked) if asked.height else 0


def _instead(spec: RecommenderSpec, helped: int) -> str:
    """Say which option would have taken events of the users of some requests that a warning is about."""
    each = "--train-fraction with --train-by each-user, without --max-users,"
    each = each if spec.part.max_users is not None else "--train-by each-user"
    return f"; {each} would learn from the users of {helped:,} of these requests" if helped else ""


def spec_of(config: RecommenderConfig) -> RecommenderSpec:
    """Return the model that a run is of."""
    part = TrainingPart.of(config)
    return RecommenderSpec(config.model, config.options, seed=config.seed, device=config.device, part=part)


def run_name(config: RecommenderConfig) -> str:
    """Return the name of a run: the model's, or that of its folder."""
    return Path(config.model).resolve().name if "/" in config.model else config.model


def asked_requests(data: Data) -> pl.DataFrame:
    """Return the table `requests` as recommenders are asked it: of the task `click`, histories of liked items alone."""
    requests = data.artifact.table("requests")
    if data.task != CLICK:
        return requests
    told = data.labelled_rows().select("request_id", "history", "liked").explode("history", "liked")
    liked = told.filter(pl.col("liked")).group_by("request_id", maintain_order=True).agg(history="history")
    joined = requests.drop("history").join(liked, on="request_id", how="left", maintain_order="left")
    return joined.with_columns(pl.col("history").fill_null([])).select(requests.columns)


def _told(data: Data) -> tuple[str, ...]:
    """Return the tables that say what they are asked, beside `requests`."""
    return ("outcomes",) if data.task == CLICK else ()


def _rankings(data: Data, model: Recommender, requests: pl.DataFrame) -> pl.DataFrame:
    if not data.whole_catalogue:
        return ranked(data, score_candidates(model, requests), requests)
    catalogue = data.artifact.table("items")["item_id"]
    best = best_items(model, requests, catalogue, depth=DEPTH, include_seen=data.include_seen)
    return pl.concat([pl.DataFrame(schema=RANKINGS), *(ranked(data, part) for part in best)])


def typed_options(config: RecommenderConfig) -> dict[str, Any]:
    """Return what was typed for this model, for the board to show."""
    again = {"retrain": config.retrain} if config.retrain != "never" else {}
    return {**config.options, **TrainingPart.of(config).typed, **again}


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
        _refuse_unread(config)
    spec = spec_of(config)
    recipe = Recipe(
        "infer",
        run_name(config),
        _trivial_settings(spec) if trivial else settings(spec),
        {table: data.artifact.digest(table) for table in ("samples", "items", "requests", "outcomes")},
        {"format": LABELLED_FORMAT, **tie_parts(data)},
    )

    def fill(draft: Draft) -> None:
        asked, taught = data.labelled_rows(), labelled_training_data(data)
        unseen = [] if is_exported(config.model) else _unseen_words(spec, taught, asked)
        if trivial:
            started = time.perf_counter()
            learned = lesson(spec, taught)
            assert isinstance(learned, ClickCorpus)
            made = rating_baseline if data.task == RATING else baseline
            scores, training = made(config.model, learned.samples, asked)["score"], 0.0
            draft.facts.update(log_odds=config.model == "logistic", training={}, typed=spec.part.typed, warnings=unseen)
        else:
            found = fitted(spec, taught, progress)
            started = time.perf_counter()
            model: ClickModel = found.model
            scores, training = pl.Series(model.score(asked, taught.corpus.items)), found.seconds
            draft.facts.update(
                log_odds=True,
                training=found.facts,
                history=found.options.model_dump().get("max_history"),
                typed=typed_options(config),
                warnings=unseen,
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
        CLICK: "Prepare it with --task rating, or choose a click model, such as --model logistic.",
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


def _refuse_unread(config: RecommenderConfig) -> None:
    part = TrainingPart.of(config) != WHOLE
    read = {"model", *TrainingPart.__dataclass_fields__, *(["seed"] if part else [])}
    for name in config.model_dump(exclude=read, exclude_defaults=True):
        raise OptionError(
            f"--{name.replace('options', 'option').replace('_', '-')} has no effect on {config.model}, "
            f"which is a formula over {'its' if part else 'all'} training rows",
            hint="Remove it.",
        )


def _unseen_words(spec: RecommenderSpec, taught: TrainingData, asked: pl.DataFrame) -> list[str]:
    """Say how many test rows are of users, and of items, without a row to learn from, of what the model reads."""
    corpus = lesson(spec, taught)
    assert isinstance(corpus, ClickCorpus)
    learned = corpus.samples.filter(pl.col("part") == "train")
    test = asked.filter(pl.col("part") == "test")
    read = READ_IDS.get(spec.model, ()) if spec.model in TRIVIAL else ("user", "item")
    counts = {word: test.join(learned, on=f"{word}_id", how="anti").height for word in read}
    told = [
        f"{count:,} {'has' if count == 1 else 'have'} {'a' if word == 'user' else 'an'} {word}"
        for word, count in counts.items()
        if count
    ]
    return [f"{spec.model}: of {test.height:,} test rows, {' and '.join(told)} without a training row"] if told else []

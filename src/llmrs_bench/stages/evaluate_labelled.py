"""Stage `evaluate` of labelled requests: label, score and what it is calibrated to, of each run and trivial row."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrs_bench.clicks.baselines import BASELINES_OF, TRIVIAL, baseline, rating_baseline
from llmrs_bench.core.artifacts import Artifact, Draft, Recipe, StageResult, get_or_create, is_complete
from llmrs_bench.core.config import CLICK, RATING, EvaluateConfig, Invalid
from llmrs_bench.core.errors import ArtifactError, OptionError
from llmrs_bench.core.schemas import CLICKS, PREDICTIONS
from llmrs_bench.metrics import check_rankings
from llmrs_bench.metrics.clicks import CLICK_METRICS, ClickRows, ValidRows, calibrate, sigmoid, user_aucs
from llmrs_bench.metrics.labelled import LabelledRows, MetricSet, value
from llmrs_bench.metrics.ratings import RATING_METRICS, RatingRows, Scale, fit_line
from llmrs_bench.stages.unseen_items import UNSEEN, unseen_facts
from llmrs_bench.stages.workspace import (
    Data,
    LeftOutError,
    leaving_out,
    limit_of,
    open_runs,
    pick_runs,
    ranks,
    unopened,
)

BASELINE_DEFINITIONS = "1"  # of the trivial rows, which are made here
METRICS_OF: Mapping[str, MetricSet] = {CLICK: CLICK_METRICS, RATING: RATING_METRICS}
TABLE_OF: Mapping[str, str] = {CLICK: "clicks", RATING: "predictions"}
SCORED_BY: Mapping[str, str] = {CLICK: "clicks are scored by Yes and No", RATING: "ratings by those of the scale"}
_WORST = {
    CLICK: "counts as the wrong answer, given for certain",
    RATING: "counts as the end of the scale that is further from the rating",
}


def silent_words(task: str, invalid: Invalid) -> str:
    """Return how rows without a score count, as boards say it."""
    words = {
        "expected": "gets the median of the run's scores",
        "worst": _WORST[task],
        "drop": "is left out of its run's values",
    }
    return f"a row without a score {words[invalid]}"


@dataclass(frozen=True, slots=True)
class MeasuredRows:
    """The evaluation of a run, or of a trivial row: a frame of the schema that `TABLE_OF` names, and facts about it."""

    table: pl.DataFrame
    facts: Mapping[str, Any]

    def rows(self, users: Sequence[str]) -> tuple[pl.Series, LabelledRows]:
        """Return the measured rows of the part `test`, and the request of each."""
        if "probability" not in self.table.columns:
            return to_rating_rows(self.table, users)
        return to_click_rows(self.table, users, self.facts["calibration"])


def evaluate_labelled(data: Data, names: Sequence[str], config: EvaluateConfig) -> list[StageResult]:
    """Make the artifact of what was measured of runs, and those of the trivial rows, which every board needs.

    Without `names` damaged runs are left out with a warning each, and the stage fails once the others are done.

    Args:
        data: The prepared data set, of labelled requests.
        names: Names of runs, or their first characters; none means all.
        config: How rows without a score count. All metrics of the task are always measured.

    Raises:
        OptionError: If a name fits no run, a metric is none of the task, or likelihoods are to be normalized.
        ArtifactError: If a run is of other data, or damaged; or if the data are.
        LeftOutError: If runs were left out; it holds what was made of the others.
    """
    if config.metrics:
        METRICS_OF[data.task].parse(config.metrics)
    if config.normalize is not None:
        raise OptionError(
            f"--normalize {config.normalize} applies to likelihoods of titles, and {SCORED_BY[data.task]}",
            hint="Leave it out.",
        )
    data.artifact.check("requests", "outcomes", "samples", "truth")
    runs = open_runs(data) if has_runs(data) else []
    if names and not runs:
        raise OptionError(f"--run {names[0]}: {data.place.reference} has no runs", hint="Leave out --run.")
    lost = [] if names else unopened(data, runs)
    runs = [run for run in runs if is_measured(run)]
    chosen = pick_runs(runs, names) if names else runs
    made = [_evaluate(data, name, config.invalid) for name in BASELINES_OF[data.task]]
    for run in chosen:
        with leaving_out(ArtifactError, named=bool(names)) as failed:
            made.append(_evaluate(data, run, config.invalid))
        lost += [run.path.name for _ in failed]
    if lost:
        raise LeftOutError(lost, made)
    return made


def has_runs(data: Data) -> bool:
    """Return whether labelled data have any run: their boards have rows without one."""
    folder = data.place.runs
    return folder.is_dir() and any(path.is_dir() and not path.name.startswith(".") for path in folder.iterdir())


def is_measured(run: Artifact) -> bool:
    """Return whether a run is a row of its own: it gives scores to all rows, and is none that every board has anyway.

    A trivial row that learned from a part of the samples is one of its own.
    """
    return ranks(run) and limit_of(run) is None and (run.manifest.name not in TRIVIAL or bool(run.facts.get("typed")))


def labelled_recipe(data: Data, run: Artifact | str, invalid: Invalid) -> Recipe:
    """Return what decides the evaluation of a run, or of the trivial row of a name."""
    if isinstance(run, str):
        made_of = {name: data.artifact.digest(name) for name in ("samples", "requests", "outcomes")}
        name, parts = run, {"baselines": BASELINE_DEFINITIONS}
    else:
        tables = [table for table in ("rankings", UNSEEN) if table in run.manifest.tables]
        made_of, name, parts = {table: run.digest(table) for table in tables}, run.path.name, {}
        made_of["requests"] = data.artifact.digest("requests")
    inputs = {**made_of, "truth": data.artifact.digest("truth")}
    return Recipe(
        "evaluate",
        name,
        {"task": data.task, "invalid": invalid, "row": name},
        inputs,
        {"definitions": METRICS_OF[data.task].definitions, **parts},
    )


def is_evaluated(data: Data, run: Artifact, invalid: Invalid) -> bool:
    """Return whether a run was evaluated."""
    return is_complete(labelled_recipe(data, run, invalid).place(data.place.evals))


def measured_labelled(data: Data, run: Artifact | str, invalid: Invalid) -> MeasuredRows:
    """Return the evaluation of a run, or of the trivial row of a name; it is made unless it is there.

    Raises:
        ArtifactError: If the run is of other data.
        DamagedError: If the run, or what it was made from, is not what was written.
    """
    made = _evaluate(data, run, invalid).artifact
    return MeasuredRows(made.table(TABLE_OF[data.task]), made.facts)


def _evaluate(data: Data, run: Artifact | str, invalid: Invalid) -> StageResult:
    if not isinstance(run, str):
        run.check("rankings")
    recipe = labelled_recipe(data, run, invalid)
    fill = partial(_fill, data=data, run=run, invalid=invalid)
    return get_or_create(recipe.place(data.place.evals), recipe, fill, name=recipe.name, remake=True)


def _fill(draft: Draft, *, data: Data, run: Artifact | str, invalid: Invalid) -> None:
    asked = data.labelled_rows()
    truth = data.artifact.table("truth")
    if isinstance(run, str):
        trivial = rating_baseline if data.task == RATING else baseline
        scored = trivial(run, data.artifact.table("samples"), asked)
    else:
        rankings = run.table("rankings")
        check_rankings(truth, rankings, where=str(run.path))
        pair = ["request_id", "item_id"]
        scored = truth.select(pair).join(rankings.select(*pair, "score"), on=pair)
        if data.task == CLICK:
            scored = _with_odds(scored, run)
    rows = asked.select("request_id", "user_id", "part").join(
        truth.select("request_id", "label"), on="request_id", maintain_order="left"
    )
    users = user_numbers(data)
    if data.task == RATING:
        scale = (float(data.artifact.facts["scale"]["least"]), float(data.artifact.facts["scale"]["greatest"]))
        table, facts = rating_table(rows, scored.select("request_id", "score"), invalid, scale)
    else:
        table, facts = click_table(rows, scored, invalid)
    draft.write(TABLE_OF[data.task], table)
    _, found = MeasuredRows(table, facts).rows(users)
    means = {name: value(found, name) for name in METRICS_OF[data.task].names if found.has(name)}
    draft.facts.update(
        **facts,
        means={name: score for name, score in means.items() if not np.isnan(score)},
        catalogue={},
        users=len(np.unique(found.users)),
        **_label_facts(found),
    )
    if not isinstance(run, str):
        draft.facts.update(unseen_facts(data, run, asked.filter(pl.col("part") == "test")))


def _label_facts(rows: LabelledRows) -> dict[str, float]:
    """Return what a board says of the labels of the test."""
    if isinstance(rows, ClickRows):
        return {"users_in_uauc": int((~np.isnan(user_aucs(rows))).sum()), "positives": int(rows.labels.sum())}
    assert isinstance(rows, RatingRows)
    return {"label_mean": float(rows.labels.mean()), "label_sd": float(rows.labels.std())} if len(rows.labels) else {}


def _with_odds(scored: pl.DataFrame, run: Artifact) -> pl.DataFrame:
    """Return scores with the column `probability`: null where they are no log-odds."""
    odds = pl.Series(sigmoid(scored["score"].to_numpy())).fill_nan(None)
    probability = odds if gives_log_odds(run) else pl.lit(None, pl.Float64)
    return scored.select("request_id", "score", probability=probability)


def gives_log_odds(run: Artifact) -> bool:
    """Return whether the scores of a run are log-odds, so that their sigmoid is the model's own probability."""
    return run.facts.get("kind") == "language model" or bool(run.facts.get("log_odds", False))


def user_numbers(data: Data) -> list[str]:
    """Return the users of the part `test`, whose places are their numbers."""
    asked = data.artifact.table("requests").filter(pl.col("part") == "test")
    return list(asked["user_id"].unique().sort())


def click_table(rows: pl.DataFrame, scored: pl.DataFrame, invalid: Invalid) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return the frame of the schema `clicks` of a run, and facts: its calibration, and how many rows it left unscored.

    What is calibrated is fitted on the rows of the part `valid` that the run gave a score.

    Args:
        rows: Rows (request_id, user_id, part, label).
        scored: Rows (request_id, score, probability); what has none, or a null score, is unscored; a null probability
            says that scores are no log-odds.
        invalid: How unscored rows count: `expected`, the median of the scores, which is neither for nor against an item
            and reads no label; `worst`, wrong for certain; `drop`, not at all.
    """
    joined = rows.join(scored.with_columns(known=True), on="request_id", how="left", maintain_order="left")
    told = joined.filter(pl.col("score").is_not_null())
    valid = told.filter(pl.col("part") == "valid")
    found = calibrate(ValidRows(valid["score"].to_numpy(), valid["label"].to_numpy() > 0))
    unscored, liked, score = pl.col("score").is_null(), pl.col("label") > 0, pl.col("score")
    odds = told["probability"].count() > 0
    if invalid == "expected":
        middle, sure = told.select(pl.col("score", "probability").median()).row(0)
        filled = score.fill_null(middle or 0.0)
        given = pl.when(unscored).then(sure).otherwise("probability") if odds else pl.col("probability")
    elif invalid == "worst":
        least, most = told.select(low=score.min(), high=score.max()).fill_null(0.0).row(0)
        filled = pl.when(unscored).then(pl.when(liked).then(least - 1).otherwise(most + 1)).otherwise(score)
        wrong = (~liked).cast(pl.Float64)
        given = pl.when(unscored).then(wrong).otherwise("probability") if odds else pl.col("probability")
    else:
        filled, given = score, pl.col("probability")
    table = joined.select(
        "request_id", "user_id", "part", "label", score=filled, is_unscored=unscored, probability=given
    )
    if found is None:
        calibrated = pl.lit(None, dtype=pl.Float64)
    else:
        fitted = pl.Series(found.probability(table["score"].fill_null(0.0).to_numpy()))
        calibrated = pl.when(pl.col("score").is_not_null()).then(fitted)
        if invalid == "worst":
            calibrated = pl.when("is_unscored").then((~liked).cast(pl.Float64)).otherwise(calibrated)
    table = table.with_columns(calibrated=calibrated).select(list(CLICKS)).cast(CLICKS)
    tested = told.filter(pl.col("part") == "test")["score"]
    counts = {**_silent_counts(joined, invalid), "constant": tested.n_unique() == 1}
    return table, {**counts, "calibration": None if found is None else asdict(found)}


def to_click_rows(
    table: pl.DataFrame, users: Sequence[str], calibration: Mapping[str, Any] | None
) -> tuple[pl.Series, ClickRows]:
    """Return the measured rows of the part `test` of a frame of the schema `clicks`, and the request of each.

    Args:
        table: The frame; rows without a score are left out.
        users: The users in the order of their numbers.
        calibration: A `Calibration` as facts hold it.
    """
    rows, numbers = _tested(table, users)
    raw, calibrated = (
        None if rows[name].null_count() else rows[name].to_numpy() for name in ("probability", "calibrated")
    )
    return rows["request_id"], ClickRows(
        users=numbers,
        n_users=len(users),
        labels=rows["label"].to_numpy() > 0,
        scores=rows["score"].to_numpy(),
        raw=raw,
        calibrated=calibrated,
        threshold=None if calibration is None else float(calibration["threshold"]),
    )


def rating_table(
    rows: pl.DataFrame, scored: pl.DataFrame, invalid: Invalid, scale: Scale
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return the frame of the schema `predictions` of a run, and facts: its calibration, and what is odd about it.

    The line of calibrated ratings is fitted on the rows of the part `valid` that the run gave a score.

    Args:
        rows: Rows (request_id, user_id, part, label).
        scored: Rows (request_id, score); what has none, or a null score, is unscored.
        invalid: How unscored rows count: `expected`, the median of the scores, which reads no label; `worst`, the end
            of the scale that is further from the rating; `drop`, not at all.
        scale: The least and the greatest rating of training rows.
    """
    joined = rows.join(scored.with_columns(known=True), on="request_id", how="left", maintain_order="left")
    told = joined.filter(pl.col("score").is_not_null())
    valid = told.filter(pl.col("part") == "valid")
    line = fit_line(valid["score"].to_numpy(), valid["label"].to_numpy().astype(np.float64), scale)
    least, greatest = scale
    unscored, score = pl.col("score").is_null(), pl.col("score")
    far = pl.when(pl.col("label") > (least + greatest) / 2).then(least).otherwise(greatest)
    middle = told["score"].median()
    filled = {"expected": pl.lit((least + greatest) / 2 if middle is None else middle), "worst": far, "drop": None}
    table = joined.select(
        *("request_id", "user_id", "part", "label"), score=pl.coalesce(score, filled[invalid]), is_unscored=unscored
    )
    if line is None:
        calibrated = pl.lit(None, dtype=pl.Float64)
    else:
        made = pl.Series(line.ratings(table["score"].fill_null(0.0).to_numpy()))
        calibrated = pl.when(pl.col("score").is_not_null()).then(made)
        if invalid == "worst":
            calibrated = pl.when("is_unscored").then("score").otherwise(calibrated)
    table = table.with_columns(calibrated=calibrated).select(list(PREDICTIONS)).cast(PREDICTIONS)
    tested = told.filter(pl.col("part") == "test")["score"]
    counts = {
        **_silent_counts(joined, invalid),
        "constant": tested.n_unique() == 1,
        "outside": int(((tested < least) | (tested > greatest)).sum()),
        "scale": list(scale),
    }
    return table, {**counts, "calibration": None if line is None else asdict(line)}


def _silent_counts(joined: pl.DataFrame, invalid: Invalid) -> dict[str, int]:
    """Return how many rows (request_id, part, score, known) were asked, and how many have no score."""
    test = joined.filter(pl.col("part") == "test")
    unscored, gone = int(test["score"].null_count()), int(test["known"].null_count())
    return {
        "requests": test.height,
        "requests_without_ranking": gone,
        "requests_unanswered": unscored - gone,
        "requests_dropped": unscored if invalid == "drop" else 0,
        "valid_rows": joined.height - test.height,
        "valid_rows_silent": joined.filter(pl.col("part") == "valid")["score"].null_count(),
    }


def to_rating_rows(table: pl.DataFrame, users: Sequence[str]) -> tuple[pl.Series, RatingRows]:
    """Return the measured rows of the part `test` of a frame of the schema `predictions`, and the request of each.

    Args:
        table: The frame; rows without a score are left out.
        users: The users in the order of their numbers.
    """
    rows, numbers = _tested(table, users)
    calibrated = None if rows["calibrated"].null_count() else rows["calibrated"].to_numpy()
    labels = rows["label"].to_numpy().astype(np.float64)
    return rows["request_id"], RatingRows(numbers, len(users), labels, rows["score"].to_numpy(), calibrated)


def _tested(table: pl.DataFrame, users: Sequence[str]) -> tuple[pl.DataFrame, NDArray[np.intp]]:
    """Return the rows of the part `test` that have a score, and the number of the user of each."""
    rows = table.filter((pl.col("part") == "test") & pl.col("score").is_not_null())
    numbers = pl.DataFrame({"user_id": users}).with_row_index("number")
    at = rows.select("user_id").join(numbers, on="user_id", how="left", maintain_order="left")["number"]
    return rows, at.to_numpy().astype(np.intp)

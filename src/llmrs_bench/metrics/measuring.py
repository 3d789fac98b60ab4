"""Rankings measured against the truth: checked first, then a value for each request and metric."""

from collections.abc import Sequence

import polars as pl

from llmrs_bench.core.config import Invalid
from llmrs_bench.core.errors import ArtifactError
from llmrs_bench.core.schemas import METRICS
from llmrs_bench.metrics.accuracy import (
    MOST_LOSS,
    PAIR,
    RelevantRanks,
    accuracy,
    answer,
    auc,
    chance,
    find_relevant,
    log_loss,
)
from llmrs_bench.metrics.beyond import Background, beyond
from llmrs_bench.metrics.names import ACCURACY, ANSWER_METRICS, BEYOND, Metric


def check_truth(truth: pl.DataFrame) -> None:
    """Refuse truth that measures nothing.

    Raises:
        ArtifactError: If no item is relevant, or one is named twice.
    """
    if truth.filter(pl.col("label") > 0).is_empty():
        raise ArtifactError(
            f"truth has no relevant item ({truth.height} rows): there is nothing to measure",
            hint="Prepare the data again.",
        )
    _refuse(truth.filter(_doubled(truth)), "truth", "is named twice", "Prepare the data again.")


def check_rankings(truth: pl.DataFrame, rankings: pl.DataFrame, *, where: str) -> None:
    """Refuse rankings that are none, or that answer other requests.

    Args:
        truth: Frame of the schema `truth`.
        rankings: Frame of the schema `rankings`.
        where: What to call them.

    Raises:
        ArtifactError: On a score that is not finite, an item that is there twice, ranks that are not 1, 2, 3, ...,
            unranked items above others, or requests that truth does not have.
    """
    hint = f"It was made elsewhere or edited: delete {where} and make it again."
    _refuse(rankings.filter(~pl.col("score").is_finite()), where, "has a score that is not a finite number", hint)
    _refuse(rankings.filter(_doubled(rankings)), where, "is ranked twice", hint)
    rank, own, size = pl.col("rank"), pl.col("score").is_not_null(), pl.len().cast(pl.Int64)
    requests = rankings.group_by("request_id").agg(
        item_id=pl.lit("*"),
        whole=(rank.min() == 1) & (rank.max() == size) & (rank.cast(pl.Int64).sum() == size * (size + 1) // 2),
        below=rank.filter(own).max().fill_null(0) == own.sum(),
    )
    _refuse(requests.filter(~pl.col("whole")), where, "has ranks that are not 1, 2, 3, ...", hint)
    _refuse(requests.filter(~pl.col("below")), where, "has items without a score above items with one", hint)
    strange = requests.join(truth.select("request_id"), on="request_id", how="anti")
    _refuse(strange, where, "is a request that the truth of this data set does not have", hint)


def _doubled(frame: pl.DataFrame) -> pl.Series:
    """Return which rows name an item of a request that another row names; the hashes are of the rows as a whole."""
    hashes = frame.select(key=pl.struct(PAIR).hash()).to_series()
    if hashes.n_unique() == len(hashes):
        return pl.repeat(False, len(frame), dtype=pl.Boolean, eager=True)
    return frame.select(pl.struct(PAIR).is_duplicated()).to_series()


def _refuse(frame: pl.DataFrame, where: str, fault: str, hint: str) -> None:
    if frame.is_empty():
        return
    first = frame.row(0, named=True)
    item = "" if first["item_id"] == "*" else f", item {first['item_id']!r}"
    raise ArtifactError(f"{where}: request {first['request_id']!r}{item} {fault} ({frame.height} such)", hint=hint)


def measure(
    truth: pl.DataFrame,
    rankings: pl.DataFrame,
    metrics: Sequence[Metric],
    *,
    invalid: Invalid = "expected",
    background: Background | None = None,
) -> pl.DataFrame:
    """Measure every request of `truth` that has a relevant item.

    A request without rankings scores 0 (for log-loss: the most), and has no value beyond accuracy. With `drop`, a
    request in which the model ranked nothing has no values but those that say how it answered.

    Args:
        truth: Frame of the schema `truth`; rows with a label above 0 are relevant.
        rankings: Frame of the schema `rankings`, as `check_rankings` wants it.
        metrics: What to measure; figures of whole runs are left out.
        invalid: How unranked items count, as `EvaluateConfig` says.
        background: What metrics beyond accuracy read.

    Returns:
        Frame of the schema `metrics`, metric by metric and within each in the order of truth's requests.
    """
    found = find_relevant(truth, rankings)
    relevant = truth.filter(pl.col("label") > 0).select(PAIR)
    kept = pl.Series(~found.is_unanswered) if invalid == "drop" else None
    parts = [pl.DataFrame(schema=METRICS)]
    for metric in metrics:
        if metric.per_run:
            continue
        if metric.name in ANSWER_METRICS:
            values = _column(metric, found.request_ids, pl.Series(answer(metric, found)))
        elif metric.name in ACCURACY:
            values = _column(metric, found.request_ids, pl.Series(accuracy(metric, found, invalid)))
        elif metric.name in BEYOND:
            values = _joined(metric, found, beyond(metric, rankings, background or Background()), None)
        else:
            scored = (auc if metric.name == "auc" else log_loss)(relevant, rankings, invalid)
            values = _joined(metric, found, scored, 0.0 if metric.name == "auc" else MOST_LOSS)
        parts.append(values if kept is None or metric.of_answer else _kept(values, found, kept))
    return pl.concat(parts)


def count_answers(truth: pl.DataFrame, rankings: pl.DataFrame, invalid: Invalid) -> dict[str, int]:
    """Return how many requests there are, and how many have no ranking, an empty one, or are left out for it."""
    found = find_relevant(truth, rankings)
    return {
        "requests": len(found.request_ids),
        "requests_without_ranking": int(found.missing.sum()),
        "requests_unanswered": int(found.is_unanswered.sum()),
        "requests_dropped": int(found.is_unanswered.sum()) if invalid == "drop" else 0,
    }


def _column(metric: Metric, request_ids: pl.Series, values: pl.Series) -> pl.DataFrame:
    frame = pl.DataFrame({"request_id": request_ids, "metric": str(metric), "value": values})
    return frame.select(list(METRICS)).cast(METRICS)


def _joined(metric: Metric, found: RelevantRanks, values: pl.DataFrame, missing: float | None) -> pl.DataFrame:
    """Return values in the order of requests; those without a ranking get `missing`, or have none."""
    requests = pl.DataFrame({"request_id": found.request_ids, "gone": found.missing})
    rows = requests.join(values, on="request_id", how="left", maintain_order="left")
    if missing is not None:
        rows = rows.with_columns(value=pl.when("gone").then(missing).otherwise("value"))
    rows = rows.drop_nulls("value")
    return _column(metric, rows["request_id"], rows["value"])


def _kept(values: pl.DataFrame, found: RelevantRanks, kept: pl.Series) -> pl.DataFrame:
    return values.join(pl.DataFrame({"request_id": found.request_ids.filter(kept)}), on="request_id", how="semi")


def chance_level(
    truth: pl.DataFrame, sizes: pl.DataFrame, metrics: Sequence[Metric], depth: int | None = None
) -> pl.DataFrame:
    """Return the expectation of a random order for every request, as a frame of the schema `metrics`.

    Args:
        truth: Frame of the schema `truth`.
        sizes: Rows (request_id, n, found): candidates of each request, and how many of them are relevant.
        metrics: What is expected; those beyond accuracy and of whole runs are left out.
        depth: How many ranks are kept, None: all.
    """
    counted = (
        truth.filter(pl.col("label") > 0)
        .group_by("request_id", maintain_order=True)
        .agg(relevant=pl.len())
        .join(sizes, on="request_id", maintain_order="left")
        .cast({"n": pl.UInt32, "relevant": pl.UInt32, "found": pl.UInt32})
    )
    keys = ["n", "relevant", "found"]
    values = [
        {"n": n, "relevant": m, "found": found, "metric": str(metric), "value": chance(metric, n, m, found, depth or 0)}
        for n, m, found in counted.select(keys).unique().iter_rows()
        for metric in metrics
        if metric.name not in BEYOND and not metric.per_run
    ]
    schema = {**dict.fromkeys(keys, pl.UInt32), "metric": pl.String, "value": pl.Float64}
    return (
        counted.join(pl.DataFrame(values, schema=schema), on=keys, maintain_order="left")
        .filter(pl.col("value").is_not_nan())
        .select(list(METRICS))
        .cast(METRICS)
    )

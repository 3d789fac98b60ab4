"""Metrics of a ranking: values whose printed name is their identity, per request first, means second."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb, log2
from typing import Self

import polars as pl

from llmrs_bench.config import METRIC_NAMES
from llmrs_bench.errors import OptionError
from llmrs_bench.registry import unknown_name
from llmrs_bench.schemas import METRICS

# Bumped whenever a definition changes; part of every evaluation's fingerprint.
DEFINITIONS = "2"
_WITH_CUTOFF = ("hit", "mrr", "ndcg")
_PLAIN = ("answered", "coverage", "mrr")


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric and its cutoff, printed as `ndcg@10` or `mrr`.

    With the ranks r of the relevant items of a request, from 1, and n relevant items:

    - `hit@k`: 1 if some r <= k. With one relevant item this is recall@k, which the paper prints.
    - `ndcg@k`: sum over r <= k of 1/log2(1+r), over that sum for the best order, 1..min(n, k)
      (Järvelin and Kekäläinen 2002, binary gain); a single target at rank 1 gives 1.
    - `mrr`: 1/min(r) (Voorhees 1999); with a cutoff 0 below rank k.
    - `coverage`: 1 if the model itself ranked a relevant item, for a whole catalogue among the ranks kept;
      arXiv 2401.04997 calls this Coverage, or Recall@20 in version 1.
    - `answered`: 1 if the model ranked any candidate at all.

    A relevant item that is in no ranking counts as never found.
    """

    name: str
    cutoff: int | None = None

    def __str__(self) -> str:
        return self.name if self.cutoff is None else f"{self.name}@{self.cutoff}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a printed name back.

        Raises:
            OptionError: If it names no metric.
        """
        name, at, cutoff = text.strip().lower().partition("@")
        if not at and name in _PLAIN:
            return cls(name)
        if name in _WITH_CUTOFF and cutoff.isdigit() and int(cutoff) > 0:
            return cls(name, int(cutoff))
        raise unknown_name("metric", text, list(METRIC_NAMES))


def parse_metrics(names: Sequence[str]) -> list[Metric]:
    """Read several printed names.

    Raises:
        OptionError: If one names no metric, or there are none.
    """
    if not names:
        raise OptionError("no metrics were named", hint=f"Known: {', '.join(METRIC_NAMES)}.")
    return [Metric.parse(name) for name in names]


def measurable(names: Sequence[str], depth: int | None) -> list[str]:
    """Return the names of metrics that rankings of at most `depth` ranks decide; None: rankings are whole."""
    if depth is None:
        return list(names)
    return [name for name in names if name != "mrr" and (Metric.parse(name).cutoff or 0) <= depth]


def measure(truth: pl.DataFrame, rankings: pl.DataFrame, metrics: Sequence[Metric]) -> pl.DataFrame:
    """Measure every request of `truth`; a request without rankings scores 0.

    Args:
        truth: Frame of the schema `truth`; rows with a label above 0 are relevant.
        rankings: Frame of the schema `rankings`.
        metrics: What to measure.

    Returns:
        Frame of the schema `metrics`, one row per request and metric, in the order of truth's requests.
    """
    relevant = truth.filter(pl.col("label") > 0)
    answered = rankings.group_by("request_id").agg(answered=pl.col("score").is_not_null().any())
    found = (
        relevant.join(rankings, on=["request_id", "item_id"], how="left", maintain_order="left")
        .join(answered, on="request_id", how="left", maintain_order="left")
        .group_by("request_id", maintain_order=True)
        .agg(**{str(metric): _EXPRESSIONS[metric.name](metric.cutoff) for metric in metrics})
    )
    return (
        found.unpivot(index="request_id", variable_name="metric", value_name="value")
        .with_columns(pl.col("value").fill_null(0.0))
        .select(list(METRICS))
        .cast(METRICS)
    )


def _gain(rank: pl.Expr) -> pl.Expr:
    return 1.0 / (rank.cast(pl.Float64) + 1.0).log(2.0)


def _ndcg(cutoff: int | None) -> pl.Expr:
    k = cutoff or 0
    rank = pl.col("rank")
    ideal = _gain(pl.int_range(1, pl.min_horizontal(pl.len(), k) + 1)).sum()
    return pl.when(rank <= k).then(_gain(rank)).otherwise(0.0).sum() / ideal


def _within(rank: pl.Expr, cutoff: int | None) -> pl.Expr:
    return rank if cutoff is None else pl.when(rank <= cutoff).then(rank)


def _hit(cutoff: int | None) -> pl.Expr:
    return (pl.col("rank") <= (cutoff or 0)).fill_null(False).any().cast(pl.Float64)


_EXPRESSIONS: dict[str, Callable[[int | None], pl.Expr]] = {
    "ndcg": _ndcg,
    "hit": _hit,
    "mrr": lambda k: 1.0 / _within(pl.col("rank"), k).min().cast(pl.Float64),
    "coverage": lambda _: pl.col("score").is_not_null().any().cast(pl.Float64),
    "answered": lambda _: pl.col("answered").fill_null(False).any().cast(pl.Float64),
}


def chance(metric: Metric, candidates: int, relevant: int = 1, found: int | None = None, depth: int = 0) -> float:
    """Return the exact expectation of a metric under a uniformly random order.

    Args:
        metric: The metric.
        candidates: Number of candidates.
        relevant: How many items are relevant, at least 1.
        found: How many of those are among the candidates; None: all of them.
        depth: How many ranks are kept; 0: all of them.
    """
    n, m, k = candidates, relevant if found is None else found, min(metric.cutoff or candidates, candidates)
    if metric.name == "answered":
        return float(n > 0)
    if m == 0:
        return 0.0
    if metric.name == "coverage":
        k = min(depth or n, n)
    if metric.name in ("hit", "coverage"):
        return (comb(n, m) - comb(n - k, m)) / comb(n, m)
    if metric.name == "ndcg":
        ideal = sum(1.0 / log2(1 + rank) for rank in range(1, min(relevant, metric.cutoff or n) + 1))
        return (m / n) * sum(1.0 / log2(1 + rank) for rank in range(1, k + 1)) / ideal
    return sum(comb(n - rank, m - 1) / rank for rank in range(1, min(n - m + 1, k) + 1)) / comb(n, m)


def chance_level(
    truth: pl.DataFrame, sizes: pl.DataFrame, metrics: Sequence[Metric], depth: int | None = None
) -> pl.DataFrame:
    """Return the expectation of a random order for every request, as a frame of the schema `metrics`.

    Args:
        truth: Frame of the schema `truth`.
        sizes: Rows (request_id, n, found): candidates of each request, and how many of them are relevant.
        metrics: What is expected.
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
    ]
    schema = {**dict.fromkeys(keys, pl.UInt32), "metric": pl.String, "value": pl.Float64}
    return (
        counted.join(pl.DataFrame(values, schema=schema), on=keys, maintain_order="left")
        .select(list(METRICS))
        .cast(METRICS)
    )

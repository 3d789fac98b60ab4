"""Accuracy of rankings: exact where the model ranked, expected over random orders where it was silent."""

from math import comb, log, log2

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrs_bench.config import Invalid
from llmrs_bench.metrics.found import Found
from llmrs_bench.metrics.names import ACCURACY, Metric
from llmrs_bench.metrics.scored import MOST_LOSS

Values = NDArray[np.float64]


def accuracy(metric: Metric, found: Found, invalid: Invalid) -> Values:
    """Return an accuracy metric of every request.

    Items that the model was silent about stand below those it ranked. With `expected` and `drop` the value is the mean
    over all orders of theirs, as if one was drawn; with `worst` those that are relevant are never found. A request
    without any ranking scores 0.
    """
    total = _told(metric, found)
    if invalid != "worst" and found.unsaid.any():
        total += _untold(metric, found)
    return total / _best(metric, found.relevant)


def answer(metric: Metric, found: Found) -> Values:
    """Return a metric of how the model answered, for every request."""
    if metric.name == "coverage":
        return (found.found > 0).astype(np.float64)
    if metric.name == "answered":
        return (found.ranked > 0).astype(np.float64)
    if metric.cutoff is not None:
        return np.asarray(np.minimum(found.ranked, metric.cutoff) / metric.cutoff)
    return np.asarray(found.ranked / np.maximum(found.ranked + found.silent, 1))


def _told(metric: Metric, found: Found) -> Values:
    """Return what the items that the model itself ranked contribute, before it is divided by the best."""
    k = metric.cutoff or np.inf
    within = np.isfinite(found.ranks) & (found.ranks <= k)
    ranks = np.where(within, found.ranks, 1.0)
    if metric.name == "mrr":
        gains = 1.0 / ranks
    elif metric.name == "map":
        place = np.arange(len(ranks)) - np.repeat(found.starts, found.relevant) + 1
        gains = place / ranks
    else:
        gains = 1.0 / np.log2(1.0 + ranks) if metric.name == "ndcg" else np.ones(len(ranks))
    reduce = np.maximum if metric.name in ("hit", "mrr") else np.add
    return np.asarray(reduce.reduceat(np.where(within, gains, 0.0), found.starts), dtype=np.float64)


def _untold(metric: Metric, found: Found) -> Values:
    """Return what is expected of the items that the model was silent about, before it is divided by the best."""
    keys = ["ranked", "silent", "unsaid", "found"]
    rows = pl.DataFrame({name: getattr(found, name) for name in keys})
    cases = rows.filter(pl.col("unsaid") > 0).unique()
    expected = [completion(metric, *case) for case in cases.iter_rows()]
    told = cases.with_columns(value=pl.Series(expected, dtype=pl.Float64))
    values = rows.join(told, on=keys, how="left", maintain_order="left")
    return values["value"].fill_null(0.0).to_numpy()


def completion(metric: Metric, ranked: int, silent: int, relevant: int, found: int) -> float:
    """Return the exact expectation of what silent items add to a metric when their order is drawn at random.

    They fill the ranks from `ranked` + 1 on, each of their orders as likely as any other. For `hit` and `mrr`, which
    look at the first relevant item alone, they add nothing where one was found.

    Args:
        metric: One of `ACCURACY`.
        ranked: How many items stand above them.
        silent: How many they are.
        relevant: How many of them are relevant.
        found: How many relevant items stand above them.
    """
    within = silent if metric.cutoff is None else min(max(metric.cutoff - ranked, 0), silent)
    first = metric.name in ("hit", "mrr")
    if not within or not relevant or (first and found):
        return 0.0
    if metric.name == "hit":
        return 1.0 - comb(silent - within, relevant) / comb(silent, relevant)
    if metric.name == "mrr":  # the first relevant one of them is at place p: the others are behind it
        places = range(1, min(within, silent - relevant + 1) + 1)
        return sum(comb(silent - p, relevant - 1) / (ranked + p) for p in places) / comb(silent, relevant)
    share = relevant / silent
    if metric.name == "ndcg":
        return share * sum(1.0 / log2(1 + ranked + p) for p in range(1, within + 1))
    if metric.name == "map":  # where place p is relevant, so many relevant ones are expected up to it
        others = (relevant - 1) / max(silent - 1, 1)
        return share * sum((found + 1 + others * (p - 1)) / (ranked + p) for p in range(1, within + 1))
    return share * within


def _best(metric: Metric, relevant: NDArray[np.int64]) -> Values:
    """Return what `_told` and `_untold` are divided by."""
    if metric.name in ("hit", "mrr"):
        return np.ones(len(relevant))
    if metric.name == "precision":
        return np.full(len(relevant), float(metric.cutoff or 1))
    if metric.name != "ndcg":
        return relevant.astype(np.float64)
    most = int(relevant.max(initial=1))
    ideal = np.cumsum(1.0 / np.log2(np.arange(2, most + 2)))
    return np.asarray(ideal[np.minimum(relevant, metric.cutoff or most) - 1], dtype=np.float64)


def chance(metric: Metric, candidates: int, relevant: int = 1, found: int | None = None, depth: int = 0) -> float:
    """Return the exact expectation of a metric under a uniformly random order; NaN where it is not defined.

    Args:
        metric: The metric, none of those beyond accuracy.
        candidates: Number of candidates.
        relevant: How many items are relevant, at least 1.
        found: How many of those are among the candidates; None: all of them.
        depth: How many ranks are kept; 0: all of them.
    """
    n, m = candidates, relevant if found is None else found
    if metric.name == "answered":
        return float(n > 0)
    if metric.name == "listed":
        return min(n, metric.cutoff) / metric.cutoff if metric.cutoff else float(n > 0)
    if metric.name == "coverage":
        kept = Metric("hit", min(depth or n, n))
        return completion(kept, 0, n, m, 0)
    if metric.name == "auc":
        return m / relevant / 2 if n > m else float("nan")
    if metric.name == "log-loss":
        return (m * log(max(n, 1)) + (relevant - m) * MOST_LOSS) / relevant
    if metric.name not in ACCURACY:
        raise ValueError(f"{metric} has no chance level that sizes of lists decide")
    return completion(metric, 0, n, m, 0) / float(_best(metric, np.array([relevant]))[0])

"""Weights of runs, learned by cross-fitting: no user's own target has a part in the weights of that user."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrs_bench.errors import OptionError
from llmrs_bench.hashing import uniform_hash
from llmrs_bench.types import Progress

CUTOFF = 10
UNITS = 100
_GAIN = 1e-12  # what counts as better: more than sums of floats differ by

Units = tuple[int, ...]


@dataclass(frozen=True)
class Fitted:
    """Weights of the runs in each fold, and the fold of each request: rows (request_id, fold)."""

    weights: list[list[float]]
    folds: pl.DataFrame

    @property
    def by_request(self) -> pl.DataFrame:
        """Rows (request_id, w0, w1, ...)."""
        table = pl.DataFrame(
            {
                "fold": list(range(len(self.weights))),
                **{f"w{place}": list(column) for place, column in enumerate(zip(*self.weights, strict=True))},
            },
            schema_overrides={"fold": pl.Int64},
        )
        return self.folds.join(table, on="fold", maintain_order="left").drop("fold")


def cross_fit(
    standard: pl.DataFrame, requests: pl.DataFrame, truth: pl.DataFrame, *, folds: int, seed: int, progress: Progress
) -> Fitted:
    """Learn weights for every fold of users from the users of all other folds.

    This is cross-fitting (Chernozhukov et al., 2018) of a linear stack (Breiman, Stacked Regressions, 1996). Weights
    are at least 0, sum to 1 and are whole hundredths. They maximise the mean NDCG@10 of the weighted scores,
    itself and no smooth stand-in, by ascent along one pair of runs at a time (after the coordinate ascent
    of Metzler and Croft, Information Retrieval 10, 2007), from equal weights or from the best single run,
    whichever is better. With two runs every pair of weights is tried; with more it may end in a local maximum. Among
    equally good weights those nearest to equal ones are taken. Tied items share their mean rank.

    Args:
        standard: What `scores.standard_scores` returned.
        requests: Frame of the schema `requests`.
        truth: Frame of the schema `truth`.
        folds: How many; users are dealt to them in a seeded order.
        seed: Of that order.
        progress: Shows the folds.

    Raises:
        OptionError: If there are fewer users than folds.
    """
    dealt = _deal(requests, folds, seed)
    measured = _Objective(standard, dealt, truth, folds)
    count = standard.width - 2
    weights = []
    with progress("weights", folds) as step:
        for fold in range(folds):
            best = _ascend(lambda units, fold=fold: measured.without(fold, units), count)  # type: ignore[misc]
            weights.append([unit / UNITS for unit in best])
            step(fold + 1)
    return Fitted(weights, dealt)


def _deal(requests: pl.DataFrame, folds: int, seed: int) -> pl.DataFrame:
    """Return rows (request_id, fold); all requests of a user are in one fold."""
    users = requests.select("user_id").unique().sort("user_id")
    if users.height < folds:
        raise OptionError(
            f"{folds} folds need {folds} users, the data set has {users.height}", hint="Set -O folds=2, or take rrf."
        )
    order = users.with_columns(place=pl.Series(uniform_hash(seed, users["user_id"]))).sort("place")
    order = order.select("user_id", fold=pl.int_range(pl.len()) % folds)
    return requests.select("request_id", "user_id").join(order, on="user_id", maintain_order="left").drop("user_id")


class _Objective:
    """The mean NDCG@10 of the requests outside a fold, for any weights."""

    def __init__(self, standard: pl.DataFrame, dealt: pl.DataFrame, truth: pl.DataFrame, folds: int) -> None:
        relevant = truth.filter(pl.col("label") > 0).select("request_id", "item_id")
        counts = relevant.group_by("request_id").len("relevant").join(dealt, on="request_id").sort("request_id")
        targets = relevant.join(standard, on=["request_id", "item_id"]).sort("request_id", "item_id")
        targets = targets.with_row_index("row").join(
            counts.with_row_index("request").select("request_id", "request"), on="request_id", maintain_order="left"
        )
        names = standard.columns[2:]
        rivals = targets.select("row", "request_id", *(pl.col(name).alias(f"t{name}") for name in names)).join(
            standard, on="request_id", maintain_order="left"
        )
        self._ahead = rivals.select(pl.col(name) - pl.col(f"t{name}") for name in names).to_numpy()
        self._row = rivals["row"].to_numpy().astype(np.int64)
        self._request = targets["request"].to_numpy().astype(np.int64)
        self._rows = targets.height
        self._fold = counts["fold"].to_numpy().astype(np.int64)
        best = np.cumsum(1 / np.log2(np.arange(2, CUTOFF + 2)))
        self._ideal = best[np.minimum(counts["relevant"].to_numpy(), CUTOFF) - 1]
        self._sizes = np.bincount(self._fold, minlength=folds)
        self._known: dict[Units, NDArray[Any]] = {}

    def without(self, fold: int, units: Units) -> float:
        """Return the mean over all requests that are not of `fold`."""
        if units not in self._known:
            values = self._values(np.asarray(units, dtype=np.float64) / UNITS)
            self._known[units] = np.bincount(self._fold, values, minlength=len(self._sizes))
        sums = self._known[units]
        return float(sums.sum() - sums[fold]) / max(int(self._sizes.sum() - self._sizes[fold]), 1)

    def _values(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return NDCG@10 of each request."""
        ahead = self._ahead @ weights
        above = np.bincount(self._row, ahead > 0, minlength=self._rows)
        tied = np.bincount(self._row, ahead == 0, minlength=self._rows) - 1  # the target ties with itself
        rank = 1 + above + tied / 2
        gain = np.where(rank <= CUTOFF, 1 / np.log2(1 + rank), 0.0)
        return np.asarray(np.bincount(self._request, gain, minlength=len(self._fold)) / self._ideal)


def _ascend(objective: Callable[[Units], float], count: int) -> Units:
    """Return weights that no exchange between two runs makes better."""
    equal = tuple(UNITS // count + (place < UNITS % count) for place in range(count))
    singles = [tuple(UNITS * (place == run) for place in range(count)) for run in range(count)]

    def nearness(units: Units) -> int:
        return -sum((unit - even) ** 2 for unit, even in zip(units, equal, strict=True))

    def first(options: list[Units]) -> Units:
        return max(options, key=lambda units: (round(objective(units) / _GAIN), nearness(units), units))

    best = first([equal, *singles])
    while True:
        found = first([best, *_exchanges(best)])
        if objective(found) <= objective(best) + _GAIN:
            return best if nearness(best) >= nearness(found) else found
        best = found


def _exchanges(units: Units) -> list[Units]:
    """Return all weights in which one run has given some of its weight to another."""
    found = []
    for giver, taker in permutations(range(len(units)), 2):
        for amount in range(1, units[giver] + 1):
            moved = list(units)
            moved[giver] -= amount
            moved[taker] += amount
            found.append(tuple(moved))
    return found

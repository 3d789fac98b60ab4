"""Several rankings of one request joined into one, and the weights of that."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.hashing import uniform_hash
from llmrs_bench.core.types import Progress

_PAIR = ["request_id", "item_id"]


def reciprocal_rank(runs: Sequence[pl.DataFrame], k: int) -> pl.DataFrame:
    """Return the sum over runs of 1 / (k + rank) (Cormack, Clarke and Büttcher, SIGIR 2009, who take k = 60).

    Equal scores of a run share their mean rank; an item that a run did not rank gets nothing from it, and one that none
    ranked stays unranked.

    Args:
        runs: Frames of the schema `rankings`, over the same requests.
        k: The constant; the larger it is, the less the first ranks stand out.

    Returns:
        Rows (request_id, item_id, score).
    """
    rank = pl.col("score").rank("average", descending=True).over("request_id")
    points = _side_by_side([_scored(run).select(*_PAIR, points=1 / (k + rank)) for run in runs])
    return points.select(*_PAIR, score=pl.sum_horizontal(pl.exclude(_PAIR).fill_null(0.0)))


def standard_scores(runs: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return the standardised score of every item in every run: its distance from the mean in standard deviations.

    Mean and standard deviation (of the population) are those of the items that the run scores in the request; where
    all are equal every item gets 0. An item that one run did not rank gets that run's lowest value of
    the request, because unranked items come after all others; a run that ranks nothing of the request gives 0 to
    all. Items that no run ranked are left out.

    Args:
        runs: Frames of the schema `rankings`, over the same requests.

    Returns:
        Rows (request_id, item_id, 0, 1, ...), a column for each run.
    """
    score = pl.col("score")
    low, high = score.min().over("request_id"), score.max().over("request_id")
    distance = (score - score.mean().over("request_id")) / score.std(ddof=0).over("request_id")
    even = pl.when(low < high).then(distance).otherwise(0.0)
    wide = _side_by_side([_scored(run).select(*_PAIR, points=even) for run in runs])
    names = [str(place) for place in range(len(runs))]
    lowest = [pl.col(name).min().over("request_id") for name in names]
    return wide.with_columns(
        pl.col(name).fill_null(least).fill_null(0.0) for name, least in zip(names, lowest, strict=True)
    )


def mean_score(standard: pl.DataFrame) -> pl.DataFrame:
    """Return the mean of the runs' standardised scores (Montague and Aslam, CIKM 2001: zero mean, unit variance)."""
    return standard.select(*_PAIR, score=pl.mean_horizontal(pl.exclude(_PAIR)))


def weighted_score(standard: pl.DataFrame, weights: pl.DataFrame) -> pl.DataFrame:
    """Return the sum of the runs' standardised scores times the weights of the request.

    Args:
        standard: What `standard_scores` returned.
        weights: Rows (request_id, w0, w1, ...), a weight for each run.
    """
    names = standard.columns[len(_PAIR) :]
    terms = [pl.col(name) * pl.col(f"w{name}") for name in names]
    return standard.join(weights, on="request_id", maintain_order="left").select(*_PAIR, score=pl.sum_horizontal(terms))


def best_of(runs: Sequence[pl.DataFrame], values: Sequence[pl.DataFrame]) -> tuple[pl.DataFrame, list[int]]:
    """Return for each request the whole ranking of the run that did best, and how often each run was better than all.

    Args:
        runs: Frames of the schema `rankings`.
        values: Of each run, rows (request_id, and numbers): higher is better, the first column counts first. Where
            several are equal the first run is taken, and none was better than all.
    """
    numbers = [column for column in values[0].columns if column != "request_id"]
    marked = pl.concat([value.with_columns(run=pl.lit(place, pl.Int32)) for place, value in enumerate(values)])
    ordered = marked.sort([*numbers, "run"], descending=[True] * len(numbers) + [False])
    ordered = ordered.with_columns(rivals=pl.len().over("request_id", *numbers))
    best = ordered.unique("request_id", keep="first", maintain_order=True)
    taken = [
        run.join(best.filter(pl.col("run") == place), on="request_id", how="semi") for place, run in enumerate(runs)
    ]
    alone = best.filter(pl.col("rivals") == 1)["run"]
    return pl.concat(taken).sort("request_id", "rank"), [int((alone == place).sum()) for place in range(len(runs))]


def _scored(run: pl.DataFrame) -> pl.DataFrame:
    return run.filter(pl.col("score").is_not_null())


def _side_by_side(runs: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return a column of points for each run, named 0, 1, ..., null where it has none for an item."""
    wide = pl.concat([run.select(_PAIR) for run in runs]).unique().sort(_PAIR)
    for place, run in enumerate(runs):
        wide = wide.join(run.rename({"points": str(place)}), on=_PAIR, how="left", maintain_order="left")
    return wide


CUTOFF = 10
UNITS = 100
_GAIN = 1e-12  # what counts as better: more than sums of floats differ by

Units = tuple[int, ...]


@dataclass(frozen=True)
class FittedWeights:
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
) -> FittedWeights:
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
    return FittedWeights(weights, dealt)


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

"""Several rankings of one request joined into one: by scores, by weights, or one after the other."""

from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrs_bench.core.errors import OptionError

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


def weighted_score(standard: pl.DataFrame, weights: Sequence[float]) -> pl.DataFrame:
    """Return the sum of the runs' standardised scores times their weights.

    Args:
        standard: What `standard_scores` returned.
        weights: One for each run.
    """
    terms = [pl.col(name) * weight for name, weight in zip(standard.columns[len(_PAIR) :], weights, strict=True)]
    return standard.select(*_PAIR, score=pl.sum_horizontal(terms))


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


def fit_weights(standard: pl.DataFrame, truth: pl.DataFrame) -> list[float]:
    """Return the weight of each run that does best on some requests, for other ones.

    This is a linear stack (Breiman, Stacked Regressions, 1996). Weights are at least 0, sum to 1 and are whole
    hundredths. They maximise the mean NDCG@10 of the weighted scores, itself and no smooth stand-in, by ascent along
    one pair of runs at a time (after the coordinate ascent of Metzler and Croft, Information Retrieval 10, 2007), from
    equal weights or from the best single run, whichever is better. With two runs every pair of weights is tried; with
    more it may end in a local maximum. Among equally good weights those nearest to equal ones are taken. Tied items
    share their mean rank.

    Args:
        standard: What `standard_scores` returned, of requests of validation.
        truth: Frame of the schema `truth`, of the same requests.

    Raises:
        OptionError: If no request has a target.
    """
    measured = _Objective(standard, truth)
    return [unit / UNITS for unit in _ascend(measured, standard.width - len(_PAIR))]


class _Objective:
    """The mean NDCG@10 of requests, for any weights."""

    def __init__(self, standard: pl.DataFrame, truth: pl.DataFrame) -> None:
        relevant = truth.filter(pl.col("label") > 0).select("request_id", "item_id")
        counts = relevant.group_by("request_id").len("relevant").sort("request_id")
        if counts.is_empty():
            raise OptionError("no validation request has a target to learn weights from", hint="Prepare more users.")
        targets = relevant.join(standard, on=_PAIR).sort(_PAIR)
        targets = targets.with_row_index("row").join(
            counts.with_row_index("request").select("request_id", "request"), on="request_id", maintain_order="left"
        )
        names = standard.columns[len(_PAIR) :]
        rivals = targets.select("row", "request_id", *(pl.col(name).alias(f"t{name}") for name in names)).join(
            standard, on="request_id", maintain_order="left"
        )
        self._ahead = rivals.select(pl.col(name) - pl.col(f"t{name}") for name in names).to_numpy()
        self._row = rivals["row"].to_numpy().astype(np.int64)
        self._request = targets["request"].to_numpy().astype(np.int64)
        self._rows, self._requests = targets.height, counts.height
        best = np.cumsum(1 / np.log2(np.arange(2, CUTOFF + 2)))
        self._ideal = best[np.minimum(counts["relevant"].to_numpy(), CUTOFF) - 1]
        self._known: dict[Units, float] = {}

    def __call__(self, units: Units) -> float:
        """Return the mean with these weights."""
        if units not in self._known:
            self._known[units] = float(self._values(np.asarray(units, dtype=np.float64) / UNITS).mean())
        return self._known[units]

    def _values(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return NDCG@10 of each request."""
        ahead = self._ahead @ weights
        above = np.bincount(self._row, ahead > 0, minlength=self._rows)
        tied = np.bincount(self._row, ahead == 0, minlength=self._rows) - 1  # the target ties with itself
        rank = 1 + above + tied / 2
        gain = np.where(rank <= CUTOFF, 1 / np.log2(1 + rank), 0.0)
        return np.asarray(np.bincount(self._request, gain, minlength=self._requests) / self._ideal)


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


Doubt = Literal["margin", "entropy"]


def doubts(run: pl.DataFrame, by: Doubt) -> pl.DataFrame:
    """Return how unsure a run is of each request, from its scores alone: the higher, the less sure.

    Scores are standardised in each request, as recommenders differ in their units. `margin` is the distance of the best
    score to the next, negated; `entropy` that of the softmax of the scores (Shannon), by that of equal scores. What
    ranks nothing of a request is the least sure; what has one item to rank is the surest.

    Args:
        run: Frame of the schema `rankings`.
        by: How it is measured.

    Returns:
        Rows (request_id, doubt).
    """
    standard = standard_scores([run]).rename({"0": "score"})
    if by == "margin":
        best = pl.col("score").top_k(2)
        doubt = pl.when(pl.len() > 1).then(best.min() - best.max()).otherwise(-np.inf)
    else:
        share = pl.col("score").exp() / pl.col("score").exp().sum()
        doubt = pl.when(pl.len() > 1).then(-(share * share.log()).sum() / pl.len().log()).otherwise(0.0)
    found = standard.group_by("request_id").agg(doubt=doubt)
    asked = run.select("request_id").unique(maintain_order=True)
    return asked.join(found, on="request_id", how="left", maintain_order="left").with_columns(
        pl.col("doubt").fill_null(np.inf)
    )


def threshold(found: pl.Series, budget: float) -> float:
    """Return the doubt above which lies this share of requests at most: the empirical quantile.

    -inf: all of them; inf, for a share of 0: none, of other requests either.
    """
    if not budget:
        return np.inf
    asked = round(budget * len(found))
    ordered = found.sort(descending=True)
    return float(ordered[asked]) if asked < len(ordered) else -np.inf


def cascade(first: pl.DataFrame, second: pl.DataFrame, asked: pl.Series, top: int | None) -> pl.DataFrame:
    """Return the first run's ranking, with its best items in the order of the second run for the requests `asked`.

    What both runs leave unranked stays so. Items that the second run ties, or does not rank, are in the first one's
    order.

    Args:
        first: Frame of the schema `rankings`.
        second: The same.
        asked: Ids of the requests for which the second run is asked.
        top: How many of the first run's best items it orders; None: all.

    Returns:
        Rows (request_id, item_id, score).
    """
    other = second.filter(pl.col("request_id").is_in(asked.implode())).select(*_PAIR, theirs="score", place="rank")
    rows = first.join(other, on=_PAIR, how="full" if top is None else "left", coalesce=True)
    inside = pl.col("request_id").is_in(asked.implode()) & (pl.lit(True) if top is None else pl.col("rank") <= top)
    known = pl.when(inside).then(pl.col("theirs").is_not_null() | pl.col("score").is_not_null())
    rows = rows.with_columns(inside=inside, ranked=known.otherwise(pl.col("score").is_not_null()))
    theirs = pl.when("inside").then(-pl.col("theirs"))
    rows = rows.sort("request_id", ~pl.col("inside"), theirs, "rank", "place", nulls_last=True)
    place = -pl.int_range(pl.len()).over("request_id").cast(pl.Float64)
    mixed = pl.col("request_id").is_in(asked.implode())
    score = pl.when(mixed).then(place).otherwise("score")
    return rows.filter("ranked").select(*_PAIR, score=score)

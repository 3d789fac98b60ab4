"""Beyond accuracy: how popular, novel, diverse and already known the first items of each request are.

All are means over the first k items of a request, k being cut to the length of its list. Items that the model did
not rank count with the chance at which they would fill what it left free of these k places, under every policy:
nothing here is better or worse. A request without a ranking has no value.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrs_bench.core.errors import ArtifactError
from llmrs_bench.core.schemas import INTERACTIONS, ITEMS, REQUESTS
from llmrs_bench.metrics.accuracy import PAIR
from llmrs_bench.metrics.names import Metric

_CHUNK = 256
ORDERS = 200  # random orders of unranked items over which Gini is averaged
_SEED = 20261127


@dataclass(frozen=True, slots=True)
class Background:
    """What is known beside truth and rankings, as frames of their schemas; a metric's `needs` says what it reads."""

    interactions: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=INTERACTIONS))
    requests: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=REQUESTS))
    items: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=ITEMS))


def shown(rankings: pl.DataFrame, cutoff: int) -> pl.DataFrame:
    """Return the items that are, or may be, among the first of each request.

    Args:
        rankings: Frame of the schema `rankings`.
        cutoff: How many are the first.

    Returns:
        Rows (request_id, item_id, own, weight, pair): `own` says that the model ranked it; `weight` is the chance that
        it is among the first, 1 or less; `pair` the chance that two given unranked items of its request are.
    """
    own = pl.col("score").is_not_null()
    sizes = rankings.group_by("request_id").agg(ranked=own.sum().cast(pl.Int64), unranked=(~own).sum().cast(pl.Int64))
    free = pl.min_horizontal(pl.max_horizontal(cutoff - pl.col("ranked"), 0), "unranked")
    pairs = free * (free - 1) / pl.max_horizontal(pl.col("unranked") * (pl.col("unranked") - 1), 1)
    weight = pl.when(own).then((pl.col("rank") <= cutoff).cast(pl.Float64)).otherwise(pl.col("weight"))
    return (
        rankings.select(*PAIR, "rank", "score")
        .join(sizes.select("request_id", weight=free / pl.col("unranked"), pair=pairs), on="request_id")
        .select(*PAIR, own=own, weight=weight, pair="pair")
        .filter(pl.col("weight") > 0)
    )


def beyond(metric: Metric, rankings: pl.DataFrame, background: Background) -> pl.DataFrame:
    """Return a metric beyond accuracy.

    - `popularity@k`: mean number of events of an item in the interactions that models may see: the average
      recommendation popularity of Yin et al. (VLDB 2012).
    - `popularity-lift@k`: how much more popular the items are than those of the user's history, as a share of the
      latter: (mean of the first k - mean of the history) / mean of the history. Popularity lift of Abdollahpouri et al.
      (RecSys 2020), here for each request instead of a group of users. Requests without a history have no value.
    - `novelty@k`: mean self-information -log2 p(i) of an item, in bits, where p is its share of all events: the
      expected free discovery of Vargas and Castells (RecSys 2011) without a discount of ranks. No events count as one.
    - `history-copy@k`: share of the items that stand in the request's history; always 0 where candidates leave out
      what a user has seen. The repetition ratio of Li et al. (TOIS 2023). What a model copies where it should have
      named candidates is no part of a ranking: the kind `history` of responses counts that.
    - `diversity@k`: see `diversity`.

    Returns:
        Rows (request_id, value); requests for which it is not defined are absent.
    """
    rows = shown(rankings, metric.cutoff or 1)
    if metric.name == "diversity":
        return diversity(rows, background.items)
    if metric.name == "history-copy":
        return _mean(rows, _history(background).unique().with_columns(value=1.0), PAIR)
    events = background.interactions.group_by("item_id").len("events")
    if metric.name == "novelty":
        seen = pl.max_horizontal(pl.col("events").fill_null(0), 1)
        bits = -(seen / events["events"].sum()).log(2.0)
        known = rows.select(pl.col("item_id").unique()).join(events, on="item_id", how="left")
        return _mean(rows, known.select("item_id", value=bits), ["item_id"])
    counts = events.select("item_id", value=pl.col("events").cast(pl.Float64))
    means = _mean(rows, counts, ["item_id"])
    if metric.name == "popularity":
        return means
    past = _mean(_history(background).with_columns(weight=1.0), counts, ["item_id"]).filter(pl.col("value") > 0)
    both = means.join(past, on="request_id", suffix="_past")
    return both.select("request_id", value=pl.col("value") / pl.col("value_past") - 1.0)


def diversity(rows: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """Return the intra-list diversity over categories of each request.

    That is the mean over all pairs of items of 1 - |A and B| / |A or B| for their sets of categories: the complement of
    the intra-list similarity of Ziegler et al. (WWW 2005) with the Jaccard index, as a mean over pairs (Zhang and
    Hurley, RecSys 2008). Pairs in which an item has no category are left out; of unranked items it is the ratio of the
    expected sum to the expected number of pairs.

    Args:
        rows: What `shown` returned.
        items: Frame of the schema `items`.

    Returns:
        Rows (request_id, value); requests without a pair are absent.

    Raises:
        ArtifactError: If no item has a category.
    """
    sets = (
        items.select("item_id", set=pl.col("categories").list.drop_nulls().list.unique().list.sort())
        .filter(pl.col("set").list.len() > 0)
        .with_columns(code=pl.col("set").rank("dense") - 1)
    )
    if sets.is_empty():
        raise ArtifactError("diversity compares categories, and no item has any", hint="Leave out diversity@K.")
    table = sets.select("code", "set").unique().sort("code")["set"].to_list()
    coded = rows.join(sets.select("item_id", "code"), on="item_id").sort("request_id")
    found = list(_diversities(coded, table))
    return pl.concat(found) if found else pl.DataFrame(schema={"request_id": pl.String, "value": pl.Float64})


def _diversities(rows: pl.DataFrame, sets: list[list[str]]) -> Iterator[pl.DataFrame]:
    """Yield values for some requests at a time; requests times distinct sets of theirs have to fit into memory."""
    ends = rows["request_id"].rle().struct.field("len").cum_sum().to_list()
    bounds = [0, *ends[_CHUNK - 1 :: _CHUNK], len(rows)]
    for first, last in pairwise(dict.fromkeys(bounds)):
        part = rows[first:last]
        codes, columns = np.unique(part["code"].to_numpy(), return_inverse=True)
        apart = category_distances([sets[code] for code in codes])
        lines = part["request_id"].rle_id().to_numpy()
        own, height = part["own"].to_numpy(), int(lines.max()) + 1
        told, untold = (_counts(lines[mask], columns[mask], height, len(codes)) for mask in (own, ~own))
        chances = part.group_by("request_id", maintain_order=True).agg(
            one=pl.col("weight").filter(~pl.col("own")).first(), two=pl.col("pair").first()
        )
        one, two = (chances[name].fill_null(0.0).to_numpy() for name in ("one", "two"))
        near, far = told @ apart, untold @ apart
        total = _dot(told, near) / 2 + one * _dot(untold, near) + two * _dot(untold, far) / 2
        a, b = told.sum(1), untold.sum(1)
        number = a * (a - 1) / 2 + one * a * b + two * b * (b - 1) / 2
        values = np.divide(total, number, out=np.full(height, np.nan), where=number > 0)
        yield chances.select("request_id", value=pl.Series(values)).filter(pl.col("value").is_not_nan())


def _counts(lines: NDArray[np.uint32], columns: NDArray[np.int64], height: int, width: int) -> NDArray[np.float64]:
    flat = np.bincount(lines.astype(np.int64) * width + columns, minlength=height * width)
    return flat.reshape(height, width).astype(np.float64)


def _dot(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((left * right).sum(1), dtype=np.float64)


def category_distances(sets: list[list[str]]) -> NDArray[np.float64]:
    """Return 1 - the Jaccard index of all pairs of sets, none of them empty, as a square matrix."""
    names = {name: at for at, name in enumerate(sorted({name for one in sets for name in one}))}
    held = np.zeros((len(sets), len(names)))
    for line, one in enumerate(sets):
        held[line, [names[name] for name in one]] = 1.0
    both, sizes = held @ held.T, held.sum(1)
    return np.asarray(1.0 - both / (sizes[:, None] + sizes[None, :] - both))


def _history(background: Background) -> pl.DataFrame:
    lists = background.requests.select("request_id", item_id="history")
    return lists.explode("item_id", empty_as_null=True).drop_nulls()


def _mean(rows: pl.DataFrame, values: pl.DataFrame, on: list[str]) -> pl.DataFrame:
    """Return the weighted mean over the rows of each request; what `values` does not know is 0."""
    told = rows.join(values, on=on, how="left").with_columns(pl.col("value").fill_null(0.0))
    weight = pl.col("weight")
    return told.group_by("request_id").agg(value=(weight * pl.col("value")).sum() / weight.sum())


def catalogue_figures(
    rankings: Iterable[pl.DataFrame], items: pl.DataFrame, metrics: Sequence[Metric]
) -> dict[str, float]:
    """Return the metrics that are no means over requests, by their printed names.

    - `catalogue-coverage@k`: share of the items of the catalogue that are among the first k of some request (Ge et al.,
      RecSys 2010; aggregate diversity of Adomavicius and Kwon 2012, as a share).
    - `gini@k`: inequality of how often the items of the catalogue are among the first k, those that never are
      included: sum over j of (2j - n - 1) p_j, over n - 1, for n items with shares p in ascending order (Shani and
      Gunawardana 2011). 0: all equally often; 1: always the same one.

    Of items that a model did not rank, coverage is the expectation over their orders. Gini, which the expected numbers
    do not decide, is its mean over `ORDERS` seeded random orders of them. Lists of candidates limit both: compare them
    for the same lists alone, with the row of chance beside them.

    Args:
        rankings: Frames of the schema `rankings`, each of other requests; items that the catalogue does not hold are
            left out.
        items: The catalogue; frame with the column item_id.
        metrics: Those wanted; where nothing is ranked, none is returned.
    """
    counts = {metric: (_Times if metric.name == "gini" else _Reached)(items["item_id"]) for metric in metrics}
    for part in rankings:
        for metric, count in counts.items():
            count.add(shown(part, metric.cutoff or 1))
    return {str(metric): value for metric, count in counts.items() if (value := count.figure()) is not None}


class _Reached:
    """How probable it is for each item of a catalogue that it is never among the first."""

    def __init__(self, items: pl.Series) -> None:
        self._items = items.to_frame()
        self._parts: list[pl.DataFrame] = []

    def add(self, rows: pl.DataFrame) -> None:
        """Take what `shown` returned of other requests."""
        found = rows.join(self._items, on="item_id", how="semi").group_by("item_id")
        self._parts.append(found.agg(never=(-pl.col("weight")).log1p().sum()))

    def figure(self) -> float | None:
        """Return the coverage; None where nothing was shown."""
        if not any(map(len, self._parts)):
            return None
        every = self._items.join(pl.concat(self._parts).group_by("item_id").sum(), on="item_id", how="left")
        return float(every.select((1.0 - pl.col("never").fill_null(0.0).exp()).mean()).item())


class _Times:
    """How often each item of a catalogue is among the first, in each of several orders of what was not ranked."""

    def __init__(self, items: pl.Series) -> None:
        self._size = len(items)
        self._codes = pl.DataFrame({"item_id": items, "code": np.arange(len(items))})
        self._sure = np.zeros(self._size + 1)  # the last one is for items that the catalogue does not hold
        self._drawn: NDArray[np.int32] | None = None
        self._rng = np.random.default_rng(_SEED)

    def add(self, rows: pl.DataFrame) -> None:
        """Take what `shown` returned of other requests."""
        coded = rows.join(self._codes, on="item_id", how="left", maintain_order="left")
        coded = coded.with_columns(pl.col("code").fill_null(self._size))
        self._count(coded.filter(pl.col("weight") >= 1)["code"].to_numpy(), 1)
        open_lists = (
            coded.filter(pl.col("weight") < 1)
            .group_by("request_id", maintain_order=True)
            .agg("code", free=pl.col("weight").sum().round().cast(pl.Int64))
            .with_columns(size=pl.col("code").list.len().cast(pl.Int64))
            # Where more are shown than not, those that are not are drawn.
            .with_columns(number=pl.min_horizontal("free", pl.col("size") - pl.col("free")))
        )
        for (number, free_are_drawn), part in open_lists.group_by(
            "number", pl.col("free") == pl.col("number"), maintain_order=True
        ):
            codes = part["code"].explode(empty_as_null=True).to_numpy()
            sizes = part["size"].to_numpy()[:, None]
            first = np.cumsum(sizes, axis=0) - sizes
            if not free_are_drawn:
                self._count(codes, 1)
            if self._drawn is None:
                self._drawn = np.zeros((ORDERS, self._size + 1), dtype=np.int32)
            for times in self._drawn:
                picks = codes[first + _distinct(self._rng, sizes, int(str(number)))]
                np.add.at(times, picks.ravel(), 1 if free_are_drawn else -1)

    def _count(self, codes: NDArray[np.int64], each: int) -> None:
        self._sure += each * np.bincount(codes, minlength=self._size + 1)

    def figure(self) -> float | None:
        """Return the mean Gini index; None where nothing was shown."""
        drawn = [np.zeros(1)] if self._drawn is None else self._drawn
        every = [(self._sure + times)[:-1] for times in drawn]
        found = [gini(pl.Series(times)) for times in every if times.any()]
        return float(np.mean(found)) if found else None


def _distinct(rng: np.random.Generator, sizes: NDArray[np.int64], number: int) -> NDArray[np.int64]:
    """Return `number` different numbers below each size, all sets equally probable.

    Args:
        rng: Source of the numbers.
        sizes: One a line, shape (lines, 1), none of them below `number`.
        number: How many.

    Returns:
        Shape (lines, number).
    """
    picks = np.sort(rng.integers(sizes, size=(len(sizes), number)), axis=1)
    while (again := picks[:, 1:] == picks[:, :-1]).any():
        lines, columns = again.nonzero()
        picks[lines, columns + 1] = rng.integers(sizes[lines, 0])
        picks = np.sort(picks, axis=1)
    return picks


def gini(times: pl.Series) -> float:
    """Return the Gini index of numbers, 0 where all are equal and 1 where one has everything."""
    values = np.sort(times.to_numpy().astype(np.float64))
    n = len(values)
    return float(((2 * np.arange(1, n + 1) - n - 1) * values).sum() / (values.sum() * max(n - 1, 1)))

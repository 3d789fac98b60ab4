"""Points of the items of each request in every run, and how they become one score."""

from collections.abc import Sequence

import polars as pl

_PAIR = ["request_id", "item_id"]


def reciprocal_rank(runs: Sequence[pl.DataFrame], k: int) -> pl.DataFrame:
    """Return the sum over runs of 1 / (k + rank) (Cormack, Clarke and Büttcher, SIGIR 2009, who take k = 60).

    Equal scores of a run share their mean rank; an item a run is silent about gets nothing from it, and one that all
    are silent about stays silent.

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
    all are equal every item gets 0. An item that one run is silent about gets that run's lowest value of
    the request, because silent items rank after all others; a run that is silent about the whole request gives 0 to
    all. Items that all runs are silent about are left out.

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

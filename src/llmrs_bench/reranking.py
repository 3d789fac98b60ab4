"""One ranking ordered again for another goal than accuracy, by rules that know nothing of language."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrs_bench.core.errors import ArtifactError
from llmrs_bench.metrics.beyond import category_distances

_PAIR = ["request_id", "item_id"]


def marginal_relevance(run: pl.DataFrame, items: pl.DataFrame, weight: float) -> pl.DataFrame:
    """Return a run in the order of maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998).

    Place by place it takes the item with the largest (1 - weight) x relevance - weight x similarity. Relevance falls
    evenly from 1 for the first item that the run ranked in the request to 0 for the last one. Similarity is the largest
    Jaccard index of the item's categories with those of an item already taken, 0 at the first place; an item without
    categories has 1, so that it never rises for being unknown. Of equal items the one that the run ranks higher comes
    first, and what it did not rank stays unranked.

    Args:
        run: Frame of the schema `rankings`.
        items: Frame of the schema `items`.
        weight: From 0, the order of the run, to 1, where relevance only decides the first place and between equals.

    Returns:
        Rows (request_id, item_id, score), where the score is minus the place.

    Raises:
        ArtifactError: If no item has a category.
    """
    sets = items.select("item_id", set=pl.col("categories").list.drop_nulls().list.unique().list.sort()).filter(
        pl.col("set").list.len() > 0
    )
    if sets.is_empty():
        raise ArtifactError(
            "maximal marginal relevance compares categories, and no item has any",
            hint="Take --method novelty, which reads the training events alone.",
        )
    sets = sets.with_columns(code=pl.col("set").rank("dense").cast(pl.Int64) - 1)
    table = sets.select("code", "set").unique().sort("code")["set"].to_list()
    rows = _relevance(run).join(sets.select("item_id", "code"), on="item_id", how="left", maintain_order="left")
    parts = rows.with_columns(pl.col("code").fill_null(-1)).partition_by("request_id", maintain_order=True)
    return pl.concat(
        [
            part.select(*_PAIR, score=pl.Series(-_places(part["relevance"].to_numpy(), _alike(part, table), weight)))
            for part in parts
        ]
        or [rows.select(*_PAIR, score="relevance")]
    )


def _alike(part: pl.DataFrame, table: list[list[str]]) -> NDArray[np.float64]:
    """Return (items, items) the similarity of the items of one request."""
    codes, columns = np.unique(part["code"].to_numpy(), return_inverse=True)
    known = codes >= 0
    alike = np.ones((len(codes), len(codes)))
    if known.any():
        alike[np.ix_(known, known)] = 1.0 - category_distances([table[code] for code in codes[known]])
    return np.asarray(alike[np.ix_(columns, columns)])


def _places(relevance: NDArray[np.float64], alike: NDArray[np.float64], weight: float) -> NDArray[np.float64]:
    """Return (items,) the place of each, from 1; items stand in the order of the run."""
    places, nearest = np.zeros(len(relevance)), np.zeros(len(relevance))
    for place in range(1, len(relevance) + 1):
        value = np.where(places == 0, (1 - weight) * relevance - weight * nearest, -np.inf)
        taken = int(np.argmax(np.round(value, 12)))
        places[taken] = place
        nearest = np.maximum(nearest, alike[taken])
    return places


def less_popular(run: pl.DataFrame, interactions: pl.DataFrame, weight: float) -> pl.DataFrame:
    """Return a run with items that few people know moved up.

    The score is (1 - weight) x relevance + weight x novelty. Relevance is that of `marginal_relevance`. Novelty is the
    self-information -log2 p of an item, as in the metric `novelty`, scaled to 0 for the most popular item that the run
    ranked in the request and 1 for the least popular one; where all are equally popular it is 0.

    Args:
        run: Frame of the schema `rankings`.
        interactions: The training events, with the column item_id.
        weight: From 0, the order of the run, to 1, the order of popularity turned round.

    Returns:
        Rows (request_id, item_id, score).
    """
    events = interactions.group_by("item_id").len("events")
    rows = _relevance(run).join(events, on="item_id", how="left", maintain_order="left")
    bits = -pl.max_horizontal(pl.col("events").fill_null(0), 1).log(2.0)
    low, high = bits.min().over("request_id"), bits.max().over("request_id")
    novel = pl.when(low < high).then((bits - low) / (high - low)).otherwise(0.0)
    return rows.select(*_PAIR, score=(1 - weight) * pl.col("relevance") + weight * novel)


def _relevance(run: pl.DataFrame) -> pl.DataFrame:
    """Return rows (request_id, item_id, relevance) of the items that a run ranked, in its order."""
    rows = run.filter(pl.col("score").is_not_null()).sort("request_id", "rank")
    last = pl.max_horizontal(pl.len().over("request_id") - 1, 1)
    place = pl.int_range(pl.len()).over("request_id")
    return rows.select(*_PAIR, relevance=1.0 - place / last)

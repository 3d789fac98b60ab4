"""What chance ranks: the items of every request, in no order."""

from collections.abc import Iterator

import polars as pl

from llmrs_bench.schemas import RANKINGS
from llmrs_bench.stages.home import Data

_ROWS = 2_000_000


def list_sizes(data: Data, truth: pl.DataFrame) -> pl.DataFrame:
    """Return for each request how many items are ranked, and how many of them are relevant.

    Args:
        data: The prepared data set.
        truth: Its truth.

    Returns:
        Rows (request_id, n, found).
    """
    requests, pair = data.artifact.table("requests"), ["request_id", "item_id"]
    relevant = truth.filter(pl.col("label") > 0).select(pair)
    if data.whole_catalogue:
        catalogue = data.artifact.table("items").select("item_id")
        history = "history" if not data.include_seen else pl.lit([], dtype=pl.List(pl.String))
        seen = (
            requests.select("request_id", item_id=history).explode("item_id").join(catalogue, on="item_id", how="semi")
        )
        left_out = seen.unique().group_by("request_id").len("left_out")
        counts = requests.select("request_id").join(left_out, on="request_id", how="left")
        sizes = counts.select("request_id", n=len(catalogue) - pl.col("left_out").fill_null(0))
        ranked = relevant.join(catalogue, on="item_id", how="semi").join(seen, on=pair, how="anti")
    else:
        sizes = requests.select("request_id", n=pl.col("candidates").list.len())
        lists = requests.select("request_id", item_id="candidates").explode("item_id")
        ranked = relevant.join(lists, on=pair, how="semi")
    found = ranked.group_by("request_id").len("found")
    return sizes.join(found, on="request_id", how="left").with_columns(pl.col("found").fill_null(0))


def unranked(data: Data) -> Iterator[pl.DataFrame]:
    """Yield frames of the schema `rankings` in which no item has a score, each of other requests."""
    requests = data.artifact.table("requests")
    catalogue = data.artifact.table("items").select("item_id")
    lists = requests["candidates"].list.len().max()
    longest = len(catalogue) if data.whole_catalogue or not isinstance(lists, int) else lists
    for part in requests.iter_slices(max(_ROWS // max(longest, 1), 1)):
        if not data.whole_catalogue:
            rows = _exploded(part, "candidates")
        else:
            rows = part.select("request_id").join(catalogue, how="cross")
            if not data.include_seen:
                rows = rows.join(_exploded(part, "history"), on=["request_id", "item_id"], how="anti")
        yield (
            rows.with_columns(rank=pl.int_range(1, pl.len() + 1).over("request_id"), score=None)
            .select(list(RANKINGS))
            .cast(RANKINGS)
        )


def _exploded(requests: pl.DataFrame, column: str) -> pl.DataFrame:
    return requests.select("request_id", item_id=column).explode("item_id", empty_as_null=True).drop_nulls()

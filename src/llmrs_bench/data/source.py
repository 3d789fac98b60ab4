"""What every loader returns, the contract of a data source, and the rules all of them share."""

from dataclasses import dataclass, field
from typing import Protocol

import polars as pl

from llmrs_bench.data.files import SourceFiles

# One row per event, in the order of the lines of the source; times are UTC seconds.
EVENTS = pl.Schema({"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Int64, "rating": pl.Float32})


@dataclass(frozen=True)
class Raw:
    """A raw source as two frames.

    Args:
        items: One row per listed item, of `schemas.ITEMS`; every item of `events` is in it.
        events: One row per event, of `EVENTS`, in line order.
        rules: Sentences on every rule that was applied to read it.
        facts: How often each was.
    """

    items: pl.DataFrame
    events: pl.DataFrame
    rules: tuple[str, ...] = ()
    facts: dict[str, int] = field(default_factory=dict)


class Source(Protocol):
    """Reads one layout of files. `files` is None where a data set needs none."""

    def accepts(self, files: SourceFiles | None) -> bool:
        """Say whether the files are of this layout, by their names."""
        ...

    def uses(self, files: SourceFiles | None) -> tuple[str, ...]:
        """Return the names of the files that `load` reads."""
        ...

    def load(self, files: SourceFiles | None) -> Raw:
        """Read the files.

        Raises:
            DataError: If a file is missing or malformed, naming the file and the line.
        """
        ...


def complete_items(raw: Raw) -> Raw:
    """Return `raw` with clean titles and a row for every item that has events.

    Titles lose control characters and line breaks, and runs of white space become one space. An item
    without a title, or without a row, gets its id as title; both are counted.
    """
    title = pl.col("title").str.replace_all(r"[\p{Cc}\s]+", " ").str.strip_chars()
    items = raw.items.with_columns(title)
    untitled = pl.col("title").is_null() | (pl.col("title") == "")
    facts = {**raw.facts, "items_without_title": items.select(untitled.sum()).item()}
    items = items.with_columns(pl.when(untitled).then("item_id").otherwise("title").alias("title"))
    rows = _missing_items(items, raw.events)
    facts["items_not_listed"] = rows.height
    rules = raw.rules
    if facts["items_without_title"]:
        rules = (*rules, "items without a title are called by their id")
    if rows.height:
        rules = (*rules, "items with events that the source does not list are called by their id")
    return Raw(pl.concat([items, rows]), raw.events, rules, facts)


def _missing_items(items: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    ids = events.select("item_id").drop_nulls().unique(maintain_order=True).join(items, on="item_id", how="anti")
    return ids.select(
        "item_id",
        pl.col("item_id").alias("title"),
        pl.lit("").alias("text"),
        pl.lit(None, dtype=pl.Int32).alias("year"),
        pl.lit([], dtype=pl.List(pl.String)).alias("categories"),
    )

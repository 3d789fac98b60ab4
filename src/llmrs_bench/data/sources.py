"""Data sources: what one is, and what all readers share."""

import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from html.entities import html5
from typing import Protocol

import numpy as np
import polars as pl

from llmrs_bench.core.errors import PluginError
from llmrs_bench.core.schemas import ITEMS
from llmrs_bench.data.codes import Codes, distinct, first_lines, fits
from llmrs_bench.data.files import SourceFiles

# One row per event, in the order of the lines of the source; times are UTC seconds, and may have fractions.
EVENTS = pl.Schema({"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Float64, "rating": pl.Float32})
# One row per list of items that a user was shown at a time, in the order of the source; `clicked` are those of `shown`
# that the user chose, in the same order.
IMPRESSIONS = pl.Schema(
    {
        "impression_id": pl.String(),
        "user_id": pl.String(),
        "timestamp": pl.Float64(),
        "shown": pl.List(pl.String()),
        "clicked": pl.List(pl.String()),
    }
)


@dataclass(frozen=True)
class Raw:
    """A raw source as two frames.

    Args:
        items: One row per listed item, of `schemas.ITEMS`; every item of `events` and `impressions` is in it.
        events: One row per event, of `EVENTS`, in line order.
        rules: Sentences on every rule that was applied to read it.
        facts: How often each was.
        warnings: Sentences on what a careful person would look at before going on.
        unchosen: Events, of `EVENTS`, of items that were shown and not chosen; never trained on, never a target.
        timeless: Whether nothing says when events were, not even their order; all times are then 0.
        impressions: What users were shown at a time, of `IMPRESSIONS`; the clicks are among `events`, too. What was
            shown and not clicked need not be among `unchosen`.
        labels: For each line of the source whether its event is among `events` or, in the same order, among `unchosen`;
            empty where the source has no column of labels.
        tested_from: The time, in UTC seconds, from which on the owner of the data tests; None where none is stated.
        columns: For each option that names columns, those that were read, by their roles.
        item_lines: The `first_lines` of the items of `events`, if known; empty if not.
    """

    items: pl.DataFrame
    events: pl.DataFrame
    rules: tuple[str, ...] = ()
    facts: dict[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    unchosen: pl.DataFrame = field(default_factory=EVENTS.to_frame)
    timeless: bool = False
    impressions: pl.DataFrame = field(default_factory=IMPRESSIONS.to_frame)
    labels: pl.Series = field(default_factory=lambda: pl.Series(dtype=pl.Boolean))
    tested_from: float | None = None
    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    item_lines: Codes = field(default_factory=lambda: np.empty(0, dtype=np.uint32))


class Source(Protocol):
    """Reads one layout of files, called its format. `files` is None where none are given or downloaded.

    A source is made without arguments; one that has `reads_columns` also takes `columns`, names of columns by their
    roles, and `unrated`, texts that mean no rating; one that has `reads_tables` takes what `data.tables.Tables` does.
    One with `check(files)` looks at the beginning of files for what `load` would refuse, such as a missing column, and
    returns whether anything says in which order events were.
    Its `item_word`, if it has one, is what prompts call an item. `complete_items` cleans titles, and adds items that
    have events alone.
    """

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


# What programs write for a value that is not there.
MISSING = ("nan", "NaN", "NAN", "None", "null", "NULL", "N/A", "n/a", "#N/A", "NA", "<NA>", "NaT", "undefined", r"\N")
# A letter, digit or sign: no blank, mark, control or format character, and no letter or sign that is drawn as nothing.
_VISIBLE = r"[^\p{C}\p{Z}\p{M}\x{115F}\x{1160}\x{3164}\x{FFA0}\x{2800}]"
BY_ID = "by their id"
LONG = 500  # characters; a title of a film or a product has a tenth of it
ENTITY = re.compile(r"&((?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});)")
TAG = re.compile(
    r"</?(b|i|u|em|strong|span|font|sup|sub|small|a|br|p|div|li|ul|ol)(?:\s[^<>]*)?/?>", flags=re.IGNORECASE
)
BLOCKS = ("br", "p", "div", "li", "ul", "ol")


def without_markup(text: str) -> str:
    """Return text without HTML: entities are decoded, tags of layout dropped; "<3" and "R&B" stay."""
    plain = TAG.sub(lambda tag: " " if tag[1].lower() in BLOCKS else "", text)
    return ENTITY.sub(
        lambda found: html.unescape(found[0]) if found[1].startswith("#") or found[1] in html5 else found[0], plain
    )


def markup_removed(column: pl.Series) -> pl.Series:
    """Return a column of strings without HTML."""
    marked = column.filter(column.str.contains("[&<]").fill_null(False)).unique()
    if marked.is_empty():
        return column
    return column.replace(marked, pl.Series([without_markup(text) for text in marked], dtype=pl.String))


def complete_items(raw: Raw) -> Raw:
    """Return `raw` with clean titles and a row for every item that has events or was shown.

    Titles lose HTML, control characters and line breaks, and runs of white space become one space. An item without a
    row, or without a title (also one that shows nothing, or is written as `MISSING`), gets its id as title; both are
    counted and warned about.
    """
    plain = markup_removed(raw.items["title"])
    marked = raw.items.select((pl.col("title") != plain).sum()).item()
    items = raw.items.with_columns(plain.str.replace_all(r"[\p{Cc}\s]+", " ").str.strip_chars().alias("title"))
    title = pl.col("title")
    untitled = title.is_in(MISSING).fill_null(True) | ~title.str.contains(_VISIBLE).fill_null(False)
    titles = items.filter(~untitled)["title"]
    items = items.with_columns(pl.when(untitled).then("item_id").otherwise("title").alias("title"))
    lines = items_of_events(raw)
    rows = _missing_items(items, raw, lines)
    facts = {
        **raw.facts,
        "items_without_title": items.height - len(titles),
        "items_not_listed": rows.height,
        "titles_with_markup": marked,
    }
    rules = raw.rules
    if marked:
        rules = (*rules, "HTML entities and tags in titles are decoded")
    if facts["items_without_title"]:
        rules = (*rules, f"items without a title are called {BY_ID}")
    if rows.height:
        rules = (*rules, f"items with events that the source does not list are called {BY_ID}")
    warnings = (*raw.warnings, *_title_warnings(items.height, titles, rows.height), *_mangled(raw.items["title"]))
    items = pl.concat([items, rows])
    return replace(raw, items=items, rules=rules, facts=facts, warnings=warnings, item_lines=lines)


def _title_warnings(listed: int, titles: pl.Series, unlisted: int) -> Iterator[str]:
    """Say what is odd about the titles of so many listed items, and of those that have events alone."""
    by_id = f"prompts call them {BY_ID}"
    if untitled := listed - len(titles):
        yield f"{untitled:,} of {listed:,} items have no title: {by_id}"
    if unlisted and listed:  # without a table of items a rule says so
        yield f"{unlisted:,} items with events are not in the table of items: {by_id}"
    if titles.n_unique() == 1 < len(titles):
        yield f"all {len(titles):,} titles are {titles[0]!r}: is that the column?"
    elif 0 < (distinct := titles.n_unique()) * 2 <= len(titles):
        yield f"{len(titles):,} items have {distinct:,} different titles, such as {titles[0]!r}: is that the column?"
    numbers = int(titles.str.contains(NO_TITLE).sum())
    if numbers * 2 > len(titles):
        example = titles.filter(titles.str.contains(NO_TITLE))[0]
        yield f"{numbers:,} of {len(titles):,} titles are numbers or links, such as {example!r}: is that the column?"
    lengths = titles.str.len_chars()
    if long := lengths.filter(lengths > LONG).to_list():
        yield f"{len(long):,} titles have more than {LONG} characters, the longest {max(long):,}"


# Text of one encoding that was read as another: UTF-8 as Latin-1 or cp1252, cp1252 as Latin-1, what could not be read.
MANGLED = r"[\x{80}-\x{9f}\x{fffd}]|[\x{c2}\x{c3}][\x{80}-\x{bf}]|\x{e2}\x{20ac}"
NO_TITLE = r"^(https?://\S+|[-+.,\d]+)$"


def _mangled(titles: pl.Series) -> Iterator[str]:
    found = titles.filter(titles.str.contains(MANGLED).fill_null(False))
    if len(found):
        yield (
            f"{len(found):,} of {len(titles):,} titles look as if they were read in another encoding than theirs, such "
            f"as {found[0]!r}: look at how the file was made; --encoding (utf-8, cp1252) names that of your own table"
        )


def items_of_events(raw: Raw) -> Codes:
    """Return the `first_lines` of the items of events that have one."""
    ids = raw.events["item_id"].drop_nulls()
    return raw.item_lines if fits(raw.item_lines, ids) else first_lines(ids)


def _missing_items(items: pl.DataFrame, raw: Raw, lines: Codes) -> pl.DataFrame:
    """Return the items of events and impressions that are not listed; `lines` are `items_of_events`."""
    bought = raw.events["item_id"].drop_nulls()
    bought = bought.filter(pl.Series(lines == np.arange(len(lines), dtype=np.uint32)))
    shown = raw.impressions.select(pl.col("shown").explode(empty_as_null=True).alias("item_id"))["item_id"]
    every = (distinct(pl.concat([bought, shown.drop_nulls()])) if len(shown) else bought).to_frame()
    missing = every.join(items, on="item_id", how="anti", maintain_order="left") if items.height else every
    return missing.select(
        "item_id",
        pl.col("item_id").alias("title"),
        pl.lit("").alias("text"),
        pl.lit(None, dtype=pl.Int32).alias("year"),
        pl.lit([], dtype=pl.List(pl.String)).alias("categories"),
    )


def check_raw(raw: Raw, name: str) -> Raw:
    """Return what the data source `name` read, if later stages can rely on it; whole seconds will do as times.

    Raises:
        PluginError: If a frame has other columns than it has to, an item is listed twice or without a title, or an
            event is of an item that is not listed.
    """
    if raw.events.schema.get("timestamp") == pl.Int64:
        raw = replace(raw, events=raw.events.cast({"timestamp": pl.Float64}))
    for table, frame, schema in (
        ("items", raw.items, ITEMS),
        ("events", raw.events, EVENTS),
        ("impressions", raw.impressions, IMPRESSIONS),
    ):
        if list(frame.schema.items()) != list(schema.items()):
            raise PluginError(
                f"the data source {name!r} returned {table} with the columns {_columns(frame.schema)}",
                hint=f"They have to be {_columns(schema)}, in this order.",
            )
    listed = raw.items["item_id"]
    single = not listed.null_count() and len(distinct(listed)) == len(listed)
    twice = listed.clear() if single else listed.filter(listed.is_duplicated())
    untitled = raw.items.filter(pl.col("title").is_null())["item_id"]
    lines = items_of_events(raw)
    unlisted = _missing_items(raw.items, raw, lines)["item_id"]
    for fault, ids in (
        ("listed twice", twice),
        ("without a title", untitled),
        ("with events but not listed", unlisted),
    ):
        if len(ids):
            raise PluginError(
                f"the data source {name!r} returned {len(ids):,} items {fault}, the first is {ids[0]!r}",
                hint="List every item once; `complete_items` adds those that have events alone, and titles.",
            )
    strange = raw.impressions.filter(pl.col("clicked").list.set_difference("shown").list.len() > 0)
    if strange.height:
        raise PluginError(
            f"the data source {name!r} returned {strange.height:,} impressions with items that were clicked and not "
            f"shown, the first is of user {strange['user_id'][0]!r}",
            hint="`clicked` holds those of `shown` that the user chose.",
        )
    return replace(raw, item_lines=lines)


def _columns(schema: pl.Schema) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in schema.items())

"""Data sources: what one is, which are built in, and how their files are downloaded."""

import html
import http.client
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from html.entities import html5
from pathlib import Path
from typing import IO, Protocol

import polars as pl

from llmrs_bench.core.errors import DataError, OptionError, PluginError
from llmrs_bench.core.registry import SOURCES, unknown_name
from llmrs_bench.core.schemas import ITEMS
from llmrs_bench.core.types import Progress
from llmrs_bench.data.files import SourceFiles, file_md5

# One row per event, in the order of the lines of the source; times are UTC seconds, and may have fractions.
EVENTS = pl.Schema({"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Float64, "rating": pl.Float32})


@dataclass(frozen=True)
class Raw:
    """A raw source as two frames.

    Args:
        items: One row per listed item, of `schemas.ITEMS`; every item of `events` is in it.
        events: One row per event, of `EVENTS`, in line order.
        rules: Sentences on every rule that was applied to read it.
        facts: How often each was.
        warnings: Sentences on what a careful person would look at before going on.
        unchosen: Events, of `EVENTS`, of items that were shown and not chosen; never trained on, never a target.
        columns: For each option that names columns, those that were read, by their roles.
    """

    items: pl.DataFrame
    events: pl.DataFrame
    rules: tuple[str, ...] = ()
    facts: dict[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    unchosen: pl.DataFrame = field(default_factory=EVENTS.to_frame)
    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


class Source(Protocol):
    """Reads one layout of files, called its format. `files` is None where none are given or downloaded.

    A source is made without arguments; one that has `reads_columns` also takes `columns`, names of columns by their
    roles, and `unrated`, texts that mean no rating; one that has `reads_tables` takes what `data.tables.Tables` does.
    `complete_items` cleans titles, and adds items that have events
    alone.
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
    """Return `raw` with clean titles and a row for every item that has events.

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
    rows = _missing_items(items, raw.events)
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
        rules = (*rules, "items without a title are called by their id")
    if rows.height:
        rules = (*rules, "items with events that the source does not list are called by their id")
    warnings = (*raw.warnings, *_title_warnings(items.height, titles, rows.height))
    return replace(raw, items=pl.concat([items, rows]), rules=rules, facts=facts, warnings=warnings)


def _title_warnings(listed: int, titles: pl.Series, unlisted: int) -> Iterator[str]:
    """Say what is odd about the titles of so many listed items, and of those that have events alone."""
    by_id = "prompts call them by their id"
    if untitled := listed - len(titles):
        yield f"{untitled:,} of {listed:,} items have no title: {by_id}"
    if unlisted:
        yield f"{unlisted:,} items with events are not in the table of items: {by_id}"
    if 0 < (distinct := titles.n_unique()) * 2 <= len(titles):
        yield f"{len(titles):,} items have {distinct:,} different titles, such as {titles[0]!r}: is that the column?"
    lengths = titles.str.len_chars()
    if long := lengths.filter(lengths > LONG).to_list():
        yield f"{len(long):,} titles have more than {LONG} characters, the longest {max(long):,}"


def _missing_items(items: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    ids = events.select("item_id").drop_nulls().unique(maintain_order=True).join(items, on="item_id", how="anti")
    return ids.select(
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
    for table, frame, schema in (("items", raw.items, ITEMS), ("events", raw.events, EVENTS)):
        if list(frame.schema.items()) != list(schema.items()):
            raise PluginError(
                f"the data source {name!r} returned {table} with the columns {_columns(frame.schema)}",
                hint=f"They have to be {_columns(schema)}, in this order.",
            )
    twice = raw.items.filter(pl.col("item_id").is_duplicated())["item_id"]
    untitled = raw.items.filter(pl.col("title").is_null())["item_id"]
    unlisted = _missing_items(raw.items, raw.events)["item_id"]
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
    return raw


def _columns(schema: pl.Schema) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in schema.items())


ATOMIC, TABLE = "atomic", "table"  # the formats of data sets without a name of their own
NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Counts:
    """Published numbers of a data set: users, items with an interaction, interactions."""

    users: int
    items: int
    interactions: int


@dataclass(frozen=True, slots=True)
class Dataset:
    """One data set.

    Args:
        name: Also the name of its folder.
        sources: Names of data sources, tried in this order.
        url: Where the archive is, or None where nothing can be downloaded.
        md5: Checksum of the archive behind `url`.
        homepage: A page for people, with the licence.
        item_word: What one item is called in a prompt.
        published: Numbers its owner states, if any.
        natural_titles: Whether titles are stored with the article last ("Matrix, The").
    """

    name: str
    sources: tuple[str, ...]
    url: str | None = None
    md5: str | None = None
    homepage: str = ""
    item_word: str = "item"
    published: Counts | None = None
    natural_titles: bool = False


DATASETS: dict[str, Dataset] = {
    "ml1m": Dataset(
        name="ml1m",
        sources=("movielens-1m", "atomic"),
        url="https://files.grouplens.org/datasets/movielens/ml-1m.zip",
        md5="c4d9eecfca2ab87c1945afe126590906",
        homepage="https://grouplens.org/datasets/movielens/1m/",
        item_word="movie",
        published=Counts(users=6040, items=3706, interactions=1_000_209),
        natural_titles=True,
    ),
    "ml100k": Dataset(
        name="ml100k",
        sources=("movielens-100k", "atomic"),
        url="https://files.grouplens.org/datasets/movielens/ml-100k.zip",
        md5="0e33842e24a9c977be4e0107933c0723",
        homepage="https://grouplens.org/datasets/movielens/100k/",
        item_word="movie",
        published=Counts(users=943, items=1682, interactions=100_000),
        natural_titles=True,
    ),
    "demo": Dataset(name="demo", sources=("demo",), item_word="movie"),
}


def find_dataset(name: str, *, has_source: bool, format_name: str | None = None) -> Dataset:
    """Return the data set called `name`.

    Any other name than the known ones will do where files are given, or a format: it is then read in that format, as
    RecBole atomic files, or as a table.

    Args:
        name: Also the name of its folder.
        has_source: Whether files are given.
        format_name: A data source, in place of those that are tried for this data set.

    Raises:
        OptionError: If the name cannot be a folder name, the format is unknown, or the name is and neither files nor a
            format are given.
    """
    if not NAME.fullmatch(name):
        raise OptionError(
            f"{name!r} cannot be the name of a data set",
            hint="Use lower-case letters, digits, '.', '_' and '-', a letter or digit first: it names a folder.",
        )
    if format_name is not None:
        return replace(DATASETS.get(name, Dataset(name, ())), sources=(SOURCES.check(format_name),))
    if name in DATASETS:
        return DATASETS[name]
    if has_source:
        return Dataset(name=name, sources=(ATOMIC, TABLE))
    raise unknown_name(
        "data set",
        name,
        list(DATASETS),
        hint="A table of your own (CSV, JSON lines, Parquet) or RecBole's atomic files work with --source PATH.",
    )


CHUNK = 1 << 18
TIMEOUT = 60.0  # seconds without a byte
PARTIAL, BAD_RANGE = 206, 416


def fetch(url: str, md5: str, path: Path, *, progress: Progress, homepage: str) -> Path:
    """Download `url` to `path`, and return `path` once its md5 is the one given.

    What has come so far stays in `path` + ".part", and a next call asks for the rest alone. A `path`
    that is already there with the right md5 is returned at once.

    Args:
        url: Where the file is.
        md5: Its checksum, hexadecimal.
        path: Where it goes; folders are made.
        progress: Shown in bytes; a total of 0 where the server does not say.
        homepage: For the hint on how to get the file by hand.

    Raises:
        DataError: If the file is there with another md5, cannot be downloaded, or arrives with another md5.
    """
    by_hand = f"Or get it by hand from {homepage} or {url}, and pass it with --source PATH."
    if path.exists():
        if (found := file_md5(path)) != md5:
            raise DataError(f"{path} has md5 {found}, expected {md5}", hint=f"Delete it and run again. {by_hand}")
        return path
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _download(url, part, progress)
    except (OSError, http.client.HTTPException) as error:
        raise DataError(
            f"{url} cannot be downloaded: {error}", hint=f"Run again: it goes on where it stopped. {by_hand}"
        ) from error
    if (found := file_md5(part)) != md5:
        part.unlink()
        raise DataError(
            f"{url} has md5 {found}, expected {md5}: the download is damaged, or the file was replaced",
            hint=f"Run again. {by_hand}",
        )
    os.replace(part, path)
    return path


def _download(url: str, part: Path, progress: Progress) -> None:
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if start and error.code == BAD_RANGE:  # nothing is left to send: the checksum decides
            return
        raise
    with answer:
        resumed = answer.status == PARTIAL
        if resumed and not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise OSError(f"the server sent another range: {answer.headers.get('Content-Range')!r}")
        start = start if resumed else 0
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length else 0
        with part.open("ab" if resumed else "wb") as out:
            done = _copy(answer, out, start, total, progress)
    if total and done != total:
        raise OSError(f"the connection ended after {done:,} of {total:,} bytes")


def _copy(answer: IO[bytes], out: IO[bytes], start: int, total: int, progress: Progress) -> int:
    """Append the answer to `out`; return the bytes there are now."""
    done = start
    with progress("download", total) as step:
        while chunk := answer.read(CHUNK):
            out.write(chunk)
            done += len(chunk)
            step(done)
    return done

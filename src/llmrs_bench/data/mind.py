"""MIND, the news of Microsoft: lists that readers were shown, with their clicks.

F. Wu et al., "MIND: A Large-scale Dataset for News Recommendation", ACL 2020.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import polars as pl

from llmrs_bench.core.errors import DataError
from llmrs_bench.core.schemas import ITEMS
from llmrs_bench.data.fields import read_delimited, require_filled
from llmrs_bench.data.files import MEND, SourceFiles
from llmrs_bench.data.sources import EVENTS, IMPRESSIONS, Raw, complete_items

BEHAVIORS, NEWS = "behaviors.tsv", "news.tsv"
ZIP = ".zip"
TIME = "%m/%d/%Y %I:%M:%S %p"
FIELDS = ["impression_id", "user_id", "time", "history", "impressions"]
NEWS_FIELDS = ["item_id", "category", "subcategory", "title", "abstract", "url", "title_entities", "abstract_entities"]
BLANKS = r"\s+"


@dataclass(frozen=True, slots=True)
class Part:
    """One of train and dev: the files it is among, what stands before their names, and its name in messages."""

    files: SourceFiles
    folder: str
    name: str

    def read(self, file: str, columns: list[str]) -> pl.DataFrame:
        """Return a table of it as strings, one row per line."""
        return read_delimited(self.files.read(self.folder + file), name=self.name + file, columns=columns)


class Mind:
    """Reads `behaviors.tsv` and `news.tsv`, of one part, or of several in folders or zip archives side by side.

    The part that begins last is the one to test on.
    """

    item_word: ClassVar[str] = "news article"

    def accepts(self, files: SourceFiles | None) -> bool:
        """Say whether there is a part."""
        return files is not None and bool(_parts(files))

    def uses(self, files: SourceFiles | None) -> tuple[str, ...]:
        """Return the names of the tables, or of the archives that hold them."""
        assert files is not None
        parts = _parts(files)
        inside = [part.folder + name for part in parts if part.files is files for name in (BEHAVIORS, NEWS)]
        return (*inside, *(part.name.removesuffix("/") for part in parts if part.files is not files))

    def load(self, files: SourceFiles | None) -> Raw:
        """Read impressions, histories and articles.

        Clicks of histories have no times. Those of a reader's first history count as before all impressions, as the
        owner's histories are (Wu et al., section 3.1); those that a later one adds, as right before its impression.

        Raises:
            DataError: If a file is missing or malformed, naming the file and the line, has no labels, or is of other
                articles than the other.
        """
        assert files is not None
        read = [(part, _behaviors(part)) for part in _parts(files)]
        read.sort(key=lambda both: float(both[1]["timestamp"].min()))  # type: ignore[arg-type]
        rows = pl.concat([frame for _, frame in read])
        news = pl.concat([part.read(NEWS, NEWS_FIELDS) for part, _ in read])
        require_filled(news, ["item_id"], name=NEWS)
        if rows.select(pl.col("shown").explode().is_in(news["item_id"].implode()).any()).item() is False:
            raise DataError(
                f"none of the articles in {BEHAVIORS} is in {NEWS}: their ids are such as {rows['shown'][0][0]!r} "
                f"there, and {news['item_id'][0]!r} here",
                hint="Give the two tables of one download.",
            )
        clicks = rows.select("user_id", item_id="clicked", timestamp="timestamp").explode("item_id").drop_nulls()
        events = pl.concat([_past(rows), clicks]).with_columns(rating=pl.lit(None, dtype=pl.Float32))
        rules = [
            f"parts in the order of their times: {', '.join(part.name.strip('/') or BEHAVIORS for part, _ in read)}",
            "clicks of histories have no times: those of a reader's first history are before all impressions, those "
            "that a later one adds right before its impression",
        ]
        raw = Raw(
            items=_articles(news),
            events=events.select(list(EVENTS)),
            rules=tuple(rules),
            facts={"items_listed": news["item_id"].n_unique()},
            impressions=rows.select(list(IMPRESSIONS)),
            tested_from=float(read[-1][1]["timestamp"].min()) if len(read) > 1 else None,  # type: ignore[arg-type]
        )
        return complete_items(raw)


def _parts(files: SourceFiles) -> list[Part]:
    """Return the parts in a source: tables side by side, in folders, or in zip archives."""
    folders = [name.removesuffix(BEHAVIORS) for name in files.names if name.rpartition("/")[2] == BEHAVIORS]
    found = [Part(files, folder, folder) for folder in folders]
    for name in () if files.is_archive or found else files.names:
        if name.endswith(ZIP):
            inner = SourceFiles.open(Path(files.places[name][0]), files.limit)
            if BEHAVIORS in inner.names:
                found.append(Part(inner, "", f"{name}/"))
    return found


def _behaviors(part: Part) -> pl.DataFrame:
    """Return impressions with the column `history`, a text of ids with blanks between them."""
    name = part.name + BEHAVIORS
    rows = part.read(BEHAVIORS, FIELDS)
    require_filled(rows, ["impression_id", "user_id", "time", "impressions"], name=name)
    time = rows["time"].str.strip_chars().str.to_datetime(TIME, strict=False)
    if time.null_count():
        at = time.is_null().arg_max() or 0
        raise DataError(
            f"{name}, line {at + 1}: the time is {rows['time'][at]!r}, not such as '11/15/2019 8:55:22 AM'", hint=MEND
        )
    lists = pl.col("impressions").str.strip_chars().str.replace_all(BLANKS, " ").str.split(" ")
    entries = rows.select(lists).with_columns(
        labelled=pl.col("impressions").list.eval(pl.element().str.contains(r"^.+-[01]$")).list.all()
    )
    if not entries["labelled"].all():
        at = (~entries["labelled"]).arg_max() or 0
        odd = next(entry for entry in entries["impressions"][at] if not entry.endswith(("-0", "-1")) or len(entry) < 3)
        raise DataError(
            f"{name}, line {at + 1}: {odd!r} does not end in -0 (shown) or -1 (clicked)",
            hint="The owner's test part has no labels, and cannot be tested on here: take the parts train and dev.",
        )
    shown, entry = pl.col("impressions"), pl.element()
    return rows.select(
        pl.col("impression_id", "user_id").str.strip_chars(),
        timestamp=time.dt.epoch("ms") / 1000,
        shown=entries.select(shown.list.eval(entry.str.head(-2)))["impressions"],
        clicked=entries.select(shown.list.eval(entry.filter(entry.str.ends_with("-1")).str.head(-2)))["impressions"],
        history=pl.col("history").str.strip_chars().fill_null(""),
    )


def _past(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the clicks of histories as rows (user_id, item_id, timestamp), in the order of their lists."""
    first = float(rows["timestamp"].min()) - 1  # type: ignore[arg-type]
    lists = rows.sort("timestamp", maintain_order=True).unique(
        ["user_id", "history"], keep="first", maintain_order=True
    )
    opening = pl.col("timestamp") == pl.col("timestamp").first().over("user_id")
    told = lists.select(
        "user_id",
        pl.col("history").str.split(" ").alias("item_id"),
        pl.when(opening).then(first).otherwise(pl.col("timestamp") - 0.5).alias("timestamp"),
    )
    clicks = told.explode("item_id").filter(pl.col("item_id") != "")
    return clicks.unique(["user_id", "item_id"], keep="first", maintain_order=True)


def _articles(news: pl.DataFrame) -> pl.DataFrame:
    """Return articles, each once, of `schemas.ITEMS`; the text names the categories, and holds the abstract."""
    topics = pl.concat_list("category", "subcategory").list.drop_nulls().list.unique(maintain_order=True)
    named = pl.when(topics.list.len() > 0).then(
        pl.concat_str(pl.lit("Categories: "), topics.list.join(", "), pl.lit("."))
    )
    abstract = pl.col("abstract").str.replace_all(BLANKS, " ").str.strip_chars()
    articles = news.unique("item_id", keep="first", maintain_order=True).select(
        "item_id",
        "title",
        pl.concat_str(named, abstract, separator=" ", ignore_nulls=True).alias("text"),
        pl.lit(None, dtype=pl.Int32).alias("year"),
        topics.alias("categories"),
    )
    return articles.select(list(ITEMS)).cast(ITEMS)

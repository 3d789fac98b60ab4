"""Shelves of Goodreads in the layout of their owner, the McAuley Lab: whole, or of one genre.

M. Wan and J. McAuley, "Item Recommendation on Monotonic Behavior Chains", RecSys 2018.
"""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import polars as pl

from llmrs_bench.core.errors import DataError, OptionError
from llmrs_bench.core.registry import unknown_name
from llmrs_bench.core.schemas import ITEMS
from llmrs_bench.data.files import MEND, SourceFiles
from llmrs_bench.data.records import (
    NO_ITEMS,
    ItemRow,
    Record,
    framed,
    given,
    named,
    needed_items,
    only,
    records,
    sentences,
    text_field,
    year_of,
)
from llmrs_bench.data.sources import Raw, complete_items

SHELVES, BOOKS = r"goodreads_interactions.*\.json", r"goodreads_books.*\.json"
# What makes an entry of a shelf an event, by the column that is named with `--columns label=`.
LABELS: Mapping[str, str] = {
    "is_read": "books on a shelf that were not read are known to the user, but no events",
    "rating": "books that were not rated are known to the user, but no events",
    "date_added": "every book on a shelf is an event, read or not",
}
ENTRIES = pl.Schema(
    {"user_id": pl.String, "item_id": pl.String, "moment": pl.String, "rating": pl.Float32, "chosen": pl.Boolean}
)
DATE = "%b %d %H:%M:%S %z %Y"  # after the day of the week


class Goodreads:
    """Reads `goodreads_interactions*.json`, and titles from `goodreads_books*.json` if it is there.

    Args:
        columns: `label` says which entries are events: `is_read` (the default), `rating` or `date_added` (all).
        unrated: Has to be empty: a rating of 0 is none.
    """

    reads_columns = True

    def __init__(self, columns: Mapping[str, str] = MappingProxyType({}), unrated: Sequence[str] = ()) -> None:
        for role in columns:
            if role != "label":
                raise unknown_name(
                    "role of a column", role, ["label"], hint="The other columns of goodreads are known."
                )
        self.label = columns.get("label", "is_read")
        if self.label not in LABELS:
            raise unknown_name("label of goodreads", self.label, list(LABELS))
        if unrated:
            raise OptionError("--unrated has no effect on the format goodreads", hint="A rating of 0 is none there.")

    def accepts(self, files: SourceFiles | None) -> bool:
        """Say whether the shelves are there."""
        return bool(named(files, SHELVES))

    def uses(self, files: SourceFiles | None) -> tuple[str, ...]:
        """Return the name of the shelves, and that of the books if they are there.

        Raises:
            DataError: If there are no shelves, or more than one file of a kind.
        """
        shelves = only(files, SHELVES, "interactions")
        return (shelves, only(files, BOOKS, "books")) if named(files, BOOKS) else (shelves,)

    def load(self, files: SourceFiles | None) -> Raw:
        """Read shelves and books line by line.

        Raises:
            DataError: If a file is missing or malformed, naming the file and the line, or the two do not join.
        """
        shelves, *books = self.uses(files)
        files = given(files)
        entries = framed(self._entries(files, shelves), ENTRIES, name=shelves)
        moments = entries["moment"].str.slice(4).str.to_datetime(DATE, strict=False, time_zone="UTC")
        if moments.null_count():
            bad = entries["moment"].filter(moments.is_null())[0]
            at = next(at for at, record in records(files, shelves) if str(record["date_added"]).strip() == bad)
            raise DataError(
                f"{shelves}, line {at}: date_added is {bad!r}, not as 'Sat Jul 14 10:33:12 -0700 2012'", hint=MEND
            )
        seconds = moments.dt.epoch("s").cast(pl.Float64).alias("timestamp")
        all_events = entries.select("user_id", "item_id", seconds, "rating")
        events, unchosen = all_events.filter(entries["chosen"]), all_events.filter(~entries["chosen"])
        rules = (LABELS[self.label], "times are those of adding a book to a shelf", "a rating of 0 is none")
        facts = {"events_not_chosen": unchosen.height}
        labels = entries["chosen"]
        raw = Raw(
            ITEMS.to_frame(), events, (*rules, NO_ITEMS), {"items_listed": 0, **facts}, (), unchosen, labels=labels
        )
        if not books:
            return complete_items(raw)
        items, listed = needed_items(_books(files, books[0]), _row, events, name=books[0], events_name=shelves)
        return complete_items(Raw(items, events, rules, {**listed, **facts}, (), unchosen, labels=labels))

    def _entries(self, files: SourceFiles, name: str) -> Iterator[tuple[str, str, str, float | None, bool]]:
        keys = ("user_id", "book_id", "date_added")
        for at, record in records(files, name):
            user, book, moment = (text_field(record, key, name=name, at=at) for key in keys)
            rating, read = record.get("rating"), record.get("is_read")
            if not isinstance(rating, (int, float)) or not isinstance(read, bool):
                said = f"rating and is_read are {rating!r} and {read!r}, not a number and true or false"
                raise DataError(f"{name}, line {at}: {said}", hint=MEND)
            chosen = {"is_read": read, "rating": rating > 0, "date_added": True}[self.label]
            yield user, book, moment, float(rating) if rating else None, chosen


def _books(files: SourceFiles, name: str) -> Iterator[tuple[str, Record]]:
    for at, record in records(files, name):
        yield text_field(record, "book_id", name=name, at=at), record


def _row(item: str, record: Record) -> ItemRow:
    title, year = record.get("title"), year_of(record.get("publication_year"))
    text = sentences({"Publisher": record.get("publisher"), "Year": year})
    return item, title if isinstance(title, str) else None, text, year, []

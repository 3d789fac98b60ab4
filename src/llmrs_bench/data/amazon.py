"""Amazon reviews of 2014, 2018 and 2023, one category each, in the layouts of their owner, the McAuley Lab.

J. McAuley et al., "Image-Based Recommendations on Styles and Substitutes", SIGIR 2015 (2014); J. Ni et al., "Justifying
Recommendations using Distantly-Labeled Reviews and Fine-Grained Aspects", EMNLP 2019 (2018); Y. Hou et al., "Bridging
Language and Items for Retrieval and Recommendation", 2024 (2023).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from llmrs_bench.core.errors import DataError
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
    read_events,
    records,
    sentences,
    text_field,
    word_list,
)
from llmrs_bench.data.sources import EVENTS, Raw, complete_items

USER, ITEM = r"^A[0-9A-Z]{9,}$", r"^[0-9A-Z]{10}$"
HEAD = 1000  # rows that say which field is whose
SCRIPT = "getTime"  # what a title of 2018 holds where a page was not understood
PRICE = re.compile(r"\D{0,6}\d[\d,.]{0,12}( ?- ?\D?\d[\d,.]{0,12})?")


@dataclass(frozen=True, slots=True)
class Layout:
    """What differs between the years.

    Args:
        ratings: How the file of ratings is called, a regular expression; one in JSON ends in `.json`.
        meta: How the file of metadata is called.
        columns: The fields of a rating; `item_id` and `user_id` may stand either way.
        header: The first line of the ratings; None where there is none.
        unit: How many units of time are a second.
        item, store, categories: What these are called in the metadata.
        literals: Whether the metadata are literals of Python.
        other: The layout without a header in which user and item stand the other way; None where there is a header.
    """

    ratings: str
    meta: str
    columns: tuple[str, str, str, str]
    header: str | None
    unit: float
    item: str
    store: str
    categories: str
    literals: bool = False
    other: str | None = None


class _Amazon:
    """Reads the ratings of one category, and the titles of the rated products, if there are metadata."""

    layout: ClassVar[Layout]

    def accepts(self, files: SourceFiles | None) -> bool:
        """Say whether there is a file of ratings."""
        return bool(named(files, self.layout.ratings))

    def uses(self, files: SourceFiles | None) -> tuple[str, ...]:
        """Return the name of the ratings, and that of the metadata if there are any.

        Raises:
            DataError: If there is no file of ratings, or more than one of a kind.
        """
        ratings = only(files, self.layout.ratings, "ratings")
        return (ratings, only(files, self.layout.meta, "metadata")) if named(files, self.layout.meta) else (ratings,)

    def load(self, files: SourceFiles | None) -> Raw:
        """Read ratings and products; metadata are read line by line, and those of rated products kept.

        Raises:
            DataError: If a file is missing or malformed, naming the file and the line, or the two do not join.
        """
        files, layout = given(files), self.layout
        ratings, *meta = self.uses(files)
        rules: tuple[str, ...] = ()
        if ratings.endswith(".json"):
            events = framed(_reviews(files, ratings), EVENTS, name=ratings)
        else:
            events = read_events(
                files, ratings, list(layout.columns), separator=",", header=layout.header, unit=layout.unit
            )
            rules = ("times are milliseconds",) if layout.unit > 1 else ()
        if layout.other and not ratings.endswith(".json"):
            rules = (*rules, _order_rule(events, ratings, layout.columns, layout.other))
        if not meta:
            return complete_items(Raw(ITEMS.to_frame(), events, (*rules, NO_ITEMS), {"items_listed": 0}))
        items, facts = needed_items(self._listed(files, meta[0]), self._row, events, name=meta[0], events_name=ratings)
        scripts = items["title"].str.contains(SCRIPT, literal=True).fill_null(False)
        if scripts.any():
            items = items.with_columns(pl.when(~scripts).then("title").alias("title"))
            facts["titles_unreadable"] = int(scripts.sum())
            rules = (*rules, f"titles with {SCRIPT} in them are pieces of a script, and count as missing")
        return complete_items(Raw(items, events, rules, facts))

    def _listed(self, files: SourceFiles, name: str) -> Iterator[tuple[str, Record]]:
        for at, record in records(files, name, literals=self.layout.literals):
            yield text_field(record, self.layout.item, name=name, at=at), record

    def _row(self, item: str, record: Record) -> ItemRow:
        title, price = record.get("title"), str(record.get("price"))
        categories = word_list(record.get(self.layout.categories))
        text = sentences(
            {
                self.layout.store.capitalize(): record.get(self.layout.store),
                "Categories": categories,
                "Price": price if PRICE.fullmatch(price) else None,
            }
        )
        return item, title if isinstance(title, str) else None, text, None, categories


class Amazon2023(_Amazon):
    """Reads `CAT.csv` (rating only) and `meta_CAT.jsonl`."""

    layout = Layout(
        ratings=r"(?!meta_).*\.csv",
        meta=r"meta_.*\.jsonl",
        columns=("user_id", "item_id", "rating", "timestamp"),
        header="user_id,parent_asin,rating,timestamp",
        unit=1000,
        item="parent_asin",
        store="store",
        categories="categories",
    )


class Amazon2018(_Amazon):
    """Reads `CAT.csv` (item, user, rating, seconds) or `CAT_5.json`, and `meta_CAT.json`."""

    layout = Layout(
        ratings=r"(?!meta_).*(\.csv|_5\.json)",
        meta=r"meta_.*\.json",
        columns=("item_id", "user_id", "rating", "timestamp"),
        header=None,
        unit=1,
        item="asin",
        store="brand",
        categories="category",
        other="amazon-2014",
    )


class Amazon2014(_Amazon):
    """Reads `ratings_CAT.csv` (user, item, rating, seconds) or `reviews_CAT_5.json`, and `meta_CAT.json`."""

    layout = Layout(
        ratings=r"(?!meta_).*(\.csv|_5\.json)",
        meta=r"meta_.*\.json",
        columns=("user_id", "item_id", "rating", "timestamp"),
        header=None,
        unit=1,
        item="asin",
        store="brand",
        categories="categories",
        literals=True,
        other="amazon-2018",
    )


def _reviews(files: SourceFiles, name: str) -> Iterator[tuple[str, str, float, float]]:
    for at, record in records(files, name):
        user, item = (text_field(record, key, name=name, at=at) for key in ("reviewerID", "asin"))
        numbers = record.get("unixReviewTime"), record.get("overall")
        if not all(isinstance(value, (int, float)) for value in numbers):
            raise DataError(f"{name}, line {at}: unixReviewTime and overall are {numbers}, not numbers", hint=MEND)
        yield user, item, *map(float, numbers)  # type: ignore[arg-type, misc]


def _order_rule(events: pl.DataFrame, name: str, columns: tuple[str, ...], other: str) -> str:
    """Return in words how many of the first rows have ids of users and products where the layout has them.

    Raises:
        DataError: If more rows have them the other way, or as many.
    """
    head = events.head(HEAD)
    users, items = head["user_id"], head["item_id"]
    right = int((users.str.contains(USER) & items.str.contains(ITEM)).sum())
    swapped = int((items.str.contains(USER) & users.str.contains(ITEM)).sum())
    order = f"{columns[0].removesuffix('_id')} and {columns[1].removesuffix('_id')}"
    said = f"{right:,} of the first {head.height:,} rows begin with the ids of {order}, {swapped:,} the other way round"
    if swapped > right:
        raise DataError(f"{name}: {said}", hint=f"That is the layout {other}: --format {other}.")
    if swapped == right:
        raise DataError(
            f"{name}: {said}, so it is unclear which are the users",
            hint="Ids of users are an A and at least nine letters or digits, those of products ten. In another layout, "
            "name the columns of the file in a header of your own.",
        )
    return said

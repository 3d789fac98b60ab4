"""RecBole atomic files: a header of `name:type`, then one tab-separated line per event or item.

Format: https://recbole.io/docs/user_guide/data/atomic_files.html
"""

from dataclasses import dataclass

import polars as pl

from llmrs_bench.core.errors import DataError
from llmrs_bench.core.schemas import ITEMS
from llmrs_bench.data.files import SourceFiles, normal_lines, number, read_delimited, require_filled
from llmrs_bench.data.sources import Raw, complete_items

TYPES = ("token", "token_seq", "float", "float_seq")
CATEGORY_NAMES = ("class", "genre", "genres", "categories", "category")
NO_TIME = "no timestamps: the order of lines is the order of time"
NO_ITEMS = "no .item file: items are known by their id alone"
NO_TITLE = "no title column: items are called by their id"
FORMAT = "See https://recbole.io/docs/user_guide/data/atomic_files.html"


@dataclass(frozen=True)
class Table:
    """One atomic file: its columns as strings, and the declared type of each."""

    name: str
    types: dict[str, str]
    rows: pl.DataFrame

    def find(self, *endings: str) -> str | None:
        """Return the first column that ends in one of `endings`, in any case."""
        return next((column for column in self.types if column.lower().endswith(endings)), None)

    def number(self, column: str, dtype: type[pl.DataType]) -> pl.Series:
        """Return a column as numbers; a DataError names the line that is none."""
        return number(self.rows, column, dtype, name=self.name, header_lines=1)


class Atomic:
    """Reads one `*.inter` file, and the `*.item` file beside it if there is one."""

    def accepts(self, files: SourceFiles | None) -> bool:
        """Say whether there is a `*.inter` file."""
        return files is not None and any(name.endswith(".inter") for name in files.names)

    def uses(self, files: SourceFiles | None) -> tuple[str, ...]:
        """Return the name of the `.inter` file, and that of the `.item` file if there is one."""
        inter, item = _pick(files)
        return (inter, item) if item else (inter,)

    def load(self, files: SourceFiles | None) -> Raw:
        """Read events and items.

        Raises:
            DataError: If there is no `.inter` file or more than one, or a file is malformed.
        """
        inter, item = _pick(files)
        assert files is not None
        events, rules = _events(_table(files, inter))
        if item is None:
            return complete_items(Raw(ITEMS.to_frame(), events, (*rules, NO_ITEMS), {"items_listed": 0}))
        items, item_rules, facts = _items(_table(files, item))
        return complete_items(Raw(items, events, (*rules, *item_rules), facts))


def _pick(files: SourceFiles | None) -> tuple[str, str | None]:
    names = files.names if files else ()
    inters = [name for name in names if name.endswith(".inter")]
    items = [name for name in names if name.endswith(".item")]
    if not inters:
        raise DataError("there is no .inter file", hint=f"Atomic files need one, with every interaction. {FORMAT}")
    if len(inters) > 1:
        raise DataError(
            f"there is more than one .inter file: {', '.join(inters)}",
            hint="Keep one, with all interactions in it: the split into parts is made here.",
        )
    own = inters[0].removesuffix(".inter") + ".item"
    if len(items) > 1 and own not in items:
        raise DataError(f"none of {', '.join(items)} belongs to {inters[0]}", hint=f"Call the right one {own}.")
    return inters[0], own if own in items else next(iter(items), None)


def _table(files: SourceFiles, name: str) -> Table:
    data = normal_lines(files.read(name), name=name)
    types: dict[str, str] = {}
    for field in data.split(b"\n", 1)[0].decode().split("\t"):
        column, _, kind = field.strip().rpartition(":")
        if not column or kind not in TYPES:
            raise DataError(f"{name}, line 1: {field!r} is not name:type", hint=f"Types: {', '.join(TYPES)}. {FORMAT}")
        if column in types:
            raise DataError(f"{name}, line 1: column {column!r} is there twice", hint="Rename or drop one of them.")
        types[column] = kind
    return Table(name, types, read_delimited(data, name=name, columns=list(types), header_lines=1))


def _id_column(table: Table, ending: str) -> str:
    column = table.find(ending)
    if column is None:
        raise DataError(
            f"{table.name} has no column {ending}; it has {', '.join(table.types)}",
            hint=f"Name the column of ids {ending}:token. {FORMAT}",
        )
    return column


def _events(table: Table) -> tuple[pl.DataFrame, tuple[str, ...]]:
    user, item = _id_column(table, "user_id"), _id_column(table, "item_id")
    rating = table.number("rating", pl.Float32) if "rating" in table.types else pl.lit(None, dtype=pl.Float32)
    time: pl.Series | pl.Expr = pl.lit(0, dtype=pl.Int64)
    if "timestamp" in table.types:
        require_filled(table.rows, ["timestamp"], name=table.name, header_lines=1)
        time = table.number("timestamp", pl.Int64)
    events = table.rows.select(
        pl.col(user).alias("user_id"), pl.col(item).alias("item_id"), time.alias("timestamp"), rating.alias("rating")
    )
    return events, () if "timestamp" in table.types else (NO_TIME,)


def _items(table: Table) -> tuple[pl.DataFrame, tuple[str, ...], dict[str, int]]:
    ids = _id_column(table, "item_id")
    title = table.find("title", "name")
    rules = () if title else (NO_TITLE,)
    left_out = [column for column, kind in table.types.items() if kind == "float_seq"]
    if left_out:
        rules = (*rules, f"columns of vectors are not text: {', '.join(left_out)}")
    year, bad_years = _year(table)
    items = table.rows.select(
        pl.col(ids).alias("item_id"),
        (pl.col(title) if title else pl.lit(None, dtype=pl.String)).alias("title"),
        _text(table, skip={ids, title, *left_out}).alias("text"),
        year.alias("year"),
        _categories(table).alias("categories"),
    )
    named = items.filter(pl.col("item_id").is_not_null())
    kept = named.unique("item_id", keep="first", maintain_order=True)
    facts = {
        "items_listed": kept.height,
        "items_without_id_dropped": items.height - named.height,
        "items_listed_twice_dropped": named.height - kept.height,
        "years_unreadable": bad_years,
    }
    if facts["items_listed_twice_dropped"]:
        rules = (*rules, "of items listed twice the first line counts")
    return kept, rules, facts


def _year(table: Table) -> tuple[pl.Expr, int]:
    column = table.find("year")
    if column is None:
        return pl.lit(None, dtype=pl.Int32), 0
    value = pl.col(column).str.strip_chars().cast(pl.Float64, strict=False)
    year = pl.when(value.is_between(1000, 2999)).then(value).cast(pl.Int32, strict=False)
    return year, table.rows.select((pl.col(column).is_not_null() & year.is_null()).sum()).item()


def _category_column(table: Table) -> str | None:
    wanted = [c for c, kind in table.types.items() if kind == "token_seq" and c.lower() in CATEGORY_NAMES]
    return next(iter(wanted), None)


def _parts(table: Table, column: str) -> pl.Expr:
    """Split categories at ", " where any value of the column has one, else at spaces, as RecBole does."""
    commas = table.rows.select(pl.col(column).str.contains(", ", literal=True).any()).item()
    parts = pl.col(column).fill_null("").str.split(", " if commas else " ")
    return parts.list.eval(pl.element().str.strip_chars().filter(pl.element().str.strip_chars() != ""))


def _categories(table: Table) -> pl.Expr:
    column = _category_column(table)
    return pl.lit([], dtype=pl.List(pl.String)) if column is None else _parts(table, column)


def _text(table: Table, *, skip: set[str | None]) -> pl.Expr:
    """Return the attributes as sentences, "Release year: 1995. Class: Drama, Romance."; empty ones are left out."""
    category = _category_column(table)
    sentences = []
    for column in table.types:
        if column in skip:
            continue
        value = _parts(table, column).list.join(", ") if column == category else pl.col(column)
        value = value.str.replace_all(r"[\p{Cc}\s]+", " ").str.strip_chars().str.strip_suffix(".")
        label = column.replace("_", " ").capitalize()
        sentences.append(pl.when(value != "").then(pl.concat_str(pl.lit(f"{label}: "), value, pl.lit("."))))
    return pl.concat_str(sentences, separator=" ", ignore_nulls=True) if sentences else pl.lit("")

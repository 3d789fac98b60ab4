"""RecBole atomic files: a header of `name:type`, then one tab-separated line per event or item.

Format: https://recbole.io/docs/user_guide/data/atomic_files.html
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import polars as pl

from llmrs_bench.core.errors import DataError
from llmrs_bench.core.registry import unknown_name
from llmrs_bench.core.schemas import ITEMS
from llmrs_bench.data.files import MEND, SourceFiles, normal_lines, number, read_delimited, require_filled, times
from llmrs_bench.data.sources import EVENTS, MISSING, Raw, complete_items, markup_removed

TYPES = ("token", "token_seq", "float", "float_seq")
CATEGORY_NAMES = ("class", "genre", "genres", "categories", "category")
NO_TIME = "no timestamps: the order of lines is the order of time"
NO_ITEMS = "no .item file: items are known by their id alone"
NO_TITLE = "no title column: items are called by their id"
FORMAT = "See https://recbole.io/docs/user_guide/data/atomic_files.html"
# What columns are called, the surest name first; where none has such a name, one that ends in a later one will do.
ROLES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "user": (("user_id",), ("_user_id",)),
    "item": (("item_id",), ("_item_id",)),
    "time": (("timestamp", "time", "datetime", "date"), ()),
    "rating": (("rating", "stars"), ()),
    "label": (("label", "click", "clicked", "is_click"), ()),
    "title": (("title", "item_title", "name", "item_name"), ("_title", "_name")),
    "year": (("year",), ("year",)),
}
CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")


@dataclass(frozen=True)
class Table:
    """One atomic file: its columns as strings, the declared type of each, and those that were named by their role."""

    name: str
    types: dict[str, str]
    rows: pl.DataFrame
    named: Mapping[str, str]

    def find(self, role: str) -> str | None:
        """Return the column of a role: the named one, else the one with the surest name.

        Raises:
            DataError: If two columns are equally sure.
        """
        if (named := self.named.get(role)) in self.types:
            return named
        names, endings = ROLES[role]
        columns = {column: CAMEL.sub("_", column).lower() for column in self.types}
        fits = [[column for column, plain in columns.items() if plain == name] for name in names]
        fits += [[column for column, plain in columns.items() if plain.endswith(ending)] for ending in endings]
        found: list[str] = next(filter(None, fits), [])
        if len(found) > 1:
            raise DataError(
                f"{self.name}: each of the columns {', '.join(found)} could be that of the {role}",
                hint=f"Name the one that is: --columns {role}={found[0]}.",
            )
        return found[0] if found else None

    def number(self, column: str, dtype: type[pl.DataType] = pl.Float32, *, hint: str = MEND) -> pl.Series:
        """Return a column as numbers; a DataError names the line that is none."""
        return number(self.rows, column, dtype, name=self.name, header_lines=1, hint=hint)


class Atomic:
    """Reads one `*.inter` file, and the `*.item` file beside it if there is one.

    Args:
        columns: Names of columns by their roles, where these are not found by name.
        unrated: Texts in the column of ratings that mean no rating; numbers are compared as such.
    """

    reads_columns = True

    def __init__(self, columns: Mapping[str, str] = MappingProxyType({}), unrated: Sequence[str] = ()) -> None:
        for role in columns:
            if role not in ROLES:
                raise unknown_name("role of a column", role, list(ROLES))
        self.columns, self.unrated = columns, unrated

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
            DataError: If there is no `.inter` file or more than one, a file is malformed, or no item with events is
                in the `.item` file.
            OptionError: If a named column is in neither file.
        """
        assert files is not None
        tables = [_table(files, name, self.columns) for name in self.uses(files)]
        known = list(dict.fromkeys(column for table in tables for column in table.types))
        for role, column in self.columns.items():
            if column not in known:
                raise unknown_name("column", column, known, hint=f"--columns {role}={column} names none.")
        inter, names = tables.pop(0), self.uses(files)
        raw = _events(inter, self.unrated)
        del inter  # its texts take more memory than what was made of them
        if not tables:
            return complete_items(replace(raw, rules=(*raw.rules, NO_ITEMS), facts={**raw.facts, "items_listed": 0}))
        items, rules, facts = _items(tables[0])
        _require_join(raw.events, items, *names)
        return complete_items(replace(raw, items=items, rules=(*raw.rules, *rules), facts={**raw.facts, **facts}))


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


def _table(files: SourceFiles, name: str, named: Mapping[str, str]) -> Table:
    data = normal_lines(files.read(name), name=name)
    types: dict[str, str] = {}
    end = data.find(b"\n")
    for field in data[: end if end >= 0 else None].decode().split("\t"):
        column, _, kind = field.strip().rpartition(":")
        if not column or kind not in TYPES:
            raise DataError(f"{name}, line 1: {field!r} is not name:type", hint=f"Types: {', '.join(TYPES)}. {FORMAT}")
        if column in types:
            raise DataError(f"{name}, line 1: column {column!r} is there twice", hint="Rename or drop one of them.")
        types[column] = kind
    return Table(name, types, read_delimited(data, name=name, columns=list(types), header_lines=1), named)


def _id_column(table: Table, role: str) -> str:
    column = table.find(role)
    if column is None:
        raise DataError(
            f"{table.name} has no column {role}_id; it has {', '.join(table.types)}",
            hint=f"Say which column holds the ids: --columns {role}=NAME. {FORMAT}",
        )
    return column


def _id(texts: pl.Series) -> pl.Series:
    """Return ids without blanks around them, null where they are written as missing."""
    if _is_clean(texts):
        return texts  # no copy is made
    text = pl.col(texts.name).str.strip_chars()
    return texts.to_frame().select(pl.when(~text.is_in(MISSING) & (text != "")).then(text)).to_series()


def _is_clean(texts: pl.Series) -> bool:
    """Tell whether ids are as they are written, looking at a million at a time."""
    parts = (texts.slice(start, 1_000_000) for start in range(0, len(texts), 1_000_000))
    return not any((part.is_in(MISSING) | (part.str.strip_chars() != part) | (part == "")).any() for part in parts)


def _events(table: Table, unrated: Sequence[str]) -> Raw:
    user, item = _id_column(table, "user"), _id_column(table, "item")
    time, rating, label = table.find("time"), table.find("rating"), table.find("label")
    taken = {"user": user, "item": item, "time": time, "rating": rating, "label": label}
    rules = [f"columns of {table.name}: " + ", ".join(f"{role} {name}" for role, name in taken.items() if name)]
    seconds: pl.Series | pl.Expr = pl.lit(0.0)
    if time is None:
        rules.append(NO_TIME)
    else:
        seconds, said = times(table.rows, time, name=table.name, header_lines=1)
        rules.extend(said)
    events = table.rows.select(
        _id(table.rows[user]).alias("user_id"),
        _id(table.rows[item]).alias("item_id"),
        seconds.alias("timestamp"),
        (_ratings(table, rating, unrated) if rating else pl.lit(None, dtype=pl.Float32)).alias("rating"),
    )
    facts, unchosen = {}, EVENTS.to_frame()
    if label is not None:
        require_filled(table.rows, [label], name=table.name, header_lines=1)
        chosen = table.number(label, hint="0 is an item that was shown and not chosen, 1 one that was.") > 0
        unchosen, events = events.filter(~chosen), events.filter(chosen)
        facts["events_not_chosen"] = unchosen.height
        rules.append(f"events whose {label} is 0 were shown and not chosen: they are not trained on, and no targets")
    return Raw(ITEMS.to_frame(), events, tuple(rules), facts, tuple(_event_warnings(table, taken)), unchosen)


def _ratings(table: Table, column: str, unrated: Sequence[str]) -> pl.Series:
    """Return ratings, null where the field is empty or one of `unrated`."""
    text = pl.col(column).str.strip_chars()
    words = pl.Series([word.lower() for word in unrated], dtype=pl.String)
    numbers = words.cast(pl.Float64, strict=False).drop_nulls()
    none = text.str.to_lowercase().is_in(words.to_list()) | text.cast(pl.Float64, strict=False).is_in(numbers.to_list())
    rated = replace(table, rows=table.rows.with_columns(pl.when(~none.fill_null(False)).then(text).alias(column)))
    return rated.number(column, hint="Mend the line, or name the text that means no rating: --unrated NaN.")


def _event_warnings(table: Table, taken: Mapping[str, str | None]) -> Iterator[str]:
    """Say which columns are not read, and which ids not as they are."""
    unread = [column for column in table.types if column not in taken.values()]
    if unread:
        yield f"columns of {table.name} that are not read: {', '.join(unread)}"
    rows, blanks = table.rows, 0
    for role in ("user", "item"):
        text = rows[str(taken[role])]
        if _is_clean(text):
            continue
        if missing := int(text.str.strip_chars().is_in(MISSING).sum()):
            yield f"the {role} of {missing:,} of {rows.height:,} events is written as missing: they are dropped"
        blanks += int((text != text.str.strip_chars()).sum())
    if blanks:
        yield f"{blanks:,} ids of {table.name} have blanks around them: they are cut off"


def _require_join(events: pl.DataFrame, items: pl.DataFrame, inter: str, item: str) -> None:
    """Refuse an item file that lists no item of the events."""
    known = events.select("item_id").drop_nulls().unique(maintain_order=True)
    if known.height and items.height and known.join(items, on="item_id", how="semi").is_empty():
        raise DataError(
            f"none of the {known.height:,} items in {inter} is in {item}: their ids are such as "
            f"{known['item_id'][0]!r} there, and {items['item_id'][0]!r} here",
            hint="Ids are texts, and 5.0 is not 5: write them alike, name another column with --columns item=NAME, or "
            f"go on without titles by leaving out {item}.",
        )


def _items(table: Table) -> tuple[pl.DataFrame, tuple[str, ...], dict[str, int]]:
    ids, title = _id_column(table, "item"), table.find("title")
    texts = [column for column, kind in table.types.items() if kind != "float_seq" and column not in (ids, title)]
    table = replace(table, rows=table.rows.with_columns(markup_removed(table.rows[column]) for column in texts))
    rules: tuple[str, ...] = (f"columns of {table.name}: item {ids}" + (f", title {title}" if title else ""),)
    rules = rules if title else (*rules, NO_TITLE)
    left_out = [column for column, kind in table.types.items() if kind == "float_seq"]
    if left_out:
        rules = (*rules, f"columns of vectors are not text: {', '.join(left_out)}")
    year, bad_years = _year(table)
    items = table.rows.select(
        _id(table.rows[ids]).alias("item_id"),
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

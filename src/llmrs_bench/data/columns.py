"""Tables of events and items: which column is what."""

import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from llmrs_bench.core.errors import DataError
from llmrs_bench.core.registry import unknown_name
from llmrs_bench.data.fields import number
from llmrs_bench.data.files import MEND

ITEM_OPTION = "--item-columns"
LISTED = "\x1f"  # between the values of a list in one text


@dataclass(frozen=True)
class Names:
    """What the column of a role is called.

    Args:
        sure: Names, the surest first.
        endings: Where no column is called so, one that ends in such a part will do, the surest first.
        other: Names of many sources, all equally sure.
        optional: Whether there may be no such column. Atomic files then name it in one of the ways above.
    """

    sure: tuple[str, ...]
    endings: tuple[str, ...] = ()
    other: tuple[str, ...] = ()
    optional: bool = True


USERS = (
    *("user", "uid", "reviewer_id", "customer_id", "client_id", "visitor_id", "member_id", "account_id", "profile_id"),
    *("buyer_id", "listener_id", "reader_id", "viewer_id", "steam_id", "session_id", "author_id"),
)
ITEM_IDS = (
    *("item", "iid", "asin", "sku", "product_id", "movie_id", "film_id", "book_id", "isbn", "track_id", "song_id"),
    *("artist_id", "album_id", "video_id", "business_id", "article_id", "news_id", "game_id", "app_id", "recipe_id"),
    *("anime_id", "course_id", "goods_id", "venue_id", "content_id", "offer_id", "listing_id"),
)
TIMES = (
    *("ts", "unix_time", "time_stamp", "event_time", "event_timestamp", "rating_time", "rated_at", "created_at"),
    *("review_date", "review_time", "purchase_date", "order_date", "ordered_at", "played_at", "visited_at"),
)
RATINGS = ("score", "overall", "user_rating", "review_rating", "review_score", "rating_score", "rate", "star_rating")
ROLES: Mapping[str, Names] = {
    "user": Names(("user_id",), ("_user_id",), USERS, optional=False),
    "item": Names(("item_id",), ("_item_id",), ITEM_IDS, optional=False),
    "time": Names(("timestamp", "time", "datetime", "date"), other=TIMES),
    "rating": Names(("rating", "stars"), other=RATINGS),
    "label": Names(("label", "click", "clicked", "is_click")),
    "impression": Names(("impression_id", "impression", "session_id")),
    "title": Names(("title", "item_title", "name", "item_name"), ("_title", "_name"), ("headline", "caption")),
    "year": Names(("year",), ("year",)),
    "categories": Names(("class", "genre", "genres", "categories", "category")),
    "text": Names(()),
}
# Amazon's product and its variant, seconds and words for one moment: the first is the one to take.
SURER = {"item": ("parent_asin",), "time": ("unix_review_time",)}
CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")


def _squeezed(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


def is_known(column: str) -> bool:
    """Return whether a column has one of the names of a role; endings do not count."""
    return _squeezed(column) in KNOWN


KNOWN = {_squeezed(name) for role, names in ROLES.items() for name in (*names.sure, *names.other, *SURER.get(role, ()))}


def check_roles(columns: Mapping[str, str]) -> None:
    """Refuse roles that no column can have.

    Raises:
        OptionError: Naming the first.
    """
    for role in columns:
        if role not in ROLES:
            raise unknown_name("role of a column", role, list(ROLES))


@dataclass(frozen=True)
class Table:
    """A table as strings, and how it was read.

    Args:
        name: The file, for messages.
        types: The type of each column, as in atomic files: `token`, `token_seq` (several in one text), `float_seq`
            (neither a text nor one number).
        rows: The columns; that of the times may hold moments.
        named: Columns by their roles, as they were typed.
        rules: How it was read, in words.
        warnings: What a careful person would look at.
        first: The number of the first row, where rows are counted as `unit`.
        unit: What a row is in the file: a line, or a row.
        option: The option that names its columns.
        separators: What may part several categories in one text; the first that is there does.
        wide: Whether optional columns are found by all names there are.
        numbered: Whether columns may be named by their numbers, as those without a header are.
        skipped: The numbers of the rows that are none, in their order; they are not among `rows`.
        skipped_words: What is wrong with the first of them, and what to do.
        loose: Whether a row may lack columns, as objects of JSON do.
        parts: If it was put together, each part without its rows, after the place of its first row in `rows`.
        encoding: What its text is in, UTF-8 or what was named; empty where it is ASCII alone, or a mark says it.
    """

    name: str
    types: dict[str, str]
    rows: pl.DataFrame
    named: Mapping[str, str]
    rules: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    first: int = 2
    unit: str = "line"
    option: str = "--columns"
    separators: tuple[str, ...] = (", ", " ")
    wide: bool = False
    numbered: bool = False
    skipped: tuple[int, ...] = ()
    skipped_words: tuple[str, str] = ("", "")
    loose: bool = False
    parts: tuple[tuple[int, "Table"], ...] = ()
    encoding: str = ""

    def where(self, row: int) -> str:
        """Return where in the files a row is, such as `line 7`, from its place in `rows`."""
        if self.parts:
            start, part = next(pair for pair in reversed(self.parts) if pair[0] <= row)
            return f"{part.where(row - start)} of {part.name}"
        at = row + self.first
        for skipped in self.skipped:
            at += skipped <= at
        return f"{self.unit} {at}"

    @property
    def first_skipped(self) -> str:
        """Where in the files the first row is that is none."""
        if self.parts:
            part = next(part for _, part in self.parts if part.skipped)
            return f"{part.first_skipped} of {part.name}"
        return f"{self.unit} {self.skipped[0]}"

    def find(self, role: str) -> str | None:
        """Return the column of a role: the named one, else the one with the surest name.

        Raises:
            DataError: If two columns are equally sure.
        """
        if (named := self.named.get(role)) in self.types:
            return named
        names = ROLES[role]
        fits = [[column for column in self.types if _squeezed(column) == _squeezed(name)] for name in names.sure]
        ends = {column: CAMEL.sub("_", column).lower() for column in self.types}
        fits += [[column for column, plain in ends.items() if plain.endswith(ending)] for ending in names.endings]
        if self.wide or not names.optional:
            others = [(name,) for name in SURER.get(role, ())] + [names.other]
            others += [("id",)] if role == "item" and self.option == ITEM_OPTION else []
            fits += [[c for c in self.types if _squeezed(c) in map(_squeezed, group)] for group in others]
        found: list[str] = next(filter(None, fits), [])
        if len(found) > 1:
            raise DataError(
                f"{self.name}: each of the columns {', '.join(found)} could be that of the {role}",
                hint=f"Name the one that is: {self.option} {shlex.quote(f'{role}={found[0]}')}.",
            )
        return found[0] if found else None

    def may_have(self, role: str) -> bool:
        """Return whether there is a column of a role, or several that could be it."""
        try:
            return self.find(role) is not None
        except DataError:
            return True

    def sure_of(self, role: str) -> bool:
        """Return whether there is one column of a role."""
        with suppress(DataError):
            return self.find(role) is not None
        return False

    def number(self, column: str, dtype: type[pl.DataType] = pl.Float32, *, hint: str = MEND) -> pl.Series:
        """Return a column as numbers; a DataError names the line that is none."""
        return number(self.rows, column, dtype, **self.place, hint=hint)

    @property
    def place(self) -> dict[str, Any]:
        """What messages say of a row: the file, and how its rows are numbered."""
        return {"name": self.name, "header_lines": self.first - 1, "unit": self.unit}


QUOTED = r'^"(?:[^"]|"")*"$'


def without_quotes(frame: pl.DataFrame, name: str) -> tuple[pl.DataFrame, tuple[str, ...], tuple[str, ...]]:
    """Return a table of strings without the quotes of CSV around its fields; what was done, and what was not, in words.

    Quotes are those of CSV in columns where all fields have them, or where every field with a quote in it is quoted for
    a reason, doubled quotes or a delimiter, and one at least holds doubled quotes. Others belong to the text, such as
    those of `"Weird Al" Yankovic` or `"Heroes"`.
    """
    dropped, kept = {}, {}
    for column in frame.columns:
        text = frame[column].drop_nulls()
        marked = text.filter(text.str.contains('"', literal=True))
        quoted, doubled = marked.str.contains(QUOTED), marked.str.contains('.""')
        everywhere = 1 < len(marked) == len(text)
        if quoted.all() and (everywhere or (doubled.any() and (doubled | marked.str.contains("[,;\t\n]")).all())):
            dropped[column] = len(marked)
        elif quoted.any() and doubled.any():
            kept[column] = len(marked)
    for column in dropped:
        inner = pl.col(column).str.replace_all('^"|"$', "").str.replace_all('""', '"', literal=True)
        frame = frame.with_columns(
            pl.when(pl.col(column).str.contains(QUOTED)).then(inner).otherwise(column).alias(column)
        )
    return (
        frame,
        tuple(
            f"{name}: {n:,} values of {column} are in quotes as in CSV, which are dropped"
            for column, n in dropped.items()
        ),
        tuple(
            f"{name}: {n:,} values of {column} have quotes, not all as in CSV: they stay" for column, n in kept.items()
        ),
    )


class EmptyTableError(DataError):
    """A table has no rows.

    Args:
        name: The file.
        holds: What it holds.
    """

    def __init__(self, name: str, holds: str) -> None:
        super().__init__(f"{name} holds {holds}", hint="Check that the file is complete.")


NO_GUESS = "NAME"
WIDE = 5  # columns


class MissingColumnsError(DataError):
    """A table lacks columns of ids; `guesses` are columns that may hold them, by their roles, or `NO_GUESS`.

    Args:
        table: The table.
        roles: Whose ids are not found.
    """

    def __init__(self, table: Table, roles: Sequence[str]) -> None:
        self.guesses = {role: _guess(table, role) or NO_GUESS for role in roles}
        names, several = " and ".join(f"{role}_id" for role in roles), len(roles) > 1
        typed = shlex.quote(",".join(f"{role}={name}" for role, name in self.guesses.items()))
        hint = f"Say which column{'s hold' if several else ' holds'} the ids: {table.option} {typed}"
        if table.numbered and NO_GUESS in self.guesses.values():
            numbers = ",".join(f"{role}={number}" for number, role in enumerate(roles))
            hint += f", or, if it has no header, {table.option} {numbers} (columns count from 0)"
        if self.guesses == {"item": NO_GUESS} and len(table.types) > WIDE:
            hint += "; if each column is an item, write one event a row, in pandas with melt"
        if self.guesses.get("user") == NO_GUESS:
            hint += "; if all events are of one user, put those of several together, with a column that says whose"
        if "user" in roles and _is_timeless(table):
            hint += "; no name looks like a column of times either: if one holds times, add time=NAME"
        inside = _inside(table, [column for column, kind in table.types.items() if table.wide and kind != "token"])
        message = f"{table.name} has no column{'s' * several} {names}; it has {some(list(table.types))}"
        if all(column.isdigit() for column in table.types):
            first = some([field or "" for row in table.rows.head(1).cast(pl.String).rows() for field in row])
            message = f"{table.name} has no header, and {len(table.types)} columns" + (f": {first}" if first else "")
            roles_by_number = "item=0,title=1" if table.option == ITEM_OPTION else "user=0,item=1,time=2"
            hint = f"Say which column is what: {table.option} {roles_by_number} (columns count from 0)"
        super().__init__(message, hint=f"{inside}{hint}.")


def _inside(table: Table, columns: Sequence[str]) -> str:
    """Say what to do with columns that hold lists or objects, if there are any."""
    lists = [column for column in columns if table.types[column] == "token_seq"]
    objects = [column for column in columns if column not in lists]
    said = ""
    if lists:
        said += f"There are lists in {some(lists)}: write one event a row, in pandas with explode({lists[0]!r}). "
    if objects:
        said += f"There are objects in {some(objects)}: give their fields columns of their own, with json_normalize. "
    return said


def id_columns(table: Table, roles: Sequence[str]) -> dict[str, str]:
    """Return the columns of the ids of some roles.

    Raises:
        DataError: If one is missing, naming all that are, or holds lists or objects.
    """
    found = {role: column for role in roles if (column := table.find(role)) is not None}
    if missing := [role for role in roles if role not in found]:
        raise MissingColumnsError(table, missing)
    for role, column in found.items():
        if table.wide and table.types[column] != "token":
            raise DataError(
                f"{table.name}: the {role} ids in {column} are lists or objects",
                hint=f"{_inside(table, [column])}In JSON write one event a row, in pandas with to_json(..., "
                "orient='records', lines=True).",
            )
    return found


def _is_timeless(table: Table) -> bool:
    try:
        return table.find("time") is None
    except DataError:  # there are two
        return False


def _guess(table: Table, role: str) -> str | None:
    """Return the column whose name has a word of the known names of a role, as `reader` or `Book number`."""
    known = {word for name in (*ROLES[role].sure, *ROLES[role].other) for word in name.split("_")}
    known -= {"id", "author"}  # that of a book is no user
    texts = [column for column, kind in table.types.items() if kind == "token" or not table.wide]
    plain = {column: {word.removesuffix("s") for word in CAMEL.sub("_", column).lower().split("_")} for column in texts}
    fits = [column for column, words in plain.items() if words & known]
    begin = [column for column, words in plain.items() if any(word.startswith(LONG_WORDS[role]) for word in words)]
    return min(fits or begin, key=lambda column: len(plain[column]), default=None)


LONG_WORDS = {
    "user": ("user", "customer", "member"),
    "item": ("item", "product"),
}  # of which others are made, as username


CLOCK = r"^\s*\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?\s*$"
TOGETHER = "+"  # between the names of two columns that make one


def joined_times(table: Table) -> Table:
    """Return a table in which a date and a time of day, if they stand in two columns, are one, called `DATE+TIME`."""
    pair = _date_and_clock(table)
    if pair is None:
        return table
    day, clock = (table.rows[column] for column in pair)
    dates = day.cast(pl.Date).cast(pl.String) if day.dtype.is_temporal() else day.str.strip_chars()
    clocks, name = clock.cast(pl.String).str.strip_chars(), TOGETHER.join(pair)
    clocks = clocks.str.replace(r"^(\d):", "0$1:")
    rows = table.rows.with_columns((dates + "T" + clocks).alias(name)).drop(pair)
    rule = f"times of {table.name} are {pair[0]} and {pair[1]} together"
    types = {column: kind for column, kind in table.types.items() if column not in pair} | {name: "token"}
    return replace(table, types=types, rows=rows, rules=(*table.rules, rule), named={**table.named, "time": name})


def _date_and_clock(table: Table) -> tuple[str, str] | None:
    """Return the columns of dates and of times of day: those named `DATE+TIME`, else the only ones called so."""
    if named := table.named.get("time"):
        day, _, clock = named.partition(TOGETHER)
        return (day, clock) if named not in table.types and {day, clock} <= table.types.keys() else None
    known = {_squeezed(name) for names in ((ROLES["time"].sure), ROLES["time"].other, SURER["time"]) for name in names}
    plain = {_squeezed(column): column for column in table.types}
    days = [name for name in plain if name.endswith("date") and name.removesuffix("date") + "time" in plain]
    if len(days) != 1:
        return None
    pair = plain[days[0]], plain[days[0].removesuffix("date") + "time"]
    if any(name in known and column not in pair for name, column in plain.items()):
        return None
    dates, clocks = (table.rows[column].cast(pl.String).drop_nulls() for column in pair)
    fits = len(clocks) and clocks.str.contains(CLOCK).all() and not dates.str.contains(":").any()
    return pair if fits else None


def some(names: Sequence[str]) -> str:
    """Return names for a message, twenty at most."""
    return ", ".join(names[:20]) + (f" and {len(names) - 20:,} more" if len(names) > 20 else "")

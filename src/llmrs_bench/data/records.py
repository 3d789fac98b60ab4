"""What the layouts of known data sets are made of: tables without quotes, CSV, and one record a line."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import polars as pl

from llmrs_bench.core.errors import DataError
from llmrs_bench.core.schemas import ITEMS
from llmrs_bench.data.fields import (
    FEW,
    LONGEST,
    NUMERIC,
    number,
    python_literal,
    read_delimited,
    require_filled,
    require_whole,
)
from llmrs_bench.data.files import MEND, SourceFiles, normal_lines
from llmrs_bench.data.sources import LONG, MISSING, without_markup

ItemRow = tuple[str, str | None, str, int | None, list[str]]  # one row of `schemas.ITEMS`
Record = dict[str, Any]
ROWS = 1 << 16  # rows that are Python values at once
NO_ITEMS = "no file of items: they are known by their id alone"
SHOWN = 60  # letters of a line in a message


def given(files: SourceFiles | None) -> SourceFiles:
    """Return the files.

    Raises:
        DataError: If none are given.
    """
    if files is None:
        raise DataError("this layout reads files, but none were given", hint="Pass them with --source PATH.")
    return files


def named(files: SourceFiles | None, pattern: str) -> list[str]:
    """Return the names of the files that are called as a regular expression says, in whichever folder they are."""
    return [name for name in (files.names if files else ()) if re.fullmatch(pattern, name.rpartition("/")[2])]


def only(files: SourceFiles | None, pattern: str, what: str) -> str:
    """Return the name of the one file that is called as a regular expression says.

    Raises:
        DataError: If there is none, or more than one.
    """
    found = named(files, pattern)
    if len(found) != 1:
        said = f"more than one: {', '.join(found)}" if found else "none"
        raise DataError(f"this layout needs one file of {what}, but there is {said}", hint="See docs/data.md, Layouts.")
    return found[0]


def tables(
    files: SourceFiles, name: str, columns: list[str], *, separator: str = "\t", header: str | None = None
) -> Iterator[tuple[int, pl.DataFrame]]:
    """Yield a table block by block, as strings, each with the number of lines above it; quotes mean nothing.

    Args:
        files: Where it is.
        name: Its name.
        columns: Names for its fields.
        separator: What is between the fields.
        header: The first line, if that is none of the rows.

    Raises:
        DataError: If there is no row, the header is another one, or a line has another number of fields.
    """
    above, empty = 0, True
    shortest = 0  # of the numbers in the last column; 0 where it holds others
    for block in files.blocks(name):
        data, skipped = block, 0
        if above == 0 and header is not None:
            first, _, data = normal_lines(block, name=name).partition(b"\n")
            skipped = 1
            if first.decode() != header:
                raise DataError(f"{name}, line 1: the header is {first.decode()[:200]!r}, not {header!r}", hint=MEND)
        if data.strip():
            empty = False
            data = data if separator == "\t" else data.replace(separator.encode(), b"\t")
            rows = read_delimited(data, name=name, columns=columns, above=above + skipped)
            last = rows[columns[-1]]
            if not block.endswith(b"\n") and above > FEW and shortest:
                require_whole(last[-1], shortest, f"{name}, line {above + skipped + rows.height}", columns[-1])
            sizes = last.str.len_bytes() if last.head(1000).str.contains(NUMERIC).all() else None
            shortest = 0 if sizes is None else min(int(sizes.min() or 0), shortest or LONGEST)  # type: ignore[arg-type]
            yield above + skipped, rows
        above += block.count(b"\n")
    if empty:
        raise DataError(f"{name} holds no data", hint="Check that the file is complete.")


def read_events(
    files: SourceFiles,
    name: str,
    columns: list[str],
    *,
    separator: str = "\t",
    header: str | None = None,
    unit: float = 1.0,
) -> pl.DataFrame:
    """Return a table of the columns user_id, item_id, rating and timestamp as events, of `sources.EVENTS`.

    Args:
        files: Where it is.
        name: Its name.
        columns: The four names in the order of the fields.
        separator: What is between the fields.
        header: The first line, if that is none of the rows.
        unit: How many units of time a second has: 1 or 1000.

    Raises:
        DataError: As `tables` does; if a field is empty or no number, or a time is of another unit.
    """
    parts = []
    for above, rows in tables(files, name, columns, separator=separator, header=header):
        require_filled(rows, columns, name=name, header_lines=above)
        times = number(rows, "timestamp", name=name, header_lines=above)
        strange = (times.abs() >= 1e11) != (unit > 1)  # 1e11 seconds are the year 5138, as milliseconds 1973
        if (strange & (times != 0)).any():
            row = (strange & (times != 0)).arg_max() or 0
            what = "milliseconds" if unit > 1 else "seconds"
            raise DataError(
                f"{name}, line {row + 1 + above}: timestamp is {rows['timestamp'][row]!r}, in this layout these are "
                f"{what} since 1970",
                hint="Check that the file is of this layout, or choose another with --format.",
            )
        rating = number(rows, "rating", pl.Float32, name=name, header_lines=above)
        parts.append(rows.select("user_id", "item_id", (times / unit).alias("timestamp"), rating))
    return pl.concat(parts)


def csv_rows(files: SourceFiles, name: str, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield line and fields of each row of a CSV file with a header, in UTF-8; the file is read whole.

    Raises:
        DataError: If a column is missing, or a row has another number of fields or a quote too many.
    """
    text = normal_lines(files.read(name), name=name).decode()
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        head = next(rows, [])
        if missing := [column for column in columns if column not in head]:
            raise DataError(
                f"{name} has no column {', '.join(missing)}; it has {', '.join(head)[:200] or 'none'}", hint=MEND
            )
        places = [head.index(column) for column in columns]
        for fields in rows:
            if len(fields) != len(head):
                raise DataError(
                    f"{name}, line {rows.line_num}: {len(fields)} fields, expected {len(head)}",
                    hint="Fields with commas in them need quotes. " + MEND,
                )
            yield rows.line_num, [fields[place] for place in places]
    except csv.Error as error:
        raise DataError(f"{name}, line {rows.line_num}: {error}", hint=MEND) from error


def records(files: SourceFiles, name: str, *, literals: bool = False) -> Iterator[tuple[int, Record]]:
    """Yield number and record of each line that is one, in JSON or as a literal of Python; blank lines are left out.

    Literals are parsed, and never run.

    Raises:
        DataError: If there is none, or naming the first line that is no record.
    """
    empty = True
    for at, line in files.lines(name):
        empty = False
        try:
            record = python_literal(line) if literals else json.loads(line)
        except (ValueError, RecursionError) as error:
            kind = "a literal of Python" if literals else "JSON"
            raise DataError(
                f"{name}, line {at}: {line[:SHOWN]!r} is not {kind}: {str(error)[:200] or type(error).__name__}",
                hint=MEND,
            ) from error
        if not isinstance(record, dict):
            raise DataError(f"{name}, line {at}: {line[:SHOWN]!r} is not a record of names and values", hint=MEND)
        yield at, record
    if empty:
        raise DataError(f"{name} holds no data", hint="Check that the file is complete.")


def text_field(record: Mapping[str, Any], key: str, *, name: str, at: int) -> str:
    """Return an id or a time of a record as text, without blanks around it.

    Raises:
        DataError: Naming the line where it is missing, or neither a text nor a whole number.
    """
    value = record.get(key)
    text = str(value).strip() if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    if not text:
        raise DataError(f"{name}, line {at}: {key} is {value!r}, not a text", hint=MEND)
    return text


def framed(rows: Iterable[Sequence[Any]], schema: pl.Schema, *, name: str) -> pl.DataFrame:
    """Return rows as a frame; few of them are Python values at once.

    Raises:
        DataError: If a value is not of its column's type.
    """
    parts, waiting = [schema.to_frame()], iter(rows)
    try:
        while some := list(islice(waiting, ROWS)):
            columns = zip(schema.items(), zip(*some, strict=True), strict=True)
            parts.append(pl.DataFrame([pl.Series(column, values, dtype=kind) for (column, kind), values in columns]))
    except (TypeError, OverflowError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{name} holds a value of another kind: {str(error)[:200]}", hint=MEND) from error
    return pl.concat(parts)


def needed_items(
    listed: Iterable[tuple[str, Record]],
    row: Callable[[str, Record], ItemRow],
    events: pl.DataFrame,
    *,
    name: str,
    events_name: str,
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Return rows of `schemas.ITEMS` for the items that have events, the first of each; count all others.

    Args:
        listed: Id and record of each listed item; never held together.
        row: Makes a row of these.
        events: The events.
        name: The file of the items, for messages.
        events_name: That of the events.

    Raises:
        DataError: If no item with events is listed.
    """
    wanted = set(events["item_id"].drop_nulls().unique())
    missing, last = set(wanted), ""
    facts = {"items_listed": 0, "items_listed_twice_dropped": 0, "items_without_events_dropped": 0}

    def kept() -> Iterator[ItemRow]:
        nonlocal last
        for item, record in listed:
            last = item
            if item in missing:
                missing.discard(item)
                facts["items_listed"] += 1
                yield row(item, record)
            else:
                facts["items_listed_twice_dropped" if item in wanted else "items_without_events_dropped"] += 1

    items = framed(kept(), ITEMS, name=name)
    if wanted and items.is_empty():
        raise DataError(
            f"none of the {len(wanted):,} items in {events_name} is in {name}: their ids are such as {min(wanted)!r} "
            f"there, and {last!r} here",
            hint="Check that both files are of one data set; without the file of items, these go by their id.",
        )
    return items, facts


def words(value: object) -> str:
    """Return a value, or the values of a list, as text in one line; nothing for what is missing, or overlong."""
    if not isinstance(value, str):
        if isinstance(value, (list, tuple)):
            return ", ".join(dict.fromkeys(filter(None, map(words, value))))
        return str(value) if isinstance(value, (int, float)) else ""
    text = without_markup(value) if "&" in value or "<" in value else value
    text = " ".join(text.split())
    return "" if text in MISSING or len(text) > LONG else text


def word_list(value: object) -> list[str]:
    """Return the texts of a list, of lists in it too, each once."""
    if not isinstance(value, (list, tuple)):
        return [text] if (text := words(value)) else []
    return list(dict.fromkeys(text for part in value for text in word_list(part)))


def sentences(values: Mapping[str, object]) -> str:
    """Return what is known of an item as sentences, "Brand: Acme. Price: 9.99."; what is missing is left out."""
    return " ".join(f"{label}: {text.removesuffix('.')}." for label, value in values.items() if (text := words(value)))


def year_of(value: object) -> int | None:
    """Return the year that stands in a value; None where none does."""
    found = re.search(r"(?<!\d)[12]\d{3}(?!\d)", str(value))
    return int(found[0]) if found else None

"""Fields of delimited text: numbers, times, and what is no such."""

import ast
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl

from llmrs_bench.core.errors import DataError
from llmrs_bench.data.files import MEND, normal_lines


def read_delimited(
    data: bytes, *, name: str, columns: list[str], header_lines: int = 0, above: int = 0
) -> pl.DataFrame:
    """Return one row per line with `columns` as strings; empty fields are null, quotes mean nothing.

    Args:
        data: UTF-8 text with tabs between fields.
        name: The file, for messages.
        columns: Names for the fields of a line.
        header_lines: Lines to leave out at the start.
        above: Lines of the file that are above these, for messages.

    Raises:
        DataError: If there are no lines, the text is not UTF-8, or a line has another number of fields.
    """
    data, start = normal_lines(data, name=name, above=above), 0
    for _ in range(header_lines):
        start = data.find(b"\n", start) + 1 or len(data)
    if start == len(data):
        raise DataError(f"{name} holds no data", hint="Check that the file is complete.")
    if data.count(b"\t", start) != (data.count(b"\n", start) + 1) * (len(columns) - 1):
        raise _ragged(data[start:], name, len(columns), above + header_lines)
    schema = dict.fromkeys(columns, pl.String())
    try:
        return pl.read_csv(
            io.BytesIO(data), has_header=False, schema=schema, separator="\t", quote_char=None, skip_lines=header_lines
        )
    except pl.exceptions.PolarsError as error:
        raise _ragged(data[start:], name, len(columns), above + header_lines) from error


FEW = 10  # rows, of which no custom shows
NUMERIC = r"^[-+]?[0-9][-+0-9.,:/ TZ]*$"
LONGEST = 1 << 30  # characters: no number has as many


def require_whole(last: str | None, shortest: int, where: str, column: str) -> None:
    """Refuse a file without a line end behind its last number, where that is shorter than all above it: it was cut.

    Args:
        last: The last field of the last line.
        shortest: Characters of the shortest number above it.
        where: The file and its last line, for the message.
        column: The name of the field.

    Raises:
        DataError: Naming the line.
    """
    if shortest > 2 and len(last or "") < shortest:
        raise DataError(
            f"{where}: the file ends in it without a line end, and {column} is {last or 'empty'}, shorter than all "
            "above it: it seems to be truncated",
            hint="Get a complete copy of the file; or, if it is complete, end its last line with a line break.",
        )


COMMA = "Write a point in place of the comma, in pandas with read_csv(..., decimal=',')."
DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")
THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(,\d{3})+")


def with_points(column: pl.Series) -> pl.Series:
    """Return a column of strings with points in place of decimal commas, or the same one if that is not what they are.

    They are if each text with a comma or a point is a number with one comma, and one of them at least can be no number
    whose thousands commas part.
    """
    text = column.str.strip_chars()
    marked = text.filter(text.str.contains("[,.]")).unique().to_list()
    fits = marked and all(map(DECIMAL_COMMA.fullmatch, marked)) and not all(map(THOUSANDS.fullmatch, marked))
    return text.str.replace(",", ".", literal=True) if fits else column


def number(
    frame: pl.DataFrame,
    column: str,
    dtype: type[pl.DataType] = pl.Float64,
    *,
    name: str,
    header_lines: int = 0,
    unit: str = "line",
    hint: str = MEND,
) -> pl.Series:
    """Return a column of strings as finite numbers of a type with fractions; empty fields stay null.

    Where rows are no lines of a file, `unit` says what they are.

    Raises:
        DataError: Naming the first line whose field is not a number.
    """
    text = frame[column].str.strip_chars()
    found = text.cast(dtype, strict=False)
    bad = text.is_not_null() & (found.is_null() | ~found.is_finite().fill_null(True))
    if bad.any():
        row = bad.arg_max() or 0
        raise DataError(
            f"{name}, {unit} {row + 1 + header_lines}: {column} is {text[row]!r}, not a number",
            hint=f"{_comma_hint(text[row])}{hint}",
        )
    return found


# A number of this size or more is a time in this unit, of which so many are a second. 1e11 seconds are the year 5138,
# 1e11 milliseconds 1973.
UNITS = (("seconds", 0.0, 1.0), ("milliseconds", 1e11, 1e3), ("microseconds", 1e14, 1e6), ("nanoseconds", 1e17, 1e9))
# .NET counts steps of 100 ns since the year 1. As nanoseconds since 1970 those of our days would be of 1989 and 1990.
TICKS, TICKS_BEFORE_1970 = 1e7, 621_355_968_000_000_000
EARLY = 315_532_800  # 1980, in seconds since 1970: no data set of ours begins before
UNSET = (0.0, -1.0)  # what programs write where there is no time; of no unit
DAYS = (19000101, 21001231)  # dates that are written as one number
TIMES = (
    "Write every time in seconds since 1970, with a point before fractions and no sign between thousands, or as "
    "2018-03-01T12:00:00 (ISO 8601). Nothing says whether 01.03.2018 and 3/1/18 name the day or the month first; "
    "pandas rewrites them: to_datetime(column, dayfirst=True)."
)
ONE_UNIT = (
    "Write every time in seconds since 1970, or name the unit that all of them have: --time-unit s|ms|us|ns|ticks."
)


def times(
    frame: pl.DataFrame,
    column: str,
    *,
    name: str,
    header_lines: int = 0,
    unit: str = "line",
    scale: str = "auto",
) -> tuple[pl.Series, tuple[str, ...]]:
    """Return a column of strings as seconds since 1970 with their fractions, and rules in words on how it was read.

    Read are numbers of seconds, milliseconds, microseconds or nanoseconds (by their size), ticks of .NET where all are
    between 1980 and today as such, ISO 8601 dates, and dates such as 20180301120000: without a time of day these are
    midnight, without a zone UTC. A column of moments is read as it is.

    Args:
        frame: It has the column.
        column: Its name.
        name: The file, for messages.
        header_lines: Lines before the first row.
        unit: What a row is in the file.
        scale: `s`, `ms`, `us`, `ns`, `ticks` or `iso` where the times are known to be such.

    Raises:
        DataError: Naming the first line that is empty or no time, or two lines that differ in their unit.
    """
    require_filled(frame, [column], name=name, header_lines=header_lines, unit=unit)
    if frame[column].dtype.is_temporal():
        return frame[column].dt.epoch("us") / 1e6, (DATES, *_days(frame[column].dt.epoch("us") / 1e6))
    text = frame[column].str.strip_chars()
    numbers = text.cast(pl.Float64, strict=False)
    unset = numbers.is_in(list(UNSET)).fill_null(False)
    # Milliseconds of 14 digits that begin like a year of ours would be of the 26th century.
    sizes = text.str.len_bytes()
    days = numbers.filter(sizes == 8), numbers.filter(sizes == 14) / 1e6
    in_digits = sum(int(day.is_between(DAYS[0], DAYS[1] + 1).sum()) for day in days)
    first = (~unset).arg_max() or 0
    is_date = numbers[first] is None or scale == "iso"
    if scale in ("auto", "iso") and (is_date or (in_digits and in_digits + int(unset.sum()) == len(text))):
        known = {day: _moment(day) for day in text.unique()}
        seconds = text.replace_strict(list(known), list(known.values()), return_dtype=pl.Float64)
        if seconds.null_count() == 0:
            return seconds, (DATES, *_days(seconds))
        if is_date or len(days[1]):
            row = seconds.is_null().arg_max() or 0
            raise DataError(
                f"{name}, {unit} {row + 1 + header_lines}: {column} is {text[row]!r}, not a time", hint=TIMES
            )
    seconds = numbers
    if not numbers.is_finite().fill_null(False).all():
        seconds = number(frame, column, name=name, header_lines=header_lines, unit=unit, hint=TIMES)
    ticks = (seconds - TICKS_BEFORE_1970) / TICKS
    if scale == "ticks":
        return seconds.zip_with(unset, ticks), (f"{TICKS_RULE}, as --time-unit says",)
    if scale != "auto":
        words, _, factor = UNITS[("s", "ms", "us", "ns").index(scale)]
        return seconds.zip_with(unset, seconds / factor), (f"times are {words}, as --time-unit says",)
    places = {words: (seconds.abs() >= least) & ~unset for words, least, _ in UNITS}
    words, _, factor = next((words for words in reversed(UNITS) if places[words[0]].any()), UNITS[0])
    if (other := ~places[words] & ~unset).any():
        rows = [places[words].arg_max() or 0, other.arg_max() or 0]
        lines = [f"{text[row]!r} in {unit} {row + 1 + header_lines}" for row in sorted(rows)]
        raise DataError(f"{name}: {column} is {' and '.join(lines)}: these are not of one unit", hint=ONE_UNIT)
    if words == "nanoseconds" and ticks.filter(~unset).is_between(EARLY, datetime.now(UTC).timestamp() + 86_400).all():
        return seconds.zip_with(unset, ticks), (f"{TICKS_RULE}; if they are nanoseconds of 1990, add --time-unit ns",)
    return seconds.zip_with(unset, seconds / factor), (f"times are {words}",) if factor > 1 else ()


TICKS_RULE = "times are ticks of .NET, 100 ns each since the year 1"
DATES = "times are dates (ISO 8601), in UTC where they name no zone"


ZONE = r"\d:\d{2}.*(Z|UTC|[+-]\d{2}(:?\d{2})?)\s*$"  # of a time of day in ISO 8601, or as BigQuery writes it


ROUNDED = r"^\s*\d(\.\d+)?E\+\d+\s*$"  # a number as spreadsheets write it where the cell is narrow


def rounded_times(column: pl.Series) -> Iterator[str]:
    """Say that times are numbers of which a spreadsheet has dropped the end, as the first ones show."""
    first = column.head(1000)
    if column.dtype == pl.String and (short := first.filter(first.str.contains(ROUNDED))).len():
        yield (
            f"times of {column.name} are written as {short[0]}, as spreadsheets shorten long numbers: their order may "
            "be lost; export the column as text"
        )


def mixed_zones(column: pl.Series) -> Iterator[str]:
    """Say how many dates with a time of day name no zone where others do: it is not known when they were."""
    if column.dtype != pl.String:
        return
    timed = column.filter(column.str.contains(r"\d:\d{2}"))
    without = timed.filter(~timed.str.contains(ZONE))
    if 0 < len(without) < len(timed):
        yield (
            f"{len(without):,} of {len(timed):,} times name no zone, such as {without[0]!r}, the others do: they are "
            "taken for UTC; if they are not, the order of events is wrong"
        )


def _days(seconds: pl.Series) -> tuple[str, ...]:
    """Say that dates have no time of day, where that is so."""
    if len(seconds) and (seconds % 86_400 == 0).all():
        return ("times are days: events of one day are in the order of their lines",)
    return ()


def _moment(text: str) -> float | None:
    """Return the seconds since 1970 of a date of ISO 8601, also with slashes; None where it is none."""
    if text in ("0", "-1"):
        return float(text)
    if len(text) == 14 and text.isdigit():
        text = f"{text[:8]}T{text[8:]}"
    try:
        moment = datetime.fromisoformat(re.sub(r"(?<=\d) UTC$", "Z", text).replace("/", "-"))
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def require_filled(
    frame: pl.DataFrame, columns: list[str], *, name: str, header_lines: int = 0, unit: str = "line"
) -> None:
    """Refuse empty fields in `columns`.

    Raises:
        DataError: Naming the first line and field that is empty.
    """
    for column in columns:
        if frame[column].null_count():
            row, more = frame[column].is_null().arg_max() or 0, frame[column].null_count() - 1
            others = f", and in {more:,} more" if more else ""
            raise DataError(
                f"{name}, {unit} {row + 1 + header_lines}: {column} is empty{others}",
                hint=f"Get a fresh copy of the file, or drop these {unit}s: in pandas, dropna(subset=[{column!r}]).",
            )


@dataclass(frozen=True, slots=True)
class Fault:
    """Fields of one column that cannot be read, for one reason.

    Args:
        rows: Which rows have one, as Boolean.
        words: What is wrong with the first.
        hint: What to do.
    """

    rows: pl.Series
    words: str
    hint: str

    @property
    def column(self) -> str:
        """Name of the column, as that of `rows`."""
        return self.rows.name


def empty_fields(columns: Sequence[pl.Series], unit: str) -> Iterator[Fault]:
    """Find fields that are empty."""
    empty = [column for column in columns if column.null_count()]
    names = [column.name for column in empty]
    hint = f"Get a fresh copy of the file, or drop these {unit}s: in pandas, dropna(subset={names})."
    yield from (Fault(column.is_null(), f"{column.name} is empty", hint) for column in empty)


def no_numbers(column: pl.Series, hint: str, what: str = "a number") -> Iterator[Fault]:
    """Find fields of a column of strings that are neither empty nor finite numbers, which `what` calls them."""
    found = column.str.strip_chars().cast(pl.Float64, strict=False)
    bad = column.is_not_null() & ~found.is_finite().fill_null(False)
    if bad.any():
        text = column.filter(bad)[0].strip()
        yield Fault(bad, f"{column.name} is {text!r}, not {what}", f"{_comma_hint(text)}{hint}")


def no_times(column: pl.Series, scale: str) -> Iterator[Fault]:
    """Find fields that are filled and no times: no dates where most are dates, else no numbers."""
    if column.dtype.is_temporal():
        return
    text = column.str.strip_chars()
    numbers = text.cast(pl.Float64, strict=False).is_finite().fill_null(False)
    known = {day: _moment(day) for day in text.unique().drop_nulls()} if scale in ("auto", "iso") else {}
    dates = text.is_in([day for day, moment in known.items() if moment is not None]).fill_null(False)
    good = dates if scale == "iso" or dates.sum() > numbers.sum() else numbers
    bad = text.is_not_null() & ~good
    if bad.any():
        yield Fault(bad, f"{column.name} is {text.filter(bad)[0]!r}, not a time", TIMES)


def _comma_hint(text: str) -> str:
    if THOUSANDS.fullmatch(text):
        ways = "read_csv(..., thousands=','), if they are decimal with decimal=','"
        return f"Write numbers without commas: if these part thousands, in pandas with {ways}. "
    return f"{COMMA} " if DECIMAL_COMMA.fullmatch(text) else ""


LONGEST_LITERAL = 1 << 20  # characters


def python_literal(line: str) -> Any:
    """Return the value that a line writes as a literal of Python, as some data sets do in place of JSON.

    Raises:
        ValueError: If it is none, or has more than a million characters.
    """
    if len(line) > LONGEST_LITERAL:
        raise ValueError(f"{len(line):,} characters are too many for a literal of Python")
    try:
        return ast.literal_eval(line.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(f"not a literal of Python: {type(error).__name__}") from error


def _ragged(body: bytes, name: str, fields: int, header_lines: int) -> DataError:
    for row, line in enumerate(body.split(b"\n")):
        if line.count(b"\t") != fields - 1:
            found = line.count(b"\t") + 1
            return DataError(f"{name}, line {row + 1 + header_lines}: {found} fields, expected {fields}", hint=MEND)
    return DataError(f"{name} is not a table of {fields} fields", hint="Get a fresh copy of the file.")

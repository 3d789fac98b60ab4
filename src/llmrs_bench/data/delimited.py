"""Text with delimiters as a table: its encoding, delimiter, header and quotes are found and said."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import polars as pl

from llmrs_bench.core.errors import DataError
from llmrs_bench.data.columns import LISTED, TOGETHER, EmptyTableError, Table, is_known, some, without_quotes
from llmrs_bench.data.fields import FEW, NUMERIC, python_literal
from llmrs_bench.data.files import CHUNK

DELIMITERS = {"\t": "tabs", "::": "::", "|": "|", ";": "semicolons", ",": "commas"}
BLANK = " "  # a delimiter where there is no other, and each line has as many
NAMES = {**DELIMITERS, BLANK: "single blanks"}
SEPARATORS = (LISTED, "|", "; ", ", ", LISTED)  # of several categories in one text
MOST_COLUMNS = 10_000
SEP = re.compile(rb"sep=[^\r\n]\r?\n", flags=re.IGNORECASE)
MOMENT = re.compile(r"^\s*\d{4}-\d\d-\d\d(?!\d)|\d:\d\d")  # no name of a column
NUMBER = re.compile(r"[-+]?\d+(?:[.,]\d+)?(?:[eE][-+]?\d+)?")
QUOTES = "Write quotes inside a quoted field twice, as CSV does, and close each field that begins with one."
READ = (
    "Supported: CSV with any delimiter, JSON lines, arrays of JSON objects, and Parquet, also compressed (.gz, .zst)."
)


def delimited(data: bytes, name: str, named: Mapping[str, str], encoding: str) -> Table:
    """Return the table of a text with delimiters; `named` are columns by their roles, or their numbers.

    Args:
        data: UTF-8 text.
        name: The file, for messages.
        named: Columns by their roles.
        encoding: What the text was in, for the rule that says how it was read.

    Raises:
        DataError: If it is no table, or a malformed one, naming the line.
    """
    marked = SEP.match(data)  # how spreadsheets tell each other the delimiter
    data = data[marked.end() :] if marked else data
    data, comments = _without_comments(data, name)
    delimiter, first = _sniff(data, name)
    _require_header_first(data, name, first, named)
    by_number = bool(named) and all(part.isdigit() for column in named.values() for part in column.split(TOGETHER))
    has_header = not any(NUMBER.fullmatch(field.strip()) or MOMENT.search(field) for field in first)
    if by_number and has_header:
        has_header = any(map(is_known, first))
    columns = [str(at) for at in range(len(first))]
    if has_header:
        columns = [field.strip() or str(at) for at, field in enumerate(first)]
        if twice := [column for column, count in Counter(columns).items() if count > 1]:
            raise DataError(f"{name}, line 1: column {twice[0]!r} appears twice", hint="Rename or drop one of them.")
    if by_number and has_header:
        named = {
            role: TOGETHER.join(columns[int(at)] if int(at) < len(columns) else at for at in text.split(TOGETHER))
            for role, text in named.items()
        }
    if delimiter == "::":
        data = data.replace(b"::", LISTED.encode())
    mark, skipped, skipped_words = LISTED if delimiter == "::" else delimiter, list[int](), ("", "")
    try:
        frame, said, quoting = _fields(data, name, mark, columns, has_header)
    except RaggedError as error:
        frame, said, quoting = _fields(data, name, mark, columns, has_header, skipped)
        if len(skipped) >= frame.height:
            raise
        skipped_words = error.words, error.hint
    if frame.is_empty():
        raise EmptyTableError(name, "a header, and no rows")
    if has_header and not skipped and (again := _repeated_header(frame, columns)):
        skipped, skipped_words = [at + 2 for at in again], ("the header again", "Delete such lines.")
        frame = frame.with_row_index("\0").filter(~pl.col("\0").is_in(again)).drop("\0")
    doubts = _doubtful_end(data, frame, name)
    if at := _cut_end(data, frame):
        skipped, skipped_words = [*skipped, frame.height + has_header + len(skipped)], skipped_words if skipped else at
        frame = frame[:-1]
    rules = [*said, *([f"{name}: the line sep= is left out"] if marked else [])]
    if comments:
        rules.append(f"{name}: {comments:,} lines of comment above the table are left out")
    frame, cleaned, warnings, listed = _without_wrapping(frame, data, name, quoting=quoting)
    rules += cleaned
    header = f"a header of {len(columns)}" if has_header else f"no header, {len(columns)}"
    lines = data.count(b"\n") + (not data.endswith(b"\n"))
    is_line = lines == frame.height + has_header + len(skipped)
    return Table(
        name,
        dict.fromkeys(columns, "token") | dict.fromkeys(listed, "token_seq"),
        frame,
        named,
        (
            f"{name}: text in {encoding}, {NAMES[delimiter]} between fields, {header} columns",
            *rules,
        ),
        (*warnings, *doubts),
        numbered=True,
        first=1 + has_header + bool(marked) + comments if is_line else 1,
        unit="line" if is_line else "row",
        separators=SEPARATORS,
        wide=True,
        skipped=tuple(row + bool(marked) + comments for row in skipped) if is_line else tuple(skipped),
        skipped_words=skipped_words,
    )


def _without_comments(data: bytes, name: str) -> tuple[bytes, int]:
    """Return a text without the lines above the table that begin with #, and how many they are.

    The last of them is the header, where it has a known name and as many fields as the first row, which has a number.
    """
    at = found = last = 0
    while data.startswith(b"#", at) and at < CHUNK:
        end = data.find(b"\n", at) + 1
        if not end:
            return data, 0  # there is nothing else
        at, last, found = end, at, found + 1
    rest = data[at:]
    if not found or not rest.strip():
        return data, 0
    delimiter, first = _sniff(rest, name)
    header = data[last:at].lstrip(b"# ")
    names = header.decode("utf-8", "replace").strip().split(delimiter)
    if len(names) == len(first) and any(NUMBER.fullmatch(field.strip()) for field in first):
        if any(NUMBER.fullmatch(field.strip()) for field in names):
            return data, 0  # these are rows
        if any(is_known(field.strip()) for field in names):
            return header + rest, found - 1
    return rest, found


def _repeated_header(frame: pl.DataFrame, columns: Sequence[str]) -> list[int]:
    """Return the rows that are the header again, as where files were put one behind the other."""
    rows = (frame[columns[0]].str.strip_chars() == columns[0]).fill_null(False).arg_true().to_list()
    named = [column for column in columns if not column.isdigit()]
    return [at for at in rows if all((frame[column][at] or "").strip() == column for column in named)]


def _cut_end(data: bytes, frame: pl.DataFrame) -> tuple[str, str] | None:
    """Say that a text was cut in the last field of its last row, and what to do, if that shows.

    It does where no line end is behind it, and it is empty, or a number or a time shorter than all above it.
    """
    if data.endswith((b"\n", b"\r")) or frame.height <= FEW:
        return None
    column = frame.columns[-1]
    above, last = frame[column][:-1], frame[column][-1]
    least = above.str.len_bytes().min()
    if above.null_count() or not isinstance(least, int) or not (least > 2 or last is None):
        return None
    if last is not None and (len(last) >= least or not above.str.contains(NUMERIC).all()):
        return None
    return (
        f"the file ends in it without a line end, and {column} is {last or 'empty'}, shorter than all above it: it "
        "seems to be truncated",
        "Get a complete copy of the file; or, if it is complete, end its last line with a line break.",
    )


def _doubtful_end(data: bytes, frame: pl.DataFrame, name: str) -> list[str]:
    """Say that the last number of a text may be cut, where no line end is behind it and there are longer ones."""
    if data.endswith((b"\n", b"\r")) or frame.height <= FEW or _cut_end(data, frame):
        return []
    column = frame.columns[-1]
    sizes, last = frame[column].str.len_bytes(), frame[column][-1]
    if last is None or sizes[-1] == sizes.max() or not frame[column].drop_nulls().str.contains(NUMERIC).all():
        return []
    return [
        f"{name} ends without a line end, in {column} {last}: if the file is truncated, this number may be, too; if it "
        "is complete, end its last line with a line break"
    ]


def _are_quoted(texts: pl.Series) -> bool:
    """Tell whether the first texts, if there are several, all have quotes around them, of one sort."""
    first = texts.head(1000).drop_nulls().str.strip_chars()
    return len(first) > 1 and any(first.str.contains(f"^{mark}.+{mark}$").all() for mark in "'\"`")


LISTS = (list, tuple, set)


def as_text(value: Any) -> str | None:
    """Return a value of JSON or of Python as text; those of a list have `LISTED` between them, named ones by name."""
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, LISTS):
        return LISTED.join(filter(None, map(as_text, map(_named, value))))
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)


def _named(value: Any) -> Any:
    """Return the name of an object, such as {"id": 16, "name": "Animation"}; what has none stays."""
    name = value.get("name") if isinstance(value, dict) else None
    return name if isinstance(name, str) else value


def _lists(frame: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Return a table in which columns of lists, as JSON or Python write them, are `LISTED`; and which these are."""
    found = []
    for column in frame.columns:
        texts = frame[column].drop_nulls()
        if len(texts) and texts.head(1000).str.contains(r"^\s*\[.*\]\s*$").all():
            different = texts.unique()
            try:
                values = [as_text(_list(text)) for text in different]
            except ValueError:
                continue
            frame = frame.with_columns(pl.col(column).replace(different, pl.Series(values, dtype=pl.String)))
            found.append(column)
    return frame, found


def _list(text: str) -> Any:
    """Return the list that a text writes.

    Raises:
        ValueError: If it is none.
    """
    try:
        value = json.loads(text, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        value = python_literal(text)
    if not isinstance(value, LISTS):
        raise ValueError(text)
    return value


def _without_wrapping(
    frame: pl.DataFrame, data: bytes, name: str, *, quoting: bool
) -> tuple[pl.DataFrame, list[str], tuple[str, ...], list[str]]:
    """Return fields without what programs put around them; rules and warnings in words, and columns that are lists."""
    rules, warnings, listed = [], tuple[str, ...](), list[str]()
    if b'="' in data:
        frame, unwrapped = _without_formulas(frame)
        rules += [
            f'{name}: {n:,} values of {column} are written as ="...", and read without it' for column, n in unwrapped
        ]
    if not quoting and b'"' in data:
        frame, dropped, warnings = without_quotes(frame, name)
        rules += dropped
    if b"[" in data:
        frame, listed = _lists(frame)
        rules += [f"{name}: {column} is written as lists, and read as such" for column in listed]
    if quoted := [column for column in frame.columns if _are_quoted(frame[column])]:
        warnings = (*warnings, f"{name}: the values of {some(quoted)} are in quotes, which stay")
    return frame, rules, warnings, listed


FORMULA = r'^="([^"]*)"$'


def _without_formulas(frame: pl.DataFrame) -> tuple[pl.DataFrame, list[tuple[str, int]]]:
    """Return fields such as ="007", by which spreadsheets keep zeros, without what is around the text; and how many."""
    counts = {column: int(frame[column].str.contains(FORMULA).sum()) for column in frame.columns}
    found = [(column, count) for column, count in counts.items() if count]
    return frame.with_columns(pl.col(column).str.replace(FORMULA, "$1") for column, _ in found), found


def _sniff(data: bytes, name: str) -> tuple[str, list[str]]:
    """Return the delimiter, and the fields of the first line.

    It is the one that parts most lines into as many fields as the first; of several the one that makes the most.
    """
    sample = data[:CHUNK].decode("utf-8", "ignore")
    found = []
    for delimiter in DELIMITERS:
        text, one = (sample.replace("::", LISTED), LISTED) if delimiter == "::" else (sample, delimiter)
        rows: list[list[str]] = []
        try:
            for row in csv.reader(io.StringIO(text, newline=""), delimiter=one):
                rows += [row] if row else []
                if len(rows) > 100 or len(row) > MOST_COLUMNS:
                    break
        except csv.Error:  # a quoted field of more than 131,072 characters
            pass
        whole = rows[:-1] if len(data) > CHUNK and len(rows) > 2 else rows
        size = len(whole[0]) if whole else 0
        if size > 1:
            found.append((sum(len(row) == size for row in whole) / len(whole), size, delimiter, whole[0]))
    if not found and (fields := _by_blanks(sample)):
        return BLANK, fields
    if not found:
        _require_header_first(data, name, [], {})
        line = sample.lstrip().split("\n", 1)[0][:60]
        raise DataError(
            f"{name} is not a table: there is no delimiter in its first line {line!r}",
            hint=f"Between fields there may be commas, tabs, semicolons, | or ::. {READ}",
        )
    _, size, delimiter, first = max(found, key=lambda one: one[:2])
    if size > MOST_COLUMNS:
        raise DataError(
            f"{name} has more than {MOST_COLUMNS:,} columns", hint="Write one interaction a line, not a matrix."
        )
    return delimiter, first


def _by_blanks(sample: str) -> list[str]:
    """Return the fields of the first line, if in all of the first lines there are as many, parted by single blanks."""
    rows = [line.split(BLANK) for line in sample.splitlines()[:100]]
    fits = rows and len(rows[0]) > 1 and {len(row) for row in rows} == {len(rows[0])} and all(map(all, rows))
    return rows[0] if fits else []


ABOVE = 20  # lines that may stand above a header


def _require_header_first(data: bytes, name: str, first: Sequence[str], named: Mapping[str, str]) -> None:
    """Refuse a table with a heading above its header, as reports of spreadsheets have.

    Raises:
        DataError: If no field of the first line has a known name, or is named, and two of a later one have.
    """
    fields = {field.strip() for field in first}
    if any(map(is_known, fields)) or not fields.isdisjoint(named.values()):
        return
    for at, line in enumerate(data[:CHUNK].decode("utf-8", "ignore").splitlines()[1 : ABOVE + 1], 2):
        for delimiter in DELIMITERS:
            if sum(is_known(field.strip(' "')) for field in line.split(delimiter)) > 1:
                raise DataError(
                    f"{name}: the header seems to be line {at}, {line[:60]!r}, and there are others above it",
                    hint="Delete the lines above the header, and totals below the table.",
                )


class RaggedError(DataError):
    """A row has another number of fields than the first one.

    Args:
        name: The file.
        row: As the parser has it.
    """

    def __init__(self, name: str, row: Any) -> None:
        self.words = f"{row.actual_columns} fields, expected {row.expected_columns}: {row.text[:60]!r}"
        super().__init__(
            f"{name}, row {row.number}: {self.words}",
            hint="Correct or delete such rows, or quote fields that hold a delimiter.",
        )


def _fields(
    data: bytes,
    name: str,
    delimiter: str,
    columns: Sequence[str],
    has_header: bool,
    skipped: list[int] | None = None,
) -> tuple[pl.DataFrame, list[str], bool]:
    """Return the fields as strings, how quotes were read in words, and whether they were read as those of CSV.

    Raises:
        RaggedError: If a row has another number of fields; with `skipped` their numbers are added to that.
        DataError: If quotes are not closed.
    """
    if b'"' not in data:
        return _parsed(data, name, delimiter, columns, has_header, skipped, quoting=False), [], False
    if delimiter in ",;":
        try:
            _check_quotes(data, name, delimiter)
        except DataError:
            if b'\\"' in data and b"\\N" not in data:
                with suppress(DataError):
                    _check_quotes(data, name, delimiter, escaped=True)
                    frame = _parsed(data, name, delimiter, columns, has_header, skipped, quoting=True, escaped=True)
                    return frame, [f"{name}: a backslash stands before quotes inside of quotes"], True
            try:
                frame = _parsed(data, name, delimiter, columns, has_header, skipped, quoting=False)
            except DataError:
                pass
            else:
                return frame, [f"{name}: quotes are not those of CSV: they are read as text"], False
            raise
        return _parsed(data, name, delimiter, columns, has_header, skipped, quoting=True), [], True
    try:
        return _parsed(data, name, delimiter, columns, has_header, skipped, quoting=False), [], False
    except DataError:
        _check_quotes(data, name, delimiter)
        frame = _parsed(data, name, delimiter, columns, has_header, skipped, quoting=True)
        return frame, [f"{name}: quotes are those of CSV, also around delimiters and ends of lines"], True


def _check_quotes(data: bytes, name: str, delimiter: str, *, escaped: bool = False) -> None:
    """Refuse fields with text behind the closing quote, and quotes that are closed nowhere."""
    escape = "\\" if escaped else None
    text = io.StringIO(data.decode(), newline="")
    rows = csv.reader(text, delimiter=delimiter, strict=True, escapechar=escape, doublequote=not escaped)
    at = 1
    try:
        for _ in rows:
            at = rows.line_num + 1
    except csv.Error as error:
        raise DataError(f"{name}, line {at}: the quotes are not those of CSV ({error})", hint=QUOTES) from error


def _parsed(
    data: bytes,
    name: str,
    delimiter: str,
    columns: Sequence[str],
    has_header: bool,
    skipped: list[int] | None,
    *,
    quoting: bool,
    escaped: bool = False,
) -> pl.DataFrame:
    """Return the fields as strings, empty ones as null.

    Raises:
        RaggedError: Naming the first row with another number of fields, unless they are to be `skipped`.
    """
    from pyarrow import ArrowInvalid, string
    from pyarrow import csv as arrow_csv

    wrong: list[Any] = []

    def note(row: Any) -> str:
        wrong.append(row)
        if skipped is None:
            return "error"
        skipped.append(row.number)
        return "skip"

    names = [str(at) for at in range(len(columns))]
    for threads in (True, False) if skipped is None else (False,):  # threads do not know the number of a row
        wrong.clear()
        try:
            table = arrow_csv.read_csv(
                io.BytesIO(data),
                arrow_csv.ReadOptions(
                    column_names=names, skip_rows=0, use_threads=threads, block_size=max(CHUNK << 3, 1)
                ),
                arrow_csv.ParseOptions(
                    delimiter=delimiter,
                    quote_char='"' if quoting else False,
                    escape_char="\\" if escaped else False,
                    double_quote=not escaped,
                    newlines_in_values=quoting,
                    invalid_row_handler=note,
                ),
                arrow_csv.ConvertOptions(
                    column_types=dict.fromkeys(names, string()), strings_can_be_null=True, null_values=[""]
                ),
            )
        except ArrowInvalid as error:
            if threads:
                continue
            if wrong:
                raise RaggedError(name, wrong[0]) from error
            raise DataError(f"{name} is not a table: {str(error)[:200]}", hint=READ) from error
        else:
            frame = pl.DataFrame(pl.from_arrow(table)).rename(dict(zip(names, columns, strict=True)))
            return frame[1:] if has_header else frame
    raise AssertionError("unreachable")

"""Tables of one's own: CSV and its kin, JSON lines and Parquet, recognised by their content."""

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import polars as pl

from llmrs_bench.core.errors import DataError, OptionError, listed
from llmrs_bench.core.registry import unknown_name
from llmrs_bench.core.tables import parse_parquet
from llmrs_bench.data.columns import ITEM_OPTION, LISTED, Table, check_roles, id_columns, joined_times, some
from llmrs_bench.data.delimited import LISTS, MOST_COLUMNS, READ, SEPARATORS, as_text, delimited
from llmrs_bench.data.encodings import decoded, table_encodings
from llmrs_bench.data.fields import python_literal
from llmrs_bench.data.files import CHUNK, GZIP, SourceFiles
from llmrs_bench.data.rows import event_columns, make_raw
from llmrs_bench.data.sources import Raw

PARQUET = b"PAR1"
EXPORT = "Open it with the program that made it, and export the table, in pandas with to_csv(..., index=False)."
FOREIGN = {  # by how their files begin
    b"SQLite format 3\0": "a database of SQLite",
    b"\xd0\xcf\x11\xe0": "a workbook of Excel",
    b"%PDF": "a PDF",
    b"ARROW1": "a file of Arrow (Feather)",
    b"ORC": "a file of ORC",
    b"Obj\x01": "a file of Avro",
    b"\x89HDF": "a file of HDF5",
    b"\x93NUMPY": "an array of NumPy",
    b"\x80\x04": "a pickle of Python, which is never run",
    b"\x80\x03": "a pickle of Python, which is never run",
    b"\x80\x05": "a pickle of Python, which is never run",
}
PACKED = {  # by how their files begin
    GZIP: "packed twice",
    b"BZh": "packed with bzip2",
    b"\xfd7zXZ\0": "packed with xz",
    b"\x04\x22\x4d\x18": "packed with lz4",
    b"7z\xbc\xaf\x27\x1c": "an archive of 7-Zip",
    b"Rar!\x1a\x07": "an archive of RAR",
    b"PK\x03\x04": "an archive inside of an archive",
}
UNPACK = "Unpack it: read are what gzip or zstd packed once, and archives of zip and tar (.tar, .tar.gz)."
INNER = (".zip", ".tar", ".tgz", ".7z", ".rar", ".bz2", ".xz")
PARTS = (
    "They have the same columns: if they are parts of one table, make it one, in pandas with "
    "pd.concat(map(pd.read_csv, sorted(Path(FOLDER).rglob('*.csv')))).to_csv('events.csv', index=False). If not: "
)
LINES = "Write one object a line, or all in one array. The file may be cut short or damaged."
JSON_ROWS = 50_000  # that become strings at once
Reader = Callable[[SourceFiles, str, Mapping[str, str], str], Table]


class Tables:
    """Reads a table of events, and one of items if there is one.

    Args:
        columns: Names of columns by their roles, where these are not found by name; without a header their numbers,
            from 0.
        unrated: Texts in the column of ratings that mean no rating; numbers are compared as such.
        items: Where the table of items is, if not beside that of events.
        item_columns: As `columns`, for the table of items.
        encoding: Of text that is not UTF-8, or of one table, as `table_encodings` takes it.
        time_unit: That of times, where their size does not show it: s, ms, us, ns, or iso.
        line_order: Whether the lines of a table without times are in the order of time; if not, nothing says it.
        drop_bad: Whether rows that cannot be read are left out, and counted.
    """

    reads_columns = True
    reads_tables = True

    def __init__(
        self,
        columns: Mapping[str, str] = MappingProxyType({}),
        unrated: Sequence[str] = (),
        *,
        items: SourceFiles | None = None,
        item_columns: Mapping[str, str] = MappingProxyType({}),
        encoding: str | None = None,
        time_unit: str = "auto",
        line_order: bool = False,
        drop_bad: bool = False,
    ) -> None:
        for named in (columns, item_columns):
            check_roles(named)
        by_name = {role: column for role, column in columns.items() if not column.isdigit()}
        self.columns, self.item_columns = columns, {**by_name, **item_columns}
        self.unrated, self.items, self.time_unit = unrated, items, time_unit
        self.encodings = table_encodings(encoding)
        self.own_item_columns, self.line_order, self.drop_bad = item_columns, line_order, drop_bad
        self._columns: dict[str, tuple[str, ...]] = {}
        self._found: tuple[SourceFiles, tuple[list[str], list[str]]] | None = None

    def accepts(self, files: SourceFiles | None) -> bool:
        """Say whether it is one file, or there is one with columns of users and of items."""
        return files is not None and (_is_file(files) or _is_packed_again(files) or bool(self._kinds(files)[0]))

    def uses(self, files: SourceFiles | None) -> tuple[str, ...]:
        """Return the name of the table of events, and that of the items if it is beside it."""
        assert files is not None
        events, items = self._pick(files)
        return (events, items) if items else (events,)

    def load(self, files: SourceFiles | None) -> Raw:
        """Read events and items.

        Raises:
            DataError: If a file is no table, or malformed, several could be that of events, a column is missing, or no
                item with events is in the table of items.
            OptionError: If a named column is in no table.
        """
        assert files is not None
        events, items = self._tables(files, self._read)
        unread = [name for name in files.names if name not in self.uses(files)]
        if self.line_order and (time := events.find("time")):
            raise OptionError(
                f"--line-order has no effect: the column {time} of {events.name} says when events were",
                hint="Leave it out; equal times keep the order of the lines.",
            )
        raw = make_raw(
            events, items, self.unrated, scale=self.time_unit, in_order=self.line_order, drop_bad=self.drop_bad
        )
        if unread:
            raw = replace(raw, rules=(f"files that are not read: {', '.join(unread[:20])}", *raw.rules))
        return raw

    def check(self, files: SourceFiles | None) -> bool:
        """Look for the columns that are needed or named, in the first rows alone; errors are those of `load`.

        Returns:
            Whether anything says in which order the events were.
        """
        assert files is not None
        events, items = self._tables(files, self._first_rows)
        found = event_columns(events)
        if items is not None:
            id_columns(items, ["item"])
        return "time" in found or self.line_order

    def _tables(self, files: SourceFiles, read: Reader) -> tuple[Table, Table | None]:
        """Return the table of events, and that of items if there is one."""
        event_name, item_name = self._pick(files)
        events = read(files, event_name, self.columns, "--columns")
        items = None
        if self.items is not None:
            items = read(self.items, self._pick_items(self.items), self.item_columns, ITEM_OPTION)
        elif item_name is not None:
            items = read(files, item_name, self.item_columns, ITEM_OPTION)
        elif self.own_item_columns:
            raise OptionError(
                "--item-columns names columns of a table of items, and there is none", hint="Add --items FILE."
            )
        tables = [table for table in (events, items) if table is not None]
        faults = []
        for option, named, those in (
            ("--columns", self.columns, tables),
            (ITEM_OPTION, self.own_item_columns, tables[1:]),
        ):
            known = list(dict.fromkeys(name for table in those for name in table.types))
            faults += [
                unknown_name("column", column, known, hint=f"{option} {role}={column} names none.")
                for role, column in named.items()
                if not any(table.named.get(role) in table.types for table in those)
            ]
        if faults:
            said, hint = listed(faults)
            raise OptionError(said, hint=hint)
        return events, items

    def _first_rows(self, files: SourceFiles, name: str, named: Mapping[str, str], option: str) -> Table:
        data = files.head(name)
        if data.lstrip()[:1] in (b"{", b"["):  # a field may be in later rows alone
            data = files.read(name)
        return _as_events(self._start(files, name, data, named, option), option)

    def _pick(self, files: SourceFiles) -> tuple[str, str | None]:
        """Return the names of the tables of events and of items."""
        if _is_file(files):
            return files.names[0], None
        if _is_workbook(files):
            raise DataError(f"{files.path} is a workbook of a spreadsheet, not a table", hint=f"{EXPORT} {READ}")
        events, items = self._kinds(files)
        if not events and _is_packed_again(files):
            raise DataError(f"{files.path} holds no table, but archives: {some(files.names)}", hint=UNPACK)
        if len(events) != 1:
            parts = len({self._columns[name] for name in events}) == 1
            raise DataError(
                f"{files.path} holds {len(events)} tables that could be the events: {some(events)}",
                hint=(PARTS if parts else "")
                + "Pass the one that is: --source FILE, and --items FILE for that of the items.",
            )
        if self.items is not None:
            return events[0], None
        if len(items) > 1:
            raise DataError(
                f"{files.path} holds {len(items)} tables that could be the items: {', '.join(items)}",
                hint="Pass the one that is with --items FILE.",
            )
        return events[0], next(iter(items), None)

    def _pick_items(self, files: SourceFiles) -> str:
        if len(files.names) == 1:
            return files.names[0]
        found = self._kinds(files)[1]
        if len(found) != 1:
            raise DataError(
                f"{files.path} holds {len(found)} tables that could be the items: {', '.join(files.names[:8])}",
                hint="Pass a file with --items FILE.",
            )
        return found[0]

    def _kinds(self, files: SourceFiles) -> tuple[list[str], list[str]]:
        """Return the names of tables of events and of items; of several of events the only one with ratings."""
        if self._found is None or self._found[0] is not files:
            self._found = files, self._look(files)
        return self._found[1]

    def _look(self, files: SourceFiles) -> tuple[list[str], list[str]]:
        events, rated, items, tables = [], [], [], []
        for name in files.names:
            data = files.head(name)
            try:
                table = self._start(files, name, data, self.item_columns)
                tables.append(name)
                self._columns[name] = tuple(table.types)
                user, item = table.find("user"), replace(table, option=ITEM_OPTION).find("item")
                is_rated = any(table.find(role) for role in ("rating", "label"))
                title = table.find("title")
            except DataError:
                continue
            if user and table.find("item"):
                events.append(name)
                rated += [name] if is_rated else []
            elif item and title:
                items.append(name)
        if len(tables) == 1 and not items:  # the message on what it lacks is that of the table
            return tables, []
        return rated if len(rated) == 1 else events, items

    def _start(
        self, files: SourceFiles, name: str, data: bytes, named: Mapping[str, str], option: str | None = None
    ) -> Table:
        """Return the first rows of a table, from its first bytes, or all if it cannot be read in part.

        Without an `option` it may be the table of either, and is in the encoding of one of both.
        """
        encodings = list(dict.fromkeys([self._encoding(option)] if option else self.encodings.values()))
        for encoding in encodings:
            with suppress(DataError):
                if len(data) < CHUNK or encoding != encodings[-1]:
                    return read_table(data, name, named, encoding=encoding)
                return read_table(data[: data.rfind(b"\n") + 1], name, named, encoding=encoding)
        whole = files.read(name) if len(data) == CHUNK else data
        return read_table(whole, name, named, encoding=encodings[-1])

    def _encoding(self, option: str) -> str | None:
        return self.encodings["items" if option == ITEM_OPTION else "events"]

    def _read(self, files: SourceFiles, name: str, named: Mapping[str, str], option: str) -> Table:
        data = files.read(name)
        table = _as_events(read_table(data, name, named, encoding=self._encoding(option)), option)
        time = table.find("time")
        others = [c for c, kind in table.rows.schema.items() if kind.is_temporal() and c != time]
        return replace(table, rows=table.rows.with_columns(pl.col(*others).cast(pl.String)) if others else table.rows)


def _as_events(table: Table, option: str) -> Table:
    """Return a table whose columns an option names; of events, the times of two columns are one."""
    return replace(joined_times(table) if option != ITEM_OPTION else table, option=option)


def _is_file(files: SourceFiles) -> bool:
    return len(files.names) == 1 and files.path.is_file() and not files.is_archive


def _is_workbook(files: SourceFiles) -> bool:
    names = {name.rsplit("/", 1)[-1] for name in files.names}
    return "workbook.xml" in names or {"content.xml", "mimetype"} <= names


def _is_packed_again(files: SourceFiles) -> bool:
    """Tell whether an archive is a workbook, or holds archives."""
    return files.is_archive and (_is_workbook(files) or any(name.endswith(INNER) for name in files.names))


def read_table(data: bytes, name: str, named: Mapping[str, str], *, encoding: str | None = None) -> Table:
    """Return the table in the bytes of a file; `named` are columns by their roles, or their numbers.

    Raises:
        DataError: If they are no table, or a malformed one, naming the line.
    """
    if data.startswith(PARQUET):
        return _parquet(data, name, named)
    for start, what in FOREIGN.items():
        if data.startswith(start):
            raise DataError(f"{name} is {what}, not a table", hint=f"{EXPORT} {READ}")
    for start, what in PACKED.items():
        if data.startswith(start):
            raise DataError(f"{name} is {what}", hint=UNPACK)
    data, rules, warnings = decoded(data, name, encoding)
    start = data[:1000].lstrip()[:1]
    if not start:
        raise DataError(f"{name} holds no data", hint="Check that the file is complete.")
    if start == b"<":
        raise DataError(f"{name} is a page of HTML or XML, not a table", hint=f"Download the file itself. {READ}")
    read = _json if start in (b"{", b"[") else delimited
    table = read(data, name, named, rules)
    return replace(table, warnings=(*table.warnings, *warnings))


# ---------------------------------------------------------------- JSON


def _json(data: bytes, name: str, named: Mapping[str, str], encoding: str) -> Table:
    words, skipped = ["JSON lines"], list[tuple[int, str]]()
    frames, kinds = [], dict[str, str]()
    rows: list[dict[str, Any]] = []
    for row in _objects(data, name, words, skipped):
        rows.append(row)
        if len(rows) == JSON_ROWS:
            frames.append(_strings(rows, kinds, name))
            rows = []
    if rows:
        frames.append(_strings(rows, kinds, name))
    if not frames or not kinds:
        raise DataError(f"{name} holds no objects with fields", hint="Check that the file is complete.")
    frame = pl.concat(frames, how="diagonal").select(list(kinds))
    rule = f"{name}: {words[0]} in {encoding}, {len(kinds)} fields"
    return Table(
        name,
        kinds,
        frame,
        named,
        (rule,),
        first=1,
        separators=SEPARATORS,
        wide=True,
        skipped=tuple(line for line, _ in skipped),
        skipped_words=(skipped[0][1], LINES) if skipped else ("", ""),
    )


def _objects(data: bytes, name: str, words: list[str], skipped: list[tuple[int, str]]) -> Iterator[dict[str, Any]]:
    """Yield the objects of JSON lines, of an array, or of lines of Python literals; say in `words` which.

    Lines behind the first that are none are noted in `skipped`, with what is wrong.
    """
    decode = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str).decode
    if data.lstrip()[:1] == b"[":
        words[0] = "an array of JSON objects"
        try:
            rows = decode(data.decode())
        except (ValueError, RecursionError) as error:
            raise DataError(f"{name} is not JSON: {error}", hint="The file is damaged or cut short.") from error
        yield from (_object(row, name, f"element {at}") for at, row in enumerate(rows, 1))
        return
    whole = 0
    for at, line in enumerate(io.BytesIO(data), 1):
        text = line.decode().strip()
        if not text:
            continue
        try:
            row = decode(text) if words[0] == "JSON lines" else python_literal(text)
        except (ValueError, RecursionError) as error:
            try:
                row = None if whole else python_literal(text)
            except ValueError:
                row = None
            if row is None:
                if not whole:
                    _refuse_one_object(data, name)
                skipped.append((at, f"not {words[0].removesuffix('lines').strip()}: {str(error)[:120]}"))
                if whole:
                    continue
                break
            words[0] = "lines of Python literals"
        whole += 1
        yield _object(row, name, f"line {at}")
    if skipped and len(skipped) >= whole:
        raise DataError(
            f"{name}, line {skipped[0][0]}: {skipped[0][1]}",
            hint=LINES,
        )


def _refuse_one_object(data: bytes, name: str) -> None:
    """Refuse a text that is one object over several lines.

    Raises:
        DataError: Naming its fields.
    """
    with suppress(ValueError, RecursionError):
        whole = json.loads(data)
        if isinstance(whole, dict):
            raise DataError(
                f"{name} is one object of JSON, not a table; it has the fields {some(list(whole))}",
                hint=f"Write the list of events alone. {LINES.split('.', 1)[0]}.",
            )


def _object(row: Any, name: str, where: str) -> dict[str, Any]:
    if not isinstance(row, dict) or len(row) > MOST_COLUMNS:
        what = f"{len(row):,} fields, at most {MOST_COLUMNS:,} are read" if isinstance(row, dict) else "no object"
        raise DataError(
            f"{name}, {where}: {what}",
            hint='Write one object for each row, as pandas does with to_json(..., orient="records", lines=True).',
        )
    return row


def _strings(rows: list[dict[str, Any]], kinds: dict[str, str], name: str) -> pl.DataFrame:
    """Return rows as strings, and note in `kinds` which fields are lists or objects."""
    for row in rows:
        for column, value in row.items():
            kind = "float_seq" if isinstance(value, dict) else "token_seq" if isinstance(value, LISTS) else "token"
            if kinds.setdefault(column, kind) == "token":
                kinds[column] = kind
    if len(kinds) > MOST_COLUMNS:
        raise DataError(f"{name} has more than {MOST_COLUMNS:,} different fields", hint="Keep those that are of use.")
    found = {column: [as_text(row.get(column)) for row in rows] for column in kinds}
    return pl.DataFrame(found, schema=dict.fromkeys(kinds, pl.String))


# ---------------------------------------------------------------- Parquet


def _parquet(data: bytes, name: str, named: Mapping[str, str]) -> Table:
    try:
        frame = parse_parquet(io.BytesIO(data))
    except OSError as error:
        raise DataError(
            f"{name} is not a complete Parquet file: {str(error)[:200]}", hint="The file is damaged or cut short."
        ) from error
    if frame.is_empty():
        raise DataError(f"{name} holds no rows", hint="Check that the file is complete.")
    if frame.width > MOST_COLUMNS:
        raise DataError(
            f"{name} has more than {MOST_COLUMNS:,} columns", hint="Write one interaction a row, not a matrix."
        )
    kinds, columns = {}, []
    for column in frame.iter_columns():
        kind, text = _text_column(column)
        kinds[column.name] = kind
        columns.append(text)
    table = Table(
        name,
        kinds,
        pl.DataFrame(columns),
        named,
        (f"{name}: Parquet, {frame.width} columns",),
        first=1,
        unit="row",
        separators=SEPARATORS,
        wide=True,
    )
    for role in ("user", "item"):
        ids = table.find(role)
        if ids is not None and frame.schema[ids].is_float():
            raise DataError(
                f"{name}: the {role} ids in {ids} are numbers with fractions, such as {table.rows[ids][0]}",
                hint="Programs make them of whole numbers where some are missing, and 5.0 is not 5: write "
                'the column as whole numbers or texts, for pandas with astype("Int64").',
            )
    return table


def _text_column(column: pl.Series) -> tuple[str, pl.Series]:
    """Return the type of a column as atomic files name it, and its values as strings; moments stay."""
    kind = column.dtype
    if isinstance(kind, (pl.Date, pl.Datetime)):
        return "token", column
    if isinstance(kind, (pl.List, pl.Array)):
        if isinstance(kind.inner, (pl.List, pl.Array, pl.Struct)):
            return "float_seq", pl.Series(column.name, [None] * len(column), dtype=pl.String)
        inner = column.cast(pl.List(pl.String))
        return "token_seq", inner.list.join(LISTED, ignore_nulls=True)
    if isinstance(kind, pl.Struct):
        return "float_seq", column.struct.json_encode()
    if isinstance(kind, (pl.Binary, pl.Object)):
        return "token", pl.Series(
            column.name, [None if v is None else bytes(v).decode("utf-8", "replace") for v in column]
        )
    seconds = column.dt.total_nanoseconds() / 1e9 if isinstance(kind, pl.Duration) else column
    return "token", seconds.cast(pl.String)

"""Tables of one's own: CSV and its kin, JSON lines and Parquet, recognised by their content."""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl

from llmrs_bench.core.errors import DataError, OptionError, listed
from llmrs_bench.core.registry import unknown_name
from llmrs_bench.core.tables import TooLargeError, read_foreign
from llmrs_bench.data.columns import (
    ITEM_OPTION,
    LISTED,
    EmptyTableError,
    Table,
    check_roles,
    id_columns,
    joined_times,
    some,
)
from llmrs_bench.data.delimited import MOST_COLUMNS, READ, SEPARATORS, delimited
from llmrs_bench.data.encodings import decoded, table_encodings
from llmrs_bench.data.files import CHUNK, SourceFiles, most_bytes, too_large
from llmrs_bench.data.foreign import WORKBOOK, ForeignError, require_table
from llmrs_bench.data.json_rows import json_rows
from llmrs_bench.data.parts import (
    SHARED,
    called,
    in_order,
    is_bare,
    joined,
    pattern,
    require_finished,
    require_no_versions,
    require_same_columns,
    unsure,
    with_empty,
    with_folders,
)
from llmrs_bench.data.refusals import in_archives, no_events, unreadable
from llmrs_bench.data.rows import event_columns, make_raw
from llmrs_bench.data.sources import Raw

PARQUET = b"PAR1"
INNER = (".zip", ".tar", ".tgz", ".7z", ".rar", ".bz2", ".xz")
Names = tuple[str, ...]  # of the files that are the parts of one table
Kinds = tuple[list[Names], list[Names], dict[str, Table]]  # tables of events and of items; each file without its rows
Reader = Callable[[SourceFiles, Names, Mapping[str, str], str], Table]


TABULAR = re.compile(r"\.(csv|tsv|jsonl?|ndjson|parquet|pq)(\.(gz|zst))?$")  # ends of the names of tables


class Tables:
    """Reads a table of events, and one of items if there is one.

    Args:
        columns: Names of columns by their roles, where these are not found by name; without a header their numbers,
            from 0.
        unrated: Texts in the column of ratings that mean no rating; numbers are compared as such.
        items: Where the table of items is, if not beside that of events.
        item_columns: As `columns`, for the table of items.
        encoding: Of text that is not UTF-8, or of one table, as `table_encodings` takes it.
        time_unit: That of times, where their size does not show it: s, ms, us, ns, ticks, or iso.
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
        self._found: tuple[SourceFiles, Kinds] | None = None
        self._shown: tuple[SourceFiles, dict[str, str]] | None = None
        self._faults: dict[str, DataError] = {}

    def accepts(self, files: SourceFiles | None) -> bool:
        """Say whether it is one file, or there is a table of any kind, be it a damaged one or of another program."""
        if files is None:
            return False
        known = _is_file(files) or _is_workbook(files) or bool(self._kinds(files)[0]) or bool(_archives(files))
        return known or self._unusable(files) is not None

    def uses(self, files: SourceFiles | None) -> tuple[str, ...]:
        """Return the files of the table of events, and those of the items if they are beside it."""
        assert files is not None
        events, items = self._pick(files)
        return (*events, *items)

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
        heads = self._kinds(files)[2] if unread else {}
        rest = [name for name in unread if name in heads and is_bare(heads[name])]
        if rest := [name for name in rest if len(heads[name].types) == len(events.types)]:
            said = f"{some(rest)} {'has' if len(rest) == 1 else 'have'} no header, and as many columns as {events.name}"
            raw = replace(raw, warnings=(f"{said}: if that is the rest of it, make one file of them", *raw.warnings))
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
        event_names, item_names = self._pick(files)
        events = read(files, event_names, self.columns, "--columns")
        items = None
        if self.items is not None:
            items = read(self.items, self._pick_items(self.items), self.item_columns, ITEM_OPTION)
        elif item_names:
            items = read(files, item_names, self.item_columns, ITEM_OPTION)
        elif self.own_item_columns:
            raise OptionError(
                "--item-columns names columns of a table of items, but there is none", hint="Add --items FILE."
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

    def _first_rows(self, files: SourceFiles, names: Names, named: Mapping[str, str], option: str) -> Table:
        def start(name: str) -> Table:
            data = files.head(name)
            if data.lstrip()[:1] in (b"{", b"["):  # a field may be in later rows alone
                data = files.read(name)
            return self._start(files, name, data, named, option)

        return _as_events(joined(names, self._called(files), start), option)

    def _pick(self, files: SourceFiles) -> tuple[Names, Names]:
        """Return the names of the files of events and of items; of items there may be none."""
        if _is_file(files):
            return files.names, ()
        if _is_workbook(files):
            raise DataError(f"{files.path} is {WORKBOOK[0]}, not a table", hint=f"{WORKBOOK[1]} {READ}")
        events, items, heads = self._kinds(files)
        if not events and (inner := _archives(files)):
            raise in_archives(files, inner)
        alike = {pattern(names[0]) for names in events}
        if len(events) > 1 and len(alike) == 1:
            most, *others = sorted(events, key=len, reverse=True)
            require_same_columns(heads, most, [name for names in others for name in names])
        if not events and (fault := self._unusable(files)):
            raise fault
        if len(events) != 1:
            same = len({tuple(_head(heads, names).types) for names in events}) == 1
            raise DataError(
                f"{files.path} holds {len(events)} tables that could be the events: {_some(events)}",
                hint=(SHARED if same else "")
                + "Pass the one that is: --source FILE, and --items FILE for that of the items.",
            )
        if self.items is not None:
            return events[0], ()
        if len(items) > 1:
            raise DataError(
                f"{files.path} holds {len(items)} tables that could be the items: {_some(items)}",
                hint="Pass the one that is with --items FILE.",
            )
        if not items and (damage := self._damage(files)):
            raise DataError(
                f"{files.path} holds a table that cannot be read, maybe that of the items: {damage.message}",
                hint=f"{damage.hint} To do without it, pass the events alone: --source FILE.",
            )
        return events[0], next(iter(items), ())

    def _pick_items(self, files: SourceFiles) -> Names:
        require_finished(files)
        if len(files.names) == 1:
            return files.names
        found = self._kinds(files)[1]
        if len(found) == 1:
            return found[0]
        if damage := None if found else self._damage(files):
            raise DataError(f"{files.path} holds no items that can be read: {damage.message}", hint=damage.hint)
        heads = {} if found else self._kinds(files)[2]
        columns = next((f" {name} has the columns {some(list(table.types))}." for name, table in heads.items()), "")
        raise DataError(
            f"{files.path} holds {len(found) or 'no'} tables that could be the items: {', '.join(files.names[:8])}",
            hint=f"Name its columns with --item-columns item=NAME,title=NAME.{columns}"
            if columns
            else "Pass a file with --items FILE.",
        )

    def _unusable(self, files: SourceFiles) -> DataError | None:
        """Return why none of the files is a table of events, if some are tables, or seem to be such."""
        heads = self._kinds(files)[2]
        faults = {name: fault for name, fault in self._faults.items() if _is_fault(name, fault)}
        tables = {name: table for name, table in heads.items() if TABULAR.search(name.lower())}
        return unreadable(files.path, faults) if faults else no_events(files.path, tables)

    def _damage(self, files: SourceFiles) -> DataError | None:
        """Return what is wrong with the first file that is called like a table and cannot be read as one."""
        self._kinds(files)
        for name, fault in self._faults.items():
            if not isinstance(fault, EmptyTableError) and TABULAR.search(name.lower()):
                return fault
        return None

    def _kinds(self, files: SourceFiles) -> Kinds:
        """Return the tables of events and of items; of several of events the only one with ratings."""
        if self._found is None or self._found[0] is not files:
            self._found = files, self._look(files)
        return self._found[1]

    def _look(self, files: SourceFiles) -> Kinds:
        """Return the tables of events and of items, each as the names of its parts in their order.

        Raises:
            DataError: If a file that is called like the parts of a table is damaged, or has other columns.
        """
        require_finished(files)
        require_no_versions(files.names, files.path)
        tables, heads = dict[tuple[Any, ...], list[str]](), dict[str, Table]()
        rated, faults = set[str](), dict[str, DataError]()
        for name in in_order(files.names):
            try:
                table = self._start(files, name, files.head(name), self.item_columns)
            except DataError as error:
                faults[name] = error
                continue
            heads[name] = replace(table, rows=table.rows.clear())
            kind, columns = "", tuple(sorted(table.types))
            with suppress(DataError):  # two columns could be one
                user, item = table.find("user"), replace(table, option=ITEM_OPTION).find("item")
                is_rated = any(table.find(role) for role in ("rating", "label"))
                kind = "events" if user and table.find("item") else "items" if item and table.may_have("title") else ""
                rated |= {name} if kind == "events" and is_rated else set()
                columns = (user or "", item or "") if table.loose else columns
            tables.setdefault((pattern(name), kind, columns), []).append(name)
        self._faults = faults
        found: dict[str, list[Names]] = {"events": [], "items": []}
        for (_, kind, _), names in tables.items():
            if kind in found or len(tables) == 1:  # the message on what the only one lacks is that of the table
                encoding = self.encodings["items" if kind == "items" else "events"]
                found[kind or "events"].append(with_empty(names, faults, heads, self._called(files), encoding))
        events, items = found["events"], found["items"]
        items = [names for names in items if _head(heads, names).sure_of("title")] or items
        taken = {name for names in (*events, *items) for name in names}
        for parts in (*events, *items):
            alike = [name for name in heads if pattern(name) == pattern(parts[0]) and name not in taken]
            width = len(_head(heads, parts).types)
            cut = any(is_bare(heads[name]) and len(heads[name].types) == width for name in alike)
            if alike and (len(parts) > 1 or cut):
                require_same_columns(heads, parts, alike)
        first = [parts for parts in events if not rated.isdisjoint(parts)]
        called = {pattern(parts[0]) for parts in events}
        return first if len(first) == 1 and len(called) == len(events) else events, items, heads

    def _start(
        self, files: SourceFiles, name: str, data: bytes, named: Mapping[str, str], option: str | None = None
    ) -> Table:
        """Return the first rows of a table, from its first bytes, or all if it cannot be read in part.

        Without an `option` it may be the table of either, and is in the encoding of one of both.
        """
        shown = self._called(files)[name]
        encodings = list(dict.fromkeys([self._encoding(option)] if option else self.encodings.values()))
        for encoding in encodings:
            with suppress(DataError):
                if len(data) < CHUNK or encoding != encodings[-1]:
                    return _part(data, name, shown, named, encoding, files.limit)
                return _part(data[: data.rfind(b"\n") + 1], name, shown, named, encoding)
        whole = files.read(name) if len(data) == CHUNK else data
        return _part(whole, name, shown, named, encodings[-1], files.limit)

    def _called(self, files: SourceFiles) -> dict[str, str]:
        """Return what messages call each file."""
        if self._shown is None or self._shown[0] is not files:
            self._shown = files, called(files)
        return self._shown[1]

    def _encoding(self, option: str) -> str | None:
        return self.encodings["items" if option == ITEM_OPTION else "events"]

    def _read(self, files: SourceFiles, names: Names, named: Mapping[str, str], option: str) -> Table:
        encoding, shown = self._encoding(option), self._called(files)

        def read(name: str) -> Table:
            return _part(files.read(name), name, shown[name], named, encoding, files.limit)

        table = _as_events(joined(names, shown, read), option)
        if len(names) > 1:
            table = replace(table, warnings=(*unsure(files, names), *table.warnings))
        time = table.find("time")
        others = [c for c, kind in table.rows.schema.items() if kind.is_temporal() and c != time]
        return replace(table, rows=table.rows.with_columns(pl.col(*others).cast(pl.String)) if others else table.rows)


def _as_events(table: Table, option: str) -> Table:
    """Return a table whose columns an option names; of events, the times of two columns are one."""
    return replace(joined_times(table) if option != ITEM_OPTION else table, option=option)


def _part(
    data: bytes, name: str, shown: str, named: Mapping[str, str], encoding: str | None, limit: int | None = None
) -> Table:
    """Return the table in the bytes of a file, with a column for each folder `KEY=VALUE` that it is in."""
    return with_folders(read_table(data, shown, named, encoding=encoding, limit=limit), name)


def _is_fault(name: str, fault: DataError) -> bool:
    is_table = isinstance(fault, ForeignError) or TABULAR.search(name.lower()) is not None
    return is_table and not isinstance(fault, EmptyTableError)


def _head(heads: Mapping[str, Table], names: Names) -> Table:
    """Return the first part of a table that holds rows, without them."""
    return next(heads[name] for name in names if name in heads)


def _some(tables: Sequence[Names]) -> str:
    return some([pattern(names[0]) if len(names) > 1 else names[0] for names in tables])


def _is_file(files: SourceFiles) -> bool:
    return len(files.names) == 1 and files.path.is_file() and not files.is_archive


def _is_workbook(files: SourceFiles) -> bool:
    names = {name.rsplit("/", 1)[-1] for name in files.names}
    return "workbook.xml" in names or {"content.xml", "mimetype"} <= names


def _archives(files: SourceFiles) -> list[str]:
    """Return the archives among the files of a folder, or of an archive."""
    return [name for name in files.names if name.lower().endswith(INNER)]


def read_table(
    data: bytes, name: str, named: Mapping[str, str], *, encoding: str | None = None, limit: int | None = None
) -> Table:
    """Return the table in the bytes of a file; `named` are columns by their roles, or their numbers.

    Parquet, which packs its columns, is read up to the `limit` of `unpack`.

    Raises:
        DataError: If they are no table, or a malformed one, naming the line.
    """
    if data.startswith(PARQUET):
        return _parquet(data, name, named, limit)
    require_table(data, name)
    data, rules, kind, warnings = decoded(data, name, encoding)
    start = data[:1000].lstrip()[:1]
    if not start:
        raise EmptyTableError(name, "no data")
    if start == b"<":
        raise DataError(f"{name} is a page of HTML or XML, not a table", hint=f"Download the file itself. {READ}")
    read = json_rows if start in (b"{", b"[") else delimited
    table = read(data, name, named, rules)
    return replace(table, warnings=(*table.warnings, *warnings), encoding=kind)


def _parquet(data: bytes, name: str, named: Mapping[str, str], limit: int | None) -> Table:
    try:
        frame = read_foreign(data, most := most_bytes(len(data), limit))
    except TooLargeError as error:
        raise too_large(name, packed=len(data), most=most) from error
    except OSError as error:
        raise DataError(
            f"{name} is not a complete Parquet file: {str(error)[:200]}", hint="The file is damaged or truncated."
        ) from error
    if frame.is_empty():
        raise EmptyTableError(name, "no rows")
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
    time = table.find("time")
    if time is not None and frame.schema[time] == pl.Float32 and frame[time].abs().gt(2**24).any():
        return replace(table, warnings=(*table.warnings, _single(frame[time])))
    return table


def _single(times: pl.Series) -> str:
    """Say how much of times is lost in numbers of single precision."""
    step = float(np.spacing(times.abs().to_numpy().max()))
    return (
        f"times of {times.name} are numbers of single precision (float32), between which {step:g} lie: their order may "
        "be lost; write the column as int64 or float64"
    )


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

"""RecBole atomic files: a header of `name:type`, then one tab-separated line per event or item.

Format: https://recbole.io/docs/user_guide/data/atomic_files.html
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from llmrs_bench.core.errors import DataError, OptionError, listed
from llmrs_bench.core.registry import unknown_name
from llmrs_bench.data.columns import Table, check_roles, id_columns, without_quotes
from llmrs_bench.data.fields import FEW, NUMERIC, read_delimited, require_whole
from llmrs_bench.data.files import CHUNK, SourceFiles, normal_lines
from llmrs_bench.data.raw_lines import RawLines
from llmrs_bench.data.rows import event_columns, make_raw
from llmrs_bench.data.sources import Raw

TYPES = ("token", "token_seq", "float", "float_seq")
FORMAT = "See https://recbole.io/docs/user_guide/data/atomic_files.html"


class Atomic:
    """Reads one `*.inter` file, and the `*.item` file beside it if there is one.

    Args:
        columns: Names of columns by their roles, where these are not found by name.
        unrated: Texts in the column of ratings that mean no rating; numbers are compared as such.
    """

    reads_columns = True
    raw_lines = RawLines(
        "RecBole atomic files",
        "item_id:token\ttitle:token_seq",
        "user_id:token\titem_id:token\trating:float\ttimestamp:float",
        *("\t", "\t"),
    )

    def __init__(self, columns: Mapping[str, str] = MappingProxyType({}), unrated: Sequence[str] = ()) -> None:
        check_roles(columns)
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
        tables = self._tables(files, files.read)
        return make_raw(tables.pop(0), tables[-1] if tables else None, self.unrated)

    def check(self, files: SourceFiles | None) -> bool:
        """Look for the columns that are needed or named, in the first lines alone; errors are those of `load`.

        Returns:
            Whether anything says in which order the events were: lines without times are in their order.
        """
        assert files is not None

        def first_lines(name: str) -> bytes:
            data = files.head(name)
            return data[: data.rfind(b"\n") + 1] if len(data) == CHUNK else data

        events, *items = self._tables(files, first_lines)
        event_columns(events)
        for table in items:
            id_columns(table, ["item"])
        return True

    def _tables(self, files: SourceFiles, read: Callable[[str], bytes]) -> list[Table]:
        tables = [_table(read(name), name, self.columns) for name in self.uses(files)]
        known = list(dict.fromkeys(column for table in tables for column in table.types))
        faults = [
            unknown_name("column", column, known, hint=f"--columns {role}={column} names none.")
            for role, column in self.columns.items()
            if column not in known
        ]
        if faults:
            said, hint = listed(faults)
            raise OptionError(said, hint=hint)
        return tables


def _pick(files: SourceFiles | None) -> tuple[str, str | None]:
    names = files.names if files else ()
    inters = [name for name in names if name.endswith(".inter")]
    items = [name for name in names if name.endswith(".item")]
    if not inters:
        raise DataError("there is no .inter file", hint=f"Atomic files need one, with every interaction. {FORMAT}")
    if len(inters) > 1:
        raise DataError(
            f"there is more than one .inter file: {', '.join(inters)}",
            hint="Keep one, with all interactions in it: `prepare` makes the split.",
        )
    own = inters[0].removesuffix(".inter") + ".item"
    if len(items) > 1 and own not in items:
        raise DataError(f"none of {', '.join(items)} belongs to {inters[0]}", hint=f"Call the right one {own}.")
    return inters[0], own if own in items else next(iter(items), None)


def _table(data: bytes, name: str, named: Mapping[str, str]) -> Table:
    whole, data = data.endswith((b"\n", b"\r")), normal_lines(data, name=name)
    types: dict[str, str] = {}
    end = data.find(b"\n")
    for field in data[: end if end >= 0 else None].decode().split("\t"):
        column, _, kind = field.strip().rpartition(":")
        if not column or kind not in TYPES:
            raise DataError(f"{name}, line 1: {field!r} is not name:type", hint=f"Types: {', '.join(TYPES)}. {FORMAT}")
        if column in types:
            raise DataError(f"{name}, line 1: column {column!r} appears twice", hint="Rename or drop one of them.")
        types[column] = kind
    rows = read_delimited(data, name=name, columns=list(types), header_lines=1)
    above, last = rows[rows.columns[-1]][:-1], rows[rows.columns[-1]][-1]
    if not whole and len(above) >= FEW and above.str.contains(NUMERIC).all():
        shortest = above.str.len_bytes().min()
        require_whole(last, int(shortest or 0), f"{name}, line {rows.height + 1}", rows.columns[-1])  # type: ignore[arg-type]
    if b'"' not in data:
        return Table(name, types, rows, named)
    rows, rules, warnings = without_quotes(rows, name)
    return Table(name, types, rows, named, rules, warnings)

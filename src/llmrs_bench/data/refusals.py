"""Why no file of a folder or of an archive is a table of events, and what to do."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from llmrs_bench.core.errors import DataError
from llmrs_bench.data.columns import NO_GUESS, MissingColumnsError, Table, id_columns, some
from llmrs_bench.data.files import SourceFiles
from llmrs_bench.data.foreign import UNPACK
from llmrs_bench.data.parts import pattern

SHOWN = 3  # faults


def in_archives(files: SourceFiles, inner: Sequence[str]) -> DataError:
    """Return the refusal of a folder or an archive whose tables may be in archives in it."""
    hint = UNPACK
    if not files.is_archive:
        hint = f"Pass the one that holds the table: --source {files.places[inner[0]][0]}."
    return DataError(f"{files.path} holds no table, but archives: {some(inner)}", hint=hint)


def unreadable(path: Path, faults: Mapping[str, DataError]) -> DataError:
    """Return the refusal of files that seem to be tables and cannot be read; of parts the first one is named."""
    found = dict[str, DataError]()
    for name, fault in faults.items():
        found.setdefault(pattern(name), fault)
    first = [*found.values()][:SHOWN]
    said = "; ".join(fault.message for fault in first)
    return DataError(
        f"{path} holds no events that can be read: {said}", hint=" ".join(dict.fromkeys(fault.hint for fault in first))
    )


def no_events(path: Path, tables: Mapping[str, Table]) -> DataError | None:
    """Return the refusal of tables none of which has users and items, by the one that lacks least, if there is one.

    Tables with titles are those of items, where there are others.
    """
    found = dict[str, Table]()
    for name, table in tables.items():
        found.setdefault(pattern(name), table)
    lacks = dict[str, DataError]()
    for name, table in found.items():
        try:
            id_columns(table, ["user", "item"])
        except DataError as error:
            lacks[name] = error
    if not lacks:
        return None
    least = min(lacks, key=lambda name: (found[name].may_have("title"), _distance(lacks[name])))
    others = some([name for name in found if name != least])
    return DataError(
        f"{path} holds no table of events: {lacks[least].message}",
        hint=(_joinable(found, least, lacks[least]) or lacks[least].hint)
        + (f" Other tables there: {others}." if others else ""),
    )


def _distance(error: DataError) -> int:
    """Return how far a table is from being one of events: columns that are missing, and those without a guess twice."""
    guesses = error.guesses.values() if isinstance(error, MissingColumnsError) else ()
    return len(guesses) + list(guesses).count(NO_GUESS)


def _joinable(tables: Mapping[str, Table], name: str, error: DataError) -> str:
    """Say in which other table the users of a table are, if they share a column, as orders and their lines do."""
    if not isinstance(error, MissingColumnsError) or error.guesses.keys() != {"user"}:
        return ""
    for other, table in tables.items():
        try:
            user = table.find("user")
        except DataError:
            continue
        shared = [column for column in table.types if column in tables[name].types]
        if other != name and user and shared:
            return (
                f"The users are in {other}, column {user}: make one table of both, in pandas with merge(..., "
                f"on={shared[0]!r})."
            )
    return ""

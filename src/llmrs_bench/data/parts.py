"""Tables in several parts, as Spark, BigQuery, pandas and people write them: which files they are, and the whole."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import polars as pl

from llmrs_bench.core.errors import DataError
from llmrs_bench.data.columns import EmptyTableError, Table, some

# What tells the names of parts apart: numbers, and identifiers of 32 hexadecimal digits.
VARYING = re.compile(r"[0-9a-f]{8}(?:-?[0-9a-f]{4}){3}-?[0-9a-f]{12}|[0-9]+")
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
APART = "If it is no part of that table, pass the table alone: --source FILE, and --items FILE for that of the items."
ALIKE = "Parts of one table have the same columns: write this one like the others."
SHARED = (
    "They have the same columns. Parts of one table are read as one if their names differ in numbers alone, as "
    "events_1.csv and events_2.csv do. If these are parts, call them so; if not: "
)
VERSIONS = "Files of earlier versions lie beside those of today: export it as Parquet or CSV, and read the export."


def pattern(name: str) -> str:
    """Return a name with `*` for all that differs among the parts of one table: `part-*.csv`, `day=*/*.parquet`."""
    return "/".join(f"{_key(part)}=*" if _key(part) else VARYING.sub("*", part) for part in name.split("/"))


def in_order(names: Iterable[str]) -> list[str]:
    """Return names in their natural order: `part-2` stands before `part-10`."""
    return sorted(names, key=lambda name: [int(at) if at.isdigit() else at for at in re.split(r"([0-9]+)", name)])


def _key(part: str) -> str:
    return part.partition("=")[0] if "=" in part else ""


def with_folders(table: Table, name: str) -> Table:
    """Return the table of a file with a column for each folder `KEY=VALUE` that the file is in, unless it has one."""
    found = {_key(part): unquote(part.partition("=")[2]) for part in name.split("/")[:-1] if _key(part)}
    new = {key: None if value in ("", NO_VALUE) else value for key, value in found.items() if key not in table.types}
    if not new:
        return table
    rows = table.rows.with_columns(pl.lit(value, dtype=pl.String).alias(key) for key, value in new.items())
    return replace(table, types=table.types | dict.fromkeys(new, "token"), rows=rows)


def require_no_versions(names: Iterable[str], path: Path) -> None:
    """Refuse tables of Delta Lake and Iceberg, in whose folders parts lie that belong to them no longer.

    Raises:
        DataError: Saying what to do instead.
    """
    log, states = "_delta_log", ".metadata.json"
    for kind, found in (
        ("Delta Lake", (path / log).exists() or any(log in name.split("/") for name in names)),
        ("Iceberg", any(name.endswith(states) for name in names)),
    ):
        if found:
            raise DataError(f"{path} is a table of {kind}", hint=VERSIONS)


def with_empty(names: Sequence[str], faults: Mapping[str, DataError]) -> tuple[str, ...]:
    """Return the parts of a table in their order, those that hold nothing among them.

    Args:
        names: Parts that hold rows.
        faults: What is wrong with files that are no tables.

    Raises:
        DataError: If a file that is called like the parts is damaged.
    """
    empty = []
    for name, fault in faults.items():
        if pattern(name) == pattern(names[0]):
            if not isinstance(fault, EmptyTableError):
                raise DataError(fault.message, hint=f"{fault.hint} It is called like {names[0]}. {APART}")
            empty.append(name)
    return tuple(in_order([*names, *empty]))


def require_same_columns(tables: Mapping[str, Table], whole: Sequence[str], others: Collection[str]) -> None:
    """Refuse a file called like the parts of a table that has other columns.

    Args:
        tables: The first rows of each file.
        whole: The parts.
        others: Files that are called like them.

    Raises:
        DataError: Naming the first such file, and what differs.
    """
    for name in in_order(others):
        ours, theirs = ([*tables[at].types] for at in (whole[0], name))
        more, lacks = ([c for c in one if c not in other] for one, other in ((theirs, ours), (ours, theirs)))
        said = [f"has {some(more)}"] if more else []
        said += [f"lacks {some(lacks)}"] if lacks else []
        if is_bare(tables[name]):
            said = ["has no header"]
        raise DataError(f"{name} has other columns than {whole[0]}: it {', and '.join(said)}", hint=f"{ALIKE} {APART}")


def is_bare(table: Table) -> bool:
    """Return whether a table has no header."""
    return all(column.isdigit() for column in table.types)


def joined(parts: Sequence[Table], names: Sequence[str]) -> Table:
    """Return the table that several parts make, one behind the other; one part is the table.

    Args:
        parts: Those that hold rows.
        names: The files of all parts.

    Raises:
        EmptyTableError: If no part holds rows.
    """
    whole = pattern(names[0])
    if not parts:
        raise EmptyTableError(whole, f"no rows, in none of its {len(names)} parts")
    if len(names) == 1:
        return parts[0]
    types = dict[str, str]()
    for part in parts:
        types |= {column: kind for column, kind in part.types.items() if types.get(column, "token") == "token"}
    kinds = {column: {part.rows.schema[column] for part in parts if column in part.types} for column in types}
    mixed = [column for column, found in kinds.items() if len(found) > 1]  # moments in one part, texts in another
    frames = [part.rows.with_columns(pl.col([c for c in mixed if c in part.types]).cast(pl.String)) for part in parts]
    starts = [0]
    for frame in frames:
        starts.append(starts[-1] + frame.height)
    empty = len(names) - len(parts)
    said = f"{whole}: {len(names)} parts of one table, from {names[0]} to {names[-1]}"
    said += f", of which {empty} {'has' if empty == 1 else 'have'} no rows" if empty else ""
    rules, warnings = (
        tuple(dict.fromkeys(text.replace(part.name, whole, 1) for part in parts for text in getattr(part, kind)))
        for kind in ("rules", "warnings")
    )
    return replace(
        parts[0],
        name=whole,
        types=types,
        rows=pl.concat(frames, how="diagonal"),
        rules=(said, *rules),
        warnings=warnings,
        first=1,
        unit="row",
        skipped=tuple(at for part in parts for at in part.skipped),
        skipped_words=next((part.skipped_words for part in parts if part.skipped), ("", "")),
        parts=tuple((start, replace(part, rows=part.rows.clear())) for start, part in zip(starts, parts, strict=False)),
    )

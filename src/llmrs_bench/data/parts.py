"""Tables in several parts, as Spark, BigQuery, pandas and people write them: which files they are, and the whole."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import polars as pl

from llmrs_bench.core.errors import DataError
from llmrs_bench.data.columns import EmptyTableError, Table, some
from llmrs_bench.data.encodings import UTF8, EncodingError, mixed_encodings
from llmrs_bench.data.files import UNFINISHED, SourceFiles

# What tells the names of parts apart: numbers, and identifiers of 32 hexadecimal digits.
VARYING = re.compile(r"[0-9a-f]{8}(?:-?[0-9a-f]{4}){3}-?[0-9a-f]{12}|[0-9]+")
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
APART = "If it is no part of that table, pass the table alone: --source FILE, and --items FILE for that of the items."
ALIKE = "Parts of one table have the same columns: write this one like the others."
SHARED = (
    "They have the same columns. Parts of one table are read as one if their names differ in numbers alone, as "
    "events_1.csv and events_2.csv do. If these are parts, rename them so; if not: "
)
SPARK = re.compile(r"part-(?:[mr]-)?[0-9]{5}(?![0-9])")  # how the parts that Spark and Hadoop write are called
DAY = re.compile(r"(?:19|20)[0-9]{6}")  # such as 20240131
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


def called(files: SourceFiles) -> dict[str, str]:
    """Return what messages call each file: parts, called alike in many folders, by the folder that they are in, too."""
    alike = Counter(map(pattern, files.names))
    found = {}
    for name in files.names:
        first, *below = name.split("/")
        inside = files.path if files.is_archive else Path(files.places[name][0]).parents[len(below)]
        is_found = alike[pattern(name)] < 2 or (below and not _key(first)) or not inside.name
        found[name] = name if is_found else f"{inside.name}/{name}"
    return found


def require_finished(files: SourceFiles) -> None:
    """Refuse a folder in which a job that writes parts is still at work, or was stopped.

    Raises:
        DataError: Naming what such a job leaves.
    """
    for name in (*files.hidden, *files.names):
        *folders, last = name.split("/")
        left = next((part for part in (*folders, last) if part.startswith(UNFINISHED)), "")
        if left or ".inprogress" in last or last.endswith("._COPYING_"):
            at = left or last
            raise DataError(
                f"{files.path} is not complete: it holds {name[: name.index(at) + len(at)]}, where the job "
                "that writes it keeps unfinished files",
                hint=f"Wait for the end of the job, or run it again. If the table is complete, delete {at}.",
            )


def unsure(files: SourceFiles, names: Sequence[str]) -> Iterator[str]:
    """Say of the parts of a table where the mark of a finished job is not beside them, or one is missing."""
    shown, folders = called(files), dict[str, list[str]]()
    for name in names:
        folders.setdefault(name.rpartition("/")[0], []).append(name)
    bases = {_base(folder): inside[0] for folder, inside in reversed(folders.items()) if _is_of_spark(inside[0])}
    done = {_base(at.rpartition("/")[0]) for at in files.hidden if at.rpartition("/")[2].startswith(DONE)}
    for base in sorted(bases.keys() - done):
        yield (
            f"there is no _SUCCESS beside {shown[bases[base]]}, which Spark writes when a job has finished: if it was "
            "stopped, rows are missing"
        )
    for folder, inside in folders.items():
        if not _key(folder):
            yield from _gaps(inside, shown)


DONE = ("_SUCCESS", "_committed_")


def _is_of_spark(name: str) -> bool:
    return SPARK.match(name.rpartition("/")[2]) is not None


def _base(folder: str) -> str:
    """Return the folder of a table, of which folders called `KEY=VALUE` are parts."""
    return "/".join(part for part in folder.split("/") if not _key(part))


def _gaps(names: Sequence[str], shown: Mapping[str, str]) -> Iterator[str]:
    """Say which numbers are missing among those of parts; where as many are missing as there are, they count nothing.

    Spark counts from 0, and `-of-00003` says how many there are.
    """
    found = [VARYING.findall(name.rpartition("/")[2]) for name in names]
    varying = [at for at, texts in enumerate(zip(*found, strict=True)) if len(set(texts)) > 1]
    texts = [each[varying[0]] for each in found] if len(varying) == 1 else []
    if not texts or not all(text.isdigit() and not DAY.fullmatch(text) for text in texts):
        return
    numbers = sorted(map(int, texts))
    total = re.search(r"-of-([0-9]+)", names[0])
    first = 0 if _is_of_spark(names[0]) or (total and int(total[1]) not in numbers) else numbers[0]
    last = max(numbers[-1], int(total[1]) - (1 - first) if total else 0)
    if last - first >= 2 * len(numbers) and not total:
        return
    width = len(texts[0]) if len(set(map(len, texts))) == 1 else 0
    if missing := [str(at).zfill(width) for at in range(first, last + 1) if at not in set(numbers)]:
        yield (
            f"{_whole(names, shown)} has no part {some(missing)}: if that is not one without rows, which some programs "
            "leave out, rows are missing"
        )


def _whole(names: Sequence[str], shown: Mapping[str, str]) -> str:
    """Return what messages call the table of some parts, such as `ratings/part-*.csv`."""
    return shown[names[0]].removesuffix(names[0]) + pattern(names[0])


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


def with_empty(
    names: Sequence[str],
    faults: Mapping[str, DataError],
    tables: Mapping[str, Table],
    shown: Mapping[str, str],
    encoding: str | None,
) -> tuple[str, ...]:
    """Return the parts of a table in their order, those that hold nothing among them.

    Args:
        names: Parts that hold rows.
        faults: What is wrong with files that are no tables.
        tables: The first rows of each other file.
        shown: What messages call the files.
        encoding: What was named.

    Raises:
        DataError: If a file that is called like the parts is damaged, or in another encoding.
    """
    empty = []
    alike = {name: fault for name, fault in faults.items() if pattern(name) == pattern(names[0])}
    in_utf8 = [shown[name] for name in names if tables[name].encoding == UTF8]
    others = [shown[name] for name, fault in alike.items() if isinstance(fault, EncodingError)]
    if in_utf8 and others:
        raise mixed_encodings(in_utf8, others, encoding)
    for name, fault in alike.items():
        if not isinstance(fault, EmptyTableError):
            raise DataError(fault.message, hint=f"{fault.hint} It is called like {shown[names[0]]}. {APART}")
        empty.append(name)
    return tuple(in_order([*names, *empty]))


def require_same_columns(tables: Mapping[str, Table], whole: Sequence[str], others: Collection[str]) -> None:
    """Refuse a file called like the parts of a table that has other columns.

    Args:
        tables: The first rows of each file that holds some.
        whole: The parts.
        others: Files that are called like them.

    Raises:
        DataError: Naming the first such file, and what differs.
    """
    one = next(name for name in whole if name in tables)
    for name in in_order(name for name in others if name in tables):
        ours, theirs = ([*tables[at].types] for at in (one, name))
        more, lacks = ([c for c in have if c not in other] for have, other in ((theirs, ours), (ours, theirs)))
        said = [f"has {some(more)}"] if more else []
        said += [f"lacks {some(lacks)}"] if lacks else []
        if is_bare(tables[name]):
            said = ["has no header"]
        raise DataError(
            f"{tables[name].name} has other columns than {tables[one].name}: it {', and '.join(said)}",
            hint=f"{ALIKE} {APART}",
        )


def is_bare(table: Table) -> bool:
    """Return whether a table has no header."""
    return all(column.isdigit() for column in table.types)


def joined(names: Sequence[str], shown: Mapping[str, str], read: Callable[[str], Table]) -> Table:
    """Return the table that several parts make, one behind the other; one part is the table.

    Args:
        names: The files of all parts.
        shown: What messages call them.
        read: Reads one of them; those without rows are left out.

    Raises:
        EmptyTableError: If no part holds rows.
        DataError: If some are in UTF-8, and others not.
    """
    if len(names) == 1:
        return read(names[0])
    whole, parts, strange = _whole(names, shown), list[Table](), dict[str, EncodingError]()
    for name in names:
        try:
            parts.append(read(name))
        except EncodingError as error:
            strange[shown[name]] = error
        except EmptyTableError:
            pass
    written = {part.name: part.encoding for part in parts if part.encoding}
    in_utf8 = [name for name, encoding in written.items() if encoding == UTF8]
    others = [name for name in written if name not in in_utf8]
    if in_utf8 and (others or strange):
        raise mixed_encodings(in_utf8, [*others, *strange], next((written[name] for name in others), None))
    if strange:
        raise next(iter(strange.values()))
    if not parts:
        raise EmptyTableError(whole, f"no rows, in none of its {len(names)} parts")
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
    said = f"{whole}: {len(names)} parts of one table, from {shown[names[0]]} to {shown[names[-1]]}"
    said += f", of which {empty} {'has' if empty == 1 else 'have'} no rows" if empty else ""
    rules, warnings = (_in_common(whole, parts, kind) for kind in ("rules", "warnings"))
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


def _in_common(whole: str, parts: Sequence[Table], kind: str) -> tuple[str, ...]:
    """Return the rules or the warnings of parts, each once: of the whole, or of the first where others have none."""
    found = dict[str, list[str]]()
    for part in parts:
        for text in dict.fromkeys(getattr(part, kind)):
            found.setdefault(text.replace(part.name, whole, 1), []).append(text)
    return tuple(
        generic if len(texts) == len(parts) else texts[0] + (f" (so in {len(texts) - 1:,} more)" if texts[1:] else "")
        for generic, texts in found.items()
    )

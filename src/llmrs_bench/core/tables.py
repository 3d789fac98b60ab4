"""Parquet tables written part by part, and files that are there whole or not at all."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from errno import EINVAL, ELOOP, ENOSYS, ENOTSUP
from hashlib import sha256
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING
from uuid import uuid4

import polars as pl
from pydantic import BaseModel

from llmrs_bench.core.hashing import file_digest
from llmrs_bench.core.schemas import TABLES, check_schema


def atomic_write(path: Path, content: bytes) -> None:
    """Write a file in the place of what is there; a link is followed.

    What is no file, such as a device or a pipe, is written into: nothing takes its place.

    Raises:
        OSError: If it cannot be written; what was there stays. A pipe that nobody reads is refused.
    """
    if path.parent in _DESCRIPTORS or (path.exists() and not path.is_file()):
        if path.is_block_device():
            raise OSError(EINVAL, "this is a disk, not a file", str(path))
        # Without waiting for a reader, and without making anything.
        with open(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_APPEND), "wb") as file:
            os.set_blocking(file.fileno(), True)
            file.write(content)
        return
    place = Path(os.path.realpath(path))
    if place.is_symlink():  # links in a circle
        raise OSError(ELOOP, os.strerror(ELOOP), str(path))
    partial = place.with_name(f".{place.name[:100]}.{uuid4().hex[:8]}.partial")
    try:
        partial.write_bytes(content)
        if place.exists():
            with suppress(PermissionError):  # a file system that has no permissions: the file is one's own
                shutil.copymode(place, partial)
        with partial.open("rb") as file:
            _flush(file)
        os.replace(partial, place)
    finally:
        partial.unlink(missing_ok=True)


def _flush(file: IO[bytes]) -> None:
    """Have a file written to its disk, where the file system can do that."""
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in (EINVAL, ENOSYS, ENOTSUP):
            raise


# Where the files of this process go by their numbers, as in `--html /dev/stdout`.
_DESCRIPTORS = (Path("/dev"), Path("/dev/fd"), Path("/proc/self/fd"))


if TYPE_CHECKING:
    from hashlib import _Hash

    from pyarrow import Table

_SLICE = 100_000
_GROUP = 1 << 20  # rows that are turned into Arrow at once; also the size of PyArrow's row groups


# Files that held what their manifests say, as they were when that was last found out: one entry a file of this process.
_VERIFIED: dict[Path, tuple[str, tuple[int, ...]]] = {}


class TableFacts(BaseModel):
    """Size of one table, digest of its contents, and digest of the bytes of its file.

    Tables with the same contents have the same `digest` however Parquet stores them, so that it names what a stage has
    read. `bytes_digest` is quicker to check; it is None in manifests that were written before it was kept.
    """

    rows: int
    digest: str
    bytes_digest: str | None = None


class TableWriter:
    """A table in the making: the memory it takes is that of one part.

    Args:
        path: The Parquet file.
        name: Its schema.
    """

    def __init__(self, path: Path, name: str) -> None:
        from pyarrow.parquet import ParquetWriter  # most commands only read whole tables, which Polars does by itself

        self.path, self.name = path, name
        self._facts: TableFacts | None = None
        self._schema = pl.DataFrame(schema=TABLES[name]).to_arrow().schema
        self._sink = path.open("wb")
        self._file = ParquetWriter(self._sink, self._schema, compression="zstd")
        self._rows = 0
        self._digest = _new_digest(TABLES[name])

    def append(self, frame: pl.DataFrame) -> None:
        """Write `frame` behind what is there, as a part that can be read by itself.

        Raises:
            ArtifactError: If it has another schema.
        """
        check_schema(self.name, frame)
        if not frame.height:
            return
        with ThreadPoolExecutor(1) as beside:
            digested = beside.submit(_update, self._digest, frame)
            for part in frame.iter_slices(_GROUP):
                self._file.write_table(part.to_arrow().cast(self._schema))
            self._rows += frame.height
            digested.result()

    @property
    def digest(self) -> str:
        """Return the content digest of what was written so far."""
        return self._digest.hexdigest()

    def close(self) -> TableFacts:
        """Finish the file, and return what it holds."""
        if self._facts is None:
            with self._sink:
                self._file.close()
            self._facts = TableFacts(rows=self._rows, digest=self.digest, bytes_digest=file_digest(self.path))
        return self._facts

    def abandon(self) -> None:
        """Let go of the file, finished or not."""
        with suppress(OSError, ValueError):  # the disk may be full
            if self._facts is None:
                self._file.close()
        self._file.is_open = False
        with suppress(OSError):
            self._sink.close()


def read_table(path: Path, name: str) -> pl.DataFrame:
    """Read a whole table and check its schema.

    Raises:
        ArtifactError: If it has another schema.
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:  # a path would be a pattern to Polars
        return check_schema(name, parse_parquet(file), where=str(path))


class TooLargeError(Exception):
    """A table takes more memory than allowed."""


def read_foreign(content: bytes, most: int) -> pl.DataFrame:
    """Read a Parquet table that another program wrote.

    PyArrow reads it part by part: at some damage Polars would panic, and a small file may hold more than the memory.
    Dictionaries become their values, decimals of 256 bits text, and times with a zone those of UTC.

    Args:
        content: The whole file.
        most: Bytes that the table may take in memory.

    Raises:
        OSError: If it is no Parquet file, or damaged.
        TooLargeError: If it takes more than `most` bytes.
    """
    from pyarrow import ArrowException, BufferReader, Table
    from pyarrow.parquet import ParquetFile

    total, parts = 0.0, list[pl.DataFrame]()
    try:
        with ParquetFile(BufferReader(content)) as file:
            groups = range(file.metadata.num_row_groups)
            if sum(file.metadata.row_group(group).total_byte_size for group in groups) > most:
                raise TooLargeError
            batches = file.iter_batches(batch_size=_SLICE, use_threads=False)
            tables = (Table.from_batches([batch]) for batch in batches)
            for table in chain([file.schema_arrow.empty_table()], tables):
                parts.append(to_frame(_in_known_types(table)))
                total += parts[-1].estimated_size()
                if total > most:
                    raise TooLargeError
    except (ArrowException, MemoryError, UnicodeDecodeError) as error:
        raise OSError(f"it is not a Parquet table, or damaged: {error}") from error
    return pl.concat(parts)


def _in_known_types(table: "Table") -> "Table":
    """Return a table in types that Polars has."""
    from pyarrow import string, timestamp, types

    for place, field in enumerate(table.schema):
        kind = field.type
        if types.is_dictionary(kind):
            kind = kind.value_type
        elif types.is_decimal256(kind):
            kind = string()
        elif types.is_timestamp(kind) and kind.tz:
            kind = timestamp(kind.unit, "UTC")
        if kind != field.type:
            table = table.set_column(place, field.name, table.column(place).cast(kind))
    return table


def parse_parquet(content: IO[bytes], columns: list[str] | None = None) -> pl.DataFrame:
    """Read a table of this program, or some columns of it.

    Raises:
        OSError: If it cannot be read: damaged bytes make Polars fail in several ways, of which one is a panic.
    """
    try:
        return pl.read_parquet(content, columns=columns)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise OSError(f"it is not a Parquet table, or damaged: {error}") from error


def read_parts(path: Path, name: str, rows: int) -> Iterator[pl.DataFrame]:
    """Yield a table as frames of `rows` rows, the last one of fewer.

    Raises:
        ArtifactError: If it has another schema.
        OSError: If it cannot be read.
    """
    from pyarrow import ArrowException, Table
    from pyarrow.parquet import ParquetFile

    try:
        with path.open("rb") as content, ParquetFile(content) as file:
            for batch in file.iter_batches(batch_size=rows):
                yield check_schema(name, to_frame(Table.from_batches([batch])), where=str(path))
    except (ArrowException, UnicodeDecodeError) as error:
        raise OSError(str(error)) from error


def to_frame(table: "Table") -> pl.DataFrame:
    """Return an Arrow table that was read from a file as a frame.

    Raises:
        OSError: If it is damaged, such as text that is not UTF-8, at which Polars would panic.
    """
    from pyarrow import ArrowException

    try:
        table.validate(full=True)
        return pl.DataFrame(list(map(pl.Series, table.column_names, table.columns)))
    except (ArrowException, UnicodeDecodeError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise OSError(f"it is damaged: {error}") from error


def holds(path: Path, facts: TableFacts, contents: Callable[[], str]) -> bool:
    """Return whether a table's file holds what `facts` says; once a process, and again after the file has changed.

    Args:
        path: The file.
        facts: What its manifest says.
        contents: Returns the digest of the contents. It decides where the digest of the bytes is not that of `facts`,
            for the file may have been rewritten, or there is none.

    Raises:
        OSError: If there is no such file.
    """
    state = file_state(path)
    if _VERIFIED.get(path) == (facts.digest, state):
        return True
    if (facts.bytes_digest is None or file_digest(path) != facts.bytes_digest) and contents() != facts.digest:
        return False
    _VERIFIED[path] = facts.digest, state
    return True


def file_state(path: Path) -> tuple[int, ...]:
    """Return what changes when a file does: inode, size and times of change."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def parts_digest(parts: Iterable[pl.DataFrame], name: str) -> str:
    """Return the digest of a table's contents, independent of how Parquet and its parts divide them."""
    digest = _new_digest(TABLES[name])
    for part in parts:
        _update(digest, part)
    return digest.hexdigest()


def _new_digest(schema: pl.Schema) -> "_Hash":
    return sha256(repr(list(schema.items())).encode())


def _update(digest: "_Hash", frame: pl.DataFrame) -> None:
    for part in frame.iter_slices(_SLICE):
        lines = BytesIO()
        part.write_ndjson(lines)
        digest.update(lines.getbuffer())

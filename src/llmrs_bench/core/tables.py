"""Parquet tables written part by part, and files that are there whole or not at all."""

import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from pyarrow import Table
from pyarrow.parquet import ParquetFile, ParquetWriter
from pydantic import BaseModel

from llmrs_bench.core.schemas import TABLES, check_schema


def atomic_write(path: Path, content: bytes) -> None:
    """Write a file in the place of what is there.

    Raises:
        OSError: If it cannot be written; what was there stays.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        atomic_move(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def atomic_move(partial: Path, path: Path) -> None:
    """Move a finished file to its place."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)


if TYPE_CHECKING:
    from hashlib import _Hash

_SLICE = 100_000


class TableFacts(BaseModel):
    """Size and content digest of one table."""

    rows: int
    digest: str


class TableWriter:
    """A table in the making: the memory it takes is that of one part.

    Args:
        path: The Parquet file.
        name: Its schema.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self._schema = pl.DataFrame(schema=TABLES[name]).to_arrow().schema
        self._file = ParquetWriter(path, self._schema, compression="zstd")
        self._rows = 0
        self._digest = _new_digest(TABLES[name])

    def append(self, frame: pl.DataFrame) -> None:
        """Write `frame` behind what is there, as a part that can be read by itself.

        Raises:
            ArtifactError: If it has another schema.
        """
        check_schema(self.name, frame)
        if frame.height:
            self._file.write_table(frame.to_arrow().cast(self._schema))
        self._rows += frame.height
        _update(self._digest, frame)

    @property
    def digest(self) -> str:
        """Return the content digest of what was written so far."""
        return self._digest.hexdigest()

    def close(self) -> TableFacts:
        """Finish the file, and return what it holds."""
        self._file.close()
        return TableFacts(rows=self._rows, digest=self.digest)


def read_table(path: Path, name: str) -> pl.DataFrame:
    """Read a whole table and check its schema.

    Raises:
        ArtifactError: If it cannot be read or has another schema.
        OSError: If there is no such file.
    """
    return check_schema(name, pl.read_parquet(path), where=str(path))


def read_parts(path: Path, name: str, rows: int) -> Iterator[pl.DataFrame]:
    """Yield a table as frames of `rows` rows, the last one of fewer.

    Raises:
        ArtifactError: If it has another schema.
    """
    with ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=rows):
            part = pl.DataFrame(Table.from_batches([batch]))
            yield check_schema(name, part, where=str(path))


def table_digest(frame: pl.DataFrame) -> str:
    """Return a digest of a table's contents, independent of how Parquet stores them."""
    digest = _new_digest(frame.schema)
    _update(digest, frame)
    return digest.hexdigest()


def parts_digest(parts: Iterator[pl.DataFrame], name: str) -> str:
    """Return the digest of a table that is read part by part."""
    digest = _new_digest(TABLES[name])
    for part in parts:
        _update(digest, part)
    return digest.hexdigest()


def _new_digest(schema: pl.Schema) -> "_Hash":
    return sha256(repr(list(schema.items())).encode())


def _update(digest: "_Hash", frame: pl.DataFrame) -> None:
    for part in frame.iter_slices(_SLICE):
        digest.update(part.write_ndjson().encode())

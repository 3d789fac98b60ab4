"""Digests of options and seeded hashes, the same on every machine."""

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import blake2b, sha256
from hashlib import file_digest as hash_file
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

# splitmix64, the finaliser of Steele, Lea and Flood (OOPSLA 2014).
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def hash64(text: str) -> int:
    """Return an unsigned 64-bit hash of `text`."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def generator(*key: int | str) -> np.random.Generator:
    """Return a random generator that depends on `key` alone, the same on every machine and in every process."""
    text = "\x1f".join(map(str, key))
    digest = blake2b(text.encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))


def uniform_hash(seed: int, *columns: pl.Series, across: pl.Series | None = None) -> NDArray[np.uint64]:
    """Hash rows of string columns to uniform unsigned 64-bit integers.

    Each distinct string is hashed once; the columns are combined in their order, so that (a, b) and (b, a)
    differ. Two rows with the same strings and seed get the same number, wherever they stand.

    Args:
        seed: Another seed gives independent numbers.
        columns: String columns of one length.
        across: Strings to combine with every row as if in one more column; the result is then a
            matrix (row, string).
    """
    state = np.full(len(columns[0]), seed, dtype=np.uint64)
    for column in columns:
        state = _mix(state ^ _hash_column(column))
    return state if across is None else _mix(state[:, None] ^ _hash_column(across))


def _hash_column(column: pl.Series) -> NDArray[np.uint64]:
    if not len(column):
        return np.empty(0, dtype=np.uint64)
    distinct = column.unique()
    hashes = np.array([hash64(text) for text in distinct], dtype=np.uint64)
    codes = column.replace_strict(distinct, pl.Series(np.arange(len(distinct))), return_dtype=pl.Int64).to_numpy()
    return np.asarray(hashes[codes], dtype=np.uint64)


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        state = state + _GAMMA
        state = (state ^ (state >> np.uint64(30))) * _MIX_1
        state = (state ^ (state >> np.uint64(27))) * _MIX_2
        return np.asarray(state ^ (state >> np.uint64(31)), dtype=np.uint64)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as hex digits.

    Raises:
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        return hash_file(file, "sha256").hexdigest()


def remembered_digest(path: Path) -> str:
    """Return what `file_digest` does, without reading a file again that has not changed since this process read it.

    Weights have gigabytes, and each run of a study asks which they are. A file has changed if its place on the disk,
    its size or one of its times has.

    Raises:
        OSError: If it cannot be read.
    """
    now = path.stat()
    return _digest_as_of(path.resolve(), now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)


@lru_cache(maxsize=1024)
def _digest_as_of(path: Path, *_: int) -> str:
    return file_digest(path)


def files_digest(folder: Path, files: Iterable[Path]) -> str:
    """Return the SHA-256 of the relative names and the contents of some files of a folder, in whatever order they come.

    Raises:
        OSError: If one cannot be read.
    """
    total = sha256()
    for name, path in sorted((path.relative_to(folder).as_posix(), path) for path in files):
        total.update(f"{name}\0{remembered_digest(path)}\n".encode())
    return total.hexdigest()


def shortened(name: str, most: int) -> str:
    """Return a name cut to so many bytes of UTF-8; what it names is told apart by a digest behind it."""
    return name.encode()[:most].decode("utf-8", "ignore")


def fingerprint(value: Mapping[str, Any]) -> str:
    """Return 64 hex digits that differ when any part of `value`, JSON-like and nested, differs."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return sha256(text.encode()).hexdigest()

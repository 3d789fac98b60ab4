"""Files of a source: folders, archives and delimited text."""

import gzip
import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Self

import polars as pl

from llmrs_bench.core.errors import DataError

BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError)
CHUNK = 1 << 20
CLUTTER = "__MACOSX/"
NEW_COPY = "The file is damaged or cut short: download it again."


@dataclass(frozen=True)
class SourceFiles:
    """Files of a source under short names.

    A name is the path inside the archive without the folder all members share, or the name inside the
    folder; a file ending in `.gz` goes by its plain name. Hidden files and `__MACOSX` are left out.

    Args:
        path: The archive or the folder that was opened.
        is_archive: Whether `path` is a zip archive.
        places: Name to where its bytes are: members of the archive or paths of files.
    """

    path: Path
    is_archive: bool
    places: Mapping[str, tuple[str, ...]]

    @classmethod
    def open(cls, path: Path) -> Self:
        """List what the zip archive or the folder at `path` holds.

        A folder with exactly one sub-folder and no files stands for that sub-folder.

        Raises:
            DataError: If nothing is there, it is not a zip archive, or its members point outside of it.
        """
        if path.is_dir():
            folder = _lone_folder(path)
            return cls(path, False, _by_name({file.name: str(file) for file in _visible(folder) if file.is_file()}))
        if not path.exists():
            raise DataError(f"there is no {path}", hint="Give the path of a zip archive or of a folder.")
        return cls(path, True, _by_name(_members(path)))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all files, sorted."""
        return tuple(sorted(self.places))

    def read(self, name: str) -> bytes:
        """Return the bytes of the file `name`, decompressed.

        Raises:
            DataError: If there is no such file, it is there twice (plain and `.gz`), or it is damaged.
        """
        places = self.places.get(name, ())
        if not places:
            raise DataError(f"{self.path} holds no {name}", hint=f"It holds: {', '.join(self.names) or 'nothing'}.")
        if len(places) > 1:
            raise DataError(f"{self.path} holds {name} twice: {', '.join(places)}", hint="Keep one of them.")
        try:
            data = self._stored(places[0])
            return gzip.decompress(data) if places[0].endswith(".gz") else data
        except BROKEN as error:
            raise DataError(f"{name} in {self.path} cannot be read: {error}", hint=NEW_COPY) from error

    def digest(self, names: Iterable[str] | None = None) -> str:
        """Return the md5 of the archive, or for a folder the md5 over sorted names and md5s of its files.

        Args:
            names: Of a folder, take these files alone; None takes all. Compressed files count as their content.

        Raises:
            DataError: If a file cannot be read.
        """
        if self.is_archive:
            return file_md5(self.path)
        whole = hashlib.md5(usedforsecurity=False)
        for name in sorted(self.names if names is None else names):
            content = hashlib.md5(self.read(name), usedforsecurity=False).hexdigest()
            whole.update(f"{name}\t{content}\n".encode())
        return whole.hexdigest()

    def _stored(self, place: str) -> bytes:
        if not self.is_archive:
            return Path(place).read_bytes()
        with zipfile.ZipFile(self.path) as archive:
            return archive.read(place)


def file_md5(path: Path) -> str:
    """Return the md5 of a file as hexadecimal digits.

    Raises:
        DataError: If the file cannot be read.
    """
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}", hint="Check the path and its permissions.") from error
    return digest.hexdigest()


def _visible(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error}", hint="Check its permissions.") from error


def _lone_folder(path: Path) -> Path:
    entries = _visible(path)
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else path


def _members(path: Path) -> dict[str, str]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info.filename for info in archive.infolist() if not info.is_dir()]
    except BROKEN as error:
        raise DataError(
            f"{path} is not a complete zip archive: {error}",
            hint="Give a zip archive or a folder; if it should be an archive, download it again.",
        ) from error
    for member in members:
        _refuse_outside(path, member)
    members = [m for m in members if not m.startswith(CLUTTER) and not PurePosixPath(m).name.startswith(".")]
    shared = _shared_folder(members)
    return {"/".join(PurePosixPath(member).parts[shared:]): member for member in members}


def _refuse_outside(path: Path, member: str) -> None:
    plain = member.replace("\\", "/")
    if plain.startswith("/") or plain[1:2] == ":" or ".." in plain.split("/"):
        raise DataError(
            f"{path} holds a member that points outside of it: {member!r}",
            hint="No honest data set does; get the archive from its owner.",
        )


def _shared_folder(members: list[str]) -> int:
    """Return how many leading folders all members share."""
    folders = [PurePosixPath(member).parts[:-1] for member in members]
    count = 0
    for level in zip(*folders, strict=False):
        if len(set(level)) > 1:
            break
        count += 1
    return count


def _by_name(files: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    places: dict[str, tuple[str, ...]] = {}
    for name, place in files.items():
        plain = name.removesuffix(".gz")
        places[plain] = (*places.get(plain, ()), place)
    return places


MEND = "Get a fresh copy of the file, or mend or delete this line."
BOM = b"\xef\xbb\xbf"


def read_delimited(data: bytes, *, name: str, columns: list[str], header_lines: int = 0) -> pl.DataFrame:
    """Return one row per line with `columns` as strings; empty fields are null, quotes mean nothing.

    Args:
        data: UTF-8 text with tabs between fields.
        name: The file, for messages.
        columns: Names for the fields of a line.
        header_lines: Lines to leave out at the start.

    Raises:
        DataError: If there are no lines, the text is not UTF-8, or a line has another number of fields.
    """
    data = normal_lines(data, name=name)
    body = data.split(b"\n", header_lines)[header_lines] if data.count(b"\n") >= header_lines else b""
    if not body:
        raise DataError(f"{name} holds no data", hint="Check that the file is complete.")
    if body.count(b"\t") != (body.count(b"\n") + 1) * (len(columns) - 1):
        raise _ragged(body, name, len(columns), header_lines)
    schema = dict.fromkeys(columns, pl.String())
    try:
        return pl.read_csv(io.BytesIO(body), has_header=False, schema=schema, separator="\t", quote_char=None)
    except pl.exceptions.PolarsError as error:
        raise _ragged(body, name, len(columns), header_lines) from error


def normal_lines(data: bytes, *, name: str) -> bytes:
    r"""Return UTF-8 `data` without a byte order mark, with `\n` alone ending lines and none at its end.

    Raises:
        DataError: If it is not UTF-8.
    """
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{name}, line {line}: not UTF-8 text", hint="Convert the file to UTF-8.") from error
    return data.removeprefix(BOM).replace(b"\r\n", b"\n").rstrip(b"\n")


def number(
    frame: pl.DataFrame, column: str, dtype: type[pl.DataType], *, name: str, header_lines: int = 0
) -> pl.Series:
    """Return a column of strings as finite numbers; empty fields stay null.

    Whole numbers may be written as decimals ("978300760.0"), and lose their fraction.

    Raises:
        DataError: Naming the first line whose field is not a number.
    """
    text = frame[column].str.strip_chars()
    exact = text.cast(dtype, strict=False)
    if dtype.is_integer():
        loose = text.cast(pl.Float64, strict=False).cast(dtype, strict=False)
        exact = exact.zip_with(exact.is_not_null(), loose)
    bad = text.is_not_null() & exact.is_null()
    if dtype.is_float():
        bad = bad | ~exact.is_finite().fill_null(True)
    if bad.any():
        row = bad.arg_max() or 0
        raise DataError(f"{name}, line {row + 1 + header_lines}: {column} is {text[row]!r}, not a number", hint=MEND)
    return exact


def require_filled(frame: pl.DataFrame, columns: list[str], *, name: str, header_lines: int = 0) -> None:
    """Refuse empty fields in `columns`.

    Raises:
        DataError: Naming the first line and field that is empty.
    """
    for column in columns:
        if frame[column].null_count():
            row = frame[column].is_null().arg_max() or 0
            raise DataError(f"{name}, line {row + 1 + header_lines}: {column} is empty", hint=MEND)


def _ragged(body: bytes, name: str, fields: int, header_lines: int) -> DataError:
    for row, line in enumerate(body.split(b"\n")):
        if line.count(b"\t") != fields - 1:
            found = line.count(b"\t") + 1
            return DataError(f"{name}, line {row + 1 + header_lines}: {found} fields, expected {fields}", hint=MEND)
    return DataError(f"{name} is not a table of {fields} fields", hint="Get a fresh copy of the file.")

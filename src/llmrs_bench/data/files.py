"""Files of a source: folders, archives and delimited text."""

import gzip
import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Self

import polars as pl

from llmrs_bench.core.errors import DataError

BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError)
CHUNK = 1 << 20
CLUTTER = "__MACOSX/"
GB = 10**9
PACKED, FREE = 100, 1 << 26  # tables shrink to a tenth or so: what grows more than this is read only if asked for
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
        limit: The most bytes one file may unpack to; None: 64 MiB, or 100 times its packed size if that is more.
    """

    path: Path
    is_archive: bool
    places: Mapping[str, tuple[str, ...]]
    limit: int | None = None

    @classmethod
    def open(cls, path: Path, limit: int | None = None) -> Self:
        """List what the zip archive or the folder at `path` holds.

        A folder with exactly one sub-folder and no files stands for that sub-folder.

        Raises:
            DataError: If nothing is there, it is not a zip archive, or its members point outside of it.
        """
        if path.is_dir():
            folder = _lone_folder(path)
            files = {file.name: str(file) for file in _visible(folder) if file.is_file()}
            return cls(path, False, _by_name(files), limit)
        if not path.exists():
            raise DataError(f"there is no {path}", hint="Give the path of a zip archive or of a folder.")
        require_file(path)
        return cls(path, True, _by_name(_members(path)), limit)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all files, sorted."""
        return tuple(sorted(self.places))

    def read(self, name: str) -> bytes:
        """Return the bytes of the file `name`, decompressed.

        Raises:
            DataError: If there is no such file, it is there twice (plain and `.gz`), is damaged, or unpacks to more
                than the limit.
        """
        places = self.places.get(name, ())
        if not places:
            raise DataError(f"{self.path} holds no {name}", hint=f"It holds: {', '.join(self.names) or 'nothing'}.")
        if len(places) > 1:
            raise DataError(f"{self.path} holds {name} twice: {', '.join(places)}", hint="Keep one of them.")
        try:
            with self._stored(places[0]) as (stream, packed, size):
                return unpack(stream, places[0], packed=packed, size=size, limit=self.limit)
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

    @contextmanager
    def _stored(self, place: str) -> Iterator[tuple[IO[bytes], int, int]]:
        """Open a file as it is stored; yield it, the bytes it takes, and those it has."""
        if not self.is_archive:
            with Path(place).open("rb") as stream:
                size = Path(place).stat().st_size
                yield stream, size, size
            return
        with zipfile.ZipFile(self.path) as archive, archive.open(place) as stream:
            info = archive.getinfo(place)
            yield stream, info.compress_size, info.file_size


def unpack(stream: IO[bytes], name: str, *, packed: int, size: int, limit: int | None) -> bytes:
    """Return the bytes of a file that takes `packed` bytes and has `size`; one whose name ends in `.gz` is unpacked.

    Raises:
        DataError: If it has more bytes than `limit`; None: than 64 MiB, or 100 times `packed` if that is more.
    """
    most = max(FREE, PACKED * packed) if limit is None else limit
    if size <= most:
        plain = gzip.GzipFile(fileobj=stream) if name.endswith(".gz") else stream
        data = plain.read(most + 1)
        if len(data) <= most:
            return data
    raise DataError(
        f"{name} unpacks to {f'{size / GB:.1f}' if size > most else f'more than {most / GB:.1f}'} GB, "
        f"and takes {packed / 1e6:.1f} MB packed",
        hint=f"No table is packed so well, so it is read only up to {most / GB:.1f} GB; --max-unpacked GB allows more.",
    )


def require_file(path: Path) -> None:
    """Refuse what is there and no regular file: reading a pipe or a device may never end.

    Raises:
        DataError: If it is a folder, a pipe, a device or a socket.
    """
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "a pipe, a device or a socket"
        raise DataError(f"{path} is {kind}, not a file", hint="Write what it holds to a file, and give its path.")


def file_md5(path: Path) -> str:
    """Return the md5 of a file as hexadecimal digits.

    Raises:
        DataError: If it is no regular file, or cannot be read.
    """
    require_file(path)
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
    data, start = normal_lines(data, name=name), 0
    for _ in range(header_lines):
        start = data.find(b"\n", start) + 1 or len(data)
    if start == len(data):
        raise DataError(f"{name} holds no data", hint="Check that the file is complete.")
    if data.count(b"\t", start) != (data.count(b"\n", start) + 1) * (len(columns) - 1):
        raise _ragged(data[start:], name, len(columns), header_lines)
    schema = dict.fromkeys(columns, pl.String())
    try:
        return pl.read_csv(
            io.BytesIO(data), has_header=False, schema=schema, separator="\t", quote_char=None, skip_lines=header_lines
        )
    except pl.exceptions.PolarsError as error:
        raise _ragged(data[start:], name, len(columns), header_lines) from error


def normal_lines(data: bytes, *, name: str) -> bytes:
    r"""Return UTF-8 `data` without a byte order mark, with `\n` alone ending lines and none at its end.

    Raises:
        DataError: If it is not UTF-8.
    """
    try:
        if not data.isascii():  # no copy is made of what is
            data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{name}, line {line}: not UTF-8 text", hint="Convert the file to UTF-8.") from error
    return data.removeprefix(BOM).replace(b"\r\n", b"\n").rstrip(b"\n")


def number(
    frame: pl.DataFrame,
    column: str,
    dtype: type[pl.DataType] = pl.Float64,
    *,
    name: str,
    header_lines: int = 0,
    hint: str = MEND,
) -> pl.Series:
    """Return a column of strings as finite numbers of a type with fractions; empty fields stay null.

    Raises:
        DataError: Naming the first line whose field is not a number.
    """
    text = frame[column].str.strip_chars()
    found = text.cast(dtype, strict=False)
    bad = text.is_not_null() & (found.is_null() | ~found.is_finite().fill_null(True))
    if bad.any():
        row = bad.arg_max() or 0
        raise DataError(f"{name}, line {row + 1 + header_lines}: {column} is {text[row]!r}, not a number", hint=hint)
    return found


# A number of this size or more is a time in this unit, of which so many are a second. 1e11 seconds are the year 5138,
# 1e11 milliseconds 1973.
UNITS = (("seconds", 0.0, 1.0), ("milliseconds", 1e11, 1e3), ("microseconds", 1e14, 1e6), ("nanoseconds", 1e17, 1e9))
DAYS = (19000101, 21001231)  # dates that are written as one number
TIMES = "Write every time in seconds since 1970, or as 2018-03-01T12:00:00 (ISO 8601)."


def times(frame: pl.DataFrame, column: str, *, name: str, header_lines: int = 0) -> tuple[pl.Series, tuple[str, ...]]:
    """Return a column of strings as seconds since 1970 with their fractions, and rules in words on how it was read.

    Read are numbers of seconds, milliseconds, microseconds or nanoseconds, told by their size, and dates of ISO 8601:
    without a time of day these are midnight, without a zone UTC.

    Raises:
        DataError: Naming the first line that is empty or no time, or two lines that differ in their unit.
    """
    require_filled(frame, [column], name=name, header_lines=header_lines)
    text = frame[column].str.strip_chars()
    numbers = text.cast(pl.Float64, strict=False)
    if numbers[0] is None or (numbers.is_between(*DAYS) & (text.str.len_chars() == 8)).all():
        known = {day: _moment(day) for day in text.unique()}
        seconds = text.replace_strict(list(known), list(known.values()), return_dtype=pl.Float64)
        if seconds.null_count() == 0:
            return seconds, ("times are dates (ISO 8601), in UTC where they name no zone",)
        if numbers[0] is None:
            row = seconds.is_null().arg_max() or 0
            raise DataError(f"{name}, line {row + 1 + header_lines}: {column} is {text[row]!r}, not a time", hint=TIMES)
    seconds = number(frame, column, name=name, header_lines=header_lines, hint=TIMES)
    places = {unit: (seconds.abs() >= least) & (seconds != 0) for unit, least, _ in UNITS}
    unit, _, factor = next((unit for unit in reversed(UNITS) if places[unit[0]].any()), UNITS[0])
    if (other := ~places[unit] & (seconds != 0)).any():
        rows = [places[unit].arg_max() or 0, other.arg_max() or 0]
        lines = [f"{text[row]!r} in line {row + 1 + header_lines}" for row in sorted(rows)]
        raise DataError(f"{name}: {column} is {' and '.join(lines)}: these are not of one unit", hint=TIMES)
    return seconds / factor, (f"times are {unit}",) if factor > 1 else ()


def _moment(text: str) -> float | None:
    """Return the seconds since 1970 of a date of ISO 8601, also with slashes; None where it is none."""
    try:
        moment = datetime.fromisoformat(text.replace("/", "-"))
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


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

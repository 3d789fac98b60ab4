"""Files of a source: folders, archives and single files."""

import gzip
import hashlib
import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Self, cast

from llmrs_bench.core.errors import DataError

BROKEN = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error),
    *(EOFError, NotImplementedError, RuntimeError, OSError),
)
CHUNK = 1 << 20
BLOCK = 1 << 24  # bytes of a file that are read at once, and the most that one line may have
TARS = (".tar.gz", ".tgz", ".tar")
PACKINGS = (".gz", ".zst")
CLUTTER = "__MACOSX/"
UNFINISHED = ("_temporary", ".spark-staging", ".hive-staging")  # folders of jobs that have not ended
# What Spark writes beside parts.
HIDDEN = (".", "_SUCCESS", "_committed_", "_started_", "_metadata", "_common_metadata", *UNFINISHED)
GB = 10**9
PACKED, FREE = 100, 1 << 26  # tables shrink to a tenth or so: what grows more than this is read only if asked for
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"  # how files begin that these packed
NEW_COPY = "The file is damaged or truncated: download it again."


@dataclass(frozen=True)
class SourceFiles:
    """Files of a source under short names.

    A name is the path inside the archive without the folder all members share, or the name inside the
    folder, or that of the file; one ending in `.gz` or `.zst` goes by its plain name. Hidden files, `__MACOSX` and what
    Spark writes beside the parts of a table are left out.

    Args:
        path: The archive, the folder or the file that was opened.
        is_archive: Whether `path` is an archive.
        places: Name to where its bytes are: members of the archive or paths of files.
        limit: The most bytes one file may unpack to; None: 64 MiB, or 100 times its packed size if that is more.
        hidden: The names of what is left out beside them; of a hidden folder in a folder its name alone.
    """

    path: Path
    is_archive: bool
    places: Mapping[str, tuple[str, ...]]
    limit: int | None = None
    hidden: tuple[str, ...] = ()

    @classmethod
    def open(cls, path: Path, limit: int | None = None) -> Self:
        """List what the archive (zip, or tar by its name) or the folder at `path` holds; another file is the only one.

        A folder with exactly one sub-folder and no files stands for that sub-folder; one with several and no files
        holds the files in them, under `SUB-FOLDER/NAME`. Folders called `KEY=VALUE` hold parts of a table: the files in
        them are always listed, and none of them stands for the folder that it is in.

        Raises:
            DataError: If nothing is there, it is no complete archive, or its members point outside of it.
        """
        if path.is_dir():
            folder, hidden = _lone_folder(path), list[Path]()
            found = [*_below(folder, hidden)]
            found = found or [file for sub in _visible(folder) if sub.is_dir() for file in _below(sub, hidden)]
            files = {file.relative_to(folder).as_posix(): str(file) for file in found}
            beside = tuple(entry.relative_to(folder).as_posix() for entry in hidden)
            return cls(path, False, _by_name(files), limit, beside)
        if not path.exists():
            raise DataError(f"there is no {path}", hint="Give the path of a zip archive, a folder or a file.")
        require_file(path)
        if not path.name.endswith((".zip", *TARS)) and not _is_zip(path):
            return cls(path, False, _by_name({path.name: str(path)}), limit)
        members, beside = _members(path, limit)
        return cls(path, True, _by_name(members), limit, beside)

    @property
    def size(self) -> int:
        """The bytes that the archive, or all files, take."""
        inside = [Path(place) for places in self.places.values() for place in places]
        return sum(path.stat().st_size for path in ([self.path] if self.is_archive else inside))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all files, sorted."""
        return tuple(sorted(self.places))

    @property
    def unread_folders(self) -> tuple[str, ...]:
        """The folders in a folder whose files are not among those here."""
        if self.is_archive or not self.path.is_dir():
            return ()
        read = {Path(place).relative_to(self.path).parts[0] for places in self.places.values() for place in places}
        return tuple(entry.name for entry in _entries(self.path) if entry.is_dir() and entry.name not in read)

    def read(self, name: str) -> bytes:
        """Return the bytes of the file `name`, decompressed.

        Raises:
            DataError: If there is no such file, it is there twice (plain and `.gz`), is damaged, or unpacks to more
                than the limit.
        """
        with self._opened(name) as (stream, place, packed, size):
            return unpack(stream, place, packed=packed, size=size, limit=self.limit)

    def blocks(self, name: str) -> Iterator[bytes]:
        """Yield the bytes of the file `name`, decompressed, in blocks of whole lines: it is never held whole.

        Raises:
            DataError: As `read` does, or if a line is longer than a block (16 MiB).
        """
        rest = b""
        with self._opened(name) as (stream, place, packed, size):
            for chunk in _chunks(stream, place, packed=packed, size=size, limit=self.limit):
                end = chunk.rfind(b"\n") + 1
                if end:
                    yield rest + chunk[:end]
                    rest = b""
                rest += chunk[end:]
                if len(rest) > BLOCK:
                    raise DataError(
                        f"{name} in {self.path} has a line of more than {BLOCK >> 20} MiB",
                        hint="This is not a table or a list of records: check what the file is.",
                    )
        if rest:
            yield rest

    def lines(self, name: str) -> Iterator[tuple[int, str]]:
        """Yield number and text of each line of the UTF-8 file `name` that is not blank, without holding it whole.

        Raises:
            DataError: As `blocks` does, or naming the first line that is not UTF-8.
        """
        above = 0
        for block in self.blocks(name):
            text = normal_lines(block, name=name, above=above).decode()
            yield from ((at, line) for at, line in enumerate(text.split("\n"), above + 1) if line.strip())
            above += block.count(b"\n")

    def head(self, name: str, size: int = CHUNK) -> bytes:
        """Return the first bytes of the file `name`, decompressed, `size` at most.

        Raises:
            DataError: If it cannot be read.
        """
        with self._opened(name) as (stream, place, _, _):
            return _plain(stream, place).read(size)

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
            content = hashlib.md5(usedforsecurity=False)
            with self._opened(name) as (stream, place, packed, size):
                for chunk in _chunks(stream, place, packed=packed, size=size, limit=self.limit):
                    content.update(chunk)
            whole.update(f"{name}\t{content.hexdigest()}\n".encode())
        return whole.hexdigest()

    @contextmanager
    def _opened(self, name: str) -> Iterator[tuple[IO[bytes], str, int, int]]:
        """Open a file as it is stored; yield it, its place, the bytes it takes, and those it has."""
        places = self.places.get(name, ())
        if not places:
            raise DataError(f"{self.path} holds no {name}", hint=f"It holds: {', '.join(self.names) or 'nothing'}.")
        if len(places) > 1:
            raise DataError(f"{self.path} holds {name} twice: {', '.join(places)}", hint="Keep one of them.")
        [place] = places
        try:
            if not self.is_archive:
                with Path(place).open("rb") as stream:
                    size = Path(place).stat().st_size
                    yield stream, place, size, size
            elif self.path.name.endswith(TARS):
                with _tar(self.path) as tar:
                    member = tar.getmember(place)
                    inner = tar.extractfile(member)
                    assert inner is not None  # `_members` lists regular files alone
                    yield inner, place, self.path.stat().st_size, member.size
            else:
                with zipfile.ZipFile(self.path) as archive, archive.open(place) as stream:
                    info = archive.getinfo(place)
                    yield stream, place, info.compress_size, info.file_size
        except BROKEN as error:
            raise DataError(f"{name} in {self.path} cannot be read: {error}", hint=NEW_COPY) from error


class _Headers(gzip.GzipFile):
    """An unpacked stream that is not read in large pieces, as a damaged header of a tar archive may ask for."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= BLOCK:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return super().read(size)


@contextmanager
def _tar(path: Path, opener: type[gzip.GzipFile] = gzip.GzipFile) -> Iterator[tarfile.TarFile]:
    with ExitStack() as stack:
        stream: Any = stack.enter_context(path.open("rb"))
        if not path.name.endswith(".tar"):
            stream = stack.enter_context(opener(fileobj=stream))
        yield stack.enter_context(tarfile.open(fileobj=stream, mode="r:"))


def _tar_members(path: Path, limit: int | None) -> Iterator[str]:
    """Yield the names of regular files; what lies behind more bytes than the limit of `unpack` is not looked for."""
    packed = path.stat().st_size
    most = most_bytes(packed, limit)
    with _tar(path, _Headers) as tar:
        for member in tar:
            if member.size > most or member.offset_data > most:
                raise too_large(member.name, packed=packed, size=max(member.size, member.offset_data), most=most)
            if member.isfile():
                yield member.name


def _chunks(stream: IO[bytes], name: str, *, packed: int, size: int, limit: int | None) -> Iterator[bytes]:
    """Yield the plain bytes of a file, up to the limit of `unpack`.

    Raises:
        DataError: As `unpack` does.
    """
    most = most_bytes(packed, limit)
    plain, total = _plain(stream, name), 0
    while size <= most and (chunk := plain.read(BLOCK)):
        total += len(chunk)
        if total > most:
            break
        yield chunk
    if max(size, total) > most:
        raise too_large(name, packed=packed, size=size, most=most)


def most_bytes(packed: int, limit: int | None) -> int:
    """Return the most bytes that `packed` ones may unpack to: `limit`, or 64 MiB or 100 times as many."""
    return max(FREE, PACKED * packed) if limit is None else limit


def unpack(stream: IO[bytes], name: str, *, packed: int, size: int, limit: int | None) -> bytes:
    """Return the bytes of a file that takes `packed` bytes and has `size`; what gzip or zstd packed is unpacked.

    Raises:
        DataError: If it has more bytes than `limit`; None: than 64 MiB, or 100 times `packed` if that is more.
    """
    whole = io.BytesIO()  # memory grows with what comes: asked for all that is allowed at once, Python would take it
    for chunk in _chunks(stream, name, packed=packed, size=size, limit=limit):
        whole.write(chunk)
    return whole.getvalue()


def too_large(name: str, *, packed: int, most: int, size: int = 0) -> DataError:
    """Return the error of a file of `packed` bytes that unpacks to more than `most`: to `size` if that is known."""
    return DataError(
        f"{name} unpacks to {f'{size / GB:.1f}' if size > most else f'more than {most / GB:.1f}'} GB, "
        f"and takes {packed / 1e6:.1f} MB packed",
        hint=f"Tables do not compress so well, so only {most / GB:.1f} GB are read; --max-unpacked GB allows more.",
    )


def _plain(stream: IO[bytes], name: str) -> IO[bytes]:
    """Return a stream of what is packed with gzip or zstd, as its first bytes or the end of its name say."""
    magic = stream.read(4)
    stream.seek(0)
    if not magic and name.lower().endswith((".gz", ".zst", ".parquet", ".pq")):
        raise DataError(
            f"{name} has no bytes, but a file of its kind always has some",
            hint="It was not written to its end, or not copied: write or copy it again.",
        )
    if magic.startswith(GZIP) or name.endswith(".gz"):
        return cast(IO[bytes], gzip.GzipFile(fileobj=stream))
    if magic == ZSTD or name.endswith(".zst"):
        from pyarrow import CompressedInputStream

        return cast(IO[bytes], CompressedInputStream(stream, "zstd"))
    return stream


def _is_zip(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}", hint="Check the path and its permissions.") from error


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


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error}", hint="Check its permissions.") from error


def _visible(folder: Path) -> list[Path]:
    return [entry for entry in _entries(folder) if not entry.name.startswith(HIDDEN)]


def _lone_folder(path: Path) -> Path:
    entries = _visible(path)
    return entries[0] if len(entries) == 1 and entries[0].is_dir() and "=" not in entries[0].name else path


def _below(folder: Path, hidden: list[Path]) -> Iterator[Path]:
    """Yield the files of a folder, and those in its folders called `KEY=VALUE`; note what is `hidden` beside them."""
    for entry in _entries(folder):
        if entry.name.startswith(HIDDEN):
            hidden.append(entry)
        elif entry.is_file():
            yield entry
        elif entry.is_dir() and "=" in entry.name:
            yield from _below(entry, hidden)


def _members(path: Path, limit: int | None) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the members of an archive by their names, and the names of those that are hidden."""
    kind = "tar" if path.name.endswith(TARS) else "zip"
    try:
        if kind == "tar":
            members = list(_tar_members(path, limit))
        else:
            with zipfile.ZipFile(path) as archive:
                members = [info.filename for info in archive.infolist() if not info.is_dir()]
    except BROKEN as error:
        raise DataError(
            f"{path} is not a complete {kind} archive: {error}",
            hint="Give a zip archive or a folder; if it should be an archive, download it again.",
        ) from error
    for member in members:
        _refuse_outside(path, member)
    members = [member for member in members if not member.startswith(CLUTTER)]
    visible = [member for member in members if not _is_hidden(PurePosixPath(member))]
    shared = _shared_folder(visible)
    names = {member: "/".join(PurePosixPath(member).parts[shared:]) or member for member in members}
    seen = {names[member]: member for member in visible}
    return seen, tuple(name for member, name in names.items() if seen.get(name) != member)


def _is_hidden(path: PurePosixPath) -> bool:
    return path.name.startswith(HIDDEN) or any(part.startswith(UNFINISHED) for part in path.parts)


def _refuse_outside(path: Path, member: str) -> None:
    plain = member.replace("\\", "/")
    if plain.startswith("/") or plain[1:2] == ":" or ".." in plain.split("/"):
        raise DataError(
            f"{path} holds a member that points outside of it: {member!r}",
            hint="No genuine data set does; get the archive from its owner.",
        )


def _shared_folder(members: list[str]) -> int:
    """Return how many leading folders all members share, those called `KEY=VALUE` left out."""
    folders = [PurePosixPath(member).parts[:-1] for member in members]
    count = 0
    for level in zip(*folders, strict=False):
        if len(set(level)) > 1 or "=" in level[0]:
            break
        count += 1
    return count


def _by_name(files: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    places: dict[str, tuple[str, ...]] = {}
    for name, place in files.items():
        plain = name.removesuffix(next(filter(name.endswith, PACKINGS), ""))
        places[plain] = (*places.get(plain, ()), place)
    return places


MEND = "Get a fresh copy of the file, or correct or delete this line."
BOM = b"\xef\xbb\xbf"


def normal_lines(data: bytes, *, name: str, above: int = 0) -> bytes:
    r"""Return UTF-8 `data` without a byte order mark, with `\n` alone ending lines and none at its end.

    Raises:
        DataError: If it is not UTF-8.
    """
    try:
        if not data.isascii():  # no copy is made of what is
            data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = above + data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{name}, line {line}: not UTF-8 text", hint="Convert the file to UTF-8.") from error
    data = data.removeprefix(BOM)
    if b"\r" in data:  # one byte is looked for in a fraction of the time of two
        data = data.replace(b"\r\n", b"\n")
    return data.rstrip(b"\n")

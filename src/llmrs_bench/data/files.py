"""The files of a raw source, read in place from a zip archive or a folder and never unpacked to disk."""

import gzip
import hashlib
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Self

from llmrs_bench.errors import DataError

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

"""How large everything is that is kept below the home."""

from dataclasses import dataclass
from pathlib import Path

from llmrs_bench.core.registry import unknown_name
from llmrs_bench.stages.workspace import RESERVED, Reference


@dataclass(frozen=True, slots=True)
class Usage:
    """How large a part of a data set is: the data set or its variant, the part, what is in it, and bytes."""

    dataset: str
    part: str
    count: int
    size: int


def usage(home: Path, dataset: str | None = None) -> list[Usage]:
    """Return how large everything below the home is.

    Raises:
        OptionError: If there is no such data set.
    """
    names = [path.name for path in children(home) if path.is_dir() and not path.name.startswith(".")]
    if dataset is not None:
        own = Reference.parse(dataset).dataset
        if own not in names:
            raise unknown_name("data set", own, names)
        names = [own]
    found = []
    for name in names:
        for path in children(home / name):
            if path.name in RESERVED or not path.is_dir():
                found.append(Usage(name, path.name if path.is_dir() else "other", _count(path), size_of(path)))
                continue
            for part in children(path):
                found.append(Usage(f"{name}@{path.name}", part.name, _count(part), size_of(part)))
    return found


def _count(path: Path) -> int:
    return len(visible(path)) if path.is_dir() and path.name != "data" else 1


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files of a folder; links are not followed."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size if path.exists() else 0
    return sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir())


def children(folder: Path) -> list[Path]:
    """Return what is in a folder; nothing where there is none."""
    return sorted(folder.iterdir()) if folder.is_dir() else []


def visible(folder: Path) -> list[Path]:
    """Return what is in a folder and finished."""
    return [path for path in children(folder) if not path.name.startswith(".")]

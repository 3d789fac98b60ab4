"""Files that are there whole or not at all, even after a loss of power."""

import os
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Write a file in the place of what is there.

    Raises:
        OSError: If it cannot be written; what was there stays.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        move_whole(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def move_whole(partial: Path, path: Path) -> None:
    """Move a finished file to its place."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)

"""File locks that say which process works on what; the kernel releases them when their process ends."""

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from errno import ENOLCK, ENOSYS, ENOTSUP, EOPNOTSUPP
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import FileLock

log = logging.getLogger(__name__)

_CANNOT_LOCK = {ENOLCK, ENOSYS, ENOTSUP, EOPNOTSUPP}
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def machine() -> str:
    """Return eight hex digits of the running system: the same in all of its containers, others after it is started."""
    try:
        running = _BOOT.read_text("utf-8")
    except OSError:
        running = socket.gethostname()
    return sha256(running.encode()).hexdigest()[:8]


@contextmanager
def locked(path: Path, what: str) -> Iterator[bool]:
    """Hold the lock file `path`, which is there for as long; wait, and say so, while another process holds it.

    Process ids decide nothing: in containers and on other machines they mean other processes. What the file says of its
    holder is for people.

    Args:
        path: The lock file; its folder is made, and goes again if it is still empty at the end.
        what: What is locked, for the message.

    Yields:
        Whether it is held: False on a file system that has no locks.

    Raises:
        OSError: If the file cannot be made.
    """
    from filelock import FileLock

    made = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        _acquire(lock, path, what)
    except OSError as error:
        if error.errno not in _CANNOT_LOCK:
            raise
        path.unlink(missing_ok=True)
        _warn_of_no_locks()
        try:
            yield False
        finally:
            _remove_empty(made)
        return
    try:
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        path.write_text(f"process {os.getpid()} on {socket.gethostname()} (system {machine()}) since {now}\n", "utf-8")
        yield True
    finally:
        # Before it is let go: whoever opened it meanwhile sees that it is gone, and makes another one.
        with suppress(OSError):
            path.unlink()
        lock.release()
        _remove_empty(made)


def _remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders, the innermost first, up to one that holds something."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


@cache
def _warn_of_no_locks() -> None:
    log.warning("the file system of --home has no locks: run one command at a time there, or choose another folder")


def _acquire(lock: "FileLock", path: Path, what: str) -> None:
    from filelock import Timeout

    try:
        lock.acquire(blocking=False)
    except Timeout:
        log.info("waiting for %s: %s is working on it", what, _holder(path))
        lock.acquire(poll_interval=0.1)


def _holder(path: Path) -> str:
    """Return what a lock file says of the process that holds it."""
    try:
        return path.read_text("utf-8", "replace").strip() or "another process"
    except OSError:
        return "another process"


def is_locked(path: Path) -> bool:
    """Return whether a process holds the lock file `path`; one that nobody holds is removed.

    On a file system that has no locks nobody does.
    """
    if not path.exists():
        return False
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return True
    except OSError as error:
        if error.errno not in _CANNOT_LOCK:
            raise
    path.unlink(missing_ok=True)
    lock.release()
    return False

"""The exception tree: every failure a user can cause or fix, with a hint on what to do next."""

import re
from collections.abc import Sequence
from errno import (
    EACCES,
    EAGAIN,
    EDQUOT,
    EFBIG,
    EIO,
    EMFILE,
    ENAMETOOLONG,
    ENFILE,
    ENOMEM,
    ENOSPC,
    ENXIO,
    EPERM,
    EROFS,
    ESTALE,
    ETIMEDOUT,
)


class BenchError(Exception):
    """Something went wrong that the message names; `hint` says what to do next.

    Args:
        message: What was wrong, with the value.
        hint: The next step, as a sentence or a command to type.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class OptionError(BenchError):
    """An option has a value that cannot be used."""

    exit_code = 2


class DataError(BenchError):
    """A raw source is missing, broken or empty."""


class LeakError(BenchError):
    """A prompt would reveal what it asks for."""


class ArtifactError(BenchError):
    """An artifact of an earlier stage is missing, incomplete or of another shape."""


class DamagedError(ArtifactError):
    """An artifact is not what it was when it was made, or never was one."""


class ModelError(BenchError):
    """A model cannot be found, loaded or trained."""


class TooLittleError(ModelError):
    """There is too little to learn from: because the data has no more, or because less was asked for."""


class EngineError(BenchError):
    """An engine failed while it answered: trouble of the machine, never of the model's taste."""


class PluginError(BenchError):
    """A plug-in of another package cannot be used as it is."""


class ScoringError(BenchError):
    """Scores are not numbers that can be ranked."""


class BudgetError(BenchError):
    """A command has spent what it may; what it made is kept."""

    exit_code = 5


class GateError(BenchError):
    """A rule of the gate failed."""

    exit_code = 3


class IncomparableError(BenchError):
    """Runs were asked onto one board that may not be compared."""

    exit_code = 4


def listed(errors: Sequence[BenchError]) -> tuple[str, str]:
    """Return the message and the hint of several errors: each on a line of its own, with its own hint behind it.

    One error alone keeps its message and its hint.
    """
    if len(errors) == 1:
        return errors[0].message, errors[0].hint
    ended = [error.message + "." * (error.message[-1:] not in "?!.") for error in errors]
    lines = [
        f"  - {said} {error.hint}" if error.hint else f"  - {error.message}"
        for said, error in zip(ended, errors, strict=True)
    ]
    return "\n".join([f"{len(errors)} faults", *lines]), "Fix these, and run the same command again."


def raised_here(error: BaseException) -> bool:
    """Return whether code of this package raised an error, or called what did, but for functions of PyTorch.

    If not, a library did that this package had called, such as the code of a model.
    """
    frame, innermost = error.__traceback__, __name__
    while frame is not None:
        name = str(frame.tb_frame.f_globals.get("__name__", ""))
        innermost = innermost if _package(name) == "torch" else name
        frame = frame.tb_next
    return _package(innermost) == _package(__name__)


def _package(name: str) -> str:
    return name.partition(".")[0]


# What the system refuses, whatever a file holds: data that it refuses to read or write are not damaged.
_REFUSALS: dict[int, str] = {
    **dict.fromkeys((EACCES, EPERM), "Check the permissions of that path."),
    EROFS: "That file system is read-only: choose another folder with --home.",
    **dict.fromkeys(
        (ENOSPC, EDQUOT), "Make room on that disk, and run the same command again; what is complete stays."
    ),
    **dict.fromkeys((EMFILE, ENFILE), "Raise the limit of open files, as with `ulimit -n 1024`, and run it again."),
    EFBIG: "Raise the limit of file sizes (`ulimit -f`), and run the same command again; what is complete stays.",
    ENAMETOOLONG: "A file name has at most 255 bytes: take a shorter one.",
    ENXIO: "It is a pipe that nobody reads, or a socket: name a file.",
    EAGAIN: "Raise the limit of threads (`ulimit -u`, or that of the container), or set POLARS_MAX_THREADS=1 and "
    "OMP_NUM_THREADS=1, and run it again.",
    ENOMEM: "Free some memory, or raise its limit (`ulimit -v`), and run it again.",
    **dict.fromkeys(
        (EIO, ESTALE, ETIMEDOUT), "The disk, or the server behind it, failed: run the command again when it works."
    ),
}


def is_damage(error: OSError) -> bool:
    """Return whether an error of the system can mean that what was read is damaged or missing."""
    return _number(error) not in _REFUSALS


def next_step(error: OSError) -> str:
    """Return the hint for an error of the system."""
    return _REFUSALS.get(_number(error), "Check the path, its permissions and the free space.")


def _number(error: OSError) -> int:
    """Return the number of an error of the system; Polars has it in its words alone, or words for want of threads."""
    found = re.search(r"\(os error ([0-9]{1,4})\)|\bcode: ([0-9]{1,4}), kind: ", str(error))
    if not found and re.search(r"spawn threads?\b|start new thread", str(error)):
        return EAGAIN
    return error.errno or (int(found[1] or found[2]) if found else 0)

"""The exception tree: every failure a user can cause or fix, with a hint on what to do next."""


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


class ModelError(BenchError):
    """A model cannot be found, loaded or trained."""


class EngineError(BenchError):
    """An engine failed while it answered: trouble of the machine, never of the model's taste."""


class PluginError(BenchError):
    """A plug-in of another package cannot be used as it is."""


class ScoringError(BenchError):
    """Scores are not numbers that can be ranked."""


class GateError(BenchError):
    """A rule of the gate failed."""

    exit_code = 3


class IncomparableError(BenchError):
    """Runs were asked onto one board that may not be compared."""

    exit_code = 4


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

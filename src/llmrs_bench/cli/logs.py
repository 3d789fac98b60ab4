"""What reaches stderr while a command runs: one handler, for people or as JSON, for libraries and warnings, too."""

import json
import logging
import os
import re
import sys
import threading
import warnings
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.markup import escape

from llmrs_bench.core.environment import environment

log = logging.getLogger("llmrs_bench")

_PACKAGE = Path(__file__).parents[1]
_WARNINGS, _LIBRARIES = "py.warnings", "stderr"
# Least levels of loggers, from the first command of a process on; httpx would log every request.
_LEVELS = {log.name: logging.INFO, _WARNINGS: logging.DEBUG, _LIBRARIES: logging.INFO, "httpx": logging.WARNING}
# Set while a command runs, unless the user has set them: libraries and the processes they start draw no bars, write
# their logs to stderr, for results are on stdout, and pydantic reads no lists of plug-ins of its own, ...
_NO_BARS = {
    **{"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1"},
    **{"VLLM_LOGGING_STREAM": "ext://sys.stderr", "PYDANTIC_DISABLE_PLUGINS": "__all__"},
}
# ... and say nothing to people but what has failed; a log as JSON also holds what they warn of.
_FAILURES_ALONE = {"TRANSFORMERS_VERBOSITY": "error", "VLLM_LOGGING_LEVEL": "ERROR", "PYTHONWARNINGS": "ignore"}
_WARNINGS_TOO = {"TRANSFORMERS_VERBOSITY": "warning", "VLLM_LOGGING_LEVEL": "WARNING"}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # a terminal obeys these
_HEADS = {"warning": "[yellow]warning:[/] ", "error": "[bold red]error:[/] "}
_DRAINED_WITHIN = 2.0  # seconds
_LAST_LINES = 20  # of what libraries wrote, for people whose command failed

_terminal = Console(stderr=True, highlight=False, emoji=False)


def terminal() -> Console:
    """Return the console for people: the real stderr, also while what libraries write there is captured."""
    return _terminal


def emit(level: str, message: str, **fields: object) -> None:
    """Log a message of the command itself; `fields` stand beside it in a log as JSON.

    Args:
        level: info, progress, warning or error.
        message: One line.
        fields: JSON values; a `hint` is shown to people, too.
    """
    number = {"warning": logging.WARNING, "error": logging.ERROR}.get(level, logging.INFO)
    log.log(number, "%s", message, extra={"kind": level, "fields": fields})


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, message, the fields of the record, and the logger where it is not ours."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": _level(record),
            "message": record.getMessage(),
            **_fields(record),
        }
        if not _is_own(record):
            line["logger"] = record.name
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class _JsonHandler(logging.Handler):
    """Writes every record as an object: ours from `info` on, and all that libraries warn of or write to stderr."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self.setFormatter(JsonLines())

    def emit(self, record: logging.LogRecord) -> None:
        self._stream.write(self.format(record) + "\n")
        self._stream.flush()


class _TextHandler(logging.Handler):
    """Prints our own records, and the failures that libraries report; keeps the last lines they wrote to stderr."""

    def __init__(self) -> None:
        super().__init__()
        self._written: deque[str] = deque(maxlen=_LAST_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == _LIBRARIES:
            self._written.append(record.getMessage())
            return
        if not _is_own(record) and record.levelno < logging.ERROR:
            return
        terminal().print(_HEADS.get(_level(record), "") + _as_text(record.getMessage()), soft_wrap=True)
        if hint := _fields(record).get("hint"):
            terminal().print(f"[cyan]hint:[/] {_as_text(str(hint))}", soft_wrap=True)

    def show_written(self) -> None:
        """Print what libraries wrote last: it may say why a command failed."""
        if self._written:
            terminal().print("[dim]libraries wrote:[/]")
        for line in self._written:
            terminal().print(f"[dim]  {_as_text(line)}[/]", soft_wrap=True)


def _as_text(text: str) -> str:
    """Return a text that is shown as it is: its brackets are no styles, and a terminal obeys nothing in it."""
    return escape(_CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text))


def _is_own(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] == log.name


def _level(record: logging.LogRecord) -> str:
    return str(getattr(record, "kind", record.levelname.lower()))


def _fields(record: logging.LogRecord) -> Mapping[str, object]:
    fields: Mapping[str, object] = getattr(record, "fields", {})
    return fields


@contextmanager
def logged(as_json: bool) -> Iterator[None]:
    """Send everything that is said inside to stderr, for people or as one JSON object a line.

    Warnings of dependencies, whatever is announced for later versions, and text that libraries and their processes
    write to stderr are in the JSON alone. People see our own messages, the failures that libraries report, and, where a
    command ends with exit code 1 or an exception, the last lines that were written.
    """
    global _terminal  # noqa: PLW0603  # one process has one stderr
    with ExitStack() as stack:
        stack.enter_context(environment({**_NO_BARS, **(_WARNINGS_TOO if as_json else _FAILURES_ALONE)}))
        captured = _Captured()
        stack.callback(captured.close)
        handler = _JsonHandler(captured.real) if as_json else _TextHandler()
        logging.root.addHandler(handler)
        stack.callback(logging.root.removeHandler, handler)
        for name, level in _LEVELS.items():
            if (logger := logging.getLogger(name)).level != level:
                logger.setLevel(level)
        stack.callback(setattr, warnings, "showwarning", warnings.showwarning)
        warnings.showwarning = _log_warning
        before, _terminal = _terminal, captured.console(_terminal)
        try:
            yield
        except BaseException as error:
            captured.drain()
            if isinstance(handler, _TextHandler) and getattr(error, "exit_code", 1) == 1:
                handler.show_written()
            raise
        finally:
            captured.drain()
            _terminal = before


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Log a warning: at debug level, unless our own code gives it and it is about more than later versions."""
    announced = issubclass(category, (DeprecationWarning, PendingDeprecationWarning, FutureWarning))
    if _PACKAGE in Path(filename).parents and not announced:
        emit("warning", str(message))
        return
    extra = {"fields": {"category": category.__name__, "file": filename, "line": lineno}}
    logging.getLogger(_WARNINGS).debug("%s", message, extra=extra)


class _Captured:
    """Makes records of whatever is written to file descriptor 2, by C code and other processes, too.

    `real` is where stderr really goes. Where `sys.stderr` is another object than descriptor 2, nothing is captured, and
    `real` is that object.
    """

    def __init__(self) -> None:
        self.real: TextIO = sys.stderr
        self._capturing = _is_descriptor_2(sys.stderr)
        if not self._capturing:
            return
        self.real = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="backslashreplace")
        self._end, self._drained = f"end of {os.getpid()} {id(self)}", threading.Event()
        reading, writing = os.pipe()
        os.dup2(writing, 2)
        os.close(writing)
        threading.Thread(target=self._read, args=(reading,), name="stderr", daemon=True).start()

    def console(self, otherwise: Console) -> Console:
        """Return a console on the real stderr."""
        return Console(file=self.real, highlight=False, emoji=False) if self._capturing else otherwise

    def drain(self) -> None:
        """Wait until all that was written is a record."""
        if self._capturing:
            sys.stderr.flush()
            self._drained.clear()
            os.write(2, f"\n{self._end}\n".encode())
            self._drained.wait(_DRAINED_WITHIN)

    def close(self) -> None:
        """Give descriptor 2 back."""
        if self._capturing:
            sys.stderr.flush()
            os.dup2(self.real.fileno(), 2)
            self.real.flush()

    def _read(self, reading: int) -> None:
        with os.fdopen(reading, encoding="utf-8", errors="replace") as lines:  # a bar's \r ends a line as \n does
            for line in lines:
                if line.strip() == self._end:
                    self._drained.set()
                elif text := line.strip():
                    logging.getLogger(_LIBRARIES).info("%s", text)


def _is_descriptor_2(stream: TextIO) -> bool:
    try:
        return stream.fileno() == 2
    except (AttributeError, OSError, ValueError):
        return False

"""Everything a person sees while a stage runs: messages, progress and exit codes."""

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import pairwise
from typing import Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from llmrs_bench.cli.logs import emit, log, logged, terminal
from llmrs_bench.core.errors import BenchError
from llmrs_bench.core.types import Step

INTERRUPTED, TERMINATED = 130, 143
stdout = Console(highlight=False, emoji=False)

_json = False


def log_as_json(wanted: bool) -> None:
    """Write what the next command says as one JSON object a line, or for people."""
    global _json  # noqa: PLW0603  # one process has one stderr
    _json = wanted


def say(text: str) -> None:
    """Print a line for people."""
    emit("info", text)


def warn(text: str) -> None:
    """Print a warning."""
    emit("warning", text)


def warn_before(notes: Sequence[str]) -> None:
    """Print warnings about how a command was called, before it runs."""
    with logged(_json):
        for note in notes:
            warn(note)


def fail(text: str, hint: str) -> None:
    """Print an error and what to do next."""
    emit("error", text, hint=hint)


def track(label: str, total: int) -> AbstractContextManager[Step]:
    """Show how many of `total` units are done: a bar on a terminal, else a line every 10 s and one at the end."""
    from llmrs_bench.cli.progress import bar, lines

    return lines(label, total) if _json or not terminal().is_terminal else bar(label, total)


class Terminated(KeyboardInterrupt):
    """SIGTERM came: what is under way ends as after Ctrl-C."""


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM, as schedulers and containers send it, end the command as Ctrl-C does, and keep what it has."""

    def end(signum: int, frame: object) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield  # signals are none of another thread's business
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn every failure into one message and its exit code; the only place that does."""
    global _json  # noqa: PLW0603
    try:
        with logged(_json), _failures():
            yield
    finally:
        _json = False


@contextmanager
def _failures() -> Iterator[None]:
    try:
        with _ended_by_sigterm():
            yield
    except BenchError as error:
        fail(error.message, error.hint)
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt as error:
        fail(
            f"{'terminated' if isinstance(error, Terminated) else 'interrupted'}; nothing half-made was left",
            "The same command goes on: a training after its last epoch, a language model after its last kept answers.",
        )
        raise typer.Exit(TERMINATED if isinstance(error, Terminated) else INTERRUPTED) from error
    except BrokenPipeError as error:
        # The reader of our results went away, as `| head` does; keep the interpreter from complaining again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from error
    except OSError as error:
        fail(str(error), "Check the path, its permissions and the free space.")
        raise typer.Exit(1) from error
    except typer.Exit:
        raise
    except Exception as error:
        if not _json:
            raise
        log.exception("%s: %s", type(error).__name__, error)
        raise typer.Exit(1) from error


class Commands(TyperGroup):
    """The command line, whose wrong options, too, are JSON where `--log json` was typed."""

    def main(self, args: Sequence[str] | None = None, *others: Any, **more: Any) -> Any:
        """Run a command, and leave with its exit code."""
        typed = list(sys.argv[1:] if args is None else args)
        if unreadable := next((text for text in typed if not _is_unicode(text)), None):
            with logged(_asks_for_json(typed)):
                fail(f"{unreadable!a} is not UTF-8", "Type it in UTF-8; a file of that name has to be renamed.")
            sys.exit(2)
        if not _asks_for_json(typed):
            return super().main(typed, *others, **more)
        try:
            code = super().main(typed, *others, **{**more, "standalone_mode": False})
        except Exception as error:
            if not hasattr(error, "format_message"):  # no mistake in what was typed
                raise
            with logged(as_json=True):
                fail(error.format_message(), "Run the command with --help.")
            code = getattr(error, "exit_code", 2)
        sys.exit(code)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _asks_for_json(typed: Sequence[str]) -> bool:
    return "--log=json" in typed or ("--log", "json") in pairwise(typed)


def finish(done: Any, more: str = "") -> None:
    """Say where the artifact of a stage is, and write its name to stdout."""
    for warning in done.warnings:
        warn(warning)
    say(f"{'made' if done.fresh else 'already there'}: {done.artifact.path}")
    typer.echo(done.name + more)

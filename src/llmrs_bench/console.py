"""Everything a person sees while a stage runs: Rich messages and progress, on stderr."""

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar
from rich.text import Text

from llmrs_bench.errors import BenchError
from llmrs_bench.report.words import number
from llmrs_bench.types import Step

INTERRUPTED, TERMINATED = 130, 143
stderr = Console(stderr=True, highlight=False)
stdout = Console(highlight=False)


_json = False


def log_as_json(wanted: bool) -> None:
    """Write every message as one JSON object a line, or for people."""
    global _json  # noqa: PLW0603  # one process has one stderr
    _json = wanted


def _emit(level: str, **fields: object) -> None:
    line = json.dumps({"time": datetime.now(UTC).isoformat(), "level": level, **fields}, ensure_ascii=False)
    sys.stderr.write(line + "\n")


def say(text: str) -> None:
    """Print a line for people."""
    if _json:
        _emit("info", message=text)
    else:
        stderr.print(escape(text), soft_wrap=True)


def warn(text: str) -> None:
    """Print a warning."""
    if _json:
        _emit("warning", message=text)
    else:
        stderr.print(f"[yellow]warning:[/] {escape(text)}", soft_wrap=True)


def fail(text: str, hint: str) -> None:
    """Print an error and what to do next."""
    if _json:
        _emit("error", message=text, hint=hint)
        return
    stderr.print(f"[bold red]error:[/] {escape(text)}", soft_wrap=True)
    if hint:
        stderr.print(f"[cyan]hint:[/] {escape(hint)}", soft_wrap=True)


class _Rate(ProgressColumn):
    """Units done in a second."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{number(task.speed)}/s", "progress.data.speed")


@contextmanager
def track(label: str, total: int) -> Iterator[Step]:
    """Show a bar with rate and time left; where stderr is no terminal, a line for each tenth of `total` units."""
    if _json or not stderr.is_terminal:
        yield _tenths(label, total)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    known = total
    with Bar(*columns, console=stderr) as bar:
        task = bar.add_task(label, total=total, note="")

        def step(done: int, note: str = "", total: int | None = None) -> None:
            bar.update(task, completed=done, total=total or known, note=escape(note))

        yield step


def _tenths(label: str, total: int) -> Step:
    said = 0
    first: tuple[int, float] | None = None

    known = total

    def step(done: int, note: str = "", total: int | None = None) -> None:
        nonlocal said, first, known
        known = total or known
        now = perf_counter()
        first = first or (done, now)
        if (tenth := 10 * done // max(known, 1)) <= said:
            return
        said = tenth
        # What was done before the first sign says nothing about speed: it may be an earlier, interrupted run's.
        rate = (done - first[0]) / (now - first[1]) if done > first[0] else None
        _say_progress(label, done, known, rate, note)

    return step


def _say_progress(label: str, done: int, total: int, rate: float | None, note: str) -> None:
    left = (total - done) / rate if rate and done < total else None
    if _json:
        _emit("progress", label=label, done=done, total=total, per_second=rate, seconds_left=left, note=note)
        return
    tail = "" if rate is None else f", {number(rate)}/s"
    tail += "" if left is None else f", {timedelta(seconds=round(left))} left"
    say(f"{label}: {done:,} of {total:,} {note}".rstrip() + tail)


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


def finish(done: Any, more: str = "") -> None:
    """Say where the artifact of a stage is, and write its name to stdout."""
    for warning in done.warnings:
        warn(warning)
    say(f"{'made' if done.fresh else 'already there'}: {done.artifact.path}")
    typer.echo(done.name + more)

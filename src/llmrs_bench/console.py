"""Everything a person sees while a stage runs: Rich messages and progress, on stderr."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from time import perf_counter

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from llmrs_bench.errors import BenchError
from llmrs_bench.types import Step

INTERRUPTED = 130
stderr = Console(stderr=True, highlight=False)
stdout = Console(highlight=False)


def say(text: str) -> None:
    """Print a line for people."""
    stderr.print(escape(text), soft_wrap=True)


def warn(text: str) -> None:
    """Print a warning."""
    stderr.print(f"[yellow]warning:[/] {escape(text)}", soft_wrap=True)


def fail(text: str, hint: str) -> None:
    """Print an error and what to do next."""
    stderr.print(f"[bold red]error:[/] {escape(text)}", soft_wrap=True)
    if hint:
        stderr.print(f"[cyan]hint:[/] {escape(hint)}", soft_wrap=True)


@contextmanager
def track(label: str, total: int) -> Iterator[Step]:
    """Show a bar with the time left; where stderr is no terminal, a line for each tenth of `total` units."""
    if not stderr.is_terminal:
        yield _tenths(label, total)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=stderr) as bar:
        task = bar.add_task(label, total=total, note="")

        def step(done: int, note: str = "") -> None:
            bar.update(task, completed=done, note=escape(note))

        yield step


def _tenths(label: str, total: int) -> Step:
    said = 0
    first: tuple[int, float] | None = None

    def step(done: int, note: str = "") -> None:
        nonlocal said, first
        now = perf_counter()
        first = first or (done, now)
        if (tenth := 10 * done // max(total, 1)) > said:
            said = tenth
            # What was done before the first sign says nothing about speed: it may be an earlier, interrupted run's.
            pace = (now - first[1]) / (done - first[0]) if done > first[0] else 0.0
            left = f", {timedelta(seconds=round(pace * (total - done)))} left" if pace and done < total else ""
            say(f"{label}: {done:,} of {total:,} {note}".rstrip() + left)

    return step


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn every failure into one message and its exit code; the only place that does."""
    try:
        yield
    except BenchError as error:
        fail(error.message, error.hint)
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt as error:
        fail(
            "interrupted; nothing half-made was left",
            "The same command starts the stage again; a training goes on after its last epoch.",
        )
        raise typer.Exit(INTERRUPTED) from error
    except BrokenPipeError as error:
        # The reader of our results went away, as `| head` does; keep the interpreter from complaining again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from error
    except OSError as error:
        fail(str(error), "Check the path, its permissions and the free space.")
        raise typer.Exit(1) from error

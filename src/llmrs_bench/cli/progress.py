"""How far a long job is: a bar on a terminal, a line now and then elsewhere."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from time import perf_counter

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

from llmrs_bench.cli.logs import emit, terminal
from llmrs_bench.core.formatting import number
from llmrs_bench.core.types import Step

FIRST_AFTER, EVERY = 3.0, 10.0  # seconds: from the beginning to the first line, and between lines
_TICK = 1.0  # seconds between looks at the clock


class _Rate(ProgressColumn):
    """Units done in a second."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{number(task.speed)}/s", "progress.data.speed")


@contextmanager
def bar(label: str, total: int) -> Iterator[Step]:
    """Show a bar with rate and time left."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=terminal(), redirect_stdout=False, redirect_stderr=False) as shown:
        task, known = shown.add_task(label, total=total, note=""), total

        def step(done: int, note: str = "", total: int | None = None) -> None:
            nonlocal known
            known = max(total or known, done)  # a job may turn out to be longer than was known when it began
            shown.update(task, completed=done, total=known, note=escape(note))

        yield step


@contextmanager
def lines(label: str, total: int) -> Iterator[Step]:
    """Write lines of progress while the job goes on, and a last one when it ends or fails."""
    shown, over = Lines(label, total), threading.Event()

    def watch() -> None:
        while not over.wait(_TICK):
            shown.tick()

    watching = threading.Thread(target=watch, name=f"progress of {label}", daemon=True)
    watching.start()
    try:
        yield shown.step
    finally:
        over.set()
        watching.join()
        shown.close()


class Lines:
    """Decides when a line of progress is due: after 3 s, then every 10 s, and at the end.

    Args:
        label: What the job is called.
        total: Units of the job; the total grows with what is done.
        clock: Seconds that never go back.
    """

    def __init__(self, label: str, total: int, *, clock: Callable[[], float] = perf_counter) -> None:
        self._label, self._total, self._clock = label, total, clock
        self._lock = threading.Lock()
        self._done, self._note = 0, ""
        # Units and seconds at the first sign, and at the first units after it: a model may be loaded between them.
        self._first: tuple[int, float] | None = None
        self._loaded: tuple[int, float] | None = None
        self._due = clock() + FIRST_AFTER
        self._open = False  # has something been done that no line tells of?

    def step(self, done: int, note: str = "", total: int | None = None) -> None:
        """Take note of how many units are done, and of all there will be where that has changed."""
        with self._lock:
            now = self._clock()
            self._open |= (done, note, total or self._total) != (self._done, self._note, self._total)
            self._total = total or self._total
            if self._first is None:
                self._first = (done, now)
            elif done == self._first[0]:  # nothing was done since
                if not note:  # a model was loaded, and checked, and begins now
                    self._first = (done, now)
            elif self._loaded is None and done > self._first[0]:
                self._loaded = (done, now)
            self._done, self._note = done, note
            self._write_if_due(now)

    def tick(self) -> None:
        """Write a line if one is due; called while no unit ends."""
        with self._lock:
            self._write_if_due(self._clock())

    def close(self) -> None:
        """Write the last line, unless the line before it says the same."""
        with self._lock:
            if self._open:
                self._write(self._clock())

    def _write_if_due(self, now: float) -> None:
        if now >= self._due:
            self._write(now)

    def _write(self, now: float) -> None:
        self._due, self._open = now + EVERY, False
        done, total = self._done, max(self._total, self._done)
        rate = self._rate(now)
        left = (total - done) / rate if rate and done < total else None
        text = f"{self._label}: {done:,} of {total:,} {self._note}".rstrip()
        text += "" if rate is None else f", {number(rate)}/s"
        text += "" if left is None else f", {timedelta(seconds=round(left))} left"
        emit(
            "progress",
            text,
            label=self._label,
            done=done,
            total=total,
            per_second=rate,
            seconds_left=left,
            note=self._note,
        )

    def _rate(self, now: float) -> float | None:
        """Return units a second; what was done before the first sign, by an earlier run perhaps, says nothing of it."""
        for start in (self._loaded, self._first):
            if start is not None and self._done > start[0] and now > start[1]:
                return (self._done - start[0]) / (now - start[1])
        return None

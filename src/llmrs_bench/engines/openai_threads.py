"""Work that waits for a server, several pieces at a time, given back as soon as it is done."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Condition, Event, Thread
from typing import Generic, TypeVar

Task = TypeVar("Task")
Done = TypeVar("Done")
_NOTHING_LEFT = object()


class Gate:
    """Lets so many threads in at a time, and never more again once it was narrowed.

    Args:
        most: How many at first.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._inside = 0
        self._changed = Condition()

    @property
    def most(self) -> int:
        """How many may be inside at a time."""
        return self._most

    @contextmanager
    def inside(self) -> Iterator[int]:
        """Wait for a place, and give how many there are."""
        with self._changed:
            self._changed.wait_for(lambda: self._inside < self._most)
            self._inside += 1
            most = self._most
        try:
            yield most
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify()

    def halve(self, most: int) -> int | None:
        """Leave half as many places as there are threads inside, and return how many that are.

        Those who run into trouble together narrow it once: None where there are already fewer places than the `most`
        that a thread was let in with, or no more than one.
        """
        with self._changed:
            if self._most != most or most == 1:
                return None
            self._most = max(1, self._inside // 2)
            return self._most


@dataclass(frozen=True, slots=True)
class _Failed:
    error: BaseException


class _Crew(Generic[Task, Done]):
    """Threads that take tasks, one more for each task until there are enough.

    They are daemons: an interrupted command ends at once instead of waiting for a server.
    """

    def __init__(self, work: Callable[[Task, Event], Done], tasks: Iterable[Task], workers: int) -> None:
        self.work = work
        self.workers = workers
        self.stopped = Event()
        self.failure: BaseException | None = None
        self.busy = 0
        self._tasks = iter(tasks)
        self._given: SimpleQueue[Task | object] = SimpleQueue()
        self._done: SimpleQueue[Done | _Failed] = SimpleQueue()
        self._threads = 0

    def fill(self) -> None:
        """Give out tasks until all workers have one, none is left, or something failed."""
        while self.busy < self.workers and self.failure is None:
            try:
                task = next(self._tasks, _NOTHING_LEFT)
            except Exception as error:  # noqa: BLE001 - raised when what is under way is done
                self.fail(error)
                return
            if task is _NOTHING_LEFT:
                return
            if self._threads < self.workers:
                self._threads += 1
                Thread(target=self._serve, name=f"request-{self._threads}", daemon=True).start()
            self._given.put(task)
            self.busy += 1

    def take(self) -> Done | _Failed:
        """Wait for the next outcome."""
        outcome = self._done.get()
        self.busy -= 1
        return outcome

    def fail(self, error: BaseException) -> None:
        """Remember the first failure, and give out no more."""
        self.failure = self.failure or error
        self.stopped.set()

    def dismiss(self) -> None:
        """Let each thread end after what it is at."""
        self.stopped.set()
        for _ in range(self._threads):
            self._given.put(_NOTHING_LEFT)

    def _serve(self) -> None:
        while (task := self._given.get()) is not _NOTHING_LEFT:
            try:
                outcome: Done | _Failed = self.work(task, self.stopped)  # type: ignore[arg-type]
            except BaseException as error:  # noqa: BLE001 - raised in the thread that asked
                outcome = _Failed(error)
            self._done.put(outcome)


def spread(work: Callable[[Task, Event], Done], tasks: Iterable[Task], *, workers: int) -> Iterator[Done]:
    """Yield what `work` makes of each task, in the order in which they are done.

    Tasks are taken in this thread, each when a worker is free for it. After a failure no more are taken; what is
    under way is waited for and yielded, and then the first failure is raised.

    Args:
        work: Called in another thread with a task and an event, which is set once no further tries are wanted.
        tasks: Any number.
        workers: The most pieces of work at a time.
    """
    crew = _Crew(work, tasks, workers)
    try:
        crew.fill()
        while crew.busy:
            outcome = crew.take()
            if isinstance(outcome, _Failed):
                crew.fail(outcome.error)
                continue
            crew.fill()
            yield outcome
    finally:
        crew.dismiss()
    if crew.failure is not None:
        raise crew.failure

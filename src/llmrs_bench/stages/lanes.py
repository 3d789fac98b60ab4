"""Rows of a study that several servers answer at once: each server takes the next row that is ready."""

import gc
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from llmrs_bench.core.environment import prints_on_stderr
from llmrs_bench.llm.cost import Budget, StoppedError
from llmrs_bench.stages.serving import OpenEngine
from llmrs_bench.stages.study import RowPlan

if TYPE_CHECKING:
    from collections.abc import Iterator

Attempt = Callable[[RowPlan, OpenEngine], None]
_ENDING = 10.0  # seconds that rows have to keep their answers after Ctrl-C


def run_rows(rows: Sequence[RowPlan], budget: Budget, attempt: Attempt) -> None:
    """Run rows, each after those that it needs.

    Rows of one server, and of models on this machine, run one after the other, in the order given. Where rows name
    several servers, those of each run beside those of the others; a row that any of several may answer goes to the one
    that is free. Models on this machine run while no server is asked, so that their seconds are their own.

    Args:
        rows: In the order in which they share most.
        budget: What all of them may spend; its seconds are those of each server.
        attempt: Runs a row with an engine. What it raises ends all rows; those under way stop after their next answer,
            and keep what they have.

    Raises:
        BaseException: The first that `attempt` raised.
    """
    servers = list(dict.fromkeys(server for row in rows for server in row.servers))
    waiting = list(rows)
    with closing(OpenEngine(budget)) as engines:
        while waiting:
            here = [row for row in waiting if not row.servers or len(servers) < 2]
            if ready := _ready(here, waiting):
                waiting.remove(ready[0])
                attempt(ready[0], engines)
            else:
                _side_by_side(waiting, servers, budget, attempt)


def _ready(rows: Iterable[RowPlan], unfinished: Sequence[RowPlan]) -> list[RowPlan]:
    """Return the rows that show nothing of one that is not finished."""
    open_names = {(row.data, row.name) for row in unfinished}
    return [row for row in rows if open_names.isdisjoint(row.needs)]


def _side_by_side(waiting: list[RowPlan], servers: Sequence[str], budget: Budget, attempt: Attempt) -> None:
    """Run rows of servers, and take them out of those that wait, until none is left that could run."""
    lanes = _Lanes(waiting, attempt)
    parts = budget.divided(len(servers))
    threads = [
        threading.Thread(target=lanes.work, args=(server, part), name=f"rows of {server}", daemon=True)
        for server, part in zip(servers, parts, strict=True)
    ]
    with prints_on_stderr(), _same_collector():
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.1)
        except BaseException:
            budget.stop()
            for thread in threads:
                thread.join(_ENDING)
            raise
    budget.spent_seconds = max(part.spent_seconds for part in parts)
    if lanes.failure is not None:
        raise lanes.failure


@contextmanager
def _same_collector() -> "Iterator[None]":
    """Leave the thresholds of Python's garbage collector as they were, in whichever order rows end."""
    before = gc.get_threshold()
    try:
        yield
    finally:
        gc.set_threshold(*before)


class _Lanes:
    """Hands rows to the threads of servers."""

    def __init__(self, waiting: list[RowPlan], attempt: Attempt) -> None:
        self.failure: BaseException | None = None
        self._waiting, self._attempt = waiting, attempt
        self._running: list[RowPlan] = []
        self._changed = threading.Condition()

    def work(self, server: str, budget: Budget) -> None:
        """Run rows of a server, one after the other, until there are none for it."""
        with closing(OpenEngine(budget, server=server or None)) as engines:
            last = None
            while (row := self._next(server, last)) is not None:
                try:
                    self._attempt(row, engines)
                except BaseException as error:  # noqa: BLE001 - raised again in the main thread
                    with self._changed:
                        if self.failure is None and not isinstance(error, StoppedError):
                            self.failure = error
                    budget.stop()
                with self._changed:
                    self._running.remove(row)
                    self._changed.notify_all()
                last = row

    def _next(self, server: str, last: RowPlan | None) -> RowPlan | None:
        """Take the next row of a server, of the model of its last one if there is such; wait for what rows need."""
        with self._changed:
            while self.failure is None:
                own = [row for row in self._waiting if server in row.servers]
                ready = _ready(own, [*self._waiting, *self._running])
                if ready:
                    row = next((row for row in ready if last is not None and row.model == last.model), ready[0])
                    self._waiting.remove(row)
                    self._running.append(row)
                    return row
                if not own or not self._running:
                    return None
                self._changed.wait()
        return None

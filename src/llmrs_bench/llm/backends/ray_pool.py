"""Actors of a Ray cluster, each with an engine, and the work they are given."""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmrs_bench.core.errors import BenchError, EngineError
from llmrs_bench.core.registry import ENGINES
from llmrs_bench.core.types import Json, Prompt, Response
from llmrs_bench.llm.base import Engine
from llmrs_bench.llm.model_aliases import ModelSpec


@dataclass(frozen=True, slots=True)
class Build:
    """What a worker makes its engine from.

    Args:
        engine: Its registered name.
        model: Where the weights are; a local folder has to lie at the same path on every machine.
        options: Those of the engine, by name.
        device: `auto`, `cpu` or `cuda`.
        seed: Of the engine.
        threads: How many threads compute.
    """

    engine: str
    model: ModelSpec
    options: Mapping[str, Any]
    device: str
    seed: int
    threads: int


class Worker:
    """An engine in a process of its own, loaded by the first call that needs it, also after Ray restarted it."""

    def __init__(self, build: Build) -> None:
        os.environ["OMP_NUM_THREADS"] = str(build.threads)  # read when the engine imports PyTorch
        # vLLM would bind the workers of one machine to the same cores.
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        self._build = build
        self._engine: Engine | None = None

    def pid(self) -> int:
        """Return the process id; answered as soon as the worker has a place."""
        return os.getpid()

    def context(self) -> int:
        """Return the context of the engine."""
        return self._loaded().context

    def count_tokens(self, prompts: Sequence[Prompt]) -> list[int]:
        """Return how many tokens each prompt takes."""
        return self._loaded().count_tokens(prompts)

    def check(self, prompts: Sequence[Prompt]) -> None:
        """Compare two ways of answering some of the prompts."""
        self._loaded().check(prompts)

    def batches(self, prompts: Sequence[Prompt]) -> list[Sequence[Prompt]]:
        """Cut prompts as the engine does."""
        return list(self._loaded().batches(prompts))

    def answer(self, prompts: Sequence[Prompt]) -> list[Response]:
        """Answer each prompt once."""
        return list(self._loaded().answer(prompts))

    def facts(self) -> dict[str, Json]:
        """Return the facts of the engine."""
        return self._loaded().facts()

    def reset_cache(self) -> None:
        """Drop what earlier prompts left behind."""
        self._loaded().reset_cache()

    def close(self) -> None:
        """Stop the engine, if there is one."""
        if self._engine is not None:
            self._engine.close()

    def _loaded(self) -> Engine:
        if self._engine is None:
            build, kind = self._build, ENGINES.load(self._build.engine)
            options = kind.Options.parse(build.options, owner=build.engine)
            self._engine = kind(build.model, options, device=build.device, seed=build.seed)
        return self._engine


log = logging.getLogger(__name__)
_PASSED_OVER = 256  # parts that wait for the worker that has read their prompts, before others take them
_READERS = 100_000  # prompts of which it is known who has read them
_AHEAD = 2  # parts that lie with a worker, so that it need not wait for its next one
_DEATHS = 3  # workers that one part may cost: beyond that it is the part that kills them
_START_SECONDS = 300.0  # for a place on the cluster; loading a model has all the time it takes
_LOOK_SECONDS = 30.0  # between two looks at the cluster while no worker is left
_CLOSE_SECONDS = 20.0  # for engines to stop their own processes
_LESS = "Lower `-O workers`, `-O cpus_per_worker` or `-O gpus_per_worker`, or add machines to the cluster."


@dataclass(slots=True)
class _Part:
    number: int
    prompts: Sequence[Prompt]
    deaths: int = 0


class _Parts:
    """Those that were lost first, then the next ones, which are cut when they are needed.

    Args:
        parts: All of them.
        readers: Which worker has read a prompt before, by prompt id: it remembers its tokens, and gets it first.
    """

    def __init__(self, parts: Iterable[Sequence[Prompt]], readers: Mapping[str, int]) -> None:
        self._fresh = enumerate(parts)
        self._readers = readers
        self._lost: list[_Part] = []
        self._others: list[_Part] = []  # passed over, as another worker has read them

    def take(self, worker: int) -> _Part | None:
        if self._lost:
            return self._lost.pop()
        for place, part in enumerate(self._others):
            if self._is_for(worker, part):
                return self._others.pop(place)
        while len(self._others) < _PASSED_OVER:
            number, prompts = next(self._fresh, (0, None))
            if prompts is None:
                break
            part = _Part(number, prompts)
            if self._is_for(worker, part):
                return part
            self._others.append(part)
        return self._others.pop() if self._others else None

    def put_back(self, part: _Part) -> None:
        self._lost.append(part)

    def _is_for(self, worker: int, part: _Part) -> bool:
        return self._readers.get(part.prompts[0].prompt_id, worker) == worker


class _DiedError(Exception):
    """A worker died, or cannot be reached; `away`: it is being started again."""

    def __init__(self, said: str, *, away: bool = False) -> None:
        super().__init__(said)
        self.away = away


class ActorPool:
    """Workers of one build, with all that Ray has yet to return.

    Ray restarts a worker that died. Until it has loaded its engine again, or for ever if its machine is gone, the
    others do its work.

    Args:
        ray: The module, connected to a cluster.
        build: What the workers make their engines from.
        workers: How many there are.
        cpus: Reserved for each, logical ones.
        gpus: Reserved for each.

    Raises:
        EngineError: If the cluster has no room for all workers, or one dies while it loads its engine.
        BenchError: What the engine raised while it was loaded.
    """

    def __init__(self, ray: Any, build: Build, *, workers: int, cpus: float, gpus: float) -> None:
        self.deaths = 0
        self._ray = ray
        self._place = (cpus, gpus)
        self._require_room(workers)
        actor = ray.remote(num_cpus=cpus, num_gpus=gpus, max_restarts=-1)(Worker)
        self._workers = [actor.remote(build) for _ in range(workers)]
        self._live: list[int] = []
        # What was asked of which worker; without a part, to come (back) to life.
        self._asked: dict[Any, tuple[int, _Part | None]] = {}
        self._contexts: dict[int, int] = {}
        self._readers: dict[str, int] = {}

    def start(self) -> list[int]:
        """Wait until all workers have loaded their engines, and return their contexts."""
        first = [worker.pid.options(max_task_retries=_DEATHS).remote() for worker in self._workers]
        placed, missing = self._ray.wait(first, num_returns=len(first), timeout=_START_SECONDS)
        if missing:
            raise EngineError(
                f"only {len(placed)} of {len(first)} workers found a place on the Ray cluster "
                f"in {_START_SECONDS:g} seconds: other jobs use the rest",
                hint=f"Wait until `ray status` shows free resources. {_LESS}",
            )
        for index in range(len(self._workers)):
            self._revive(index)
        while self._asked:
            ref = self._first()
            try:
                self._revived(self._asked.pop(ref)[0], self._read(ref))
            except _DiedError as error:
                raise EngineError(
                    f"a Ray worker died {_DEATHS + 1} times while it loaded the model: {error}",
                    hint=f"Its machine may be out of memory. {_LESS}",
                ) from error
        return list(self._contexts.values())

    @property
    def busy(self) -> bool:
        """Whether workers have parts that nobody has taken back yet."""
        return any(part is not None for _, part in self._asked.values())

    def spread(self, method: str, parts: Iterable[Sequence[Prompt]]) -> Iterator[tuple[int, Any]]:
        """Yield the number of each part and what `method` of a worker makes of it, in the order they are done.

        A worker gets the parts first whose prompts it has read, for counting or cutting them.

        Raises:
            EngineError: If a part was lost with several workers, or no worker is left.
            BenchError: What an engine raised.
        """
        todo = _Parts(parts, self._readers)
        self._asked = {ref: (index, part) for ref, (index, part) in self._asked.items() if part is None}
        while True:
            self._hand_out(method, todo)
            if self._live and not self.busy:
                return
            ref = self._first()
            index, part = self._asked.pop(ref)
            try:
                found = self._read(ref)
            except _DiedError as error:
                self._lost(index, part, todo, error)
                continue
            if part is None:
                self._revived(index, found)
                continue
            if len(self._readers) > _READERS:
                self._readers.clear()
            self._readers |= dict.fromkeys((prompt.prompt_id for prompt in part.prompts), index)
            self._hand_out(method, todo)  # first, as whoever takes the result may take long
            yield part.number, found

    def each(self, method: str, *arguments: Any) -> list[Any]:
        """Return what `method` says on every worker that lives."""
        found = []
        for index, ref in [(index, getattr(self._workers[index], method).remote(*arguments)) for index in self._live]:
            try:
                found.append(self._read(ref))
            except _DiedError as error:
                self._mourn(index, error)
        return found

    def stop(self) -> None:
        """Stop the engines, unless they are at work, and end the workers."""
        if not self.busy:
            closing = [self._workers[index].close.remote() for index in self._live]
            self._ray.wait(closing, num_returns=len(closing), timeout=_CLOSE_SECONDS) if closing else None
        for worker in self._workers:
            self._ray.kill(worker, no_restart=True)

    def _hand_out(self, method: str, todo: _Parts) -> None:
        """Give every live worker parts, the idle ones first."""
        for level in range(_AHEAD):
            for index in self._live:
                has = sum(index == owner for owner, _ in self._asked.values())
                if has <= level and (part := todo.take(index)) is not None:
                    self._asked[getattr(self._workers[index], method).remote(part.prompts)] = (index, part)

    def _first(self) -> Any:
        """Return what is done first."""
        while self._asked:
            done, _ = self._ray.wait(list(self._asked), num_returns=1, timeout=_LOOK_SECONDS)
            if done:
                return done[0]
            if not self._live:
                self._require_room(1)
                log.info("waiting for Ray workers to load the model")
        raise EngineError("no Ray worker is left", hint="See the logs in /tmp/ray of the machines they ran on.")

    def _read(self, ref: Any) -> Any:
        """Return a result; what an engine raised is raised as it was."""
        try:
            return self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, BenchError):
                raise error.cause from None
            raise
        except self._ray.exceptions.RayError as error:
            if getattr(error, "actor_init_failed", False):
                raise EngineError(
                    f"a Ray worker cannot start: {str(error).strip().splitlines()[-1]}",
                    hint="Install the same llmrs-bench, with the extras of its engine, on every machine.",
                ) from error
            away = isinstance(error, self._ray.exceptions.ActorUnavailableError)
            raise _DiedError(str(error), away=away) from error

    def _lost(self, index: int, part: _Part | None, todo: _Parts, error: _DiedError) -> None:
        if part is None and error.away:  # it takes longer to start than Ray waits for it
            if not self._live:
                self._require_room(1)
            self._revive(index)
            return
        if part is None:
            log.warning("a Ray worker could not be restarted: %s", error)
            return
        part.deaths += 1
        if part.deaths > _DEATHS:
            raise EngineError(
                f"{part.deaths} Ray workers died on the same batch of {len(part.prompts)}: {error}",
                hint="Their machines may be out of memory: give the engine less memory, or run fewer workers on a "
                "machine.",
            ) from error
        todo.put_back(part)
        self._mourn(index, error)

    def _mourn(self, index: int, error: _DiedError) -> None:
        if index in self._live:
            log.warning("a Ray worker died; the others do its work until it is restarted: %s", error)
            self.deaths += 1
            self._live.remove(index)
            self._revive(index)

    def _revive(self, index: int) -> None:
        ref = self._workers[index].context.options(max_task_retries=_DEATHS).remote()
        self._asked[ref] = (index, None)

    def _revived(self, index: int, context: int) -> None:
        self._contexts[index] = context
        self._live.append(index)

    def _require_room(self, workers: int) -> None:
        room, (cpus, gpus) = 0, self._place
        for node in self._ray.nodes():
            if node["Alive"]:
                room += _holds(node["Resources"], cpus, gpus)
        if room < workers:
            raise EngineError(
                f"the Ray cluster has room for {room} workers of {cpus:g} CPUs and {gpus:g} GPUs, not for {workers}",
                hint=_LESS,
            )


def _holds(resources: Mapping[str, float], cpus: float, gpus: float) -> int:
    """Return how many workers a machine could hold if it did nothing else."""
    wanted = {"CPU": cpus, "GPU": gpus}
    return min(int(resources.get(name, 0.0) / amount + 1e-6) for name, amount in wanted.items() if amount)

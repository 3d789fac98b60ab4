"""A worker on a Ray cluster: an engine in a process of its own."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmrs_bench.catalog import ModelSpec
from llmrs_bench.engines.protocol import Engine
from llmrs_bench.registry import ENGINES
from llmrs_bench.types import Json, Prompt, Response


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
    """An engine in a process of its own, loaded by the first call that needs it, also where Ray started it anew."""

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

    def needs(self, prompts: Sequence[Prompt]) -> list[int]:
        """Return how many tokens each prompt takes."""
        return self._loaded().needs(prompts)

    def batches(self, prompts: Sequence[Prompt]) -> list[Sequence[Prompt]]:
        """Cut prompts as the engine does."""
        return list(self._loaded().batches(prompts))

    def check(self, prompts: Sequence[Prompt]) -> None:
        """Compare two ways of answering some of the prompts."""
        self._loaded().check(prompts)

    def answer(self, prompts: Sequence[Prompt]) -> list[Response]:
        """Answer each prompt once."""
        return list(self._loaded().answer(prompts))

    def facts(self) -> dict[str, Json]:
        """Return the facts of the engine."""
        return self._loaded().facts()

    def forget(self) -> None:
        """Drop what earlier prompts left behind."""
        self._loaded().forget()

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

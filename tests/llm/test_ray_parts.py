"""Which worker of a Ray cluster gets which prompts, seen on a stand-in for Ray."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

from llmrs_bench.core.types import Message, Prompt
from llmrs_bench.llm.backends import ray_pool
from llmrs_bench.llm.backends.ray_pool import ActorPool, Build
from llmrs_bench.llm.model_aliases import ModelSpec

BUILD = Build("mock", ModelSpec("mock", "mock"), {}, "cpu", 0, threads=1)
PROMPTS = [Prompt(f"p{number}", f"p{number}", (Message("user", "Which?"),), ()) for number in range(24)]
Call = tuple[int, str, tuple[str, ...]]  # worker, method, prompts


class Ref:
    """A call of a worker, which waits until somebody asks for its result."""

    def __init__(self, worker: int, call: Callable[[], Any]) -> None:
        self.worker, self.call = worker, call


class FakeRay:
    """Runs calls one after the other, in their order, but those of `first` before all others.

    Args:
        first: A worker; None: none is preferred.
    """

    exceptions = SimpleNamespace(RayTaskError=ZeroDivisionError, RayError=ZeroDivisionError)

    def __init__(self, first: int | None = None) -> None:
        self.calls: list[Call] = []
        self.first = first
        self._made = count()

    def remote(self, **_: float) -> Callable[[type], Any]:
        return lambda kind: SimpleNamespace(remote=lambda build: self._handle(kind(build), next(self._made)))

    def _handle(self, worker: Any, number: int) -> Any:
        def method(name: str) -> Any:
            def call(*arguments: Any) -> Any:
                self.calls += [(number, name, tuple(one.prompt_id for one in prompts)) for prompts in arguments]
                return getattr(worker, name)(*arguments)

            made = SimpleNamespace(remote=lambda *arguments: Ref(number, partial(call, *arguments)))
            made.options = lambda **_: made
            return made

        return SimpleNamespace(**{name: method(name) for name in ("pid", "context", "batches", "answer")})

    def wait(self, refs: list[Ref], *, num_returns: int, timeout: float) -> tuple[list[Ref], list[Ref]]:
        ordered = sorted(refs, key=lambda ref: ref.worker != self.first)
        return ordered[:num_returns], ordered[num_returns:]

    def get(self, ref: Ref) -> Any:
        return ref.call()

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": 8.0}}]


def pool(ray: FakeRay, workers: int) -> ActorPool:
    made = ActorPool(ray, BUILD, workers=workers, cpus=1, gpus=0)
    made.start()
    return made


def parts(size: int) -> list[list[Prompt]]:
    return [PROMPTS[start : start + size] for start in range(0, len(PROMPTS), size)]


def who(ray: FakeRay, method: str) -> dict[str, int]:
    return {prompt: worker for worker, name, prompts in ray.calls if name == method for prompt in prompts}


def test_a_prompt_is_answered_by_the_worker_that_has_read_it() -> None:
    ray = FakeRay()
    made = pool(ray, 3)
    assert sorted(number for number, _ in made.spread("batches", parts(4))) == list(range(6))
    found = [response.prompt_id for _, some in made.spread("answer", parts(2)[::-1]) for response in some]
    assert sorted(found) == sorted(prompt.prompt_id for prompt in PROMPTS)
    assert set(who(ray, "batches").values()) == {0, 1, 2}
    assert who(ray, "answer") == who(ray, "batches")


def test_a_worker_without_prompts_of_its_own_takes_those_of_others() -> None:
    ray = FakeRay()
    made = pool(ray, 2)
    list(made.spread("batches", [PROMPTS]))
    assert set(who(ray, "batches").values()) == {0}
    list(made.spread("answer", parts(2)))
    assert set(who(ray, "answer").values()) == {0, 1}
    assert len(who(ray, "answer")) == len(PROMPTS)


def test_prompts_are_not_hoarded_for_a_worker_that_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_pool, "_PASSED_OVER", 2)
    ray = FakeRay()
    made = pool(ray, 2)
    list(made.spread("batches", [PROMPTS]))  # the first worker reads all
    ray.first = 1
    taken = 0

    def counted() -> Iterator[list[Prompt]]:
        nonlocal taken
        for part in parts(2):
            taken += 1
            yield part

    given = made.spread("answer", counted())
    next(given)
    assert taken <= 2 + 2 * ray_pool._AHEAD + 1
    list(given)
    assert len(who(ray, "answer")) == len(PROMPTS)

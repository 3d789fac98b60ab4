"""Workers on a local Ray cluster answer as one process does, whatever happens to them."""

import os
import random
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pytest

from llmrs_bench.core.errors import EngineError, ModelError
from llmrs_bench.core.registry import ENGINES
from llmrs_bench.core.types import Message, Prompt, Response
from llmrs_bench.llm.backends import ray_pool
from llmrs_bench.llm.backends.ray import RayEngine, RayOptions
from llmrs_bench.llm.backends.ray_pool import Worker
from llmrs_bench.llm.model_aliases import ModelSpec
from tiny_models import choice_prompt, text_prompt, tiny_llama

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow

WINDOW = 64
CPUS = 8  # of the first machine


def label_prompt(name: str, *, history: int) -> Prompt:
    user = Message("user", f"{choice_prompt(history=history).messages[0].content} A: Heat. B: Alien.")
    return Prompt(name, name, (user, Message("assistant", "Answer:")), ("a", "b"), (" A", " B"), labels=True)


PROMPTS = [
    make(f"{kind}{number}", history=number % 7)
    for number in range(3 * WINDOW + 10)
    for kind, make in (("choice", choice_prompt), ("label", label_prompt))
]
PROMPTS += [text_prompt(f"text{number}", history=number % 5) for number in range(20)]


def make(source: Path | str, *, device: str = "cpu", **options: object) -> RayEngine:
    parsed = RayOptions.parse({name: str(value) for name, value in options.items()}, owner="ray")
    return RayEngine(ModelSpec("tiny", str(source)), parsed, device=device, seed=0)


def alone(engine: str, source: Path | str, prompts: Sequence[Prompt], **options: object) -> dict[str, Response]:
    """Return what one process answers, asked batch by batch."""
    kind = ENGINES.load(engine)
    one = kind(ModelSpec("tiny", str(source)), kind.Options(**options), device="cpu", seed=0)
    return {response.prompt_id: response for part in one.batches(prompts) for response in one.answer(part)}


def windows(prompts: Iterable[Prompt]) -> Iterator[list[Prompt]]:
    """Cut prompts as they are needed."""
    left = iter(prompts)
    while window := list(islice(left, WINDOW)):
        yield window


def answers(engine: RayEngine, prompts: Sequence[Prompt]) -> dict[str, Response]:
    return by_id(engine.answer(prompts))


def by_id(responses: Iterable[Response]) -> dict[str, Response]:
    found = list(responses)
    named = {response.prompt_id: response for response in found}
    assert len(named) == len(found)
    return named


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster of one machine, to which more can be added."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": CPUS, "object_store_memory": 2**27})
    ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, Response]:
    return alone("transformers", folder, PROMPTS, answer_tokens=4)


@pytest.fixture(scope="module")
def engine(cluster: Any, folder: Path) -> Iterator[RayEngine]:
    made = make(folder, workers=2, answer_tokens=4)
    yield made
    made.close()


def test_an_engine_without_a_cluster_starts_ray_and_ends_it() -> None:
    assert not ray.is_initialized()
    made = make("mock", engine="mock", workers=1)
    assert ray.is_initialized()
    assert answers(made, PROMPTS) == alone("mock", "mock", PROMPTS)
    made.close()
    assert not ray.is_initialized()


def test_answers_are_those_of_one_process(engine: RayEngine, expected: dict[str, Response]) -> None:
    assert {prompt.mode for prompt in PROMPTS} == {"likelihood", "label", "generate"}
    assert answers(engine, PROMPTS) == expected
    assert len(set(engine._pool.each("pid"))) == 2
    facts = engine.facts()
    inner: Any = facts["inner"]
    assert (facts["engine"], facts["workers"], facts["devices"], facts["worker_deaths"]) == ("ray", 2, 2, 0)
    assert (inner["engine"], inner["dtype"], inner["device"]) == ("transformers", "float32", "cpu")
    assert isinstance(facts["self_check_difference"], float)
    assert isinstance(facts["batches"], int)
    assert facts["batches"] == sum(inner["batches"])  # those of each worker


def test_permuted_prompts_are_answered_alike(engine: RayEngine, expected: dict[str, Response]) -> None:
    found = answers(engine, random.Random(0).sample(PROMPTS, len(PROMPTS)))
    assert found.keys() == expected.keys()
    for name, response in found.items():
        assert response.text == expected[name].text
        for left, right in zip(response.choice_logprobs or (), expected[name].choice_logprobs or (), strict=True):
            assert left == pytest.approx(right, abs=1e-4)


def test_needs_and_context_are_those_of_the_workers(engine: RayEngine, folder: Path) -> None:
    kind = ENGINES.load("transformers")
    one = kind(ModelSpec("tiny", str(folder)), kind.Options(answer_tokens=4), device="cpu", seed=0)
    assert engine.count_tokens(PROMPTS) == one.count_tokens(PROMPTS)
    assert engine.count_tokens([]) == []
    assert engine.context == one.context
    assert [len(batch) for batch in engine.batches(PROMPTS)] == [len(batch) for batch in one.batches(PROMPTS)]
    assert list(engine.batches([])) == []


def test_killed_workers_come_back_and_nothing_is_lost(engine: RayEngine, expected: dict[str, Response]) -> None:
    before = engine._pool.each("pid")
    given = engine.answer(PROMPTS)
    found = [next(given)]
    for pid in before:  # windows are left that nobody has yet: only new workers can answer them
        os.kill(pid, signal.SIGKILL)
    found += given
    assert by_id(found) == expected
    assert engine.facts()["worker_deaths"] == 2
    assert not set(engine._pool.each("pid")) & set(before)


def test_a_worker_that_takes_long_to_start_again_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = object.__new__(ray_pool.ActorPool)
    pool._live = [0]
    awaited: list[int] = []
    monkeypatch.setattr(ray_pool.ActorPool, "_revive", lambda self, index: awaited.append(index))
    pool._lost(1, None, ray_pool._Parts(iter(()), {}), ray_pool._DiedError("the actor is restarting", away=True))
    assert awaited == [1]
    pool._lost(1, None, ray_pool._Parts(iter(()), {}), ray_pool._DiedError("the actor died for good"))
    assert awaited == [1]


@pytest.mark.usefixtures("cluster")
def test_three_workers_answer_as_one_process() -> None:
    made = make("mock", engine="mock", workers=3)
    assert answers(made, PROMPTS) == alone("mock", "mock", PROMPTS)
    made.reset_cache()
    made.close()


@pytest.mark.usefixtures("cluster")
def test_prompts_are_taken_as_workers_need_them() -> None:
    taken = []

    def prompts() -> Iterator[Prompt]:
        for number in range(100 * WINDOW):
            taken.append(number)
            yield label_prompt(f"p{number}", history=1)

    made = make("mock", engine="mock", workers=1)
    given = made.answer_batches(windows(prompts()))
    next(given)
    assert len(taken) <= (1 + ray_pool._AHEAD) * WINDOW
    made.close()


class Fragile(Worker):
    """Dies of one prompt."""

    def answer(self, prompts: Sequence[Prompt]) -> list[Response]:
        if any(prompt.prompt_id == "choice5" for prompt in prompts):
            os._exit(1)
        return super().answer(prompts)


class Hollow(Worker):
    """Finds no model."""

    def context(self) -> int:
        raise ModelError("no weights", hint="Look for them.")


@pytest.fixture
def own_workers(cluster: Any) -> Iterator[None]:
    """Send workers of this module to the cluster, which cannot import it."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@pytest.mark.usefixtures("own_workers")
def test_errors_of_a_worker_arrive_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    made = make("mock", engine="mock", workers=1, context=5)
    with pytest.raises(EngineError, match="the mock takes 5") as caught:
        list(made.answer(PROMPTS))
    assert type(caught.value) is EngineError
    made.close()
    monkeypatch.setattr(ray_pool, "Worker", Hollow)
    with pytest.raises(ModelError, match="no weights") as missing:
        make("mock", engine="mock", workers=1)
    assert (type(missing.value), missing.value.hint) == (ModelError, "Look for them.")


@pytest.mark.usefixtures("cluster")
def test_a_machine_without_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_pool, "Worker", Hollow)
    with pytest.raises(EngineError, match=f"cannot start: ModuleNotFoundError: No module named '{__name__}'") as caught:
        make("mock", engine="mock", workers=1)
    assert "on every machine" in caught.value.hint


@pytest.mark.usefixtures("own_workers")
def test_prompts_that_kill_every_worker_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_pool, "Worker", Fragile)
    monkeypatch.setattr(ray_pool, "_DEATHS", 1)
    made = make("mock", engine="mock", workers=2)
    with pytest.raises(EngineError, match="2 Ray workers died on the same batch of 1") as caught:
        list(made.answer(PROMPTS))
    assert "memory" in caught.value.hint
    made.close()


@pytest.mark.usefixtures("cluster")
def test_a_cluster_that_is_too_small_or_taken_is_named(engine: RayEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineError, match=f"room for {CPUS} workers of 1 CPUs and 0 GPUs, not for {CPUS + 1}") as small:
        make("mock", engine="mock", workers=CPUS + 1)
    assert "workers" in small.value.hint
    with pytest.raises(EngineError, match="room for 0 workers of 1 CPUs and 1 GPUs"):
        make("mock", engine="mock", device="cuda", workers=1, gpus_per_worker=1)
    monkeypatch.setattr(ray_pool, "_START_SECONDS", 1.0)
    with pytest.raises(EngineError, match="only 0 of 1 workers found a place") as taken:
        make("mock", engine="mock", workers=1, cpus_per_worker=CPUS)
    assert "ray status" in taken.value.hint


def test_a_lost_machine_leaves_its_work_to_the_others(cluster: Any) -> None:
    machine = cluster.add_node(num_cpus=CPUS // 2 + 1, object_store_memory=2**27)
    made = make("mock", engine="mock", workers=2, cpus_per_worker=CPUS // 2 + 1)  # one on each
    asked: list[Prompt] = []

    def prompts() -> Iterator[Prompt]:
        """Lose the machine after some windows, and go on until that is noticed, and a little longer."""
        end = 2000 * WINDOW
        while len(asked) < end:
            if len(asked) == 6 * WINDOW:
                cluster.remove_node(machine, allow_graceful=False)
            if made._pool.deaths and end == 2000 * WINDOW:
                end = len(asked) + 6 * WINDOW
            asked.append(label_prompt(f"p{len(asked)}", history=1))
            yield asked[-1]

    found = by_id(chain.from_iterable(made.answer_batches(windows(prompts()))))
    assert found == alone("mock", "mock", asked)
    assert made.facts()["worker_deaths"] == 1
    made.close()


@pytest.mark.parametrize("address", ["127.0.0.1:9", "nowhere"])
def test_a_cluster_that_is_not_there_is_named(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(EngineError, match=f"cannot join the cluster at '{address}'") as caught:
        make("mock", engine="mock", address=address)
    assert "ray start --head" in caught.value.hint


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModelError, match="cannot be imported") as caught:
        make("mock", engine="mock")
    assert "llmrs-bench[ray]" in caught.value.hint

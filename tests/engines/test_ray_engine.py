"""A local Ray cluster answers as one process does, whatever happens to its workers."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmrs_bench.catalog import ModelSpec
from llmrs_bench.engines.transformers import TransformersEngine, TransformersOptions
from llmrs_bench.errors import BenchError, EngineError, OptionError
from llmrs_bench.registry import ENGINES
from llmrs_bench.types import Prompt, Response
from tiny_models import choice_prompt, text_prompt, tiny_llama

pytest.importorskip("ray")
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray leaves files and sockets open when it stops

PROMPTS = [
    *(choice_prompt(f"c{number}", history=number % 7) for number in range(150)),
    *(text_prompt(f"t{number}", history=number % 5) for number in range(10)),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One Ray for all tests; workers find the tests' models by their paths."""
    import ray

    ray.init(address="local", num_cpus=8, include_dashboard=False, log_to_driver=False, object_store_memory=2**27)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("llama"))


def start(model: Path | str, **options: str) -> Any:
    kind = ENGINES.load("ray")
    source = str(model)
    return kind(ModelSpec("tiny", source), kind.Options.parse(options, owner="ray"), device="cpu", seed=0)


def answers(engine: Any, prompts: list[Prompt]) -> dict[str, Response]:
    found = list(engine.answer(prompts))
    assert len(found) == len(prompts)
    return {response.prompt_id: response for response in found}


@pytest.fixture(scope="module")
def alone(folder: Path) -> dict[str, Response]:
    """What one process answers in the same windows."""
    options = TransformersOptions(answer_tokens=4)
    engine = TransformersEngine(ModelSpec("tiny", str(folder)), options, device="cpu", seed=0)
    parts = [PROMPTS[begin : begin + 64] for begin in range(0, len(PROMPTS), 64)]
    return {response.prompt_id: response for part in parts for response in engine.answer(part)}


@pytest.mark.usefixtures("cluster")
def test_workers_answer_as_one_process_even_if_one_is_killed(folder: Path, alone: dict[str, Response]) -> None:
    engine = start(folder, workers="2", answer_tokens="4")
    assert engine.needs(PROMPTS[:1] + PROMPTS[6:7]) == engine.needs(PROMPTS[:1]) + engine.needs(PROMPTS[6:7])
    assert_equal(answers(engine, PROMPTS), alone)
    pids = engine._pool.each("pid")
    assert len(set(pids)) == 2
    given = engine.answer(PROMPTS)
    found = [next(given)]
    os.kill(pids[0], signal.SIGKILL)
    found += given
    assert len(found) == len(PROMPTS)
    assert_equal({response.prompt_id: response for response in found}, alone)
    assert engine.facts()["worker_deaths"] == 1
    engine.close()


def assert_equal(found: dict[str, Response], wanted: dict[str, Response]) -> None:
    assert found.keys() == wanted.keys()
    for name, response in found.items():
        assert response.text == wanted[name].text
        assert response.choice_logprobs == wanted[name].choice_logprobs


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("workers", ["1", "3"])
def test_the_number_of_workers_changes_nothing(workers: str) -> None:
    engine = start("mock", engine="mock", workers=workers)
    mock = ENGINES.load("mock")
    one = mock(ModelSpec("mock", "mock"), mock.Options(), device="cpu", seed=0)
    assert_equal(answers(engine, PROMPTS), answers(one, PROMPTS))
    engine.close()


@pytest.mark.usefixtures("cluster")
def test_errors_of_a_worker_arrive_as_they_were() -> None:
    engine = start("mock", engine="mock", workers="1", context="5")
    with pytest.raises(EngineError, match="the mock takes 5") as caught:
        answers(engine, PROMPTS)
    assert type(caught.value) is EngineError
    engine.close()


@pytest.mark.usefixtures("cluster")
def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no folder"):
        start(tmp_path / "none", workers="1")


@pytest.mark.usefixtures("cluster")
def test_a_cluster_that_is_too_small_is_named() -> None:
    with pytest.raises(EngineError, match="room for 8 workers") as caught:
        start("mock", engine="mock", workers="99")
    assert "workers" in caught.value.hint


def test_options_are_those_of_both_engines_and_the_number_of_workers_decides_nothing() -> None:
    kind = ENGINES.load("ray").Options
    options = kind.parse({"engine": "mock", "workers": "3", "context": "9"}, owner="ray")
    assert options.deciding == {"engine": "mock", "context": 9, "gpus_per_worker": 0.0}
    with pytest.raises(OptionError, match="colour") as caught:
        kind.parse({"engine": "mock", "colour": "red"}, owner="ray")
    assert "workers=2" in caught.value.hint
    assert "context" in caught.value.hint
    with pytest.raises(OptionError, match="unknown engine"):
        kind.parse({"engine": "steam"}, owner="ray")

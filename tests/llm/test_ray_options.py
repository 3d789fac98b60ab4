"""Options of the engine ray and of the engine in its workers, without any Ray."""

import pickle

import pytest

from llmrs_bench.core.errors import EngineError, ModelError, OptionError
from llmrs_bench.llm.backends.ray import RayEngine, RayOptions
from llmrs_bench.llm.model_aliases import ModelSpec

MODEL = ModelSpec("mock", "mock")


def test_workers_take_the_device_that_they_reserved() -> None:
    with pytest.raises(OptionError, match="no GPU") as caught:
        RayEngine(MODEL, RayOptions.parse({"engine": "mock"}, owner="ray"), device="cuda", seed=0)
    assert "gpus_per_worker=1" in caught.value.hint
    with pytest.raises(OptionError, match="does not use the GPUs"):
        RayEngine(
            MODEL, RayOptions.parse({"engine": "mock", "gpus_per_worker": "1"}, owner="ray"), device="cpu", seed=0
        )


def test_options_are_those_of_both_engines_and_the_number_of_workers_decides_nothing() -> None:
    options = RayOptions.parse({"engine": "mock", "workers": "3", "context": "9"}, owner="ray")
    assert options.result_options == {"engine": "mock", "context": 9, "gpus_per_worker": 0.0}
    assert options.model_dump()["workers"] == 3
    with pytest.raises(OptionError, match="colour") as caught:
        RayOptions.parse({"engine": "mock", "colour": "red"}, owner="ray")
    assert "workers=2" in caught.value.hint
    assert "context=1000000" in caught.value.hint


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"engine": "steam"}, "unknown engine 'steam'"),
        ({"engine": "ray"}, "cannot hold the engine 'ray'"),
        ({"workers": "0"}, "workers"),
        ({"cpus_per_worker": "1.5"}, "whole number"),
    ],
)
def test_options_that_make_no_sense_are_refused(values: dict[str, str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        RayOptions.parse(values, owner="ray")


def test_errors_keep_message_and_hint_when_they_travel() -> None:
    for kind in (OptionError, ModelError, EngineError):
        copy = pickle.loads(pickle.dumps(kind("what", hint="how")))
        assert (type(copy), copy.message, copy.hint, str(copy)) == (kind, "what", "how", "what")

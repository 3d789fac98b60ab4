"""An engine leaves the process as it found it."""

import gc
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from llmrs_bench.core.config import Options
from llmrs_bench.core.environment import environment
from llmrs_bench.core.errors import BenchError
from llmrs_bench.core.registry import ENGINES
from llmrs_bench.llm.base import Engine
from llmrs_bench.llm.model_aliases import ModelSpec
from tiny_models import tiny_llama

OURS = (
    *("CUBLAS_WORKSPACE_CONFIG", "VLLM_CPU_KVCACHE_SPACE", "VLLM_BATCH_INVARIANT"),
    *("RAY_DEDUP_LOGS_SKIP_REGEX", "RAY_IGNORE_UNHANDLED_ERRORS"),
)


def state() -> tuple[dict[str, str], tuple[int, int, int], dict[str, int]]:
    """Return the variables, the thresholds of the garbage collector, and the levels of all loggers that have one."""
    loggers = {name: made for name, made in logging.root.manager.loggerDict.items() if isinstance(made, logging.Logger)}
    levels = {name: made.level for name, made in loggers.items() if made.level}
    return dict(os.environ), gc.get_threshold(), levels


def make(name: str, source: str, **options: str) -> Engine:
    kind = ENGINES.load(name)
    parsed: Options = kind.Options.parse(options, owner=name)
    made: Engine = kind(ModelSpec("m", source), parsed, device="cpu", seed=0)
    return made


@pytest.fixture
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in OURS:
        monkeypatch.delenv(name, raising=False)


def transformers(folder: Path) -> Engine:
    return make("transformers", str(tiny_llama(folder)), deterministic="true")


def openai(folder: Path) -> Engine:
    return make("openai", "m", base_url="http://127.0.0.1:9/v1")


@pytest.mark.usefixtures("nothing_set")
@pytest.mark.parametrize("start", [transformers, openai])
def test_an_engine_that_is_closed_leaves_variables_thresholds_and_levels_as_they_were(
    start: Callable[[Path], Engine], tmp_path: Path
) -> None:
    start(tmp_path / "once").close()  # what the imports of libraries set is theirs
    before = state()
    start(tmp_path / "again").close()
    assert state() == before
    assert not {*OURS} & os.environ.keys()


@pytest.mark.usefixtures("nothing_set")
def test_what_an_engine_needs_is_set_until_it_is_closed(tmp_path: Path) -> None:
    made = transformers(tmp_path)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    made.close()
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ


@pytest.mark.usefixtures("nothing_set")
@pytest.mark.parametrize("name", ["transformers", "vllm", "ray"])
def test_an_engine_that_does_not_start_leaves_no_variable(name: str, tmp_path: Path) -> None:
    options = {"address": "127.0.0.1:9"} if name == "ray" else {"deterministic": "true"}
    with pytest.raises(BenchError):
        make(name, str(tmp_path / "missing"), **options)
    assert not {*OURS} & os.environ.keys()


def test_variables_that_somebody_has_set_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    with environment({"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}):
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"

"""Ctrl-C ends a command with its exit code, whenever it comes."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest

from command_line import Bench
from llmrs_bench.cli import console
from llmrs_bench.llm.backends.mock import MockEngine

ASK = ("infer", "--dataset", "small", "--model", "mock")


def ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(autouse=True)
def listening() -> Iterator[None]:
    """Listen to Ctrl-C also where the tests were started in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def small(bench: Bench) -> Bench:
    bench.prepare("--n-candidates", "5")
    return bench


def test_ctrl_c_that_a_library_swallows_ends_the_command_all_the_same(
    small: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(self: Any, prompts: Sequence[Any]) -> None:
        with suppress(KeyboardInterrupt):
            ctrl_c()

    with monkeypatch.context() as patched:
        patched.setattr(MockEngine, "check", check)
        assert "interrupted" in small.run(*ASK, code=130).stderr
    assert not list(small.home.glob("small/*/runs/*"))
    small.run(*ASK)


def test_ctrl_c_that_a_library_swallows_comes_again_while_it_waits(
    small: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []

    def check(self: Any, prompts: Sequence[Any]) -> None:
        with suppress(KeyboardInterrupt):
            ctrl_c()
        time.sleep(20)
        waited.append(20)

    monkeypatch.setattr(MockEngine, "check", check)
    monkeypatch.setattr(console, "_AGAIN", 0.01)
    assert "interrupted" in small.run(*ASK, code=130).stderr
    assert not waited


def test_a_second_ctrl_c_changes_neither_the_message_nor_the_exit_code(
    small: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def fail(text: str, hint: str) -> None:
        ctrl_c()
        said.append(text)

    monkeypatch.setattr(MockEngine, "answer", lambda self, prompts: ctrl_c())
    monkeypatch.setattr(console, "fail", fail)
    small.run(*ASK, code=130)
    assert said == ["interrupted; no unfinished files were left"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_command_that_was_told_to_ignore_ctrl_c_goes_on(small: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        monkeypatch.setattr(MockEngine, "check", lambda self, prompts: ctrl_c())
        small.run(*ASK)
    finally:
        signal.signal(signal.SIGINT, before)

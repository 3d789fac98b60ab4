"""Threads of PyTorch that wait for each other: soon asleep on the command line, unless the user says otherwise."""

import os
import sys

import pytest

from llmrs_bench.cli import main as command_line


@pytest.mark.parametrize(
    ("typed", "found"),
    [({}, "20000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)],
)
def test_waiting_threads_sleep_soon_unless_the_user_says_otherwise(
    typed: dict[str, str], found: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in typed.items():
        monkeypatch.setenv(name, value)
    seen: list[str | None] = []
    monkeypatch.setattr(command_line, "app", lambda **_: seen.append(os.environ.get("GOMP_SPINCOUNT")))
    monkeypatch.setattr(sys, "argv", ["llmrs-bench"])
    command_line.main()
    assert seen == [found]
    assert os.environ.get("GOMP_SPINCOUNT") == typed.get("GOMP_SPINCOUNT")

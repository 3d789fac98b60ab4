"""Rows of a study that several servers answer at once."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fault_server import Script, serve
from llmrs_bench.core.errors import BenchError, OptionError
from llmrs_bench.core.types import no_progress
from llmrs_bench.llm.cost import Budget
from llmrs_bench.stages.recipe import study_of
from llmrs_bench.stages.run import Made, boards, run_study
from llmrs_bench.stages.study import Study

_PATIENCE = 20  # seconds that a server waits for the other one


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")


@pytest.fixture
def servers() -> Iterator[list[tuple[str, Script]]]:
    scripts = [Script(), Script()]
    with serve(scripts[0]) as one, serve(scripts[1]) as other:
        yield [(one, scripts[0]), (other, scripts[1])]


def study(source: Path, addresses: list[str], *rows: dict[str, Any], **asked: Any) -> Study:
    asking = {"model": "org/m", "engine": "openai", "options": {"retries": 0, "unanswered": "0"}, **asked}
    content = {
        "data": {"dataset": "small", "source": str(source), "n_candidates": 5, "users": 8},
        "run": {"servers": addresses},
        "rows": [asking, *rows],
    }
    return study_of(content, "study.toml")


def run(home: Path, found: Study, **more: Any) -> tuple[Made, list[str]]:
    said: list[str] = []
    return run_study(home, found, found.rows, no_progress, said.append, **more), said


@pytest.mark.slow
def test_servers_answer_at_once_and_as_one_alone(
    tmp_path: Path, atomic: Path, servers: list[tuple[str, Script]]
) -> None:
    (one, first), (other, second) = servers
    alone, _ = run(tmp_path / "alone", study(atomic, [one], {"model": "itemknn"}, history=[1, 2, 3, 4]))
    assert len(first.requests) == 4 * 8
    both = [threading.Event(), threading.Event()]

    def wait(mine: int) -> None:
        both[mine].set()
        assert both[1 - mine].wait(_PATIENCE), "the other server is asked nothing meanwhile"

    first.hold, second.hold = lambda body: wait(0), lambda body: wait(1)
    made, said = run(tmp_path / "both", study(atomic, [one, other], {"model": "itemknn"}, history=[1, 2, 3, 4]))
    assert second.requests
    assert len(first.requests) + len(second.requests) == 8 * 8
    assert [line[:5] for line in said if line.startswith("[")] == [f"[{number}/5]" for number in range(1, 6)]
    assert {key: found.path.name for key, found in made.runs.items()} == {
        key: found.path.name for key, found in alone.runs.items()
    }
    for key, found in made.runs.items():
        assert found.table("rankings").equals(alone.runs[key].table("rankings"))
    [board] = boards(study(atomic, [one, other], {"model": "itemknn"}, history=[1, 2, 3, 4]), made)
    assert len(board.comparison.board.rows) == 7


def test_one_that_fails_ends_all_with_one_message_or_none(
    tmp_path: Path, atomic: Path, servers: list[tuple[str, Script]]
) -> None:
    (one, first), (other, second) = servers
    second.reply = lambda body: 500
    found = study(atomic, [one, other], history=[1, 2, 3, 4])
    with pytest.raises(BenchError, match=r"^row org/m history=") as caught:
        run(tmp_path, found)
    assert caught.value.message.count("row org/m") == 1
    first.hold = bool
    made, said = run(tmp_path, found, continue_on_error=True)
    assert made.failed
    assert len(made.runs) + len(made.failed) == 4
    assert sum("failed: " in line for line in said) == len(made.failed)
    second.reply = None
    again, _ = run(tmp_path, found)
    assert len(again.runs) == 4


def test_what_a_row_needs_is_waited_for_and_a_budget_is_shared(
    tmp_path: Path, atomic: Path, servers: list[tuple[str, Script]]
) -> None:
    told = {"interest_run": "row:profile", "interest": "recent-written"}
    profile = {"name": "profile", "model": "org/m", "engine": "openai", "template": "interest"}
    found = study(
        atomic,
        [url for url, _ in servers],
        profile,
        name="told",
        template="paper",
        template_options=told,
    )
    made, said = run(tmp_path / "home", found)
    assert [line.split()[1] for line in said if line.startswith("[")] == ["profile:", "told:"]
    spent, _ = run(tmp_path / "other", found, budget=Budget(0.0))
    assert spent.stopped is not None
    assert not spent.runs
    assert len(made.runs) == 2


def test_servers_that_answer_nothing_are_refused(atomic: Path) -> None:
    with pytest.raises(OptionError, match=r"servers of \[run\] would have no effect"):
        study(atomic, ["http://here/v1"], engine="auto", options={})
    for servers in (["here:8000"], ["http://here/v1", "http://here/v1"]):
        with pytest.raises(OptionError, match="servers"):
            study(atomic, servers)


@pytest.mark.slow
def test_workers_of_one_machine_share_the_prompts_of_each_row(
    tmp_path: Path, atomic: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    from llmrs_bench.llm.backends.ray import RayEngine

    started: list[object] = []
    shut = RayEngine.close

    def close(self: RayEngine) -> None:
        started.append(self.facts()["workers"])
        shut(self)

    monkeypatch.setattr(RayEngine, "close", close)
    content: dict[str, Any] = {
        "data": {"dataset": "small", "source": str(atomic), "n_candidates": 5},
        "defaults": {"model": "mock", "engine": "ray", "options": {"engine": "mock", "workers": 2}},
        "rows": [{"name": "shared", "history": [1, 3]}, {"name": "alone", "model": "mock", "history": [1, 3]}],
    }
    made, _ = run(tmp_path, study_of(content, "study.toml"))
    assert started == [2]  # once for both rows
    for history in (1, 3):
        shared, alone = (
            made.runs["small", f"{name} history={history}"].table("rankings") for name in ("shared", "alone")
        )
        assert shared.equals(alone)

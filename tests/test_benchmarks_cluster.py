"""The simulation of a cluster against arithmetic, and what the benchmark of many machines makes of answers."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llmrs_bench.core.registry import ENGINES
from llmrs_bench.core.types import Message, Prompt
from llmrs_bench.llm.model_aliases import ModelSpec

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))  # scripts, not a package
import cluster_simulation as simulation
import many_machines as machines
from cluster_simulation import Cluster, in_parts, planned, simulate

PLAIN = Cluster(requests=4000, workers=8, rate=50, batch=25, token_seconds=0.0, load_seconds=10, variation=0)
RISKY = replace(PLAIN, requests=40_000, variation=0.2, failing=300, away=50, driver_failing=400, restart=30)


def prompt(name: str, letters: int = 5) -> Prompt:
    return Prompt(name, name, (Message("user", "x" * letters),), ("a", "b"), (" A", " B"))


PROMPTS = [prompt(f"p{number}", letters=1 + number * 7 % 10) for number in range(21)]


def lap(begun: float, ended: float, **answers: float) -> machines.Lap:
    return machines.Lap({name: [value] for name, value in answers.items()}, begun, ended, 0.0, ())


def test_one_worker_takes_what_its_requests_take() -> None:
    alone = replace(PLAIN, workers=1, driver_seconds=0)
    assert simulate(alone, seed=0).seconds == pytest.approx(10 + 4000 / 50)
    assert simulate(replace(alone, token_seconds=0.005), seed=0).seconds == pytest.approx(10 + 4000 / 50)
    assert simulate(alone, seed=0).requests_per_second == pytest.approx(50)


def test_without_chance_a_run_takes_what_is_planned() -> None:
    found = simulate(PLAIN, seed=0)
    # two blocks of 80 batches, which are 10 rounds of half a second, and .4 s of the driver for each
    assert found.seconds == pytest.approx(planned(PLAIN)) == pytest.approx(10 + 2 * (0.4 + 10 * 0.5))
    assert found.efficiency == pytest.approx(4000 / 50 / 8 / found.seconds)
    assert found.worker_seconds == pytest.approx(
        {"answering": 80, "again": 0, "away": 0, "loading": 80, "driver": 6.4, "idle": 0}
    )


def test_workers_wait_for_the_last_batches_of_a_block() -> None:
    many = replace(PLAIN, workers=60)
    found = simulate(many, seed=0)
    assert found.seconds == pytest.approx(planned(many)) == pytest.approx(10 + 2 * (0.4 + 2 * 0.5))
    assert found.worker_seconds["idle"] == pytest.approx(2 * (60 - 20) * 0.5)


def test_eight_stretches_are_read_by_eight_workers() -> None:
    read = replace(PLAIN, workers=16, token_seconds=0.001)
    assert read.reading(2000) == pytest.approx(0.256)
    assert replace(read, workers=4).reading(2000) == pytest.approx(0.512)
    assert simulate(read, seed=0).worker_seconds["driver"] == pytest.approx(16 * 2 * (0.4 + 0.256) - 4000 * 0.001)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_lost_is_done_again(seed: int) -> None:
    found = simulate(RISKY, seed=seed)
    assert found == simulate(RISKY, seed=seed)
    assert found.failures
    assert found.again
    assert found.seconds > simulate(replace(RISKY, failing=inf, driver_failing=inf), seed=seed).seconds
    assert sum(found.worker_seconds.values()) == pytest.approx(found.seconds * RISKY.workers)
    assert found.worker_seconds["answering"] == pytest.approx(
        40_000 / 50, rel=0.03
    )  # whatever happens, each counts once


def test_a_driver_that_fails_loses_what_was_not_kept() -> None:
    never = replace(RISKY, failing=inf)
    often, seldom = ([simulate(replace(never, kept=kept), seed=seed) for seed in range(4)] for kept in (1.0, 1000.0))
    assert sum(one.restarts for one in often)
    assert sum(one.again for one in often) < sum(one.again for one in seldom)


def test_many_runs_agree_with_the_plan() -> None:
    found = [simulate(RISKY, seed=seed).seconds for seed in range(8)]
    assert sum(found) / 8 == pytest.approx(planned(RISKY), rel=0.15)


def test_workers_share_cores() -> None:
    four = replace(PLAIN, workers=4, driver_seconds=0)
    assert simulate(replace(four, cores=2), seed=0).requests_per_second == pytest.approx(2 * 50)
    assert simulate(replace(four, cores=4), seed=0).requests_per_second == pytest.approx(4 * 50)


def test_a_slow_worker_takes_fewer_batches_of_one_run_and_delays_a_run_of_its_own() -> None:
    slow = replace(PLAIN, requests=8000, slow=1 / 8, slowness=2)
    together, apart = simulate(slow, seed=0), in_parts(slow, 8, seed=0)
    # a second more than planned for the last batches of each of four blocks, at most
    assert planned(slow) < together.seconds < planned(slow) + 4 * 1
    assert apart.seconds == pytest.approx(10 + 1000 * 0.0002 + 2 * 1000 / 50 + 8000 * 0.0002)
    assert apart.seconds == pytest.approx(simulation.planned_in_parts(slow, 8))
    assert apart.worker_seconds["idle"] == pytest.approx(7 * 1000 / 50)


def test_workers_are_divided_evenly() -> None:
    with pytest.raises(ValueError, match="8 workers cannot be divided into 3"):
        in_parts(PLAIN, 3, seed=0)


def test_the_table_has_a_row_for_each_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulation.main(["--requests", "3000", "--seeds", "1", "--batch", "250"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.count("|") for row in rows] == [12] * len(rows)
    assert len(rows) == 2 + len(list(simulation.scenarios(Cluster())))


def test_prompts_are_dealt_evenly() -> None:
    parts = machines.deal(PROMPTS, 4)
    assert sorted(one.prompt_id for part in parts for one in part) == sorted(one.prompt_id for one in PROMPTS)
    assert {len(part) for part in parts} == {5, 6}
    letters = [sum(len(one.messages[0].content) for one in part) / len(part) for part in parts]
    assert max(letters) - min(letters) < 2


def test_rates_are_those_of_processes_side_by_side() -> None:
    laps = [lap(0, 2, a=1, b=1), lap(1, 5, c=1, d=1)]
    assert machines.together(laps) == pytest.approx(4 / 5)
    assert machines.summed(laps) == pytest.approx(2 / 2 + 2 / 4)


def test_answers_are_compared_title_by_title() -> None:
    one = {"a": [-1.0, -2.0], "b": [-3.0]}
    assert machines.difference(one, {"b": [-3.0], "a": [-1.0, -2.5]}) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="2 and 1 prompts, 1 in common"):
        machines.difference(one, {"a": [-1.0, -2.0]})


@pytest.fixture
def mock() -> Any:
    kind: Any = ENGINES.load("mock")
    return kind(ModelSpec("mock", "mock"), kind.Options(), device="cpu", seed=0)


def test_a_lap_has_every_answer(mock: Any) -> None:
    seen: list[int] = []
    found = machines.answer(mock, PROMPTS, seen.append)
    assert found.answers.keys() == {one.prompt_id for one in PROMPTS}
    assert sum(size for size, _ in found.batches) == seen[-1] == len(PROMPTS)
    assert found.ended >= found.begun


def test_a_lost_answer_ends_the_benchmark(mock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = mock.answer_batches

    def answer_batches(batches: Any) -> Iterator[Any]:
        yield from list(whole(batches))[1:]

    monkeypatch.setattr(mock, "answer_batches", answer_batches)
    with pytest.raises(SystemExit, match="20 answers to 21 prompts"):
        machines.answer(mock, PROMPTS)


def test_a_node_dies_after_a_third_and_one_joins_after_two() -> None:
    done: list[str] = []
    nodes: Any = SimpleNamespace(kill=lambda: done.append("kill"), join=lambda: done.append("join"))
    faults = machines.Faults(nodes, 30)
    for answered, expected in ((9, []), (10, ["kill"]), (19, ["kill"]), (25, ["kill", "join"])):
        faults(answered)
        assert done == expected
    assert len(faults.moments) == 2


def test_the_simulation_expects_the_sum_of_processes_that_share_cores() -> None:
    batches = ((5, 10.0),) * 20  # half a prompt a second, of half a core
    apart = [machines.Lap({}, 0, 200, 0, batches)] * 4
    ray = machines.Lap({}, 0, 200, 0, ((5, 2.5),) * 80)
    assert machines.predicted(apart, ray, workers=4, cores=2) == pytest.approx(2, rel=0.06)

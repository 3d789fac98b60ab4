"""Prompts that ask for diversity or novelty, and rules to compare them with, as a person types them."""

import json
from pathlib import Path
from typing import Any

import pytest

from command_line import Bench

DATA = ("-d", "demo@goals")


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A plain run of a model that does not read, one that asks for diversity, and both rules on the plain one."""
    bench = Bench(tmp_path_factory.mktemp("home"), Path())
    bench.run("prepare", *DATA, "--users", "30")
    for goal in ("none", "diversity"):
        bench.run("infer", *DATA, "-m", "mock", "-t", "listwise", "-T", f"goal={goal}", "--name", f"goal-{goal}")
    for method in ("mmr", "novelty"):
        bench.run("fuse", *DATA, "--run", "goal-none", "--method", method, "-O", "weight=0.8")
    return bench


def seen_from(pair: dict[str, Any], run: str) -> dict[str, Any]:
    """Return a difference as that of the other row from `run`."""
    if pair["second"] == run:
        return pair
    turned = {"difference": -pair["difference"], "low": -pair["high"], "high": -pair["low"]}
    return pair | turned | {"first": pair["second"], "second": run}


def test_compare_says_what_is_gained_and_what_is_lost(asked: Bench) -> None:
    metrics = ("ndcg@10", "diversity@10", "novelty@10")
    typed = [word for metric in metrics for word in ("--primary", metric)]
    rows = [word for row in ("goal-diversity", "fusion-mmr", "fusion-novelty") for word in ("--main", row)]
    shown = asked.run(
        *("compare", *DATA, *typed, "--metrics", ",".join(metrics), "--against", "goal-none", *rows),
        *("--format", "json"),
    ).stdout
    board = json.loads(shown)
    assert board["primary"]["pairs"] == 9
    names = {row["run"]: row["model"] for row in board["rows"]}
    (plain,) = board["primary"]["against"]
    found = {
        (names[pair["first"]], pair["metric"]): pair
        for pair in (seen_from(pair, plain) for pair in board["differences"] if pair["primary"])
    }
    assert len(found) == 9
    for metric in metrics:
        assert (found["mock", metric]["difference"], found["mock", metric]["corrected"]) == (0.0, 1.0)
    for model, metric in (("fusion-mmr", "diversity@10"), ("fusion-novelty", "novelty@10")):
        gain = found[model, metric]
        assert gain["low"] > 0
        assert gain["corrected"] < 0.05


def test_the_prompt_asks_for_the_goal_behind_the_task(asked: Bench) -> None:
    plain, more = (
        asked.run("prompt", *DATA, "-t", "listwise", "-T", f"goal={goal}", "--show", "1").stderr
        for goal in ("none", "novelty")
    )
    assert "most likely first. Help the user to discover something, too" in more
    assert "discover" not in plain


def test_a_rule_with_a_weight_is_a_curve(asked: Bench) -> None:
    asked.run("fuse", *DATA, "--run", "goal-none", "--method", "mmr", "-O", "weight=0")
    curves = asked.run("compare", *DATA, "--over", "weight", "--metrics", "ndcg@10,diversity@10").stdout
    assert "diversity@10 over weight" in curves


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("fuse", "--run", "goal-none", "--run", "goal-diversity", "--method", "mmr"), "mmr takes one run, not 2"),
        (("fuse", "--method", "novelty"), "novelty takes one run, not 0"),
        (("fuse", "--run", "goal-none", "--method", "mmr", "-O", "weight=2"), "weight"),
        (("fuse", "--run", "goal-none", "--run", "goal-diversity", "-O", "weight=0.2"), "mmr and novelty"),
        (("prompt", "-t", "label", "-T", "goal=diversity"), "goal=diversity has no effect on template label"),
        (("prompt", "-t", "listwise", "-T", "goal=serendipity"), "serendipity"),
    ],
)
def test_what_makes_no_sense_is_refused(asked: Bench, arguments: tuple[str, ...], words: str) -> None:
    command, *rest = arguments
    said = asked.run(command, *DATA, *rest, code=2).stderr
    assert words in " ".join(said.split())
    assert "hint: " in said


@pytest.mark.slow
def test_the_recipe_compares_both_goals_with_the_plain_prompt(asked: Bench) -> None:
    typed = ("run", "protocols/goals", "-d", "demo", "--model", "mock", "--set", "data.users=10", "--format", "json")
    board = json.loads(asked.run(*typed).stdout)
    assert board["primary"]["pairs"] == 12
    tested = [row for row in board["rows"] if row["run"] in board["primary"]["main"]]
    assert {row["model"] for row in tested} == {"mock", "fusion-mmr", "fusion-novelty"}
    goals = {row["setting"] for row in tested if row["model"] == "mock"}
    assert goals == {"listwise, goal=diversity", "listwise, goal=novelty"}


@pytest.mark.slow
def test_the_recipe_of_hybrids_draws_the_curve_over_budgets(bench: Bench) -> None:
    typed = ("run", "protocols/hybrids", "-d", "small", "--source", str(bench.source), "--model", "mock")
    done = bench.run(*typed, "--set", "data.n_candidates=5")
    assert "small@now" in done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("[")][-1].startswith("[11/11] ")
    assert "ndcg@10 over budget" in done.stdout
    assert "oracle (no" in done.stdout
    limited = bench.run(*typed, "--set", "data.n_candidates=5", "--limit", "5")
    said = " ".join(limited.stderr.split())
    assert "a fusion needs runs without a limit on requests; left out: cascade budget=0%" in said
    assert "not all rows were run, so this is their board" in said
    assert "itemknn" in limited.stdout

"""The gate fails where a rule says so, and nowhere else."""

import numpy as np
import pytest

from board_cases import board, entry
from llmrs_bench.core.errors import OptionError
from llmrs_bench.leaderboard import Board, ScoreMatrix
from llmrs_bench.leaderboard.gate import Counterpart, Gate, check_rules, judge, parse_rule

NOISE = np.random.default_rng(1).normal(0, 0.2, (2, 300))
BASE = 0.5 + NOISE[0]


@pytest.fixture(scope="module")
def made() -> tuple[Board, ScoreMatrix]:
    costs = {"requests": 300, "seconds": 12.0, "kinds": {"complete": 90, "empty": 10}}
    worse = BASE - 0.05 + 0.02 * NOISE[1]
    return board([entry("base", BASE), entry("worse", worse, about=costs), entry("same", BASE)])


def verdicts(made: tuple[Board, ScoreMatrix], *rules: str, judged: tuple[str, ...] = ("worse",)) -> Gate:
    shown, matrix = made
    at = [line.run for line in matrix.lines].index("base")
    own = Counterpart(shown.rows[at], {"ndcg@10": matrix.values["ndcg@10"][at]})
    return judge(shown, matrix, judged, [*map(parse_rule, rules)], dict.fromkeys(judged, own), baseline="base", seed=0)


@pytest.mark.parametrize(
    ("rule", "failed"),
    [
        ("ndcg@10 drops > 0.01 at p < 0.05", True),
        ("ndcg@10 drops > 0.06 at p < 0.05", False),
        ("ndcg@10 drops > 5% at p < 0.05", True),
        ("ndcg@10 drops > 15% at p < 0.05", False),
        ("ndcg@10 drops > 0.01 at p < 0.0001", False),  # 2,000 permutations cannot say so
        ("ndcg@10 rises > 0.01", False),
        ("ndcg@10 < 0.3", False),
        ("ndcg@10 < 0.6", True),
        ("invalid > 5%", True),
        ("invalid > 10%", False),
        ("empty > 9%", True),
        ("seconds > 100", False),
        ("seconds > 11", True),
        ("seconds rises > 20%", True),
        ("coverage < 1", False),
    ],
)
def test_rules_judge_rows(made: tuple[Board, ScoreMatrix], rule: str, failed: bool) -> None:
    (verdict,) = verdicts(made, rule).verdicts
    assert verdict.failed is failed
    assert (verdict.rule, verdict.run) == (rule, "worse")


def test_identical_rows_change_nothing_and_pass(made: tuple[Board, ScoreMatrix]) -> None:
    gate = verdicts(made, "ndcg@10 drops at p < 0.05", "ndcg@10 drops > 0", judged=("same",))
    assert not gate.failures
    (change,) = gate.changes
    assert (change.difference, change.p, change.users) == (0.0, 1.0, 300)


def test_changes_are_those_of_common_requests(made: tuple[Board, ScoreMatrix]) -> None:
    shown, matrix = made
    half = np.where(np.arange(300) < 150, BASE + 0.2, np.nan)
    own = Counterpart(shown.rows[0], {"ndcg@10": half})
    gate = judge(shown, matrix, ["same"], [], {"same": own}, baseline="old.parquet", seed=0)
    assert gate.changes[0].users == 150
    assert gate.changes[0].difference == pytest.approx(-0.2)


def test_rules_that_nobody_can_be_judged_by_are_refused(made: tuple[Board, ScoreMatrix]) -> None:
    with pytest.raises(OptionError, match="no judged row knows its price_usd"):
        verdicts(made, "price_usd > 1")
    with pytest.raises(OptionError, match="unknown quantity in --fail-if 'ndgc@10'"):
        check_rules(
            [parse_rule("ndgc@10 < 0.3")], ("ndcg@10", "gini@10"), tested=("ndcg@10", "coverage"), baseline=True
        )
    with pytest.raises(OptionError, match="needs a baseline"):
        check_rules(
            [parse_rule("ndcg@10 drops > 1%")], ("ndcg@10", "gini@10"), tested=("ndcg@10", "coverage"), baseline=False
        )
    for name in ("seconds", "gini@10"):
        rules = [parse_rule(f"{name} rises > 1% at p < 0.05")]
        with pytest.raises(OptionError, match=f"{name} is one number of a run, so it has no p"):
            check_rules(rules, ("ndcg@10", "gini@10"), tested=("ndcg@10", "coverage"), baseline=True)


def test_rows_without_a_baseline_are_held_against_limits_alone_and_named(made: tuple[Board, ScoreMatrix]) -> None:
    shown, matrix = made
    gate = judge(shown, matrix, ["same"], [parse_rule("ndcg@10 < 0.3")], {}, baseline="old.parquet", seed=0)
    assert not gate.failures
    assert gate.notes == ("not in old.parquet, so held against fixed limits alone: same",)

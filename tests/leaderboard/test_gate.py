"""The gate fails where a rule says so, and nowhere else."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from board_cases import board, entry
from llmrs_bench.core.errors import OptionError
from llmrs_bench.leaderboard import Board, EvaluatedRun, ScoreMatrix
from llmrs_bench.leaderboard.comparability import EvaluationProtocol
from llmrs_bench.leaderboard.gate import (
    NO_PARTNER,
    Baseline,
    Counterpart,
    Gate,
    Verdict,
    check_rules,
    judge,
    parse_rule,
    saved_baseline,
)
from llmrs_bench.leaderboard.saved import Saved
from llmrs_bench.report.gate import gate_lines, verdict_words

NOISE = np.random.default_rng(1).normal(0, 0.2, (2, 300))
BASE = 0.5 + NOISE[0]
DROPS = "ndcg@10 drops > 0.01"


@pytest.fixture(scope="module")
def made() -> tuple[Board, ScoreMatrix]:
    costs = {"requests": 300, "seconds": 12.0, "kinds": {"complete": 90, "empty": 10}}
    worse = BASE - 0.05 + 0.02 * NOISE[1]
    return board([entry("base", BASE), entry("worse", worse, about=costs), entry("same", BASE)])


def verdicts(made: tuple[Board, ScoreMatrix], *rules: str, judged: tuple[str, ...] = ("worse",)) -> Gate:
    shown, matrix = made
    at = [line.run for line in matrix.lines].index("base")
    own = Counterpart(shown.rows[at], {"ndcg@10": matrix.values["ndcg@10"][at]}, 300)
    return judge(shown, matrix, judged, [*map(parse_rule, rules)], Baseline("base", dict.fromkeys(judged, own)), seed=0)


@pytest.mark.parametrize(
    ("rule", "failed"),
    [
        ("ndcg@10 drops > 0.01 at p < 0.05", True),
        ("ndcg@10 drops > 0.06 at p < 0.05", False),
        ("ndcg@10 drops > 5% at p < 0.05", True),
        ("ndcg@10 drops > 15% at p < 0.05", False),
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
    own = Counterpart(shown.rows[0], {"ndcg@10": half}, 150)
    gate = judge(shown, matrix, ["same"], [], Baseline("old.parquet", {"same": own}), seed=0)
    assert gate.changes[0].users == 150
    assert gate.changes[0].difference == pytest.approx(-0.2)


@pytest.mark.parametrize(
    ("users", "p", "needed"), [(4, "0.05", "6 users"), (5, "0.05", "6 users"), (9, "0.001", "11 users")]
)
def test_a_rule_that_so_few_users_can_never_violate_is_refused(users: int, p: str, needed: str) -> None:
    low, high = np.full(users, 0.1), np.full(users, 0.9)
    few = board([entry("base", high), entry("worse", low)])
    with pytest.raises(OptionError, match=f"can never fail for worse: with {users} users") as caught:
        verdicts(few, f"ndcg@10 drops at p < {p}")
    assert f"It takes {needed}" in caught.value.hint
    enough = int(needed.removesuffix(" users"))
    many = board([entry("base", np.full(enough, 0.9)), entry("worse", np.full(enough, 0.1))], permutations=20_000)
    assert verdicts(many, f"ndcg@10 drops at p < {p}").failures


def test_a_rule_that_so_few_permutations_can_never_violate_is_refused(made: tuple[Board, ScoreMatrix]) -> None:
    with pytest.raises(OptionError, match=r"with 2,000 permutations p is at least 0\.0005") as caught:
        verdicts(made, "ndcg@10 drops > 0.01 at p < 0.0001")
    assert "--permutations 10000 or more" in caught.value.hint


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


def saved_board(*entries: EvaluatedRun) -> Saved:
    shown, matrix = board(entries)
    return Saved(shown, matrix, EvaluationProtocol({}, (), np.array([]), np.array([])), "2026-01-01", {})


def gate_against(
    saved: Saved, *entries: EvaluatedRun, rules: tuple[str, ...] = (DROPS,), allow_missing: bool = False
) -> Gate:
    """Judge all rows of a board of these entries against a saved one."""
    shown, matrix = board(entries)
    baseline = saved_baseline("old.parquet", saved, matrix.lines, matrix, [])
    runs = [line.run for line in matrix.lines]
    return judge(shown, matrix, runs, [*map(parse_rule, rules)], baseline, seed=0, allow_missing=allow_missing)


def test_rows_without_a_partner_on_either_side_fail_unless_that_is_allowed() -> None:
    saved = saved_board(entry("kept", BASE), entry("gone", BASE - 0.1))
    now = entry("kept", BASE), entry("new", BASE)
    gate = gate_against(saved, *now)
    assert [(v.row, v.rule, v.failed) for v in gate.verdicts] == [
        ("new", NO_PARTNER, True),
        ("gone", NO_PARTNER, True),
        ("kept", DROPS, False),
    ]
    assert gate_lines(gate)[1] == "FAIL  gone: has no partner (it is in old.parquet alone)"
    gate = gate_against(saved, *now, allow_missing=True)
    assert not gate.failures
    assert [note.split(" has no partner")[0] for note in gate.notes] == ["new", "gone"]
    assert not gate_against(saved, *now, rules=()).verdicts  # without a rule nothing can fail


def test_a_gate_none_of_whose_rows_have_a_partner_fails() -> None:
    saved = saved_board(entry("old-1", BASE, model="m", setting="a"))
    gate = gate_against(saved, entry("new-1", BASE, model="m", setting="b"))
    assert len(gate.failures) == len(gate.verdicts) == 2
    with pytest.raises(OptionError, match=r"no judged row is in old\.parquet"):
        gate_against(saved, entry("new-1", BASE, model="m", setting="b"), allow_missing=True)


def test_a_baseline_holds_named_runs_to_account_alone() -> None:
    saved = saved_board(entry("kept-1", BASE), entry("gone-1", BASE), entry("popularity", BASE, kind="baseline"))
    _, matrix = board([entry("kept-2", BASE, model="kept-1"), entry("popularity", BASE, kind="baseline")])
    for names, absent in (([], ["gone-1"]), (["kept"], []), (["gone"], ["gone-1"])):
        found = saved_baseline("old.parquet", saved, matrix.lines[:1], matrix, names)
        assert [row.run for row in found.absent] == absent


def twin(run: str, values: NDArray[np.float64], engine: str = "") -> EvaluatedRun:
    return entry(run, values, model="lm", setting="listwise", about={"engine": engine})


def test_twins_with_one_label_are_called_by_their_runs() -> None:
    shown, matrix = board([twin("lm-1", BASE), twin("lm-2", BASE - 0.1), entry("other", BASE)])
    gate = judge(shown, matrix, ["lm-1", "lm-2", "other"], [parse_rule("ndcg@10 < 0.45")], Baseline(), seed=0)
    assert [(v.row, v.failed) for v in gate.verdicts] == [
        ("lm (listwise, run lm-2)", True),
        ("lm (listwise, run lm-1)", False),
        ("other", False),
    ]


def test_twins_meet_their_own_run_or_engine_in_the_baseline() -> None:
    saved = saved_board(twin("lm-1", BASE, "vllm"), twin("lm-2", BASE - 0.1, "transformers"))
    for now, met in (
        (("lm-1", "lm-2"), ["lm-1", "lm-2"]),
        (("lm-2", "lm-3"), ["lm-2", "lm-1"]),  # the run that is not there any more
        (("lm-3", "lm-4"), ["lm-1", "lm-2"]),  # the engine
    ):
        _, matrix = board([twin(now[0], BASE, "vllm"), twin(now[1], BASE - 0.1, "transformers")])
        found = saved_baseline("old.parquet", saved, matrix.lines, matrix, [])
        assert [found.counterparts[run].row.run for run in now] == met
    alike = saved_board(twin("lm-1", BASE, "vllm"), twin("lm-2", BASE - 0.1, "vllm"))
    gate = gate_against(alike, twin("lm-3", BASE, "vllm"))
    assert {v.reason for v in gate.failures} == {
        "old.parquet has no such row, or several",
        "it is in old.parquet alone",
    }


def test_a_language_model_whose_price_is_not_known_fails_a_rule_on_it() -> None:
    costs = {"requests": 300, "seconds": 1.0}
    rows = [
        entry("priced", BASE, kind="language model", about={**costs, "price_usd": 0.5}),
        entry("uncounted", BASE, kind="language model", about={**costs, "price_usd": None}),
        entry("itemknn", BASE, about=costs),
    ]
    shown, matrix = board(rows)
    runs = [line.run for line in matrix.lines]
    gate = judge(shown, matrix, runs, [parse_rule("price_usd > 1")], Baseline(), seed=0)
    assert gate_lines(gate) == [
        "FAIL  uncounted: price_usd > 1 (its price_usd is not known)",
        "pass  priced: price_usd > 1 (is 0.5)",
    ]
    assert gate.notes == ("'price_usd > 1' does not judge itemknn: price_usd is not known, or was not before",)
    both = Baseline("old", {run: Counterpart(shown.rows[0], {}, 300) for run in runs})
    gate = judge(shown, matrix, ["priced", "uncounted"], [parse_rule("price_usd rises > 1%")], both, seed=0)
    assert [v.row for v in gate.failures] == ["uncounted"]


def test_a_row_that_was_not_measured_fails_a_rule_on_the_metric() -> None:
    shown, matrix = board([entry("whole", BASE)])
    row = replace(shown.rows[0], run="dropped", model="dropped", cells={})
    shown = replace(shown, rows=(*shown.rows, row))
    gate = judge(shown, matrix, ["whole", "dropped"], [parse_rule("ndcg@10 < 0.1")], Baseline(), seed=0)
    assert [(v.row, v.reason) for v in gate.failures] == [("dropped", "its ndcg@10 is not known")]


def test_shares_are_written_as_shares_and_failures_come_first(made: tuple[Board, ScoreMatrix]) -> None:
    gate = verdicts(made, "invalid > 10.5%", "seconds > 100", "empty > 9%", "coverage < 1", "ndcg@10 < 0.1")
    assert gate_lines(gate)[:5] == [
        "FAIL  worse: empty > 9% (is 10 %)",
        "pass  worse: invalid > 10.5% (is 10 %)",
        "pass  worse: seconds > 100 (is 12)",
        "pass  worse: coverage < 1 (is 100 %)",
        f"pass  worse: ndcg@10 < 0.1 (is {gate.verdicts[4].value:.4g})",
    ]
    assert gate_lines(gate)[5].startswith("worse: ndcg@10")
    close = Verdict("coverage < 1", "r", "r", True, "coverage", 0.99997, 1.0)
    assert verdict_words(close) == "is 99.997 %"


def test_figures_of_runs_with_other_numbers_of_requests_are_not_held_against_each_other() -> None:
    names = [f"r{number:04d}" for number in range(300)]
    entries = [
        replace(entry("base", NOISE[0]), figures={"gini@10": 0.5}),
        replace(entry("same", NOISE[1]), figures={"gini@10": 0.5}),
        replace(entry("some", NOISE[1][:100], requests=names[:100]), figures={"gini@10": 0.9}),
    ]
    shown, matrix = board(entries, ("ndcg@10", "gini@10"), directions={"gini@10": "lower"})
    rows = {row.run: row for row in shown.rows}
    at = [line.run for line in matrix.lines].index("base")
    own = Counterpart(rows["base"], {"ndcg@10": matrix.values["ndcg@10"][at]}, 300)
    rules = [parse_rule("gini@10 rises > 1%"), parse_rule("gini@10 > 0.95")]
    gate = judge(shown, matrix, ["same", "some"], rules, Baseline("base", dict.fromkeys(("same", "some"), own)), seed=0)
    found = {(verdict.run, verdict.rule): (verdict.failed, verdict.reason) for verdict in gate.verdicts}
    why = "it is of 100 requests, that of base of 300, and it depends on their number"
    assert found == {
        ("some", "gini@10 rises > 1%"): (True, why),
        ("same", "gini@10 rises > 1%"): (False, ""),
        ("same", "gini@10 > 0.95"): (False, ""),
        ("some", "gini@10 > 0.95"): (False, ""),
    }


def test_a_saved_figure_of_more_requests_is_not_held_against_one_of_fewer() -> None:
    """Also where the board of now has the fewer requests alone, so that both have values on all of these."""
    names = [f"r{number:04d}" for number in range(300)]

    def lm(values: NDArray[np.float64], gini: float) -> EvaluatedRun:
        return replace(entry("lm", values, requests=names[: len(values)]), figures={"gini@10": gini})

    metrics, directions = ("ndcg@10", "gini@10"), {"gini@10": "lower"}
    before = board([lm(BASE, 0.5)], metrics, directions=directions)
    saved = Saved(*before, EvaluationProtocol({}, (), np.array([]), np.array([])), "", {})
    for count, failed, reason in (
        (300, False, ""),
        (100, True, "it is of 100 requests, that of lm of 300, and it depends on their number"),
    ):
        shown, matrix = board([lm(BASE[:count], 0.5)], metrics, directions=directions)
        against = saved_baseline("old.parquet", saved, matrix.lines, matrix, [])
        (verdict,) = judge(shown, matrix, ["lm"], [parse_rule("gini@10 rises > 1%")], against, seed=0).verdicts
        assert (verdict.failed, verdict.reason) == (failed, reason)

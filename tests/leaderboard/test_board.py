"""What the board says of rows: intervals, tests against the best, groups, cost."""

from dataclasses import asdict, replace

import numpy as np
import polars as pl
import pytest

from board_cases import board, entry
from llmrs_bench.core.errors import ArtifactError, IncomparableError, OptionError
from llmrs_bench.leaderboard import BOUND, EvaluatedRun
from llmrs_bench.leaderboard.board import cost_of

NOISE = np.random.default_rng(0).normal(0, 0.2, (4, 300))


def test_a_planted_effect_is_told_apart_and_a_copy_is_not() -> None:
    base = 0.5 + NOISE[0]
    made, matrix = board([entry("good", base), entry("copy", base), entry("bad", base - 0.1 + 0.1 * NOISE[1])])
    rows = {row.run: row.cells["ndcg@10"] for row in made.rows}
    versus = {run: cell.versus for run, cell in rows.items()}
    assert [row.run for row in made.rows][2] == "bad"
    assert [row.run for row in made.rows] == [line.run for line in matrix.lines]
    (copy,) = [found for run, found in versus.items() if found is not None and run != "bad"]
    assert (copy.p, copy.corrected, copy.difference, copy.needed) == (1.0, 1.0, 0.0, None)
    assert (copy.wins, copy.ties, copy.losses, copy.users) == (0, 300, 0, 300)
    bad = versus["bad"]
    assert bad is not None
    assert not rows["bad"].as_good
    assert bad.difference == pytest.approx(-0.1, abs=0.01)
    assert bad.p == pytest.approx(1 / 2001)
    assert bad.corrected == pytest.approx(3 / 2001)  # Holm: the smallest of three
    assert bad.effect is not None
    assert bad.effect < -2
    assert rows["bad"].rank == 3


def test_p_values_are_corrected_over_all_pairs_metrics_and_groups() -> None:
    entries = [entry(f"run{n}", {"ndcg@10": 0.5 + NOISE[n], "mrr": 0.5 + NOISE[n]}) for n in range(4)]
    groups = pl.DataFrame(
        {"request_id": [f"r{n:04d}" for n in range(300)], "group": ["a", "b"] * 150, "order": [0, 1] * 150}
    )
    made, _ = board(entries, ("ndcg@10", "mrr"), groups=groups, by="thing")
    assert made.tests == 6 * 2 * 3
    alone, _ = board(entries, ("ndcg@10", "mrr"), correction="none")
    for row in alone.rows:
        for cell in row.cells.values():
            assert cell.versus is None or cell.versus.p == cell.versus.corrected


def test_permutations_grow_with_the_tests_and_too_few_are_said_aloud() -> None:
    entries = [entry(f"run{n}", 0.5 + NOISE[n % 4]) for n in range(32)]
    made, _ = board(entries, permutations=None)
    assert made.tests == 496
    assert made.permutations == 25 * 496
    assert not made.notes
    made, _ = board(entries, permutations=200)
    assert "Compare with --permutations 12400" in made.notes[0]


def test_rows_on_fewer_requests_are_tested_on_the_common_ones() -> None:
    names = [f"r{number:04d}" for number in range(300)]
    some = entry("some", NOISE[1][:100], requests=names[:100])
    made, _ = board([entry("all", 1 + NOISE[0]), some])
    row = made.rows[1]
    assert row.users == 100
    assert row.cells["ndcg@10"].mean == pytest.approx(NOISE[1][:100].mean())
    versus = row.cells["ndcg@10"].versus
    assert versus is not None
    assert versus.users == 100
    assert versus.difference == pytest.approx((NOISE[1] - 1 - NOISE[0])[:100].mean())
    assert "some: ndcg@10 over 100 of 300 requests" in made.notes[0]
    other = entry("other", NOISE[1][:100], requests=[f"x{number}" for number in range(100)])
    with pytest.raises(IncomparableError, match="no request in common"):
        board([entry("all", 1 + NOISE[0]), other])


def test_one_user_has_no_interval_and_no_difference() -> None:
    made, _ = board([entry("one", [1.0]), entry("other", [0.0])])
    cell = made.rows[1].cells["ndcg@10"]
    assert (cell.low, cell.high) == (None, None)
    assert cell.versus is not None
    assert cell.versus.corrected == 1.0
    assert made.notes == ("one request: no interval, and every p is 1",)


def test_a_group_of_one_user_has_no_interval_and_says_so() -> None:
    groups = pl.DataFrame(
        {"request_id": ["r0000", "r0001", "r0002"], "group": ["old", "new", "new"], "order": [0, 1, 1]}
    )
    made, _ = board([entry("one", [1.0, 0.5, 0.2]), entry("other", [0.0, 0.1, 0.3])], groups=groups, by="age")
    old, new = made.sections
    assert [(row.cells["ndcg@10"].low, row.cells["ndcg@10"].high) for row in old.rows] == [(None, None)] * 2
    assert None not in [row.cells["ndcg@10"].low for row in new.rows]
    assert "age old: one request: no interval, and every p is 1" in made.notes


def test_values_that_are_no_numbers_are_an_error() -> None:
    with pytest.raises(ArtifactError, match="broken: ndcg@10 is not a number for 1 of 3 requests, among them r0001"):
        board([entry("fine", [0.1, 0.2, 0.3]), entry("broken", [0.1, float("nan"), 0.3])])
    with pytest.raises(OptionError, match="'mrr' was not measured for fine"):
        board([entry("fine", [0.1, 0.2, 0.3])], ("mrr",))


def test_seeds_are_averaged_request_by_request() -> None:
    entries = [entry(f"s{n}", 0.5 + NOISE[n], group="seeds", about={"seed": n, "seconds": 2.0 * n}) for n in range(3)]
    made, matrix = board([*entries, entry("other", NOISE[3])])
    row = next(row for row in made.rows if row.model == "s0")
    assert matrix.values["ndcg@10"][0] == pytest.approx(0.5 + NOISE[:3].mean(0))
    assert row.seeds == 3
    assert row.setting == "3 seeds"
    assert row.cost.seconds == 2.0
    assert row.cells["ndcg@10"].spread == pytest.approx(NOISE[:3].mean(1).std(ddof=1))


def test_groups_have_boards_of_their_own_in_their_order() -> None:
    names = [f"r{number:04d}" for number in range(300)]
    groups = pl.DataFrame(
        {"request_id": names[:200], "group": ["old"] * 150 + ["new"] * 50, "order": [1] * 150 + [0] * 50}
    )
    some = entry("some", NOISE[1][:150], requests=names[:150])
    made, _ = board([entry("all", 1 + NOISE[0]), some], groups=groups, by="age")
    assert [(section.by, section.group, section.users) for section in made.sections] == [
        ("age", "new", 50),
        ("age", "old", 150),
    ]
    assert [row.run for row in made.sections[0].rows] == ["all"]  # the other row has no request there
    assert made.sections[1].rows[0].cells["ndcg@10"].mean == pytest.approx(1 + NOISE[0][:150].mean())
    empty = groups.with_columns(group=pl.lit(None, pl.String))
    with pytest.raises(OptionError, match="--by age: none of the 300 requests is in a group"):
        board([entry("all", NOISE[0]), some], groups=empty, by="age")


def test_exact_rows_are_compared_as_constants() -> None:
    made, _ = board([entry("run", 0.5 + NOISE[0]), replace(entry("chance", np.full(300, 0.2)), exact=True)])
    cell = made.rows[1].cells["ndcg@10"]
    assert (cell.low, cell.mean, cell.high) == (cell.mean,) * 3
    assert cell.versus is not None
    assert not cell.as_good


def test_the_direction_of_a_metric_decides_what_is_best() -> None:
    entries = [entry("low", NOISE[0]), entry("high", 1 + NOISE[1])]
    lower, _ = board(entries, directions={"ndcg@10": "lower"})
    assert [row.run for row in lower.rows] == ["low", "high"]
    assert lower.rows[0].cells["ndcg@10"].rank == 1
    neither, _ = board(entries, directions={"ndcg@10": "neither"})
    for row in neither.rows:
        assert (row.cells["ndcg@10"].rank, row.cells["ndcg@10"].versus) == (0, None)


def priced(run: str, quality: float, seconds: float, price: float | None) -> EvaluatedRun:
    about = {"requests": 500, "seconds": seconds, "price_usd": price}
    return entry(run, np.full(300, quality), about=about)


def test_the_pareto_front_goes_by_price_where_all_know_it_and_by_seconds_else() -> None:
    rows = [priced("best", 0.9, 10, 4.0), priced("cheap", 0.5, 20, 1.0), priced("beaten", 0.4, 5, 2.0)]
    made, _ = board(rows)
    assert made.pareto_by == "price_per_1000"
    assert {row.run: row.pareto for row in made.rows} == {"best": True, "cheap": True, "beaten": False}
    assert made.rows[0].cost.price_per_1000 == 8.0
    made, _ = board([*rows[:2], priced("free", 0.4, 5, None)])
    assert made.pareto_by == "seconds_per_1000"
    assert {row.run: row.pareto for row in made.rows} == {"best": True, "cheap": False, "free": True}
    assert made.rows[0].cost.seconds_per_1000 == 20.0


def test_kinds_of_responses_are_shares() -> None:
    made, _ = board(
        [entry("run", [0.1, 0.2], about={"kinds": {"complete": 3, "empty": 1}}), entry("other", [0.1, 0.1])]
    )
    assert {row.run: dict(row.kinds) for row in made.rows} == {"run": {"complete": 0.75, "empty": 0.25}, "other": {}}


def test_figures_of_whole_runs_are_ranked_without_interval_or_test() -> None:
    def with_gini(run: str, gini: float, level: float) -> EvaluatedRun:
        return replace(entry(run, level + NOISE[0]), figures={"gini@10": gini})

    made, matrix = board(
        [with_gini("a", 0.9, 0.5), with_gini("b", 0.4, 0.4)], ("ndcg@10", "gini@10"), directions={"gini@10": "lower"}
    )
    assert made.tests == 1
    assert "gini@10" not in matrix.values
    found = {row.run: row.cells["gini@10"] for row in made.rows}
    assert [(found[run].mean, found[run].low, found[run].rank, found[run].versus) for run in "ab"] == [
        (0.9, None, 2, None),
        (0.4, None, 1, None),
    ]
    with pytest.raises(OptionError, match="'gini@10' was not measured for c"):
        board([with_gini("a", 0.9, 0.5), entry("c", NOISE[1])], ("ndcg@10", "gini@10"))
    with pytest.raises(OptionError, match="gini@10 cannot order rows: it is measured for whole runs"):
        board([with_gini("a", 0.9, 0.5)], ("gini@10",))


def test_figures_of_runs_with_fewer_requests_are_noted_and_have_no_rank() -> None:
    names = [f"r{number:04d}" for number in range(300)]
    rows = [
        replace(entry("a", NOISE[0] + 0.5), figures={"gini@10": 0.5}),
        replace(entry("b", NOISE[0]), figures={"gini@10": 0.6}),
        replace(entry("some", NOISE[1][:100], requests=names[:100]), figures={"gini@10": 0.1}),
    ]
    made, _ = board(rows, ("ndcg@10", "gini@10"), directions={"gini@10": "lower"})
    assert {row.run: row.cells["gini@10"].rank for row in made.rows} == {"a": 1, "b": 2, "some": 0}
    (note,) = [note for note in made.notes if "gini@10" in note]
    assert note.startswith("some: gini@10 over 100 of 300 requests, whose number changes such figures")
    assert not [note for note in board(rows[:2], ("ndcg@10", "gini@10"))[0].notes if "gini@10" in note]


def test_a_metric_of_whole_runs_says_how_it_gets_onto_a_board() -> None:
    only = replace(entry("a", NOISE[0]), figures={"gini@10": 0.5})
    with pytest.raises(OptionError) as raised:
        board([only], ("gini@10",))
    assert "--metrics ndcg@10,gini@10" in str(raised.value.hint)
    with pytest.raises(OptionError) as raised:
        board([only], ("ndcg@10", "gini@10"), primary=("gini@10",))
    assert "--primary ndcg@10; --metrics gini@10 adds" in str(raised.value.hint)


def test_a_bound_is_shown_and_held_against_nothing() -> None:
    """It reads the targets, so it is neither the best row nor on the front, and costs the others no test."""
    values = np.random.default_rng(0).random((2, 50))
    rows = [entry("a", values[0]), entry("b", values[1]), entry("top", values.max(0), kind=BOUND)]
    found, _ = board(rows)
    alone, _ = board(rows[:2])
    by_run = {row.run: row for row in found.rows}
    assert found.rows[0].run == "top"
    assert (by_run["top"].cells["ndcg@10"].rank, by_run["top"].cells["ndcg@10"].versus) == (0, None)
    assert by_run["top"].pareto is None
    assert found.tests == alone.tests == 1
    for row in alone.rows:  # sums of other arrays differ in the last bit
        before, beside = (asdict(board_row.cells["ndcg@10"]) for board_row in (row, by_run[row.run]))
        assert before.pop("versus") == pytest.approx(beside.pop("versus"))
        assert before == pytest.approx(beside)


def test_several_requests_of_a_user_count_as_one_user() -> None:
    generator = np.random.default_rng(0)
    owners = {f"r{number:04d}": f"u{number // 8}" for number in range(80)}
    own = generator.random((2, 10)).repeat(8, axis=1)
    rows = [entry("one", own[0]), entry("two", own[1])]
    clustered, matrix = board(rows, users=owners, unit="requests")
    apart, _ = board(rows)
    assert matrix.n_users == 10
    for row, same in zip(clustered.rows, apart.rows, strict=True):
        cell, loose = row.cells["ndcg@10"], same.cells["ndcg@10"]
        assert cell.mean == loose.mean
        assert (row.users, same.users) == (10, 80)
        assert None not in (cell.low, cell.high, loose.low, loose.high)
        assert (cell.high or 0) - (cell.low or 0) > 2 * ((loose.high or 0) - (loose.low or 0))
    versus = clustered.rows[1].cells["ndcg@10"].versus
    assert versus is not None
    assert versus.users == 10
    assert any("those of a user are drawn, and tested, together" in line for line in clustered.protocol)


def test_a_row_that_was_not_trained_costs_what_it_ranks_for() -> None:
    untrained = {
        "requests": 200,
        "seconds": 100.0,
        "price_usd": 1.0,
        "scoring_seconds": None,
        "scoring_price_usd": None,
    }
    cost = cost_of(untrained)
    assert (cost.seconds_per_1000, cost.price_per_1000) == (500.0, 5.0)
    trained = cost_of({**untrained, "scoring_seconds": 20.0, "scoring_price_usd": 0.5})
    assert (trained.seconds_per_1000, trained.price_per_1000, trained.users_per_second) == (100.0, 2.5, 10.0)

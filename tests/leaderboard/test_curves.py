"""Curves: which runs stand on one, values and intervals, tests against the first point, and where curves meet."""

from dataclasses import replace
from math import exp, inf, log
from typing import Any

import numpy as np
import pytest

from board_cases import board, entry
from click_board_cases import USERS as READERS
from click_board_cases import click_board, click_entry
from curve_cases import USERS, around, curves, trained, tuned
from llmrs_bench.core.errors import OptionError
from llmrs_bench.leaderboard import BoardPlan
from llmrs_bench.leaderboard.board import Factors
from llmrs_bench.leaderboard.build_curves import build_curves
from llmrs_bench.leaderboard.curves import Crossing, Curves, outcome

CHANCE = entry("chance", np.full(USERS, 0.1), kind="baseline", exact=True)
ZERO_SHOT = entry(
    "smol", around(0.3, 9), kind="language model", setting="label", factors=Factors("smol", {"template": "label"})
)


def found(made: Curves) -> dict[str, list[tuple[float, float]]]:
    return {curve.label: [(point.x, round(point.cell.mean, 6)) for point in curve.points] for curve in made.curves}


def level(mean: float, *, model: str = "smol") -> object:
    """Return a language model whose users all have one value: a line without an interval to speak of."""
    return entry(model, np.full(USERS, mean), kind="language model", factors=Factors(model))


def flat(model: str, values: dict[int, float]) -> list[object]:
    """Return a recommender by its training samples, whose users all have one value."""
    return [
        replace(trained(model, 0.0, words={"train_samples": n}), metrics=entry("x", np.full(USERS, mean)).metrics)
        for n, mean in values.items()
    ]


def crossing(made: Curves) -> Crossing:
    assert len(made.crossings) == 1
    return made.crossings[0]


def test_points_are_the_rows_of_the_board() -> None:
    entries = [tuned(0, 0.3), tuned(16, 0.32), tuned(256, 0.41), CHANCE]
    rows = {row.run: row for row in board(entries, samples=400)[0].rows}
    made = curves(entries)
    assert found(made) == {"smol+lora (label)": [(0, 0.3), (16, 0.32), (256, 0.41)]}
    for point in made.curves[0].points:
        cell = rows[point.runs[0]].cells["ndcg@10"]
        assert (point.cell.mean, point.cell.low, point.cell.high) == pytest.approx((cell.mean, cell.low, cell.high))
        assert (point.users, point.cell.spread) == (USERS, None)
    first, second, third = made.curves[0].points
    assert (first.difference, first.p) == (None, None)
    assert (second.difference, third.difference) == pytest.approx((0.02, 0.11))
    assert third.p is not None
    assert second.corrected is not None
    assert third.p == pytest.approx(1 / 2001)
    assert second.p is not None
    assert second.p <= second.corrected < 0.05
    assert made.logarithmic


def test_no_difference_is_none() -> None:
    same = [replace(tuned(n, 0.0), metrics=entry("x", around(0.3)).metrics) for n in (16, 64)]
    assert curves(same).curves[0].points[1].p == 1.0


def test_seeds_of_a_point_are_averaged() -> None:
    made = curves([tuned(16, 0.3), tuned(16, 0.36, seed=1), tuned(16, 0.3, seed=2), tuned(64, 0.4)])
    first, second = made.curves[0].points
    assert first.cell.mean == pytest.approx(0.32)
    assert first.cell.spread == pytest.approx(np.std([0.3, 0.36, 0.3], ddof=1))
    assert len(first.runs) == 3
    assert second.difference == pytest.approx(0.08)


def test_a_second_thing_is_a_curve_of_its_own() -> None:
    entries = [tuned(n, 0.3 + rank / 100 + n / 1000, rank=rank) for n in (16, 64) for rank in (4, 8)]
    by_samples, by_rank = curves(entries), curves(entries, "rank")
    assert found(by_samples).keys() == {"smol+lora (label)", "smol+lora (label, rank=4)"}
    # The default has its place on the axis, although nobody typed it.
    assert found(by_rank) == {
        "smol+lora-16 (label)": [(4, 0.356), (8, 0.396)],
        "smol+lora-64 (label)": [(4, 0.404), (8, 0.444)],
    }
    assert not by_rank.logarithmic


def test_engines_are_told_apart() -> None:
    one, two = tuned(16, 0.3), tuned(64, 0.4)
    assert one.factors is not None
    assert two.factors is not None
    other = [
        replace(each, run=f"v{each.run}", factors=replace(each.factors, engine="vllm"))
        for each in (one, two)
        if each.factors
    ]
    assert found(curves([one, two, *other])).keys() == {
        "smol+lora (label, transformers)",
        "smol+lora (label, vllm)",
    }


def test_what_does_not_vary_is_a_line() -> None:
    entries = [tuned(16, 0.32), tuned(256, 0.4), ZERO_SHOT, CHANCE, trained("itemknn", 0.45), trained("itemknn", 0.5)]
    entries[-1] = trained("sasrec", 0.35)
    made = curves(entries)
    levels = {each.label: each.cell.mean for each in made.levels}
    assert levels == pytest.approx({"itemknn": 0.45, "sasrec": 0.35, "smol (label)": 0.3, "chance": 0.1})
    assert [each.exact for each in made.levels] == [False, False, False, True]


def test_a_model_on_everything_ends_every_curve_of_shares_and_is_a_line_over_samples() -> None:
    words: list[dict[str, Any]] = [
        {"train_fraction": 0.1},
        {"train_fraction": 0.5},
        {"train_fraction": 0.1, "train_by": "time"},
    ]
    entries = [trained("sasrec", 0.2 + 0.1 * place, words=word) for place, word in enumerate(words)]
    entries += [trained("sasrec", 0.5), trained("itemknn", 0.4)]
    made = curves(entries, "train-fraction")
    assert found(made) == {
        "sasrec (train_by=users)": [(0.1, 0.2), (0.5, 0.3), (1.0, 0.5)],
        "sasrec (train_by=time)": [(0.1, 0.4), (1.0, 0.5)],
    }
    assert found(curves([*entries[:2], *entries[3:]], "train-fraction")).keys() == {
        "sasrec"
    }  # nothing stands beside it
    assert [each.label for each in made.levels] == ["itemknn"]
    entries = [
        *(trained("sasrec", 0.1 + n / 1000, words={"train_samples": n}) for n in (16, 64)),
        trained("sasrec", 0.5),
    ]
    assert [each.label for each in curves(entries).levels] == ["sasrec, on everything"]


def test_a_recommender_and_a_tuned_model_share_the_axis_of_samples() -> None:
    entries = [tuned(16, 0.3), tuned(64, 0.3), trained("sasrec", 0.1, words={"train_samples": 16})]
    made = curves([*entries, trained("sasrec", 0.5, words={"train_samples": 64})])
    assert found(made).keys() == {"smol+lora (label)", "sasrec"}
    assert crossing(made).at == pytest.approx(32, rel=0.02)  # half way, in logarithms


@pytest.mark.parametrize(
    ("values", "mean", "at"),
    [
        ({16: 0.2, 64: 0.4}, 0.3, 32.0),
        ({16: 0.2, 64: 0.4, 256: 0.1}, 0.25, 16 * 4**0.25),  # the first of them
        ({10: 0.1, 100: 0.2, 1000: 0.4}, 0.25, exp(log(100) + log(10) / 4)),
        ({0: 0.1, 16: 0.3}, 0.2, 8.0),  # from 0 on by the number itself
        ({16: 0.2, 64: 0.4}, 0.2, -inf),
        ({16: 0.3, 64: 0.1}, 0.2, -inf),
        ({16: 0.2, 64: 0.4}, 0.4, 64.0),
        ({16: 0.2, 64: 0.4}, 0.41, inf),
    ],
)
def test_a_crossing_is_where_the_curve_first_reaches_the_line(values: dict[int, float], mean: float, at: float) -> None:
    made = crossing(curves([*flat("sasrec", values), level(mean)]))  # type: ignore[list-item]
    assert (made.at, made.low, made.high) == pytest.approx((at, at, at))
    assert (made.curve, made.other) == ("sasrec", "smol")
    assert (made.first, made.last) == (min(values), max(values))
    assert made.below == tuple(x for x, value in values.items() if value < mean and x > at)
    assert dict(zip(("below", "crosses", "none"), made.shares, strict=True))[outcome(at)] == 1.0


def test_the_interval_of_a_crossing_holds_it_and_its_ends_may_be_no_number() -> None:
    entries = [trained("sasrec", mean, words={"train_samples": n}) for n, mean in ((16, 0.2), (64, 0.4))]
    made = crossing(curves([*entries, ZERO_SHOT]))
    assert made.at == pytest.approx(32)
    assert 16 < made.low < 31
    assert 33 < made.high < 64
    assert made.shares == (0.0, 1.0, 0.0)
    made = crossing(curves([*entries, entry("lm", around(0.399, 8), kind="language model")]))
    assert made.at < 64
    assert made.high == inf
    assert outcome(made.low) == "crosses"
    assert 0.2 < made.shares[2] < 0.8


def test_users_are_drawn_together_for_both() -> None:
    """Rows that differ by a constant cross at one place, however their users differ."""
    values = around(0.0, 3)
    entries = [
        replace(trained("sasrec", 0.0, words={"train_samples": n}), metrics=entry("x", values + mean).metrics)
        for n, mean in ((16, 0.2), (64, 0.4))
    ]
    made = crossing(curves([*entries, entry("lm", values + 0.3, kind="language model")]))
    assert (made.low, made.high) == pytest.approx((32.0, 32.0))


def test_seeds_are_drawn_as_well_as_users() -> None:
    def at(means: tuple[float, ...]) -> Crossing:
        runs = [
            replace(
                trained("sasrec", 0.0, words={"train_samples": 64}, seed=seed),
                metrics=entry("x", np.full(USERS, mean)).metrics,
            )
            for seed, mean in enumerate(means)
        ]
        return crossing(curves([*flat("sasrec", {16: 0.2}), *runs, level(0.3)]))  # type: ignore[list-item]

    same, apart = at((0.4, 0.4, 0.4)), at((0.35, 0.4, 0.45))
    assert same.at == apart.at == pytest.approx(32.0)
    assert same.low == pytest.approx(same.high)
    assert apart.low < 30
    assert apart.high > 34


def test_a_tuned_model_reaches_a_recommender_on_everything_but_no_bound_and_no_baseline() -> None:
    lines = [trained("itemknn", 0.35), trained("popularity", 0.33, kind="baseline"), CHANCE]
    bound = entry("best", around(0.34), kind="oracle")
    made = crossing(curves([tuned(16, 0.3), tuned(64, 0.4), *lines, bound]))
    assert (made.curve, made.other) == ("smol+lora (label)", "itemknn")
    assert made.at == pytest.approx(32)


def test_what_varies_is_named_where_a_number_does_not() -> None:
    entries = [tuned(n, 0.3, rank=rank) for n, rank in ((16, 4), (16, 8), (64, 8))]
    with pytest.raises(OptionError, match="--over rnak: no two rows") as raised:
        curves(entries, "rnak")
    assert raised.value.hint == "Did you mean 'rank'? Rows differ in: rank, samples."
    with pytest.raises(OptionError, match="--over history") as raised:
        curves(entries, "history")
    assert "rank, samples" in raised.value.hint
    with pytest.raises(OptionError, match="--over samples") as raised:
        curves([tuned(16, 0.3), CHANCE])
    assert "infer --history $n" in raised.value.hint


def test_of_runs_that_differ_in_nothing_the_later_is_shown() -> None:
    one = replace(tuned(16, 0.3), run="one", about={"made": "2026-01-01"})
    two = replace(tuned(16, 0.35), run="two", about={"made": "2026-01-02"})
    made = curves([two, one, tuned(64, 0.4)])
    assert made.curves[0].points[0].runs == ("two",)
    assert made.notes == ("smol+lora (label) at 16: one and two look the same; the later one is shown",)


def test_a_figure_of_whole_runs_has_no_curve() -> None:
    entries = [replace(each, figures={"gini@10": 0.5}) for each in (tuned(16, 0.3), tuned(64, 0.4))]
    made = curves(entries, metrics=("ndcg@10", "gini@10"))
    assert made.metrics == ("ndcg@10",)
    assert "gini@10 is measured for whole runs" in made.notes[0]
    with pytest.raises(OptionError, match="were measured for users by gini@10"):
        curves(entries, metrics=("gini@10",))


def test_points_of_clicks_are_the_rows_of_their_board_and_less_loss_is_better() -> None:
    entries = [
        click_entry(f"deepfm-{n}", noise, factors=Factors("deepfm", {"dim": f"dim={n}"}, {"dim": float(n)}))
        for n, noise in ((4, 4.0), (16, 0.2))
    ]
    entries = [replace(each, entry=replace(each.entry, model="deepfm")) for each in entries]
    entries.append(click_entry("smol", 1.0, kind="language model", factors=Factors("smol")))
    metrics = ("auc", "log-loss")
    rows = {row.run: row for row in click_board(entries, metrics, samples=400)[0].rows}
    plan = BoardPlan(metrics, samples=400, permutations=1000, directions={"log-loss": "lower"}, unit="rows")
    users = [f"u{number}" for number in range(READERS)]
    made = build_curves(entries, users, "dim", plan, title="", protocol=[], shown=metrics, notes=[])
    assert {curve.metric: curve.label for curve in made.curves} == dict.fromkeys(metrics, "deepfm")
    for curve in made.curves:
        for point in curve.points:
            cell = rows[point.runs[0]].cells[curve.metric]
            assert (point.cell.mean, point.cell.low, point.cell.high) == pytest.approx((cell.mean, cell.low, cell.high))
    auc, loss = made.crossings
    assert 4 < auc.at < 16
    assert 4 < loss.at < 16
    assert loss.metric == "log-loss"


def test_requests_of_one_user_are_drawn_and_tested_together() -> None:
    entries = [tuned(0, 0.3), tuned(64, 0.32)]
    names = [f"u{number:03}" for number in range(USERS)]
    requests = sorted({name for each in entries for name in each.metrics["request_id"]})
    alone = curves(entries).curves[0].points
    own = curves(entries, users=dict(zip(requests, names, strict=True))).curves[0].points
    paired = curves(entries, users={name: f"u{at // 40}" for at, name in enumerate(requests)}).curves[0].points
    assert own == alone
    assert [point.cell.mean for point in paired] == [point.cell.mean for point in alone]
    # Ten users have 1,024 ways to flip signs, so no p is below 2 of them; 400 have more.
    assert paired[1].p is not None
    assert paired[1].p >= 2 / 1024 > 1 / 2001
    assert (paired[1].cell.low, paired[1].cell.high) != (alone[1].cell.low, alone[1].cell.high)


def test_requests_of_a_single_user_make_no_interval_and_no_place_of_a_crossing() -> None:
    entries = [tuned(0, 0.3), tuned(64, 0.5), trained("sasrec", 0.4)]
    requests = {name for each in entries for name in each.metrics["request_id"]}
    made = curves(entries, users=dict.fromkeys(requests, "ann"))
    cells = [*(point.cell for point in made.curves[0].points), *(each.cell for each in made.levels)]
    assert {(cell.low, cell.high) for cell in cells} == {(None, None)}
    assert all(np.isnan([each.low, each.high]).all() for each in made.crossings)


def test_a_model_tuned_on_nothing_is_the_start_of_every_curve_of_its_base() -> None:
    untuned = tuned(0, 0.3)
    assert untuned.factors is not None
    numbers = {"samples": 0.0, "history": 10.0}
    start = replace(untuned, factors=replace(untuned.factors, numbers=numbers, idle=frozenset({"rank", "lr"})))
    made = curves([start, tuned(64, 0.35), tuned(64, 0.37, rank=4), tuned(256, 0.4, rank=4)])
    assert found(made) == {
        "smol+lora (label, rank=4)": [(0, 0.3), (64, 0.37), (256, 0.4)],
        "smol+lora (label)": [(0, 0.3), (64, 0.35)],
    }


def test_unlike_ways_to_have_less_are_curves_of_their_own_and_all_end_in_everything() -> None:
    def part(words: dict[str, Any], events: int, mean: float) -> Any:
        made = trained("fm", mean, words=words)
        assert made.factors is not None
        return replace(made, factors=replace(made.factors, numbers={"train_events": float(events)}))

    whole = replace(trained("fm", 0.4), factors=Factors("fm", numbers={"train_events": 1000.0}, whole=True))
    some = [part({"train_samples": 64}, 64, 0.31), part({"train_fraction": 0.1}, 100, 0.25)]
    early = part({"train_fraction": 0.2, "train_by": "time"}, 200, 0.35)
    assert found(curves([*some, early, whole], "train-events")) == {
        "fm (by train_samples)": [(64, 0.31), (1000, 0.4)],
        "fm (train_by=users, by train_fraction)": [(100, 0.25), (1000, 0.4)],
        "fm (train_by=time, by train_fraction)": [(200, 0.35), (1000, 0.4)],
    }


def test_a_part_of_one_size_is_a_point_and_no_line() -> None:
    alone = trained("sasrec", 0.2, words={"train_samples": 64})
    made = curves([tuned(16, 0.3), tuned(64, 0.32), alone])
    assert found(made) == {"smol+lora (label)": [(16, 0.3), (64, 0.32)], "sasrec": [(64, 0.2)]}
    assert not made.levels
    assert not made.crossings

"""Sources of variance: small tables whose components are known by hand, and the boards that show them."""

import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from board_cases import board, entry
from llmrs_bench.leaderboard import EvaluatedRun
from llmrs_bench.leaderboard.variance import spread
from llmrs_bench.report.headline import headline
from llmrs_bench.report.machine import to_json
from llmrs_bench.report.table import spread_words, tables

Values = np.ndarray[Any, Any]


def table(users: Any, seeds: Any = (0.0,), draws: Any = (0.0,)) -> Values:
    """Return a table (users, seeds, draws) of sums, in which seeds change all users alike and draws are the same."""
    parts = [np.asarray(part, dtype=np.float64) for part in (users, seeds, draws)]
    return np.asarray(parts[0][:, None, None] + parts[1][None, :, None] + parts[2][None, None, :])


def test_users_alone_have_the_interval_of_students_t() -> None:
    found = spread("a", "m", table([1.0, 2.0, 3.0]))
    reach = 4.302653 * (1 / 3) ** 0.5  # t with two degrees of freedom, and the standard error
    assert (found.mean, found.low, found.high) == pytest.approx((2.0, 2.0 - reach, 2.0 + reach), abs=1e-5)
    assert found.shares["users"] == 1.0
    assert found.widths == {"users": pytest.approx(0.5**0.5)}


def test_seeds_alone_leave_as_many_degrees_of_freedom_as_seeds_less_one() -> None:
    found = spread("a", "m", table([2.0] * 4, seeds=[-1.0, 0.0, 1.0]))
    # MS(seeds) = 4 * 1, over 4 * 3 values: variance 1/3, two degrees of freedom
    assert found.high - 2.0 == pytest.approx(4.302653 * (1 / 3) ** 0.5, abs=1e-5)
    assert (found.largest, found.lever) == ("seeds", "seeds")
    assert found.shares["seeds"] == 1.0
    assert found.widths["users"] == 1.0


def test_components_add_up_to_the_variance_of_the_mean() -> None:
    values = table([0.0, 2.0, 4.0], seeds=[-1.0, 1.0])
    found = spread("a", "m", values)
    # var(users) / 3 = 4/3, var(seeds) / 2 = 1, nothing else
    assert found.shares["users"] == pytest.approx((4 / 3) / (4 / 3 + 1))
    assert found.shares["seeds"] == pytest.approx(1 / (4 / 3 + 1))
    assert found.shares["users by seeds"] == pytest.approx(0.0)
    total, freedom = 7 / 3, (7 / 3) ** 2 / ((4 / 3) ** 2 / 2 + 1**2 / 1)
    assert freedom == pytest.approx(2.882, abs=1e-3)
    assert (found.high - found.mean) / total**0.5 == pytest.approx(
        3.26, abs=0.02
    )  # between t(2) = 4.30 and t(3) = 3.18


def test_draws_within_users_are_told_from_users() -> None:
    values = np.array([[[0.0, 2.0]], [[4.0, 6.0]], [[2.0, 4.0]]])  # (users, one seed, draws)
    found = spread("a", "m", values)
    # means 1, 5, 3: var / 3 = 4/3; within: 2 each, over 3 * 2
    assert found.shares["draws"] == pytest.approx((2 / 6) / (4 / 3))
    assert found.shares["users"] == pytest.approx(1 - (2 / 6) / (4 / 3))
    assert found.widths == {"users": pytest.approx(0.5**0.5), "draws": pytest.approx((1 - 0.25 / 2) ** 0.5)}


def test_a_seed_that_changes_single_users_is_no_change_of_all() -> None:
    found = spread("a", "m", np.array([[[1.0], [0.0]], [[0.0], [1.0]], [[1.0], [0.0]], [[0.0], [1.0]]]))
    assert found.shares["users by seeds"] == 1.0
    assert found.shares["seeds"] == found.shares["users"] == 0.0


def test_what_both_rows_share_is_no_variance_of_their_difference() -> None:
    easy = np.array([0.1, 0.5, 0.9, 0.3])
    found = spread("a", "m", table(easy + 0.2), against="b", other=table(easy, seeds=[-0.1, 0.1]))
    assert found.mean == pytest.approx(0.2)
    assert found.shares["seeds"] == pytest.approx(1.0)
    assert found.high - found.mean == pytest.approx(12.7062 * 0.1, abs=1e-4)  # t with one degree of freedom
    turned = spread("b", "m", table(easy, seeds=[-0.1, 0.1]), against="a", other=table(easy + 0.2))
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))


def test_what_is_not_from_users_is_not_narrowed_by_users() -> None:
    found = spread("a", "m", np.array([[[0.0, 2.0]], [[2.0, 0.0]], [[0.0, 2.0]]]))  # (users, one seed, draws)
    assert (found.shares["users"], found.shares["draws"]) == (0.0, 1.0)
    assert found.lever == "draws"
    both = spread("a", "m", np.array([[[1.0], [0.0]], [[0.0], [1.0]], [[1.0], [0.0]], [[0.0], [1.0]]]))
    assert (both.shares["users by seeds"], both.lever) == (1.0, "seeds")


def test_values_that_do_not_vary_have_an_interval_without_width() -> None:
    found = spread("a", "m", np.ones((3, 2, 2)))
    assert (found.low, found.mean, found.high) == (1.0, 1.0, 1.0)
    assert set(found.shares.values()) == {0.0}
    assert found.lever == ""
    assert spread_words(found, "the mean").endswith("the mean is 1.0000 [1.0000, 1.0000]: nothing varies.")


def seeded(model: str, level: float, seeds: int, users: int = 60) -> list[EvaluatedRun]:
    rng = np.random.default_rng(len(model))
    easy = np.random.default_rng(1).normal(0.0, 0.2, users)
    kind = "language model" if model == "lm" else "recommender"
    return [
        entry(f"{model}-{seed}", level + easy + rng.normal(0.0, 0.05, users), model=model, kind=kind, group=model)
        for seed in range(seeds)
    ]


def test_a_board_says_where_the_variance_is_from() -> None:
    made, matrix = board([*seeded("sasrec", 0.6, 3), *seeded("lm", 0.4, 1)])
    whole = {(each.run, each.against): each for each in made.spreads}
    assert set(whole) == {("sasrec-0", ""), ("lm-0", "sasrec-0")}
    gap = whole["lm-0", "sasrec-0"]
    assert gap.mean == pytest.approx(float(matrix.values["ndcg@10"][1].mean() - matrix.values["ndcg@10"][0].mean()))
    titles = [table.title for table in tables(made) if "variance" in table.title]
    assert [title.partition(":")[0] for title in titles] == ["ndcg@10", "difference from sasrec (3 seeds) in ndcg@10"]
    (said,) = [line for line in headline(made) if line.startswith("Over all sources")]
    assert "60 users" in said
    shown = f"the difference from sasrec (3 seeds) is {gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]: "
    assert said.startswith(f"Over all sources of variance (60 users, 3 seeds), {shown}")
    assert re.search(r": \d+ % of its variance is from \w+. Twice the \w+ would narrow the interval to \d+ % ", said)
    assert json.loads(to_json(made))["variance"][0]["seeds"] == 3
    assert board([*seeded("sasrec", 0.6, 1), *seeded("lm", 0.4, 1)])[0].spreads == ()


@pytest.mark.parametrize(
    ("ours", "theirs", "called"),
    [
        ("training", "training", "training seeds"),
        ("sampling", "", "sampling seeds"),
        ("sampling", "training", "seeds"),
    ],
)
def test_seeds_are_named_by_what_they_are_of(ours: str, theirs: str, called: str) -> None:
    rows = {"lm": seeded("lm", 0.4, 3), "sasrec": seeded("sasrec", 0.6, 2 if theirs else 1)}
    named = [
        replace(run, about={**run.about, "seed_of": of})
        for runs, of in ((rows["lm"], ours), (rows["sasrec"], theirs))
        for run in runs
    ]
    made, _ = board(named)
    (said,) = [line for line in headline(made) if line.startswith("Over all sources")]
    assert said.startswith(f"Over all sources of variance (60 users, 3 {called})")
    gap = next(each for each in made.spreads if each.against)
    assert (gap.seeds, gap.other_seeds) == (3, 2 if theirs else 1)


def test_draws_of_candidates_are_known_by_their_requests() -> None:
    users = 20
    names = [f"u{user}-c{draw}" for user in range(users) for draw in (1, 2, 3)]
    owners = {name: name.partition("-")[0] for name in names}
    draws = {name: (name.partition("-")[0], int(name[-1])) for name in names}
    values = np.random.default_rng(0).normal(0.0, 1.0, (users, 3))
    entries = [
        entry("one", values.ravel(), requests=names, kind="language model"),
        entry("two", 1.0 + values.ravel() / 2, requests=names),
    ]
    made, _ = board(entries, users=owners, draws=draws)
    found = next(each for each in made.spreads if each.run == "one" and not each.against)
    assert (found.users, found.seeds, found.draws) == (users, 1, 3)
    assert found.shares == pytest.approx(spread("one", "ndcg@10", values[:, None, :]).shares)
    lost = {name: draw for name, draw in draws.items() if not name.startswith("u0-c3")} | {"u0-c3": ("other", 3)}
    made, _ = board(entries, users=owners, draws=lost)
    assert made.spreads == ()
    assert any("sources of variance are not shown" in note for note in made.notes)

"""The headline names the right rows, and each of its numbers is one of the board."""

import re
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from board_cases import board, entry
from llmrs_bench.clicks.baselines import TRIVIAL
from llmrs_bench.core.registry import RECOMMENDERS
from llmrs_bench.leaderboard import Board, EvaluatedRun
from llmrs_bench.leaderboard.board import ahead_of_front
from llmrs_bench.leaderboard.family import Contrast, difference_from
from llmrs_bench.leaderboard.headline import CONSTANTS, IMPERSONAL
from llmrs_bench.report.formats import FORMATS
from llmrs_bench.report.headline import cautions, headline, is_verdict
from llmrs_bench.report.html import Extra, to_html
from llmrs_bench.report.labels import brief_labels, distinct, shortened

USERS = 150
LM = "language model"


def run(
    name: str, level: float, kind: str = LM, *, seed: int = 0, users: int = USERS, metric: str = "ndcg@10", **more: Any
) -> EvaluatedRun:
    """Return a run whose values lie around a level; those of one seed differ by their level alone, but for noise."""
    common = np.random.default_rng(seed).normal(0, 0.2, users)
    own = np.random.default_rng([seed, *name.encode()]).normal(0, 0.02, users)
    about = {"requests": users, "seconds": 3.0, **more.pop("about", {})}
    return entry(name, {metric: level + common + own}, kind=kind, about=about, **more)


def text_of(*runs: EvaluatedRun, **plan: Any) -> tuple[str, Board]:
    """Return the headline of a board in one text, and the board."""
    made, _ = board(runs, **plan)
    return "\n".join(headline(made)), made


def gap_of(made: Board) -> Contrast:
    """Return what lies between the best language model and the best other row of a board."""
    assert made.headline is not None
    return made.headline.pairs[-1].contrast


def chance(users: int = USERS) -> EvaluatedRun:
    """Return the row of chance."""
    return entry("chance", np.full(users, 0.3), kind="baseline", exact=True, about={})


def test_the_best_of_both_sides_are_named_with_their_numbers() -> None:
    others = [
        run("sasrec", 0.7, "recommender", about={"scoring_seconds": 1.5}),
        run("popularity", 0.5, "baseline"),
        chance(),
    ]
    text, made = text_of(run("small", 0.4), run("large", 0.6, setting="listwise"), *others)
    rows = {row.model: row for row in made.rows}
    large, sasrec = (rows[name].cells["ndcg@10"] for name in ("large", "sasrec"))
    found = gap_of(made)
    assert found.difference == pytest.approx(large.mean - sasrec.mean)
    assert (found.low or 0.0) < found.difference < (found.high or 0.0) < 0
    assert text.splitlines() == [
        f"Best language model: large (listwise), ndcg@10 {large.mean:.4f} [{large.low:.4f}, {large.high:.4f}] "
        f"over {USERS} users.",
        f"Best recommender: sasrec, {sasrec.mean:.4f} [{sasrec.low:.4f}, {sasrec.high:.4f}].",
        f"The language model is worse than sasrec in ndcg@10: {found.difference:+.4f} "
        f"[{found.low:+.4f}, {found.high:+.4f}], p ≤.002 (Holm over 4 primary pairs; ≤: the least that 2,000 "
        "permutations can show).",
        "Cost of 1,000 users: 20 s for the language model, 10 s for sasrec (after 1.5 s of training).",
    ]


def test_what_rows_were_shown_and_where_they_were_timed_is_said() -> None:
    ours = run("small", 0.4, about={"history": 10, "machine": {"cpu": "one"}, "scoring_seconds": 1.0})
    theirs = run("sasrec", 0.7, "recommender", about={"history": 1200, "machine": {"cpu": "other"}})
    text, _ = text_of(ours, theirs, chance())
    assert f"over {USERS} users, from the last 10 items of a user.\n" in text
    assert "], from the last 1,200 items of a user.\n" in text
    assert "; these are of 2 machines.\n" in f"{text}\n"


def test_what_is_better_and_what_cannot_be_told_apart_is_said_so() -> None:
    text, _ = text_of(run("lm", 0.7), run("sasrec", 0.5, "recommender"))
    assert "The language model is better than sasrec in ndcg@10: +0.2" in text
    text, made = text_of(run("lm", 0.5), run("sasrec", 0.5, "recommender", seed=1))
    found = gap_of(made)
    assert found.corrected > 0.05
    assert re.search(
        rf"model cannot be told apart from sasrec in ndcg@10 on {USERS} users: .*; about {found.needed:,} users would",
        text,
    )
    text, made = text_of(run("lm", 0.9, users=4), run("sasrec", 0.1, "recommender", users=4, seed=1))
    assert (gap_of(made).needed or 0) <= 4  # what a difference of this size would need, where no p could be small
    assert "cannot be told apart from sasrec in ndcg@10 on 4 users" in text
    assert "users would show such" not in text


def test_rows_for_ablations_do_not_weaken_it_unless_they_are_language_models_or_others() -> None:
    pair = [run("lm", 0.5, seed=1), run("sasrec", 0.51, "recommender", seed=1)]
    more = [entry(f"mix-{n}", 0.6 + np.zeros(USERS) + n, kind="fusion", about={}) for n in range(8)]
    alone, crowded = (text_of(*runs) for runs in (pair, [*pair, *more]))
    assert asdict(gap_of(alone[1])) == pytest.approx(asdict(gap_of(crowded[1])))
    assert [made.family.pairs for _, made in (alone, crowded) if made.family] == [1, 1]
    assert "(one primary pair)" in alone[0]
    assert "Best fusion: mix-7, 7.6000" in crowded[0]
    _, wider = text_of(*pair, run("lm-2", 0.2, seed=1), run("bpr", 0.3, "recommender", seed=1))
    assert wider.family is not None
    assert wider.family.pairs == 4


def test_its_p_is_that_of_the_mark_in_the_table() -> None:
    """A raw p of about .01 is a difference in the primary family of two pairs, and none among all 15."""
    rng = np.random.default_rng(5)
    common, noise = rng.normal(0, 0.2, USERS), rng.normal(0, 0.1, (2, USERS))
    noise -= noise.mean(1, keepdims=True)
    pair = [
        entry("lm", 0.48 + common + noise[0], kind=LM, about={}),
        entry("sasrec", 0.51 + common + noise[1], about={}),
    ]
    more = [entry(f"mix-{n}", 0.1 * n + 0.2 + common * n, kind="fusion", about={}) for n in range(2)]
    text, made = text_of(*pair, *more, run("popularity", 0.1, "baseline"), chance())
    cell = next(row for row in made.rows if row.model == "lm").cells["ndcg@10"]
    found = gap_of(made)
    assert cell.versus == found
    assert 0.004 < found.p < 0.025
    assert found.corrected == found.p  # Holm: the larger of two
    assert not cell.as_good
    assert "The language model is worse than sasrec" in text
    assert found.p * (made.tests - 2) > 0.05


def test_without_a_language_model_or_a_trained_recommender_it_says_that() -> None:
    text, _ = text_of(run("sasrec", 0.7, "recommender"), chance())
    assert text.startswith("No language model is on this board yet (150 users).\nBest recommender: sasrec, ndcg@10 0.")
    text, _ = text_of(run("lm", 0.7), run("popularity", 0.5, "baseline"), chance())
    assert "No trained recommender is on this board yet. Best baseline: popularity, 0." in text


def test_a_recommender_below_a_baseline_has_its_difference_and_each_row_its_cost() -> None:
    rows = [
        run("lm", 0.66, metric="auc", about={"scoring_seconds": 1.5}),
        run("din", 0.73, "click model", metric="auc"),
        run("logistic", 0.78, "baseline", metric="auc", about={"seconds": None}),
    ]
    made, _ = board(rows, ("auc",), unit="rows", scope=f"900 rows of {USERS} users", permutations=20_000)
    means = {row.model: row.cells["auc"] for row in made.rows}
    shown = {name: f"{name}, {cell.mean:.4f} [{cell.low:.4f}, {cell.high:.4f}]" for name, cell in means.items()}
    assert made.headline is not None
    pairs = {pair.contrast.against: pair.contrast for pair in made.headline.pairs}
    assert {name: found.difference for name, found in pairs.items()} == pytest.approx(
        {name: means["lm"].mean - means[name].mean for name in ("din", "logistic")}
    )
    differences = {
        name: f"The language model is worse than {name} in auc: {found.difference:+.4f} "
        f"[{found.low:+.4f}, {found.high:+.4f}], p <.001"
        for name, found in pairs.items()
    }
    assert max(found.corrected for found in pairs.values()) < 0.001
    assert headline(made) == [
        f"Best language model: {shown['lm'].replace('lm, ', 'lm, auc ')} over 900 rows of {USERS} users.",
        f"Best recommender: {shown['din']}. A baseline is better still: {shown['logistic']}.",
        f"{differences['din']} (Holm over 2 primary pairs).",
        f"{differences['logistic']}.",
        "Cost of 1,000 rows: 10 s for the language model (after 1.5 s of training), 20 s for din; "
        "not measured for logistic.",
    ]
    text, _ = text_of(run("lm", 0.2), run("itemknn", 0.5, "recommender"), run("popularity", 0.501, "baseline"))
    assert "]. A baseline cannot be told apart from it: popularity, 0." in text


def test_what_makes_the_language_model_doubtful_stands_there() -> None:
    odd = {"kinds": {"complete": 30, "off-list": 10}, "label_mass": 0.2}
    text, _ = text_of(run("lm", 0.3, users=40, about=odd), run("sasrec", 0.7, "recommender", users=40), chance(40))
    last = text.splitlines()[-1]
    assert last == (
        "Be careful with the language model: its interval holds chance (.3000); answers: complete 75 %, off-list 25 %; "
        "its labels hold 20.0 % of what it would write next; 40 users are few."
    )
    text, _ = text_of(run("lm", 0.6), run("sasrec", 0.7, "recommender"), chance())
    assert "careful" not in text
    assert not is_verdict(last)
    text, _ = text_of(run("demo-lm", 0.1), run("sasrec", 0.7, "recommender"), chance())
    assert "demo-lm is a toy trained on this data set, so this says nothing of real language models; it is" in text


def test_a_best_recommender_baseline_or_fusion_at_chance_is_said() -> None:
    text, made = text_of(run("itemknn", 0.31, "recommender"), run("popularity", 0.2, "baseline"), chance())
    knn = "the best recommender, itemknn, is no better than chance (.3000, within its interval)"
    assert text.splitlines()[-1] == f"Be careful: {knn}."
    assert cautions(made) == [("recommender at chance", knn)]
    text, _ = text_of(
        run("itemknn", 0.2, "recommender", users=40), run("popularity", 0.31, "baseline", users=40), chance(40)
    )
    worse = "the best recommender, itemknn, is worse than chance (.3000)"
    popularity = "the best baseline, popularity, is no better than chance (.3000, within its interval)"
    assert text.splitlines()[-1] == f"Be careful: {worse}; {popularity}; 40 users are few."
    mix = run("mix", 0.2, "fusion")
    text, made = text_of(run("lm", 0.31), run("itemknn", 0.31, "recommender"), mix, chance())
    mixed = "the best fusion, mix, is worse than chance (.3000)"
    assert text.splitlines()[-2:] == [
        "Be careful with the language model: its interval holds chance (.3000).",
        f"Be careful with what the language model is compared with: {knn}; {mixed}.",
    ]
    assert [word for word, _ in cautions(made)] == ["at chance", "recommender at chance", "fusion below chance"]
    text, _ = text_of(run("lm", 0.6), run("itemknn", 0.5, "recommender"), chance())
    assert "careful" not in text


@pytest.mark.parametrize(
    ("mean", "said"), [(0.505, "no better than chance (.5000, within"), (0.3, "worse than chance"), (0.6, "")]
)
def test_a_click_model_at_chance_is_said_beside_a_constant_as_well(mean: float, said: str) -> None:
    rows = [
        run("din", mean, "click model", metric="auc"),
        entry("majority", {"auc": np.full(150, 0.5)}, kind="baseline"),
    ]
    made, _ = board(rows, ("auc",), unit="rows")
    (warned,) = [line for line in headline(made) if line.startswith("Be careful")] or [""]
    assert (f"Be careful: the best recommender, din, is {said}" in warned) == bool(said)
    assert bool(warned) == bool(said)


def test_the_mock_is_no_language_model_and_stands_in_where_there_is_none() -> None:
    others = [run("sasrec", 0.7, "recommender"), run("popularity", 0.5, "baseline"), chance()]
    text, made = text_of(run("mock", 0.9), *others, scope="150 users, 20 candidates each")
    first = "No language model is on this board yet, only mock, which reads nothing and answers at random"
    assert text.splitlines()[0] == f"{first} (150 users, 20 candidates each)."
    assert "popularity is worse than sasrec" in text
    assert made.family is not None
    assert (made.family.main, made.family.pairs) == (("mock",), 2)
    text, made = text_of(run("mock", 0.9), run("lm", 0.6), *others)
    assert text.startswith("Best language model: lm,")
    assert made.family is not None
    assert made.family.main == ("lm",)


def test_fewer_users_than_the_board_has_are_said() -> None:
    rows = [run("lm", 0.6, users=120), run("sasrec", 0.7, "recommender")]
    text, _ = text_of(*rows, scope="150 users, 20 candidates each")
    assert "] over 120 users (the board: 150 users, 20 candidates each)." in text
    text, _ = text_of(run("sasrec", 0.7, "recommender", users=40), run("itemknn", 0.5, "recommender", users=40))
    assert text.endswith("\nBe careful: 40 users are few.")


@pytest.mark.parametrize(
    ("metric", "mean", "why"),
    [
        ("auc", 0.3, "its auc of .3000 is below .5: its scores order rows the wrong way round"),
        ("auc", 0.499, "its auc of .4990 is below .5: it learned nothing that orders rows"),
        ("uauc", 0.3, "rows of one user the wrong way round, unless chance is as low, which was not measured"),
        ("auc", 0.6, ""),
    ],
)
def test_scores_that_order_nothing_are_said_of_each_language_model(metric: str, mean: float, why: str) -> None:
    made, _ = board([entry("lm", {metric: mean + np.linspace(-0.2, 0.2, 150)}, kind=LM)], (metric,))
    assert (f"{why}." if why else "language model.") in headline(made)[-1]
    assert [each for each in made.notes if "below .5" in each] == ([f"lm: {caution(made)}"] if why else [])


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.35, 0.4, "order rows of one user the wrong way round, for chance is .3750 (.3500 to .4000)"),
        (0.25, 0.35, "it learned nothing that orders rows, for chance is .3000 (.2500 to .3500)"),
        (0.1, 0.2, ""),
    ],
)
def test_a_uauc_below_half_is_held_against_chance_where_that_was_measured(low: float, high: float, said: str) -> None:
    null = {"mean": (low + high) / 2, "low": low, "high": high, "permutations": 20, "histories": "as they are"}
    values = {"uauc": 0.3 + np.linspace(-0.2, 0.2, 150)}
    made, _ = board([entry("lm", values, kind=LM, about={"uauc_null": null})], ("uauc",))
    assert [words for _, words in cautions(made) if "below .5" in words] == ([caution(made)] if said else [])
    assert not said or caution(made).endswith(said)


def caution(made: Board) -> str:
    """Return the only caution of a board."""
    ((_, words),) = cautions(made)
    return words


def test_p_has_room_below_001_in_a_primary_family_and_says_where_it_has_none() -> None:
    runs = [run(f"lm-{n}", 0.1 * n) for n in range(5)] + [run(f"rec-{n}", 0.9, "recommender", seed=n) for n in range(3)]
    few, many = (text_of(*runs, permutations=permutations) for permutations in (1000, None))
    assert many[1].permutations == 15_000
    assert "p <.001 (Holm over 15 primary pairs)." in many[0]
    assert "p ≤.015 (Holm over 15 primary pairs; ≤: the least that 1,000 permutations can show)" in few[0]
    tables = [FORMATS[name](few[1]) for name in ("markdown", "latex")]
    assert all("the least that 1,000 permutations can show" in table for table in tables)
    assert r"$\leq$.015$^{\dagger}$" in tables[1]


def test_rows_without_a_cost_are_left_out_of_the_front_and_named() -> None:
    imported = run("elsewhere", 0.9, "import", about={"seconds": None})
    trivial = run("item-mean", 0.1, "baseline", about={"seconds": None})
    machines = [{"machine": {"cores": cores}} for cores in ("2", "16")]
    rows = [run("lm", 0.5, about=machines[0]), run("sasrec", 0.7, "recommender", about=machines[1])]
    _, made = text_of(*rows, imported, trivial)
    said = (
        "rows were timed on 2 machines; cost not measured, so neither on the front nor beaten by it: elsewhere, "
        "1 baseline (better than all rows on it: elsewhere)"
    )
    assert made.protocol[-1].endswith(said)
    assert [row.model for row in ahead_of_front(made.rows, "ndcg@10")] == ["elsewhere"]
    assert said in to_html(made, Extra())


@pytest.mark.parametrize(
    ("level", "said"),
    [(0.9, ""), (0.501, "cannot be told apart from popularity"), (0.4, "is worse than popularity")],
)
def test_a_list_that_is_the_same_for_all_may_be_as_good(level: float, said: str) -> None:
    text, made = text_of(run("lm", level), run("popularity", 0.5, "baseline"), run("sasrec", 0.7, "recommender"))
    mean = next(row.cells["ndcg@10"].mean for row in made.rows if row.model == "popularity")
    shown = f"it {said} (" + f"{mean:.4f}".removeprefix("0") + "), which ignores who the user is"
    assert (shown in text) == bool(said)


WORSE, APART = "is worse than", "cannot be told apart from"


@pytest.mark.parametrize(
    ("metric", "levels", "said"),
    [
        ("auc", {"lm": 0.6, "item-mean": 0.7, "majority": 0.5}, {WORSE: ["item-mean"]}),
        ("auc", {"lm": 0.7, "item-mean": 0.701}, {APART: ["item-mean"]}),
        ("auc", {"lm": 0.4, "item-mean": 0.7, "majority": 0.5}, {WORSE: ["majority", "item-mean"]}),
        ("auc", {"lm": 0.8, "item-mean": 0.7, "user-mean": 0.9, "majority": 0.5}, {}),
        ("rmse", {"lm": 1.3, "item-mean": 1.0, "global-mean": 1.1}, {WORSE: ["global-mean", "item-mean"]}),
        (
            "rmse",
            {"lm": 1.1, "item-mean": 1.0, "global-mean": 1.101},
            {APART: ["global-mean"], WORSE: ["item-mean"]},
        ),
        ("rmse", {"lm": 1.0, "item-mean": 1.1, "global-mean": 1.2}, {}),
        ("hit@1", {"lm": 0.4, "popularity": 0.3, "recent-popularity": 0.5}, {WORSE: ["recent-popularity"]}),
    ],
)
def test_what_ignores_the_user_is_named_on_boards_of_all_tasks(
    metric: str, levels: dict[str, float], said: dict[str, list[str]]
) -> None:
    runs = [run(name, level, LM if name == "lm" else "baseline", metric=metric) for name, level in levels.items()]
    made, _ = board(runs, (metric,), directions={"rmse": "lower"})
    means = {row.model: row.cells[metric].mean for row in made.rows}
    tests = {each.second if each.first == "lm" else each.first: each for each in made.differences}
    clauses = []
    for verdict, names in said.items():
        for name in names:
            assert (tests[name].corrected < 0.05) == (verdict == WORSE)
            assert verdict == APART or (means["lm"] - means[name]) * made.sign(metric) < 0
        told = [
            f"{name} ({means[name]:.4f}), {'a constant' if name in CONSTANTS else 'which ignores who the user is'}"
            for name in names
        ]
        clauses.append(f"it {verdict} {', and '.join(told)}".replace("(0.", "(."))
    if metric == "auc" and means["lm"] < 0.5:
        clauses.append(
            f"its auc of {means['lm']:.4f} is below .5: its scores order rows the wrong way round".replace(" 0.", " .")
        )
    warned = [line for line in headline(made) if line.startswith("Be careful")]
    assert warned == ([f"Be careful with the language model: {'; '.join(clauses)}."] if said else [])


def test_rows_that_ignore_the_user_are_models_of_this_package() -> None:
    assert {*CONSTANTS, *IMPERSONAL} <= {*TRIVIAL, *RECOMMENDERS.names()}


def test_a_long_name_is_left_with_what_sets_it_apart() -> None:
    options = "epochs=1, evaluate_every=64, batch_tokens=32768"
    tuned = [
        run(f"lm+lora {lr}", level, model="lm+lora", setting=f"label, {options}, lr={lr}")
        for lr, level in ((1, 0.5), (2, 0.4))
    ]
    full = run("lm+full", 0.3, model="lm+full-of-letters", setting=f"likelihood, {options}")
    sasrec = run("sasrec", 0.7, "recommender", setting="epochs=1, 3 seeds")
    text, made = text_of(*tuned, full, sasrec)
    assert "Best language model: lm+lora (label, lr=1), ndcg@10" in text
    assert "Best recommender: sasrec (epochs=1, 3 seeds)," in text  # it has room
    brief, least = (set(brief_labels(made.rows, templates=each).values()) for each in (True, False))
    assert brief >= {"lm+lora (label, lr=1)", "lm+lora (label, lr=2)", "lm+full-of-letters (likelihood)"}
    assert least == {"lm+lora (lr=1)", "lm+lora (lr=2)", "lm+full-of-letters", "sasrec"}


def test_clicks_have_a_chance_level_of_their_own_and_unlike_users_are_said() -> None:
    made, _ = board([entry("lm", {"auc": np.linspace(0.2, 0.8, 150)}, kind=LM)], ("auc",))
    assert headline(made)[-1] == "Be careful with the language model: its interval holds chance (.5000)."
    few = run("lm", 0.5, users=120)
    text, _ = text_of(few, run("sasrec", 0.7, "recommender"))
    assert "The difference is that of the 120 users whom both have." in text


def test_rows_of_one_kind_have_the_best_against_the_second() -> None:
    text, _ = text_of(run("sasrec", 0.9, "recommender"), run("itemknn", 0.1, "recommender"))
    assert "\nitemknn is worse than sasrec in ndcg@10: -0." in text
    assert text.endswith(" for sasrec, 20 s for itemknn.")
    text, _ = text_of(run("lm", 0.9), run("other", 0.1))
    assert "\nother is worse than lm in ndcg@10: -0." in text


def test_a_tie_has_the_sign_that_the_table_of_differences_has() -> None:
    text, made = text_of(run("item-mean", 0.5, "baseline"), run("biased-mean", 0.5, "baseline", seed=1))
    (best, second), (found,) = made.rows, made.differences
    assert (found.first, found.second, made.reference) == (best.run, second.run, best.run)
    row = difference_from(found, made.reference)
    start = f"\n{second.model} cannot be told apart from {best.model} in ndcg@10 on {USERS} users: "
    assert f"{start}{row.difference:+.4f} [{row.low:+.4f}, {row.high:+.4f}]" in text
    assert row.difference < 0


def test_one_user_and_costs_that_are_no_numbers() -> None:
    few = run("lm", 0.5, users=1, about={"seconds": float("nan"), "scoring_seconds": float("nan")})
    text, made = text_of(few, run("sasrec", 0.7, "recommender"))
    assert text.endswith("1 user is few.")
    assert {row.model: row.cost.seconds for row in made.rows} == {"lm": None, "sasrec": 3.0}
    assert "nan" not in text


def test_of_a_metric_where_less_is_better_the_lower_one_is_better() -> None:
    runs = [run("lm", 0.2), run("item-mean", 0.5, "baseline")]
    text, _ = text_of(*runs, directions={"ndcg@10": "lower"})
    assert "The language model is better than item-mean in ndcg@10: -0.3" in text
    text, made = text_of(*runs, directions={"ndcg@10": "neither"})
    assert (text, made.headline) == ("", None)


def test_prices_stand_beside_seconds() -> None:
    priced = run("lm", 0.5, about={"price_usd": 0.3})
    text, _ = text_of(priced, run("sasrec", 0.7, "recommender"))
    assert "20 s and 2 USD for the language model, 20 s for sasrec" in text


def test_every_format_for_people_begins_with_it() -> None:
    made, _ = board([run("lm", 0.5), run("sasrec", 0.7, "recommender")])
    first = headline(made)[0]
    assert FORMATS["markdown"](made).index("- Best language model") < FORMATS["markdown"](made).index("| model |")
    assert f'"{first}"' in FORMATS["json"](made)
    assert first in to_html(made, Extra())


def test_what_rounds_to_nothing_has_no_minus() -> None:
    same = np.full(40, 0.5)
    text, _ = text_of(entry("lm", same - 1e-9, kind=LM), entry("sasrec", same), chance())
    assert "0.0000" in text
    assert "-0.0000" not in text


@pytest.mark.parametrize(
    ("room", "said"),
    [
        (60, "SmolLM2-135M-Instruct+lora-256 (listwise, answer=titles)"),
        (40, "Smo..+lora-256 (listwise, answer=titles)"),
        (34, "Smol..+lora-256 (listwise, titles)"),
        (30, "..+lora-256 listwise, titles"),
        (24, "Smol..+lora-256 (titles)"),
        (20, "..+lora-256 titles"),
        (16, "SmolL..+lora-256"),
        (9, "Smol..es)"),
    ],
)
def test_what_sets_a_name_apart_stays_whole_where_it_can(room: int, said: str) -> None:
    assert shortened("SmolLM2-135M-Instruct+lora-256 (listwise, answer=titles)", room) == said


def test_names_that_would_be_the_same_are_others() -> None:
    names = [(f"a-long-model (listwise, answer={way})",) * 2 + (f"a-long-model (answer={way})",) for way in "abc"]
    found = distinct(names, [20] * 3)
    assert found == [f"a-lo.. (listwise, {way})" for way in "abc"]
    assert distinct(names, [12] * 3) == [f"a-long.. ({way})" for way in "abc"]
    assert shortened("demo-lm (demo) (likelihood)", 23) == "demo-lm.. (likelihood)"
    assert distinct([("same", "same", "same")] * 2, [20] * 2) == ["same", "same"]

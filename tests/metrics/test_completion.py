"""Silent items: the closed form against the mean over all their orders, and what the other policies make of them."""

from itertools import permutations
from math import log

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrs_bench.core.config import Invalid
from llmrs_bench.metrics import check_rankings, count_answers, measure, parse_metrics
from ranked_lists import Lists, ranked, values, wanted

FORMS = ["hit@K", "recall@K", "precision@K", "mrr@K", "ndcg@K", "map@K"]
WHOLE = ["mrr", "map", "ndcg"]
POLICIES: list[Invalid] = ["expected", "worst", "drop"]


@pytest.mark.slow
@settings(max_examples=60)
@given(
    told=st.integers(0, 4),
    silent=st.integers(0, 5),
    elsewhere=st.integers(0, 2),
    cutoff=st.integers(1, 11),
    data=st.data(),
)
def test_the_expectation_is_the_mean_over_all_orders_of_silent_items(
    told: int, silent: int, elsewhere: int, cutoff: int, data: st.DataObject
) -> None:
    items = [f"i{number}" for number in range(told + silent)]
    relevant = sorted(data.draw(st.sets(st.sampled_from(items)))) if items else []
    relevant += [f"other{number}" for number in range(elsewhere + (not relevant and not elsewhere))]
    metrics = parse_metrics([*WHOLE, *(form.replace("K", str(cutoff)) for form in FORMS)])
    frame = measure(wanted({"r": relevant}), ranked({"r": (items[:told], items[told:])}), metrics)
    orders: Lists = {str(n): ([*items[:told], *order], []) for n, order in enumerate(permutations(items[told:]))}
    every = measure(wanted(dict.fromkeys(orders, relevant)), ranked(orders), metrics)
    means = dict(every.group_by("metric").agg(pl.col("value").mean()).iter_rows())
    assert {metric: value for _, metric, value in frame.iter_rows()} == {
        name: pytest.approx(mean) for name, mean in means.items()
    }


@pytest.mark.parametrize("name", ["auc", "map", "mrr", "ndcg", "hit@2", "recall@2"])
def test_auc_expects_as_ranks_do(name: str) -> None:
    items = ["a", "b", "c", "d", "e"]
    target = {"r": ["b", "d"]}
    frame = measure(wanted(target), ranked({"r": (items[:2], items[2:])}), parse_metrics([name]))
    orders: Lists = {str(n): ([*items[:2], *order], []) for n, order in enumerate(permutations(items[2:]))}
    every = measure(wanted(dict.fromkeys(orders, target["r"])), ranked(orders), parse_metrics([name]))
    assert values(frame, name)["r"] == pytest.approx(every["value"].mean())


LISTS = {
    "whole": (["a", "b", "c", "d"], []),
    "partial": (["a", "b"], ["c", "d"]),
    "mute": ([], ["a", "b", "c", "d"]),
}
TARGETS = {name: ["c"] for name in [*LISTS, "gone"]}


@pytest.mark.parametrize(
    ("invalid", "expected"),
    [
        ("expected", {"whole": 1.0, "partial": 1 / 2, "mute": 3 / 4, "gone": 0.0}),
        ("worst", {"whole": 1.0, "partial": 0.0, "mute": 0.0, "gone": 0.0}),
        ("drop", {"whole": 1.0, "partial": 1 / 2, "gone": 0.0}),
    ],
)
def test_policies(invalid: Invalid, expected: dict[str, float]) -> None:
    frame = measure(wanted(TARGETS), ranked(LISTS), parse_metrics(["hit@3", "recall@3"]), invalid=invalid)
    assert values(frame, "hit@3") == values(frame, "recall@3") == expected


@pytest.mark.parametrize("invalid", POLICIES)
def test_no_policy_touches_how_a_model_answered(invalid: Invalid) -> None:
    names = ["answered", "coverage", "listed", "listed@3"]
    frame = measure(wanted(TARGETS), ranked(LISTS), parse_metrics(names), invalid=invalid)
    assert values(frame, "answered") == {"whole": 1, "partial": 1, "mute": 0, "gone": 0}
    assert values(frame, "coverage") == {"whole": 1, "partial": 0, "mute": 0, "gone": 0}
    assert values(frame, "listed") == {"whole": 1, "partial": 1 / 2, "mute": 0, "gone": 0}
    assert values(frame, "listed@3") == {"whole": 1, "partial": 2 / 3, "mute": 0, "gone": 0}


@pytest.mark.parametrize("invalid", POLICIES)
def test_answers_are_counted(invalid: Invalid) -> None:
    assert count_answers(wanted(TARGETS), ranked(LISTS), invalid) == {
        "requests": 4,
        "requests_without_ranking": 1,
        "requests_unanswered": 1,
        "requests_dropped": int(invalid == "drop"),
    }


def test_where_nothing_is_silent_every_policy_is_one() -> None:
    truth, rankings = wanted({"r": ["c"]}), ranked({"r": (["a", "b", "c"], [])})
    metrics = parse_metrics(["ndcg@10", "hit@1", "map", "auc", "log-loss"])
    frames = [measure(truth, rankings, metrics, invalid=invalid) for invalid in POLICIES]
    assert frames[0].rows() == frames[1].rows() == frames[2].rows()


@pytest.mark.parametrize(("invalid", "loss"), [("expected", log(4)), ("worst", -log(1e-15))])
def test_a_silent_answer_costs_what_uniform_chances_cost_or_the_most(invalid: Invalid, loss: float) -> None:
    frame = measure(wanted(TARGETS), ranked(LISTS), parse_metrics(["log-loss", "auc"]), invalid=invalid)
    assert values(frame, "log-loss")["mute"] == pytest.approx(loss)
    assert values(frame, "log-loss")["gone"] == pytest.approx(-log(1e-15))
    assert values(frame, "auc")["mute"] == (0.5 if invalid == "expected" else 0)
    assert values(frame, "auc")["gone"] == 0


def test_these_rankings_are_ones() -> None:
    check_rankings(wanted(TARGETS), ranked(LISTS), where="here")

"""Metrics beyond accuracy against values worked out by hand, and over all orders of what a model left unranked."""

from collections import Counter
from itertools import combinations, permutations, product
from math import log, log2
from statistics import fmean

import polars as pl
import pytest

from llmrs_bench.core.schemas import INTERACTIONS, ITEMS, REQUESTS
from llmrs_bench.metrics import Background, Metric, catalogue_figures, measure
from llmrs_bench.metrics.beyond import gini
from ranked_lists import ranked, values, wanted

EVENTS = {"a": 8, "b": 4, "c": 2, "d": 1, "e": 1}
CATEGORIES = {"a": ["X"], "b": ["X", "Y"], "c": ["Y"], "d": ["Z"], "e": []}


def background() -> Background:
    events = [(f"u{n}", item, n, None, "train") for item, count in EVENTS.items() for n in range(count)]
    items = [(item, item, "", None, kinds) for item, kinds in CATEGORIES.items()]
    requests = [("r", "u0", "test", 9, ["a", "d"], list("abcde"))]
    return Background(
        interactions=pl.DataFrame(events, schema=INTERACTIONS, orient="row"),
        items=pl.DataFrame(items, schema=ITEMS, orient="row"),
        requests=pl.DataFrame(requests, schema=REQUESTS, orient="row"),
    )


def value(metric: str, told: str, silent: str = "") -> float:
    frame = measure(
        wanted({"r": ["c"]}), ranked({"r": (told, silent)}), [Metric.parse(metric)], background=background()
    )
    return values(frame, metric)["r"]


def test_values_worked_out_by_hand() -> None:
    assert value("popularity@2", "abcde") == (8 + 4) / 2
    assert value("popularity-lift@2", "abcde") == pytest.approx(6 / 4.5 - 1)
    assert value("novelty@2", "abcde") == pytest.approx((1 - log2(4 / 16)) / 2)
    assert value("history-copy@2", "abcde") == 0.5
    assert value("history-copy@2", "bceda") == 0.0
    assert value("diversity@3", "abcde") == pytest.approx(fmean([1 / 2, 1.0, 1 / 2]))
    assert value("diversity@3", "adebc") == 1.0  # e has no category, so a and d are the only pair


@pytest.mark.parametrize("metric", ["popularity@3", "novelty@3", "history-copy@3", "popularity-lift@3"])
def test_silent_items_count_by_the_mean_over_their_orders(metric: str) -> None:
    mean = fmean(value(metric, "c" + "".join(rest)) for rest in permutations("abde"))
    assert value(metric, "c", "abde") == pytest.approx(mean)


def test_figures_of_a_run() -> None:
    rankings = ranked({"r": ("abcde", ""), "s": ("abdce", "")})
    metrics = [Metric.parse("catalogue-coverage@2"), Metric.parse("gini@2")]
    found = catalogue_figures([rankings], background().items, metrics)
    assert found["catalogue-coverage@2"] == 2 / 5
    # Two of five items are shown twice each: sum over j of (2 j - 6) x_j, over (5 - 1) times the sum of x.
    assert found["gini@2"] == pytest.approx((2 * 2 + 4 * 2) / (4 * 4))


def test_auc_and_log_loss_of_scores() -> None:
    truth, rankings = wanted({"r": ["b"]}), ranked({"r": ("abc", "d")})
    found = measure(truth, rankings, [Metric.parse("auc"), Metric.parse("log-loss")])
    assert values(found, "auc")["r"] == pytest.approx(2 / 3)
    scores = [-1.0, -2.0, -3.0, -3.0]  # d shares the lowest
    norm = log(sum(2.718281828459045**score for score in scores))
    assert values(found, "log-loss")["r"] == pytest.approx(norm + 2.0)


def test_policies_for_silent_targets() -> None:
    truth, rankings = (
        wanted({"told": ["a"], "silent": ["c"], "mute": ["a"]}),
        ranked({"told": ("ab", "cd"), "silent": ("ab", "cd"), "mute": ("", "abcd")}),
    )
    hit = [Metric.parse("hit@3")]
    expected = values(measure(truth, rankings, hit), "hit@3")
    assert expected == {"told": 1.0, "silent": 0.5, "mute": 0.75}
    assert values(measure(truth, rankings, hit, invalid="worst"), "hit@3") == {"told": 1.0, "silent": 0.0, "mute": 0.0}
    assert values(measure(truth, rankings, hit, invalid="drop"), "hit@3") == {"told": 1.0, "silent": 0.5}


@pytest.mark.parametrize("free", [1, 2, 3])
def test_gini_of_unranked_items_is_the_mean_over_their_orders(free: int) -> None:
    lists = {f"{number}{name}": name for number in range(2) for name in ("abcd", "abcde")}
    draws = product(*(combinations(items, free) for items in lists.values()))
    counts = [Counter(item for one in drawn for item in one) for drawn in draws]
    exact = fmean(gini(pl.Series([found[item] for item in "abcde"])) for found in counts[:: 7 if free > 1 else 1])
    rankings = ranked({name: ("", items) for name, items in lists.items()})
    metric = Metric.parse(f"gini@{free}")
    found = catalogue_figures([rankings], background().items, [metric])
    assert found == catalogue_figures([rankings], background().items, [metric])
    assert found[str(metric)] == pytest.approx(exact, abs=0.02)
    numbers = [sum(free / len(items) for items in lists.values() if item in items) for item in "abcde"]
    assert gini(pl.Series(numbers)) < exact - 0.05  # that of the expected numbers is less

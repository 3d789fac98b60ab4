"""Several relevant items: chance against all orders, scores against all pairs, each metric against its definition."""

from itertools import permutations, product
from math import exp, log, log2

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrs_bench.core.schemas import RANKINGS, TRUTH
from llmrs_bench.metrics import Metric, chance, chance_level, measure, parse_metrics
from llmrs_bench.metrics.accuracy import MOST_LOSS, log_loss
from ranked_lists import ranked, wanted

NAMES = ["hit@2", "recall@2", "precision@3", "mrr", "mrr@2", "ndcg@3", "ndcg", "map", "map@2"]


def defined(name: str, order: list[str], relevant: set[str]) -> float:
    """Return a metric as its definition reads, item by item."""
    metric = Metric.parse(name)
    k = metric.cutoff or len(order)
    hits = [item in relevant for item in order[:k]]
    ideal = [1 / log2(rank + 1) for rank in range(1, min(len(relevant), metric.cutoff or len(relevant)) + 1)]
    return {
        "hit": float(any(hits)),
        "recall": sum(hits) / len(relevant),
        "precision": sum(hits) / k,
        "mrr": next((1 / rank for rank, hit in enumerate(hits, 1) if hit), 0.0),
        "ndcg": sum(hit / log2(rank + 1) for rank, hit in enumerate(hits, 1)) / sum(ideal),
        "map": sum(hit * sum(hits[:rank]) / rank for rank, hit in enumerate(hits, 1)) / len(relevant),
    }[metric.name]


@settings(max_examples=25)
@given(size=st.integers(2, 6), data=st.data())
def test_metrics_are_their_definitions_and_chance_is_the_mean_over_all_orders(size: int, data: st.DataObject) -> None:
    items = [f"i{number}" for number in range(size)]
    relevant = data.draw(st.sets(st.sampled_from(items), min_size=1, max_size=size - 1))
    order = data.draw(st.permutations(items))
    truth = wanted({"r": sorted(relevant)})
    found = measure(truth, ranked({"r": (order, [])}), parse_metrics(NAMES))
    assert dict(found.select("metric", "value").iter_rows()) == {
        name: pytest.approx(defined(name, order, relevant)) for name in NAMES
    }
    every = [list(each) for each in permutations(items)]
    means = {name: sum(defined(name, each, relevant) for each in every) / len(every) for name in NAMES}
    sizes = pl.DataFrame({"request_id": ["r"], "n": [size], "found": [len(relevant)]})
    level = chance_level(truth, sizes, parse_metrics(NAMES))
    assert dict(level.select("metric", "value").iter_rows()) == {name: pytest.approx(means[name]) for name in NAMES}


@settings(max_examples=25)
@given(st.lists(st.integers(-3, 3), min_size=2, max_size=7), st.data())
def test_scores_count_pair_by_pair(scores: list[int], data: st.DataObject) -> None:
    places = range(len(scores))
    relevant = sorted(data.draw(st.sets(st.sampled_from(places), min_size=1, max_size=len(scores) - 1)))
    order = sorted(places, key=lambda place: -scores[place])
    rows = [("r", f"i{place}", rank, float(scores[place])) for rank, place in enumerate(order, 1)]
    rankings = pl.DataFrame(rows, schema=RANKINGS, orient="row")
    truth = pl.DataFrame([("r", f"i{place}", 1.0) for place in relevant], schema=TRUTH, orient="row")
    found = dict(measure(truth, rankings, parse_metrics(["auc", "log-loss"])).select("metric", "value").iter_rows())
    pairs = list(product(relevant, [place for place in places if place not in relevant]))
    won = sum((scores[one] > scores[other]) + (scores[one] == scores[other]) / 2 for one, other in pairs)
    norm = log(sum(exp(score) for score in scores))
    assert found["auc"] == pytest.approx(won / len(pairs))
    assert found["log-loss"] == pytest.approx(sum(norm - scores[place] for place in relevant) / len(relevant))


def test_chance_of_auc_and_log_loss_with_several_relevant_items() -> None:
    assert chance(Metric("auc"), 6, 3) == 0.5
    assert chance(Metric("log-loss"), 6, 3) == pytest.approx(log(6))
    assert chance(Metric("hit", 1), 6, 3) == 0.5


def test_a_relevant_item_that_is_no_candidate_costs_the_most() -> None:
    frame = {"request_id": ["r", "r"], "item_id": ["a", "b"], "rank": [1, 2], "score": [1.0, 1.0]}
    relevant = pl.DataFrame({"request_id": ["r", "r"], "item_id": ["a", "gone"]})
    [found] = log_loss(relevant, pl.DataFrame(frame, schema=RANKINGS), "expected")["value"]
    assert found == pytest.approx((log(2) + MOST_LOSS) / 2)

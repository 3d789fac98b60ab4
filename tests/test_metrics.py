"""Metrics against hand-made fractions, and chance against enumeration."""

from itertools import permutations
from math import log2

import polars as pl
import pytest

from llmrs_bench.config import METRIC_NAMES
from llmrs_bench.errors import OptionError
from llmrs_bench.metrics import Metric, chance, chance_level, measure, parse_metrics
from llmrs_bench.schemas import METRICS, RANKINGS, TRUTH


def rankings(orders: dict[str, list[str]], silent: tuple[str, ...] = ()) -> pl.DataFrame:
    rows = [
        {"request_id": name, "item_id": item, "rank": rank, "score": None if name in silent else -float(rank)}
        for name, items in orders.items()
        for rank, item in enumerate(items, 1)
    ]
    return pl.DataFrame(rows, schema=RANKINGS)


def truth(targets: dict[str, list[str]]) -> pl.DataFrame:
    rows = [{"request_id": name, "item_id": item, "label": 1.0} for name, items in targets.items() for item in items]
    return pl.DataFrame(rows, schema=TRUTH)


def value(frame: pl.DataFrame, request_id: str, metric: str) -> float:
    found = frame.filter((pl.col("request_id") == request_id) & (pl.col("metric") == metric))["value"]
    assert len(found) == 1
    return float(found[0])


@pytest.mark.parametrize("name", METRIC_NAMES)
def test_printed_names_parse_back(name: str) -> None:
    assert str(Metric.parse(name)) == name


@pytest.mark.parametrize("name", ["ndgc@10", "ndcg", "ndcg@0", "ndcg@ten", "mrr@5", ""])
def test_unknown_metrics_are_refused(name: str) -> None:
    with pytest.raises(OptionError, match="unknown metric"):
        Metric.parse(name)


def test_single_target_values() -> None:
    frame = measure(
        truth({"r": ["c"], "s": ["a"]}),
        rankings({"r": ["a", "b", "c", "d"], "s": ["a", "b"]}),
        parse_metrics(METRIC_NAMES),
    )
    assert frame.schema == METRICS
    assert value(frame, "r", "ndcg@10") == pytest.approx(1 / log2(4))
    assert value(frame, "r", "ndcg@1") == 0
    assert value(frame, "r", "hit@1") == 0
    assert value(frame, "r", "hit@5") == 1
    assert value(frame, "r", "mrr") == pytest.approx(1 / 3)
    for metric in METRIC_NAMES:
        assert value(frame, "s", metric) == 1


def test_several_targets_share_one_ideal() -> None:
    frame = measure(truth({"r": ["a", "c"]}), rankings({"r": ["a", "b", "c"]}), parse_metrics(["ndcg@10", "ndcg@1"]))
    assert value(frame, "r", "ndcg@10") == pytest.approx((1 + 1 / log2(4)) / (1 + 1 / log2(3)))
    assert value(frame, "r", "ndcg@1") == 1


def test_a_request_without_rankings_scores_zero_and_is_counted() -> None:
    frame = measure(truth({"r": ["a"], "gone": ["a"]}), rankings({"r": ["a"]}), parse_metrics(METRIC_NAMES))
    assert frame["request_id"].n_unique() == 2
    for metric in METRIC_NAMES:
        assert value(frame, "gone", metric) == 0


def test_silence_shows_in_coverage_and_answered() -> None:
    frame = measure(
        truth({"r": ["a"], "s": ["a"]}),
        rankings({"r": ["a", "b"], "s": ["a", "b"]}, silent=("s",)),
        parse_metrics(["coverage", "answered"]),
    )
    assert value(frame, "r", "coverage") == value(frame, "r", "answered") == 1
    assert value(frame, "s", "coverage") == value(frame, "s", "answered") == 0


@pytest.mark.parametrize("relevant", [1, 2])
@pytest.mark.parametrize("name", ["ndcg@1", "ndcg@3", "ndcg@10", "hit@1", "hit@3", "hit@10", "mrr"])
def test_chance_is_the_mean_over_all_orders(name: str, relevant: int) -> None:
    items = ["a", "b", "c", "d", "e"]
    orders = {str(number): list(order) for number, order in enumerate(permutations(items))}
    frame = measure(truth(dict.fromkeys(orders, items[:relevant])), rankings(orders), parse_metrics([name]))
    assert frame["value"].mean() == pytest.approx(chance(Metric.parse(name), 5, relevant))


@pytest.mark.parametrize(
    ("name", "published"), [("ndcg@1", 0.0500), ("ndcg@5", 0.1474), ("ndcg@10", 0.2272), ("ndcg@20", 0.3520)]
)
def test_chance_of_twenty_candidates(name: str, published: float) -> None:
    assert round(chance(Metric.parse(name), 20), 4) == published


def test_chance_level_follows_the_size_of_each_list() -> None:
    requests = pl.DataFrame({"request_id": ["r", "s"], "candidates": [["a", "b"], ["a", "b", "c", "d"]]})
    frame = chance_level(truth({"r": ["a"], "s": ["a"]}), requests, parse_metrics(["hit@1"]))
    assert value(frame, "r", "hit@1") == 1 / 2
    assert value(frame, "s", "hit@1") == 1 / 4

"""Metrics against hand-made fractions, and chance against enumeration."""

from itertools import permutations
from math import log2

import polars as pl
import pytest

from llmrs_bench.core.config import METRIC_NAMES
from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.schemas import METRICS, RANKINGS, TRUTH
from llmrs_bench.metrics import METRIC_FORMS, Metric, chance, chance_level, measurable, measure, parse_metrics


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


@pytest.mark.parametrize("name", [*METRIC_NAMES, *(form.replace("K", "7") for form in METRIC_FORMS)])
def test_printed_names_parse_back(name: str) -> None:
    assert str(Metric.parse(name)) == name


@pytest.mark.parametrize(
    "name",
    [
        "ndgc@10",
        "hit",
        "ndcg@0",
        "ndcg@ten",
        "mrr@0",
        "mrr@",
        "coverage@5",
        "auc@5",
        "gini",
        "diversity@1",
        "ndcg@K",
        "",
    ],
)
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


def test_mrr_with_a_cutoff_is_zero_below_it() -> None:
    order = [f"i{rank}" for rank in range(1, 13)]
    frame = measure(
        truth({"r": ["i10"], "s": ["i11"], "t": ["i3", "i12"]}),
        rankings({"r": order, "s": order, "t": order}),
        parse_metrics(["mrr", "mrr@10", "mrr@2"]),
    )
    assert value(frame, "r", "mrr@10") == value(frame, "r", "mrr") == pytest.approx(1 / 10)
    assert value(frame, "s", "mrr") == pytest.approx(1 / 11)
    assert value(frame, "s", "mrr@10") == 0
    assert value(frame, "t", "mrr@10") == pytest.approx(1 / 3)
    assert value(frame, "t", "mrr@2") == 0


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
@pytest.mark.parametrize("name", ["ndcg@1", "ndcg@3", "ndcg@10", "hit@1", "hit@3", "hit@10", "mrr", "mrr@1", "mrr@3"])
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


@pytest.mark.parametrize("depth", [1, 3, 5, 9])
@pytest.mark.parametrize(("relevant", "found"), [(1, 1), (1, 0), (2, 2), (2, 1), (3, 1), (2, 0)])
def test_chance_of_a_whole_catalogue_is_the_mean_over_all_orders_cut_to_the_depth(
    relevant: int, found: int, depth: int
) -> None:
    items = ["a", "b", "c", "d", "e"]
    wanted = [*items[:found], *(f"elsewhere{number}" for number in range(relevant - found))]
    orders = {str(number): list(order[:depth]) for number, order in enumerate(permutations(items))}
    names = measurable(["hit@1", "hit@3", "ndcg@1", "ndcg@3", "mrr", "mrr@3", "coverage", "answered"], depth)
    frame = measure(truth(dict.fromkeys(orders, wanted)), rankings(orders), parse_metrics(names))
    means = dict(frame.group_by("metric").agg(pl.col("value").mean()).iter_rows())
    sizes = pl.DataFrame({"request_id": ["r"], "n": [5], "found": [found]})
    expected = chance_level(truth({"r": wanted}), sizes, parse_metrics(names), depth)
    assert means.keys() == set(names)
    assert means == {name: pytest.approx(value(expected, "r", name)) for name in names}


def test_metrics_that_look_deeper_than_the_ranks_kept_are_not_measurable() -> None:
    assert measurable(METRIC_NAMES, None) == list(METRIC_NAMES)
    assert measurable(METRIC_NAMES, 100) == [name for name in METRIC_NAMES if name != "mrr"]
    assert measurable(["ndcg@10", "mrr@10", "hit@11", "mrr", "coverage", "answered"], 10) == [
        "ndcg@10",
        "mrr@10",
        "coverage",
        "answered",
    ]


def test_a_list_without_the_target_scores_zero_by_chance_and_is_answered() -> None:
    for name in METRIC_NAMES:
        assert chance(Metric.parse(name), 20, found=0) == (name == "answered")
    assert chance(Metric.parse("answered"), 0, found=0) == 0


def test_coverage_of_a_random_order_is_the_share_of_ranks_kept() -> None:
    coverage = Metric.parse("coverage")
    assert chance(coverage, 400) == 1
    assert chance(coverage, 400, depth=100) == pytest.approx(1 / 4)
    assert chance(coverage, 50, depth=100) == 1
    assert chance(coverage, 400, relevant=2, depth=100) == pytest.approx(1 - (300 * 299) / (400 * 399))


def test_chance_level_follows_the_size_of_each_list_and_what_it_holds() -> None:
    sizes = pl.DataFrame({"request_id": ["s", "r", "t"], "n": [4, 2, 4], "found": [1, 1, 0]})
    frame = chance_level(truth({"r": ["a"], "s": ["a"], "t": ["a"]}), sizes, parse_metrics(["hit@1", "mrr@10"]))
    assert frame.schema == METRICS
    assert frame["request_id"].unique(maintain_order=True).to_list() == ["r", "s", "t"]
    assert value(frame, "r", "hit@1") == 1 / 2
    assert value(frame, "s", "hit@1") == 1 / 4
    assert value(frame, "t", "hit@1") == value(frame, "t", "mrr@10") == 0

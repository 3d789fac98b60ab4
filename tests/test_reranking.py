"""One run ordered again for diversity or novelty, by rules that know nothing of language."""

import polars as pl
import pytest

from llmrs_bench.core.errors import ArtifactError
from llmrs_bench.core.schemas import RANKINGS
from llmrs_bench.metrics import Background, measure, parse_metrics
from llmrs_bench.reranking import less_popular, marginal_relevance

KINDS = {"a": ["war"], "b": ["war"], "c": ["war", "love"], "d": ["love"], "e": []}
ITEMS = pl.DataFrame({"item_id": list(KINDS), "categories": list(KINDS.values())})
EVENTS = pl.DataFrame({"item_id": [*"aaaaaaaa", *"bbbb", *"cc", "d"]})


def run(**orders: str) -> pl.DataFrame:
    """Return rankings in these orders; what stands behind a bar was not ranked."""
    rows = []
    for name, order in orders.items():
        ranked, _, rest = order.partition("|")
        rows += [
            (name, item, rank, -float(rank) if rank <= len(ranked) else None)
            for rank, item in enumerate(ranked + rest, 1)
        ]
    return pl.DataFrame(rows, schema=RANKINGS, orient="row")


def order(scores: pl.DataFrame, request: str = "r") -> str:
    return "".join(scores.filter(request_id=request).sort("score", descending=True)["item_id"])


def test_each_place_goes_to_the_most_relevant_item_unlike_those_before() -> None:
    """Relevance of a, b, c, d is 1, 2/3, 1/3, 0; the second place is worth .5 times (-1/3, -1/6, 0) to b, c, d."""
    assert order(marginal_relevance(run(r="abcd"), ITEMS, 0.5)) == "adcb"
    assert order(marginal_relevance(run(r="abcd"), ITEMS, 0.3)) == "abcd"
    assert order(marginal_relevance(run(r="abcd"), ITEMS, 0.4)) == "abcd"  # all are worth 0


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_items_that_are_all_alike_keep_the_order_of_the_run(weight: float) -> None:
    alike = ITEMS.with_columns(categories=pl.Series([["war"]] * ITEMS.height))
    assert order(marginal_relevance(run(r="dbeca"), alike, weight)) == "dbeca"


def test_without_weight_both_are_the_run_and_what_it_left_out_stays_out() -> None:
    made = run(r="dbc|ae", s="e|abcd", t="|abcde")
    for scores in (marginal_relevance(made, ITEMS, 0.0), less_popular(made, EVENTS, 0.0)):
        assert [order(scores, name) for name in "rst"] == ["dbc", "e", ""]


def test_an_item_without_categories_never_rises() -> None:
    assert order(marginal_relevance(run(r="aed"), ITEMS, 1.0)) == "ade"
    assert order(marginal_relevance(run(r="eab"), ITEMS, 1.0)) == "eab"


def test_full_weight_on_novelty_turns_popularity_round() -> None:
    assert order(less_popular(run(r="abcd"), EVENTS, 1.0)) == "dcba"
    # Bits fall from d to a by one each: .5 makes all four equal, and less keeps the order of the run.
    halved = less_popular(run(r="abcd"), EVENTS, 0.5)["score"]
    assert halved.to_list() == pytest.approx([0.5] * 4)
    assert order(less_popular(run(r="abcd"), EVENTS, 0.4)) == "abcd"


def test_an_item_without_events_is_as_novel_as_one_with_one() -> None:
    found = dict(less_popular(run(r="ade"), EVENTS, 1.0).select("item_id", "score").iter_rows())
    assert found == {"a": 0.0, "d": 1.0, "e": 1.0}


def test_items_equally_popular_keep_the_order_of_the_run() -> None:
    assert order(less_popular(run(r="cab"), EVENTS.clear(), 0.9)) == "cab"


def test_each_rule_raises_the_metric_of_its_goal() -> None:
    made = run(r="abcd")
    truth = pl.DataFrame({"request_id": ["r"], "item_id": ["a"], "label": [1.0]})
    background = Background(interactions=EVENTS, items=ITEMS)

    def value(metric: str, scores: pl.DataFrame) -> float:
        ranked = scores.with_columns(rank=pl.col("score").rank("ordinal", descending=True)).select(list(RANKINGS))
        found = measure(truth, ranked.cast(RANKINGS), parse_metrics([metric]), background=background)
        return float(found["value"][0])

    assert value("diversity@2", marginal_relevance(made, ITEMS, 0.5)) == 1.0 > value("diversity@2", made)
    assert value("novelty@2", less_popular(made, EVENTS, 0.9)) > value("novelty@2", made)


def test_diversity_needs_categories() -> None:
    with pytest.raises(ArtifactError, match="no item has any"):
        marginal_relevance(run(r="ab"), ITEMS.with_columns(categories=pl.Series([[""][:0]] * ITEMS.height)), 0.5)

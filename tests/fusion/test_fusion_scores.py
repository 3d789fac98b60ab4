"""Points of runs and what becomes of them, on numbers worked out by hand."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import polars as pl
import pytest

from llmrs_bench.core.artifacts import Artifact
from llmrs_bench.core.schemas import RANKINGS
from llmrs_bench.fusion import best_of, mean_score, reciprocal_rank, standard_scores, weighted_score
from llmrs_bench.stages.fuse import joint_cost


def run(**requests: dict[str, float | None]) -> pl.DataFrame:
    """Return rankings in which items stand in the order they are written."""
    rows = [
        (request, item, rank, score)
        for request, scores in requests.items()
        for rank, (item, score) in enumerate(scores.items(), 1)
    ]
    return pl.DataFrame(rows, schema=RANKINGS, orient="row")


def by_item(scores: pl.DataFrame) -> dict[tuple[str, str], float]:
    return {(request, item): score for request, item, score in scores.rows()}


def test_reciprocal_ranks_are_summed_and_silence_earns_nothing() -> None:
    first = run(q={"a": 9, "b": 8, "c": None}, r={"a": 1})
    second = run(q={"b": 0.1, "a": None, "c": None})
    assert by_item(reciprocal_rank([first, second], 60)) == pytest.approx(
        {("q", "a"): 1 / 61, ("q", "b"): 1 / 62 + 1 / 61, ("r", "a"): 1 / 61}
    )
    assert by_item(reciprocal_rank([first, second], 0))["q", "b"] == pytest.approx(1 / 2 + 1)


def test_equal_scores_share_their_mean_rank() -> None:
    points = by_item(reciprocal_rank([run(q={"a": 2, "b": 1, "c": 1, "d": 0})], 60))
    assert points["q", "b"] == points["q", "c"] == pytest.approx(1 / 62.5)
    assert points["q", "d"] == pytest.approx(1 / 64)


def test_standard_scores_have_mean_zero_and_deviation_one_in_every_request() -> None:
    table = standard_scores([run(q={"a": 3, "b": 2, "c": 1}, r={"a": 300, "b": 200, "c": 100})])
    for _, part in table.group_by("request_id"):
        assert part["0"].to_list() == pytest.approx([1.5**0.5, 0, -(1.5**0.5)])


def test_a_silent_item_is_as_good_as_the_last_one_named_and_a_silent_run_says_nothing() -> None:
    partly, other, nothing = run(q={"a": 2, "b": 1, "c": None}), run(q={"c": 5, "a": 3, "b": 1}), run()
    table = standard_scores([partly, other, nothing])
    assert table["0"].to_list() == pytest.approx([1, -1, -1])
    assert table["1"].to_list() == pytest.approx([0, -(1.5**0.5), 1.5**0.5])
    assert table["2"].to_list() == [0, 0, 0]
    assert by_item(mean_score(table))["q", "c"] == pytest.approx((1.5**0.5 - 1) / 3)


def test_equal_scores_are_worth_nothing_though_their_mean_is_rounded() -> None:
    assert standard_scores([run(q={"a": 0.1, "b": 0.1, "c": 0.1})])["0"].to_list() == [0, 0, 0]


def test_items_that_all_runs_are_silent_about_stay_silent() -> None:
    runs = [run(q={"a": 1, "b": None}), run(q={"a": 1, "b": None})]
    assert reciprocal_rank(runs, 60)["item_id"].to_list() == ["a"]
    assert standard_scores(runs)["item_id"].to_list() == ["a"]


def test_scores_are_weighed() -> None:
    runs = [run(q={"a": 1, "b": 0}, r={"a": 1, "b": 0}), run(q={"b": 1, "a": 0}, r={"b": 1, "a": 0})]
    assert by_item(weighted_score(standard_scores(runs), [0.25, 0.75])) == pytest.approx(
        {("q", "a"): -0.5, ("q", "b"): 0.5, ("r", "a"): -0.5, ("r", "b"): 0.5}
    )


def test_the_best_run_of_each_request_is_taken_whole() -> None:
    first = run(q={"a": 1, "b": 0}, r={"a": 1, "b": 0}, s={"a": 1, "b": 0})
    second = run(q={"b": 1, "a": 0}, r={"b": 1, "a": 0}, s={"b": 1, "a": 0})
    good = pl.DataFrame({"request_id": ["q", "r", "s"], "ndcg@10": [1.0, 0.0, 0.5], "mrr": [1.0, 0.1, 0.5]})
    better = pl.DataFrame({"request_id": ["q", "r", "s"], "ndcg@10": [0.5, 0.0, 0.5], "mrr": [1.0, 0.2, 0.5]})
    taken, counts = best_of([first, second], [good, better])
    assert taken.filter(pl.col("rank") == 1).select("request_id", "item_id").rows() == [
        ("q", "a"),
        ("r", "b"),
        ("s", "a"),
    ]
    assert taken.height == 6
    assert counts == [1, 1]


def test_tokens_that_one_run_does_not_know_are_not_known_of_all() -> None:
    known, unknown = {"prefill_tokens": 5, "seconds": 1.0}, {"prefill_tokens": None, "seconds": 2.0}
    runs = [SimpleNamespace(facts=facts, path=Path("run")) for facts in (known, {"seconds": 1.0}, unknown)]
    assert joint_cost(cast("list[Artifact]", runs[:2]))["prefill_tokens"] == 5  # a recommender reads none
    cost = joint_cost(cast("list[Artifact]", runs))
    assert (cost["prefill_tokens"], cost["seconds"]) == (None, 4.0)


def test_a_cascade_ranks_without_the_training_of_its_runs() -> None:
    trained = {"requests": 100, "seconds": 8.0, "scoring_seconds": 2.0, "requests_per_second": 50.0}
    asked = {"requests": 100, "seconds": 40.0, "requests_per_second": 2.5}
    runs = cast("list[Artifact]", [SimpleNamespace(facts=facts, path=Path("run")) for facts in (trained, asked)])
    cost = joint_cost(runs, [1.0, 0.25])
    assert (cost["seconds"], cost["scoring_seconds"]) == (18.0, 12.0)
    alone = joint_cost(runs, [1.0, 0.0])
    assert (alone["seconds"], alone["scoring_seconds"]) == (8.0, 2.0)
    assert joint_cost(runs[1:])["scoring_seconds"] == 40.0

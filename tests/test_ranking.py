"""Scores become a permutation of the candidates; ties carry no signal."""

import polars as pl
import pytest

from llmrs_bench.core.errors import ScoringError
from llmrs_bench.core.schemas import RANKINGS, REQUESTS
from llmrs_bench.core.types import Scores
from llmrs_bench.ranking import rank_best, rank_candidates, scores_frame


def ranked(lists: dict[str, list[str]], scores: list[Scores], seed: int = 0) -> pl.DataFrame:
    columns = {"request_id": list(lists), "candidates": list(lists.values())}
    requests = pl.DataFrame(columns, schema={name: REQUESTS[name] for name in columns})
    return rank_candidates(requests, scores_frame(scores), seed=seed)


def order(frame: pl.DataFrame, request_id: str) -> list[str]:
    return frame.filter(pl.col("request_id") == request_id).sort("rank")["item_id"].to_list()


def test_higher_scores_come_first_and_silent_items_last() -> None:
    frame = ranked({"r": ["a", "b", "c"]}, [Scores("r", {"c": -5.0, "b": 2.0})])
    assert order(frame, "r") == ["b", "c", "a"]
    assert frame.filter(pl.col("item_id") == "a")["score"].to_list() == [None]


def test_rankings_are_permutations_even_without_any_scores() -> None:
    lists = {"r": ["a", "b", "c"], "s": ["b", "d"]}
    frame = ranked(lists, [])
    for name, items in lists.items():
        assert sorted(order(frame, name)) == sorted(items)
        assert frame.filter(pl.col("request_id") == name)["rank"].to_list() == list(range(1, len(items) + 1))


def test_ties_ignore_the_displayed_order_and_the_order_of_requests() -> None:
    items = [str(number) for number in range(50)]
    forward = ranked({"r": items, "s": items}, [Scores("r", dict.fromkeys(items, 1.0))], seed=4)
    turned = items[::-1]
    backward = ranked({"s": turned, "r": turned}, [Scores("r", dict.fromkeys(turned, 1.0))], seed=4)
    assert order(forward, "r") == order(backward, "r")
    assert order(forward, "s") == order(backward, "s")
    assert order(forward, "r") != order(forward, "s")
    assert order(forward, "r") != order(ranked({"r": items}, [], seed=5), "r")


def test_a_constant_scorer_is_at_chance_whatever_the_slot_of_the_target() -> None:
    count, n = 4000, 20
    items = [str(number) for number in range(n)]
    lists = {f"r{number}": items for number in range(count)}
    frame = ranked(lists, [Scores(name, dict.fromkeys(items, 0.0)) for name in lists])
    for target in ("0", "19"):
        first = frame.filter((pl.col("item_id") == target) & (pl.col("rank") == 1)).height / count
        # Four standard errors of a share of 1/20 over 4,000 requests.
        assert abs(first - 1 / n) < 4 * (1 / n * (1 - 1 / n) / count) ** 0.5


def test_scores_that_differ_in_the_last_digit_are_no_tie() -> None:
    close = {"a": 0.12345678, "b": 0.12345679}
    assert order(ranked({"r": ["a", "b"]}, [Scores("r", close)]), "r") == ["b", "a"]


@pytest.mark.parametrize(
    ("scores", "fault"),
    [
        ([Scores("r", {"a": float("nan")})], "not a finite number"),
        ([Scores("r", {"a": float("inf")})], "not a finite number"),
        ([Scores("r", {"z": 1.0})], "no candidate"),
        ([Scores("q", {"a": 1.0})], "no candidate"),
        ([Scores("r", {"a": 1.0}), Scores("r", {"a": 2.0})], "twice"),
    ],
)
def test_scores_nobody_asked_for_are_refused(scores: list[Scores], fault: str) -> None:
    with pytest.raises(ScoringError, match=fault):
        ranked({"r": ["a", "b"]}, scores)


def test_requests_without_a_list_or_with_an_empty_one_have_no_ranking() -> None:
    requests = pl.DataFrame({"request_id": ["r", "s", "t"], "candidates": [["a"], [], None]})
    frame = rank_candidates(requests, scores_frame([Scores("r", {"a": 1.0})]), seed=0)
    assert frame.schema == RANKINGS
    assert frame.rows() == [("r", "a", 1, 1.0)]


def test_the_best_are_the_head_of_the_whole_order() -> None:
    items = [str(number) for number in range(50)]
    scores = [Scores(name, {item: float(int(item) % 3) for item in items}) for name in ("r", "s")]
    whole = ranked({"r": items, "s": items}, scores, seed=3)
    best = rank_best(scores_frame(scores), depth=20, seed=3)
    assert best.schema == RANKINGS
    assert best.rows() == whole.filter(pl.col("rank") <= 20).rows()
    assert order(best, "r") != order(best, "s")
    assert order(rank_best(scores_frame(scores), depth=20, seed=4), "r") != order(best, "r")
    assert rank_best(scores_frame(scores), depth=99, seed=3).rows() == whole.rows()


def test_nothing_to_rank_is_no_error() -> None:
    assert rank_best(scores_frame([]), depth=20, seed=3).rows() == []


@pytest.mark.parametrize(
    ("scores", "fault"),
    [
        ([Scores("r", {"a": float("nan")})], "not a finite number"),
        ([Scores("r", {"a": float("-inf")})], "not a finite number"),
        ([Scores("r", {"a": 1.0}), Scores("r", {"a": 1.0})], "twice"),
    ],
)
def test_the_best_of_impossible_scores_are_refused(scores: list[Scores], fault: str) -> None:
    with pytest.raises(ScoringError, match=fault):
        rank_best(scores_frame(scores), depth=5, seed=0)

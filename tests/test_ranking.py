"""Scores become a permutation of the candidates; ties carry no signal."""

import polars as pl
import pytest

from llmrs_bench.errors import ScoringError
from llmrs_bench.ranking import rank_candidates
from llmrs_bench.types import Scores


def requests(lists: dict[str, list[str]]) -> pl.DataFrame:
    return pl.DataFrame({"request_id": list(lists), "candidates": list(lists.values())})


def order(frame: pl.DataFrame, request_id: str) -> list[str]:
    return frame.filter(pl.col("request_id") == request_id).sort("rank")["item_id"].to_list()


def test_higher_scores_come_first_and_silent_items_last() -> None:
    frame = rank_candidates(requests({"r": ["a", "b", "c"]}), [Scores("r", {"c": -5.0, "b": 2.0})], seed=0)
    assert order(frame, "r") == ["b", "c", "a"]
    assert frame.filter(pl.col("item_id") == "a")["score"].to_list() == [None]


def test_rankings_are_permutations_even_without_any_scores() -> None:
    lists = {"r": ["a", "b", "c"], "s": ["b", "d"]}
    frame = rank_candidates(requests(lists), [], seed=0)
    for name, items in lists.items():
        assert sorted(order(frame, name)) == sorted(items)
        assert frame.filter(pl.col("request_id") == name)["rank"].to_list() == list(range(1, len(items) + 1))


def test_ties_ignore_the_displayed_order_and_the_order_of_requests() -> None:
    items = [str(number) for number in range(50)]
    forward = rank_candidates(requests({"r": items, "s": items}), [Scores("r", dict.fromkeys(items, 1.0))], seed=4)
    backward = rank_candidates(
        requests({"s": items[::-1], "r": items[::-1]}), [Scores("r", dict.fromkeys(items[::-1], 1.0))], seed=4
    )
    assert order(forward, "r") == order(backward, "r")
    assert order(forward, "s") == order(backward, "s")
    assert order(forward, "r") != order(forward, "s")
    assert order(forward, "r") != order(rank_candidates(requests({"r": items}), [], seed=5), "r")


def test_a_constant_scorer_is_at_chance_whatever_the_slot_of_the_target() -> None:
    count, n = 4000, 20
    items = [str(number) for number in range(n)]
    lists = {f"r{number}": items for number in range(count)}
    frame = rank_candidates(requests(lists), (Scores(name, dict.fromkeys(items, 0.0)) for name in lists), seed=0)
    for target in ("0", "19"):
        first = frame.filter((pl.col("item_id") == target) & (pl.col("rank") == 1)).height / count
        # Four standard errors of a share of 1/20 over 4,000 requests.
        assert abs(first - 1 / n) < 4 * (1 / n * (1 - 1 / n) / count) ** 0.5


def test_scores_that_differ_in_the_last_digit_are_no_tie() -> None:
    close = {"a": 0.12345678, "b": 0.12345679}
    assert order(rank_candidates(requests({"r": ["a", "b"]}), [Scores("r", close)], seed=0), "r") == ["b", "a"]


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
        rank_candidates(requests({"r": ["a", "b"]}), scores, seed=0)

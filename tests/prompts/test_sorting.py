"""Sorting by comparisons: the best are found, in few comparisons, whoever judges."""

from dataclasses import dataclass, field
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrs_bench.prompts.strategies.comparison import Group, all_pairs, finish, lots, top_scores, tournament, unanswered

ITEMS = [f"i{number}" for number in range(25)]


@dataclass
class Known:
    """Judges by an order that it knows, once a group was shown."""

    order: list[str]
    shown: list[Group] = field(default_factory=list)

    def orders(self, group: Group) -> list[Group]:
        return [group]

    def unanswered(self, group: Group) -> list[Group]:
        return [group] if group not in self.shown else []

    def winner(self, group: Group) -> str:
        return min(group, key=self.order.index)


def play(judge: Known, items: list[str], *, size: int, top: int) -> list[dict[str, Group]]:
    rounds = []
    while shown := unanswered(tournament(items, size=size, top=top), judge):
        rounds.append(shown)
        judge.shown += shown.values()
    return rounds


def depth(count: int, size: int) -> int:
    levels = 0
    while count > 1:
        count, levels = ceil(count / size), levels + 1
    return levels


@given(st.permutations(ITEMS), st.integers(2, 25), st.integers(2, 10), st.integers(1, 12))
def test_a_tournament_finds_the_best_in_order_and_in_few_comparisons(
    order: list[str], count: int, size: int, top: int
) -> None:
    judge, found = Known(order), min(top, count)
    rounds = play(judge, ITEMS[:count], size=size, top=top)
    assert (
        finish(tournament(ITEMS[:count], size=size, top=top), judge) == [i for i in order if i in ITEMS[:count]][:top]
    )
    levels = depth(count, size)
    assert len(judge.shown) <= (count - 1) / (size - 1) + found * levels
    assert len(rounds) <= found * levels
    assert len({frozenset(group) for group in judge.shown}) == len(judge.shown)  # nothing is asked twice
    assert all(2 <= len(group) <= size for group in judge.shown)


@pytest.mark.parametrize(("size", "most"), [(2, 53), (4, 33), (10, 21)])
def test_the_ten_best_of_twenty(size: int, most: int) -> None:
    judge = Known(ITEMS[::-1])
    play(judge, ITEMS[:20], size=size, top=10)
    assert 19 / (size - 1) <= len(judge.shown) <= most


def test_the_first_comparisons_are_made_at_once() -> None:
    rounds = play(Known(ITEMS), ITEMS[:16], size=4, top=1)
    assert [list(shown) for shown in rounds] == [["0/0", "0/1", "0/2", "0/3"], ["1/0"]]


def test_the_rest_of_a_round_keeps_its_names() -> None:
    judge = Known(ITEMS)
    whole = unanswered(tournament(ITEMS[:16], size=4, top=1), judge)
    judge.shown.append(whole["0/1"])
    assert unanswered(tournament(ITEMS[:16], size=4, top=1), judge) == {
        name: group for name, group in whole.items() if name != "0/1"
    }


def test_one_item_is_asked_about_and_none_is_not() -> None:
    for sort in (all_pairs(["a"]), tournament(["a"], size=2, top=3)):
        assert unanswered(sort, Known(["a"])) == {"0/0": ("a",)}
    for sort in (all_pairs([]), tournament([], size=2, top=3)):
        assert unanswered(sort, Known([])) == {}
    assert finish(tournament(["a"], size=2, top=3), Known(["a"])) == ["a"]


def test_all_pairs_take_one_round() -> None:
    judge = Known(ITEMS)
    shown = unanswered(all_pairs(ITEMS[:5]), judge)
    assert {frozenset(group) for group in shown.values()} == {
        frozenset((a, b)) for a in ITEMS[:5] for b in ITEMS[:5] if a < b
    }
    judge.shown += shown.values()
    assert unanswered(all_pairs(ITEMS[:5]), judge) == {}


@given(st.permutations(ITEMS[:6]))
def test_lots_do_not_know_the_order_they_are_drawn_in(items: list[str]) -> None:
    assert lots("r", [*items, items[0]]) == lots("r", ITEMS[:6])


def test_lots_differ_by_request_and_favour_nobody() -> None:
    firsts = [lots(f"r{number}", ITEMS[:5])[0] for number in range(2000)]
    assert all(abs(firsts.count(item) - 400) < 4 * (2000 * 0.2 * 0.8) ** 0.5 for item in ITEMS[:5])


def test_items_behind_the_best_share_a_score() -> None:
    assert top_scores(["c", "a"], ["a", "b", "c", "d"]) == {"c": 2.0, "a": 1.0, "b": 0.0, "d": 0.0}

"""Comparisons of a few: the likeliest letter wins, in whatever order they are shown."""

import random
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrs_bench.core.types import Item, Prompt, Request, Response
from llmrs_bench.prompts.strategies.base import ItemCatalog
from llmrs_bench.prompts.strategies.comparison import lots
from template_runs import best, catalog, chosen, first_shown, flat, make, oracle, play, read, score, text

ITEMS = [f"i{number}" for number in range(25)]
SHOP = catalog(*ITEMS)


def request(*candidates: str, name: str = "r") -> Request:
    return Request(name, "u", (), candidates)


def test_the_prompt_ends_with_the_candidates() -> None:
    goods = ItemCatalog({name: Item(name, f"Title {name}") for name in "abcd"}, "book")
    [prompt] = make("setwise", top=1).render(Request("r", "u", ("d",), ("a", "b", "c")), goods, history=3)
    one, two, three = prompt.shown
    assert prompt.prompt_id == "r/0/0"
    assert [message.content for message in prompt.messages] == [
        "A user chose these books, one after the other:\n- Title d\n\n"
        "Which of these books does the user choose next? Answer with its letter.\n"
        f"A. Title {one}\nB. Title {two}\nC. Title {three}",
        "Answer:",
    ]
    assert (prompt.choices, prompt.labels) == ((" A", " B", " C"), True)


@pytest.mark.slow
@given(st.permutations(ITEMS), st.integers(1, 25), st.integers(2, 10), st.integers(1, 12), st.randoms())
def test_an_oracle_is_read_back(order: list[str], count: int, size: int, top: int, draw: random.Random) -> None:
    candidates = draw.sample(ITEMS[:count], count)
    values = score(make("setwise", size=size, top=top), request(*candidates), SHOP, oracle(order))
    hidden = [item for item in order if item in candidates]
    found = min(top, count)
    assert best(values, found) == hidden[:found]
    assert {values[item] for item in hidden[found:]} <= {0.0}


def test_the_ten_best_of_twenty_take_about_thirty_calls() -> None:
    template = make("setwise")
    exchanges = flat(play(template, request(*ITEMS[:20]), SHOP, oracle(ITEMS)))
    assert 7 <= len(exchanges) <= 19 / 3 + 10 * 3
    assert read(template, exchanges).notes["calls"] == len(exchanges)


def same(prompt: Prompt) -> Response:
    return chosen(prompt, ((-1.5,),) * len(prompt.shown))


@pytest.mark.slow
@pytest.mark.parametrize("answer", [first_shown, same])
def test_a_model_that_sees_only_positions_is_at_chance(answer: Any) -> None:
    count, wins, template = 1500, [0, 0, 0], make("setwise", top=1)
    for number in range(count):
        candidates = random.Random(number).sample(ITEMS[:9], 9)
        [first] = best(score(template, request(*candidates, name=f"r{number}"), SHOP, answer), 1)
        wins = [won + (first == item) for won, item in zip(wins, (candidates[0], candidates[-1], "i0"), strict=True)]
    assert all(abs(won - count / 9) < 4 * (count * 1 / 9 * 8 / 9) ** 0.5 for won in wins), wins


def test_ties_are_decided_alike_in_every_comparison() -> None:
    values = score(make("setwise", top=25), request(*ITEMS), SHOP, same)
    assert best(values, 25) == lots("r", ITEMS)


def test_an_item_is_not_before_another_in_every_comparison() -> None:
    """What a letter is worth evens out over the comparisons of a request."""
    place = lots("r", ITEMS).index
    exchanges = flat(play(make("setwise", top=25), request(*ITEMS), SHOP, oracle(ITEMS)))
    rises = [place(one) < place(two) for prompt, _ in exchanges for one, two in combinations(prompt.shown, 2)]
    assert len(rises) > 150
    assert abs(sum(rises) / len(rises) - 0.5) < 0.15


def test_each_letter_is_worth_the_same_to_each_candidate() -> None:
    """The order shown is drawn anew for each comparison and request, not that of the candidates."""
    template = make("setwise")
    first = [template.render(request(*ITEMS[:4], name=f"r{n}"), SHOP, history=0)[0].shown[0] for n in range(800)]
    assert all(abs(first.count(item) - 200) < 4 * (800 * 0.25 * 0.75) ** 0.5 for item in ITEMS[:4])


@pytest.mark.parametrize("logprobs", [None, (), ((),) * 4, ((-1.0,),) * 5, ((float("nan"),),) * 4])
def test_a_request_without_any_usable_answer_is_silent(logprobs: Any) -> None:
    assert score(make("setwise"), request(*ITEMS[:12]), SHOP, lambda prompt: chosen(prompt, logprobs)) == {}
    assert score(make("setwise"), request(*ITEMS[:12]), SHOP, lambda prompt: text(prompt, "A")) == {}


def test_a_letter_that_was_not_shown_is_less_likely_than_those_that_were() -> None:
    def answer(prompt: Prompt) -> Response:
        return chosen(prompt, tuple((-5.0,) if item in ("i2", "i3") else () for item in prompt.shown))

    values = score(make("setwise", top=1), request(*ITEMS[:4]), SHOP, answer)
    assert best(values, 1)[0] in ("i2", "i3")


def test_answers_are_found_by_what_was_shown_not_by_where_they_stand() -> None:
    template = make("setwise")
    rounds = play(template, request(*ITEMS), SHOP, oracle(ITEMS))
    turned = flat(rounds)[::-1]
    assert template.render(request(*ITEMS), SHOP, history=3, asked=turned) == []
    assert read(template, turned) == read(template, flat(rounds))
    left = template.render(request(*ITEMS), SHOP, history=3, asked=rounds[0][1:3])
    assert left == [rounds[0][place][0] for place in (0, 3, 4, 5)]

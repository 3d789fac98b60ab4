"""Comparisons of two: both orders, soft wins, and what happens where answers are missing."""

import random
from math import exp
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.types import Item, Prompt, Request, Response
from llmrs_bench.prompts.strategies.base import ItemCatalog
from llmrs_bench.prompts.strategies.pairwise import PairwiseOptions
from template_runs import best, catalog, chosen, first_shown, flat, make, oracle, play, read, score, text

ITEMS = [f"i{number}" for number in range(25)]
SHOP = catalog(*ITEMS)
SHOP3 = catalog("a", "b", "c")
METHODS = ("all", "heapsort")


def request(*candidates: str, name: str = "r") -> Request:
    return Request(name, "u", (), candidates)


def sigmoid(value: float) -> float:
    return 1 / (1 + exp(-value))


def test_the_prompt_ends_with_the_two_candidates() -> None:
    goods = ItemCatalog(
        {name: Item(name, "Heat", year=year) for name, year in (("a", 1986), ("b", 1995), ("c", 1972))}, "movie"
    )
    prompts = make("pairwise").render(Request("r", "u", ("c",), ("a", "b", "c")), goods, history=3)
    assert len(prompts) == 6
    found = next(prompt for prompt in prompts if prompt.shown == ("b", "a"))
    assert [message.content for message in found.messages] == [
        "A user chose these movies, one after the other:\n- Heat (1972)\n\n"
        "Which of these movies does the user choose next? Answer with its letter.\nA. Heat (1995)\nB. Heat (1986)",
        "Answer:",
    ]
    assert (found.choices, found.labels) == ((" A", " B"), True)
    # Prompts that share their first candidate follow each other, for engines that read a prefix once.
    assert [prompt.shown[0] for prompt in prompts] == ["a", "a", "b", "b", "c", "c"]


def test_scores_are_sums_of_the_probabilities_to_win() -> None:
    logprobs: dict[tuple[str, ...], tuple[float, float]] = {
        ("a", "b"): (-0.5, -2.0),
        ("b", "a"): (-1.0, -1.5),
        ("a", "c"): (-1.0, -1.0),
        ("c", "a"): (-2.0, -3.0),
        ("b", "c"): (-0.1, -4.0),
        ("c", "b"): (-4.0, -0.1),
    }
    values = score(
        make("pairwise"), request("a", "b", "c"), SHOP3, lambda p: chosen(p, tuple((v,) for v in logprobs[p.shown]))
    )
    a_b, a_c, b_c = (1.5 - 0.5) / 2, (0.0 - 1.0) / 2, (3.9 + 3.9) / 2
    assert values == pytest.approx(
        {"a": sigmoid(a_b) + sigmoid(a_c), "b": sigmoid(-a_b) + sigmoid(b_c), "c": sigmoid(-a_c) + sigmoid(-b_c)}
    )


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=30)
@given(order=st.permutations(ITEMS), count=st.integers(2, 25), top=st.integers(1, 12), draw=st.randoms())
def test_an_oracle_is_read_back(method: str, order: list[str], count: int, top: int, draw: random.Random) -> None:
    options = {"top": top} if method == "heapsort" else {}
    candidates = draw.sample(ITEMS[:count], count)
    values = score(make("pairwise", method=method, **options), request(*candidates), SHOP, oracle(order))
    found = count if method == "all" else min(top, count)
    hidden = [item for item in order if item in candidates]
    assert best(values, found) == hidden[:found]
    assert {values[item] for item in hidden[found:]} <= {0.0}


def test_heapsort_asks_far_less_than_all_pairs() -> None:
    calls = {m: len(flat(play(make("pairwise", method=m), request(*ITEMS[:20]), SHOP, oracle(ITEMS)))) for m in METHODS}
    assert calls["all"] == 20 * 19
    assert 2 * 19 <= calls["heapsort"] <= 2 * (19 + 9 * 5)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("answer", [first_shown, lambda prompt: chosen(prompt, ((-1.0,),) * len(prompt.shown))])
def test_a_model_that_sees_only_positions_is_at_chance(method: str, answer: Any) -> None:
    """All pairs are ties: with `all` every score is the same, with `heapsort` the lots decide, never the order."""
    count, wins, template = 500, [0, 0, 0], make("pairwise", method=method)
    for number in range(count):
        candidates = random.Random(number).sample(ITEMS[:8], 8)
        values = score(template, request(*candidates, name=f"r{number}"), SHOP, answer)
        if method == "all":
            assert set(values.values()) == {3.5}
            return
        [first] = best(values, 1)
        wins = [won + (first == item) for won, item in zip(wins, (candidates[0], candidates[-1], "i0"), strict=True)]
    assert all(abs(won - count / 8) < 4 * (count * 1 / 8 * 7 / 8) ** 0.5 for won in wins), wins


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "logprobs", [None, (), ((), ()), ((-1.0,), ()), ((-1.0,),) * 3, ((float("nan"),), (-1.0,)), ((float("-inf"),),) * 2]
)
def test_a_request_without_any_usable_answer_is_silent(method: str, logprobs: Any) -> None:
    template = make("pairwise", method=method)
    exchanges = flat(play(template, request(*ITEMS[:6]), SHOP, lambda prompt: chosen(prompt, logprobs)))
    assert read(template, exchanges).values == {}
    assert read(template, exchanges).notes["calls"] == len(exchanges)
    assert score(template, request(*ITEMS[:6]), SHOP, lambda prompt: text(prompt, "A")) == {}


def test_a_pair_that_was_answered_in_one_order_alone_is_a_tie() -> None:
    def answer(prompt: Prompt) -> Response:
        return chosen(prompt, ((-9.0,), (-0.1,)) if prompt.shown != ("a", "b") else None)

    values = score(make("pairwise"), request("a", "b", "c"), SHOP3, answer)
    # The others' answers cancel out, so each of them is a tie as well.
    assert values == {"a": 1.0, "b": 1.0, "c": 1.0}


def test_notes_say_how_much_the_letters_mean_and_how_often_was_asked() -> None:
    template = make("pairwise")
    exchanges = flat(play(template, request("a", "b"), SHOP3, lambda prompt: chosen(prompt, ((-1.0,), (-2.0,)))))
    notes = read(template, exchanges).notes
    assert notes == {"label_mass": pytest.approx(exp(-1) + exp(-2)), "calls": 2.0}


@pytest.mark.parametrize("method", METHODS)
def test_answers_are_found_by_what_was_shown_not_by_where_they_stand(method: str) -> None:
    template = make("pairwise", method=method)
    rounds = play(template, request(*ITEMS[:9]), SHOP, oracle(ITEMS))
    turned = flat(rounds)[::-1]
    assert template.render(request(*ITEMS[:9]), SHOP, history=3, asked=turned) == []
    assert read(template, turned) == read(template, flat(rounds))


@pytest.mark.parametrize("method", METHODS)
def test_what_is_left_of_a_round_is_asked_under_its_names(method: str) -> None:
    template = make("pairwise", method=method)
    first = play(template, request(*ITEMS[:9]), SHOP, oracle(ITEMS))[0]
    left = template.render(request(*ITEMS[:9]), SHOP, history=3, asked=first[::2])
    assert left == [prompt for prompt, _ in first[1::2]]


def test_top_is_refused_where_nothing_reads_it() -> None:
    with pytest.raises(OptionError, match="method=heapsort"):
        PairwiseOptions.parse({"top": "5"}, owner="pairwise")
    kept = PairwiseOptions(method="heapsort", top=5)
    assert PairwiseOptions.parse(kept.model_dump(), owner="pairwise") == kept
    assert PairwiseOptions.parse(PairwiseOptions().model_dump(), owner="pairwise") == PairwiseOptions()

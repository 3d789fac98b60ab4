"""Windows over the candidates: the best travel to the front, what a model leaves out keeps its order."""

import random
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.types import Item, Prompt, Request, Response
from llmrs_bench.prompts.strategies.base import ItemCatalog
from llmrs_bench.prompts.strategies.sliding_window import SlidingWindowOptions
from template_runs import best, catalog, first_shown, flat, make, oracle, play, read, score, text

ITEMS = [f"i{number}" for number in range(25)]
SHOP = catalog(*ITEMS)
LETTERS = catalog(*"abcdefg")


def request(*candidates: str, name: str = "r") -> Request:
    return Request(name, "u", (), candidates)


def windows(count: int, **options: int) -> list[tuple[str, ...]]:
    exchanges = flat(play(make("sliding-window", **options), request(*ITEMS[:count]), SHOP, first_shown))
    return [prompt.shown for prompt, _ in exchanges]


@pytest.mark.parametrize(
    ("count", "spans"),
    [
        (1, [(0, 1)]),
        (10, [(0, 10)]),
        (11, [(1, 11), (0, 6)]),
        (15, [(5, 15), (0, 10)]),
        (20, [(10, 20), (5, 15), (0, 10)]),
        (22, [(12, 22), (7, 17), (2, 12), (0, 7)]),
    ],
)
def test_windows_go_from_the_end_to_the_start(count: int, spans: list[tuple[int, int]]) -> None:
    assert windows(count) == [tuple(ITEMS[start:stop]) for start, stop in spans]


@pytest.mark.slow
@given(st.integers(1, 25), st.integers(2, 12), st.data())
def test_windows_reach_every_candidate_in_as_few_calls_as_it_takes(
    count: int, window: int, data: st.DataObject
) -> None:
    stride = data.draw(st.integers(1, window - 1))
    found = windows(count, window=window, stride=stride)
    assert {item for shown in found for item in shown} == set(ITEMS[:count])
    assert len(found) == max(0, ceil((count - window) / stride)) + 1


@pytest.mark.slow
@given(st.permutations(ITEMS), st.integers(1, 25), st.integers(2, 12), st.data())
def test_the_best_travel_to_the_front(order: list[str], count: int, window: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, window - 1))
    candidates = data.draw(st.permutations(ITEMS[:count]))
    values = score(make("sliding-window", window=window, stride=stride), request(*candidates), SHOP, oracle(order))
    found = count if count <= window else window - stride
    assert best(values, found) == [item for item in order if item in candidates][:found]
    assert values.keys() == set(candidates)


def test_the_prompt_ends_with_the_candidates() -> None:
    goods = ItemCatalog(
        {name: Item(name, title) for name, title in zip("abcd", ["Heat", "Alien", "Heat", "Up"], strict=True)}, "film"
    )
    made = make("sliding-window", window=2, stride=1, grammar=True)
    [prompt] = made.render(Request("r", "u", ("d",), ("a", "b", "c")), goods, history=3)
    # The other Heat is in a later window, and yet this one bears its number.
    assert prompt.messages[0].content == (
        "A user chose these films, one after the other:\n- Up\n\n"
        "Rank these 2 candidate films by how likely the user is to choose each of them next, most likely first. "
        "Answer with the candidates' numbers alone, separated by commas, each number exactly once.\n"
        "[1] Alien\n[2] Heat [3]\nRanking:"
    )
    assert (prompt.prompt_id, prompt.shown, prompt.grammar) == ("r/0/0", ("b", "c"), "permutation")
    assert make("sliding-window").render(request("a"), goods, history=0)[0].grammar is None


def scripted(*answers: str | None) -> dict[str, float]:
    given_answers = iter(answers)
    template = make("sliding-window", window=4, stride=2)
    return score(template, request(*"abcdef"), LETTERS, lambda prompt: text(prompt, next(given_answers)))


def test_items_left_out_of_a_window_keep_their_order_behind_those_named() -> None:
    # cdef, f first: f c d e; then a b f c, of which c and a are named: c a b f, behind them d e.
    assert scripted("4", "4, 1") == {"c": 6.0, "a": 5.0, "f": 3.0}
    assert scripted("4, 3, 2, 1", "1, 2, 3, 4") == {"a": 6.0, "b": 5.0, "f": 4.0, "e": 3.0, "d": 2.0, "c": 1.0}


def test_a_window_without_an_answer_changes_nothing() -> None:
    assert scripted("4, 3, 2, 1", "I cannot rank these.") == {"f": 4.0, "e": 3.0, "d": 2.0, "c": 1.0}
    assert scripted(None, "3, 1, 2, 4") == {"c": 6.0, "a": 5.0, "b": 4.0, "d": 3.0}
    assert scripted("Title", "") == {}


@pytest.mark.slow
def test_a_model_that_repeats_the_list_is_at_chance_on_each_item() -> None:
    count, wins, template = 1000, 0, make("sliding-window", window=4, stride=2)
    for number in range(count):
        candidates = random.Random(number).sample(ITEMS[:12], 12)
        values = score(template, request(*candidates), SHOP, first_shown)
        assert best(values, 12) == candidates
        wins += candidates[0] == "i0"
    assert abs(wins - count / 12) < 4 * (count * 1 / 12 * 11 / 12) ** 0.5


def test_notes_count_the_calls() -> None:
    made = make("sliding-window")
    assert read(made, flat(play(made, request(*ITEMS[:20]), SHOP, first_shown))).notes == {"calls": 3.0}


def test_windows_must_overlap() -> None:
    with pytest.raises(OptionError, match="overlap"):
        SlidingWindowOptions.parse({"stride": "10"}, owner="sliding-window")


def test_titles_that_stand_in_for_numbers_are_those_shown_in_the_window() -> None:
    def by_title(prompt: Prompt) -> Response:
        titles = sorted((LETTERS.items[item].title for item in prompt.shown), reverse=True)
        return text(prompt, "\n".join(titles))

    values = score(make("sliding-window", window=4, stride=2), request(*"abcdef"), LETTERS, by_title)
    assert best(values, 2) == ["f", "e"]

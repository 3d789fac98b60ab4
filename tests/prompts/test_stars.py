"""The template stars: what it asks, and how probabilities of ratings become one."""

from dataclasses import replace
from math import log

import pytest

from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.types import Prompt, Request, Response, Scores
from llmrs_bench.prompts.strategies.base import rating_words
from template_runs import catalog, chosen, flat, make, play, read

REQUEST = Request("r", "u", ("c", "d"), ("a",), ratings=(2.0, 5.0))
GOODS = catalog(*"abcd")


def answered(*logprobs: tuple[float, ...]) -> Scores:
    """Return what is read from the log-probabilities of ` 1`, `1`, ` 2`, `2`, ..."""

    def answer(prompt: Prompt) -> Response:
        return chosen(prompt, logprobs)

    template = make("stars")
    return read(template, flat(play(template, REQUEST, GOODS, answer)))


def test_it_shows_ratings_and_asks_for_one() -> None:
    [prompt] = make("stars").render(REQUEST, GOODS, history=3)
    assert [(message.role, message.content) for message in prompt.messages] == [
        (
            "user",
            "A user rated these movies from 1 (worst) to 5 (best), the latest one last:\n- Film C: 2\n- Film D: 5\n\n"
            "How will the user rate this movie, from 1 (worst) to 5 (best)? Answer with the rating alone.\nFilm A",
        ),
        ("assistant", "Answer:"),
    ]
    assert prompt.choices == (" 1", "1", " 2", "2", " 3", "3", " 4", "4", " 5", "5")


def test_the_rating_asked_about_changes_no_prompt() -> None:
    known = replace(REQUEST, history=(*REQUEST.history, "b"), ratings=(2.0, 5.0, 1.0))
    [one] = make("stars").render(known, GOODS, history=2)
    [other] = make("stars").render(replace(known, ratings=(4.0, 5.0, 1.0)), GOODS, history=2)
    assert one == other  # a rating beyond the shown history


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        ((1, 2, 3, 4, 5), ["1", "2", "3", "4", "5"]),
        ((0.5, 1, 1.5), ["0.5", "1.0", "1.5"]),
        ((1, 9, 10), ["1.0", "9.0", "10.0"]),
        ((0, 1), ["0", "1"]),
        ((-1, 1), ["-1", "1"]),
        ((0.25, 0.5), ["0.25", "0.50"]),
    ],
)
def test_no_written_rating_begins_another_one(scale: tuple[float, ...], words: list[str]) -> None:
    assert rating_words(scale) == words


def test_a_scale_of_halves_is_written_alike_in_history_question_and_choices() -> None:
    goods = replace(GOODS, scale=(0.5, 1.0, 1.5, 2.0))
    [prompt] = make("stars").render(replace(REQUEST, ratings=(2.0, 0.5)), goods, history=2)
    assert "- Film C: 2.0\n- Film D: 0.5\n" in prompt.messages[0].content
    assert "from 0.5 (worst) to 2.0 (best)?" in prompt.messages[0].content
    assert prompt.choices == (" 0.5", "0.5", " 1.0", "1.0", " 1.5", "1.5", " 2.0", "2.0")


def test_too_many_ratings_are_refused() -> None:
    with pytest.raises(OptionError, match="too many different ones"):
        make("stars").render(REQUEST, replace(GOODS, scale=()), history=2)


def test_equal_probabilities_give_the_middle() -> None:
    assert answered(*[(log(0.1),)] * 10).values == {"a": pytest.approx(3.0, abs=1e-12)}


def test_the_score_is_the_expectation_over_renormalised_ratings() -> None:
    half = {1: 0.05, 2: 0.0125, 4: 0.1, 5: 0.0375}  # of both spellings, together .4
    told = [(log(half[rating]),) if rating in half else (-99.0,) for rating in (1, 2, 3, 4, 5) for _ in range(2)]
    scores = answered(*told)
    expected = sum(rating * 2 * each for rating, each in half.items()) / 0.4
    assert scores.values["a"] == pytest.approx(expected)
    assert scores.notes == {"label_mass": pytest.approx(0.4), "certainty": pytest.approx(0.2 / 0.4)}
    assert scores.kinds == ("complete",)


def test_a_spelling_that_is_another_ones_tokens_counts_once() -> None:
    scores = answered(*[(log(0.1),) if place % 2 == 0 else () for place in range(10)])
    assert scores.values["a"] == pytest.approx(3.0)
    assert scores.notes["label_mass"] == pytest.approx(0.5)


def test_what_is_known_of_some_ratings_is_partial_and_of_none_is_silent() -> None:
    some = answered((log(0.3),), (), (log(0.1),), *[()] * 7)
    assert some.values == {"a": pytest.approx((0.3 + 0.2) / 0.4)}
    assert some.kinds == ("partial",)
    none = answered(*[()] * 10)
    assert none.values == {}
    assert none.kinds == ("empty",)
    assert "certainty" not in none.notes


def test_probabilities_below_what_a_float_holds_still_count() -> None:
    scores = answered(*[(-2000.0 - place // 2,) for place in range(10)])
    weights = [2.718281828459045**-at for at in range(5)]
    expected = sum(rating * weight for rating, weight in enumerate(weights, 1)) / sum(weights)
    assert scores.values["a"] == pytest.approx(expected)

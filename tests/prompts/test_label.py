"""Letters for candidates, and Yes or No for one: log-probabilities of labels become scores."""

from dataclasses import replace
from math import exp, log

import pytest

from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.types import Prompt, Request, Response
from llmrs_bench.prompts.context import labels
from llmrs_bench.prompts.strategies.label import label_mass
from template_runs import catalog, chosen, flat, make, play, read, score

SHOP = catalog(*"abc")
REQUEST = Request("r", "u", ("c",), ("a", "b"))


def test_labels_are_of_one_length() -> None:
    assert labels(3) == ["A", "B", "C"]
    assert labels(26)[-1] == "Z"
    assert labels(28)[-3:] == ["AZ", "BA", "BB"]
    assert {len(name) for name in labels(676)} == {2}
    with pytest.raises(OptionError, match="677"):
        labels(677)


def test_label_shows_all_candidates_with_letters() -> None:
    [prompt] = make("label").render(REQUEST, SHOP, history=3)
    assert prompt.messages[0].content.endswith(
        "Here are 2 candidate movies:\nA. Film A\nB. Film B\n\n"
        "Which of them does the user choose next? Answer with its letter."
    )
    assert (prompt.choices, prompt.shown, prompt.labels) == ((" A", " B"), ("a", "b"), True)


def test_a_label_that_was_not_shown_leaves_its_candidate_silent() -> None:
    assert score(make("label"), REQUEST, SHOP, lambda prompt: chosen(prompt, ((), (-2.0,)))) == {"b": -2.0}
    assert score(make("label"), REQUEST, SHOP, lambda prompt: chosen(prompt, None)) == {}


def test_yes_no_asks_about_one_candidate_at_a_time() -> None:
    prompts = make("yes-no").render(REQUEST, SHOP, history=3)
    assert [(prompt.prompt_id, prompt.shown, prompt.choices) for prompt in prompts] == [
        ("r/0", ("a",), (" Yes", " No")),
        ("r/1", ("b",), (" Yes", " No")),
    ]
    assert prompts[1].messages[0].content.endswith("next? Answer Yes or No.\nFilm B")


def test_yes_no_scores_are_log_odds_and_need_both_labels() -> None:
    answers = {"a": ((-1.0,), (-3.0,)), "b": ((-1.0,), ())}
    assert score(make("yes-no"), REQUEST, SHOP, lambda prompt: chosen(prompt, answers[prompt.shown[0]])) == {"a": 2.0}


def test_a_label_that_a_server_does_not_show_counts_with_the_most_it_can_have() -> None:
    """The surest Yes is the one whose No is not among the likeliest tokens: it has to be first, not last."""
    request = Request("r", "u", ("c",), ("sure", "likely", "never", "none"))
    answers = {"sure": ((-0.01,), ()), "likely": ((-0.7,), (-2.0,)), "never": ((), (-0.02,)), "none": ((), ())}

    def answer(prompt: Prompt) -> Response:
        return replace(chosen(prompt, answers[prompt.shown[0]]), least_shown=-7.0)

    scores = read(make("yes-no"), flat(play(make("yes-no"), request, catalog("c", *answers), answer)))
    assert scores.values == pytest.approx({"sure": 6.99, "likely": 1.3, "never": -6.98})
    assert scores.notes["bounded_labels"] == 2 / 4
    mass = exp(-0.01) + exp(-0.7) + exp(-2.0) + exp(-0.02)  # of what was shown alone
    assert scores.notes["label_mass"] == pytest.approx(mass / 4)
    assert scores.kinds == ("partial", "complete", "partial", "empty")


LIKED = Request("r", "u", ("c", "d"), ("a",), liked=(False, True))


def test_like_tells_labels_and_asks_in_all_spellings() -> None:
    [prompt] = make("like").render(LIKED, catalog(*"abcd"), history=3)
    assert prompt.messages[0].content == (
        "A user liked these movies, the latest one last:\n- Film D\n\n"
        "The user did not like these movies, the latest one last:\n- Film C\n\n"
        "Will the user like this movie? Answer Yes or No.\nFilm A"
    )
    assert prompt.choices == (" Yes", "Yes", " yes", "yes", " No", "No", " no", "no")


def test_labels_count_before_ratings() -> None:
    request = Request("r", "u", ("c", "d"), ("a",), ratings=(5.0, 1.0), liked=(False, True))
    [prompt] = make("like", interest="likes-rated").render(request, catalog(*"abcd"), history=3)
    assert "liked these movies, the latest one last, and rated them from 1 to 5:\n- Film D (rated 1)" in (
        prompt.messages[0].content
    )


def test_spellings_add_up() -> None:
    half = ((log(0.2),), (log(0.1),), (), (), (log(0.05),), (log(0.05), log(0.5)), (), (log(0.025),))
    template = make("like")
    scores = read(template, flat(play(template, LIKED, catalog(*"abcd"), lambda prompt: chosen(prompt, half))))
    assert scores.values["a"] == pytest.approx(log(0.3 / 0.1))
    assert scores.notes == {"label_mass": pytest.approx(0.4), "says_yes": 1.0}
    assert scores.kinds == ("complete",)


def test_an_answer_without_any_spelling_of_no_is_silent() -> None:
    template = make("like")
    given = ((-1.0,), *((),) * 7)
    scores = read(template, flat(play(template, LIKED, catalog(*"abcd"), lambda prompt: chosen(prompt, given))))
    assert (scores.values, scores.kinds) == ({}, ("partial",))


@pytest.mark.parametrize("name", ["label", "yes-no"])
def test_label_mass_is_the_mean_probability_of_any_label(name: str) -> None:
    template = make(name)
    exchanges = flat(play(template, REQUEST, SHOP, lambda prompt: chosen(prompt, ((-1.0,), (-0.5, -1.5)))))
    assert read(template, exchanges).notes["label_mass"] == pytest.approx(exp(-1) + exp(-2))
    assert label_mass([]) == 0.0

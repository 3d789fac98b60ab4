"""Letters for candidates, and Yes or No for one: log-probabilities of labels become scores."""

from math import exp

import pytest

from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.types import Request
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


@pytest.mark.parametrize("name", ["label", "yes-no"])
def test_label_mass_is_the_mean_probability_of_any_label(name: str) -> None:
    template = make(name)
    exchanges = flat(play(template, REQUEST, SHOP, lambda prompt: chosen(prompt, ((-1.0,), (-0.5, -1.5)))))
    assert read(template, exchanges).notes["label_mass"] == pytest.approx(exp(-1) + exp(-2))
    assert label_mass([]) == 0.0

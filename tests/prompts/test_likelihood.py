"""Log-likelihoods of titles become scores."""

import pytest

from llmrs_bench.config import Normalize
from llmrs_bench.prompts.protocol import Reading, Shop
from llmrs_bench.types import Item, Request, Response
from template_runs import make

ITEMS = {"a": Item("a", "Title a"), "b": Item("b", "Amélie"), "c": Item("c", "Title c")}
REQUEST = Request("r", "u", ("c",), ("a", "b"))


@pytest.mark.parametrize(
    ("normalize", "values"),
    [
        ("sum", {"a": -3.0, "b": -2.0}),
        ("token", {"a": -1.0, "b": -2.0}),
        ("byte", {"a": -3.0 / 7, "b": -2.0 / 7}),
        ("pmi", {"a": 4.0 - 3.0, "b": 2.5 - 2.0}),
    ],
)
def test_normalisations_are_readings_of_one_response(normalize: Normalize, values: dict[str, float]) -> None:
    template = make("likelihood")
    prompts = template.render(REQUEST, Shop(ITEMS, "song"), history=5)
    response = Response("r", None, ((-1.0, -1.0, -1.0), (-2.0,)), 0, 0, 0, "choices")
    reading = Reading(normalize, {" Title a": -4.0, " Amélie": -2.5})
    assert template.parse(prompts, [response], reading).values == pytest.approx(values)


def test_candidates_are_not_in_the_prompt() -> None:
    prompt = make("likelihood").render(REQUEST, Shop(ITEMS, "song"), history=5)[0]
    text = "\n".join(message.content for message in prompt.messages)
    assert text == (
        "A user chose these songs, one after the other:\n- Title c\n\n"
        "Which song does the user choose next?\nThe next song is:"
    )
    assert prompt.choices == (" Title a", " Amélie")


def test_priors_ask_for_the_same_choices_without_a_history() -> None:
    choices = [f" Title {number}" for number in range(250)]
    prompts = make("likelihood").priors(choices, Shop(ITEMS, "song"))
    assert [choice for prompt in prompts for choice in prompt.choices or ()] == choices
    assert len({prompt.prompt_id for prompt in prompts}) == len(prompts)
    assert {prompt.messages[0].content for prompt in prompts} == {"Which song does the user choose next?"}


@pytest.mark.parametrize("logprobs", [None, (), ((), ())])
def test_a_response_without_log_probabilities_leaves_the_items_silent(
    logprobs: tuple[tuple[float, ...], ...] | None,
) -> None:
    template = make("likelihood")
    prompts = template.render(REQUEST, Shop(ITEMS, "song"), history=5)
    assert template.parse(prompts, [Response("r", "?", logprobs, 0, 0, 0, "stop")], Reading()).values == {}

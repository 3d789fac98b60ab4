"""Log-likelihoods of titles become scores."""

import pytest

from llmrs_bench.prompts.likelihood import Likelihood
from llmrs_bench.prompts.protocol import Shop
from llmrs_bench.types import Item, Request, Response

ITEMS = {name: Item(name, f"Title {name}") for name in "abc"}


def test_sum_and_mean_are_two_readings_of_one_response() -> None:
    prompts = Likelihood().render(Request("r", "u", ("c",), ("a", "b")), Shop(ITEMS, "song"), history=5)
    response = Response("r", None, ((-1.0, -1.0, -1.0), (-2.0,)), 0, 0, 0, "choices")
    assert TEMPLATE.parse(prompts, [response], Reading()).values == {"a": -3.0, "b": -2.0}
    assert TEMPLATE.parse(prompts, [response], Reading("token")).values == {"a": -1.0, "b": -2.0}


def test_candidates_are_not_in_the_prompt() -> None:
    prompt = Likelihood().render(Request("r", "u", ("c",), ("a", "b")), Shop(ITEMS, "song"), history=5)[0]
    text = "\n".join(message.content for message in prompt.messages)
    assert text == (
        "A user chose these songs, one after the other:\n- Title c\n\n"
        "Which song does the user choose next?\nThe next song is:"
    )
    assert prompt.choices == (" Title a", " Title b")


@pytest.mark.parametrize("logprobs", [None, (), ((), ())])
def test_a_response_without_log_probabilities_leaves_the_items_silent(
    logprobs: tuple[tuple[float, ...], ...] | None,
) -> None:
    prompts = Likelihood().render(Request("r", "u", (), ("a", "b")), Shop(ITEMS, "song"), history=5)
    assert TEMPLATE.parse(prompts, [Response("r", "?", logprobs, 0, 0, 0, "stop")], Reading()).values == {}

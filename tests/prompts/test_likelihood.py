"""Log-likelihoods of titles become scores."""

import pytest

from llmrs_bench.core.types import Item, Request, Response
from llmrs_bench.prompts.strategies.base import ItemCatalog, Normalization, ScoresTitles
from template_runs import make

ITEMS = {name: Item(name, f"Title {name}") for name in "abc"}
TEMPLATE = make("likelihood")


def test_every_normalisation_reads_the_same_response() -> None:
    prompts = TEMPLATE.render(Request("r", "u", ("c",), ("a", "b")), ItemCatalog(ITEMS, "song"), history=5)
    response = Response("r", None, ((-1.0, -1.0, -1.0), (-2.0,)), 0, 0, 0, "choices")
    assert TEMPLATE.parse(prompts, [response], Normalization()).values == {"a": -3.0, "b": -2.0}
    assert TEMPLATE.parse(prompts, [response], Normalization("token")).values == {"a": -1.0, "b": -2.0}
    assert TEMPLATE.parse(prompts, [response], Normalization("byte")).values == {"a": -3.0 / 7, "b": -2.0 / 7}
    prior = {" Title a": -3.5, " Title b": -2.0}
    assert TEMPLATE.parse(prompts, [response], Normalization("pmi", prior)).values == {"a": 0.5, "b": 0.0}


def test_bytes_are_those_of_the_title_in_utf8() -> None:
    catalog = ItemCatalog({"a": Item("a", "Amélie")}, "film")
    prompts = TEMPLATE.render(Request("r", "u", (), ("a",)), catalog, history=5)
    response = Response("r", None, ((-7.0,),), 0, 0, 0, "choices")
    assert TEMPLATE.parse(prompts, [response], Normalization("byte")).values == {"a": -7.0 / 7}


def test_priors_ask_for_every_choice_once_without_any_history() -> None:
    choices = [f" Title {number}" for number in range(250)]
    assert isinstance(TEMPLATE, ScoresTitles)
    priors = TEMPLATE.priors(choices, ItemCatalog(ITEMS, "song"))
    assert [choice for prior in priors for choice in prior.choices or ()] == choices
    without = TEMPLATE.render(Request("r", "u", ("c",), ("a",)), ItemCatalog(ITEMS, "song"), history=0)[0]
    assert {prior.messages for prior in priors} == {without.messages}
    assert len({prior.prompt_id for prior in priors}) == len(priors) > 1


def test_candidates_are_not_in_the_prompt() -> None:
    prompt = TEMPLATE.render(Request("r", "u", ("c",), ("a", "b")), ItemCatalog(ITEMS, "song"), history=5)[0]
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
    prompts = TEMPLATE.render(Request("r", "u", (), ("a", "b")), ItemCatalog(ITEMS, "song"), history=5)
    assert TEMPLATE.parse(prompts, [Response("r", "?", logprobs, 0, 0, 0, "stop")], Normalization()).values == {}

"""Prompts that are too long: history goes first, then attributes, and nothing else."""

import pytest

from llmrs_bench.core.errors import EngineError
from llmrs_bench.core.types import Item, Request
from llmrs_bench.llm.backends.mock import MockEngine, MockOptions
from llmrs_bench.llm.clipping import Clipped, clip
from llmrs_bench.llm.model_aliases import ModelSpec
from llmrs_bench.prompts.strategies.base import ItemCatalog
from llmrs_bench.stages.conversation import question
from template_runs import make

SHOP = ItemCatalog({name: Item(name, f"Film {name}", "", 1990, ("Drama", "Comedy")) for name in "abcdef"}, "movie")
REQUEST = Request("r", "u", ("a", "b", "c"), ("d", "e", "f"))


def clipped(context: int, **parts: str) -> list[Clipped]:
    template = make("listwise", **parts)
    prompts = template.render(REQUEST, SHOP, history=3)
    engine = MockEngine(ModelSpec("m", "m"), MockOptions(context=context), device="cpu", seed=0)
    return list(clip([question(REQUEST, prompts, (), template, SHOP, 3)], engine))


def needed(**parts: str) -> list[int]:
    """Words of the prompt with 3, 2, 1 and no items of history."""
    engine = MockEngine(ModelSpec("m", "m"), MockOptions(), device="cpu", seed=0)
    template = make("listwise", **parts)
    return [engine.count_tokens(template.render(REQUEST, SHOP, history=size))[0] for size in (3, 2, 1, 0)]


def test_history_goes_first_the_oldest_item_before_the_others() -> None:
    whole, two, one, none = needed(candidates="attributes")
    assert whole > two > one > none
    for context, lost in ((whole, 0), (whole - 1, 1), (one, 2), (none, 3)):
        (found,) = clipped(context, candidates="attributes")
        assert (found.lost, found.without_attributes) == (lost, False)
    (found,) = clipped(two, candidates="attributes")
    text = found.prompt.messages[0].content
    assert "Film a" not in text
    assert "Film b" in text
    assert "1990" in text


def test_all_prompts_of_a_request_lose_what_the_longest_has_to() -> None:
    shop = ItemCatalog({**SHOP.items, "e": Item("e", "Film e of a very long title", "", 1990, ())}, "movie")
    template = make("yes-no")
    prompts = template.render(REQUEST, shop, history=3)
    sizes = MockEngine(ModelSpec("m", "m"), MockOptions(), device="cpu", seed=0).count_tokens(prompts)
    assert sizes[0] == sizes[2] < sizes[1] - 1
    engine = MockEngine(ModelSpec("m", "m"), MockOptions(context=sizes[1] - 1), device="cpu", seed=0)
    assert [each.lost for each in clip([question(REQUEST, prompts, (), template, shop, 3)], engine)] == [1, 1, 1]


def test_attributes_go_when_no_history_is_left_and_history_comes_back_as_it_fits() -> None:
    none = needed(candidates="attributes")[-1]
    (found,) = clipped(none - 1, candidates="attributes")
    text = found.prompt.messages[0].content
    assert found.without_attributes
    assert "Drama" not in text
    assert all(f"Film {name}" in text for name in "def")
    assert found.lost == 3 - text.count("- Film")


def test_candidates_never_go() -> None:
    with pytest.raises(EngineError, match="even without any history"):
        clipped(needed()[-1] - 1)
    with pytest.raises(EngineError, match="even without any history"):
        clipped(20, candidates="attributes")

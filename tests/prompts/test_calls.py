"""How many prompts a request takes, known before any is answered."""

import random

import pytest

from llmrs_bench.core.types import Request
from llmrs_bench.prompts.strategies.base import CountsCalls
from llmrs_bench.prompts.template import template_names
from template_runs import catalog, flat, make, oracle, play

ITEMS = [f"i{number}" for number in range(23)]
COUNTED = ("like", "pairwise", "setwise", "sliding-window", "yes-no")


def asked(name: str, count: int, seed: int, **options: object) -> int:
    order = random.Random(seed).sample(ITEMS[:count], count)
    request = Request(f"r{seed}", "u", (ITEMS[-1],), tuple(ITEMS[:count]))
    return len(flat(play(make(name, **options), request, catalog(*ITEMS), oracle(order))))


@pytest.mark.parametrize("count", [1, 2, 5, 10, 11, 20])
@pytest.mark.parametrize("name", ["pairwise", "sliding-window", "yes-no"])
def test_as_many_prompts_are_asked_as_were_counted(name: str, count: int) -> None:
    template = make(name)
    assert isinstance(template, CountsCalls)
    assert template.calls(count) == asked(name, count, seed=1)


@pytest.mark.parametrize(
    ("name", "options"), [("setwise", {}), ("setwise", {"size": 3, "top": 4}), ("pairwise", {"method": "heapsort"})]
)
def test_sorts_take_about_as_many_prompts_as_were_counted(name: str, options: dict[str, object]) -> None:
    template = make(name, **options)
    assert isinstance(template, CountsCalls)
    taken = [asked(name, 20, seed, **options) for seed in range(20)]
    assert min(taken) <= template.calls(20) <= max(taken)
    assert max(taken) < 1.3 * min(taken)


def test_other_templates_ask_one_prompt_a_request() -> None:
    assert {name for name in template_names() if isinstance(make(name), CountsCalls)} == {*COUNTED}
    for name in ("label", "likelihood", "listwise"):
        assert asked(name, 7, seed=1) == 1

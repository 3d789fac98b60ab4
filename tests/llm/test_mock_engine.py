"""The mock engine: at chance, seeded, and blind to the order of candidates."""

from collections import Counter
from math import exp
from typing import Any

import pytest

from llmrs_bench.core.errors import EngineError
from llmrs_bench.core.types import Prompt, Response
from llmrs_bench.llm.backends.mock import MockEngine, MockOptions
from llmrs_bench.llm.identity import MOCK_VERSION, identify
from llmrs_bench.llm.model_aliases import ModelSpec
from tiny_models import choice_prompt, text_prompt

MODEL = ModelSpec("mock", "mock")
ITEMS = tuple("abcde")


def engine(seed: int = 0, **options: Any) -> MockEngine:
    return MockEngine(MODEL, MockOptions(**options), device="cpu", seed=seed)


def prompt(name: str, shown: tuple[str, ...] = ITEMS, *, choices: bool = False) -> Prompt:
    return Prompt(name, name, text_prompt().messages, shown, tuple(f" {item}" for item in shown) if choices else None)


def answer(made: MockEngine, *prompts: Prompt) -> list[Response]:
    return list(made.answer(prompts))


def order(response: Response, shown: tuple[str, ...]) -> list[str]:
    return [shown[int(number) - 1] for number in (response.text or "").split(", ")]


def test_answers_rank_the_same_items_in_any_order_of_candidates() -> None:
    turned = ITEMS[::-1]
    for choices in (False, True):
        one, other = answer(engine(), prompt("p", choices=choices), prompt("p", turned, choices=choices))
        if choices:
            assert one.choice_logprobs == (other.choice_logprobs or ())[::-1]
        else:
            assert order(one, ITEMS) == order(other, turned)
            assert sorted(order(one, ITEMS)) == list(ITEMS)


def test_every_item_is_first_equally_often() -> None:
    firsts = Counter(order(r, ITEMS)[0] for r in answer(engine(), *(prompt(f"p{n}") for n in range(2000))))
    assert all(abs(count - 400) < 80 for count in firsts.values())  # 4.5 standard deviations
    values = [
        exp(v[0])
        for r in answer(engine(), *(prompt(f"p{n}", choices=True) for n in range(400)))
        for v in r.choice_logprobs or ()
    ]
    assert sum(values) / len(values) == pytest.approx(0.5, abs=0.03)


def test_seeds_differ_and_repeat() -> None:
    prompts = [prompt(f"p{n}") for n in range(20)]
    assert answer(engine(3), *prompts) == answer(engine(3), *prompts)
    assert answer(engine(3), *prompts) != answer(engine(4), *prompts)


def test_tokens_are_words_and_the_context_holds() -> None:
    made = engine(context=12)
    one = Prompt("p", "p", choice_prompt().messages[1:], ("a", "b"), (" Heat", " Toy Story 2"))
    assert made.count_tokens([one])[0] == 4 + 3
    assert answer(made, one)[0].prompt_tokens == 4
    with pytest.raises(EngineError, match="words"):
        answer(made, text_prompt())


def test_identity_and_facts_name_the_version() -> None:
    assert identify(MODEL) == {"mock": MOCK_VERSION}
    assert engine().facts()["mock"] == MOCK_VERSION

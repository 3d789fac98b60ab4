"""The OpenAI engine against vLLM's own server: what the contract suite does not ask."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmrs_bench.core.errors import EngineError
from llmrs_bench.core.types import Prompt, Response
from llmrs_bench.llm.backends.openai import OpenAIEngine
from llmrs_bench.llm.backends.openai_options import OpenAIOptions
from llmrs_bench.llm.backends.transformers import TransformersEngine
from llmrs_bench.llm.engine_options import TransformersOptions
from llmrs_bench.llm.model_aliases import ModelSpec
from serving import vllm_serving
from tiny_models import TITLES, choice_prompt, text_prompt, tiny_llama

pytest.importorskip("vllm")
pytestmark = pytest.mark.vllm

LABELS = [  # of a token each
    replace(choice_prompt(f"l{number}", history=number, titles=TITLES[:4]), choices=(" A", " H", " L"), labels=True)
    for number in range(4)
]
TEXTS = [text_prompt(f"t{number}", history=number) for number in range(4)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("llama"), chat=True)


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with vllm_serving(folder, name="tiny") as found:
        yield found


def exact(folder: Path, *prompts: Prompt, chat: bool) -> dict[str, Response]:
    options = TransformersOptions(answer_tokens=8)
    made = TransformersEngine(ModelSpec("tiny", str(folder), chat=chat), options, device="cpu", seed=0)
    return {response.prompt_id: response for response in made.answer(prompts)}


def served(url: str, *prompts: Prompt, chat: bool | None = None, **options: Any) -> tuple[dict[str, Response], Any]:
    settings = OpenAIOptions(base_url=url, answer_tokens=8, **options)
    made = OpenAIEngine(ModelSpec("tiny", "tiny", chat=chat), settings, device="auto", seed=0)
    try:
        return {response.prompt_id: response for response in made.answer(prompts)}, made.facts()
    finally:
        made.close()


def test_labels_of_a_token_each_take_one_request_and_are_exact(url: str, folder: Path) -> None:
    found, facts = served(url, *LABELS, chat=True, api="completions", tokenizer=str(folder))
    assert facts["requests"] == 1 + len(LABELS)
    for name, expected in exact(folder, *LABELS, chat=True).items():
        for one, other in zip(found[name].choice_logprobs or (), expected.choice_logprobs or (), strict=True):
            assert one == pytest.approx(other, abs=1e-3)


def test_chats_are_those_of_the_models_own_template(url: str, folder: Path) -> None:
    found, facts = served(url, *TEXTS)
    for name, expected in exact(folder, *TEXTS, chat=True).items():
        # vLLM leaves out a character that the end of the answer cut in the middle.
        assert (found[name].text or "").rstrip("\ufffd") == (expected.text or "").rstrip("\ufffd")
        assert found[name].finish_reason == expected.finish_reason
        assert found[name].prompt_tokens == expected.prompt_tokens
    assert str(facts["served_as"]).startswith("tiny")


def test_labels_are_looked_up_among_the_likeliest_tokens_behind_a_continued_answer(url: str, folder: Path) -> None:
    # As many tokens as vLLM shows; with spaces around them two of them may be the same label.
    found, _ = served(url, *LABELS, continue_assistant=True)
    alike = 0
    for name, expected in exact(folder, *LABELS, chat=True).items():
        for one, other in zip(found[name].choice_logprobs or (), expected.choice_logprobs or (), strict=True):
            assert not one or sum(one) >= sum(other) - 1e-3
            alike += bool(one)
    assert alike


def test_what_the_server_refuses_is_named(url: str, folder: Path) -> None:
    with pytest.raises(EngineError, match="context length") as caught:
        served(url, text_prompt("long", history=60))
    assert "'long'" in caught.value.message
    assert "--history" in caught.value.hint
    with pytest.raises(EngineError, match="does not exist"):
        served(url, TEXTS[0], model="other")

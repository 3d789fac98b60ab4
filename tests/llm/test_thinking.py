"""Thoughts: closed when they have to be, held in tags whatever the tokenizer does with them."""

import pytest
from transformers import PreTrainedTokenizerFast

from llmrs_bench.core.errors import ModelError
from llmrs_bench.llm.thinking import Closing, compose, find_closing
from llmrs_bench.prompts.parsing.thoughts import spoken
from tiny_models import train_tokenizer

CLOSING = Closing(token=7, cut=(3, 7), gap=(4,))


def thinker(*, special: bool) -> PreTrainedTokenizerFast:
    tokenizer = train_tokenizer(chat=True)
    tokenizer.add_tokens(["<think>", "</think>"], special_tokens=special)
    return tokenizer


@pytest.mark.parametrize(
    ("written", "closed"),
    [
        ((1, 2, 7), (1, 2, 7, 4)),
        ((1, 2), (1, 2, 3, 7, 4)),
        ((1, 2, 9), (1, 2, 3, 7, 4)),
        ((), (3, 7, 4)),
    ],
    ids=["closed", "cut off", "stopped", "empty"],
)
def test_every_thought_ends_in_one_closing(written: tuple[int, ...], closed: tuple[int, ...]) -> None:
    assert CLOSING.close(written, (9,)) == closed
    assert len(closed) <= len(written) + CLOSING.longest


@pytest.mark.parametrize("special", [False, True], ids=["plain tags", "special tags"])
@pytest.mark.parametrize(
    ("prompt", "text", "composed", "answer"),
    [
        ("Hi", "Heat", "Heat", "Heat"),
        ("Hi", "<think>a b</think>\n\nHeat", "<think>a b</think>\n\nHeat", "\n\nHeat"),
        ("Hi<think>\n", "a b</think>Heat", "<think>a b</think>Heat", "Heat"),
        ("Hi<think>\n", "a b", "<think>a b", ""),
        ("Hi", "<think>a b", "<think>a b", ""),
        ("Hi", "<think></think>Heat", "<think></think>Heat", "Heat"),
    ],
    ids=["no thought", "own tags", "opened by the prompt", "opened, endless", "endless", "empty"],
)
def test_texts_hold_thoughts_in_tags(special: bool, prompt: str, text: str, composed: str, answer: str) -> None:
    tokenizer = thinker(special=special)
    ids = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
    found, count = compose(tokenizer, prompt, ids)
    assert found == composed
    assert spoken(found) == answer
    end = "</think>"
    thought = text[: text.index(end) + len(end)] if end in text else "" if composed == answer else text
    assert count == len(tokenizer(thought, add_special_tokens=False)["input_ids"])


def test_models_that_do_not_think_are_refused() -> None:
    assert find_closing(thinker(special=True), chat=None).token == thinker(special=True).get_vocab()["</think>"]
    with pytest.raises(ModelError, match="no '</think>'") as caught:
        find_closing(train_tokenizer(chat=True), chat=None)
    assert "thinking_tokens=0" in caught.value.hint
    with pytest.raises(ModelError, match="chat template"):
        find_closing(thinker(special=True), chat=False)

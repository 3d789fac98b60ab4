"""What prompts look like before any is asked: on made-up items, and in the chat template of a model."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from llmrs_bench.core.config import PromptConfig
from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.types import Example, Item, Request
from llmrs_bench.llm.tokenization import PromptReader
from llmrs_bench.prompts.frames import read_prompts
from llmrs_bench.prompts.strategies.base import ItemCatalog
from llmrs_bench.report.words import RenderedPrompt
from llmrs_bench.stages.prompt import open_plan, open_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_TITLES = ("The First", "A Second One", "Third", "Third", "Fourth, The", "5", "Sixth (Part 2)")


def check_template(config: PromptConfig) -> list[str]:
    """Render a template with and without everything that a request can have, and return its first prompt.

    Raises:
        OptionError: If the template, a part or an option is wrong, a part asks for what may be missing, or the user's
            turn is empty.
    """
    plan = open_plan(config)
    items = {
        f"i{number}": Item(f"i{number}", title, "Some text.", 1990 + number, ("Drama", "Comedy"))
        for number, title in enumerate(_TITLES)
    }
    catalog = ItemCatalog(items, "item")
    history, candidates = ("i0", "i1"), ("i2", "i3", "i4", "i5", "i6")
    full = Request(
        "full", "u", history, candidates, (5.0, 2.0), ("i0",), (Example(("i0",), "i1"),), "Stories that end well.",
        liked=(True, False),
    )  # fmt: skip
    bare = Request("bare", "u", (), candidates[:2])
    shown = [plan.template.render(request, catalog, history=10) for request in (full, bare)]
    for prompts in shown:
        if not any(message.role == "user" for prompt in prompts for message in prompt.messages):
            raise OptionError(
                f"template {plan.name} makes an empty prompt for a user without a history",
                hint="Give it a part task or answer.",
            )
    return [f"[{message.role}] {message.content}" for message in shown[0][0].messages]


def rendered_prompts(prompts: pl.DataFrame, model: str) -> list[RenderedPrompt]:
    """Return each prompt as a model reads it: its chat template if it has one, and special tokens.

    Args:
        prompts: Frame of the schema `prompts`.
        model: A name of the catalogue, a folder, or an id of the Hugging Face hub.

    Raises:
        ModelError: If the tokenizer cannot be had.
    """
    reader, shown = open_reader(model), []
    for tokens in (reader.read(prompt).tokens for prompt in read_prompts(prompts)):
        text, *choices = (_decoded(reader.tokenizer, ids) for ids in (tokens.prefix, *tokens.suffixes))
        shown.append(RenderedPrompt(text, len(tokens.prefix), tuple(choices), reader.encoder_decoder))
    return shown


def open_reader(model: str) -> PromptReader:
    """Load the tokenizer of a model with transformers, as its engines do; ModelError if it cannot be had."""
    spec, tokenizer = open_tokenizer(model)
    return PromptReader(tokenizer, chat=spec.chat, encoder_decoder=spec.architecture == "encoder-decoder")


def _decoded(tokenizer: "PreTrainedTokenizerBase", ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

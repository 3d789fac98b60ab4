"""Try a template out: on made-up items of every kind, and with a model's own tokenizer."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from llmrs_bench.catalog import CATALOG, ModelSpec
from llmrs_bench.config import PromptConfig
from llmrs_bench.errors import OptionError
from llmrs_bench.prompts.frames import read_prompts
from llmrs_bench.prompts.protocol import Shop
from llmrs_bench.report.words import RenderedPrompt
from llmrs_bench.stages.plan import open_plan
from llmrs_bench.types import Example, Item, Request

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
    shop = Shop(items, "item")
    history, candidates = ("i0", "i1"), ("i2", "i3", "i4", "i5", "i6")
    full = Request(
        "full", "u", history, candidates, (5.0, 2.0), ("i0",), (Example(("i0",), "i1"),), "Stories that end well."
    )
    bare = Request("bare", "u", (), candidates[:2])
    shown = [plan.template.render(request, shop, history=10) for request in (full, bare)]
    for prompts in shown:
        if not any(message.role == "user" for prompt in prompts for message in prompt.messages):
            raise OptionError(
                f"template {plan.name} says nothing to the model where a user has no history",
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
    from llmrs_bench.engines.jobs import PromptReader
    from llmrs_bench.engines.loading import Checkpoint
    from llmrs_bench.engines.options import ModelOptions

    spec = CATALOG.get(model) or ModelSpec(Path(model).name, model)
    tokenizer = Checkpoint(spec, ModelOptions()).tokenizer()
    reader = PromptReader(tokenizer, chat=spec.chat, encoder_decoder=spec.architecture == "encoder-decoder")
    shown = []
    for prompt in read_prompts(prompts):
        tokens = reader.read(prompt).tokens
        choices = tuple(_decoded(tokenizer, suffix) for suffix in tokens.suffixes)
        text = _decoded(tokenizer, tokens.prefix)
        shown.append(RenderedPrompt(text, len(tokens.prefix), choices, reader.encoder_decoder))
    return shown


def _decoded(tokenizer: "PreTrainedTokenizerBase", ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

"""Stage `prompt`: render a template over the requests of a data set."""

from collections.abc import Sequence
from hashlib import sha256
from inspect import getfile
from pathlib import Path

import polars as pl

from llmrs_bench.artifacts import Draft, Recipe
from llmrs_bench.config import PromptConfig
from llmrs_bench.prompts import protocol
from llmrs_bench.prompts.frames import read_requests, read_shop, write_prompts
from llmrs_bench.prompts.protocol import Shop, Template
from llmrs_bench.registry import TEMPLATES
from llmrs_bench.stages.home import Data
from llmrs_bench.stages.outcome import Outcome, make_once


def prompt(data: Data, config: PromptConfig) -> Outcome:
    """Make the artifact `prompts` of a template.

    Raises:
        OptionError: If there is no such template.
        ArtifactError: If the data set's tables are damaged.
    """
    template: Template = TEMPLATES.load(config.template)()
    history = data.default_history if config.history is None else config.history
    recipe = Recipe(
        "prompt",
        config.template,
        {"template": config.template, "history": history, "item_word": data.item_word},
        {table: data.artifact.digest(table) for table in ("items", "requests")},
        {"template": source_digest(template)},
    )

    def fill(draft: Draft) -> None:
        frame = render(template, data, history)
        draft.write("prompts", frame)
        draft.facts.update(
            prompts=frame.height,
            characters=_characters(frame),
            has_choices=template.has_choices,
        )

    return make_once(recipe.place(data.place.prompts), recipe, fill)


def render(template: Template, data: Data, history: int) -> pl.DataFrame:
    """Return the prompts of all requests, as a frame of the schema `prompts`."""
    shop = open_shop(data)
    requests = read_requests(data.artifact.table("requests"))
    return write_prompts(written for request in requests for written in template.render(request, shop, history=history))


def open_shop(data: Data) -> Shop:
    """Return what templates may know of a prepared data set."""
    return read_shop(data.artifact.table("items"), data.item_word)


def source_digest(template: Template) -> str:
    """Return a digest of the code of a template, so that changed words never meet old prompts."""
    files: Sequence[str] = (getfile(type(template)), getfile(protocol))
    return sha256(b"".join(Path(file).read_bytes() for file in files)).hexdigest()


def _characters(prompts: pl.DataFrame) -> int:
    text = pl.col("messages").list.eval(pl.element().struct.field("content").str.len_chars()).list.sum()
    return int(prompts.select(text.sum()).item() or 0)

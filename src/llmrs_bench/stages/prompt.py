"""Stage `prompt`: render a template over the requests of a data set."""

from hashlib import sha256
from inspect import getfile
from pathlib import Path
from typing import Any

import polars as pl

from llmrs_bench.artifacts import Draft, Recipe
from llmrs_bench.config import Options, PromptConfig
from llmrs_bench.prompts import protocol
from llmrs_bench.prompts.frames import read_requests, read_shop, write_prompts
from llmrs_bench.prompts.protocol import Shop, Template
from llmrs_bench.registry import TEMPLATES
from llmrs_bench.schemas import PROMPTS
from llmrs_bench.stages.home import Data
from llmrs_bench.stages.outcome import Outcome, make_once

# Requests that are rendered, asked and ranked together; memory grows with it, not with their number.
BLOCK = 2000


def prompt(data: Data, config: PromptConfig) -> Outcome:
    """Make the artifact `prompts` of a template.

    Raises:
        OptionError: If there is no such template.
        ArtifactError: If the data set's tables are damaged.
    """
    template = open_template(config)
    history = shown_history(data, config)
    recipe = Recipe(
        "prompt",
        config.template,
        {
            "template": config.template,
            "options": template_options(config).model_dump(mode="json"),
            "history": history,
            "item_word": data.item_word,
        },
        {table: data.artifact.digest(table) for table in ("items", "requests")},
        {"template": source_digest(template)},
    )

    def fill(draft: Draft) -> None:
        shop, count, characters = open_shop(data), 0, 0
        draft.write("prompts", pl.DataFrame(schema=PROMPTS))
        for part in data.artifact.parts("requests", BLOCK):
            frame = render(template, shop, part, history)
            draft.write("prompts", frame)
            count += frame.height
            characters += _characters(frame)
        draft.facts.update(prompts=count, characters=characters, mode=template.mode, rounds=template.rounds)

    return make_once(recipe.place(data.place.prompts), recipe, fill)


def template_options(config: PromptConfig) -> Options:
    """Return the options of the template.

    Raises:
        OptionError: If there is no such template or option.
    """
    kind: Any = TEMPLATES.load(config.template)
    options: Options = kind.Options.parse(config.options, owner=f"template {config.template}")
    return options


def open_template(config: PromptConfig) -> Template:
    """Return the template with its options.

    Raises:
        OptionError: If there is no such template or option.
    """
    template: Template = TEMPLATES.load(config.template)(template_options(config))
    return template


def shown_history(data: Data, config: PromptConfig) -> int:
    """Return how many items of history prompts show."""
    return data.default_history if config.history is None else config.history


def render(template: Template, shop: Shop, requests: pl.DataFrame, history: int) -> pl.DataFrame:
    """Return the first prompts of requests, as a frame of the schema `prompts`."""
    rows = read_requests(requests)
    return write_prompts(written for request in rows for written in template.render(request, shop, history=history))


def open_shop(data: Data) -> Shop:
    """Return what templates may know of a prepared data set."""
    return read_shop(data.artifact.table("items"), data.item_word)


def source_digest(template: Template) -> str:
    """Return a digest of the code of all templates and of this one, so that changed words never meet old prompts.

    Templates share code. Answers are kept by what was asked, so that a change that leaves the words alone asks nothing.
    """
    files = {Path(getfile(type(template))), *Path(getfile(protocol)).parent.glob("*.py")}
    return sha256(b"".join(path.read_bytes() for path in sorted(files))).hexdigest()


def _characters(prompts: pl.DataFrame) -> int:
    text = pl.col("messages").list.eval(pl.element().struct.field("content").str.len_chars()).list.sum()
    return int(prompts.select(text.sum()).item() or 0)

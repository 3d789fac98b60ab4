"""The model `demo-lm` of a prepared data set: trained on the text of its training part, once."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from llmrs_bench.core.artifacts import Draft, Recipe, StageResult, get_or_create
from llmrs_bench.core.config import PromptConfig
from llmrs_bench.core.errors import DataError
from llmrs_bench.core.hashing import hash64
from llmrs_bench.core.types import Progress, Prompt, Request
from llmrs_bench.prompts.strategies.base import ItemCatalog, PromptStrategy
from llmrs_bench.stages.prompt import open_catalog, open_template, source_digest
from llmrs_bench.stages.workspace import Data

NAME = "demo-lm"
CHARACTERS = 3_200_000
_HISTORY = 10
_CANDIDATES = 20
_LISTWISE_SHARE = 0.08


def demo_lm(data: Data, *, seed: int, progress: Progress) -> StageResult:
    """Return the model artifact; it depends on the training part and the items, not on users or candidates.

    Raises:
        DataError: If no user has two events in the training part.
    """
    from llmrs_bench.llm.backends.demo_lm import DemoOptions, train_demo_lm

    options = DemoOptions(characters=CHARACTERS)
    templates: dict[str, PromptStrategy] = {
        name: open_template(PromptConfig(template=name)) for name in ("likelihood", "listwise")
    }
    recipe = Recipe(
        "infer",
        NAME,
        {**options.model_dump(), "seed": seed, "item_word": data.item_word},
        {table: data.artifact.digest(table) for table in ("items", "interactions")},
        {name: source_digest(template) for name, template in templates.items()},
    )

    def fill(draft: Draft) -> None:
        texts = list(training_texts(data, templates, characters=options.characters, seed=seed))
        draft.facts.update(train_demo_lm(texts, draft.folder("model"), options, seed=seed, progress=progress))

    return get_or_create(recipe.place(data.place.models), recipe, fill)


def training_texts(data: Data, templates: dict[str, PromptStrategy], *, characters: int, seed: int) -> Iterator[str]:
    """Yield prompts made from events of part `train` alone, each followed by its answer, `characters` in all.

    Raises:
        DataError: If no user has two such events.
    """
    events = data.artifact.table("interactions").filter(pl.col("part") == "train")
    sequences = [
        tuple(row[0]) for row in events.group_by("user_id", maintain_order=True).agg("item_id").select("item_id").rows()
    ]
    sequences = [sequence for sequence in sequences if len(sequence) > 1]
    if not sequences:
        raise DataError(
            f"{data.place.reference} has no user with two training events, nothing for {NAME} to learn",
            hint="Use another model, or filter the data set less.",
        )
    catalog, random = open_catalog(data), np.random.default_rng([seed, hash64(NAME)])
    catalogue = events["item_id"].unique().sort().to_list()
    number = 0
    while characters > 0:
        number += 1
        sequence = sequences[int(random.integers(len(sequences)))]
        at = int(random.integers(1, len(sequence)))
        history, target = sequence[max(0, at - _HISTORY) : at], sequence[at]
        others = [catalogue[i] for i in random.choice(len(catalogue), min(_CANDIDATES, len(catalogue)), replace=False)]
        shown = [item for item in others if item != target][: _CANDIDATES - 1]
        shown.insert(int(random.integers(len(shown) + 1)), target)
        request = Request(str(number), str(number), history, tuple(shown))
        listwise = random.random() < _LISTWISE_SHARE
        text = _document(templates["listwise" if listwise else "likelihood"], request, catalog, target)
        characters -= len(text)
        yield text


def _document(template: PromptStrategy, request: Request, catalog: ItemCatalog, target: str) -> str:
    prompt = template.render(request, catalog, history=_HISTORY)[0]
    text = "\n".join(message.content for message in prompt.messages)
    return text + _answer(prompt, target)


def _answer(prompt: Prompt, target: str) -> str:
    place = prompt.shown.index(target)
    if prompt.choices is not None:
        return prompt.choices[place]
    rest = [number for number in range(1, len(prompt.shown) + 1) if number != place + 1]
    return " " + ", ".join(map(str, [place + 1, *rest]))

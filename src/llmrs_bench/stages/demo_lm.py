"""The model `demo-lm` of a prepared data set: trained on the text of its training part, once."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from llmrs_bench.core.artifacts import Draft, Recipe, StageResult, find_made, get_or_create
from llmrs_bench.core.config import PromptConfig
from llmrs_bench.core.errors import DataError
from llmrs_bench.core.hashing import hash64
from llmrs_bench.core.types import Progress, Prompt, Request
from llmrs_bench.prompts.strategies.base import PromptStrategy
from llmrs_bench.stages.prompt import open_catalog, open_template, source_digest
from llmrs_bench.stages.workspace import Data

if TYPE_CHECKING:
    from llmrs_bench.llm.backends.demo_lm import Document

NAME = "demo-lm"
FORMAT = "2"  # of documents and training
DOCUMENTS = 28_000
# Templates and options of the prompts that it learns to answer.
_LEARNED: dict[str, dict[str, str]] = {"likelihood": {}, "listwise": {"answer": "titles"}}
_HISTORY = 10
_CANDIDATES = 20
_LISTWISE_SHARE = 3 / 7
_WINDOW = 10  # events after an item that count as following it
_FADING = 0.8  # weight of an item of the history against the one after it
_PRIOR = 20.0  # followers of every item that popularity stands for


def demo_lm(data: Data, *, seed: int, progress: Progress) -> StageResult:
    """Return the model artifact; it depends on the training part and the items, not on users or candidates.

    Raises:
        DataError: If no user has two events in the training part.
    """
    from llmrs_bench.llm.backends.demo_lm import DemoOptions, train_demo_lm

    options, templates, recipe = DemoOptions(documents=DOCUMENTS), learned_templates(), _recipe(data, seed)

    def fill(draft: Draft) -> None:
        documents = list(training_documents(data, templates, count=options.documents, seed=seed))
        draft.facts.update(train_demo_lm(documents, draft.folder("model"), options, seed=seed, progress=progress))

    return get_or_create(recipe.place(data.place.models), recipe, fill)


def _recipe(data: Data, seed: int) -> Recipe:
    from llmrs_bench.llm.backends.demo_lm import DemoOptions

    return Recipe(
        "infer",
        NAME,
        {**DemoOptions(documents=DOCUMENTS).model_dump(), "seed": seed, "item_word": data.item_word},
        {table: data.artifact.digest(table) for table in ("items", "interactions")},
        {"format": FORMAT, **{name: source_digest(template) for name, template in learned_templates().items()}},
    )


def demo_lm_cost(data: Data, seed: int) -> dict[str, float | None] | None:
    """Return what its training cost, `seconds` and `joules`; None where the model is not there any more."""
    recipe = _recipe(data, seed)
    made = find_made(recipe.place(data.place.models), recipe)
    return None if made is None else {"seconds": float(made.facts["seconds"]), "joules": None}


def learned_templates() -> dict[str, PromptStrategy]:
    """Return the two templates whose prompts the model is trained to answer: titles as likelihoods and as a list."""
    return {name: open_template(PromptConfig(template=name, options=options)) for name, options in _LEARNED.items()}


def is_learned(config: PromptConfig) -> bool:
    """Return whether the model is trained on prompts that are answered in this way."""
    learned = _LEARNED.get(config.template)
    return learned is not None and learned.items() <= config.options.items()


def training_documents(
    data: Data, templates: dict[str, PromptStrategy], *, count: int, seed: int
) -> "Iterator[Document]":
    """Yield `count` prompts made from events of part `train` alone, each with its answer.

    A likelihood prompt is answered by the item that came next, a listwise one, of 2 to 20 candidates, by the candidate
    that most often follows the items of the history in that part.

    Raises:
        DataError: If no user has two such events.
    """
    from llmrs_bench.llm.backends.demo_lm import Document

    events = data.artifact.table("interactions").filter(pl.col("part") == "train")
    sequences = [
        tuple(row[0]) for row in events.group_by("user_id", maintain_order=True).agg("item_id").select("item_id").rows()
    ]
    sequences = [sequence for sequence in sequences if len(sequence) > 1]
    if not sequences:
        raise DataError(
            f"{data.place.reference} has no user with two training events, so {NAME} has nothing to learn",
            hint="Use another model, or filter the data set less.",
        )
    catalog, random = open_catalog(data), np.random.default_rng([seed, hash64(NAME)])
    catalogue = events["item_id"].unique().sort().to_list()
    followers = _Followers(sequences, catalogue)
    for number in range(1, count + 1):
        sequence = sequences[int(random.integers(len(sequences)))]
        at = int(random.integers(1, len(sequence)))
        history, target = sequence[max(0, at - _HISTORY) : at], sequence[at]
        listwise = random.random() < _LISTWISE_SHARE
        size = min(int(random.integers(2, _CANDIDATES + 1)) if listwise else 1, len(catalogue))
        others = [catalogue[i] for i in random.choice(len(catalogue), size, replace=False)]
        shown = [item for item in others if item != target][: size - 1]
        shown.insert(int(random.integers(len(shown) + 1)), target)
        template = templates["listwise" if listwise else "likelihood"]
        prompt = template.render(Request(str(number), str(number), history, tuple(shown)), catalog, history=_HISTORY)[0]
        text = "\n".join(message.content for message in prompt.messages)
        lines, gap, task = text.partition("\n\n")
        yield Document(lines, gap + task, _answer(prompt, followers.best(history, shown) if listwise else target))


def _answer(prompt: Prompt, item: str) -> str:
    place = prompt.shown.index(item)
    if prompt.choices is not None:
        return prompt.choices[place]
    assert prompt.listed is not None  # every listwise prompt lists its candidates
    return f"\n1. {prompt.listed.titles[place]}"


class _Followers:
    """How often each item follows each other one soon, in sequences of the training part."""

    def __init__(self, sequences: Sequence[tuple[str, ...]], catalogue: Sequence[str]) -> None:
        self._place = {item: place for place, item in enumerate(catalogue)}
        counts = np.zeros((len(catalogue), len(catalogue)), dtype=np.float32)  # (items, items that follow)
        popularity = np.zeros(len(catalogue), dtype=np.float32)
        for sequence in sequences:
            places = np.array([self._place[item] for item in sequence])
            np.add.at(popularity, places, 1.0)
            for distance in range(1, min(_WINDOW + 1, len(places))):
                np.add.at(counts, (places[:-distance], places[distance:]), 1.0)
        counts += _PRIOR * popularity / popularity.sum()
        self._share = counts / counts.sum(axis=1, keepdims=True)

    def best(self, history: Sequence[str], items: Sequence[str]) -> str:
        """Return the item that most often follows those of the history, of which the latest count most."""
        before = [self._place[item] for item in history]
        weights = _FADING ** np.arange(len(before))[::-1]
        values = weights @ self._share[np.ix_(before, [self._place[item] for item in items])]
        return items[int(np.argmax(values))]

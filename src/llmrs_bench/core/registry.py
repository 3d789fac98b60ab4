"""Names of plug-ins and where to import them from; nothing is imported until a name is used."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from llmrs_bench.core.errors import OptionError


def unknown_name(kind: str, name: str, known: list[str], *, hint: str = "") -> OptionError:
    """Return the error for a name nobody knows: the nearest name and all known ones."""
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    guess = f"Did you mean {near[0]!r}? " if near else ""
    tail = f" {hint}" if hint else ""
    return OptionError(f"unknown {kind} {name!r}", hint=f"{guess}Known: {', '.join(sorted(known))}.{tail}")


@dataclass(frozen=True)
class Registry:
    """Plug-ins of one kind: built-in ones and those of installed packages, as `module:attribute`.

    Args:
        kind: What the plug-ins are, in the singular, for messages.
        group: The entry point group in which other packages add theirs.
        builtin: Name to import string.
    """

    kind: str
    group: str
    builtin: Mapping[str, str]

    def paths(self) -> dict[str, str]:
        """Return name to import string, without importing anything."""
        found = {entry.name: entry.value for entry in entry_points(group=self.group)}
        return {**found, **self.builtin}

    def names(self) -> list[str]:
        """Return the sorted names."""
        return sorted(self.paths())

    def check(self, name: str) -> str:
        """Return `name` if it is known.

        Raises:
            OptionError: If it is not; the message names the nearest known one.
        """
        if name not in self.paths():
            raise unknown_name(self.kind, name, self.names())
        return name

    def load(self, name: str) -> Any:
        """Import and return the plug-in called `name`.

        Raises:
            OptionError: If no plug-in has this name.
        """
        module, _, attribute = self.paths()[self.check(name)].partition(":")
        return getattr(import_module(module), attribute)


SOURCES = Registry(
    "data source",
    "llmrs_bench.sources",
    {
        "movielens-1m": "llmrs_bench.data.movielens:MovieLens1M",
        "movielens-100k": "llmrs_bench.data.movielens:MovieLens100K",
        "atomic": "llmrs_bench.data.atomic:Atomic",
        "demo": "llmrs_bench.data.demo:Demo",
    },
)
STRATEGIES = Registry(
    "answer form",
    "llmrs_bench.forms",
    {
        "listwise": "llmrs_bench.prompts.strategies.listwise:Listwise",
        "likelihood": "llmrs_bench.prompts.strategies.likelihood:Likelihood",
        "label": "llmrs_bench.prompts.strategies.label:Label",
        "yes-no": "llmrs_bench.prompts.strategies.yes_no:YesNo",
        "pairwise": "llmrs_bench.prompts.strategies.pairwise:Pairwise",
        "setwise": "llmrs_bench.prompts.strategies.setwise:Setwise",
        "sliding-window": "llmrs_bench.prompts.strategies.sliding_window:SlidingWindow",
        "note": "llmrs_bench.prompts.strategies.free_text:FreeText",
    },
)
ENGINES = Registry(
    "engine",
    "llmrs_bench.engines",
    {
        "transformers": "llmrs_bench.llm.backends.transformers:TransformersEngine",
        "vllm": "llmrs_bench.llm.backends.vllm:VllmEngine",
        "openai": "llmrs_bench.llm.backends.openai:OpenAIEngine",
        "ray": "llmrs_bench.llm.backends.ray:RayEngine",
        "mock": "llmrs_bench.llm.backends.mock:MockEngine",
    },
)
RECOMMENDERS = Registry(
    "recommender",
    "llmrs_bench.recommenders",
    {
        "random": "llmrs_bench.recommenders.random:Random",
        "popularity": "llmrs_bench.recommenders.popularity:Popularity",
        "recent-popularity": "llmrs_bench.recommenders.recent_popularity:RecentPopularity",
        "itemknn": "llmrs_bench.recommenders.itemknn:ItemKNN",
        "bm25": "llmrs_bench.recommenders.bm25:BM25",
        "embedding": "llmrs_bench.recommenders.embedding:Embedding",
        "bprmf": "llmrs_bench.recommenders.bprmf:BPRMF",
        "fpmc": "llmrs_bench.recommenders.fpmc:FPMC",
        "gru4rec": "llmrs_bench.recommenders.gru4rec:GRU4Rec",
        "bert4rec": "llmrs_bench.recommenders.bert4rec:BERT4Rec",
        "sasrec": "llmrs_bench.recommenders.sasrec:SASRec",
    },
)

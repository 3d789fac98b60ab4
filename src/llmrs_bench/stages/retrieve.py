"""Candidates from recommenders: their best items for each request, of one model or of several in turn."""

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from llmrs_bench.config import MODELS, PrepareConfig
from llmrs_bench.errors import OptionError
from llmrs_bench.ranking import rank_best
from llmrs_bench.recommenders.asking import best_items
from llmrs_bench.registry import RECOMMENDERS, unknown_name
from llmrs_bench.stages.learning import Learner, Lessons, fitted, is_exported, is_recommender, settings
from llmrs_bench.types import Progress


def retrievers(config: PrepareConfig) -> list[Learner]:
    """Return the recommenders that `config.candidates` names, with their options.

    Raises:
        OptionError: If one is unknown or named twice, or an option belongs to none.
    """
    names = config.candidates.removeprefix(MODELS).split("+")
    if len(set(names)) < len(names) or not all(names):
        raise OptionError(
            f"candidates {config.candidates!r} must name distinct models",
            hint="Write, for instance, model:sasrec+bm25.",
        )
    for name in names:
        if not is_recommender(name):
            raise unknown_name("recommender", name, RECOMMENDERS.names(), hint="Or the folder of an exported one.")
    options: dict[str, dict[str, str]] = {name: {} for name in names}
    for key, value in config.retriever_options.items():
        model, dot, option = key.partition(".")
        if not dot or model not in options:
            raise OptionError(
                f"-O {key}={value} belongs to none of the retrievers {', '.join(names)}",
                hint=f"Write -O {names[0]}.KEY=VALUE.",
            )
        options[model][option] = value
    return [Learner(name, options[name], seed=0 if is_exported(name) else config.seed) for name in names]


def retriever_settings(config: PrepareConfig) -> list[dict[str, Any]]:
    """Return everything that decides what the retrievers find, for a fingerprint."""
    return [settings(learner) for learner in retrievers(config)]


def retrieve(
    config: PrepareConfig, lessons: Lessons, requests: pl.DataFrame, progress: Progress
) -> Mapping[str, list[str]]:
    """Return the best `config.n_candidates` items of each request id, best first.

    Several models take turns in the order of their names; an item named before is passed over. Ties are
    ordered by the seeded hash of every ranking.

    Args:
        config: Which models, how many items, whether seen ones may be among them.
        lessons: What the models learn from: no held-out event is in it.
        requests: Frame of the schema `requests`; its candidates are not read.
        progress: Shows trainings.
    """
    catalogue, depth = lessons.corpus.items["item_id"], config.n_candidates
    found: list[dict[str, list[str]]] = []
    for learner in retrievers(config):
        model = fitted(learner, lessons, progress).model
        best = best_items(model, requests, catalogue, depth=depth, include_seen=config.include_seen)
        ranked = pl.concat([rank_best(part, depth=depth, seed=config.seed) for part in best])
        lists = ranked.sort("request_id", "rank").group_by("request_id", maintain_order=True).agg("item_id")
        found.append(dict(lists.iter_rows()))
    return {name: _in_turn([lists.get(name, []) for lists in found], depth) for name in requests["request_id"]}


def _in_turn(lists: list[list[str]], size: int) -> list[str]:
    """Return the first `size` distinct items when each list names its next new one in turn."""
    taken: dict[str, None] = {}
    queues: list[Iterator[str]] = [iter(items) for items in lists]
    while queues and len(taken) < size:
        for queue in list(queues):
            item = next((item for item in queue if item not in taken), None)
            if item is None:
                queues.remove(queue)
            elif len(taken) < size:
                taken[item] = None
    return list(taken)

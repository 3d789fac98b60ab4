"""Recommenders: fit on the interactions, then rank the candidates, or the whole catalogue, of every request."""

import time
from pathlib import Path
from typing import Any

import polars as pl

from llmrs_bench.artifacts import Draft, Recipe
from llmrs_bench.config import DEPTH, InferConfig
from llmrs_bench.errors import OptionError
from llmrs_bench.ranking import TIE_RULE, rank_best, rank_candidates
from llmrs_bench.recommenders.asking import best_items, score_candidates
from llmrs_bench.recommenders.protocol import Corpus, Recommender
from llmrs_bench.schemas import RANKINGS
from llmrs_bench.stages.home import Data
from llmrs_bench.stages.learning import FORMAT, Learner, Lessons, export, fitted, settings
from llmrs_bench.stages.outcome import Outcome, make_once
from llmrs_bench.types import Progress


def infer_recommender(data: Data, config: InferConfig, progress: Progress, export_to: Path | None = None) -> Outcome:
    """Make the run of a recommender.

    Args:
        data: The prepared data set.
        config: The options.
        progress: Shows the training.
        export_to: A new folder for a copy of the trained model.

    Raises:
        OptionError: If an option is unknown, or belongs to language models.
        ModelError: If the recommender cannot be fitted.
    """
    _refuse_language_options(config)
    learner = Learner(config.model, config.options, config.seed, config.device, config.train_fraction, config.max_users)
    recipe = Recipe(
        "infer",
        Path(config.model).resolve().name if "/" in config.model else config.model,
        settings(learner),
        {table: data.artifact.digest(table) for table in ("interactions", "items", "requests")},
        {"format": FORMAT, "tie_rule": TIE_RULE, "tie_seed": str(data.tie_seed)},
    )

    def fill(draft: Draft) -> None:
        found = fitted(learner, lessons(data), progress)
        requests = data.artifact.table("requests")
        started = time.perf_counter()
        draft.write("rankings", _rankings(data, found.model, requests))
        scoring = time.perf_counter() - started
        draft.facts.update(
            kind="recommender",
            requests=requests.height,
            training=found.facts,
            scoring_seconds=round(scoring, 3),
            seconds=round(found.seconds + scoring, 3),
            seed=config.seed,
            history=found.options.model_dump().get("max_history"),
            fit_on=found.options.model_dump().get("fit_on"),
            typed=_typed(config),
        )

    made = make_once(recipe.place(data.place.runs), recipe, fill)
    if export_to is not None:
        export(fitted(learner, lessons(data), progress), export_to)
    return made


def lessons(data: Data) -> Lessons:
    """Return what recommenders may learn from a prepared data set, and where they are kept."""
    corpus = Corpus(data.artifact.table("interactions"), data.artifact.table("items"))
    digests = {table: data.artifact.digest(table) for table in ("interactions", "items")}
    return Lessons(corpus, digests, data.place.models)


def _rankings(data: Data, model: Recommender, requests: pl.DataFrame) -> pl.DataFrame:
    if not data.whole_catalogue:
        return rank_candidates(requests, score_candidates(model, requests), seed=data.tie_seed)
    catalogue = data.artifact.table("items")["item_id"]
    best = best_items(model, requests, catalogue, depth=DEPTH, include_seen=data.include_seen)
    ranked = [rank_best(part, depth=DEPTH, seed=data.tie_seed) for part in best]
    return pl.concat([pl.DataFrame(schema=RANKINGS), *ranked])


def _typed(config: InferConfig) -> dict[str, Any]:
    """Return what was typed for this model, for the board to show."""
    extra = {"train_fraction": config.train_fraction, "max_users": config.max_users}
    defaults = InferConfig(model=config.model)
    return {**config.options, **{key: value for key, value in extra.items() if value != getattr(defaults, key)}}


def _refuse_language_options(config: InferConfig) -> None:
    defaults = InferConfig(model=config.model)
    for name in ("template", "template_options", "history", "engine"):
        if getattr(config, name) != getattr(defaults, name):
            raise OptionError(
                f"--{name.replace('_', '-')} {getattr(config, name)} means nothing to the recommender {config.model!r}",
                hint="Leave it out; a recommender's own options are given as -O key=value.",
            )

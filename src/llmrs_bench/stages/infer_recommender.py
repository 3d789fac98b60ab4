"""Recommenders: fit on the interactions, once for all candidate lists of the same data, then score the requests."""

import time
from pathlib import Path
from typing import Any

from llmrs_bench.artifacts import Artifact, Draft, Recipe
from llmrs_bench.config import InferConfig, Options
from llmrs_bench.errors import OptionError
from llmrs_bench.ranking import TIE_RULE, rank_candidates
from llmrs_bench.recommenders.protocol import Recommender
from llmrs_bench.registry import RECOMMENDERS
from llmrs_bench.stages.home import Data
from llmrs_bench.stages.outcome import Outcome, make_once
from llmrs_bench.types import Progress

# Bumped when what a recommender learns from the same data changes: older artifacts are then made anew.
FORMAT = "1"


def infer_recommender(data: Data, config: InferConfig, progress: Progress) -> Outcome:
    """Make the run of a recommender.

    Raises:
        OptionError: If an option is unknown, or belongs to language models.
        ModelError: If the recommender cannot be fitted.
    """
    _refuse_language_options(config)
    kind: Any = RECOMMENDERS.load(config.model)
    options: Options = kind.Options.parse(config.options, owner=config.model)
    settings = {"model": config.model, "seed": config.seed, "device": config.device, "options": options.model_dump()}
    recipe = Recipe(
        "infer",
        config.model,
        settings,
        {table: data.artifact.digest(table) for table in ("interactions", "requests")},
        {"format": FORMAT, "tie_rule": TIE_RULE, "tie_seed": str(data.tie_seed)},
    )

    def fill(draft: Draft) -> None:
        started = time.perf_counter()
        model, training = _fitted(data, kind, options, config, progress)
        requests = data.artifact.table("requests")
        draft.write("rankings", rank_candidates(requests, model.score(requests), seed=data.tie_seed))
        draft.facts.update(
            kind="recommender",
            requests=requests.height,
            training=training,
            seconds=round(time.perf_counter() - started + training.get("seconds", 0.0), 3),
            seed=config.seed,
            history=options.model_dump().get("max_history"),
            typed=config.options,
        )

    return make_once(recipe.place(data.place.runs), recipe, fill)


def _fitted(
    data: Data, kind: Any, options: Options, config: InferConfig, progress: Progress
) -> tuple[Recommender, dict[str, Any]]:
    """Return the fitted model and facts about it; one that can be saved is fitted once."""
    if not hasattr(kind, "load"):
        model: Recommender = kind(options, seed=config.seed, device=config.device)
        return model, dict(model.fit(data.artifact.table("interactions"), progress))
    trained = train(data, kind, options, config, progress).artifact
    return kind.load(_weights(trained), device=config.device), {**trained.facts, "model": trained.path.name}


def train(data: Data, kind: Any, options: Options, config: InferConfig, progress: Progress) -> Outcome:
    """Make the artifact of a trained recommender; it depends on the interactions, not on the requests."""
    recipe = Recipe(
        "infer",
        config.model,
        {"model": config.model, "seed": config.seed, "device": config.device, "options": options.model_dump()},
        {"interactions": data.artifact.digest("interactions")},
        {"format": FORMAT},
    )

    def fill(draft: Draft) -> None:
        model = kind(options, seed=config.seed, device=config.device)
        draft.facts.update(model.fit(data.artifact.table("interactions"), progress))
        model.save(draft.folder("model"))

    return make_once(recipe.place(data.place.models), recipe, fill)


def _weights(trained: Artifact) -> Path:
    return trained.path / "model"


def _refuse_language_options(config: InferConfig) -> None:
    defaults = InferConfig(model=config.model)
    for name in ("template", "history", "engine", "normalize"):
        if getattr(config, name) != getattr(defaults, name):
            raise OptionError(
                f"--{name} {getattr(config, name)} means nothing to the recommender {config.model!r}",
                hint="Leave it out; a recommender's own options are given as -O key=value.",
            )

"""How much do the answers of a model change with the state of the machine? Cold cache, warm cache, batch size 1."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from itertools import chain
from math import fsum
from typing import Any

from llmrs_bench.core.artifacts import Artifact, Draft, Recipe, StageResult, get_or_create
from llmrs_bench.core.config import LanguageModelConfig
from llmrs_bench.core.environment import prints_on_stderr
from llmrs_bench.core.hashing import fingerprint, hash64
from llmrs_bench.core.types import Progress, Prompt, Response
from llmrs_bench.llm.base import Engine
from llmrs_bench.llm.clipping import Question, clip
from llmrs_bench.prompts.frames import read_views
from llmrs_bench.prompts.strategies.base import Normalization, PromptStrategy
from llmrs_bench.stages.conversation import question, request_blocks
from llmrs_bench.stages.infer_language_model import read
from llmrs_bench.stages.prompt import PromptPlan, open_catalog, open_plan, prompt
from llmrs_bench.stages.serving import file_name, serve
from llmrs_bench.stages.workspace import Data

Answers = Mapping[str, Response]  # by prompt id


def audit(data: Data, config: LanguageModelConfig, progress: Progress, *, requests: int) -> StageResult:
    """Ask some requests several times, and make an artifact that says how much the answers differ.

    The engine starts cold, its caches emptied: all requests together; together again, now warm; and, cold again, one
    by one. No answer of an audit is kept for runs.

    Args:
        data: The prepared data set.
        config: The options of the run.
        progress: Shows the passes.
        requests: How many requests, chosen by a seeded hash.

    Raises:
        OptionError: If an option is unknown or does not fit.
        ModelError: If it cannot be had.
        EngineError: If it fails while it answers.
    """
    plan, served = open_plan(config.prompt), serve(data, config, progress)
    template = plan.template
    prompts = prompt(data, config.prompt).artifact
    recipe = Recipe(
        "audit",
        f"{file_name(served.label)}-{plan.name}",
        {"requests": requests},
        {"model": fingerprint(served.identity), "prompts": prompts.digest("prompts")},
    )

    def fill(draft: Draft) -> None:
        questions = _sample(data, prompts, plan, requests, config.seed)
        with prints_on_stderr(), closing(served.start()) as engine, progress("audit", 3) as step:
            groups = _groups(clipped.prompt for clipped in clip(questions, engine))
            passes = []
            for done, way in enumerate((_cold, _together, _one_by_one), 1):
                passes.append(way(engine, groups))
                step(done)
            draft.facts["serving"] = engine.facts()
        cold, warm, alone = passes
        draft.facts["requests"] = len(groups)
        draft.facts["noise"] = {
            "warm against cold": _noise(template, groups, cold, warm),
            "one by one against together": _noise(template, groups, cold, alone),
        }

    return get_or_create(recipe.place(data.place.audits), recipe, fill)


def _sample(data: Data, prompts: Artifact, plan: PromptPlan, count: int, seed: int) -> list[Question]:
    """Return the first questions about `count` requests."""
    chosen = sorted(
        chain.from_iterable(block.prompts for block in request_blocks(data, prompts)),
        key=lambda name: hash64(f"{seed}\0{name}"),
    )
    wanted = set(chosen[:count])
    catalog, history = open_catalog(data, plan), int(prompts.manifest.config["history"])
    return [
        question(view, block.prompts[view.request_id], (), plan.template, catalog, history)
        for block in request_blocks(data, prompts)
        for view in read_views(block.views)
        if view.request_id in wanted
    ]


def _groups(prompts: Any) -> list[list[Prompt]]:
    found: dict[str, list[Prompt]] = {}
    for asked in prompts:
        found.setdefault(asked.request_id, []).append(asked)
    return list(found.values())


def _together(engine: Engine, groups: Sequence[Sequence[Prompt]]) -> Answers:
    return {answer.prompt_id: answer for answer in engine.answer([asked for group in groups for asked in group])}


def _cold(engine: Engine, groups: Sequence[Sequence[Prompt]]) -> Answers:
    engine.reset_cache()
    return _together(engine, groups)


def _one_by_one(engine: Engine, groups: Sequence[Sequence[Prompt]]) -> Answers:
    engine.reset_cache()
    return {answer.prompt_id: answer for group in groups for asked in group for answer in engine.answer([asked])}


def _noise(
    template: PromptStrategy, groups: Sequence[Sequence[Prompt]], one: Answers, other: Answers
) -> dict[str, Any]:
    """Return by how many nats choices differ, and the shares of changed texts and first choices."""
    pairs = [(one[asked.prompt_id], other[asked.prompt_id]) for group in groups for asked in group]
    nats = [
        abs(fsum(left) - fsum(right))
        for a, b in pairs
        for left, right in zip(a.choice_logprobs or (), b.choice_logprobs or (), strict=True)
    ]
    changed = [_first(template, group, one) != _first(template, group, other) for group in groups]
    return {
        "choices": len(nats),
        "largest": max(nats, default=None),
        "mean": fsum(nats) / len(nats) if nats else None,
        "texts_changed": sum(a.text != b.text for a, b in pairs) / len(pairs) if pairs else 0.0,
        "top_changed": sum(changed) / len(changed) if changed else 0.0,
    }


def _first(template: PromptStrategy, group: Sequence[Prompt], answers: Answers) -> str | None:
    scores = read(template, [(asked, answers[asked.prompt_id]) for asked in group], Normalization()).values
    return max(scores, key=lambda item: (scores[item], item), default=None)

"""Language models: answer the prompts of a template once, keep the raw responses, read rankings from them."""

import gc
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from typing import Any

import polars as pl

from llmrs_bench.artifacts import Artifact, Draft, Recipe
from llmrs_bench.config import InferConfig, Options
from llmrs_bench.engines.protocol import Engine
from llmrs_bench.errors import ArtifactError, OptionError
from llmrs_bench.prompts.frames import responses_frame
from llmrs_bench.prompts.fusion import Aggregate, fuse
from llmrs_bench.prompts.protocol import Exchange, Reading, Template
from llmrs_bench.ranking import TIE_RULE, rank_candidates, scores_frame
from llmrs_bench.schemas import RANKINGS, RESPONSES, VIEW_RANKINGS
from llmrs_bench.stages.asking import Asker
from llmrs_bench.stages.conversation import Block, blocks, converse
from llmrs_bench.stages.cost import Cost
from llmrs_bench.stages.first_choices import FirstChoices
from llmrs_bench.stages.home import Data
from llmrs_bench.stages.outcome import Outcome, make_once
from llmrs_bench.stages.plan import Plan, open_plan
from llmrs_bench.stages.priors import ask_priors, check_priors
from llmrs_bench.stages.prompt import open_shop, prompt, source_digest
from llmrs_bench.stages.serving import describe, file_name, find_store, open_store, serve
from llmrs_bench.types import Mode, Progress, Scores

# Bumped when rankings are read from answers in another way.
FORMAT = "4"
_DOUBTFUL = 0.1  # of the probability of the next token on all labels


def infer_language(
    data: Data, config: InferConfig, progress: Progress, *, reparse: bool = False, prior: bool = False
) -> Outcome:
    """Make the run of a language model, from answers that are kept and never asked for twice.

    Args:
        data: The prepared data set.
        config: The options.
        progress: Shows the prompts answered.
        reparse: Read kept answers alone: no model is looked for or loaded.
        prior: Ask for each title without a history, too, beside the run and its cost.

    Raises:
        OptionError: If the engine, the template or an option is unknown or does not fit.
        ModelError: If the model cannot be had.
        EngineError: If the engine fails while it answers; what it answered is kept.
        ArtifactError: With `reparse`, if an answer is missing.
    """
    plan = open_plan(config.prompt)
    template = plan.template
    if prior:
        check_priors(plan)
    prompts = prompt(data, config.prompt).artifact
    served = None if reparse else serve(data, config, progress)
    if served is not None:
        check_temperature(plan, served.options)
    store = find_store(data, config) if served is None else open_store(data, served)
    tables = {"prompts": prompts, "requests": data.artifact}
    label = str(store.served["name"])
    recipe = Recipe(
        "infer",
        f"{file_name(label)}-{plan.name}",
        {"model": label, "template": config.template, "options": config.template_options, "normalize": "sum"},
        {"answers": store.fingerprint, **{name: made.digest(name) for name, made in tables.items()}},
        {"format": FORMAT, "prompts": source_digest(template), "tie_rule": TIE_RULE, "tie_seed": str(data.tie_seed)},
    )

    def fill(draft: Draft) -> None:
        first, choices = prompts.manifest.tables["prompts"].rows, FirstChoices()
        with progress(label, first) as step, _rare_searches():
            asker.show(step, first)
            cost = _run(draft, data, prompts, plan, asker, choices)
        spent = cost.facts(store.sessions(cost.sessions), config.options)
        draft.facts.update(
            kind="language model",
            model=describe(config.model, label),
            engine=store.served["engine"],
            history=prompts.manifest.config["history"],
            answers=store.folder.name,
            seed=config.seed,
            mode=template.mode,
            form=plan.source.sheet.form,
            normalize="sum",
            first_choices=None if plan.views.slots else choices.facts(),  # slots place the target
            typed={**config.template_options, **config.options},
            warnings=_warnings(spent, mode=template.mode, served=store.served),
            **spent,
        )

    with closing(Asker(store, served.start if served else partial(_refuse, config))) as asker:
        done = make_once(recipe.place(data.place.runs), recipe, fill)
        if prior:
            ask_priors(data, done.artifact, prompts, plan, asker, progress)
    return done


def check_temperature(plan: Plan, options: Options) -> None:
    """Refuse samples that are all the same, and a temperature where nothing is written."""
    temperature = getattr(options, "temperature", None)
    if temperature == 0 and plan.views.samples > 1 and "temperature" not in getattr(options, "omit", ()):
        raise OptionError(
            f"samples={plan.views.samples} asks the same again and again at temperature 0",
            hint="Add -O temperature=0.7.",
        )
    if temperature and plan.template.mode != "generate":
        raise OptionError(
            f"temperature means nothing to template {plan.name}: likelihoods are read as the model has them",
            hint="Leave out -O temperature, or choose a template that writes, such as listwise.",
        )


@contextmanager
def _rare_searches() -> Iterator[None]:
    """Let Python look for cycles less often: blocks are millions of small values without any, which it would walk."""
    before = gc.get_threshold()
    gc.set_threshold(100_000, 50, 50)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _warnings(spent: Mapping[str, Any], *, mode: Mode, served: Mapping[str, Any]) -> list[str]:
    """Return what makes scores doubtful: labels that are not known, or that the model would hardly have written."""
    found = []
    if mode == "label" and served["engine"] == "openai":
        total = sum(spent["kinds"].values())
        if lacking := total - spent["kinds"].get("complete", 0):
            found.append(
                f"in {100 * lacking / total:.0f} % of {total:,} answers some labels are not among the likeliest tokens "
                f"that the server shows; it was asked for {served['options']['top_logprobs']} of them: raise "
                "`-O top_logprobs` as far as it lets you (llama.cpp has no bound, most others 20)"
            )
    mass = spent["notes"].get("label_mass", 1.0)
    if mass < _DOUBTFUL:
        found.append(
            f"the labels hold {100 * mass:.1f} % of the probability of what the model writes next, so they say little "
            "about it: it may think first, or not know the format; try --template likelihood or listwise"
        )
    if spent["uncounted"]:
        found.append(
            f"the server counted no tokens of {spent['uncounted']:,} prompts: what it read, and its price by tokens, "
            "are unknown"
        )
    return found


def _refuse(config: InferConfig) -> Engine:
    raise ArtifactError(
        f"not every prompt of the template {config.template!r} was answered by {config.model!r} before",
        hint="Leave out --reparse: the model is then asked what is missing.",
    )


def _run(draft: Draft, data: Data, prompts: Artifact, plan: Plan, asker: Asker, first_choices: FirstChoices) -> Cost:
    """Write responses and rankings, block by block, and return what the answers cost."""
    template = plan.template
    shop, history, cost = open_shop(data), int(prompts.manifest.config["history"]), Cost()
    draft.write("rankings", pl.DataFrame(schema=RANKINGS))
    draft.write("responses", pl.DataFrame(schema=RESPONSES))
    for block in blocks(data, prompts):
        asker.turn_to(sum(map(len, block.prompts.values())))
        talks = converse(block, template, shop, history=history, ask=asker.ask)
        scores = [read(template, talk.exchanges, Reading()) for talk in talks.values() if talk.exchanges]
        first_choices.add(exchange for talk in talks.values() for exchange in talk.exchanges)
        asked = ((p, row) for talk in talks.values() for (p, _), row in zip(talk.exchanges, talk.rows, strict=True))
        responses = responses_frame(asked)
        draft.write("responses", responses)
        write_rankings(draft, block, scores, plan.views.aggregate, seed=data.tie_seed)
        cost.add(responses, scores, requests=block.requests.height)
    return cost


def write_rankings(draft: Draft, block: Block, scores: list[Scores], aggregate: Aggregate, *, seed: int) -> None:
    """Write the rankings of a block from the scores of its views; where there are several, theirs, too."""
    if block.several:
        views = block.views.select("candidates", request_id="view_id")
        draft.write("view_rankings", _placed(rank_candidates(views, scores_frame(scores), seed=seed), block.views))
        found = {score.request_id: score for score in scores}
        rows = block.views.group_by("request_id", maintain_order=True).agg("view_id", pl.col("candidates").first())
        scores = [
            fuse(request_id, answered, candidates, aggregate)
            for request_id, view_ids, candidates in rows.iter_rows()
            if (answered := [found[view_id] for view_id in view_ids if view_id in found])
        ]
    draft.write("rankings", rank_candidates(block.requests, scores_frame(scores), seed=seed))


def _placed(rankings: pl.DataFrame, views: pl.DataFrame) -> pl.DataFrame:
    """Return rankings of views as a frame of the schema `view_rankings`."""
    slot = pl.int_range(pl.len(), dtype=pl.Int32).over("view_id")
    shown = views.select("request_id", "view_id", item_id="candidates").explode("item_id").with_columns(slot=slot)
    placed = rankings.rename({"request_id": "view_id"}).join(shown, on=["view_id", "item_id"], maintain_order="left")
    return placed.select(list(VIEW_RANKINGS))


def read(template: Template, exchanges: list[Exchange], reading: Reading) -> Scores:
    """Return the scores that all prompts and responses of one request give."""
    return template.parse([prompt for prompt, _ in exchanges], [response for _, response in exchanges], reading)

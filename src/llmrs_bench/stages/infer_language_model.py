"""The run of a language model: prompts asked, answers read as rankings, and what that cost."""

import gc
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from math import fsum, inf
from typing import Any

import polars as pl

from llmrs_bench.core.artifacts import Artifact, Draft, Recipe, StageResult, find_made, get_or_create, restate
from llmrs_bench.core.config import LanguageModelConfig, Options
from llmrs_bench.core.environment import prints_on_stderr
from llmrs_bench.core.errors import ArtifactError, EngineError, OptionError
from llmrs_bench.core.formatting import counted
from llmrs_bench.core.registry import ENGINES
from llmrs_bench.core.schemas import RANKINGS, RESPONSES, VIEW_RANKINGS
from llmrs_bench.core.types import UNANSWERED, Mode, Progress, Prompt, Scores
from llmrs_bench.llm.base import Engine
from llmrs_bench.llm.clipping import Question
from llmrs_bench.llm.cost import CostCounter, price_usd, with_training
from llmrs_bench.llm.generate import CachedGenerator
from llmrs_bench.prompts.aggregate import Aggregate, fuse
from llmrs_bench.prompts.frames import read_answer, responses_frame
from llmrs_bench.prompts.strategies.base import Exchange, Normalization, PromptStrategy, ScoresTitles
from llmrs_bench.prompts.strategies.comparison import label_logprobs
from llmrs_bench.prompts.strategies.listwise import ranking_of
from llmrs_bench.ranking import scores_frame
from llmrs_bench.stages.conversation import RequestBlock, request_blocks, run_rounds
from llmrs_bench.stages.demo_lm import NAME as DEMO_LM
from llmrs_bench.stages.demo_lm import demo_lm_cost, is_learned
from llmrs_bench.stages.prompt import (
    PromptPlan,
    item_warnings,
    open_catalog,
    open_plan,
    prompt,
    source_digest,
    views_of,
)
from llmrs_bench.stages.serving import (
    OpenEngine,
    describe,
    file_name,
    find_store,
    locate,
    open_store,
    round_of,
    series_of,
    serve,
)
from llmrs_bench.stages.ties import ranked, tie_parts
from llmrs_bench.stages.tuned_models import training_of, tuned_of, with_series
from llmrs_bench.stages.workspace import Data, check_name_of

_LEAST = 3  # candidates named: fewer repeat the order shown too often by chance


class FirstChoices:
    """Counts, over the prompts of a run, answers that repeat the order shown, and the place of the first choice.

    Only prompts count that show several candidates, in writing or with labels; of a request with several rounds
    each prompt counts.
    """

    def __init__(self) -> None:
        self._answers = 0
        self._orders = 0
        self._repeats = 0
        self._least = 0
        self._first: Counter[str] = Counter()

    def add(self, exchanges: Iterable[Exchange]) -> None:
        """Add prompts and their responses."""
        for asked, response in exchanges:
            if len(asked.shown) < 2:
                continue
            if asked.choices is None and asked.listed is not None:
                order: Sequence[int] = ranking_of(asked, response).order
                if len(order) >= _LEAST:
                    self._orders += 1
                    self._repeats += list(order) == list(range(len(order)))
                if order:
                    self._count(asked, asked.listed.labels[order[0]])
            elif asked.labels and asked.choices is not None and len(asked.choices) == len(asked.shown):
                logprobs = label_logprobs(response, len(asked.shown))
                best = max(logprobs)
                if best > -inf and logprobs.count(best) == 1:
                    self._count(asked, asked.choices[logprobs.index(best)].strip())

    def _count(self, prompt: Prompt, label: str) -> None:
        self._answers += 1
        self._first[label] += 1
        self._least = min(self._least or len(prompt.shown), len(prompt.shown))

    def facts(self) -> dict[str, Any] | None:
        """Return the counts; None where no prompt has a first choice.

        Returns:
            `answers` with a first choice; `first`, the label that is the most frequent one, `first_count`, how often
            it is; `shown`, the fewest candidates of a prompt; `orders`, the answers that name three candidates or
            more, and `repeats`, those of them that name them in the order shown from its beginning.
        """
        if not self._answers:
            return None
        first, count = max(self._first.items(), key=lambda pair: (pair[1], pair[0]))
        return {
            "answers": self._answers,
            "first": first,
            "first_count": count,
            "shown": self._least,
            "orders": self._orders,
            "repeats": self._repeats,
        }


def check_priors(plan: PromptPlan) -> None:
    """Refuse to ask for titles without a history where a template does not ask for titles.

    Raises:
        OptionError: If it does not.
    """
    if not isinstance(plan.template, ScoresTitles):
        raise OptionError(
            f"--prior applies only to templates that score titles; {plan.name} does not",
            hint="Leave it out, or add --template likelihood.",
        )


def ask_priors(
    data: Data,
    run: Artifact,
    prompts: Artifact,
    plan: PromptPlan,
    cached_generator: CachedGenerator,
    progress: Progress,
) -> StageResult:
    """Make the artifact `priors` of a run: the model's likelihood of each title without a history.

    Raises:
        EngineError: If the engine fails; what it answered before is kept.
    """
    recipe = _recipe(run)

    def fill(draft: Draft) -> None:
        asked = _prompts(data, prompts, plan.template)
        with progress(f"{run.facts['model']['name']}, titles without a history", len(asked)) as step:
            cached_generator.show(step, len(asked))
            cached_generator.turn_to(len(asked))
            whole = Question(asked, 0, lambda fewer, *, without_attributes=False: asked)
            rows = cached_generator.ask([whole] if asked else [])
        if any(row["finish_reason"] == UNANSWERED for row in rows.values()):
            raise EngineError(
                "the server left titles without a history unanswered, and every title needs an answer",
                hint="Run the same command again: answers so far are kept.",
            )
        responses = responses_frame((prior, rows[prior.prompt_id]) for prior in asked)
        draft.write("responses", responses)
        spent = CostCounter()
        spent.add(responses, [], requests=0)
        draft.facts.update(spent.of_priors())

    return get_or_create(recipe.place(data.place.priors), recipe, fill)


def find_priors(data: Data, run: Artifact) -> Artifact:
    """Return the artifact `priors` of a run.

    Raises:
        ArtifactError: If they were not asked for.
    """
    recipe = _recipe(run)
    found = find_made(recipe.place(data.place.priors), recipe)
    if found is None:
        raise ArtifactError(
            f"run {run.path.name} has no scores of its titles without a history, which pmi subtracts",
            hint=f"Run: {run.manifest.command} --prior. Cached answers are reused.",
        )
    return found


def read_priors(data: Data, prompts: Artifact, template: PromptStrategy, priors: Artifact) -> dict[str, float]:
    """Return the summed log-probability of every title without a history.

    Raises:
        ArtifactError: If a table is damaged, or the priors lack a title.
    """
    rows = {row["prompt_id"]: row for row in priors.table("responses").iter_rows(named=True)}
    found: dict[str, float] = {}
    for asked in _prompts(data, prompts, template):
        if asked.prompt_id not in rows:
            raise ArtifactError(
                f"{priors.path} lacks the titles of prompt {asked.prompt_id!r}",
                hint=f"Delete {priors.path} and run `llmrs-bench infer --prior` again.",
            )
        response = read_answer(asked.prompt_id, rows[asked.prompt_id])
        values = zip(asked.choices or (), response.choice_logprobs or (), strict=True)
        found |= {choice: fsum(logprobs) for choice, logprobs in values}
    return found


def _recipe(run: Artifact) -> Recipe:
    old = run.manifest
    inputs = {name: old.inputs[name] for name in ("answers", "prompts")}
    return Recipe("infer", f"{old.name}-priors", old.config, inputs, {"prompts": old.parts["prompts"]})


def _prompts(data: Data, prompts: Artifact, template: PromptStrategy) -> list[Prompt]:
    """Return the prompts that ask for each title of a run once, in the order of their first appearance."""
    if not isinstance(template, ScoresTitles):
        return []
    choices: dict[str, None] = {}
    for block in request_blocks(data, prompts):
        choices.update(dict.fromkeys(c for group in block.prompts.values() for p in group for c in p.choices or ()))
    return template.priors(list(choices), open_catalog(data))


# Bumped when rankings are read from answers in another way.
FORMAT = "4"
_DOUBTFUL = 0.1  # of the probability of the next token on all labels


def infer_language(
    data: Data,
    config: LanguageModelConfig,
    progress: Progress,
    *,
    from_cache: bool = False,
    prior: bool = False,
    max_age: float | None = None,
    engines: OpenEngine | None = None,
    name: str | None = None,
) -> StageResult:
    """Make the run of a language model, from answers that are kept and never asked for twice.

    A run with prompts that a server left without an answer is made again where the server answers now.

    Args:
        data: The prepared data set.
        config: The options.
        progress: Shows the prompts answered.
        from_cache: Read kept answers alone: no model is looked for or loaded.
        prior: Ask for each title without a history, too, beside the run and its cost.
        max_age: Seconds: where the kept answers are older, everything is asked again, and kept beside them; 0 always.
        engines: Holds the engine, keeps it open for the next run, and says what may be spent; None: it is closed after
            this one.
        name: What it will be called; refused before anything is asked if another run has that name.

    Raises:
        BudgetError: If what may be spent is; answers so far are kept.
        OptionError: If the engine, the template or an option is unknown or does not fit, or the name is taken.
        ModelError: If the model cannot be had.
        EngineError: If the engine fails while it answers; what it answered is kept.
        ArtifactError: With `from_cache`, if an answer is missing.
    """
    config = locate(data, config)
    plan = open_plan(config.prompt)
    template, tuned = plan.template, tuned_of(config)
    if prior:
        check_priors(plan)
        if config.limit is not None:
            raise OptionError("--prior asks for the titles of all requests", hint="Remove --prior or --limit.")
    prompts = prompt(data, config.prompt).artifact
    served = None if from_cache else serve(data, config, progress)
    if served is not None:
        check_temperature(plan, served.options)
    store = find_store(data, config) if served is None else open_store(data, served, max_age=max_age)
    tables, requests = {"prompts": prompts, "requests": data.artifact}, data.artifact.manifest.tables["requests"].rows
    limit = None if config.limit is None or config.limit >= requests else config.limit
    label = str(store.served["name"])
    known = ENGINES.options_of(store.served["engine"]) if served is None else type(served.options)
    recipe = Recipe(
        "infer",
        f"{file_name(label)}-{plan.name}",
        {
            **{"model": label, "template": config.template, "options": config.prompt.options, "normalize": "sum"},
            **({} if limit is None else {"limit": limit}),
        },
        {"answers": store.fingerprint, **{name: made.digest(name) for name, made in tables.items()}},
        {"format": FORMAT, "prompts": source_digest(template), **tie_parts(data)},
    )

    check_name_of(recipe.place(data.place.runs), name)

    def fill(draft: Draft) -> None:
        first, choices = prompts.manifest.tables["prompts"].rows, FirstChoices()
        first = first * (limit or requests) // requests
        with progress(label, first) as step, _rare_searches():
            generator.show(step, first)
            cost = _run(draft, data, prompts, plan, generator, choices, limit)
        learned = demo_lm_cost(data, config.seed) if config.model == DEMO_LM else None if tuned is None else tuned.cost
        spent = with_training(cost.facts(store.sessions(cost.sessions), config.options), learned, config.options)
        draft.facts.update(
            kind="language model",
            model=describe(config.model, label),
            engine=store.served["engine"],
            history=prompts.manifest.config["history"],
            answers=store.folder.name,
            seed=config.seed,
            mode=template.mode,
            form=plan.source.template_file.form,
            normalize="sum",
            first_choices=None if plan.views.slots else choices.facts(),  # slots place the target
            typed={
                **({} if tuned is None else tuned.naming(data.place.root.parent.name, plan.name)),
                **config.template_options,
                **known.naming(config.options),
            },
            tuned=None if tuned is None else {**tuned.numbers, **training_of(config)},
            template_options={**plan.form, **views_of(plan.views)},
            **({"titles": words} if (words := prompts.facts.get("title_words")) else {}),
            **({"examples_of": domain} if (domain := prompts.facts.get("examples_of")) else {}),
            released=_released(known, config.options),
            series=series_of(store.served),
            round=round_of(store.served),
            warnings=[
                *item_warnings(data, prompts.facts),
                *_untrained(config),
                *_warnings(spent, mode=template.mode, served=store.served),
            ],
            **spent,
        )

    with prints_on_stderr(), closing(OpenEngine()) if engines is None else nullcontext(engines) as opened:
        opened.budget.check_prices(config.options, known.model_fields)
        spend = partial(opened.budget.spend, options=config.options)
        start = partial(opened.start, served) if served else partial(_refuse, config)
        generator = CachedGenerator(store, start, again=served is not None, spend=spend, begin=opened.budget.begin)
        unfinished = (lambda made: bool(made.facts.get("unanswered"))) if served else (lambda made: False)
        done = get_or_create(recipe.place(data.place.runs), recipe, fill, unfinished=unfinished)
        if not done.fresh:
            done = with_series(_restated(done, known, config.options), config)
        if prior:
            ask_priors(data, done.artifact, prompts, plan, generator, progress)
    return done


def _released(known: type[Options], options: Mapping[str, str]) -> str | None:
    """Return the day on which a model came out, where it was typed (`-O released=2024-10-31`)."""
    day = getattr(known.parse(options, owner="infer"), "released", None) if "released" in options else None
    return None if day is None else str(day)


def _restated(done: StageResult, known: type[Options], options: Mapping[str, str]) -> StageResult:
    """Return a run that was there before with the price and the day of release that are typed now, where they are."""
    said: dict[str, Any] = {}
    if {"price_in", "price_out", "price_per_hour"} & set(options):
        facts = done.artifact.facts
        said["price_usd"] = price_usd(facts, options)
        if "scoring_seconds" in facts:
            said["scoring_price_usd"] = price_usd({**facts, "seconds": facts["scoring_seconds"]}, options)
    if "released" in options:
        said["released"] = _released(known, options)
    new = {name: value for name, value in said.items() if value != done.artifact.facts.get(name)}
    return replace(done, artifact=restate(done.artifact, **new)) if new else done


def check_temperature(plan: PromptPlan, options: Options) -> None:
    """Refuse samples that are all the same, and a temperature where nothing is written."""
    temperature = getattr(options, "temperature", None)
    if temperature == 0 and plan.views.samples > 1 and "temperature" not in getattr(options, "omit", ()):
        raise OptionError(
            f"samples={plan.views.samples} has no effect at temperature 0: every answer is the same",
            hint="Add -O temperature=0.7.",
        )
    if temperature and plan.template.mode != "generate":
        raise OptionError(
            f"temperature has no effect on template {plan.name}: nothing is sampled from likelihoods",
            hint="Leave out -O temperature, or choose a template that generates text, such as listwise.",
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


def _untrained(config: LanguageModelConfig) -> list[str]:
    """Warn where the model of the demo is asked for what it did not learn."""
    if config.model != DEMO_LM or is_learned(config.prompt):
        return []
    return [
        f"{DEMO_LM} is trained only for --template likelihood and --template listwise -T answer=titles: these answers "
        "are guesses"
    ]


_BOUNDED = " (if that is only Yes or only No, it counts with the probability of the least likely token shown)"
_OTHER_TEMPLATES = "--template likelihood or listwise"


def _warnings(spent: Mapping[str, Any], *, mode: Mode, served: Mapping[str, Any]) -> list[str]:
    """Return what makes scores doubtful: labels that are not known, or that the model would hardly have written."""
    found = []
    if mode == "label" and served["engine"] == "openai":
        total = sum(spent["kinds"].values())
        if lacking := total - spent["kinds"].get("complete", 0):
            shown, bounded = served["options"]["top_logprobs"], spent["notes"].get("bounded_labels")
            found.append(
                f"in {100 * lacking / total:.0f} % of {counted(total, 'answer')} some labels are not among the "
                f"likeliest tokens that the server shows{_BOUNDED if bounded else ''}; {shown} were requested: raise "
                "`-O top_logprobs` as far as the server allows (llama.cpp has no limit, most others 20)"
            )
    mass = spent["notes"].get("label_mass", 1.0)
    if mass < _DOUBTFUL:
        found.append(
            f"the labels have {100 * mass:.1f} % of the probability of the next token, so these scores say little "
            "about the model: it may think first, or not know the format; try "
            + ("a model tuned for chats" if {"says_yes", "certainty"} & spent["notes"].keys() else _OTHER_TEMPLATES)
        )
    if (yes := spent["notes"].get("says_yes")) in (0.0, 1.0):
        found.append(
            f"the model finds {'Yes' if yes else 'No'} more probable in every prompt: its answer is constant, and "
            "only the probability of Yes differs between requests"
        )
    if spent["uncounted"]:
        asked = counted(spent["uncounted"], "prompt")
        found.append(f"the server did not count the tokens of {asked}: their number and price are unknown")
    return found


def _refuse(config: LanguageModelConfig) -> Engine:
    raise ArtifactError(
        f"the cache lacks answers of {config.model!r} to prompts of the template {config.template!r}",
        hint="Leave out --from-cache to ask the model for them.",
    )


def _run(
    draft: Draft,
    data: Data,
    prompts: Artifact,
    plan: PromptPlan,
    cached_generator: CachedGenerator,
    first_choices: FirstChoices,
    limit: int | None,
) -> CostCounter:
    """Write responses and rankings, block by block, and return what the answers cost."""
    template = plan.template
    catalog, history, cost = open_catalog(data, plan), int(prompts.manifest.config["history"]), CostCounter()
    draft.write("rankings", pl.DataFrame(schema=RANKINGS))
    draft.write("responses", pl.DataFrame(schema=RESPONSES))
    for block in request_blocks(data, prompts, limit):
        cached_generator.turn_to(sum(map(len, block.prompts.values())))
        conversations = run_rounds(block, template, catalog, history=history, ask=cached_generator.ask)
        scores = [
            read(template, conversation.exchanges, Normalization())
            for conversation in conversations.values()
            if conversation.exchanges
        ]
        first_choices.add(exchange for conversation in conversations.values() for exchange in conversation.exchanges)
        responses = responses_frame(
            (p, row)
            for conversation in conversations.values()
            for (p, _), row in zip(conversation.exchanges, conversation.rows, strict=True)
        )
        draft.write("responses", responses)
        write_rankings(data, draft, block, scores, plan.views.aggregate)
        cost.add(responses, scores, requests=block.requests.height)
    return cost


def write_rankings(data: Data, draft: Draft, block: RequestBlock, scores: list[Scores], aggregate: Aggregate) -> None:
    """Write the rankings of a block from the scores of its views; where there are several, theirs, too."""
    if block.several:
        views = block.views.select("candidates", request_id="view_id")
        draft.write("view_rankings", _placed(ranked(data, scores_frame(scores), views), block.views))
        found = {score.request_id: score for score in scores}
        rows = block.views.group_by("request_id", maintain_order=True).agg("view_id", pl.col("candidates").first())
        scores = [
            fuse(request_id, answered, candidates, aggregate)
            for request_id, view_ids, candidates in rows.iter_rows()
            if (answered := [found[view_id] for view_id in view_ids if view_id in found])
        ]
    draft.write("rankings", ranked(data, scores_frame(scores), block.requests))


def _placed(rankings: pl.DataFrame, views: pl.DataFrame) -> pl.DataFrame:
    """Return rankings of views as a frame of the schema `view_rankings`."""
    slot = pl.int_range(pl.len(), dtype=pl.Int32).over("view_id")
    shown = views.select("request_id", "view_id", item_id="candidates").explode("item_id").with_columns(slot=slot)
    placed = rankings.rename({"request_id": "view_id"}).join(shown, on=["view_id", "item_id"], maintain_order="left")
    return placed.select(list(VIEW_RANKINGS))


def read(template: PromptStrategy, exchanges: list[Exchange], reading: Normalization) -> Scores:
    """Return the scores that all prompts and responses of one request give."""
    scores = template.parse([prompt for prompt, _ in exchanges], [response for _, response in exchanges], reading)
    # What a server never answered says nothing about the model.
    kinds = zip(scores.kinds, exchanges, strict=False)
    return replace(scores, kinds=tuple(kind for kind, (_, said) in kinds if said.finish_reason != UNANSWERED))

"""Stage `probe`: does a language model know a data set by heart?"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import fsum
from typing import Any, Literal

import numpy as np
import polars as pl
from pydantic import Field

from llmrs_bench.core.artifacts import Draft, Recipe, StageResult, get_or_create
from llmrs_bench.core.config import LARGEST_SEED, LanguageModelConfig, Options
from llmrs_bench.core.errors import DataError
from llmrs_bench.core.option_faults import MOST
from llmrs_bench.core.registry import SOURCES, unknown_name
from llmrs_bench.core.schemas import PROBES, from_rows
from llmrs_bench.core.types import Message, Progress, Prompt
from llmrs_bench.data.datasets import known_dataset
from llmrs_bench.data.raw_lines import GENERIC, RawLines
from llmrs_bench.llm.clipping import Question
from llmrs_bench.llm.cost import CostCounter
from llmrs_bench.memory.ranks import RankedTrial, judge
from llmrs_bench.memory.trials import Events, Trial, item_trials, priors
from llmrs_bench.prompts.frames import responses_frame
from llmrs_bench.stages.conversation import answering, ask_each
from llmrs_bench.stages.serving import OpenEngine, describe, file_name, locate, open_store, serve
from llmrs_bench.stages.workspace import Data

# Bumped when other questions are asked, or ranks are judged otherwise.
FORMAT = "2"
_AUTO = "auto"
_HEADING = "heading"  # the request that titles without an id belong to


class ProbeConfig(Options):
    """Which model is probed, and how much of the data set it is asked about.

    `limit` sets the number of `items` and of `users`, unless these are given. `lines` is a data source whose files a
    model may know, `generic`, or `auto`: that of the known data set, else the one that read the data, else `generic`.
    """

    model: str
    engine: str = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    options: dict[str, str] = Field(default_factory=dict)
    limit: int | None = Field(default=None, ge=1, le=MOST)
    items: int | None = Field(default=None, ge=0, le=MOST)
    users: int | None = Field(default=None, ge=0, le=MOST)
    lines: str = _AUTO
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)

    @property
    def n_items(self) -> int:
        """How many items are asked about."""
        return next(each for each in (self.items, self.limit, 300) if each is not None)

    @property
    def n_users(self) -> int:
        """How many users are asked about."""
        return next(each for each in (self.users, self.limit, 100) if each is not None)

    @property
    def served(self) -> LanguageModelConfig:
        """The model as `infer` serves it: likelihoods depend on no seed, so answers are shared by all seeds."""
        return LanguageModelConfig(
            model=self.model, engine=self.engine, device=self.device, options=self.options, template="likelihood"
        )


def probe(data: Data, config: ProbeConfig, progress: Progress, *, engines: OpenEngine | None = None) -> StageResult:
    """Make the artifact `probe` of a model: ranks of true continuations of lines, behind their ids and behind others.

    Answers are kept as those of `infer`, so an interrupted probe goes on, and a larger one asks for the rest alone.

    Args:
        data: The prepared data set; nothing of its test events is looked at.
        config: The options.
        progress: Shows the prompts answered.
        engines: Holds the engine, keeps it open for the next run, and says what may be spent; None: it is closed.

    Raises:
        BudgetError: If what may be spent is; what was answered is kept.
        OptionError: If the engine, an option or the layout of lines is unknown.
        ModelError: If the model cannot be had.
        EngineError: If it fails while it answers, or a server leaves a prompt without an answer.
        DataError: If the data set has nothing that can be asked.
    """
    asked = locate(data, config.served)
    lines = lines_of(data, config.lines)
    served = serve(data, asked, progress)
    store = open_store(data, served)
    recipe = Recipe(
        "probe",
        f"{file_name(served.label)}-probe",
        {
            **{"model": served.label, "items": config.n_items, "users": config.n_users},
            **{"seed": config.seed, "lines": lines.name},
        },
        {"answers": store.fingerprint, **{name: data.artifact.digest(name) for name in ("items", "interactions")}},
        {"format": FORMAT},
    )

    def fill(draft: Draft) -> None:
        trials, left_out = trials_of(data, config, lines)
        prompts = _prompts(trials)
        with progress(f"{served.label}, lines of {data.place.reference}", len(prompts)) as step:
            generator.show(step, len(prompts))
            rows = dict(ask_each(generator, list(map(_question, prompts)), "a probe"))
        cost = CostCounter()
        cost.add(responses_frame((each, rows[each.prompt_id]) for each in prompts), [], requests=len(prompts))
        spent = cost.facts(store.sessions(cost.sessions), asked.options)
        ranked = _ranked(trials, rows)
        draft.write("probes", _table(trials, ranked))
        verdicts = judge({name: (true, control) for name, (true, control) in ranked.items()}, seed=config.seed)
        draft.facts.update(
            kind="probe",
            dataset=data.place.reference,
            model=describe(asked.model, served.label),
            weights=store.served["model"],
            engine=served.engine,
            answers=store.folder.name,
            lines=lines.name,
            seed=config.seed,
            verdicts=[{**asdict(verdict), "significant": verdict.significant} for verdict in verdicts],
            left_out=left_out,
            **{name: spent[name] for name in ("prompts", "seconds", "joules", "price_usd", "serving")},
            tokens=spent["prefill_tokens"] and spent["prefill_tokens"] + spent["completion_tokens"],
        )

    with answering(store, served, asked, engines) as generator:
        return get_or_create(recipe.place(data.place.probes), recipe, fill)


def lines_of(data: Data, name: str) -> RawLines:
    """Return how the files of a data set write items and events.

    Args:
        data: The prepared data set.
        name: A data source that declares it, `generic`, or `auto`.

    Raises:
        OptionError: If the data source is unknown, or declares nothing.
    """
    known = known_dataset(data.place.root.parent.name)
    tried = [*(known.sources if known else ()), data.artifact.manifest.parts["reader"]] if name == _AUTO else [name]
    for source in tried:
        declared = getattr(SOURCES.load(source), "raw_lines", None) if source in SOURCES else None
        if declared is not None:
            return _declared(source, declared)
    if name in (_AUTO, "generic"):
        return GENERIC
    declaring = [each for each in SOURCES.builtin if getattr(SOURCES.load(each), "raw_lines", None) is not None]
    raise unknown_name("layout of lines", name, [_AUTO, "generic", *declaring])


def _declared(source: str, lines: Any) -> RawLines:
    if isinstance(lines, RawLines):
        return lines
    raise DataError(f"raw_lines of the data source {source!r} is no RawLines", hint="Report this to its author.")


def trials_of(data: Data, config: ProbeConfig, lines: RawLines) -> tuple[list[Trial], list[str]]:
    """Return what a model is asked, and what it is not asked, with the reasons.

    Raises:
        DataError: If nothing can be asked.
    """
    events = data.artifact.table("interactions").select("user_id", "item_id", "timestamp", "rating")
    counts = events.group_by("item_id").agg(popularity=pl.len().cast(pl.Int64))
    items = data.artifact.table("items").select("item_id", "title").join(counts, on="item_id", how="left")
    items = items.with_columns(pl.col("popularity").fill_null(0)).sort("item_id")
    known = Events(events, lines, seed=config.seed) if events.height else None
    asked = {
        "item titles": item_trials(items, lines, limit=config.n_items, seed=config.seed),
        "next events": known.event_trials(limit=config.n_users) if known else [],
        "rating lines": known.line_trials(limit=config.n_users) if known else [],
    }
    reasons = {
        "item titles": "fewer than two items have a title",
        "next events": "no user has an event that can be matched: there are too few items, or too few events",
        "rating lines": "lines of events hold no ratings or times, or too few different ones of a user",
    }
    wanted = {"item titles": config.n_items, "next events": config.n_users, "rating lines": config.n_users}
    trials = [trial for some in asked.values() for trial in some]
    left_out = [f"{name}: {reasons[name]}" for name, some in asked.items() if wanted[name] and not some]
    if not trials:
        raise DataError(
            f"{data.place.reference} has nothing to probe: "
            + ("; ".join(left_out) or "no items and no users are asked for"),
            hint="Ask about at least one item or user, in a data set with titles or ratings.",
        )
    return trials, left_out


def _prompts(trials: Sequence[Trial]) -> list[Prompt]:
    """Return two prompts for each trial, and those that ask for titles without an id."""
    found = []
    for trial in trials:
        for arm in ("true", "control"):
            text = trial.prefix if arm == "true" else trial.control
            found.append(_prompt(_name(trial, arm), f"{trial.probe}-{trial.subject}", text, trial.choices))
    heading = next((trial.prefix.partition("\n")[0] for trial in trials if trial.probe == "item"), "")
    for number, titles in enumerate(priors(trials)):
        found.append(_prompt(f"{_HEADING}-{number}", _HEADING, f"{heading}\n", titles))
    return found


def _prompt(name: str, request: str, text: str, choices: tuple[str, ...]) -> Prompt:
    return Prompt(name, request, (Message("text", text),), choices, choices)


def _question(prompt: Prompt) -> Question:
    return Question([prompt], 0, lambda fewer, *, without_attributes=False: [prompt])


def _name(trial: Trial, arm: str) -> str:
    return f"{trial.probe}-{arm}-{trial.subject}"


_Ranked = dict[tuple[str, str], tuple[list[RankedTrial], list[RankedTrial]]]


def _ranked(trials: Sequence[Trial], rows: Mapping[str, Mapping[str, Any]]) -> _Ranked:
    """Return the trials of each probe and reading with their scores, and those of their controls."""
    prior: dict[str, float] = {}
    for number, titles in enumerate(priors(trials)):
        answer = rows[f"{_HEADING}-{number}"]["choice_logprobs"]
        prior |= {title: fsum(logprobs) for title, logprobs in zip(titles, answer, strict=True)}
    found: _Ranked = {}
    for trial in trials:
        for place, arm in enumerate(("true", "control")):
            answer = rows[_name(trial, arm)]["choice_logprobs"]
            sums = np.array([fsum(logprobs) for logprobs in answer])
            scores = {"token": sums / np.array([len(logprobs) for logprobs in answer])}
            if trial.probe == "item":
                scores["pmi"] = sums - np.array([prior[choice] for choice in trial.choices])
            for reading, values in scores.items():
                found.setdefault((trial.probe, reading), ([], []))[place].append(RankedTrial(values, trial.true))
    return found


def _table(trials: Sequence[Trial], ranked: _Ranked) -> pl.DataFrame:
    rows = [
        {
            **{"probe": probe, "reading": reading, "subject": trial.subject, "control": arm == 1},
            **{"candidates": each.candidates, "better": each.better, "tied": each.tied},
        }
        for (probe, reading), arms in ranked.items()
        for arm, some in enumerate(arms)
        for trial, each in zip((trial for trial in trials if trial.probe == probe), some, strict=True)
    ]
    return from_rows("probes", rows) if rows else pl.DataFrame(schema=PROBES)

"""What a run of a language model was asked about some requests, and what it answered, as it was sent and received."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Any, TypeAlias

import polars as pl

from llmrs_bench.artifacts import Artifact, is_complete, open_artifact
from llmrs_bench.config import PromptConfig
from llmrs_bench.errors import ArtifactError, OptionError
from llmrs_bench.prompts.frames import read_prompts
from llmrs_bench.prompts.protocol import Shop
from llmrs_bench.report.html.values import Call
from llmrs_bench.stages.clip import Question
from llmrs_bench.stages.conversation import Block, Row, converse
from llmrs_bench.stages.home import Data
from llmrs_bench.stages.plan import Plan, open_plan
from llmrs_bench.stages.prompt import BLOCK, source_digest
from llmrs_bench.types import Prompt

# Calls of one request that are shown: sorting 20 candidates by pairs takes hundreds, and each repeats the one before.
SHOWN = 6

# By request id: the first calls, and how many there were.
Calls: TypeAlias = "Mapping[str, tuple[tuple[Call, ...], int]]"


@dataclass(frozen=True, slots=True)
class _Told:
    """The part of an artifact `prompts` that is about some requests: views, and the first prompts by their ids."""

    artifact: Artifact
    views: pl.DataFrame
    prompts: Mapping[str, Prompt]


def calls_of(data: Data, run: Artifact, sample: pl.DataFrame, shop: Shop) -> tuple[Calls, str]:
    """Return the calls of a run about requests, and what to say where prompts are not known any more.

    Later prompts of a template follow from the answers, and clipped ones from what was clipped: they are written again,
    unless the template has changed since.

    Args:
        data: The prepared data set.
        run: A run of a language model.
        sample: Frame of the schema `requests`.
        shop: What templates may know.

    Raises:
        ArtifactError: If a table is damaged.
    """
    wanted = set(sample["request_id"])
    answers = list(_answers(data, run, wanted))
    told = _told(data, run, wanted)
    if told is None:
        return _calls(answers, wanted, {}), "The prompts of this run were deleted."
    known: Mapping[str, Prompt] = told.prompts
    note = ""
    if any(row["prompt_id"] not in known or row["clipped"] or row["bare"] for row in answers):
        plan = _plan(run, told.artifact)
        if plan is None:
            later = {row["prompt_id"] for row in answers if row["clipped"] or row["bare"]}
            known = {name: prompt for name, prompt in known.items() if name not in later}
            note = "The template has changed since: prompts that followed from answers, or were clipped, are not known."
        else:
            known = _replayed(plan, told, sample, answers, shop)
    return _calls(answers, wanted, known), note


def _answers(data: Data, run: Artifact, wanted: set[str]) -> Iterator[Row]:
    """Yield the responses about some requests, in the order in which they were asked."""
    source = run
    if "responses_of" in run.facts:
        source = open_artifact(data.place.runs / run.facts["responses_of"], hint="run `llmrs-bench infer` again.")
    for part in source.parts("responses", BLOCK):
        names = [_request(name, wanted) is not None for name in part["request_id"]]
        yield from part.filter(pl.Series(names, dtype=pl.Boolean)).iter_rows(named=True)


def _request(view_id: str, wanted: set[str]) -> str | None:
    """Return the request that a view is of; several views of one are called `REQUEST~NUMBER`."""
    if view_id in wanted:
        return view_id
    name = view_id.rpartition("~")[0]
    return name if name in wanted else None


def _told(data: Data, run: Artifact, wanted: set[str]) -> _Told | None:
    """Find the prompts that a run answered by their digest."""
    folder = data.place.prompts
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not is_complete(path):
            continue
        made = open_artifact(path, hint=f"delete {path}.")
        if made.digest("prompts") != run.manifest.inputs["prompts"]:
            continue
        views = made.table("views").filter(pl.col("request_id").is_in(list(wanted)))
        names = list(views["view_id"])
        prompts = {
            prompt.prompt_id: prompt
            for part in made.parts("prompts", BLOCK)
            for prompt in read_prompts(part.filter(pl.col("request_id").is_in(names)))
        }
        return _Told(made, views, prompts)
    return None


def _plan(run: Artifact, prompts: Artifact) -> Plan | None:
    """Return the plan of a run; None if its template is gone, or writes other prompts now."""
    config = run.manifest.config
    try:
        plan = open_plan(
            PromptConfig(template=config["template"], options=config["options"], history=run.facts["history"])
        )
    except OptionError:
        return None
    same_code = source_digest(plan.template) == run.manifest.parts["prompts"]
    return plan if same_code and plan.source.digest == prompts.manifest.inputs["template"] else None


def _replayed(
    plan: Plan, told: _Told, sample: pl.DataFrame, answers: Sequence[Row], shop: Shop
) -> Mapping[str, Prompt]:
    """Hold the conversation again with the kept answers, and return all prompts as they were sent."""
    kept = {row["prompt_id"]: row for row in answers}
    sent: dict[str, Prompt] = {}

    def ask(questions: Sequence[Question]) -> dict[str, Row]:
        rows: dict[str, Row] = {}
        for question in questions:
            written: dict[tuple[int, bool], Mapping[str, Prompt]] = {}
            for name in (prompt.prompt_id for prompt in question.prompts):
                if name not in kept:
                    raise ArtifactError(
                        f"a run lacks the answer to prompt {name!r} of its own template",
                        hint="Delete the run and run `llmrs-bench infer` again; what was answered is not asked again.",
                    )
                rows[name] = row = kept[name]
                lost, bare = row["clipped"], row["bare"]
                if (lost, bare) not in written:
                    prompts = question.render(question.shown - lost, bare=bare) if lost or bare else question.prompts
                    written[lost, bare] = {prompt.prompt_id: prompt for prompt in prompts}
                sent[name] = written[lost, bare][name]
        return rows

    first: dict[str, list[Prompt]] = {}
    for prompt in told.prompts.values():
        first.setdefault(prompt.request_id, []).append(prompt)
    block = Block(sample, told.views, first)
    converse(block, plan.template, shop, history=int(told.artifact.manifest.config["history"]), ask=ask)
    return sent


def _calls(answers: Sequence[Row], wanted: set[str], prompts: Mapping[str, Prompt]) -> Calls:
    found: dict[str, list[Row]] = {}
    for row in answers:
        name = _request(row["request_id"], wanted)
        if name is not None:
            found.setdefault(name, []).append(row)
    return {
        name: (tuple(_call(row, prompts.get(row["prompt_id"])) for row in rows[:SHOWN]), len(rows))
        for name, rows in found.items()
    }


def _call(row: Mapping[str, Any], prompt: Prompt | None) -> Call:
    sums = [fsum(logprobs) if logprobs else None for logprobs in row["choice_logprobs"] or ()]
    names = prompt.choices if prompt is not None and prompt.choices is not None else ("",) * len(sums)
    return Call(
        name=row["prompt_id"],
        messages=None if prompt is None else tuple((message.role, message.content) for message in prompt.messages),
        text=row["text"],
        choices=tuple(zip(names, sums, strict=True)) if sums else (),
        finish=row["finish_reason"],
        clipped=row["clipped"],
    )

"""The web page of a board: with requests of each run, as they were asked and answered."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import fsum
from pathlib import Path
from typing import Any, TypeAlias

import polars as pl

from llmrs_bench import __version__
from llmrs_bench.clicks.baselines import TRIVIAL
from llmrs_bench.core.artifacts import Artifact, is_complete, open_artifact
from llmrs_bench.core.config import RATING, CompareConfig, Invalid, PromptConfig
from llmrs_bench.core.errors import ArtifactError, OptionError
from llmrs_bench.core.hashing import uniform_hash
from llmrs_bench.core.tables import atomic_write
from llmrs_bench.core.types import Prompt
from llmrs_bench.leaderboard import Board
from llmrs_bench.leaderboard.curves import Curves
from llmrs_bench.llm.clipping import Question
from llmrs_bench.prompts.frames import read_prompts
from llmrs_bench.prompts.strategies.base import ItemCatalog
from llmrs_bench.report.html import to_html
from llmrs_bench.report.html.values import Call, Extra, Ranked, Sampled, Title
from llmrs_bench.stages.conversation import RequestBlock, Row, run_rounds
from llmrs_bench.stages.evaluate import evaluations
from llmrs_bench.stages.groups import group_requests
from llmrs_bench.stages.prompt import BLOCK, PromptPlan, open_catalog, open_plan, source_digest
from llmrs_bench.stages.workspace import Data, leaving_out, open_runs

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


def load_transcripts(data: Data, run: Artifact, sample: pl.DataFrame, catalog: ItemCatalog) -> tuple[Calls, str]:
    """Return the calls of a run about requests, and what to say where prompts are not known any more.

    Later prompts of a template follow from the answers, and clipped ones from what was clipped: they are written again,
    unless the template has changed since.

    Args:
        data: The prepared data set.
        run: A run of a language model.
        sample: Frame of the schema `requests`.
        catalog: What templates may know.

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
    if any(row["prompt_id"] not in known or row["n_truncated"] or row["without_attributes"] for row in answers):
        plan = _plan(run, told.artifact)
        if plan is None:
            later = {row["prompt_id"] for row in answers if row["n_truncated"] or row["without_attributes"]}
            known = {name: prompt for name, prompt in known.items() if name not in later}
            note = "The template has changed since: prompts that followed from answers, or were clipped, are not known."
        else:
            known = _replayed(plan, told, sample, answers, open_catalog(data, plan))
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
        made = None
        with leaving_out():
            made = open_artifact(path, hint="run `llmrs-bench prompt` again.") if is_complete(path) else None
        if made is None or made.digest("prompts") != run.manifest.inputs["prompts"]:
            continue
        with leaving_out(ArtifactError):  # those of an earlier version have other columns
            views = made.table("views").filter(pl.col("request_id").is_in(list(wanted)))
            names = list(views["view_id"])
            prompts = {
                prompt.prompt_id: prompt
                for part in made.parts("prompts", BLOCK)
                for prompt in read_prompts(part.filter(pl.col("request_id").is_in(names)))
            }
            return _Told(made, views, prompts)
    return None


def _plan(run: Artifact, prompts: Artifact) -> PromptPlan | None:
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
    plan: PromptPlan, told: _Told, sample: pl.DataFrame, answers: Sequence[Row], catalog: ItemCatalog
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
                lost, without_attributes = row["n_truncated"], row["without_attributes"]
                if (lost, without_attributes) not in written:
                    prompts = (
                        question.render(question.shown - lost, without_attributes=without_attributes)
                        if lost or without_attributes
                        else question.prompts
                    )
                    written[lost, without_attributes] = {prompt.prompt_id: prompt for prompt in prompts}
                sent[name] = written[lost, without_attributes][name]
        return rows

    first: dict[str, list[Prompt]] = {}
    for prompt in told.prompts.values():
        first.setdefault(prompt.request_id, []).append(prompt)
    block = RequestBlock(sample, told.views, first)
    run_rounds(block, plan.template, catalog, history=int(told.artifact.manifest.config["history"]), ask=ask)
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
        tokens=tuple(tuple(each or ()) for each in row["choice_logprobs"] or ()),
        finish=row["finish_reason"],
        n_truncated=row["n_truncated"],
    )


# What requests are filtered by: how popular the target is, and how few events it has.
_FILTERS = ("popularity", "cold-item")
# Ranks of a whole catalogue that are shown; candidate lists are shown whole.
_SHOWN = 20


def gather(data: Data, board: Board, *, count: int, seed: int, invalid: Invalid = "expected") -> Extra:
    """Gather what a page shows beyond the board.

    Args:
        data: The prepared data set.
        board: The board; of a row that stands for several seeds the first run is shown.
        count: How many requests; all where there are fewer. A smaller sample of a seed is part of a larger one.
        seed: Of the draw.
        invalid: The policy of the evaluations on the board.

    Raises:
        ArtifactError: If a table is damaged.
    """
    runs = _runs_of(data, board)
    requests = data.artifact.table("requests").filter(pl.col("part") != "valid")
    sample = _draw(requests, count if runs else 0, seed)
    catalog = open_catalog(data)
    relevant, labels = _relevant(data, sample), _ratings(data, sample)
    told: dict[str, Calls] = {}
    notes: dict[str, str] = {}
    for run in runs if count else ():
        if run.facts["kind"] == "language model":
            told[run.path.name], note = load_transcripts(data, run, sample, catalog)
            notes |= {run.path.name: note} if note else {}
    rankings = {
        run.path.name: _rankings(run, sample, relevant, labels, told.get(run.path.name, {}))
        for run in (runs if count else ())
    }
    groups = {by: _groups(data, by) for by in (_FILTERS if not data.labelled and sample.height else ())}
    sampled = [
        Sampled(
            request_id=row["request_id"],
            user_id=row["user_id"],
            history=tuple(row["history"]),
            candidates=tuple(row["candidates"] or ()),
            targets=relevant.get(row["request_id"], ()),
            rankings={name: found[row["request_id"]] for name, found in rankings.items() if row["request_id"] in found},
            groups={by: found[row["request_id"]] for by, found in groups.items() if row["request_id"] in found},
        )
        for row in sample.iter_rows(named=True)
    ]
    titles = {
        item_id: Title(item.title, item.about.strip()) if (item := catalog.items.get(item_id)) else Title(item_id)
        for item_id in _shown_items(sampled)
    }
    facts = data.artifact.facts
    warnings = tuple(map(str, facts.get("warnings", ())))
    biases = position_biases(data, board, invalid)
    return Extra(biases, tuple(sampled), titles, requests.height, seed, notes, facts.get("profile"), warnings)


def _groups(data: Data, by: str) -> dict[str, str]:
    """Return the group of each request that is in one."""
    return dict(group_requests(data, by).drop_nulls("group").select("request_id", "group").iter_rows())


def _runs_of(data: Data, board: Board) -> list[Artifact]:
    """Return the runs of a board, the first of each row."""
    wanted = {row.run for row in board.rows}
    # The trivial rows of labelled requests are no runs, and a board may have no other rows.
    opened = open_runs(data) if not data.labelled or wanted - set(TRIVIAL) else []
    return [run for run in opened if run.path.name in wanted]


def position_biases(data: Data, board: Board, invalid: Invalid) -> dict[str, Mapping[str, Any]]:
    """Return by run what `position_bias` found of the rows of a board; of others than language models nothing.

    Args:
        data: The prepared data set.
        board: The board; of a row that stands for several seeds the first run counts.
        invalid: The policy of the evaluations on the board.

    Raises:
        ArtifactError: If an evaluation is damaged.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for run in [] if data.labelled else _runs_of(data, board):
        usual = evaluations(data, run, [], invalid)[0]
        bias = open_artifact(usual.path, hint="run `llmrs-bench evaluate` again.").facts["bias"]
        found |= {} if bias is None else {run.path.name: bias}
    return found


def _draw(requests: pl.DataFrame, count: int, seed: int) -> pl.DataFrame:
    """Return the requests with the smallest hashes, in the order of the data set."""
    drawn = requests.with_row_index("place").with_columns(
        hash=pl.Series(uniform_hash(seed, requests["request_id"], pl.repeat("report", requests.height, eager=True)))
    )
    return drawn.sort("hash", "place").head(count).sort("place").drop("place", "hash")


def _ratings(data: Data, sample: pl.DataFrame) -> dict[str, float]:
    """Return of the task `rating` the label of each request of a sample."""
    if data.task != RATING:
        return {}
    truth = data.artifact.table("truth").join(sample.select("request_id"), on="request_id", how="semi")
    return dict(truth.select("request_id", "label").iter_rows())


def _relevant(data: Data, sample: pl.DataFrame) -> dict[str, tuple[str, ...]]:
    """Return the targets of each request of a sample: of clicks what was liked, of ratings nothing."""
    if data.task == RATING:
        return {}
    truth = data.artifact.table("truth").filter(pl.col("label") > 0)
    found = truth.join(sample.select("request_id"), on="request_id", how="semi")
    lists = found.group_by("request_id", maintain_order=True).agg("item_id")
    return {name: tuple(items) for name, items in lists.iter_rows()}


def _rankings(
    run: Artifact,
    sample: pl.DataFrame,
    relevant: Mapping[str, Sequence[str]],
    labels: Mapping[str, float],
    told: Calls,
) -> dict[str, Ranked]:
    rows = run.table("rankings").join(sample.select("request_id"), on="request_id", how="semi")
    lists = rows.sort("request_id", "rank").group_by("request_id", maintain_order=True).agg("item_id", "score")
    whole = dict(sample.select("request_id", pl.col("candidates").list.len()).iter_rows())
    found = {}
    for name, items, scores in lists.iter_rows():
        shown = whole[name] or _SHOWN
        ranks = {item_id: rank for rank, item_id in enumerate(items, start=1)}
        calls, asked = told.get(name, ((), 0))
        found[name] = Ranked(
            items=tuple(items[:shown]),
            scores=tuple(scores[:shown]),
            targets={target: ranks.get(target) for target in relevant.get(name, ())},
            calls=calls,
            asked=asked,
            label=labels.get(name),
        )
    return found


def _shown_items(sampled: Sequence[Sampled]) -> list[str]:
    """Return all items of a sample, each once, in the order of their first appearance."""
    return list(
        dict.fromkeys(
            item_id
            for request in sampled
            for items in (
                request.history,
                request.candidates,
                request.targets,
                *(ranking.items for ranking in request.rankings.values()),
            )
            for item_id in items
        )
    )


def save_page(
    path: Path,
    data: Data,
    board: Board,
    config: CompareConfig,
    *,
    requests: int,
    curves: Curves | None = None,
    recipe: str = "",
    index: str = "",
) -> int:
    """Write the board and a sample of requests as a web page, in the place of what is there, and return its bytes.

    Args:
        path: The file; it appears whole or not at all.
        data: The prepared data set.
        board: The board of its runs.
        config: How the board was made; its seed draws the sample.
        requests: The size of the sample.
        curves: Of the board, where they were asked for.
        recipe: The name of the recipe that made it; empty: a command did.
        index: The address of the index of boards that it is one of; empty: of none.

    Raises:
        ArtifactError: If a table is damaged.
        OSError: If the file cannot be written.
    """
    extra = gather(data, board, count=requests, seed=config.seed, invalid=config.invalid)
    made = page_made() + (f", recipe {recipe}" if recipe else "")
    page = to_html(board, replace(extra, curves=curves, made=made, index=index)).encode()
    atomic_write(path, page)
    return len(page)


def page_made() -> str:
    """Return when a page is made, and by which version of the tool."""
    return f"{datetime.now(UTC).strftime('%Y-%m-%d %H:%M UTC')}, llmrs-bench {__version__}"

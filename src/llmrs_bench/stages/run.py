"""Stage `run`: the rows of a recipe, one after the other, and the boards that end it."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np

from llmrs_bench.core.artifacts import Artifact, StageResult
from llmrs_bench.core.config import CLICK, MODELS, PROTOCOLS, LanguageModelConfig
from llmrs_bench.core.errors import ArtifactError, BenchError, BudgetError, OptionError
from llmrs_bench.core.types import Progress
from llmrs_bench.leaderboard.board import PublishedRow, PublishedTable
from llmrs_bench.leaderboard.gate import Gate
from llmrs_bench.leaderboard.transfer import Transfer
from llmrs_bench.llm.cost import Budget, StoppedError
from llmrs_bench.report.words import data_lines
from llmrs_bench.stages.boards import build, to_save
from llmrs_bench.stages.compare import Comparison
from llmrs_bench.stages.fuse import FusionOptions, fuse
from llmrs_bench.stages.gate import gated
from llmrs_bench.stages.infer import infer
from llmrs_bench.stages.judge import JudgeConfig, judge, judgement
from llmrs_bench.stages.lanes import run_rows
from llmrs_bench.stages.prepare import open_or_prepare, prepare
from llmrs_bench.stages.printed import known_as, published_tables
from llmrs_bench.stages.recipe_checks import (
    check_baseline,
    check_board,
    check_prices,
    check_rows,
    naming_keys,
    row_faults,
)
from llmrs_bench.stages.serving import OpenEngine
from llmrs_bench.stages.study import BoardRequest, DataPlan, Key, RowPlan, Study
from llmrs_bench.stages.transfer import transfer
from llmrs_bench.stages.workspace import Data, limit_of, open_data, ranks

log = logging.getLogger(__name__)

PAPER = "arXiv 2401.04997"
OWN_MODEL = "its own model"  # printed = this: the row of the same model, whichever that is
SHARES = ("ndcg@1", "hit@1", "accuracy")  # of requests: their noise follows from the value
_REQUESTS = {"ranking": 200, CLICK: 1000}  # behind each printed value
_WIDE = 1.96  # standard errors of a 95 % interval


@dataclass(slots=True)
class Made:
    """What a study has come to so far.

    Args:
        data: Its data sets, by name.
        runs: The run of each row that is done.
        judgements: What the rows that judge have come to.
        failed: What went wrong with each of the others that were tried.
        stopped: Why it ended before its last row.
    """

    data: dict[str, Data] = field(default_factory=dict)
    runs: dict[Key, Artifact] = field(default_factory=dict)
    judgements: dict[Key, Artifact] = field(default_factory=dict)
    failed: dict[Key, BenchError] = field(default_factory=dict)
    stopped: BudgetError | None = None

    @property
    def done(self) -> int:
        """How many rows are done."""
        return len(self.runs) + len(self.judgements)


@dataclass(frozen=True, slots=True)
class StudyBoard:
    """The board of one data set of a study.

    Args:
        data: The data set.
        comparison: The board and what is behind it.
        gate: Verdicts, where the recipe has rules or a baseline.
    """

    data: Data
    comparison: Comparison
    gate: Gate | None = None


def run_study(
    home: Path,
    study: Study,
    rows: Sequence[RowPlan],
    progress: Progress,
    say: Callable[[str], None],
    *,
    continue_on_error: bool = False,
    budget: Budget | None = None,
) -> Made:
    """Make the runs of a study; those that are there already are opened, and one engine answers for all its rows.

    Args:
        home: Folder of all artifacts.
        study: The recipe.
        rows: Those to run, of `chosen_rows`.
        progress: Shows downloads, trainings and answers.
        say: Told of each row.
        continue_on_error: Whether the other rows are tried where one fails, or its model cannot be had.
        budget: What it may spend; a row that is under way ends, and what it was answered is kept.

    Raises:
        BenchError: If a model cannot be had, or, unless `continue_on_error` is set, a row fails.
    """
    made, asked_for = Made(), rows
    if continue_on_error:
        for row, error in row_faults(rows):
            made.failed[row.data, row.name] = error
            say(f"{_count(made, asked_for)} {row.name}: failed: {error.message}")
        rows = [row for row in rows if (row.data, row.name) not in made.failed]
    else:
        check_rows(rows)
    check_board(home, study, rows)
    check_prices(rows, budget)
    wanted = [plan for plan in study.data if any(plan.name in (row.data, *row.sources) for row in rows)]
    for plan in wanted:
        made.data[plan.name] = _prepared(home, plan, progress, say)
        if plan in study.judged:
            check_baseline(study, plan.name, made.data[plan.name])

    def attempt(row: RowPlan, engines: OpenEngine) -> None:
        label = row.name if len(wanted) == 1 else f"{row.name}, {row.data}"
        try:
            engines.budget.check()
            done = _run(made, row, progress, engines)
        except (BudgetError, StoppedError):
            raise
        except BenchError as error:
            engines.close()  # whatever state it is in
            if not continue_on_error:
                error.message = f"row {row.name}: {error.message}"
                error.args = (error.message,)
                error.hint += (
                    " Finished rows are kept: run the same command to resume. "
                    "--continue-on-error runs the other rows, too."
                )
                raise
            made.failed[row.data, row.name] = error
            say(f"{_count(made, asked_for)} {label}: failed: {error.message}")
            return
        (made.runs if row.judging is None else made.judgements)[row.data, row.name] = done.artifact
        say(f"{_count(made, asked_for)} {label}: {'made' if done.fresh else 'already there'}: {done.name}")
        _warn(done)

    try:
        run_rows(rows, budget or Budget(), attempt)
    except BudgetError as error:
        made.stopped = error
    except KeyboardInterrupt:
        say(f"{made.done} of {len(asked_for)} rows are done and kept")
        raise
    return made


def _count(made: Made, rows: Sequence[RowPlan]) -> str:
    return f"[{made.done + len(made.failed)}/{len(rows)}]"


def _prepared(home: Path, plan: DataPlan, progress: Progress, say: Callable[[str], None]) -> Data:
    if plan.config is None:
        return open_or_prepare(home, plan.reference, progress, say)
    with naming_keys():
        done = prepare(home, plan.reference, plan.config, plan.origin, progress)
    for line in data_lines(done.artifact.facts) if done.fresh else ():
        say(line)
    say(f"{'made' if done.fresh else 'already there'}: {done.name}")
    _warn(done)
    return open_data(home, done.name)


def _warn(done: StageResult) -> None:
    for warning in done.warnings if done.fresh else ():
        log.warning("%s", warning)


def _run(made: Made, row: RowPlan, progress: Progress, engines: OpenEngine) -> StageResult:
    data = made.data[row.data]
    if lost := [name for at, name in row.needs if (at, name) not in made.runs]:
        raise ArtifactError(f"it needs the run of row {lost[0]}, which failed", hint="Run that one first.")
    if row.fused is not None:
        return fuse(data, _fusion(made, row, row.fused))
    if row.judging is not None:
        named = tuple(made.runs[key].path.name for key in row.needs)
        return judge(data, row.judging.model_copy(update={"runs": named}), progress, engines=engines)
    references = {name: there.place.reference for name, there in made.data.items()}
    values = row.with_runs({name: made.runs[at, name].path.name for at, name in row.needs}, references)
    asking = replace(row, values=values)
    if row.tune is not None or not isinstance(row.config, LanguageModelConfig):
        engines.close()  # what learns may need its memory
    if row.tune is not None:
        from llmrs_bench.stages.tune import tune  # brings PyTorch

        tuned = row.tune.model_copy(update={"template_options": values.get("template_options", {})})
        done = tune(made.data[row.tuned_on or row.data], tuned, progress)
        if done is None:
            raise OptionError(
                "`run` works in one process only", hint="Tune with a launcher first; run then finds the model."
            )
        # By its folder it is known in other data sets, too.
        asking = replace(row, values={**values, "model": str(done.artifact.path) if row.tuned_on else done.name})
    config = asking.config
    assert not isinstance(config, FusionOptions | JudgeConfig)  # those are made above
    return infer(data, config, progress, engines=engines)


def _fusion(made: Made, row: RowPlan, options: FusionOptions) -> dict[str, str]:
    """Return the options of a fusion as they are typed, with the names of runs in place of those of rows."""
    typed = {name: str(value) for name, value in options.model_dump(exclude_unset=True).items() if value is not None}
    if row.learned_on is not None:
        typed["learn_on"] = made.data[row.learned_on].place.reference
    return {**typed, "runs": ",".join(made.runs[row.data, name].path.name for name in options.runs)}


def judgements(study: Study, made: Made) -> Iterator[tuple[Key, Artifact, dict[str, Any]]]:
    """Yield the rows that judged, their verdicts, and what these come to: `judge.judgement`, with the names of rows."""
    for row in study.rows:
        found = made.judgements.get((row.data, row.name))
        if found is not None and row.judging is not None:
            facts = judgement(made.data[row.data], found, row.judging)
            names = {made.runs[key].path.name: key[1] for key in row.needs}
            yield (row.data, row.name), found, {**facts, **_renamed({name: facts[name] for name in _NAMING}, names)}


_NAMING = ("contests", "warnings")  # facts of a judgement in which runs have names


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """Return plain values with the names of rows in place of those of runs, in texts, too."""
    if isinstance(value, Mapping):
        return {key: _renamed(each, names) for key, each in value.items()}
    if isinstance(value, list):
        return [_renamed(each, names) for each in value]
    if isinstance(value, str):
        for run, row in names.items():
            value = value.replace(run, row)
    return value


def same_runs(rows: Sequence[RowPlan], made: Made) -> Iterator[tuple[str, str]]:
    """Yield the names of two rows whose options differ and whose prompts and answers do not."""
    seen: dict[tuple[str, ...], str] = {}
    for row in rows:
        run = made.runs.get((row.data, row.name))
        if run is None or "prompts" not in run.manifest.inputs:
            continue
        inputs = run.manifest.inputs
        what = (row.data, inputs["answers"], inputs["prompts"], str(run.manifest.config.get("limit")))
        if what in seen:
            yield row.name, seen[what]
        seen.setdefault(what, row.name)


def boards(study: Study, made: Made) -> Iterator[StudyBoard]:
    """Yield the board of each data set of a study, over the runs that it made; others of the data set are not on it.

    Data sets that fusions learn on, or that models are tuned on alone, have none.

    Raises:
        OptionError: If a rule, a metric or the baseline is wrong.
    """
    asked = study.board
    note = f"recipe {study.name}, {study.digest}: llmrs-bench recipe writes it back from a saved board"
    for name, data in ((plan.name, made.data[plan.name]) for plan in study.judged if plan.name in made.data):
        found = {row: run for (at, row), run in made.runs.items() if at == name and ranks(run)}
        config, limited = asked.config, [run.path.name for run in found.values() if limit_of(run) is not None]
        if limited and data.labelled:
            log.warning("asked with --limit, so on no board of %ss: %s", data.task, ", ".join(limited))
            found = {row: run for row, run in found.items() if limit_of(run) is None}
        elif limited:  # as was asked for; each of these rows says so
            config = config.model_copy(update={"allow_different": tuple({*config.allow_different, "users"})})
        names = list(dict.fromkeys(run.path.name for run in found.values()))
        if not names:
            continue
        rows = [row for row in study.rows if row.data == name]
        sides = {side: _declared(getattr(config, side), rows, found) for side in ("main", "against")}
        config = config.model_copy(update=sides)
        lost = asked.baseline not in found and any(row.name == asked.baseline for row in rows)
        if lost:
            log.warning("the gate judges nothing: its baseline, row %s, has no run", asked.baseline)
        if lost or (asked.baseline is None and not asked.fail_if):
            comparison = build(data, names, config)
            yield StudyBoard(data, comparison.noted([*_verdicts(asked, rows, found, data, comparison), note]))
            continue
        base = asked.baseline if asked.baseline not in found else found[asked.baseline].path.name
        if names == [base]:
            log.warning("the gate judges nothing: the baseline is the only row that was run")
            yield StudyBoard(data, build(data, names, config).noted([note]))
            continue
        comparison, gate = gated(
            data, names, config, baseline=base, rules=asked.fail_if, allow_missing=asked.allow_missing
        )
        yield StudyBoard(data, comparison.noted([*_verdicts(asked, rows, found, data, comparison), note]), gate)


def transferred(study: Study, made: Made) -> Transfer:
    """Return the matrix of what the models of a study were tuned on and asked on.

    Raises:
        OptionError: If no model was tuned on one of its data sets and asked on another.
    """
    runs: dict[str, list[str]] = {plan.name: [] for plan in study.judged}
    for (at, _), run in made.runs.items():
        if at in runs and ranks(run):
            runs[at].append(run.path.name)
    sets = {name: made.data[name] for name, names in runs.items() if names}
    named = {data.place.root.parent.name: runs[name] for name, data in sets.items()}
    return transfer(list(sets.values()), study.board.config, named)


def _declared(names: Sequence[str], rows: Sequence[RowPlan], runs: Mapping[str, Artifact]) -> tuple[str, ...]:
    """Return names of rows of primary comparisons as names of runs, without rows of the recipe that did not run."""
    lost = [name for name in names if name not in runs and any(row.name == name for row in rows)]
    if lost:
        log.warning("not run, so in no primary comparison: %s", ", ".join(lost))
    return tuple(runs[name].path.name if name in runs else name for name in names if name not in lost)


def _verdicts(
    asked: BoardRequest, rows: Sequence[RowPlan], runs: Mapping[str, Artifact], data: Data, comparison: Comparison
) -> list[str]:
    """Return what is to be said of the printed table, where the recipe names one and it has these data."""
    held = [] if asked.table is None else list(_paper_verdicts(asked.table, rows, runs, data, comparison))
    printed = asked.table is None or any(note.startswith(f"{asked.table}, ") for note in held)
    return [*held, *(asked.remarks if printed else ())]


def _paper_verdicts(
    table: str, rows: Sequence[RowPlan], runs: Mapping[str, Any], data: Data, comparison: Comparison
) -> Iterator[str]:
    """Yield a sentence for each row that a paper has, too.

    A difference is inside the noise if its 95 % interval holds 0: that of a printed share of n requests has the
    standard error sqrt(p (1 - p) / n), that of another metric the spread of our own values over n requests, and ours
    its own. Three repeats on the same 200 users, as the paper has them, do not make these any more certain.

    Args:
        table: As the source of printed tables ends, `Table 9`.
        rows: Those of the study on this data set.
        runs: Their runs, by the name of the row.
        data: The data set.
        comparison: The board, and the values behind it.
    """
    config = data.artifact.manifest.config
    protocol = str(config.get("protocol")) if data.labelled else None
    found = [each for each in published_tables(str(config["dataset"]), protocol) if _is_of(each, table)]
    wanted = [row for row in rows if row.printed and row.name in runs]
    if not found:
        if wanted:
            yield f"{table} has no results on {config['dataset']}, so nothing is compared with it"
        return
    differs = _unlike_paper(data, table)
    for row in wanted:
        printed, why = _printed_row(found[0], row)
        if limit_of(runs[row.name]) is not None:
            why = "asked with --limit"
        reasons = [reason for reason in (why, *differs) if reason]
        values = "" if printed is None else _beside_printed(found[0], printed, row, runs, comparison, held=not reasons)
        yield f"{table}, {row.name}: {values}" + (f"not comparable: {'; '.join(reasons)}" if reasons else "")


def _is_of(printed: PublishedTable, table: str) -> bool:
    return printed.source.startswith(PAPER) and printed.source.endswith(f", {table}")


def _printed_row(table: PublishedTable, row: RowPlan) -> tuple[PublishedRow | None, str]:
    """Return the printed row that a row stands beside, and why it is of another model, if it is."""
    names = [each for each in table.rows if row.printed in (OWN_MODEL, each.model, each.setting)]
    model = str(row.values["model"])
    own = [each for each in names if known_as(each) == model]
    if own:
        return own[0], ""
    if not names:
        return None, f"{table.source} has no such row"
    models = " or ".join(dict.fromkeys(each.model for each in names)) if row.printed != OWN_MODEL else "other models"
    closed = "" if any(map(known_as, names)) else ", whose weights are not published and whose server has changed"
    return (names[0] if len(names) == 1 else None), f"printed of {models}{closed}; this is {model}"


def _unlike_paper(data: Data, table: str) -> list[str]:
    """Return in which options data differ from what the paper says of its own."""
    config = data.artifact.manifest.config
    wanted: dict[str, Any] = {"candidates": "random", "split": "leave-one-out", "min_rating": None, "k_core": 0}
    if data.task == CLICK:
        wanted = {"protocol": "paper-ctr"}
    elif config["candidates"].startswith(MODELS):
        wanted |= {"candidates": config["candidates"], "n_candidates": 20}
    else:
        wanted |= {name: value for name, value in PROTOCOLS["paper"].items() if name not in ("users", "history")}
    if table != "Figure 3" and data.task != CLICK:
        wanted["history"] = 10
    given = {name: config.get(name, wanted[name]) for name in wanted}
    return [f"{name} is {given[name]}, in the paper {value}" for name, value in wanted.items() if given[name] != value]


def _beside_printed(
    table: PublishedTable,
    printed: PublishedRow,
    row: RowPlan,
    runs: Mapping[str, Any],
    comparison: Comparison,
    *,
    held: bool,
) -> str:
    """Return ours beside what is printed, metric by metric, each with its verdict where they are `held` against it."""
    matrix, words = comparison.matrix, []
    at = next(place for place, line in enumerate(matrix.lines) if runs[row.name].path.name in line.runs)
    count = _REQUESTS[CLICK if "accuracy" in table.metrics else "ranking"]
    for metric, value in zip(table.metrics, printed.values, strict=True):
        cell = comparison.board.rows[at].cells.get(metric)
        if value is None or cell is None:
            continue
        own = matrix.values[metric][at]
        spread = float(np.nanstd(own)) if metric in matrix.values else 0.0
        error = sqrt(value * (1 - value) / count) if metric in SHARES else spread / sqrt(count)
        ours = 0.0 if cell.low is None or cell.high is None else (cell.high - cell.low) / (2 * _WIDE)
        half = _WIDE * sqrt(error**2 + ours**2)
        verdict = f", {'inside' if abs(cell.mean - value) <= half else 'outside'} the noise of +-{_short(half)}"
        words.append(f"{metric} {_short(cell.mean)} (printed {_short(value)}{verdict if held else ''})")
    return ", ".join(words) + ("" if held or not words else "; ")


def _short(value: float) -> str:
    return f"{value:.4f}".removeprefix("0")


def save_study_board(study: Study, board: StudyBoard, path: Path) -> None:
    """Save a board with the recipe that made it.

    Raises:
        OSError: If it cannot be written.
    """
    to_save(board.data, board.comparison, study.board.config, study.text).write(path)

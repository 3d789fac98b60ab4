"""Stage `run`: the rows of a recipe, one after the other, and the boards that end it."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from llmrs_bench.core.artifacts import Artifact, StageResult
from llmrs_bench.core.config import CLICK, LanguageModelConfig, PrepareConfig
from llmrs_bench.core.errors import ArtifactError, BenchError, BudgetError, OptionError
from llmrs_bench.core.types import Progress
from llmrs_bench.leaderboard.gate import Gate
from llmrs_bench.llm.cost import Budget
from llmrs_bench.metrics import parse_metrics
from llmrs_bench.metrics.clicks import parse_click_metrics
from llmrs_bench.stages.compare import Comparison
from llmrs_bench.stages.forecast import Forecast, forecast
from llmrs_bench.stages.gate import build, gated, to_save
from llmrs_bench.stages.infer import check_known, check_model, infer
from llmrs_bench.stages.prepare import open_or_prepare, prepare
from llmrs_bench.stages.prompt import open_plan
from llmrs_bench.stages.recipe import BoardRequest, DataPlan, RowPlan, Study
from llmrs_bench.stages.serving import OpenEngine
from llmrs_bench.stages.verdicts import verdicts
from llmrs_bench.stages.workspace import Data, Reference, limit_of, open_data, ranks, variants

log = logging.getLogger(__name__)
Key = tuple[str, str]  # names of a data set and of a row


@dataclass(slots=True)
class Made:
    """What a study has come to so far.

    Args:
        data: Its data sets, by name.
        runs: The run of each row that is done.
        failed: What went wrong with each of the others that were tried.
        stopped: Why it ended before its last row.
    """

    data: dict[str, Data] = field(default_factory=dict)
    runs: dict[Key, Artifact] = field(default_factory=dict)
    failed: dict[Key, BenchError] = field(default_factory=dict)
    stopped: BudgetError | None = None


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


def check_rows(rows: Sequence[RowPlan], *, looked_up: bool = True) -> None:
    """Look whether all models and templates of a study can be had, before the first of them is asked anything.

    Args:
        rows: The rows.
        looked_up: Whether models are looked up on the Hugging Face hub, too; else their names alone have to be known.

    Raises:
        BenchError: Naming all rows for which that is not so.
    """
    faults: dict[str, tuple[BenchError, list[str]]] = {}
    for row in rows:
        try:
            config = row.config
            if looked_up:
                check_model(config)
            if isinstance(config, LanguageModelConfig):
                check_known(config)
                open_plan(config.prompt)
        except BenchError as error:
            faults.setdefault(f"{error.message}{error.hint}", (error, []))[1].append(row.name)
    if not faults:
        return
    first = next(iter(faults.values()))[0]
    said = "; ".join(f"{error.message} (rows: {', '.join(names)})" for error, names in faults.values())
    failure = type(first) if len({type(error) for error, _ in faults.values()}) == 1 else OptionError
    raise failure(f"nothing was run: {said}", hint=" ".join(dict.fromkeys(error.hint for error, _ in faults.values())))


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
        continue_on_error: Whether rows after one that fails are tried.
        budget: What it may spend; a row that is under way ends, and what it was answered is kept.

    Raises:
        BenchError: If a model cannot be had, or, unless `continue_on_error` is set, a row fails.
    """
    check_rows(rows)
    _check_board(study)
    for config in (row.config for row in rows):
        if budget is not None and isinstance(config, LanguageModelConfig):
            budget.check_prices(config.options)
    made = Made()
    wanted = [plan for plan in study.data if any(row.data == plan.name for row in rows)]
    for plan in wanted:
        made.data[plan.name] = _prepared(home, plan, progress, say)
    with closing(OpenEngine(budget)) as engines:
        try:
            for number, row in enumerate(rows, 1):
                label = row.name if len(wanted) == 1 else f"{row.name}, {row.data}"
                said = f"[{number}/{len(rows)}] {label}"
                try:
                    engines.budget.check()
                    done = _run(made, row, progress, engines)
                except BudgetError as error:
                    made.stopped = error
                    break
                except BenchError as error:
                    engines.close()  # whatever state it is in
                    if not continue_on_error:
                        error.message = f"row {row.name}: {error.message}"
                        error.args = (error.message,)
                        error.hint += (
                            " What is done stays; the same command goes on. --continue-on-error tries the rest."
                        )
                        raise
                    made.failed[row.data, row.name] = error
                    say(f"{said}: failed: {error.message}")
                    continue
                made.runs[row.data, row.name] = done.artifact
                say(f"{said}: {'made' if done.fresh else 'already there'}: {done.name}")
                _warn(done)
        except KeyboardInterrupt:
            say(f"{len(made.runs)} of {len(rows)} rows are done and kept")
            raise
    return made


def _check_board(study: Study) -> None:
    """Refuse a metric that nobody knows before anything is asked."""
    wanted = study.board.config.metrics or ()
    for config in (plan.config for plan in study.data if plan.config is not None and wanted):
        if config.task == CLICK:
            parse_click_metrics(wanted)
        else:
            parse_metrics(wanted)


def _prepared(home: Path, plan: DataPlan, progress: Progress, say: Callable[[str], None]) -> Data:
    if plan.config is None:
        return open_or_prepare(home, plan.reference, progress, say)
    done = prepare(home, plan.reference, plan.config, plan.origin, progress)
    say(f"{'made' if done.fresh else 'already there'}: {done.name}")
    _warn(done)
    return open_data(home, done.name)


def _warn(done: StageResult) -> None:
    for warning in done.warnings if done.fresh else ():
        log.warning("%s", warning)


def _run(made: Made, row: RowPlan, progress: Progress, engines: OpenEngine) -> StageResult:
    data = made.data[row.data]
    if lost := [name for name in row.needs if (row.data, name) not in made.runs]:
        raise ArtifactError(f"it shows what row {lost[0]} wrote, and that failed", hint="Run that one first.")
    values = row.with_runs({name: made.runs[row.data, name].path.name for name in row.needs})
    asking = replace(row, values=values)
    if row.tune is not None or not isinstance(row.config, LanguageModelConfig):
        engines.close()  # what learns may need its memory
    if row.tune is not None:
        from llmrs_bench.stages.tune import tune  # brings PyTorch

        tuned = row.tune.model_copy(update={"template_options": values.get("template_options", {})})
        done = tune(data, tuned, progress)
        if done is None:
            raise OptionError("run makes one process", hint="Tune with a launcher first; run then finds the model.")
        asking = replace(row, values={**values, "model": done.name})
    return infer(data, asking.config, progress, engines=engines)


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

    Raises:
        OptionError: If a rule, a metric or the baseline is wrong.
    """
    asked = study.board
    note = f"recipe {study.name}, {study.digest}: llmrs-bench recipe writes it back from a saved board"
    for name, data in made.data.items():
        found = {row: run for (at, row), run in made.runs.items() if at == name and ranks(run)}
        config, limited = asked.config, [run.path.name for run in found.values() if limit_of(run) is not None]
        if limited and data.task == CLICK:
            log.warning("asked with --limit, so on no board of clicks: %s", ", ".join(limited))
            found = {row: run for row, run in found.items() if limit_of(run) is None}
        elif limited:  # as was asked for; each of these rows says so
            config = config.model_copy(update={"allow_different": tuple({*config.allow_different, "users"})})
        names = list(dict.fromkeys(run.path.name for run in found.values()))
        if not names:
            continue
        rows = [row for row in study.rows if row.data == name]
        if asked.baseline is None and not asked.fail_if:
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


def _verdicts(
    asked: BoardRequest, rows: Sequence[RowPlan], runs: Mapping[str, Artifact], data: Data, comparison: Comparison
) -> list[str]:
    """Return what is to be said of the printed table, where the recipe names one and it has these data."""
    held = [] if asked.table is None else list(verdicts(asked.table, rows, runs, data, comparison))
    printed = asked.table is None or any(note.startswith(f"{asked.table}, ") for note in held)
    return [*held, *(asked.remarks if printed else ())]


def save_study_board(study: Study, board: StudyBoard, path: Path) -> None:
    """Save a board with the recipe that made it.

    Raises:
        OSError: If it cannot be written.
    """
    to_save(board.data, board.comparison, study.board.config, study.text).write(path)


@dataclass(frozen=True, slots=True)
class RowForecast:
    """What a row will ask.

    Args:
        row: The row.
        asked: What it asks; None where that is not known yet.
        why: Why it is not.
    """

    row: RowPlan
    asked: Forecast | None
    why: str = ""


def forecast_study(home: Path, study: Study, rows: Sequence[RowPlan]) -> Iterator[RowForecast]:
    """Yield what each row will ask; nothing is downloaded, loaded or asked.

    Raises:
        BenchError: As `run_study`.
    """
    check_rows(rows, looked_up=False)
    data = {plan.name: _known_data(home, plan) for plan in study.data}
    for row in rows:
        config, there = row.config, data[row.data]
        if not isinstance(config, LanguageModelConfig):
            yield RowForecast(row, None, "trained here; no prompts")
        elif row.tune is not None:
            yield RowForecast(row, None, f"tuned first, on {row.tune.samples} samples")
        elif row.needs:
            yield RowForecast(row, None, f"shows what {' and '.join(row.needs)} wrote")
        elif there is None:
            yield RowForecast(row, None, "the data set is not prepared yet")
        else:
            yield RowForecast(row, forecast(there, config))


def _known_data(home: Path, plan: DataPlan) -> Data | None:
    """Return the data set as it was prepared before; None: it was not."""
    asked = Reference.parse(plan.reference)
    found = [
        open_data(home, f"{asked.dataset}@{name}")
        for name in variants(home, asked.dataset)
        if asked.variant is None or name.startswith(asked.variant)
    ]
    if plan.config is None:
        return found[0] if len(found) == 1 else None
    fits = [data for data in found if _chosen(data.artifact.manifest.config) == _chosen(_options(plan.config))]
    return fits[0] if len(fits) == 1 else None


def _options(config: PrepareConfig) -> Mapping[str, Any]:
    return config.result_options


def _chosen(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options without what `prepare` adds to them."""
    return {key: value for key, value in options.items() if key not in ("item_word", "candidates")}

"""The gate: a board compared with a run or a saved board, and checked against rules."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from llmrs_bench.core.artifacts import Artifact
from llmrs_bench.core.config import CompareConfig
from llmrs_bench.core.errors import OptionError
from llmrs_bench.leaderboard.comparability import differences, refuse_differences
from llmrs_bench.leaderboard.gate import (
    Baseline,
    Counterpart,
    Gate,
    check_rules,
    judge,
    judged_lines,
    measured_requests,
    named_line,
    parse_rule,
    quantities,
    saved_baseline,
)
from llmrs_bench.leaderboard.saved import Saved, read_board
from llmrs_bench.metrics.names import METRIC_FORMS, Metric
from llmrs_bench.stages.boards import build, protocol_of
from llmrs_bench.stages.compare import Comparison
from llmrs_bench.stages.evaluate import CHANCE
from llmrs_bench.stages.evaluate_labelled import METRICS_OF, has_runs
from llmrs_bench.stages.workspace import Data, called, limit_of, not_inferred, open_runs


def gated(
    data: Data,
    names: Sequence[str],
    config: CompareConfig,
    *,
    baseline: str | None,
    rules: Sequence[str],
    allow_missing: bool = False,
) -> tuple[Comparison, Gate]:
    """Build the board, and hold its rows against a baseline and against rules, where there are any.

    Judged are the runs that were named; without names all rows but chance, popularity and random. The baseline is a run
    of the same data set, the same for all, or a saved board, whose row of the same name each row is compared with.

    Args:
        data: The prepared data set.
        names: Names of runs, or their first characters; none means all.
        config: Metrics, bootstrap, tests.
        baseline: A run, or the path of a saved board.
        rules: When the gate fails, as typed.
        allow_missing: Whether rows may be on one of both boards alone, and damaged runs on none.

    Raises:
        OptionError: If a rule cannot be read or judged, or the baseline is unknown.
        ArtifactError: If the file is no saved board.
        IncomparableError: If the saved board measures something else.
    """
    parsed = [parse_rule(rule) for rule in rules]
    saved = read_board(Path(baseline)) if baseline is not None and _is_file(baseline) else None
    notes = [] if saved is None else _differing(data, str(baseline), saved, config)
    run = baseline if saved is None else None
    if run is not None and (named := [each.path.name for each in _runs(data) if called(each) == run]):
        run = named[0]
    more = [run] if names and run and run != CHANCE else []
    comparison = build(data, [*names, *more], config)
    if baseline is None and not rules:
        return comparison, Gate()
    board, matrix = comparison.board, comparison.matrix
    for rule in parsed:
        if rule.name not in quantities(board.metrics) and _is_metric(data, rule.name):
            raise OptionError(
                f"--fail-if {rule.text!r}: {rule.name} is not on this leaderboard",
                hint=f"Add it: --metrics {','.join([*board.metrics, rule.name])}.",
            )
    check_rules(parsed, board.metrics, tested=matrix.values, baseline=baseline is not None)
    if run is not None and any(name.startswith(run) for name in comparison.missing):
        raise OptionError(f"--baseline {run} is not on the board: it is damaged", hint="The warnings say what to do.")
    if run is not None:
        _check_there(data, run, [name for line in matrix.lines for name in line.runs])
    base = None if run is None else named_line(run, matrix.lines)
    judged = [line for line in judged_lines(matrix.lines, names) if line is not base]
    if not judged:
        raise OptionError(
            "the gate has no row to judge",
            hint=f"Damaged: {', '.join(comparison.missing)}." if comparison.missing else "Name one with --run.",
        )
    against = Baseline()
    if saved is not None:
        comparison = comparison.noted(notes)
        against = saved_baseline(str(baseline), saved, judged, matrix, names)
    elif base is not None:
        at = matrix.lines.index(base)
        values = {m: matrix.values[m][at] for m in board.metrics if m in matrix.values}
        own = Counterpart(board.rows[at], values, measured_requests(values[board.key]))
        against = Baseline(str(baseline), {line.run: own for line in judged})
        comparison = replace(comparison, board=replace(board, baseline=base.run))
    runs = [line.run for line in judged]
    made = judge(
        board,
        matrix,
        runs,
        parsed,
        against,
        seed=config.seed,
        off_board=comparison.missing,
        allow_missing=allow_missing,
    )
    return comparison, made


def _is_metric(data: Data, name: str) -> bool:
    """Return whether a leaderboard of the data can have a metric.

    Raises:
        OptionError: If a metric has the name, but not this cutoff.
    """
    if data.labelled:
        return name in METRICS_OF[data.task].names
    bases = {form.partition("@")[0] for form in METRIC_FORMS}
    return name.partition("@")[0] in bases and str(Metric.parse(name)) == name


def _check_there(data: Data, name: str, shown: Sequence[str]) -> None:
    """Refuse a baseline that is on no row, and say how it gets there.

    Raises:
        OptionError: If that is so.
    """
    if any(run.startswith(name) for run in shown):
        return
    runs = _runs(data)
    if any(run.path.name.startswith(name) and limit_of(run) is not None for run in runs):
        raise OptionError(
            f"--baseline {name} is not on the board: it was asked with --limit",
            hint="--allow-different users shows it; or infer it without --limit.",
        )
    given = [called_so for run in runs if (called_so := called(run))]
    raise not_inferred(name, [*shown, *given], data.place.reference, where=" in --baseline")


def _differing(data: Data, baseline: str, saved: Saved, config: CompareConfig) -> list[str]:
    """Return in what a saved board differs from those of the data, where it is allowed to.

    Raises:
        IncomparableError: Naming the fields that differ and are not allowed to.
    """
    found = differences(saved.protocol, protocol_of(data, config.invalid))
    notes = refuse_differences(found, config.allow_different, one=baseline, other=data.place.reference)
    if data.labelled and "users" in found:
        metric = METRICS_OF[data.task].board[0]
        notes.append(f"changes of {metric} are approximate: each board has its values of users from all its own users")
    return notes


def _runs(data: Data) -> list[Artifact]:
    return open_runs(data) if has_runs(data) else []


def _is_file(baseline: str) -> bool:
    """Return whether a baseline is meant as the path of a saved board."""
    return baseline.endswith(".parquet") or Path(baseline).is_file()

"""A board of labelled rows: values of users whose means are the metrics, and intervals from resamples of users."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrs_bench.core.errors import OptionError
from llmrs_bench.leaderboard.board import Board, EvaluatedRun
from llmrs_bench.leaderboard.build import BoardPlan, TableBlock, assemble, group_places, row_order
from llmrs_bench.leaderboard.matrix import ScoreMatrix, by_seed, line_of
from llmrs_bench.metrics.labelled import LabelledRows, UserInterval, user_intervals, value

ANSWERED = "answered"


@dataclass(frozen=True, slots=True)
class LabelledEntry:
    """One run that wants onto a board of labelled rows.

    Args:
        entry: What is known of it; it has no values by request. `about["answered"]` is the share of rows that it gave
            a score.
        requests: The request of each of its rows.
        rows: What is measured.
    """

    entry: EvaluatedRun
    requests: pl.Series
    rows: LabelledRows


def build_labelled_board(
    entries: Sequence[LabelledEntry],
    users: Sequence[str],
    plan: BoardPlan,
    *,
    main_metric: str,
    title: str,
    protocol: Sequence[str],
    notes: Sequence[str],
) -> tuple[Board, ScoreMatrix]:
    """Put runs onto one board, sorted by `main_metric` or else the first; also return the values of users behind it.

    Paired tests flip the signs of users: of their values as `LabelledRows.per_user` has them.

    Args:
        entries: The runs; those that differ by their seed alone share a row.
        users: The user of each number in `LabelledRows.users`.
        plan: Metrics, resamples, tests; groups are of requests. A metric that no run has is left out, and said.
        main_metric: The metric that orders its rows.
        title: Of the board.
        protocol: What stands above it.
        notes: What stands below it.

    Raises:
        OptionError: If no run has any of the metrics, or no request is in a group.
    """
    lines = _lines(entries)
    lacking = [name for name in plan.metrics if not any(_measures(each.rows, name) for each in entries)]
    if len(lacking) == len(plan.metrics):
        raise OptionError(
            f"no row of the board has {' or '.join(lacking)}",
            hint="Calibrated and tuned metrics need validation rows; log-loss, ece and accuracy need probabilities.",
        )
    plan = replace(plan, metrics=tuple(name for name in plan.metrics if name not in lacking))
    key = plan.key(main_metric)
    order = row_order(_matrix(lines, users, plan.metrics), key, plan.sign(key))
    lines = [lines[place] for place in order]
    first = _block("", "", lines, users, plan)
    blocks, dropped = [first[0]], first[1]
    requests = list(dict.fromkeys(name for each in entries for name in each.requests))
    for group, places in group_places(requests, plan).items():
        chosen = pl.Series([requests[place] for place in places])
        blocks.append(
            _block(plan.by, group, [[_within(each, chosen) for each in line] for line in lines], users, plan)[0]
        )
    found = [
        *notes,
        *([f"no row of the board has {', '.join(lacking)}"] if lacking else []),
        *(
            f"{name}: {100 * share:.2g} % of the resamples held rows of one label only, and were left out"
            for name, share in dropped.items()
        ),
    ]
    return assemble(blocks, plan, key=key, title=title, protocol=protocol, notes=found), blocks[0].matrix


def _measures(rows: LabelledRows, metric: str) -> bool:
    return rows.has(metric) and not np.isnan(value(rows, metric))


def _within(entry: LabelledEntry, requests: pl.Series) -> LabelledEntry:
    chosen = entry.requests.is_in(requests.implode())
    return replace(entry, requests=entry.requests.filter(chosen), rows=entry.rows.only(chosen.to_numpy()))


def _lines(entries: Sequence[LabelledEntry]) -> list[list[LabelledEntry]]:
    known = {each.entry.run: each for each in entries}
    return [[known[run.run] for run in group] for group in by_seed([each.entry for each in entries])]


def _block(
    by: str, group: str, lines: Sequence[Sequence[LabelledEntry]], users: Sequence[str], plan: BoardPlan
) -> tuple[TableBlock, Mapping[str, float]]:
    """Return a block, and by metric the largest share of resamples that had no value, where any had none."""
    rows = [[each.rows for each in line] for line in lines]
    found = user_intervals(rows, plan.metrics, samples=plan.samples, seed=plan.seed)
    none = UserInterval(float("nan"), float("nan"), 0.0)
    ends: dict[str, NDArray[np.float64]] = {}
    dropped: dict[str, float] = {}
    for metric in plan.metrics:
        intervals = [line.get(metric, none) for line in found]
        ends[metric] = np.array([[each.low, each.high] for each in intervals])
        if share := max(each.dropped for each in intervals):
            dropped[metric] = share
    asked = len(np.unique(np.concatenate([each.users for line in rows for each in line])))
    requests = len({name for line in lines for each in line for name in each.requests})
    return TableBlock(by, group, _matrix(lines, users, plan.metrics), ends, asked, requests), dropped


def _matrix(lines: Sequence[Sequence[LabelledEntry]], users: Sequence[str], metrics: Sequence[str]) -> ScoreMatrix:
    """Return for each metric the values of users (lines, users), the mean over seeds where there are several."""
    values = {metric: np.full((len(lines), len(users)), np.nan) for metric in (*metrics, ANSWERED)}
    made = []
    for place, line in enumerate(lines):
        means: dict[str, tuple[float, ...]] = {}
        for metric in metrics:
            if all(each.rows.has(metric) for each in line):
                values[metric][place] = np.mean([each.rows.per_user(metric) for each in line], axis=0)
                means[metric] = tuple(value(each.rows, metric) for each in line)
        values[ANSWERED][place] = np.mean([each.entry.about.get(ANSWERED, 1.0) for each in line])
        made.append(line_of([each.entry for each in line], means))
    return ScoreMatrix(tuple(users), tuple(made), values)

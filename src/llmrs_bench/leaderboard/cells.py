"""The cells of a board: means, intervals, and tests against the best row of each metric."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from llmrs_bench.errors import IncomparableError
from llmrs_bench.leaderboard.plan import Plan
from llmrs_bench.leaderboard.sheet import Line, Sheet
from llmrs_bench.leaderboard.values import Cell, Contrast
from llmrs_bench.stats import CORRECTIONS, all_pairs, bootstrap_interval, describe, sign_flip


@dataclass(frozen=True, slots=True)
class Block:
    """The columns of a sheet that stand together: all requests, or those of a group."""

    by: str
    group: str
    places: NDArray[np.intp]


Table: TypeAlias = list[dict[str, Cell]]


def fill_tables(sheet: Sheet, blocks: Sequence[Block], plan: Plan) -> tuple[list[Table], int, int]:
    """Return for each block the cells of each line, the number of tests, and that of permutations."""
    pairs = all_pairs(len(sheet.lines))
    metrics = [metric for metric in plan.metrics if metric in sheet.values]
    tests = pairs.shape[0] * len(metrics) * len(blocks)
    permutations = plan.resamples(tests)
    stacks = [np.stack([sheet.values[metric] for metric in metrics])[:, :, block.places] for block in blocks]
    p = np.stack([sign_flip(stack, pairs, samples=permutations, seed=plan.seed) for stack in stacks])
    corrected = CORRECTIONS[plan.correction](p)
    places = {(int(i), int(j)): number for number, (i, j) in enumerate(pairs)}
    tables = []
    for stack, own, adjusted in zip(stacks, p, corrected, strict=True):
        flat = stack.reshape(-1, stack.shape[2])
        ends = bootstrap_interval(flat, samples=plan.samples, seed=plan.seed).reshape(*stack.shape[:2], 2)
        table: Table = [{} for _ in sheet.lines]
        for number, metric in enumerate(metrics):
            tested = {pair: (float(own[number, at]), float(adjusted[number, at])) for pair, at in places.items()}
            _fill(table, sheet.lines, metric, stack[number], ends[number], tested, plan.sign(metric))
        tables.append(table)
    return tables, tests, permutations


def _fill(
    table: Table,
    lines: Sequence[Line],
    metric: str,
    values: NDArray[np.float64],
    ends: NDArray[np.float64],
    tested: Mapping[tuple[int, int], tuple[float, float]],
    sign: float,
) -> None:
    """Add the cells of one metric; lines without a value get none."""
    counts = (~np.isnan(values)).sum(1)
    means = {at: float(np.nanmean(values[at])) for at in range(len(values)) if counts[at]}
    best = max(means, key=lambda at: sign * means[at], default=None) if sign else None
    for at, mean in means.items():
        line = lines[at]
        low, high = (mean, mean) if line.exact else (float(ends[at, 0]), float(ends[at, 1]))
        known = line.exact or (counts[at] > 1 and not isnan(low))
        versus = (
            None if best in (None, at) else _contrast(values, lines, at, best, tested[min(at, best), max(at, best)])
        )
        table[at][metric] = Cell(
            mean=mean,
            low=low if known else None,
            high=high if known else None,
            rank=1 + sum(sign * other > sign * mean for other in means.values()) if sign else 0,
            versus=versus,
        )


def _contrast(
    values: NDArray[np.float64], lines: Sequence[Line], at: int, best: int, tested: tuple[float, float]
) -> Contrast:
    found = describe(values[at], values[best])
    if not found.users:
        raise IncomparableError(
            f"{lines[at].run} and {lines[best].run} have no request in common",
            hint="Leave one of them out with --run.",
        )
    return Contrast(
        lines[best].run,
        found.difference,
        *tested,
        found.effect,
        found.wins,
        found.ties,
        found.losses,
        found.users,
        found.needed,
    )


def figures(sheet: Sheet, plan: Plan) -> Table:
    """Return for each line the cells of metrics of whole runs: ranked, without interval or test."""
    table: Table = [{} for _ in sheet.lines]
    for metric in (metric for metric in plan.metrics if metric not in sheet.values):
        sign, means = plan.sign(metric), [float(np.mean(line.means[metric])) for line in sheet.lines]
        for cells, mean in zip(table, means, strict=True):
            rank = 1 + sum(sign * other > sign * mean for other in means) if sign else 0
            cells[metric] = Cell(mean, None, None, rank=rank)
    return table


def with_spread(line: Line, cells: Mapping[str, Cell]) -> dict[str, Cell]:
    """Add the standard deviation over seeds, where there are several."""
    if len(line.runs) == 1:
        return dict(cells)
    return {name: replace(cell, spread=float(np.std(line.means[name], ddof=1))) for name, cell in cells.items()}

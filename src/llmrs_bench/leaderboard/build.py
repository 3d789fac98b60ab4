"""A sheet of values to a board: intervals, tests against the best rows, groups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isnan

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrs_bench.errors import IncomparableError, OptionError
from llmrs_bench.leaderboard.cost import COST_WORDS, cost_of, with_front
from llmrs_bench.leaderboard.sheet import Line, Sheet, make_sheet
from llmrs_bench.leaderboard.values import (
    ALPHA,
    SHARES,
    SIGN,
    Board,
    Cell,
    Contrast,
    Direction,
    Entry,
    Row,
    Section,
)
from llmrs_bench.stats import CORRECTIONS, all_pairs, bootstrap_interval, describe, sign_flip

# The smallest p is 1/(permutations + 1): so many permutations for each test leave room below .05 after a correction.
_PER_TEST = 25
_FEWEST, _MOST = 10_000, 1_000_000
_CORRECTION_WORDS = {"holm": "Holm", "bh": "Benjamini-Hochberg", "none": "no correction"}


@dataclass(frozen=True, slots=True)
class Plan:
    """How a board is made.

    Args:
        metrics: Names of the columns.
        samples: Resamples of the bootstrap.
        seed: Of resamples and permutations.
        permutations: Sign vectors of the tests; None: 25 for each test, at least 10,000 and at most 1,000,000.
        correction: `holm`, `bh` or `none`.
        by: What `groups` groups requests by.
        groups: Rows (request_id, group, order); None: no groups are shown.
        directions: Which values of a metric are better; more is, where it is silent.
    """

    metrics: tuple[str, ...]
    samples: int = 2000
    seed: int = 0
    permutations: int | None = None
    correction: str = "holm"
    by: str = ""
    groups: pl.DataFrame | None = None
    directions: Mapping[str, Direction] = field(default_factory=dict)

    def sign(self, metric: str) -> float:
        """Return 1 where more of a metric is better, -1 where less is, 0 where neither is."""
        return SIGN[self.directions.get(metric, "higher")]


@dataclass(frozen=True, slots=True)
class _Block:
    """The columns of a sheet that stand together: all requests, or those of a group."""

    by: str
    group: str
    places: NDArray[np.intp]


def build_board(
    entries: Sequence[Entry], plan: Plan, *, title: str, protocol: Sequence[str], notes: Sequence[str]
) -> tuple[Board, Sheet]:
    """Put runs onto one board, sorted by `ndcg@10` or else the first metric; also return the values behind its rows.

    Intervals are percentile bootstrap intervals over users, from the same resamples for all rows. The best row of a
    metric is chosen by looking, so p-values are corrected for all pairs of rows, not for those with the best alone:
    of twenty copies of one row the best and the worst would else differ on every fourth board.

    Raises:
        OptionError: If a metric was not measured, or groups hold none of the requests.
        ArtifactError: If a value is not a number.
        IncomparableError: If two rows have no request in common.
    """
    sheet = make_sheet(entries, plan.metrics)
    key = "ndcg@10" if "ndcg@10" in plan.metrics else plan.metrics[0]
    sheet = sheet.ordered(_order(sheet, key, plan.sign(key)))
    blocks = [_Block("", "", np.arange(len(sheet.requests))), *_groups(sheet, plan)]
    tables, tests, permutations = _tables(sheet, blocks, plan)
    whole = [
        _row(line, _with_spread(line, cells), sheet, place, blocks[0])
        for place, (line, cells) in enumerate(zip(sheet.lines, tables[0], strict=True))
    ]
    rows, pareto_by = with_front(whole, key, plan.sign(key))
    sections = [
        Section(
            block.by,
            block.group,
            len(block.places),
            tuple(
                _row(line, cells, sheet, place, block)
                for place, (line, cells) in enumerate(zip(sheet.lines, table, strict=True))
                if cells
            ),
        )
        for block, table in zip(blocks[1:], tables[1:], strict=True)
    ]
    board = Board(
        title=title,
        protocol=(*protocol, *_explained(plan, tests, permutations, pareto_by)),
        metrics=plan.metrics,
        rows=tuple(rows),
        notes=(*notes, *_coverage_notes(sheet, plan, key), *_power_notes(plan, tests, permutations)),
        key=key,
        pareto_by=pareto_by,
        correction=plan.correction,
        tests=tests,
        permutations=permutations,
        sections=tuple(sections),
        directions=plan.directions,
    )
    return board, sheet


def _order(sheet: Sheet, key: str, sign: float) -> list[int]:
    means = [
        -(sign or 1.0) * float(np.nanmean(row)) if (~np.isnan(row)).any() else float("inf") for row in sheet.values[key]
    ]
    lines = sheet.lines
    return sorted(range(len(lines)), key=lambda at: (means[at], lines[at].model, lines[at].setting, lines[at].run))


def _groups(sheet: Sheet, plan: Plan) -> list[_Block]:
    if plan.groups is None:
        return []
    index = pl.DataFrame({"request_id": sheet.requests}).with_row_index("place")
    found = plan.groups.join(index, on="request_id").drop_nulls("group").sort("order", "group", "place")
    if not found.height:
        raise OptionError(
            f"--by {plan.by}: none of the {len(sheet.requests):,} requests is in a group",
            hint="Choose another grouping; this data set does not know what this one needs.",
        )
    return [
        _Block(plan.by, str(name), part["place"].to_numpy().astype(np.intp))
        for (name,), part in found.group_by(["group"], maintain_order=True)
    ]


Table = list[dict[str, Cell]]


def _tables(sheet: Sheet, blocks: Sequence[_Block], plan: Plan) -> tuple[list[Table], int, int]:
    """Return for each block the cells of each line, the number of tests, and that of permutations."""
    pairs = all_pairs(len(sheet.lines))
    tests = pairs.shape[0] * len(plan.metrics) * len(blocks)
    permutations = plan.permutations or min(max(_FEWEST, _PER_TEST * tests), _MOST)
    stacks = [np.stack([sheet.values[metric] for metric in plan.metrics])[:, :, block.places] for block in blocks]
    p = np.stack([sign_flip(stack, pairs, samples=permutations, seed=plan.seed) for stack in stacks])
    corrected = CORRECTIONS[plan.correction](p)
    places = {(int(i), int(j)): number for number, (i, j) in enumerate(pairs)}
    tables = []
    for stack, own, adjusted in zip(stacks, p, corrected, strict=True):
        flat = stack.reshape(-1, stack.shape[2])
        ends = bootstrap_interval(flat, samples=plan.samples, seed=plan.seed).reshape(*stack.shape[:2], 2)
        table: Table = [{} for _ in sheet.lines]
        for number, metric in enumerate(plan.metrics):
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


def _with_spread(line: Line, cells: Mapping[str, Cell]) -> dict[str, Cell]:
    if len(line.runs) == 1:
        return dict(cells)
    return {name: replace(cell, spread=float(np.std(line.means[name], ddof=1))) for name, cell in cells.items()}


def _row(line: Line, cells: Mapping[str, Cell], sheet: Sheet, place: int, block: _Block) -> Row:
    kinds = line.about.get("kinds") or {}
    total = sum(kinds.values())
    there = [values[place, block.places] for values in sheet.values.values()]
    return Row(
        run=line.run,
        model=line.model,
        kind=line.kind,
        setting=line.setting,
        cells=cells,
        shares={share: _mean(sheet.values[share][place, block.places]) for share in SHARES},
        exact=line.exact,
        about=line.about,
        seeds=len(line.runs),
        users=max((int((~np.isnan(values)).sum()) for values in there), default=0),
        kinds={kind: count / total for kind, count in kinds.items()},
        cost=cost_of(line.about),
    )


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else 0.0


def _explained(plan: Plan, tests: int, permutations: int, pareto_by: str) -> list[str]:
    return [
        f"95 % percentile bootstrap over users, {plan.samples:,} samples",
        f"=: not distinguishable from the best of its column (paired sign-flip test, {permutations:,} permutations, "
        f"{_CORRECTION_WORDS[plan.correction]} over all {tests:,} pairs, p >= {ALPHA:g})",
        f"*: on the Pareto front of quality and {COST_WORDS[pareto_by]}",
    ]


def _coverage_notes(sheet: Sheet, plan: Plan, key: str) -> list[str]:
    """Say which rows were measured on fewer requests; tests use those that both rows have."""
    notes = ["one request: no interval, and every p is 1"] if len(sheet.requests) == 1 else []
    for line, values in zip(sheet.lines, sheet.values[key], strict=True):
        if missing := int(np.isnan(values).sum()):
            notes.append(
                f"{line.label}: {key} over {values.size - missing:,} of {values.size:,} requests; "
                "tests use the requests both rows have"
            )
    return notes


def _power_notes(plan: Plan, tests: int, permutations: int) -> list[str]:
    if plan.correction == "none" or tests < ALPHA * (permutations + 1):
        return []
    return [
        f"{permutations:,} permutations may not tell rows apart among {tests:,} tests: the smallest p is "
        f"{1 / (permutations + 1):.1g}. Add --permutations {_PER_TEST * tests}"
    ]

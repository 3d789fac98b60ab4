"""A sheet of values to a board: intervals, tests against the best rows, groups."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrs_bench.errors import OptionError
from llmrs_bench.leaderboard.cells import Block, figures, fill_tables, with_spread
from llmrs_bench.leaderboard.cost import cost_of, with_front
from llmrs_bench.leaderboard.plan import Plan, coverage_notes, explained, power_notes, server_notes
from llmrs_bench.leaderboard.sheet import Line, Sheet, make_sheet
from llmrs_bench.leaderboard.values import (
    SHARES,
    Board,
    Cell,
    Entry,
    Row,
    Section,
)


def build_board(
    entries: Sequence[Entry], plan: Plan, *, title: str, protocol: Sequence[str], notes: Sequence[str]
) -> tuple[Board, Sheet]:
    """Put runs onto one board, sorted by `ndcg@10` or else the first metric; also return the values behind its rows.

    Intervals are percentile bootstrap intervals over users, from the same resamples for all rows. The best row of a
    metric is chosen by looking, so p-values are corrected for all pairs of rows, not for those with the best alone:
    of twenty copies of one row some would else differ from the best on one board in six (benchmarks/calibration.py).

    Raises:
        OptionError: If a metric was not measured or cannot order rows, or groups hold none of the requests.
        ArtifactError: If a value is not a number.
        IncomparableError: If two rows have no request in common.
    """
    sheet = make_sheet(entries, plan.metrics)
    key = "ndcg@10" if "ndcg@10" in plan.metrics else plan.metrics[0]
    if key not in sheet.values:
        raise OptionError(f"no row can be ordered by {key}, a figure of whole runs", hint="Name another metric first.")
    sheet = sheet.ordered(_order(sheet, key, plan.sign(key)))
    blocks = [Block("", "", np.arange(len(sheet.requests))), *_groups(sheet, plan)]
    tables, tests, permutations = fill_tables(sheet, blocks, plan)
    whole_runs = figures(sheet, plan)
    whole = [
        _row(line, with_spread(line, cells | whole_runs[place]), sheet, place, blocks[0])
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
        protocol=(*protocol, *explained(plan, tests, permutations, pareto_by)),
        metrics=plan.metrics,
        rows=tuple(rows),
        notes=(
            *(*notes, *server_notes(sheet), *coverage_notes(sheet, plan, key)),
            *power_notes(plan, tests, permutations),
        ),
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


def _groups(sheet: Sheet, plan: Plan) -> list[Block]:
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
        Block(plan.by, str(name), part["place"].to_numpy().astype(np.intp))
        for (name,), part in found.group_by(["group"], maintain_order=True)
    ]


def _row(line: Line, cells: Mapping[str, Cell], sheet: Sheet, place: int, block: Block) -> Row:
    kinds = line.about.get("kinds") or {}
    total = sum(kinds.values())
    there = [values[place, block.places] for name, values in sheet.values.items() if name not in SHARES]
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

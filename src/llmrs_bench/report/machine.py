"""A board for machines: CSV and JSON, with everything that is known of every row."""

import json
from dataclasses import asdict
from typing import Any

import polars as pl

from llmrs_bench.core.costs import COST_NAMES
from llmrs_bench.leaderboard.board import Board, Cell, Row
from llmrs_bench.report.headline import headline
from llmrs_bench.report.table import answer_words


def to_json(board: Board) -> str:
    """Return the whole board as JSON."""
    value = {
        "title": board.title,
        "scope": board.scope,
        "headline": headline(board),
        "protocol": list(board.protocol),
        "metrics": list(board.metrics),
        "key": board.key,
        "correction": board.correction,
        "tests": board.tests,
        "permutations": board.permutations,
        "pareto_by": board.pareto_by,
        "primary": None
        if board.family is None
        else {**asdict(board.family), "shown": list(map(asdict, board.primary))},
        "differences": list(map(asdict, board.differences)),
        "variance": [asdict(each) | {"largest": each.largest, "lever": each.lever} for each in board.spreads],
        "rows": [nested(row) for row in board.rows],
        "groups": [
            {
                "by": section.by,
                "group": section.group,
                "users": section.users,
                "requests": section.requests,
                "rows": [measured(row) for row in section.rows],
            }
            for section in board.sections
        ],
        "published": [asdict(table) for table in board.published],
        "notes": list(board.notes),
    }
    return json.dumps(value, indent=2, ensure_ascii=False)


def to_csv(board: Board) -> str:
    """Return one line per row, and one per row and group.

    For each metric there are `METRIC`, `METRIC_low`, `METRIC_high`, `METRIC_spread`, `METRIC_rank`, and from the
    comparison with the best row `METRIC_difference`, `METRIC_p`, `METRIC_corrected` and so on. `by` and `group` are
    empty for the whole board, whose users and candidates `scope` has. Printed tables are no part of it.
    """
    scope = {"scope": board.scope}
    lines = [{"by": "", "group": "", **scope, **_flat(row, board.metrics)} for row in board.rows]
    for section in board.sections:
        group = {"by": section.by, "group": section.group, **scope}
        lines += [{**group, **_flat(row, board.metrics)} for row in section.rows]
    columns = list(dict.fromkeys(name for line in lines for name in line))
    frame = pl.DataFrame([{name: line.get(name) for name in columns} for line in lines], infer_schema_length=None)
    return frame.write_csv().rstrip("\n")


def nested(row: Row) -> dict[str, Any]:
    """Return all that is known of a row, ready for JSON."""
    return {
        **measured(row),
        "kind": row.kind,
        "setting": row.setting,
        "exact": row.exact,
        "seeds": row.seeds,
        "pareto": row.pareto,
        "cost": costs(row),
        **row.about,
        "kinds": dict(row.kinds),
        "answers": answer_words(row),
    }


def costs(row: Row) -> dict[str, Any]:
    """Return all that is known of the cost of a row."""
    return {**asdict(row.cost), "tokens": row.cost.tokens}


def measured(row: Row) -> dict[str, Any]:
    """Return what was measured for a row, ready for JSON."""
    return {
        "run": row.run,
        "model": row.model,
        "setting": row.setting,
        "users": row.users,
        "metrics": {metric: _cell(cell) for metric, cell in row.cells.items()},
        **row.shares,
    }


def _cell(cell: Cell) -> dict[str, Any]:
    values = asdict(cell)
    versus = values.pop("versus")
    return {**values, "as_good_as_best": cell.as_good, "versus": versus}


def _flat(row: Row, metrics: tuple[str, ...]) -> dict[str, Any]:
    values = nested(row)
    cells, kinds, cost = values.pop("metrics"), values.pop("kinds"), values.pop("cost")
    about = {name: values.pop(name) for name in row.about if name in values}
    flat = dict(values)
    for metric in metrics:
        cell = cells.get(metric, {})
        versus = cell.get("versus") or {}
        versus |= {f"difference_{end}": versus.get(end) for end in ("low", "high")}
        flat[metric] = cell.get("mean")
        flat |= {f"{metric}_{name}": cell.get(name) for name in ("low", "high", "spread", "rank")}
        flat |= {f"{metric}_{name}": versus.get(name) for name in _VERSUS}
    flat |= {name: cost[name] for name in COST_NAMES if name not in row.about}
    flat |= {f"kind_{name}": share for name, share in kinds.items()}
    return {**flat, **{name: _plain(value) for name, value in about.items()}}


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict) else value


_VERSUS = (
    *("against", "difference", "p", "corrected", "primary", "effect", "wins", "ties", "losses", "users", "needed"),
    *("difference_low", "difference_high"),
)

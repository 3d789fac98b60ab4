"""A board for machines: CSV and JSON, with everything that is known of every row."""

import json
from typing import Any

import polars as pl

from llmrs_bench.leaderboard import Board, Row


def to_json(board: Board) -> str:
    """Return the whole board as JSON."""
    value = {
        "title": board.title,
        "protocol": list(board.protocol),
        "metrics": list(board.metrics),
        "rows": [_nested(row) for row in board.rows],
        "notes": list(board.notes),
    }
    return json.dumps(value, indent=2, ensure_ascii=False)


def to_csv(board: Board) -> str:
    """Return one line per row, with `METRIC`, `METRIC_low`, `METRIC_high` and `METRIC_spread` for each metric."""
    return pl.DataFrame([_flat(row) for row in board.rows], infer_schema_length=None).write_csv().rstrip("\n")


def _nested(row: Row) -> dict[str, Any]:
    return {
        "run": row.run,
        "model": row.model,
        "kind": row.kind,
        "setting": row.setting,
        "exact": row.exact,
        "seeds": row.seeds,
        "metrics": {
            metric: {"mean": cell.mean, "low": cell.low, "high": cell.high, "spread": cell.spread}
            for metric, cell in row.cells.items()
        },
        **row.shares,
        **row.about,
    }


def _flat(row: Row) -> dict[str, Any]:
    nested = _nested(row)
    cells = nested.pop("metrics")
    about = {key: nested.pop(key) for key in row.about}
    about = {key: json.dumps(value) if isinstance(value, list) else value for key, value in about.items()}
    values = {f"{metric}{end}": cell[key] for metric, cell in cells.items() for end, key in _ENDS}
    return {**nested, **values, **about}


_ENDS = (("", "mean"), ("_low", "low"), ("_high", "high"), ("_spread", "spread"))

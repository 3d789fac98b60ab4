"""Rows of a study against those that a paper printed: inside their noise, outside, or not comparable and why."""

from collections.abc import Iterator, Mapping, Sequence
from math import sqrt
from typing import Any

import numpy as np

from llmrs_bench.core.config import CLICK, MODELS, PROTOCOLS
from llmrs_bench.leaderboard.board import PublishedRow, PublishedTable
from llmrs_bench.stages.compare import Comparison
from llmrs_bench.stages.printed import known_as, published_tables
from llmrs_bench.stages.study import RowPlan
from llmrs_bench.stages.workspace import Data, limit_of

PAPER = "arXiv 2401.04997"
OWN_MODEL = "its own model"  # printed = this: the row of the same model, whichever that is
SHARES = ("ndcg@1", "hit@1", "accuracy")  # of requests: their noise follows from the value
_REQUESTS = {"ranking": 200, CLICK: 1000}  # behind each printed value
_WIDE = 1.96  # standard errors of a 95 % interval


def verdicts(
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
            yield f"{table}: nothing is printed of {config['dataset']}, so nothing is held against it"
        return
    differs = _differences(data, table)
    for row in wanted:
        printed, why = _printed_row(found[0], row)
        if limit_of(runs[row.name]) is not None:
            why = "asked with --limit"
        reasons = [reason for reason in (why, *differs) if reason]
        values = "" if printed is None else _values(found[0], printed, row, runs, comparison, held=not reasons)
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


def _differences(data: Data, table: str) -> list[str]:
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


def _values(
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

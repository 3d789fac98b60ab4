"""Trends over saved boards, as a terminal table, Markdown, CSV and JSON."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict

import polars as pl
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from llmrs_bench.leaderboard.history import History, Point
from llmrs_bench.report.markdown import escape
from llmrs_bench.report.numbers import interval, p_value

_EXPLAINED = (
    "jump: paired sign-flip test on common requests, Holm over all steps, p < 0.05; or intervals that are apart"
)


def history_table(history: History) -> Group:
    """Return the trends, one line for each board, row and metric."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("row, metric", overflow="fold", min_width=14)
    table.add_column("board, versions", overflow="fold")
    for name in ("mean", "change", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    for trend in history.trends:
        for number, point in enumerate(trend.points):
            first = Text.assemble((trend.row, "bold"), f"\n  {trend.metric}") if not number else Text("")
            made = Text.assemble(f"{point.made[:10]} {point.board}", "\n", (point.versions, "dim"))
            mean = Text.assemble(f"{point.cell.mean:.4f}", "\n", (interval(point.cell, _exact(point)), "dim"))
            change = Text.assemble(_change(point), ("\njump" if point.jump else "", "bold red"))
            table.add_row(first, made, mean, change, "" if point.p is None else p_value(point.p))
    head = Text.assemble((history.title, "bold"), "\n", (_EXPLAINED, "dim"))
    return Group(head, table, *(Text(note, "yellow") for note in history.notes))


def _exact(point: Point) -> bool:
    return point.cell.low == point.cell.high == point.cell.mean


def _change(point: Point) -> str:
    return "" if point.difference is None else f"{point.difference:+.4f}"


def history_markdown(history: History) -> str:
    """Return the trends as a Markdown table."""
    heads = ["row", "metric", "date", "board", "versions", "mean", "change", "p", ""]
    lines = [f"**{history.title}**: {_EXPLAINED}", "", f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    for trend in history.trends:
        for point in trend.points:
            p = "" if point.p is None else p_value(point.p)
            ends = "" if point.cell.low is None else f" [{point.cell.low:.4f}, {point.cell.high:.4f}]"
            fields = [
                *(escape(trend.row), trend.metric, point.made[:10], escape(point.board), escape(point.versions)),
                *(f"{point.cell.mean:.4f}{ends}", _change(point), p, "**jump**" if point.jump else ""),
            ]
            lines.append(f"| {' | '.join(fields)} |")
    return "\n".join([*lines, *(f"\n{escape(note)}" for note in history.notes)])


def history_csv(history: History) -> str:
    """Return one line for each board, row and metric."""
    lines = [
        {
            "row": trend.row,
            "metric": trend.metric,
            "made": point.made,
            "board": point.board,
            "versions": point.versions,
            "mean": point.cell.mean,
            "low": point.cell.low,
            "high": point.cell.high,
            "difference": point.difference,
            "p": point.p,
            "jump": point.jump,
        }
        for trend in history.trends
        for point in trend.points
    ]
    return pl.DataFrame(lines, infer_schema_length=None).write_csv().rstrip("\n")


def history_json(history: History) -> str:
    """Return all that is known of the trends as JSON."""
    return json.dumps(asdict(history), indent=2, ensure_ascii=False)


HISTORY_FORMATS: Mapping[str, Callable[[History], str]] = {
    "markdown": history_markdown,
    "csv": history_csv,
    "json": history_json,
}

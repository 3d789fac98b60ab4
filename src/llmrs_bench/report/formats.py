"""Boards as text: a terminal table, Markdown, CSV, JSON, LaTeX."""

from collections.abc import Callable, Mapping

from llmrs_bench.leaderboard.board import Board
from llmrs_bench.report.latex import to_latex
from llmrs_bench.report.machine import to_csv, to_json
from llmrs_bench.report.markdown import to_markdown

FORMATS: Mapping[str, Callable[[Board], str]] = {
    "markdown": to_markdown,
    "csv": to_csv,
    "json": to_json,
    "latex": to_latex,
}

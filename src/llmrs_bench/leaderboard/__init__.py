"""The board: a row for each run with means, intervals, tests and cost; chance and popularity are always among them."""

from llmrs_bench.leaderboard.build import build_board
from llmrs_bench.leaderboard.plan import Plan
from llmrs_bench.leaderboard.sheet import Line, Sheet
from llmrs_bench.leaderboard.values import (
    ALPHA,
    Board,
    Cell,
    Contrast,
    Cost,
    Entry,
    PublishedRow,
    PublishedTable,
    Row,
    Section,
)

__all__ = [
    "ALPHA",
    "Board",
    "Cell",
    "Contrast",
    "Cost",
    "Entry",
    "Line",
    "Plan",
    "PublishedRow",
    "PublishedTable",
    "Row",
    "Section",
    "Sheet",
    "build_board",
]

"""The board: a row for each run with means, intervals, tests and cost; chance and popularity are always among them."""

from llmrs_bench.leaderboard.board import (
    ALPHA,
    BOUND,
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
from llmrs_bench.leaderboard.build import Line, Plan, Sheet, build_board

__all__ = [
    "ALPHA",
    "BOUND",
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

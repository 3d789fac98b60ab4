"""The board: a row for each run with means, intervals, tests and cost; chance and popularity are always among them."""

from llmrs_bench.leaderboard.board import (
    ALPHA,
    BOUND,
    Board,
    Cell,
    Cost,
    EvaluatedRun,
    PublishedRow,
    PublishedTable,
    Row,
    Section,
)
from llmrs_bench.leaderboard.build import BoardPlan, build_board
from llmrs_bench.leaderboard.family import Contrast
from llmrs_bench.leaderboard.matrix import RunScores, ScoreMatrix

__all__ = [
    "ALPHA",
    "BOUND",
    "Board",
    "BoardPlan",
    "Cell",
    "Contrast",
    "Cost",
    "EvaluatedRun",
    "PublishedRow",
    "PublishedTable",
    "Row",
    "RunScores",
    "ScoreMatrix",
    "Section",
    "build_board",
]

"""A made-up site of two boards, one of which has changed over time."""

from dataclasses import replace

import numpy as np

from board_cases import board, entry
from llmrs_bench.leaderboard.comparability import FIELDS, EvaluationProtocol
from llmrs_bench.leaderboard.saved import Saved
from llmrs_bench.leaderboard.trends import build_history
from llmrs_bench.report.html import SiteBoard, site_html

USERS = 60
LM = "language model"
ENDING = "</script><img src=x onerror=alert(1)>"


def saved(level: float, made: str) -> Saved:
    easy = np.random.default_rng(3).random(USERS) / 4
    rows = [
        entry("lm", level + easy, kind=LM, model="lm", about={"requests": USERS, "seconds": 6.0}),
        entry("knn", 0.5 + easy),
    ]
    found, matrix = board([*rows, entry("chance", np.full(USERS, 0.2), kind="baseline", exact=True)])
    digests = np.zeros(USERS, dtype=np.uint64)
    protocol = EvaluationProtocol(dict.fromkeys(FIELDS, ""), matrix.requests, digests, digests)
    return Saved(replace(found, title="films@paper"), matrix, protocol, made, {"llmrs-bench": "1"})


def made_site(*, history: bool = True) -> str:
    """Return the index of both boards; without its history that of a site that is made for the first time."""
    times = [saved(0.3, "2026-01-02T00:00:00+00:00"), saved(0.6, "2026-02-03T00:00:00+00:00")]
    changed = build_history([(each.made, each) for each in times], None, allowed=(), seed=0)
    over = (times, changed) if history else (times[-1:], None)
    films = SiteBoard(times[-1].board, "boards/films@paper.html", "rankings", "60 users", times[-1].made, *over)
    alone = replace(board([entry("knn", np.random.default_rng(1).random(USERS))])[0], title=f"books@{ENDING}")
    books = SiteBoard(alone, "boards/books.html", "rankings", "60 users", "2026-01-01")
    return site_html([films, books], made="today", notes=["music@x is not here: it is damaged"])

"""Entries of made-up runs on click data, for tests of boards."""

from typing import Any

import numpy as np
import polars as pl

from llmrs_bench.core.schemas import METRICS
from llmrs_bench.leaderboard import Board, BoardPlan, EvaluatedRun, ScoreMatrix
from llmrs_bench.leaderboard.labelled import LabelledEntry, build_labelled_board
from llmrs_bench.metrics.clicks import ClickRows, sigmoid

USERS = 30


def click_entry(run: str, noise: float, seed: int = 0, *, odds: bool = True, **more: Any) -> LabelledEntry:
    """Return the entry of a run whose scores are the labels and noise."""
    generator = np.random.default_rng(7)
    user = np.repeat(np.arange(USERS), 8).astype(np.intp)
    labels = generator.random(len(user)) < 0.5
    scores = labels + noise * np.random.default_rng(seed).normal(size=len(user))
    raw = sigmoid(scores) if odds else None
    rows = ClickRows(user, USERS, labels, scores, raw, sigmoid(scores - 0.5), 0.5)
    about = {"requests": len(user), "seconds": 1.0, "answered": 0.9, "seed": seed, **more.pop("about", {})}
    options = {"model": run, "kind": "recommender", "setting": "", **more}
    found = EvaluatedRun(run=run, metrics=pl.DataFrame(schema=METRICS), about=about, **options)
    return LabelledEntry(found, pl.Series([f"r{at}" for at in range(len(user))]), rows)


def click_board(
    entries: list[LabelledEntry], metrics: tuple[str, ...] = ("auc", "uauc", "log-loss"), **plan: Any
) -> tuple[Board, ScoreMatrix]:
    """Return a board with few resamples."""
    options: dict[str, Any] = {"samples": 200, "permutations": 1000, "unit": "rows", **plan}
    users = [f"u{number}" for number in range(USERS)]
    made = BoardPlan(metrics, directions={"log-loss": "lower"}, **options)
    return build_labelled_board(entries, users, made, main_metric="auc", title="made up", protocol=["p"], notes=[])

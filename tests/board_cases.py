"""Entries of made-up runs, for tests of boards."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from llmrs_bench.core.schemas import METRICS
from llmrs_bench.leaderboard import Board, BoardPlan, EvaluatedRun, ScoreMatrix, build_board


def frame(
    values: Mapping[str, Sequence[float] | np.ndarray[Any, Any]], requests: Sequence[str] | None = None
) -> pl.DataFrame:
    """Return a frame of the schema `metrics`; coverage and answered are 1 unless given."""
    size = len(next(iter(values.values())))
    names = list(requests or [f"r{number:04d}" for number in range(size)])
    whole = {"coverage": np.ones(size), "answered": np.ones(size), **values}
    rows = [
        (name, metric, float(value))
        for metric, column in whole.items()
        for name, value in zip(names, column, strict=True)
    ]
    return pl.DataFrame(rows, schema=METRICS, orient="row")


def entry(run: str, values: Any, *, requests: Sequence[str] | None = None, **more: Any) -> EvaluatedRun:
    """Return an entry whose only metric is ndcg@10, or those of a mapping."""
    metrics = values if isinstance(values, Mapping) else {"ndcg@10": values}
    options = {"model": run, "kind": "recommender", "setting": "", "about": {"requests": 1, "seconds": 1.0}} | more
    return EvaluatedRun(run=run, metrics=frame(metrics, requests), **options)


def board(
    entries: Sequence[EvaluatedRun], metrics: Sequence[str] = ("ndcg@10",), **plan: Any
) -> tuple[Board, ScoreMatrix]:
    """Return a board with few resamples."""
    options = {"samples": 200, "permutations": 2000} | plan
    return build_board(entries, BoardPlan(tuple(metrics), **options), title="made up", protocol=["p"], notes=[])

"""Entries of made-up runs that differ in a number, for tests of curves."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from board_cases import entry
from llmrs_bench.leaderboard import BoardPlan, EvaluatedRun
from llmrs_bench.leaderboard.board import Factors
from llmrs_bench.leaderboard.build_curves import build_curves
from llmrs_bench.leaderboard.curves import Curves

USERS = 400


def around(mean: float, seed: int = 0, users: int = USERS) -> np.ndarray[Any, Any]:
    """Return values of users that differ, and whose mean is exactly this."""
    noise = np.random.default_rng(seed).normal(0.0, 0.1, users)
    found: np.ndarray[Any, Any] = mean + noise - noise.mean()
    return found


def tuned(samples: int, mean: float, *, rank: int = 8, seed: int = 0, **more: Any) -> EvaluatedRun:
    """Return the run of a model tuned on some samples; an untyped rank is 8."""
    words = {"template": "label", **({"rank": f"rank={rank}"} if rank != 8 else {})}
    numbers = {"samples": float(samples), "rank": float(rank), "history": 10.0}
    factors = Factors("smol+lora", words, numbers, seed=str(seed or ""), engine="transformers")
    return entry(
        f"smol-{samples}-{rank}-{seed}",
        around(mean, samples + rank + seed),
        model=f"smol+lora-{samples}",
        kind="language model",
        setting=", ".join(words.values()),
        factors=factors,
        **more,
    )


def trained(
    model: str, mean: float, *, words: Mapping[str, Any] | None = None, seed: int = 0, **more: Any
) -> EvaluatedRun:
    """Return the run of a recommender; without words it learned from everything."""
    said = {name: f"{name}={value}" for name, value in (words or {}).items()}
    typed = {name.replace("train_samples", "samples"): value for name, value in (words or {}).items()}
    numbers = {name: float(value) for name, value in typed.items() if name != "train_by"} or {"train_fraction": 1.0}
    factors = Factors(model, said, numbers, whole=not words, seed=str(seed or ""))
    run = "-".join([model, *said.values(), str(seed)])
    options: dict[str, Any] = {"model": model, "setting": ", ".join(said.values()), "factors": factors, **more}
    return entry(run, around(mean, len(run) + 31 * seed), **options)


def curves(
    entries: Sequence[EvaluatedRun], over: str = "samples", metrics: tuple[str, ...] = ("ndcg@10",), **plan: Any
) -> Curves:
    """Return the curves of entries, with few resamples."""
    made = BoardPlan(metrics, **({"samples": 400, "permutations": 2000} | plan))
    users = sorted({name for each in entries for name in each.metrics["request_id"]})
    return build_curves(entries, users, over, made, title="made up", protocol=["p"], shown=metrics[:1], notes=[])

"""What a board comes to: its best language model beside the best of everything else, and what lies between them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmrs_bench.stats import CORRECTIONS, bootstrap_interval, describe

if TYPE_CHECKING:
    from llmrs_bench.leaderboard.build import BoardPlan
    from llmrs_bench.leaderboard.matrix import RunScores, ScoreMatrix

LANGUAGE_MODEL, FUSION, OTHER, CHANCE = "language model", "fusion", "other", "chance"


@dataclass(frozen=True, slots=True)
class Gap:
    """What lies between the best language model and the best other row.

    Args:
        difference: Mean of language model - other, on the users both have.
        low: The lower end of its 95 % interval; None of one user.
        high: The upper end.
        p: Of the paired sign-flip test, corrected for all pairs of a language model and such an other row.
        pairs: How many these are.
        users: Users both have.
        needed: Users of whom as many show this difference with a power of 80 % at .05; None: no number would.
    """

    difference: float
    low: float | None
    high: float | None
    p: float
    pairs: int
    users: int
    needed: int | None


@dataclass(frozen=True, slots=True)
class Headline:
    """What a board comes to, in the metric that orders its rows.

    Args:
        language_model: The run of the best language model.
        other: The run of the best row that is no language model and no fusion: a recommender, an import or a baseline.
        fusion: The run of the best fusion.
        gap: Between the first two, where there are both.
    """

    language_model: str | None
    other: str | None
    fusion: str | None
    gap: Gap | None = None


def find_headline(
    matrix: "ScoreMatrix", key: str, p: Mapping[tuple[int, int], float], plan: "BoardPlan"
) -> Headline | None:
    """Return the best rows of a board in a metric, and the difference of the best language model from the best other.

    The best other is the best row that is no language model, no fusion, no bound and not chance: a trained recommender,
    an imported run or a baseline. Both are chosen by looking, so the p is corrected for all pairs of a language model
    and such a row in this metric: a family of its own, which rows for ablations alone and other metrics do not widen.

    Args:
        matrix: The values of the rows, the best first.
        key: The metric.
        p: Of the paired sign-flip test of each pair of places (i, j), i < j, by itself.
        plan: Its correction; its resamples, of which the interval of the paired difference is made.

    Returns:
        None where nothing orders rows, or no row has a value.
    """
    values = matrix.values[key]
    places: dict[str, list[int]] = {LANGUAGE_MODEL: [], OTHER: [], FUSION: []}
    for at, line in enumerate(matrix.lines):
        if (kind := _kind(line)) and not np.isnan(values[at]).all():
            places[kind].append(at)
    ours, other, fusion = (next(iter(found), None) for found in places.values())
    if not plan.sign(key) or (ours is None and other is None):
        return None
    best, rest, fused = (None if at is None else matrix.lines[at].run for at in (ours, other, fusion))
    found = Headline(best, rest, fused)
    if ours is None or other is None:
        return found
    difference = describe(values[ours], values[other], matrix.users)
    if not difference.users:
        return found
    family = [(min(i, j), max(i, j)) for i in places[LANGUAGE_MODEL] for j in places[OTHER]]
    corrected = CORRECTIONS[plan.correction](np.array([p[pair] for pair in family]))
    low, high = _interval(values[ours] - values[other], matrix.users, samples=plan.samples, seed=plan.seed)
    gap = Gap(
        difference=difference.difference,
        low=low,
        high=high,
        p=float(corrected[family.index((min(ours, other), max(ours, other)))]),
        pairs=len(family),
        users=difference.users,
        needed=difference.needed,
    )
    return replace(found, gap=gap)


def _kind(line: "RunScores") -> str:
    if line.kind in (LANGUAGE_MODEL, FUSION):
        return line.kind
    return "" if line.is_bound or line.model == CHANCE else OTHER


def _interval(
    drawn: NDArray[np.float64], users: NDArray[np.intp] | None, *, samples: int, seed: int
) -> tuple[float | None, float | None]:
    """Return both ends of the interval of a mean difference; None of one user."""
    there = ~np.isnan(drawn)
    if len(np.unique(there.nonzero()[0] if users is None else users[there])) < 2:
        return None, None
    low, high = bootstrap_interval(drawn[None], samples=samples, seed=seed, clusters=users)[0]
    return float(low), float(high)

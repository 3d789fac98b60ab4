"""The values that curves are made of: points, lines, and where one reaches another."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from llmrs_bench.leaderboard.board import Cell

Outcome: TypeAlias = Literal["below", "crosses", "none"]


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """The runs of a curve at one value.

    Args:
        x: The value.
        runs: Their names; several differ by their seed alone, and their values are averaged user by user.
        cell: Mean, 95 % interval over users, and the standard deviation over seeds.
        users: On how many users (rankings: requests) it was measured.
        difference: Mean difference to the first point of the curve, on the users both have; None for that itself.
        p: Of the paired sign-flip test of this difference.
        corrected: The same, corrected for all points of all curves of the metric.
    """

    x: float
    runs: tuple[str, ...]
    cell: Cell
    users: int
    difference: float | None = None
    p: float | None = None
    corrected: float | None = None


@dataclass(frozen=True, slots=True)
class Curve:
    """Runs that differ in one number alone, by a metric, in the order of the number."""

    metric: str
    label: str
    kind: str
    points: tuple[CurvePoint, ...]


@dataclass(frozen=True, slots=True)
class Level:
    """A row that does not vary: a horizontal line."""

    metric: str
    label: str
    kind: str
    runs: tuple[str, ...]
    cell: Cell
    users: int
    exact: bool


@dataclass(frozen=True, slots=True)
class Crossing:
    """Where a curve first reaches another curve, or a line, from below (with a metric of which less is better, above).

    Args:
        metric: Of both.
        curve: The label of the curve.
        other: The label of what it reaches.
        first: The least value of both, from which on they are compared.
        last: The largest value of both.
        at: Where they meet; minus infinity where the curve is not below at `first`, infinity where it is at `last`.
        low: The lower end of the 95 % interval of `at`, likewise; NaN where nothing could be resampled.
        high: Its upper end.
        shares: Of resamples that were not below at `first`, that crossed, and that never did.
    """

    metric: str
    curve: str
    other: str
    first: float
    last: float
    at: float
    low: float
    high: float
    shares: tuple[float, float, float]


def outcome(at: float) -> Outcome:
    """Return what a place of a crossing says."""
    return "below" if at == -np.inf else "none" if at == np.inf else "crosses"


@dataclass(frozen=True, slots=True)
class Curves:
    """All curves of a board over one number.

    Args:
        title: Of the board.
        over: The name of the number.
        logarithmic: Whether its values span a decade, so that pictures show their logarithm.
        metrics: In the order of the board.
        shown: The metrics that a text shows; machines get all.
        protocol: What stands above.
        curves: By metric, those with the most points first.
        levels: By metric, the best first.
        crossings: By metric.
        notes: What stands below.
    """

    title: str
    over: str
    logarithmic: bool
    metrics: tuple[str, ...]
    shown: tuple[str, ...]
    protocol: tuple[str, ...]
    curves: tuple[Curve, ...]
    levels: tuple[Level, ...]
    crossings: tuple[Crossing, ...]
    notes: tuple[str, ...] = ()

"""The values that curves are made of: points, lines, and where one reaches another."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from llmrs_bench.leaderboard.board import Cell

# Numbers of requests, not of runs: the window of time, and how many events of a new user are shown.
WINDOW, KNOWN = "window", "known_events"
# Numbers that count something: between two of them nothing can be.
COUNTS = frozenset({WINDOW, KNOWN, "samples", "train_samples", "train_events", "max_users", "history", "rank", "top"})
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
        cost: What the board weighs quality against, mean over the runs; None: not known.
        unseen: Whether all its requests are later than the release of the language model, which cannot know them.
    """

    x: float
    runs: tuple[str, ...]
    cell: Cell
    users: int
    difference: float | None = None
    p: float | None = None
    corrected: float | None = None
    cost: float | None = None
    unseen: bool = False


@dataclass(frozen=True, slots=True)
class Curve:
    """Runs that differ in one number alone, by a metric, in the order of the number.

    Over time, `released` is the day on which a language model came out, and `cutoff` the month in which its data end,
    where they are known.
    """

    metric: str
    label: str
    kind: str
    points: tuple[CurvePoint, ...]
    released: str = ""
    cutoff: str = ""


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
        whole: Whether the number is a count: `at` and its ends are read as the next whole number then.
        below: The numbers of points behind `at` at which the curve is below again.
        least: The least value that the number can have.
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
    whole: bool = False
    below: tuple[float, ...] = ()
    least: float = 0.0


@dataclass(frozen=True, slots=True)
class Slope:
    """By how much a row changes from one window to the next, or by how much more than another row.

    Args:
        metric: What changes.
        curve: The label of the row.
        other: That of the row it is held against; empty: against none.
        slope: Of the least-squares line of the values of requests, or of their differences, on their windows.
        low: The lower end of its 95 % interval, from resamples of users; None for one user.
        high: The upper end.
        p: Of the test that it is 0: signs of users are flipped.
        corrected: The same, corrected for all rows, or for all pairs of them.
        users: Who were measured.
    """

    metric: str
    curve: str
    other: str
    slope: float
    low: float | None
    high: float | None
    p: float
    corrected: float
    users: int


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
        slopes: Over time, of each row that is no bound and no expectation.
        contrasts: Over time, of each pair of these.
        cost: What the costs of points are, in words; empty: they are not shown.
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
    slopes: tuple[Slope, ...] = ()
    contrasts: tuple[Slope, ...] = ()
    cost: str = ""

    @property
    def of_requests(self) -> bool:
        """Whether the points of a curve are other requests of one row, not other runs."""
        return self.over in (WINDOW, KNOWN)

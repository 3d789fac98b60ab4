"""Runs by one metric, with what they come to in each resample of users: the points of curves, and where these meet."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, log
from typing import TypeAlias, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrs_bench.leaderboard.board import BOUND, Cell, EvaluatedRun
from llmrs_bench.leaderboard.build import BoardPlan
from llmrs_bench.leaderboard.curves import Crossing, Level
from llmrs_bench.leaderboard.labelled import LabelledEntry
from llmrs_bench.leaderboard.matrix import request_values
from llmrs_bench.resampling import expanded_tail, resamples
from llmrs_bench.stats import share_interval, summed

Floats: TypeAlias = NDArray[np.float64]
BoardEntry: TypeAlias = EvaluatedRun | LabelledEntry

_NOISE = 1e-12  # equal means, added in another order, differ by less


@dataclass(frozen=True, slots=True)
class SampledRun:
    """A run by one metric: the values of users (users,), and the metric of each resample of users (resamples,).

    Of a `plain` one the metric is the mean of its values, each of which is another user's. `users` of them are drawn.
    """

    values: Floats
    draws: Floats
    exact: bool
    bound: bool
    plain: bool
    users: int


@dataclass(frozen=True, slots=True)
class Place:
    """Runs that differ by their seed alone, by one metric."""

    x: float
    names: tuple[str, ...]
    runs: tuple[SampledRun, ...]

    @property
    def values(self) -> Floats:
        """The mean over seeds of each user; NaN where a seed lacks the user."""
        found: Floats = np.mean([run.values for run in self.runs], axis=0)
        return found

    @property
    def users(self) -> int:
        return int((~np.isnan(self.values)).sum())

    @property
    def users_drawn(self) -> int:
        """The fewest users of a run, where `users` counts requests; one has no interval."""
        return min(run.users for run in self.runs)

    @property
    def cell(self) -> Cell:
        values = self.values
        there = ~np.isnan(values)
        mean = float(values[there].mean())
        if all(run.exact for run in self.runs):
            return Cell(mean, mean, mean)
        draws = np.mean([run.draws for run in self.runs], axis=0)
        known = draws[~np.isnan(draws)]
        users = self.users_drawn
        tail = 100.0 * expanded_tail(users)
        low, high = np.percentile(known, [tail, 100.0 - tail]) if known.size and users > 1 else (None, None)
        if low is not None and all(run.plain for run in self.runs):
            low, high = share_interval(values) or (low, high)
        means = [float(run.values[there].mean()) for run in self.runs]
        spread = float(np.std(means, ddof=1)) if len(means) > 1 else None
        return Cell(mean, None if low is None else float(low), None if high is None else float(high), spread)

    def resampled(self, generator: np.random.Generator) -> Floats:
        """Return (1 + resamples,): the mean, and that of each resample of users and of seeds."""
        draws, seeds = np.stack([run.draws for run in self.runs]), len(self.runs)
        if seeds > 1:
            chosen = generator.integers(seeds, size=(seeds, draws.shape[1]))
            draws = np.take_along_axis(draws, chosen, axis=0)
        found: Floats = np.concatenate([[self.cell.mean], draws.mean(axis=0)])
        return found


@dataclass(frozen=True, slots=True)
class Drawn:
    """A curve, or with one place a line."""

    label: str
    kind: str
    points: tuple[Place, ...]

    @property
    def is_bound(self) -> bool:
        return any(run.bound or run.exact for place in self.points for run in place.runs)

    def level(self, metric: str) -> Level:
        place = self.points[0]
        exact = all(run.exact for run in place.runs)
        return Level(metric, self.label, self.kind, place.names, place.cell, place.users, exact)


def sampled(
    entries: Sequence[BoardEntry], metric: str, index: pl.DataFrame, owners: NDArray[np.intp] | None, plan: BoardPlan
) -> dict[str, SampledRun] | None:
    """Return the runs by a metric; those that lack it are left out. None: it is a figure of whole runs."""
    values: dict[str, Floats] = {}
    functions = {}
    for entry in entries:
        if isinstance(entry, LabelledEntry):
            if entry.rows.has(metric) and not np.isnan(own := entry.rows.per_user(metric)).all():
                values[entry.entry.run], functions[entry.entry.run] = own, entry.rows.resampler(metric)
        elif metric in entry.figures:
            return None
        else:
            values[entry.run] = request_values(entry, [metric], index)[metric]
    draws = resampled(values, owners, plan, functions)
    made = [entry.entry if isinstance(entry, LabelledEntry) else entry for entry in entries]
    return {
        run.run: SampledRun(
            values[run.run],
            draws[run.run],
            run.exact,
            run.kind == BOUND,
            owners is None and run.run not in functions,
            count_users(values[run.run], owners),
        )
        for run in made
        if run.run in values
    }


def count_users(values: Floats, owners: NDArray[np.intp] | None) -> int:
    """Return of how many users there is a value in (requests,), whose users are `owners` where some have several."""
    return int((summed((~np.isnan(values)).astype(np.float64), owners) > 0).sum())


_Name = TypeVar("_Name")


def resampled(
    values: Mapping[_Name, Floats],
    owners: NDArray[np.intp] | None,
    plan: BoardPlan,
    functions: Mapping[_Name, Callable[[Floats], Floats]] | None = None,
) -> dict[_Name, Floats]:
    """Return (resamples,) of each row of values what it comes to in each resample of users, the same for all rows.

    Args:
        values: By name (requests,), NaN where there is no value.
        owners: (requests,) the user of each, where some have several.
        plan: How many resamples, and their seed.
        functions: Of rows that are more than the mean of their values, what they come to with weights (users, draws).
    """
    draw = functions or {}
    draws = {name: np.empty(plan.samples) for name in values}
    ranked = [name for name in values if name not in draw]
    stack = (
        np.stack([values[name] for name in ranked]) if ranked else np.empty((0, len(next(iter(values.values()), []))))
    )
    there = summed((~np.isnan(stack)).astype(np.float64), owners)
    filled = summed(np.nan_to_num(stack), owners)
    start = 0
    for drawn in resamples(filled.shape[1], plan.samples, plan.seed):
        weights, part = drawn.T.astype(np.float64), slice(start, start + len(drawn))
        counts = there @ weights
        means = np.divide(filled @ weights, counts, out=np.full(counts.shape, np.nan), where=counts > 0)
        for name, row in zip(ranked, means, strict=True):
            draws[name][part] = row
        for name, function in draw.items():
            draws[name][part] = function(weights)
        start += len(drawn)
    return draws


def meet(curve: Drawn, other: Drawn) -> bool:
    """Return whether two rows may be compared: neither is a bound or exact, and they have a range in common."""
    if curve.is_bound or other.is_bound:
        return False
    return len(other.points) == 1 or _common(curve, other)[0] < _common(curve, other)[1]


def _common(curve: Drawn, other: Drawn) -> tuple[float, float]:
    """Return the least and the largest number that both have."""
    own = curve.points
    if len(other.points) == 1:
        return own[0].x, own[-1].x
    return max(own[0].x, other.points[0].x), min(own[-1].x, other.points[-1].x)


def crossing(curve: Drawn, other: Drawn, metric: str, sign: float, seed: int, *, logarithmic: bool = True) -> Crossing:
    """Return where a curve first reaches another one, or a line, with an interval from resamples of users and seeds.

    Args:
        curve: What comes from below, of a metric of which more is better.
        other: What is reached.
        metric: Of both.
        sign: -1 where less is better.
        seed: Of the resamples of seeds.
        logarithmic: Whether to interpolate between positive numbers in their logarithms.
    """
    first, last = _common(curve, other)
    both = {point.x for each in (curve, other) if len(each.points) > 1 for point in each.points}
    xs = sorted(x for x in both if first <= x <= last)
    generator = np.random.default_rng(seed)
    gaps = sign * (
        _at(curve, xs, generator, logarithmic) - _at(other, xs, generator, logarithmic)
    )  # (numbers, 1 + resamples)
    gaps[np.abs(gaps) < _NOISE] = 0.0
    places = _first_crossings(xs, gaps, logarithmic)
    at, known = float(places[0]), places[1:][~np.isnan(places[1:])]
    low, high = np.nan, np.nan
    shares = (np.nan, np.nan, np.nan)
    if known.size and min(place.users_drawn for each in (curve, other) for place in each.points) > 1:
        low = float(np.percentile(known, 2.5, method="inverted_cdf"))
        high = float(np.percentile(known, 97.5, method="inverted_cdf"))
        before, never = float(np.mean(known == -np.inf)), float(np.mean(known == np.inf))
        shares = (before, 1.0 - before - never, never)
    below = tuple(x for x, gap in zip(xs, gaps[:, 0], strict=True) if gap < 0 and x > at)
    return Crossing(metric, curve.label, other.label, first, last, at, low, high, shares, below=below)


def _at(drawn: Drawn, xs: Sequence[float], generator: np.random.Generator, logarithmic: bool) -> Floats:
    """Return (numbers, 1 + resamples) the metric at each number, interpolated between points."""
    known = np.stack([place.resampled(generator) for place in drawn.points])
    if len(known) == 1:
        return np.repeat(known, len(xs), axis=0)
    rows = []
    for x in xs:
        after = next(at for at, place in enumerate(drawn.points) if place.x >= x)
        if drawn.points[after].x == x:
            rows.append(known[after])
            continue
        share = _share(drawn.points[after - 1].x, drawn.points[after].x, x, logarithmic)
        rows.append((1.0 - share) * known[after - 1] + share * known[after])
    return np.stack(rows)


def _share(start: float, end: float, x: float, logarithmic: bool) -> float:
    """Return how far a number is from one to another, in logarithms if these are asked for and both are positive."""
    if start > 0 and logarithmic:
        return (log(x) - log(start)) / (log(end) - log(start))
    return (x - start) / (end - start)


def _first_crossings(xs: Sequence[float], gaps: Floats, logarithmic: bool) -> Floats:
    """Return (resamples,) where gaps (numbers, resamples) first come from below 0 to 0 or more."""
    places = np.full(gaps.shape[1], np.inf)
    places[gaps[0] >= 0] = -np.inf
    places[np.isnan(gaps).any(axis=0)] = np.nan
    for at, (start, end) in enumerate(pairwise(xs)):
        here = (places == np.inf) & (gaps[at] < 0) & (gaps[at + 1] >= 0)
        share = gaps[at, here] / (gaps[at, here] - gaps[at + 1, here])
        if start > 0 and logarithmic:
            places[here] = [exp(log(start) + part * (log(end) - log(start))) for part in share]
        else:
            places[here] = start + share * (end - start)
    return places

"""Curves built from evaluated runs: points with intervals and tests against the first one, lines, and crossings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import exp, log
from typing import TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.registry import unknown_name
from llmrs_bench.leaderboard.board import BOUND, Cell, EvaluatedRun, Factors
from llmrs_bench.leaderboard.build import CORRECTION_WORDS, BoardPlan, shares_words
from llmrs_bench.leaderboard.clicks import ClickEntry
from llmrs_bench.leaderboard.curves import Crossing, Curve, CurvePoint, Curves, Level
from llmrs_bench.leaderboard.matrix import request_values, user_codes
from llmrs_bench.metrics.clicks import per_user, resampler
from llmrs_bench.stats import CORRECTIONS, describe, share_interval, sign_flip, summed

Floats: TypeAlias = NDArray[np.float64]
Entry: TypeAlias = EvaluatedRun | ClickEntry

LANGUAGE, TRAINED = "language model", ("recommender", "click model")
# From the largest value to the least positive one: from here on an axis is logarithmic.
DECADE = 10.0
_TOGETHER = 200  # resamples, as `stats.bootstrap_interval` draws them
_NOISE = 1e-12  # equal means, added in another order, differ by less
# The words that say what the numbers of an axis are; on its curves they differ, and name none. Where there are several,
# each is a way of its own to have less, with a curve of its own.
_PARTS = ("train_fraction", "train_samples", "max_users")
_WORDS = {
    "samples": {"train_samples"},
    "train_events": set(_PARTS),
}
# Axes on which a model that learned from everything is the end of its curves, however the rest was chosen.
_ENDS_WHOLE = {"train_fraction", "train_events"}
# What may differ between such a model and the others of a curve: how the rest was chosen.
_WAY = "less_by"
_CHOSEN = frozenset({"train_by", _WAY})


# What rows of one curve have in common: kind, model, words, engine.
_Key: TypeAlias = tuple[str, str, tuple[tuple[str, str], ...], str]


def build_curves(
    entries: Sequence[Entry],
    users: Sequence[str],
    over: str,
    plan: BoardPlan,
    *,
    title: str,
    protocol: Sequence[str],
    shown: Sequence[str],
    notes: Sequence[str],
) -> Curves:
    """Put the runs of a board onto curves over a number.

    Runs that differ in nothing but the number and their seed are a curve; runs that differ in a second thing are
    curves of their own, named by it. What does not vary is a horizontal line. Intervals are those of the board. A
    curve is compared with lines and curves by linear interpolation in the logarithm of the number (from 0 to the least
    positive value in the number itself); the interval of a crossing comes from resamples of users, the same for both,
    and of the seeds of each point.

    Args:
        entries: The runs of the board.
        users: The users that they were measured on (rankings: requests), in the order of `ClickRows.users`.
        over: The name of the number, with `-` or `_`.
        plan: Resamples, permutations, correction, directions, and the metrics of the board.
        title: Of the board.
        protocol: What stands above.
        shown: The metrics that a text shows.
        notes: What stands below.

    Raises:
        OptionError: If runs differ in no such number.
    """
    made = [entry.entry if isinstance(entry, ClickEntry) else entry for entry in entries]
    varying = sorted({name for run in made if run.factors for name in run.factors.numbers})
    name = over.replace("-", "_")
    if not any(len(places) > 1 for places in _families(made, name).values()):
        varying = [each for each in varying if any(len(places) > 1 for places in _families(made, each).values())]
        raise _nothing_varies(over, [each.replace("_", "-") if each.startswith("train") else each for each in varying])
    found: list[str] = []
    groups, lines = _split(made, name, found)
    curves: list[Curve] = []
    levels: list[Level] = []
    crossings: list[Crossing] = []
    index = pl.DataFrame({"request_id": list(users)}, schema={"request_id": pl.String}).with_row_index()
    owners = None if plan.users is None else user_codes([plan.users[request] for request in users])
    for metric in plan.metrics:
        runs = _sampled(entries, metric, index, owners, plan)
        if runs is None:
            found.append(f"{metric} is a figure of whole runs, without values of users: no curve is drawn of it")
            continue
        drawn = [_points(label, kind, places, runs) for label, kind, places in groups]
        drawn = [each for each in drawn if each.points]
        straight = [_line(label, own, runs) for label, own in lines]
        held = [each for each in straight if each is not None]
        curves += _tested(drawn, metric, owners, plan)
        levels += sorted((each.level(metric) for each in held), key=lambda each: -each.cell.mean * plan.sign(metric))
        if sign := plan.sign(metric):
            crossings += _crossings(drawn, held, metric, sign, plan.seed)
    if not curves:
        raise OptionError(
            f"--over {over}: no two rows that differ in it have values of users by {', '.join(plan.metrics)}",
            hint="Name another metric with --metrics.",
        )
    xs = [point.x for curve in curves for point in curve.points]
    positive = [x for x in xs if x > 0]
    return Curves(
        title=title,
        over=name,
        logarithmic=min(xs) >= 0 and len(positive) > 1 and max(positive) / min(positive) >= DECADE,
        metrics=tuple(metric for metric in plan.metrics if any(curve.metric == metric for curve in curves)),
        shown=tuple(shown),
        protocol=(*protocol, *_explained(curves, plan)),
        curves=tuple(curves),
        levels=tuple(levels),
        crossings=tuple(crossings),
        notes=(*notes, *found),
    )


def _explained(curves: Sequence[Curve], plan: BoardPlan) -> list[str]:
    most = max(sum(len(curve.points) - 1 for curve in curves if curve.metric == metric) for metric in plan.metrics)
    return [
        f"95 % percentile bootstrap over users, {plan.samples:,} samples{shares_words(plan)}; "
        "seeds of a point are averaged user by user",
        f"difference and p: against the first point of the curve (paired sign-flip test, {plan.resamples(most):,} "
        f"permutations; corrected p: {CORRECTION_WORDS[plan.correction]} over all points of a metric)",
    ]


def _nothing_varies(over: str, varying: Sequence[str]) -> OptionError:
    near = unknown_name("number", over, list(varying)).hint
    return OptionError(
        f"--over {over}: no two rows of the board differ in it and in nothing else but their seed",
        hint=near.replace("Known", "Rows differ in")
        if varying
        else "Rows of this board differ in no number alone: "
        "make runs that do, as in `for n in 16 64 256; do llmrs-bench tune --samples $n ...`.",
    )


def _key(run: EvaluatedRun, factors: Factors, name: str) -> _Key:
    left = {name, *_WORDS.get(name, ())}
    words = [(key, said) for key, said in factors.words.items() if key not in left]
    if len(left) > 2 and (ways := [key for key in factors.words if key in left]):
        words.append((_WAY, f"by {' and '.join(ways)}"))
    return run.kind, factors.family if name == "samples" else run.model, tuple(words), factors.engine


def _families(made: Sequence[EvaluatedRun], name: str) -> dict[_Key, dict[float, list[EvaluatedRun]]]:
    """Return the runs of each curve by their number; of what does not vary there is one number.

    A run that learned from everything, or was tuned on no samples, is an end of every curve of its model.
    """
    found: dict[_Key, dict[float, list[EvaluatedRun]]] = {}
    ends: list[tuple[_Key, float, EvaluatedRun, frozenset[str]]] = []
    for run in made:
        if run.factors is None or (x := run.factors.numbers.get(name)) is None:
            continue
        key = _key(run, run.factors, name)
        loose = _CHOSEN if run.factors.whole and name in _ENDS_WHOLE else frozenset[str]()
        if name == "samples":
            loose |= run.factors.idle
        if loose:
            ends.append((key, x, run, loose))
        else:
            found.setdefault(key, {}).setdefault(x, []).append(run)
    for key, x, run, loose in ends:
        parts = [each for each in found if _without(each, loose) == key]
        for each in parts or [key]:
            found.setdefault(each, {}).setdefault(x, []).append(run)
    return found


def _without(key: _Key, names: frozenset[str]) -> _Key:
    kind, model, words, engine = key
    return kind, model, tuple(pair for pair in words if pair[0] not in names), engine


# A name, a kind, and the runs of each number.
_Group: TypeAlias = tuple[str, str, dict[float, list[str]]]


def _split(
    made: Sequence[EvaluatedRun], name: str, notes: list[str]
) -> tuple[list[_Group], list[tuple[str, list[EvaluatedRun]]]]:
    """Return the curves, those with the most points first, and the lines: what is on no curve, seeds together."""
    families = _families(made, name)
    varying = {key: places for key, places in families.items() if len(places) > 1 or _is_part(places)}
    labels = [_label(key, several=len({k[3] for k in varying if k[:3] == key[:3]}) > 1) for key in varying]
    groups: list[_Group] = []
    for label, (key, places) in zip(labels, varying.items(), strict=True):
        seeds = {x: _by_seed(runs, f"{label} at {x:g}", notes) for x, runs in sorted(places.items())}
        groups.append((label, key[0], {x: [run.run for run in runs] for x, runs in seeds.items()}))
    groups.sort(key=lambda group: (-len(group[2]), group[0]))
    taken = {run.run for places in varying.values() for runs in places.values() for run in runs}
    straight: dict[object, list[EvaluatedRun]] = {}
    for run in made:
        if run.run not in taken:
            factors = run.factors
            own = run.run if factors is None else (*_key(run, factors, ""), factors.numbers.get(name))
            straight.setdefault(own, []).append(run)
    lines = []
    for runs in straight.values():
        label = runs[0].model + (f" ({runs[0].setting})" if runs[0].setting and len(runs) == 1 else "")
        if runs[0].factors is not None and len(runs) > 1:
            label = _label(_key(runs[0], runs[0].factors, ""), several=False)
        if label in labels:  # its curve is drawn beside it
            whole = runs[0].factors is not None and runs[0].factors.whole
            label += ", on everything" if whole else f", {runs[0].run}"
        lines.append((label, _by_seed(runs, label, notes)))
    return groups, lines


def _is_part(places: Mapping[float, Sequence[EvaluatedRun]]) -> bool:
    """Return whether runs learned from one part of the data alone: that is a point, and says nothing of other parts."""
    factors = [run.factors for runs in places.values() for run in runs]
    return all(each is not None and not each.whole and any(word in each.words for word in _PARTS) for each in factors)


def _label(key: _Key, *, several: bool) -> str:
    _, model, words, engine = key
    said = [*(text for _, text in words), *([engine] if several else [])]
    return f"{model} ({', '.join(said)})" if said else model


def _by_seed(runs: Sequence[EvaluatedRun], label: str, notes: list[str]) -> list[EvaluatedRun]:
    """Return one run for each seed: where several have the same one, the latest, which is said."""
    found: dict[str, EvaluatedRun] = {}
    for run in sorted(runs, key=lambda run: str(run.about.get("made") or "")):
        seed = run.factors.seed if run.factors else ""
        if seed in found:
            notes.append(f"{label}: {found[seed].run} and {run.run} differ in nothing a board says; the later is shown")
        found[seed] = run
    return sorted(found.values(), key=lambda run: (run.factors.seed if run.factors else "", run.run))


@dataclass(frozen=True, slots=True)
class _Sampled:
    """A run by one metric: the values of users (users,), and the metric of each resample of users (resamples,).

    Of a `plain` one the metric is the mean of its values, each of which is another user's.
    """

    values: Floats
    draws: Floats
    exact: bool
    bound: bool
    plain: bool


@dataclass(frozen=True, slots=True)
class _Place:
    """Runs that differ by their seed alone, by one metric."""

    x: float
    names: tuple[str, ...]
    runs: tuple[_Sampled, ...]

    @property
    def values(self) -> Floats:
        """The mean over seeds of each user; NaN where a seed lacks the user."""
        found: Floats = np.mean([run.values for run in self.runs], axis=0)
        return found

    @property
    def users(self) -> int:
        return int((~np.isnan(self.values)).sum())

    @property
    def cell(self) -> Cell:
        values = self.values
        there = ~np.isnan(values)
        mean = float(values[there].mean())
        if all(run.exact for run in self.runs):
            return Cell(mean, mean, mean)
        draws = np.mean([run.draws for run in self.runs], axis=0)
        known = draws[~np.isnan(draws)]
        low, high = np.percentile(known, [2.5, 97.5]) if known.size and there.sum() > 1 else (None, None)
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
class _Drawn:
    """A curve, or with one place a line."""

    label: str
    kind: str
    points: tuple[_Place, ...]

    @property
    def is_bound(self) -> bool:
        return any(run.bound or run.exact for place in self.points for run in place.runs)

    def level(self, metric: str) -> Level:
        place = self.points[0]
        exact = all(run.exact for run in place.runs)
        return Level(metric, self.label, self.kind, place.names, place.cell, place.users, exact)


def _sampled(
    entries: Sequence[Entry], metric: str, index: pl.DataFrame, owners: NDArray[np.intp] | None, plan: BoardPlan
) -> dict[str, _Sampled] | None:
    """Return the runs by a metric; those that lack it are left out. None: it is a figure of whole runs."""
    values: dict[str, Floats] = {}
    draw = {}
    for entry in entries:
        if isinstance(entry, ClickEntry):
            if entry.rows.has(metric) and not np.isnan(own := per_user(entry.rows, metric)).all():
                values[entry.entry.run], draw[entry.entry.run] = own, resampler(entry.rows, metric)
        elif metric in entry.figures:
            return None
        else:
            values[entry.run] = request_values(entry, [metric], index)[metric]
    draws = {name: np.empty(plan.samples) for name in values}
    ranked = [name for name in values if name not in draw]
    stack = np.stack([values[name] for name in ranked]) if ranked else np.empty((0, index.height))
    there = summed((~np.isnan(stack)).astype(np.float64), owners)
    filled = summed(np.nan_to_num(stack), owners)
    users = filled.shape[1]
    generator, even = np.random.default_rng(plan.seed), np.full(users, 1.0 / users)
    for start in range(0, plan.samples, _TOGETHER):
        size = min(_TOGETHER, plan.samples - start)
        weights = generator.multinomial(users, even, size=size).T.astype(np.float64)
        counts = there @ weights
        means = np.divide(filled @ weights, counts, out=np.full(counts.shape, np.nan), where=counts > 0)
        for name, row in zip(ranked, means, strict=True):
            draws[name][start : start + size] = row
        for name, function in draw.items():
            draws[name][start : start + size] = function(weights)
    made = [entry.entry if isinstance(entry, ClickEntry) else entry for entry in entries]
    return {
        run.run: _Sampled(
            values[run.run], draws[run.run], run.exact, run.kind == BOUND, owners is None and run.run in ranked
        )
        for run in made
        if run.run in values
    }


def _points(label: str, kind: str, places: Mapping[float, Sequence[str]], runs: Mapping[str, _Sampled]) -> _Drawn:
    held = {x: [name for name in names if name in runs] for x, names in places.items()}
    points = [_Place(x, tuple(names), tuple(runs[name] for name in names)) for x, names in held.items() if names]
    return _Drawn(label, kind, tuple(point for point in points if point.users))


def _line(label: str, own: Sequence[EvaluatedRun], runs: Mapping[str, _Sampled]) -> _Drawn | None:
    drawn = _points(label, own[0].kind, {0.0: [run.run for run in own]}, runs)
    return drawn if drawn.points else None


def _tested(drawn: Sequence[_Drawn], metric: str, owners: NDArray[np.intp] | None, plan: BoardPlan) -> list[Curve]:
    """Return curves whose points are held against the first of theirs."""
    values = [place.values for curve in drawn for place in curve.points]
    pairs: list[tuple[int, int]] = []
    for curve in drawn:
        start = sum(len(each.points) for each in drawn[: drawn.index(curve)])
        pairs += [(start + at, start) for at in range(1, len(curve.points))]
    if not pairs:
        return []
    indices = np.array(pairs, dtype=np.intp)
    stack, samples = np.stack(values)[None], plan.resamples(len(pairs))
    p = sign_flip(stack, indices, samples=samples, seed=plan.seed, clusters=owners)[0]
    corrected = CORRECTIONS[plan.correction](p)
    tests = {at: number for number, (at, _) in enumerate(pairs)}
    made, at = [], 0
    for curve in drawn:
        points = []
        for place in curve.points:
            point = CurvePoint(place.x, place.names, place.cell, place.users)
            if at in tests:
                number = tests[at]
                found = describe(values[at], values[pairs[number][1]], owners)
                point = replace(
                    point, difference=found.difference, p=float(p[number]), corrected=float(corrected[number])
                )
            points.append(point)
            at += 1
        made.append(Curve(metric, curve.label, curve.kind, tuple(points)))
    return made


def _crossings(drawn: Sequence[_Drawn], lines: Sequence[_Drawn], metric: str, sign: float, seed: int) -> list[Crossing]:
    """Return where curves of what was trained reach language models, and curves of these reach trained rows."""
    found: list[Crossing] = []
    drawn = [curve for curve in drawn if len(curve.points) > 1]
    for curve in drawn:
        if curve.kind == LANGUAGE:
            others = [each for each in lines if each.kind in TRAINED]
        else:
            others = [each for each in (*drawn, *lines) if each.kind == LANGUAGE]
        found += [_crossing(curve, other, metric, sign, seed) for other in others if _meet(curve, other)]
    return found


def _meet(curve: _Drawn, other: _Drawn) -> bool:
    if curve.is_bound or other.is_bound:
        return False
    return len(other.points) == 1 or _common(curve, other)[0] < _common(curve, other)[1]


def _common(curve: _Drawn, other: _Drawn) -> tuple[float, float]:
    """Return the least and the largest number that both have."""
    own = curve.points
    if len(other.points) == 1:
        return own[0].x, own[-1].x
    return max(own[0].x, other.points[0].x), min(own[-1].x, other.points[-1].x)


def _crossing(curve: _Drawn, other: _Drawn, metric: str, sign: float, seed: int) -> Crossing:
    first, last = _common(curve, other)
    both = {point.x for each in (curve, other) if len(each.points) > 1 for point in each.points}
    xs = sorted(x for x in both if first <= x <= last)
    generator = np.random.default_rng(seed)
    gaps = sign * (_at(curve, xs, generator) - _at(other, xs, generator))  # (numbers, 1 + resamples)
    gaps[np.abs(gaps) < _NOISE] = 0.0
    places = _first_crossings(xs, gaps)
    at, known = float(places[0]), places[1:][~np.isnan(places[1:])]
    low, high = np.nan, np.nan
    shares = (np.nan, np.nan, np.nan)
    if known.size:
        low = float(np.percentile(known, 2.5, method="inverted_cdf"))
        high = float(np.percentile(known, 97.5, method="inverted_cdf"))
        before, never = float(np.mean(known == -np.inf)), float(np.mean(known == np.inf))
        shares = (before, 1.0 - before - never, never)
    return Crossing(metric, curve.label, other.label, first, last, at, low, high, shares)


def _at(drawn: _Drawn, xs: Sequence[float], generator: np.random.Generator) -> Floats:
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
        share = _share(drawn.points[after - 1].x, drawn.points[after].x, x)
        rows.append((1.0 - share) * known[after - 1] + share * known[after])
    return np.stack(rows)


def _share(start: float, end: float, x: float) -> float:
    """Return how far a number is from one to another, in logarithms where both are positive."""
    if start > 0:
        return (log(x) - log(start)) / (log(end) - log(start))
    return (x - start) / (end - start)


def _first_crossings(xs: Sequence[float], gaps: Floats) -> Floats:
    """Return (resamples,) where gaps (numbers, resamples) first come from below 0 to 0 or more."""
    places = np.full(gaps.shape[1], np.inf)
    places[gaps[0] >= 0] = -np.inf
    places[np.isnan(gaps).any(axis=0)] = np.nan
    for at, (start, end) in enumerate(pairwise(xs)):
        here = (places == np.inf) & (gaps[at] < 0) & (gaps[at + 1] >= 0)
        share = gaps[at, here] / (gaps[at, here] - gaps[at + 1, here])
        if start > 0:
            places[here] = [exp(log(start) + part * (log(end) - log(start))) for part in share]
        else:
            places[here] = start + share * (end - start)
    return places

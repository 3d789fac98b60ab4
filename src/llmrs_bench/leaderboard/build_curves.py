"""Curves built from evaluated runs: points with intervals and tests against the first one, lines, and crossings."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.registry import unknown_name
from llmrs_bench.leaderboard.board import PRICE, SECONDS, EvaluatedRun, Factors, cost_of, cost_words
from llmrs_bench.leaderboard.build import CORRECTION_WORDS, BoardPlan, shares_words
from llmrs_bench.leaderboard.curves import COUNTS, Crossing, Curve, CurvePoint, Curves, Level
from llmrs_bench.leaderboard.labelled import LabelledEntry
from llmrs_bench.leaderboard.matrix import user_codes
from llmrs_bench.leaderboard.sampled import BoardEntry, Drawn, Place, SampledRun, crossing, meet, sampled
from llmrs_bench.stats import CORRECTIONS, describe, sign_flip

LANGUAGE, TRAINED = "language model", ("recommender", "click model")
# From the largest value to the least positive one: from here on an axis is logarithmic.
DECADE = 10.0
# The words that say what the numbers of an axis are; on its curves they differ, and name none. Where there are several,
# each is a way of its own to have less, with a curve of its own.
_PARTS = ("train_fraction", "train_samples", "max_users")
_WORDS = {
    "samples": {"train_samples"},
    "train_events": set(_PARTS),
}
# Numbers of hybrids: along them cost is what quality is paid with, and stands beside it.
_HYBRID = ("budget", "top")
# Axes on which a model that learned from everything is the end of its curves, however the rest was chosen.
_ENDS_WHOLE = {"train_fraction", "train_events"}
# What may differ between such a model and the others of a curve: how the rest was chosen.
_WAY = "less_by"
_CHOSEN = frozenset({"train_by", _WAY})


# What rows of one curve have in common: kind, model, words, engine.
_Key: TypeAlias = tuple[str, str, tuple[tuple[str, str], ...], str]


def build_curves(
    entries: Sequence[BoardEntry],
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
        users: The users that they were measured on (rankings: requests), in the order of `LabelledRows.users`.
        over: The name of the number, with `-` or `_`.
        plan: Resamples, permutations, correction, directions, and the metrics of the board.
        title: Of the board.
        protocol: What stands above.
        shown: The metrics that a text shows.
        notes: What stands below.

    Raises:
        OptionError: If runs differ in no such number.
    """
    made = [entry.entry if isinstance(entry, LabelledEntry) else entry for entry in entries]
    varying = sorted({name for run in made if run.factors for name in run.factors.numbers})
    name = over.replace("-", "_")
    if not any(len(places) > 1 for places in _families(made, name).values()):
        varying = [each for each in varying if any(len(places) > 1 for places in _families(made, each).values())]
        raise _nothing_varies(over, [each.replace("_", "-") if each.startswith("train") else each for each in varying])
    found: list[str] = []
    groups, lines = _split(made, name, found)
    costs, cost_name = _costs(made) if name in _HYBRID else ({}, "")
    curves: list[Curve] = []
    levels: list[Level] = []
    crossings: list[Crossing] = []
    index = pl.DataFrame({"request_id": list(users)}, schema={"request_id": pl.String}).with_row_index()
    owners = None if plan.users is None else user_codes([plan.users[request] for request in users])
    for metric in plan.metrics:
        runs = sampled(entries, metric, index, owners, plan)
        if runs is None:
            found.append(f"{metric} is measured for whole runs and not for users, so it has no curve")
            continue
        drawn = [_points(label, kind, places, runs) for label, kind, places in groups]
        drawn = [each for each in drawn if each.points]
        straight = [_line(label, own, runs) for label, own in lines]
        held = [each for each in straight if each is not None]
        curves += [_costed(curve, costs) for curve in _tested(drawn, metric, owners, plan)]
        levels += sorted((each.level(metric) for each in held), key=lambda each: -each.cell.mean * plan.sign(metric))
        if sign := plan.sign(metric):
            crossings += _crossings(drawn, held, metric, sign, plan.seed)
    if not curves:
        raise OptionError(
            f"--over {over}: no two rows that differ in it were measured for users by {', '.join(plan.metrics)}",
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
        crossings=tuple(replace(each, whole=name in COUNTS) for each in crossings),
        notes=(*notes, *found),
        cost=cost_words(cost_name, plan.unit),
    )


def _costs(made: Sequence[EvaluatedRun]) -> tuple[dict[str, float], str]:
    """Return what each run costs, and by what: the price where all fusions know theirs, else the seconds."""
    known = {run.run: cost_of(run.about) for run in made}
    fused = [known[run.run] for run in made if run.factors and set(_HYBRID) & run.factors.numbers.keys()]
    by = PRICE if fused and all(cost.price_per_1000 is not None for cost in fused) else SECONDS
    return {name: value for name, cost in known.items() if (value := getattr(cost, by)) is not None}, by


def _costed(curve: Curve, costs: Mapping[str, float]) -> Curve:
    points = []
    for point in curve.points:
        known = [costs[run] for run in point.runs if run in costs]
        points.append(replace(point, cost=sum(known) / len(known) if known else None))
    return replace(curve, points=tuple(points))


def _explained(curves: Sequence[Curve], plan: BoardPlan) -> list[str]:
    most = max(sum(len(curve.points) - 1 for curve in curves if curve.metric == metric) for metric in plan.metrics)
    permutations = plan.resamples(most, most)
    return [
        f"95 % bootstrap over users, {plan.samples:,} samples{shares_words(plan)}; "
        "seeds of a point are averaged user by user",
        f"difference and p: against the first point of the curve (paired sign-flip test, {permutations:,} "
        f"permutations; corrected p: {CORRECTION_WORDS[plan.correction]} over all points of a metric)",
    ]


def _nothing_varies(over: str, varying: Sequence[str]) -> OptionError:
    near = unknown_name("number", over, list(varying)).hint
    return OptionError(
        f"--over {over}: no two rows differ only in it and in their seed",
        hint=near.replace("Known", "Rows differ in")
        if varying
        else "Make runs that do, for instance `for n in 1 5 10; do llmrs-bench infer --history $n ...; done`.",
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


def _with_default(key: _Key, others: Iterable[_Key]) -> _Key:
    """Return a key that says of shares taken by users that they are, where a curve of other shares is beside it."""
    for other in others:
        if other != key and _without(other, frozenset({"train_by"})) == key:
            kind, model, words, engine = other
            return (
                kind,
                model,
                tuple((name, "train_by=users" if name == "train_by" else said) for name, said in words),
                engine,
            )
    return key


# A name, a kind, and the runs of each number.
_Group: TypeAlias = tuple[str, str, dict[float, list[str]]]


def _split(
    made: Sequence[EvaluatedRun], name: str, notes: list[str]
) -> tuple[list[_Group], list[tuple[str, list[EvaluatedRun]]]]:
    """Return the curves, those with the most points first, and the lines: what is on no curve, seeds together."""
    families = _families(made, name)
    varying = {key: places for key, places in families.items() if len(places) > 1 or _is_part(places)}
    labels = [
        _label(_with_default(key, varying), several=len({k[3] for k in varying if k[:3] == key[:3]}) > 1)
        for key in varying
    ]
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
            notes.append(f"{label}: {found[seed].run} and {run.run} look the same; the later one is shown")
        found[seed] = run
    return sorted(found.values(), key=lambda run: (run.factors.seed if run.factors else "", run.run))


def _points(label: str, kind: str, places: Mapping[float, Sequence[str]], runs: Mapping[str, SampledRun]) -> Drawn:
    held = {x: [name for name in names if name in runs] for x, names in places.items()}
    points = [Place(x, tuple(names), tuple(runs[name] for name in names)) for x, names in held.items() if names]
    return Drawn(label, kind, tuple(point for point in points if point.users))


def _line(label: str, own: Sequence[EvaluatedRun], runs: Mapping[str, SampledRun]) -> Drawn | None:
    drawn = _points(label, own[0].kind, {0.0: [run.run for run in own]}, runs)
    return drawn if drawn.points else None


def _tested(drawn: Sequence[Drawn], metric: str, owners: NDArray[np.intp] | None, plan: BoardPlan) -> list[Curve]:
    """Return curves whose points are held against the first of theirs."""
    values = [place.values for curve in drawn for place in curve.points]
    pairs: list[tuple[int, int]] = []
    for curve in drawn:
        start = sum(len(each.points) for each in drawn[: drawn.index(curve)])
        pairs += [(start + at, start) for at in range(1, len(curve.points))]
    if not pairs:
        return []
    indices = np.array(pairs, dtype=np.intp)
    stack, samples = np.stack(values)[None], plan.resamples(len(pairs), len(pairs))
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


def _crossings(drawn: Sequence[Drawn], lines: Sequence[Drawn], metric: str, sign: float, seed: int) -> list[Crossing]:
    """Return where curves of what was trained reach language models, and curves of these reach trained rows."""
    found: list[Crossing] = []
    drawn = [curve for curve in drawn if len(curve.points) > 1]
    for curve in drawn:
        if curve.kind == LANGUAGE:
            others = [each for each in lines if each.kind in TRAINED]
        else:
            others = [each for each in (*drawn, *lines) if each.kind == LANGUAGE]
        found += [crossing(curve, other, metric, sign, seed) for other in others if meet(curve, other)]
    return found

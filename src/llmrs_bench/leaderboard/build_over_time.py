"""Curves over a number of requests: each row in each window of time, its slope with a test, and where rows cross."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import combinations
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.formatting import counted
from llmrs_bench.leaderboard.board import EvaluatedRun
from llmrs_bench.leaderboard.build import CORRECTION_WORDS, BoardPlan, shares_words
from llmrs_bench.leaderboard.build_curves import DECADE, LANGUAGE, TRAINED
from llmrs_bench.leaderboard.curves import KNOWN, WINDOW, Crossing, Curve, CurvePoint, Curves, Slope
from llmrs_bench.leaderboard.labelled import LabelledEntry
from llmrs_bench.leaderboard.matrix import RunScores, ScoreMatrix, request_values
from llmrs_bench.leaderboard.sampled import (
    BoardEntry,
    Drawn,
    Floats,
    Place,
    SampledRun,
    count_users,
    crossing,
    meet,
    resampled,
)
from llmrs_bench.stats import CORRECTIONS, slope_tests, slopes

UNSEEN_WORDS = "\u2020: requests after the release of the model, which it cannot have seen in training"
# Axes, as `--over` takes them, and the number that each is of.
OVER_TIME, OVER_KNOWN = "time", "cold-users"
AXES = {OVER_TIME: WINDOW, OVER_KNOWN: KNOWN}
# Other words for an axis, and what is typed for it.
_MEANT = {
    **dict.fromkeys(("known", "known_events", "cold_users", "cold_user"), f"--over {OVER_KNOWN}"),
    **dict.fromkeys(("window", "windows"), "--over-time"),
}


@dataclass(frozen=True, slots=True)
class Axis:
    """A number of requests: which one of `AXES`, and rows (request_id, number, cutoff); None: requests have none."""

    over: str
    numbers: pl.DataFrame | None


def build_over_time(
    entries: Sequence[BoardEntry],
    matrix: ScoreMatrix,
    axis: Axis,
    plan: BoardPlan,
    *,
    title: str,
    protocol: Sequence[str],
    shown: Sequence[str],
    notes: Sequence[str],
) -> Curves:
    """Draw each row of a board over the windows of its requests, or over the known events of new users.

    Over time, a slope is that of the least-squares line of the values of requests on the number of their window; it is
    tested by flipping the signs of users. A user in several windows is drawn, and flipped, as a whole. Rows cross where
    the straight lines between their points do, over known events in their logarithms.

    Args:
        entries: The runs of the board.
        matrix: The values of its rows.
        axis: The number of each request.
        plan: Resamples, permutations, correction, directions, and the metrics of the board.
        title: Of the board.
        protocol: What stands above.
        shown: The metrics that a text shows.
        notes: What stands below.

    Raises:
        OptionError: If all requests have one number, or no metric has values of requests.
    """
    places = pl.DataFrame({"request_id": list(matrix.requests)}, schema={"request_id": pl.String}).with_row_index()
    over, numbers = axis.over, axis.numbers
    if any(isinstance(entry, LabelledEntry) for entry in entries):
        raise _of_labelled_rows(over, title)
    if numbers is None or numbers["number"].n_unique() < 2:
        raise _one_place(over)
    placed = places.join(numbers, on="request_id", how="left", maintain_order="left")
    times = placed["number"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    runs = {entry.run: entry for entry in entries if isinstance(entry, EvaluatedRun)}
    labels = _labels(matrix.lines)
    releases = _Releases.of(matrix, labels, placed if over == OVER_TIME else placed.clear())
    curves: list[Curve] = []
    crossings: list[Crossing] = []
    changes: list[Slope] = []
    contrasts: list[Slope] = []
    found: list[str] = []
    for metric in plan.metrics:
        if metric not in matrix.values:
            found.append(f"{metric} is measured for whole runs and not for users, so it has no curve")
            continue
        drawn = _drawn(matrix, labels, runs, metric, times, places, plan)
        curves += [releases.mark(_curve(each, metric, matrix.users)) for each in drawn]
        if over == OVER_TIME:
            changes += _slopes(matrix, labels, metric, times, plan)
            contrasts += _contrasts(matrix, labels, metric, times, plan)
        if sign := plan.sign(metric):
            crossings += _crossings(drawn, metric, sign, plan.seed, logarithmic=over != OVER_TIME)
    if not curves:
        raise OptionError(
            f"--over {over}: none of {', '.join(plan.metrics)} is measured for requests",
            hint="Name another with --metrics.",
        )
    said = _spans(placed, matrix) if over == OVER_TIME else []
    return Curves(
        title=title,
        over=AXES[over],
        logarithmic=over != OVER_TIME and _spans_decade(times),
        metrics=tuple(dict.fromkeys(curve.metric for curve in curves)),
        shown=tuple(shown),
        protocol=(
            *protocol,
            *said,
            _intervals(plan, matrix),
            *(_tests(plan, len(changes), len(contrasts)) if said else []),
        ),
        curves=tuple(curves),
        levels=(),
        crossings=tuple(replace(each, whole=True, least=1.0 if over == OVER_TIME else 0.0) for each in crossings),
        notes=(*notes, *releases.notes(), *found),
        slopes=tuple(changes),
        contrasts=tuple(contrasts),
    )


def check_axis(over: str) -> None:
    """Refuse another word for a number of requests.

    Raises:
        OptionError: Saying what to type for it.
    """
    if over not in AXES and (typed := _MEANT.get(over.replace("-", "_"))) is not None:
        raise OptionError(f"--over {over}: no runs differ in it, but requests may", hint=f"Write {typed}.")


def _of_labelled_rows(over: str, title: str) -> OptionError:
    """Say why labelled rows have no such curve: what is measured are users and all rows together, not requests."""
    typed, hint = f"--over {over}", "Prepare rankings, without --task: --cold-users 0,1,2,5,10."
    if over == OVER_TIME:
        typed, hint = "--over-time", "`--by window` has a board for each window, or quarter in time."
    return OptionError(
        f"{typed} needs values of single requests, as rankings have them, and {title} has labelled rows: they are "
        "measured user by user, or all together",
        hint=hint,
    )


def _one_place(over: str) -> OptionError:
    if over == OVER_TIME:
        return OptionError(
            "--over-time: all requests are of one time, or have none",
            hint="Rankings of data with times have windows: prepare --split time --windows 4.",
        )
    return OptionError(
        f"--over {over}: all requests show the same number of a user's events",
        hint="Prepare them: --cold-users 0,1,2,5,10.",
    )


def _spans_decade(numbers: Floats) -> bool:
    positive = numbers[numbers > 0]
    return bool(positive.size and positive.max() / positive.min() >= DECADE)


def _labels(lines: Sequence[RunScores]) -> list[str]:
    """Return the labels of rows; what has one in common with another is called by its run as well."""
    counts = Counter(line.label for line in lines)
    return [line.label if counts[line.label] == 1 else f"{line.label}, run {line.run}" for line in lines]


def _drawn(
    matrix: ScoreMatrix,
    labels: Sequence[str],
    runs: Mapping[str, EvaluatedRun],
    metric: str,
    times: Floats,
    places: pl.DataFrame,
    plan: BoardPlan,
) -> list[Drawn]:
    """Return each row with the windows in which it was measured."""
    places_of = [float(number) for number in np.unique(times[~np.isnan(times)])]
    values: dict[tuple[str, float], Floats] = {}
    for line in matrix.lines:
        for run in line.runs:
            own = request_values(runs[run], [metric], places)[metric]
            values |= {(run, number): np.where(times == number, own, np.nan) for number in places_of}
    draws = resampled(values, matrix.users, plan)
    made = []
    for line, label in zip(matrix.lines, labels, strict=True):
        points = [
            Place(
                number,
                line.runs,
                tuple(
                    SampledRun(
                        values[run, number],
                        draws[run, number],
                        line.exact,
                        line.is_bound,
                        matrix.users is None,
                        count_users(values[run, number], matrix.users),
                    )
                    for run in line.runs
                ),
            )
            for number in places_of
        ]
        made.append(Drawn(label, line.kind, tuple(point for point in points if point.users)))
    return [each for each in made if each.points]


def _curve(drawn: Drawn, metric: str, owners: NDArray[np.intp] | None) -> Curve:
    points = [
        CurvePoint(place.x, place.names, place.cell, _users(~np.isnan(place.values), owners)) for place in drawn.points
    ]
    return Curve(metric, drawn.label, drawn.kind, tuple(points))


def _users(chosen: NDArray[np.bool_], owners: NDArray[np.intp] | None) -> int:
    return int(chosen.sum()) if owners is None else len(np.unique(owners[chosen]))


def _models(matrix: ScoreMatrix) -> list[int]:
    """Return the rows that are measured with error, and are no bounds."""
    return [place for place, line in enumerate(matrix.lines) if not line.is_bound and not line.exact]


def _slopes(matrix: ScoreMatrix, labels: Sequence[str], metric: str, times: Floats, plan: BoardPlan) -> list[Slope]:
    rows = _models(matrix)
    return _measured(matrix.values[metric][rows], [(labels[row], "") for row in rows], matrix, metric, times, plan)


def _contrasts(matrix: ScoreMatrix, labels: Sequence[str], metric: str, times: Floats, plan: BoardPlan) -> list[Slope]:
    pairs = list(combinations(_models(matrix), 2))
    values = matrix.values[metric]
    differences = np.stack([values[first] - values[second] for first, second in pairs]) if pairs else values[:0]
    names = [(labels[first], labels[second]) for first, second in pairs]
    return _measured(differences, names, matrix, metric, times, plan)


def _measured(
    values: Floats,
    names: Sequence[tuple[str, str]],
    matrix: ScoreMatrix,
    metric: str,
    times: Floats,
    plan: BoardPlan,
) -> list[Slope]:
    """Return the slopes of rows of values; a row without two windows has none."""
    if not names:
        return []
    found = slopes(values, times, samples=plan.samples, seed=plan.seed, clusters=matrix.users)
    samples = plan.resamples(len(names), len(names))
    p = slope_tests(values, times, samples=samples, seed=plan.seed, clusters=matrix.users)
    known = [place for place in range(len(names)) if not np.isnan(found[place, 0])]
    corrected = CORRECTIONS[plan.correction](p[known])
    made = []
    for place, after in zip(known, corrected, strict=True):
        slope, low, high = found[place]
        ends = (None, None) if np.isnan(low) else (float(low), float(high))
        users = _users(~np.isnan(values[place]) & ~np.isnan(times), matrix.users)
        curve, other = names[place]
        made.append(Slope(metric, curve, other, float(slope), ends[0], ends[1], float(p[place]), float(after), users))
    return made


def _crossings(drawn: Sequence[Drawn], metric: str, sign: float, seed: int, *, logarithmic: bool) -> list[Crossing]:
    """Return where trained rows and language models cross: what is below at first reaches the other."""
    made = []
    for trained in (each for each in drawn if each.kind in TRAINED and len(each.points) > 1):
        for other in (each for each in drawn if each.kind == LANGUAGE and len(each.points) > 1):
            if meet(trained, other):
                behind = sign * (trained.points[0].cell.mean - other.points[0].cell.mean) < 0
                first, second = (trained, other) if behind else (other, trained)
                made.append(crossing(first, second, metric, sign, seed, logarithmic=logarithmic))
    return made


def _day(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d}"


def _spans(placed: pl.DataFrame, matrix: ScoreMatrix) -> list[str]:
    """Say when each window is, and how many users and requests it has."""
    said = []
    for (window,), rows in placed.drop_nulls("number").sort("number").group_by("number", maintain_order=True):
        first, last = (_day(moment) for moment in (rows["cutoff"].to_numpy().min(), rows["cutoff"].to_numpy().max()))
        inside = np.zeros(len(matrix.requests), dtype=bool)
        inside[rows["index"].to_numpy()] = True
        users, requests = _users(inside, matrix.users), rows.height
        who = counted(users, "user")
        count = who if users == requests else f"{counted(requests, 'request')} of {who}"
        said.append(f"window {window}: {first if first == last else f'{first} to {last}'}, {count}")
    return said


def _intervals(plan: BoardPlan, matrix: ScoreMatrix) -> str:
    whole = "" if matrix.users is None else ", each with all requests"
    return f"95 % bootstrap over users{whole}, {plan.samples:,} samples{shares_words(plan)}"


def _tests(plan: BoardPlan, rows: int, pairs: int) -> list[str]:
    flips = plan.resamples(max(rows, pairs), max(rows, pairs))
    return [
        "slope: change of the metric from one window to the next, by least squares over requests",
        f"p of slopes: the signs of users are flipped, {flips:,} times; corrected p: "
        f"{CORRECTION_WORDS[plan.correction]} over the rows, or the pairs, of a metric",
    ]


@dataclass(frozen=True, slots=True)
class _Releases:
    """When language models came out, by label, and by window the day of its first request; none but over time."""

    known: Mapping[str, Mapping[str, str]]
    begins: Mapping[float, str]

    @classmethod
    def of(cls, matrix: ScoreMatrix, labels: Sequence[str], placed: pl.DataFrame) -> Self:
        firsts = placed.drop_nulls("number").group_by("number").agg(pl.col("cutoff").min()).sort("number")
        about = {
            label: {name: str(line.about[name]) for name in ("released", "cutoff") if line.about.get(name)}
            for line, label in zip(matrix.lines, labels, strict=True)
        }
        return cls(about if firsts.height else {}, {number: _day(first) for number, first in firsts.iter_rows()})

    def later(self, label: str) -> list[float]:
        """Return the windows all of whose requests are later than the release of a model."""
        day = self.known.get(label, {}).get("released")
        return [] if day is None else [number for number, first in self.begins.items() if first > day]

    def mark(self, curve: Curve) -> Curve:
        """Return a curve with what is known of its model's release."""
        later, known = self.later(curve.label), self.known.get(curve.label, {})
        points = tuple(replace(point, unseen=point.x in later) for point in curve.points)
        return replace(curve, points=points, **known)

    def notes(self) -> list[str]:
        """Say of models whose day of release is known which windows are later, and what that means."""
        notes = []
        for label, known in self.known.items():
            if "released" in known:
                later = self.later(label)
                said = f"windows from {later[0]:g} on begin after that" if later else "no window begins after that"
                until = f", with data until {known['cutoff']}" if "cutoff" in known else ""
                notes.append(f"{label} was released on {known['released']}{until}: {said}")
        return [*notes, UNSEEN_WORDS] if any(map(self.later, self.known)) else notes

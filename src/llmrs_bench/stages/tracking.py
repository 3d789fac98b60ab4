"""A board as experiment trackers take it: a run for each row, and one for the board with its curves and files."""

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from numbers import Real
from pathlib import Path
from typing import Any

from llmrs_bench.core.costs import COST_NAMES
from llmrs_bench.core.hashing import fingerprint
from llmrs_bench.exchange.trackers import Points, TrackedRow, track
from llmrs_bench.leaderboard.board import Board, Row
from llmrs_bench.leaderboard.curves import Curves
from llmrs_bench.stages.evaluate_labelled import has_runs
from llmrs_bench.stages.workspace import Data, open_runs

_CONFIG = ("model", "kind", "setting")
_ABOUT = ("history", "seed", "engine", "fit_on", "fingerprint", "command", "made", "revision")


def track_board(
    tracker: str,
    data: Data,
    board: Board,
    *,
    curves: Curves | None = None,
    study: str = "",
    files: Sequence[Path] = (),
) -> str:
    """Log a board with a tracker, and return in words where it is.

    Args:
        tracker: Its name.
        data: The data set.
        board: The board.
        curves: Those that are shown of it.
        study: The text of the recipe that made it.
        files: The page and the saved board, where they are written.

    Raises:
        OptionError: If the tracker is unknown or not installed.
        BenchError: If it fails.
    """
    facts = {run.path.name: run.facts for run in open_runs(data)} if has_runs(data) else {}
    rows = [_tracked(data, row, facts.get(row.run, {})) for row in board.rows]
    whole = TrackedRow(
        _key(data.place.reference, study, *(row.run for row in board.rows)),
        f"board of {data.place.reference}",
        {"data": data.place.reference, "protocol": "\n".join(board.protocol), "recipe": study},
        {f"{board.key}/{row.label}": row.cells[board.key].mean for row in board.rows if board.key in row.cells},
        {} if curves is None else dict(_curves(curves)),
        tuple(files),
    )
    return track(tracker, data.place.reference, [whole, *rows])


def _key(*parts: str) -> str:
    return fingerprint({"tracked": list(parts)})[:16]


def _tracked(data: Data, row: Row, facts: Mapping[str, Any]) -> TrackedRow:
    config = {"data": data.place.reference, **{name: str(getattr(row, name)) for name in _CONFIG}}
    config |= {name: str(value) for name in _ABOUT if (value := row.about.get(name)) is not None}
    config |= {f"option {name}": str(value) for name, value in (facts.get("typed") or {}).items()}
    metrics: dict[str, float] = {}
    for name, cell in row.cells.items():
        ends = {"": cell.mean, "/low": cell.low, "/high": cell.high}
        metrics |= {f"{name}{end}": value for end, value in ends.items() if value is not None}
    metrics |= {name: value for name in COST_NAMES if (value := getattr(row.cost, name)) is not None}
    metrics |= {f"answers/{kind}": share for kind, share in row.kinds.items()}
    kept = {name: float(value) for name, value in metrics.items() if isfinite(value)}
    series = dict(_series(facts.get("training") or {}))
    return TrackedRow(_key(data.place.reference, row.run), row.label, config, kept, series)


def _series(training: Mapping[str, Any]) -> Iterator[tuple[str, Points]]:
    """Yield what was measured again and again in a training, by epoch."""
    for name, values in training.items():
        if isinstance(values, list) and values and all(isinstance(v, Real) and isfinite(v) for v in values):
            yield f"training/{name}", [(step, float(value)) for step, value in enumerate(values, 1)]


def _curves(curves: Curves) -> Iterator[tuple[str, Points]]:
    """Yield the points of curves whose numbers are whole, for these are the steps of trackers."""
    for curve in curves.curves:
        points = [(int(point.x), point.cell.mean) for point in curve.points if point.x == int(point.x)]
        yield f"{curve.metric} over {curves.over}/{curve.label}", points

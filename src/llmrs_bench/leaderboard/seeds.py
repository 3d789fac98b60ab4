"""The values of each seed and of each draw of candidates behind the rows of a board."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrs_bench.leaderboard.board import BOUND, EvaluatedRun
from llmrs_bench.leaderboard.matrix import ScoreMatrix, by_seed, request_values
from llmrs_bench.leaderboard.variance import Spread, spread

Values = NDArray[np.float64]


def find_spreads(
    entries: Sequence[EvaluatedRun],
    matrix: ScoreMatrix,
    metric: str,
    against: str,
    draws: Mapping[str, tuple[str, int]] | None,
) -> tuple[list[Spread], list[str]]:
    """Return where the variance of each row's mean is from, and of its difference from one row, where that is known.

    It is known of rows with several seeds, and of all rows where requests have several draws of candidates.

    Args:
        entries: The runs of the board.
        matrix: The values of its rows.
        metric: Of which variances are.
        against: The run of the row that others are held against.
        draws: As `BoardPlan` has it.

    Returns:
        The variances, and notes on what is not known.
    """
    groups = {group[0].run: group for group in by_seed(entries)}
    several = any(len(group) > 1 for group in groups.values())
    if not several and draws is None:
        return [], []
    places = _places(matrix, draws)
    if places is None:
        return [], ["sources of variance are not shown: they need one request of each user, or all of its draws"]
    rows = {line.run: groups[line.run] for line in matrix.lines if line.kind != BOUND and not line.exact}
    values = {run: _values(group, matrix, metric)[:, places].transpose(1, 0, 2) for run, group in rows.items()}
    kinds = {run: str(group[0].about.get("seed_of", "")) for run, group in rows.items() if len(group) > 1}
    return [_of(found, kinds) for found in _spreads(values, metric, against)], []


def _of(found: Spread, kinds: Mapping[str, str]) -> Spread:
    """Return it with what its seeds are of, where those of both rows are of the same."""
    known = {kinds[run] for run in (found.run, found.against) if run in kinds}
    return replace(found, seed_of=known.pop()) if len(known) == 1 else found


def _spreads(values: Mapping[str, Values], metric: str, against: str) -> Iterator[Spread]:
    known = {run: ~np.isnan(each).any((1, 2)) for run, each in values.items()}
    for run, each in values.items():
        if max(each.shape[1:]) > 1 and known[run].sum() > 1:
            yield spread(run, metric, each[known[run]])
    other = values.get(against)
    if other is None:
        return
    for run, each in values.items():
        common = known[run] & known[against]
        if run != against and max(*each.shape[1:], *other.shape[1:]) > 1 and common.sum() > 1:
            yield spread(run, metric, each[common], against=against, other=other[common])


def _places(matrix: ScoreMatrix, draws: Mapping[str, tuple[str, int]] | None) -> NDArray[np.intp] | None:
    """Return (users, draws) the place of each request; None where a user has several, or not all draws."""
    if draws is None:
        return np.arange(len(matrix.requests))[:, None] if matrix.users is None else None
    cases: dict[str, dict[int, int]] = {}
    for place, request in enumerate(matrix.requests):
        asked, draw = draws[request]
        cases.setdefault(asked, {})[draw] = place
    numbers = sorted({number for case in cases.values() for number in case})
    if len(cases) != matrix.n_users or any(len(case) < len(numbers) for case in cases.values()):
        return None
    return np.array([[case[number] for number in numbers] for case in cases.values()], dtype=np.intp)


def _values(group: Sequence[EvaluatedRun], matrix: ScoreMatrix, metric: str) -> Values:
    """Return (seeds, requests) the values of the runs of a row."""
    index = pl.DataFrame({"request_id": list(matrix.requests)}).with_row_index()
    return np.stack([request_values(entry, [metric], index)[metric] for entry in group])

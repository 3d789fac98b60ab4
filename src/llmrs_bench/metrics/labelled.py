"""What metrics of labelled rows have in common: one prediction for each pair of a user and an item, and its label.

A metric need be no mean over rows, so every metric comes in three forms that agree: a value, one value for each user
whose mean is the value (for paired tests, which flip signs of users), and values of resamples of whole users.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.registry import unknown_name
from llmrs_bench.resampling import expanded_tail

Floats: TypeAlias = NDArray[np.float64]
Places: TypeAlias = NDArray[np.intp]


class LabelledRows(Protocol):
    """The measured rows of one run, all of the part `test`."""

    @property
    def users(self) -> Places:
        """(rows,) the number of each row's user, from 0; users of several runs of a board have the same numbers."""
        ...

    @property
    def n_users(self) -> int:
        """How many numbers there are; a user need not have a row."""
        ...

    def has(self, metric: str) -> bool:
        """Return whether a metric can be measured."""
        ...

    def only(self, chosen: NDArray[np.bool_]) -> Self:
        """Return some of the rows; users keep their numbers."""
        ...

    def per_user(self, metric: str) -> Floats:
        """Return (users,) one value for each, so that their mean is the metric; NaN for a user that it leaves out."""
        ...

    def resampler(self, metric: str) -> Callable[[Floats], Floats]:
        """Return the function that gives a metric of several resamples of users.

        It takes (users, resamples), how often each user was drawn, all rows of a user with it, and returns
        (resamples,), NaN where a resample has no value.
        """
        ...


@dataclass(frozen=True, slots=True)
class MetricSet:
    """The metrics of a task.

    Args:
        of: What they are of, in words.
        definitions: Bumped whenever a definition changes; part of the fingerprint of every evaluation.
        names: All of them.
        board: Those that a board shows unless others are named; the first one orders its rows.
        lower: Those of which less is better.
    """

    of: str
    definitions: str
    names: tuple[str, ...]
    board: tuple[str, ...]
    lower: tuple[str, ...]

    def parse(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return names of metrics, each once.

        Raises:
            OptionError: If one is none, or there are none.
        """
        found = tuple(dict.fromkeys(name.strip().lower() for name in names))
        if not found:
            raise OptionError("no metrics were named", hint=f"Known of {self.of}: {', '.join(self.names)}.")
        for name in found:
            if name not in self.names:
                raise unknown_name(f"metric of {self.of}", name, list(self.names))
        return found


def value(rows: LabelledRows, metric: str) -> float:
    """Return a metric of all rows; NaN where it has none, as the AUC of rows of one label."""
    found = rows.per_user(metric)
    known = found[~np.isnan(found)]
    return float(known.mean()) if known.size else float("nan")


def summed(rows: LabelledRows, values: Floats) -> Floats:
    """Return (users,) the sums of values (rows,)."""
    return np.asarray(np.bincount(rows.users, weights=values, minlength=rows.n_users), dtype=np.float64)


def counted(rows: LabelledRows) -> Floats:
    """Return (users,) how many rows each has."""
    return summed(rows, np.ones(len(rows.users)))


def divided(parts: Floats, wholes: Floats) -> Floats:
    """Return quotients; NaN where the divisor is 0."""
    found: Floats = np.divide(parts, wholes, out=np.full(parts.shape, np.nan), where=wholes > 0)
    return found


def shares(parts: Floats, wholes: Floats) -> Floats:
    """Return (users,) values whose mean is sum(parts) / sum(wholes); NaN for users of whom nothing is in the whole."""
    there, total = wholes > 0, float(wholes.sum())
    values: Floats = np.where(there, parts * (int(there.sum()) / total if total else np.nan), np.nan)
    return values


def jackknifed(whole: float, without: Floats, there: NDArray[np.bool_]) -> Floats:
    """Return (users,) the jackknife values n T - (n - 1) T without the user, moved so that their mean is T.

    They make a paired sign-flip test of two values of T valid where rows of a user hang together.

    Args:
        whole: T of all n users.
        without: (users,) T without each of them.
        there: (users,) who of them has rows; the values of others are NaN.
    """
    users = int(there.sum())
    values = users * whole - (users - 1) * without
    moved: Floats = np.where(there, values - values[there].mean() + whole, np.nan)
    return moved


_RESAMPLED_TOGETHER = 100


@dataclass(frozen=True, slots=True)
class UserInterval:
    """A percentile interval over resamples of users; `dropped` is the share of resamples that had no value."""

    low: float
    high: float
    dropped: float


def user_intervals(
    lines: Sequence[Sequence[LabelledRows]], metrics: Sequence[str], *, samples: int, seed: int
) -> list[dict[str, UserInterval]]:
    """Return 95 % bootstrap intervals over users (Efron and Tibshirani 1993, section 13.3), widened by `expanded_tail`.

    Users are drawn with replacement, each with all its rows: rows of one user hang together, and an interval over rows
    would be too narrow. All lines and metrics are resampled with the same users. A resample without a value is dropped
    for the metric that lacks it.

    Args:
        lines: For each line of a board the rows of its runs; of several runs it is the interval of the mean over them.
        metrics: What to resample; a line whose runs do not all have one gets no interval of it.
        samples: Number of resamples.
        seed: Seed of the resampling.

    Returns:
        For each line intervals by metric; their ends are NaN where no resample has a value.
    """
    wanted = [
        (at, metric, [rows.resampler(metric) for rows in runs])
        for at, runs in enumerate(lines)
        for metric in metrics
        if all(rows.has(metric) for rows in runs)
    ]
    users = lines[0][0].n_users
    generator, even = np.random.default_rng(seed), np.full(users, 1.0 / users)
    values = np.empty((len(wanted), samples))
    for start in range(0, samples, _RESAMPLED_TOGETHER):
        size = min(_RESAMPLED_TOGETHER, samples - start)
        weights = generator.multinomial(users, even, size=size).T.astype(np.float64)
        for place, (_, _, runs) in enumerate(wanted):
            values[place, start : start + size] = np.mean([run(weights) for run in runs], axis=0)
    found: list[dict[str, UserInterval]] = [{} for _ in lines]
    tail = 100.0 * expanded_tail(users)
    for (at, metric, _), drawn in zip(wanted, values, strict=True):
        known = drawn[~np.isnan(drawn)]
        low, high = np.percentile(known, [tail, 100.0 - tail]) if known.size else (np.nan, np.nan)
        found[at][metric] = UserInterval(float(low), float(high), 1.0 - known.size / samples)
    return found

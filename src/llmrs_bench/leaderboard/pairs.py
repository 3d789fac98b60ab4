"""The tests of all pairs of rows of a board."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import isnan

import numpy as np
from numpy.typing import NDArray

from llmrs_bench.core.errors import IncomparableError
from llmrs_bench.leaderboard.family import Contrast, Difference, Family, PairTest
from llmrs_bench.leaderboard.matrix import ScoreMatrix
from llmrs_bench.stats import describe


@dataclass(frozen=True, slots=True)
class PairTests:
    """The tests of all pairs of lines of a block, by metric and pair (i, j), i < j.

    Args:
        matrix: The values of the block.
        places: The column of each pair.
        metrics: The row of each metric.
        p: (metrics, pairs), by themselves.
        corrected: (metrics, pairs), within their family.
        ends: (metrics, pairs, 2), intervals of first - second; None: of a group of requests.
        primary: (metrics, pairs), which are primary comparisons.
    """

    matrix: ScoreMatrix
    places: Mapping[tuple[int, int], int]
    metrics: Mapping[str, int]
    p: NDArray[np.float64]
    corrected: NDArray[np.float64]
    ends: NDArray[np.float64] | None
    primary: NDArray[np.bool_]

    def interval(self, metric: str, at: int, other: int) -> tuple[float | None, float | None]:
        """Return both ends of the interval of line `at` - line `other`."""
        if self.ends is None:
            return None, None
        low, high = self.ends[self.metrics[metric], self.places[min(at, other), max(at, other)]].tolist()
        if isnan(low):
            return None, None
        return (low, high) if at < other else (-high, -low)

    def contrast(self, metric: str, at: int, other: int) -> Contrast:
        """Return how a line differs from another one.

        Raises:
            IncomparableError: If they have no request in common.
        """
        values, lines = self.matrix.values[metric], self.matrix.lines
        found = describe(values[at], values[other], self.matrix.users)
        if not found.users:
            raise IncomparableError(
                f"{lines[at].run} and {lines[other].run} have no request in common",
                hint="Leave one of them out with --run.",
            )
        place = self.metrics[metric], self.places[min(at, other), max(at, other)]
        return Contrast(
            lines[other].run,
            found.difference,
            float(self.p[place]),
            float(self.corrected[place]),
            found.effect,
            found.wins,
            found.ties,
            found.losses,
            found.users,
            found.needed,
            *self.interval(metric, at, other),
            primary=bool(self.primary[place]),
        )

    def of_runs(self, metric: str) -> Callable[[str, str], PairTest | None]:
        """Return a function that gives the test of a run against another one; None where they share no request."""
        places = {line.run: at for at, line in enumerate(self.matrix.lines)}

        def test(run: str, other: str) -> PairTest | None:
            at, beside = places[run], places[other]
            values = self.matrix.values[metric]
            if np.isnan(values[at] - values[beside]).all():
                return None
            return PairTest(run, metric, self.contrast(metric, at, beside))

        return test

    def differences(self) -> Iterator[Difference]:
        """Yield the difference of every pair that has users in common, metric by metric."""
        runs = [line.run for line in self.matrix.lines]
        for metric, number in self.metrics.items():
            values = self.matrix.values[metric]
            means = values.mean(1)
            whole = ~np.isnan(means)
            for (i, j), place in self.places.items():
                drawn = means[i] - means[j] if whole[i] and whole[j] else _mean_difference(values[i] - values[j])
                if isnan(drawn):
                    continue
                yield Difference(
                    metric,
                    runs[i],
                    runs[j],
                    float(drawn),
                    *self.interval(metric, i, j),
                    float(self.p[number, place]),
                    float(self.corrected[number, place]),
                    bool(self.primary[number, place]),
                )


def _mean_difference(drawn: NDArray[np.float64]) -> float:
    known = drawn[~np.isnan(drawn)]
    return float(known.mean()) if known.size else float("nan")


def shown_primary(tested: PairTests, family: Family | None) -> Iterator[PairTest]:
    """Yield the primary comparisons that a board shows: all that were declared, or those with one row.

    That row is the best one, or the best of those held against where the best row is on neither side.
    """
    if family is None:
        return
    lines = tested.matrix.lines
    places = {line.run: at for at, line in enumerate(lines)}
    against, main = family.against, family.main
    if not family.declared:
        models = [line.run for line in lines if not line.is_bound]
        best = models[0] if models[0] in (*main, *against) else next(run for run in models if run in against)
        against, main = (best,), (against if best in main else main)
    order = [line.run for line in lines if line.run in main]
    for metric in family.metrics:
        for other in against:
            for run in order:
                if run != other:
                    yield PairTest(run, metric, tested.contrast(metric, places[run], places[other]))

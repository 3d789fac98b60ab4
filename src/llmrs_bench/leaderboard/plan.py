"""How a board is made, and how it says so."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from llmrs_bench.leaderboard.cost import COST_WORDS
from llmrs_bench.leaderboard.sheet import Sheet
from llmrs_bench.leaderboard.values import ALPHA, SIGN, Direction

# The smallest p is 1/(permutations + 1): so many permutations for each test leave room below .05 after a correction.
_PER_TEST = 25
_FEWEST, _MOST = 10_000, 1_000_000
_CORRECTION_WORDS = {"holm": "Holm", "bh": "Benjamini-Hochberg", "none": "no correction"}


@dataclass(frozen=True, slots=True)
class Plan:
    """How a board is made.

    Args:
        metrics: Names of the columns.
        samples: Resamples of the bootstrap.
        seed: Of resamples and permutations.
        permutations: Sign vectors of the tests; None: 25 for each test, at least 10,000 and at most 1,000,000.
        correction: `holm`, `bh` or `none`.
        by: What `groups` groups requests by.
        groups: Rows (request_id, group, order); None: no groups are shown.
        directions: Which values of a metric are better; more is, where it is silent.
    """

    metrics: tuple[str, ...]
    samples: int = 2000
    seed: int = 0
    permutations: int | None = None
    correction: str = "holm"
    by: str = ""
    groups: pl.DataFrame | None = None
    directions: Mapping[str, Direction] = field(default_factory=dict)

    def sign(self, metric: str) -> float:
        """Return 1 where more of a metric is better, -1 where less is, 0 where neither is."""
        return SIGN[self.directions.get(metric, "higher")]

    def resamples(self, tests: int) -> int:
        """Return how many permutations so many tests get."""
        return self.permutations or min(max(_FEWEST, _PER_TEST * tests), _MOST)


def explained(plan: Plan, tests: int, permutations: int, pareto_by: str) -> list[str]:
    """Say how intervals and tests were made, and what the marks mean."""
    return [
        f"95 % percentile bootstrap over users, {plan.samples:,} samples",
        f"=: not distinguishable from the best of its column (paired sign-flip test, {permutations:,} permutations, "
        f"{_CORRECTION_WORDS[plan.correction]} over all {tests:,} pairs, p >= {ALPHA:g})",
        f"*: on the Pareto front of quality and {COST_WORDS[pareto_by]}",
    ]


def coverage_notes(sheet: Sheet, plan: Plan, key: str) -> list[str]:
    """Say which rows were measured on fewer requests; tests use those that both rows have."""
    notes = ["one request: no interval, and every p is 1"] if len(sheet.requests) == 1 else []
    for line, values in zip(sheet.lines, sheet.values[key], strict=True):
        if missing := int(np.isnan(values).sum()):
            notes.append(
                f"{line.label}: {key} over {values.size - missing:,} of {values.size:,} requests; "
                "tests use the requests both rows have"
            )
    return notes


def server_notes(sheet: Sheet) -> list[str]:
    """Say which rows hold prompts that a server did not answer; they count as empty answers."""
    words = {
        "unanswered": "prompts got no answer from the server (-O unanswered)",
        "filtered": "prompts or answers were stopped by the server's content filter",
    }
    return [
        f"{line.label}: {count:,} {said}"
        for line in sheet.lines
        for name, said in words.items()
        if (count := line.about.get(name))
    ]


def power_notes(plan: Plan, tests: int, permutations: int) -> list[str]:
    """Say where so few permutations cannot reach a corrected p below .05."""
    if plan.correction == "none" or tests < ALPHA * (permutations + 1):
        return []
    return [
        f"{permutations:,} permutations may not tell rows apart among {tests:,} tests: the smallest p is "
        f"{1 / (permutations + 1):.1g}. Add --permutations {_PER_TEST * tests}"
    ]

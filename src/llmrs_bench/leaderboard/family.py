"""The primary comparisons of a board: pairs of rows that are corrected as a family of their own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from llmrs_bench.core.errors import OptionError

if TYPE_CHECKING:
    from llmrs_bench.leaderboard.build import BoardPlan
    from llmrs_bench.leaderboard.matrix import RunScores, ScoreMatrix

LANGUAGE_MODEL, FUSION, OTHER, CHANCE, STAND_IN = "language model", "fusion", "other", "chance", "stand-in"
MOCK = "mock"  # the model that reads nothing and answers at random


@dataclass(frozen=True, slots=True)
class Contrast:
    """How a row differs from another one in a metric, on the requests both have.

    Args:
        against: The run of the other row.
        difference: Mean of row - other.
        p: Of the paired sign-flip test, two-sided, by itself.
        corrected: The same, corrected for the family of the pair: the primary pairs, or all others of the board.
        effect: Cohen's d of paired differences; None where they do not vary.
        wins: Requests on which the row's value is the greater one.
        ties: Requests on which both are equal.
        losses: The others.
        users: Requests both have.
        needed: Users of whom as many show this difference with a power of 80 % at .05; None: no number would.
        low: Lower end of the 95 % interval of the difference; None of one user, and of groups of requests.
        high: Upper end.
        primary: Whether the pair is one of the primary comparisons.
    """

    against: str
    difference: float
    p: float
    corrected: float
    effect: float | None
    wins: int
    ties: int
    losses: int
    users: int
    needed: int | None
    low: float | None = None
    high: float | None = None
    primary: bool = False


@dataclass(frozen=True, slots=True)
class PairTest:
    """A row, a metric, and how the row differs from another one in it."""

    run: str
    metric: str
    contrast: Contrast


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference of one pair of rows in a metric: mean of first - second, its interval, and p as in `Contrast`."""

    metric: str
    first: str
    second: str
    difference: float
    low: float | None
    high: float | None
    p: float
    corrected: float
    primary: bool


def difference_from(found: Difference, against: str) -> Difference:
    """Return a difference as that of the other row from the run `against`, which is one of both."""
    if found.second == against:
        return found
    low, high = (None if end is None else -end for end in (found.high, found.low))
    return replace(
        found, first=found.second, second=found.first, difference=-found.difference or 0.0, low=low, high=high
    )


@dataclass(frozen=True, slots=True)
class Family:
    """The primary comparisons: each row of `main` against each row of `against`, in each of the metrics.

    Args:
        metrics: Their names.
        main: Runs of the rows that the question is about.
        against: Runs of the rows that they are held against.
        pairs: How many tests these are.
        declared: Whether somebody named them; else they are the language models and the rows that are neither language
            models nor fusions, in the metric that orders the board.
    """

    metrics: tuple[str, ...]
    main: tuple[str, ...]
    against: tuple[str, ...]
    pairs: int
    declared: bool

    def holds(self, metric: str, one: str, other: str) -> bool:
        """Return whether the pair of two runs is a primary comparison in a metric."""
        sides = (self.main, self.against)
        either = any(one in a and other in b for a, b in (sides, sides[::-1]))
        return metric in self.metrics and one != other and either


def kind_of(line: "RunScores") -> str:
    """Return `language model`, `stand-in` (the mock), `fusion` or `other`; nothing for bounds and chance."""
    if line.kind == LANGUAGE_MODEL and line.model == MOCK:
        return STAND_IN
    if line.kind in (LANGUAGE_MODEL, FUSION):
        return line.kind
    return "" if line.is_bound or line.model == CHANCE else OTHER


def find_family(matrix: "ScoreMatrix", key: str, plan: "BoardPlan") -> Family | None:
    """Return the primary comparisons of a board: those that the plan declares, or those that its headline is about.

    Without a declaration they are all pairs of a language model and another model that is no fusion, in the metric
    that orders rows: the headline chooses the best of either side by looking, and this family holds what it chooses.

    Args:
        matrix: The values of the rows.
        key: The metric that orders them.
        plan: Which metrics, rows and rows held against are declared.

    Returns:
        None where nothing is declared and one of both sides has no row: all pairs are then one family.

    Raises:
        OptionError: If a metric or row that was named is not on the board, or no pair is left.
    """
    declared = bool(plan.primary or plan.main or plan.against)
    metrics = plan.primary or (key,)
    if unknown := [metric for metric in metrics if metric not in matrix.values]:
        known = ", ".join(metric for metric in plan.metrics if metric in matrix.values)
        raise OptionError(
            f"--primary {unknown[0]}: the leaderboard has no tests of this metric", hint=f"It has those of {known}."
        )
    lines = [
        line
        for at, line in enumerate(matrix.lines)
        if not line.is_bound and not any(np.isnan(matrix.values[metric][at]).all() for metric in metrics)
    ]
    against = _named(lines, plan.against, "--against") or [line for line in lines if kind_of(line) == OTHER]
    main = _named(lines, plan.main, "--main") or _language_models(lines)
    if not main and plan.against:
        main = [line for line in lines if kind_of(line) and line not in against]
    if not plan.against:
        against = [line for line in against if line not in main]
    pairs = {frozenset((one.run, other.run)) for one in main for other in against if one.run != other.run}
    if pairs and (declared or plan.sign(key)):
        names = tuple(line.run for line in main if any(line.run in pair for pair in pairs))
        others = tuple(line.run for line in against if any(line.run in pair for pair in pairs))
        return Family(metrics, names, others, len(pairs) * len(metrics), declared)
    if declared:
        raise OptionError(
            "no pair of rows is left as a primary comparison",
            hint="Name rows with --against, and others with --main; without --main they are the language models.",
        )
    return None


def _language_models(lines: Sequence["RunScores"]) -> list["RunScores"]:
    """Return the language models; where there are none, the rows that stand in for them."""
    found = [line for line in lines if kind_of(line) == LANGUAGE_MODEL]
    return found or [line for line in lines if kind_of(line) == STAND_IN]


def _named(lines: Sequence["RunScores"], names: Sequence[str], option: str) -> list["RunScores"]:
    return pick_rows(lines, names, option, lambda line: line.runs)


class _Named(Protocol):
    """What has the names of a row."""

    @property
    def run(self) -> str: ...

    @property
    def model(self) -> str: ...

    @property
    def label(self) -> str: ...

    @property
    def about(self) -> Mapping[str, Any]: ...


_Row = TypeVar("_Row", bound=_Named)


def pick_rows(
    rows: Sequence[_Row], names: Sequence[str], option: str, runs: Callable[[_Row], Sequence[str]]
) -> list[_Row]:
    """Return the rows that names are of: of a model, of a model and its setting, of a run, or how that begins.

    The name that somebody gave to a run (`infer --name`) comes before all others.

    Args:
        rows: Of a board.
        names: What was typed.
        option: Where it was typed.
        runs: The names of the runs of a row.

    Raises:
        OptionError: If a name is of no row.
    """
    found: dict[str, _Row] = {}
    for name in names:
        chosen = (
            [row for row in rows if row.about.get("called") == name]
            or [row for row in rows if name in (row.model, row.label, *runs(row))]
            or [row for row in rows if any(run.startswith(name) for run in runs(row))]
        )
        if not chosen:
            known = "; ".join(dict.fromkeys(f"{row.label}{_call_name(row)}" for row in rows))
            raise OptionError(f"{option} {name}: no row has this name", hint=f"Its rows: {known}.")
        found |= {row.run: row for row in chosen}
    return list(found.values())


def _call_name(row: _Named) -> str:
    return f", called {name}" if (name := row.about.get("called")) else ""

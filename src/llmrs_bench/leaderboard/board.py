"""The values a board is made of: rows, cells, contrasts, and costs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any, Literal, TypeAlias

import polars as pl

from llmrs_bench.core.costs import COST_FIELDS
from llmrs_bench.leaderboard.family import Contrast, Difference, Family, PairTest
from llmrs_bench.leaderboard.headline import Headline
from llmrs_bench.leaderboard.variance import Spread

SHARES = ("coverage", "answered")
# The kind of rows that are no models: upper bounds.
BOUND = "oracle"
# A difference with a corrected p below this is called one.
ALPHA = 0.05
# Which values of a metric are better; of `neither` there is no best.
Direction: TypeAlias = Literal["higher", "lower", "neither"]
SIGN: dict[Direction, float] = {"higher": 1.0, "lower": -1.0, "neither": 0.0}


@dataclass(frozen=True, slots=True)
class Factors:
    """What a run was made with, as far as it says on which curve a run stands, and where.

    Args:
        family: The name of its model, without the number of samples that it was tuned on.
        words: What sets it apart from other runs of the model, by name, as a board says it.
        numbers: The value of each number that it was made with, defaults among them.
        whole: Whether it learned from everything there is to learn from.
        seed: Of its training and of what it learned from.
        engine: Of a language model.
        idle: Names of options that it would read if it were tuned on any samples; of a model tuned on none.
        tuning: Names of all that says how and on what it was tuned.
    """

    family: str
    words: Mapping[str, str] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)
    whole: bool = False
    seed: str = ""
    engine: str = ""
    idle: frozenset[str] = frozenset()
    tuning: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class EvaluatedRun:
    """One run that wants onto the board.

    Args:
        run: Its name on disk, or `chance`.
        model: The name of its row.
        kind: `baseline`, `recommender` or `language model`.
        setting: What sets it apart from other runs of the model, in words.
        metrics: Frame of the schema `metrics`; a request it lacks is not measured.
        group: What runs that differ by their seed alone have in common; they share a row.
        exact: Whether its values are expectations, without sampling error.
        about: Everything else that is known: history, tokens, seconds, command, fingerprint.
        figures: Metrics of the run as a whole, such as its coverage of the catalogue; they have no interval.
        factors: On which curve it stands; None: on none.
    """

    run: str
    model: str
    kind: str
    setting: str
    metrics: pl.DataFrame
    group: str = ""
    exact: bool = False
    about: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    factors: Factors | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """A mean and its 95 % interval over users; both ends are the mean where the value is exact.

    With several seeds it is the mean over them, and `spread` the standard deviation (n - 1) of their means. One user
    alone has no interval, nor has a figure of a run as a whole. `rank` is 1 for the best row of the metric, 2 for the
    next, 0 where no value is better than another, and for a bound that is no model; `versus` is None for the best and
    for those without rank.
    """

    mean: float
    low: float | None
    high: float | None
    spread: float | None = None
    rank: int = 0
    versus: Contrast | None = None

    @property
    def as_good(self) -> bool:
        """Whether it is not the best value, but not distinguishable from it."""
        return self.rank != 1 and self.versus is not None and self.versus.corrected >= ALPHA


@dataclass(frozen=True, slots=True)
class Cost:
    """What a row cost; None is not known. With several seeds it is the cost of one.

    Args:
        seconds: Training included.
        users_per_second: While ranking.
        tokens_read: Tokens of prompts that had to be computed.
        tokens_written: Tokens written, thoughts among them.
        joules: Of the device.
        price_usd: Of all requests, training included.
        seconds_per_1000: Seconds of ranking per 1,000 users, without training, which is done once.
        price_per_1000: USD of ranking per 1,000 users, without training.
    """

    seconds: float | None = None
    users_per_second: float | None = None
    tokens_read: int | None = None
    tokens_written: int | None = None
    joules: float | None = None
    price_usd: float | None = None
    seconds_per_1000: float | None = None
    price_per_1000: float | None = None

    @property
    def tokens(self) -> int | None:
        """Tokens read and written."""
        known = [count for count in (self.tokens_read, self.tokens_written) if count is not None]
        return sum(known) if known else None


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the board.

    Args:
        run: Name of its first run.
        model: What is ranked by.
        kind: `baseline`, `recommender` or `language model`.
        setting: What sets it apart from other rows of the model.
        cells: By metric.
        shares: `coverage` and `answered`.
        exact: Whether its values are expectations.
        about: Everything else that is known of it.
        seeds: How many runs it stands for.
        users: On how many requests it was measured.
        kinds: Share of each kind of response, empty where there are none.
        cost: What it cost.
        pareto: Whether no other row is as good at a lower cost, or better at the same; None: its cost is not known.
    """

    run: str
    model: str
    kind: str
    setting: str
    cells: Mapping[str, Cell]
    shares: Mapping[str, float]
    exact: bool
    about: Mapping[str, Any]
    seeds: int = 1
    users: int = 0
    kinds: Mapping[str, float] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    pareto: bool | None = None

    @property
    def by_heart(self) -> bool:
        """Whether a probe found that its model knows the data by heart: such a row is marked in every table."""
        return bool(self.about.get("memory"))

    @property
    def label(self) -> str:
        """Model and setting: what a row is called where it is looked for again."""
        return f"{self.model} ({self.setting})" if self.setting else self.model


@dataclass(frozen=True, slots=True)
class Section:
    """The board of one group of requests.

    Args:
        by: What requests are grouped by.
        group: The name of the group.
        users: How many users its requests are of.
        requests: How many requests it has; of clicks and ratings how many rows.
        rows: In the order of the board; a row without a value here is absent.
    """

    by: str
    group: str
    users: int
    requests: int
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One line of a published table; None: not printed there."""

    model: str
    setting: str
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class PublishedMatch:
    """A row of the board that has the model of a printed row.

    Args:
        run: The row's run.
        printed: The printed row.
        differences: In what the two were made differently: its name, ours and theirs, in words.
    """

    run: str
    printed: PublishedRow
    differences: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """Numbers that others printed: shown separately, and never tested against.

    Args:
        title: What the table is about.
        source: Where it was printed.
        protocol: How its numbers were made, as far as the source says.
        metrics: The names of its columns; those of ours where the definitions agree.
        rows: In the order of the source.
        stated: What of the protocol can be compared with ours, by the names of `prepare`, and `history`.
        matches: Rows of ours of the same models, in the order of the board.
    """

    title: str
    source: str
    protocol: str
    metrics: tuple[str, ...]
    rows: tuple[PublishedRow, ...]
    stated: Mapping[str, Any] = field(default_factory=dict)
    matches: tuple[PublishedMatch, ...] = ()


@dataclass(frozen=True, slots=True)
class Board:
    """Rows, best first, and the protocol that every number on them has.

    `key` is the metric that orders the rows, `pareto_by` the cost that the front weighs against it. `directions` says
    which values of a metric are better; of others, higher ones are. Costs are those of `unit`: users, each of whom is
    one request, or rows of click data. `family` names the primary comparisons and `primary` has those that are shown;
    without a family all pairs are corrected together. `differences` has every pair of rows over all requests, the one
    that is higher on the board first. `spreads` has where the variance of `key` is from, where rows have several seeds
    or requests several draws of candidates: of means, and of differences from `reference`. `scope` says over how many
    users means are, and how many candidates each of them has: numbers of other scopes are other numbers. `baseline` is
    the run that the gate compares all rows with; empty where there is none, or where it is a saved board.
    """

    title: str
    protocol: tuple[str, ...]
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    key: str = ""
    pareto_by: str = ""
    correction: str = "holm"
    tests: int = 0
    permutations: int = 0
    sections: tuple[Section, ...] = ()
    published: tuple[PublishedTable, ...] = ()
    directions: Mapping[str, Direction] = field(default_factory=dict)
    unit: str = "users"
    headline: Headline | None = None
    family: Family | None = None
    primary: tuple[PairTest, ...] = ()
    differences: tuple[Difference, ...] = ()
    spreads: tuple[Spread, ...] = ()
    scope: str = ""
    baseline: str = ""

    @property
    def reference(self) -> str:
        """The run that all others are shown against: the first that was declared, the gate's, or else the best one."""
        if self.family is not None and self.family.declared and self.key in self.family.metrics:
            return self.family.against[0]
        if self.baseline:
            return self.baseline
        return next((row.run for row in self.rows if self.key in row.cells and row.cells[self.key].rank == 1), "")

    @property
    def less_is_better(self) -> tuple[str, ...]:
        """The metrics of which a row is better with less."""
        return tuple(metric for metric in self.metrics if self.sign(metric) < 0)

    def sign(self, metric: str) -> float:
        """Return 1 where more of a metric is better, -1 where less is, 0 where neither is."""
        return SIGN[self.directions.get(metric, "higher")]


def told_apart(board: Board) -> Board:
    """Return the board with the names of runs in the settings of rows that have model and setting in common."""
    labels = Counter(row.label for row in board.rows)
    settings = {
        row.run: ", ".join(filter(None, [row.setting, f"run {row.run}"])) for row in board.rows if labels[row.label] > 1
    }

    def renamed(rows: Sequence[Row]) -> tuple[Row, ...]:
        return tuple(replace(row, setting=settings.get(row.run, row.setting)) for row in rows)

    sections = tuple(replace(section, rows=renamed(section.rows)) for section in board.sections)
    return replace(board, rows=renamed(board.rows), sections=sections)


# The mark of a row whose model knows the data by heart, and what it means.
BY_HEART = "‡"
BY_HEART_WORDS = "knows the data by heart, as its probe shows"
PRICE, SECONDS = "price_per_1000", "seconds_per_1000"


def cost_words(name: str, unit: str) -> str:
    """Return what a cost is, per user or per row of click data; nothing of no cost."""
    return next((cost.words.replace("users", unit) for cost in COST_FIELDS if cost.name == name), "")


def cost_of(about: Mapping[str, Any]) -> Cost:
    """Return the cost of a row from what is known of it; a number that is none is not known."""
    about = {name: None if isinstance(each, float) and not isfinite(each) else each for name, each in about.items()}
    requests, seconds, price = (about.get(name) for name in ("requests", "seconds", "price_usd"))
    rate, scoring, answering = (about.get(n) for n in ("requests_per_second", "scoring_seconds", "scoring_price_usd"))
    if rate is None and requests and scoring:
        rate = round(requests / scoring, 3)
    # What training cost once does not grow with the users; where nothing was trained, all of it is ranking.
    scoring, answering = seconds if scoring is None else scoring, price if answering is None else answering
    return Cost(
        seconds=seconds,
        users_per_second=rate,
        tokens_read=about.get("prefill_tokens"),
        tokens_written=about.get("completion_tokens"),
        joules=about.get("joules"),
        price_usd=price,
        seconds_per_1000=None if scoring is None or not requests else 1000 * scoring / requests,
        price_per_1000=None if answering is None or not requests else 1000 * answering / requests,
    )


def with_front(rows: Sequence[Row], metric: str, sign: float) -> tuple[list[Row], str]:
    """Say of each row whether it is on the Pareto front of a metric against cost, and which cost that is.

    The cost is the price where all rows with any cost know theirs, else the seconds: a front by price would hide rows
    whose price nobody set. A row is on the front if none is at least as good for at most as much, and
    better or cheaper; `sign` is -1 where less of the metric is better.
    """
    costed = [row for row in rows if row.cost.seconds is not None and row.kind != BOUND]
    by = PRICE if costed and all(row.cost.price_per_1000 is not None for row in costed) else SECONDS
    points = {
        row.run: (sign * row.cells[metric].mean, cost)
        for row in costed
        if (cost := getattr(row.cost, by)) is not None and metric in row.cells
    }

    def beaten(run: str) -> bool:
        quality, cost = points[run]
        return any(q >= quality and c <= cost and (q, c) != (quality, cost) for q, c in points.values())

    return [replace(row, pareto=None if row.run not in points else not beaten(row.run)) for row in rows], by


def ahead_of_front(rows: Sequence[Row], metric: str) -> list[Row]:
    """Return the rows that are better than all on the Pareto front, and whose cost nobody measured."""
    front = [row.cells[metric].rank for row in rows if row.pareto and metric in row.cells]
    unknown = (row for row in rows if row.pareto is None and not row.exact and metric in row.cells)
    return [row for row in unknown if front and 0 < row.cells[metric].rank < min(front)]


def front_words(rows: Sequence[Row], metric: str, by: str, unit: str) -> str:
    """Say what the Pareto front is of, and which rows are not held against it since nobody measured their cost."""
    unknown = [row for row in rows if row.pareto is None and not row.exact and row.kind != BOUND]
    names = [row.label for row in unknown if row.kind != "baseline"]
    if trivial := len(unknown) - len(names):
        names.append(f"{trivial} {'baseline' if trivial == 1 else 'baselines'}")
    lacking = f"; cost not measured, so neither on the front nor beaten by it: {', '.join(names)}" if names else ""
    if ahead := [row.label for row in ahead_of_front(rows, metric)]:
        lacking += f" (better than all rows on it: {', '.join(ahead)})"
    machines = {str(row.about["machine"]) for row in rows if row.pareto is not None and row.about.get("machine")}
    several = f"; rows were timed on {len(machines)} machines" if by == SECONDS and len(machines) > 1 else ""
    return f"on the Pareto front of {metric} and {cost_words(by, unit)}{several}{lacking}"

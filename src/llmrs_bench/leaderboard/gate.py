"""The gate: rules, and a board tested against a saved one."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from llmrs_bench.core.errors import IncomparableError, OptionError
from llmrs_bench.core.registry import unknown_name
from llmrs_bench.core.types import Kind
from llmrs_bench.leaderboard.board import SHARES, Board, Row
from llmrs_bench.leaderboard.build import ScoreMatrix
from llmrs_bench.stats import describe, sign_flip

GRAMMAR = (
    "'NAME drops > AMOUNT [at p < P]', 'NAME rises > AMOUNT [at p < P]', 'NAME drops at p < P', 'NAME < AMOUNT' or "
    "'NAME > AMOUNT', where AMOUNT may end in %"
)
COSTS = (
    "seconds",
    "users_per_second",
    "tokens",
    "joules",
    "price_usd",
    "seconds_per_1000",
    "price_per_1000",
)
INVALID = "invalid"
KINDS = get_args(Kind)
Verb: TypeAlias = Literal["drops", "rises", "<", ">"]

_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?"
_RULE = re.compile(
    rf"""\s*(?P<name>(?!(?:drops|rises)\b)[a-z][a-z0-9@_.-]*)\s*
    (?:\s(?P<verb>drops|rises)(?:\s*>\s*(?P<by>{_NUMBER})\s*(?P<by_percent>%)?)?(?:\s+at\s+p\s*<\s*(?P<p>{_NUMBER}))?
    |(?P<sign>[<>])\s*(?P<limit>{_NUMBER})\s*(?P<limit_percent>%)?)\s*""",
    re.VERBOSE | re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One condition under which the gate fails.

    The grammar, spaces free and case ignored:

        rule   := NAME ("drops" | "rises") [">" AMOUNT] ["at" "p" "<" P]     against the baseline; one of both at least
                | NAME ("<" | ">") AMOUNT                                    against a fixed value
        AMOUNT := number ["%"]       after drops and rises, % of the baseline's value; else hundredths
        NAME   := a metric of the board | coverage | answered | invalid | a kind of response
                | seconds | users_per_second | tokens | joules | price_usd | seconds_per_1000 | price_per_1000

    `drops` fails if the mean of row - baseline over common requests is below -AMOUNT and, with P, the paired
    sign-flip test of that row by itself has p < P. `invalid` is the share of responses that are not `complete`.

    Args:
        text: As it was typed.
        name: What is looked at.
        verb: `drops`, `rises`, `<` or `>`.
        amount: By how much, or the limit.
        relative: Whether the amount is a share of the baseline's value.
        p: Below which a difference counts; None: whatever its p.
    """

    text: str
    name: str
    verb: Verb
    amount: float
    relative: bool = False
    p: float | None = None

    @property
    def needs_baseline(self) -> bool:
        """Whether it compares with another row."""
        return self.verb in ("drops", "rises")


def parse_rule(text: str) -> Rule:
    """Read a rule.

    Raises:
        OptionError: Showing the grammar, if it is none.
    """
    found = _RULE.fullmatch(text)
    parts = found.groupdict() if found else {}
    if not found or (parts["verb"] and parts["by"] is None and parts["p"] is None):
        raise OptionError(f"--fail-if {text!r} is no rule", hint=f"Write {GRAMMAR}.")
    name = parts["name"].lower()
    if parts["sign"]:
        scale = 0.01 if parts["limit_percent"] else 1.0
        return Rule(text, name, ">" if parts["sign"] == ">" else "<", float(parts["limit"]) * scale)
    p = None if parts["p"] is None else float(parts["p"])
    if p is not None and not 0 < p <= 1:
        raise OptionError(f"--fail-if {text!r}: p is between 0 and 1", hint=f"Write {GRAMMAR}.")
    scale = 0.01 if parts["by_percent"] else 1.0
    verb: Verb = "drops" if parts["verb"].lower() == "drops" else "rises"
    return Rule(text, name, verb, float(parts["by"] or 0.0) * scale, bool(parts["by_percent"]), p)


def quantities(metrics: Sequence[str]) -> list[str]:
    """Return all names a rule may use on a board of these metrics."""
    return list(dict.fromkeys([*metrics, *SHARES, INVALID, *KINDS, *COSTS]))


def quantity(row: Row, name: str) -> float | None:
    """Return what a name means for a row; None where it is not known."""
    if name in row.cells:
        return row.cells[name].mean
    if name in row.shares:
        return row.shares[name]
    if name == INVALID:
        return 1.0 - row.kinds.get("complete", 0.0) if row.kinds else None
    if name in KINDS:
        return row.kinds.get(name, 0.0) if row.kinds else None
    return getattr(row.cost, name) if name in COSTS else None


_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Counterpart:
    """The baseline of a row: its own row, and by metric its values on the board's requests, NaN where it has none."""

    row: Row
    values: Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Change:
    """How a row differs from its baseline in a metric, on the requests both have; `p` is that of this test alone."""

    run: str
    row: str
    baseline: str
    metric: str
    before: float
    now: float
    difference: float
    p: float
    effect: float | None
    users: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule says about a row."""

    rule: str
    run: str
    row: str
    failed: bool
    value: float
    limit: float
    before: float | None = None
    p: float | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """All changes against the baseline, and what the rules say; `notes` are about rows that could not be judged."""

    baseline: str = ""
    changes: tuple[Change, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def failures(self) -> tuple[Verdict, ...]:
        """The verdicts that fail the gate."""
        return tuple(verdict for verdict in self.verdicts if verdict.failed)


def check_rules(rules: Sequence[Rule], metrics: Sequence[str], *, tested: Collection[str], baseline: bool) -> None:
    """Refuse rules that cannot be judged on a board of these metrics, of which some can be tested.

    Raises:
        OptionError: If a name is unknown, or a baseline or a test is asked for where there is none.
    """
    for rule in rules:
        if rule.name not in quantities(metrics):
            raise unknown_name("quantity in --fail-if", rule.name, quantities(metrics))
        if rule.needs_baseline and not baseline:
            raise OptionError(f"--fail-if {rule.text!r} needs a baseline", hint="Add --baseline RUN or FILE.")
        if rule.p is not None and rule.name not in {*metrics} & {*tested}:
            raise OptionError(
                f"--fail-if {rule.text!r}: {rule.name} is one number of a run, so it has no p",
                hint="Leave out 'at p < ...'.",
            )


def judge(
    board: Board,
    matrix: ScoreMatrix,
    judged: Sequence[str],
    rules: Sequence[Rule],
    counterparts: Mapping[str, Counterpart],
    *,
    baseline: str,
    seed: int,
) -> Gate:
    """Hold rows against their baselines and against rules.

    Args:
        board: The board of now.
        matrix: Its values.
        judged: Runs of the rows that are judged.
        rules: When the gate fails.
        counterparts: Baselines by run; a row without one is judged by fixed limits alone.
        baseline: The name of the baseline, or nothing.
        seed: Seed of the permutations.

    Raises:
        OptionError: If a rule can be judged for no row.
        IncomparableError: If a row and its baseline have no request in common.
    """
    rows = {row.run: row for row in board.rows if row.run in judged}
    tested = [metric for metric in board.metrics if metric in matrix.values]
    metrics = [m for m in tested if all(m in found.values for found in counterparts.values())]
    if absent := [rule for rule in rules if rule.needs_baseline and rule.name in {*tested} - {*metrics}]:
        raise OptionError(
            f"--fail-if {absent[0].text!r}: {baseline} does not hold {absent[0].name}",
            hint=f"It holds {', '.join(metrics) or 'none of these metrics'}.",
        )
    changes = _changes(board, matrix, {run: counterparts[run] for run in rows if run in counterparts}, metrics, seed)
    verdicts: list[Verdict] = []
    for rule in rules:
        found = [_verdict(rule, row, counterparts.get(row.run), changes) for row in rows.values()]
        known = [verdict for verdict in found if verdict is not None]
        if not known:
            raise OptionError(
                f"--fail-if {rule.text!r}: no judged row knows its {rule.name}",
                hint=f"Judged: {', '.join(row.label for row in rows.values()) or 'none'}.",
            )
        verdicts += known
    alone = [row.label for row in rows.values() if row.run not in counterparts] if baseline else []
    notes = [f"not in {baseline}, so held against fixed limits alone: {', '.join(alone)}"] if alone else []
    return Gate(baseline, tuple(changes), tuple(verdicts), tuple(notes))


def _changes(
    board: Board, matrix: ScoreMatrix, pairs: Mapping[str, Counterpart], metrics: Sequence[str], seed: int
) -> list[Change]:
    if not pairs or not metrics:
        return []
    places = {line.run: at for at, line in enumerate(matrix.lines)}
    labels = {row.run: row.label for row in board.rows}
    stack = np.stack(
        [
            np.stack([v for run, base in pairs.items() for v in (matrix.values[m][places[run]], base.values[m])])
            for m in metrics
        ]
    )
    index = np.arange(2 * len(pairs)).reshape(-1, 2)
    p = sign_flip(stack, index, samples=board.permutations, seed=seed)
    changes = []
    for number, (run, base) in enumerate(pairs.items()):
        for place, metric in enumerate(metrics):
            now, before = stack[place, 2 * number], stack[place, 2 * number + 1]
            found, both = describe(now, before), ~np.isnan(now + before)
            if not found.users:
                raise IncomparableError(
                    f"{labels[run]} and its baseline have no request in common", hint="Choose another baseline."
                )
            means = float(before[both].mean()), float(now[both].mean())
            changes.append(
                Change(
                    run,
                    labels[run],
                    base.row.label,
                    metric,
                    *means,
                    found.difference,
                    float(p[place, number]),
                    found.effect,
                    found.users,
                )
            )
    return changes


def _verdict(rule: Rule, row: Row, base: Counterpart | None, changes: Sequence[Change]) -> Verdict | None:
    """Return what a rule says about a row; None where it says nothing."""
    value = quantity(row, rule.name)
    if value is None:
        return None
    if not rule.needs_baseline:
        failed = value > rule.amount if rule.verb == ">" else value < rule.amount
        return Verdict(rule.text, row.run, row.label, failed, value, rule.amount)
    if base is None:
        return None
    tested = [change for change in changes if change.run == row.run and change.metric == rule.name]
    before = tested[0].before if tested else quantity(base.row, rule.name)
    if before is None:
        return None
    value, p = (tested[0].now, tested[0].p) if tested else (value, None)
    amount = rule.amount * (abs(before) if rule.relative else 1.0)
    moved = before - value if rule.verb == "drops" else value - before
    failed = moved > amount + _ROUNDING and (rule.p is None or (p is not None and p < rule.p))
    return Verdict(rule.text, row.run, row.label, failed, value, amount, before, p)

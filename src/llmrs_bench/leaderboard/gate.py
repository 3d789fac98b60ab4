"""The gate: rules, and a board tested against a saved one."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, floor, isfinite, log2
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from llmrs_bench.core.costs import COST_NAMES
from llmrs_bench.core.errors import IncomparableError, OptionError
from llmrs_bench.core.registry import unknown_name
from llmrs_bench.core.types import Kind
from llmrs_bench.leaderboard.board import SHARES, Board, Row, told_apart
from llmrs_bench.leaderboard.matrix import RunScores, ScoreMatrix
from llmrs_bench.leaderboard.saved import Saved
from llmrs_bench.stats import describe, sign_flip

GRAMMAR = (
    "'NAME drops > AMOUNT [at p < P]', 'NAME rises > AMOUNT [at p < P]', 'NAME drops at p < P', 'NAME < AMOUNT' or "
    "'NAME > AMOUNT', where AMOUNT may end in %"
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
        NAME   := a metric of the board | coverage | answered | invalid | a kind of response | a name of `COST_NAMES`

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
    if not all(isfinite(float(parts[number] or 0)) for number in ("limit", "by", "p")):
        raise OptionError(f"--fail-if {text!r}: a number is not finite", hint="No value can reach it: write another.")
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
    return list(dict.fromkeys([*metrics, *SHARES, INVALID, *KINDS, *COST_NAMES]))


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
    return getattr(row.cost, name) if name in COST_NAMES else None


_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Counterpart:
    """The baseline of a row: its own row, and by metric its values on the board's requests, NaN where it has none.

    `requests` is on how many it was measured, those that are not on the board among them.
    """

    row: Row
    values: Mapping[str, NDArray[np.float64]]
    requests: int


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


# The rule that every row of the baseline is on the board, and every judged row in the baseline.
NO_PARTNER = "has no partner"
# The rule that every run that should be judged is on the board.
OFF_BOARD = "is not on the board"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule says about a row.

    Args:
        rule: As it was typed, or `NO_PARTNER`, or `OFF_BOARD`.
        run: The run of the row; where the board lacks the row, that of the baseline.
        row: What the row is called.
        failed: Whether it fails the gate.
        name: What the rule looks at.
        value: What it found; None: it is not known.
        limit: What the value, or its change, is held against.
        before: The value of the baseline.
        p: Of the test of that row alone.
        reason: Why a row fails whose value nobody knows.
    """

    rule: str
    run: str
    row: str
    failed: bool
    name: str = ""
    value: float | None = None
    limit: float | None = None
    before: float | None = None
    p: float | None = None
    reason: str = ""

    @property
    def is_share(self) -> bool:
        """Whether its values are shares, between 0 and 1."""
        return self.name in (*SHARES, INVALID, *KINDS)


@dataclass(frozen=True, slots=True)
class Gate:
    """All changes against the baseline, and what the rules say, failures first.

    `notes` are about rows that could not be judged.
    """

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
        if rule.p is not None and rule.name in tested and rule.name not in metrics:
            raise OptionError(
                f"--fail-if {rule.text!r}: only metrics of the leaderboard have a p, and {rule.name} is none of these",
                hint=f"Add it, --metrics {','.join([*metrics, rule.name])}, or leave out 'at p < ...'.",
            )
        if rule.p is not None and rule.name not in {*metrics} & {*tested}:
            raise OptionError(
                f"--fail-if {rule.text!r}: {rule.name} is one number of a run, so it has no p",
                hint="Leave out 'at p < ...'.",
            )


def judged_lines(lines: Sequence[RunScores], names: Sequence[str]) -> list[RunScores]:
    """Return the rows a gate judges: those of runs that begin with one of `names`; without names, all models."""
    if names:
        return [line for line in lines if any(run.startswith(tuple(names)) for run in line.runs)]
    return [line for line in lines if line.kind != "baseline" and not line.is_bound]


def named_line(name: str, lines: Sequence[RunScores]) -> RunScores:
    """Return the row of the run that begins with a name.

    Raises:
        OptionError: If it is none, or several.
    """
    fits = [line for line in lines if any(run.startswith(name) for run in line.runs)]
    if len(fits) == 1:
        return fits[0]
    if not fits:
        raise unknown_name("run in --baseline", name, [run for line in lines for run in line.runs])
    raise OptionError(
        f"--baseline {name} means {len(fits)} rows", hint=f"Name one of {', '.join(line.run for line in fits)}."
    )


@dataclass(frozen=True, slots=True)
class Baseline:
    """What rows are held against: its name, the counterparts of rows by run, and its rows that are nobody's."""

    name: str = ""
    counterparts: Mapping[str, Counterpart] = field(default_factory=dict)
    absent: tuple[Row, ...] = ()


def saved_baseline(
    name: str, saved: Saved, judged: Sequence[RunScores], board: ScoreMatrix, names: Sequence[str]
) -> Baseline:
    """Return the saved rows that judged rows are held against, and those that would be judged but have no row here.

    A row is compared with the saved row of the same run, or else with the one of the same model and setting. If several
    have these, it is the only one whose run is not on the board, or that was made with the same engine, or else none.
    """
    places = {request: at for at, request in enumerate(saved.matrix.requests)}
    order = np.array([places.get(request, -1) for request in board.requests])
    here, rows = {run for line in board.lines for run in line.runs}, saved.board.rows
    found, met = {}, set()
    for line in judged:
        fits = [at for at, row in enumerate(rows) if row.run in line.runs][:1]
        fits = fits or [at for at, row in enumerate(rows) if row.label == line.label]
        for narrower in (
            [at for at in fits if rows[at].run not in here],
            [at for at in fits if rows[at].about.get("engine") == line.about.get("engine")],
        ):
            fits = narrower if len(fits) > 1 and narrower else fits
        if len(fits) == 1:
            values = {m: np.where(order < 0, np.nan, each[fits[0]][order]) for m, each in saved.matrix.values.items()}
            measured = measured_requests(saved.matrix.values[saved.board.key][fits[0]])
            found[line.run] = Counterpart(rows[fits[0]], values, measured)
            met.add(rows[fits[0]].run)
    wanted = {line.run for line in judged_lines(saved.matrix.lines, names)} - met
    return Baseline(name, found, tuple(row for row in told_apart(saved.board).rows if row.run in wanted))


def judge(
    board: Board,
    matrix: ScoreMatrix,
    judged: Sequence[str],
    rules: Sequence[Rule],
    baseline: Baseline,
    *,
    seed: int,
    off_board: Sequence[str] = (),
    allow_missing: bool = False,
) -> Gate:
    """Hold rows against their baselines and against rules.

    A language model whose cost a rule needs fails where that cost is not known, and so does a row that lacks a metric,
    or whose figure of a whole run is of another number of requests than that of its baseline.

    Args:
        board: The board of now.
        matrix: Its values.
        judged: Runs of the rows that are judged.
        rules: When the gate fails.
        baseline: What they are held against.
        seed: Seed of the permutations.
        off_board: Runs that should be judged, and are damaged.
        allow_missing: Whether those, and rows without a partner, here or in the baseline, are noted and do not fail.

    Raises:
        OptionError: If a rule can be judged for no row, or its p is below all that the test of a row can reach.
        IncomparableError: If a row and its baseline have no request in common.
    """
    board, counterparts = told_apart(board), baseline.counterparts
    rows = {row.run: row for row in board.rows if row.run in judged}
    tested = [metric for metric in board.metrics if metric in matrix.values]
    metrics = [m for m in tested if all(m in found.values for found in counterparts.values())]
    if lacking := [rule for rule in rules if rule.needs_baseline and rule.name in {*tested} - {*metrics}]:
        raise OptionError(
            f"--fail-if {lacking[0].text!r}: {baseline.name} does not hold {lacking[0].name}",
            hint=f"It holds {', '.join(metrics) or 'none of these metrics'}.",
        )
    for rule in rules:
        held = [found.row.cells for found in counterparts.values()]
        if rule.needs_baseline and rule.name in {*board.metrics} - {*tested} and held and rule.name not in held[0]:
            raise OptionError(
                f"--fail-if {rule.text!r}: {baseline.name} does not hold {rule.name}",
                hint=f"Save it again with --metrics {','.join(board.metrics)}.",
            )
    changes = _changes(board, matrix, {run: counterparts[run] for run in rows if run in counterparts}, metrics, seed)
    for rule in rules:
        _check_reach(rule, [change for change in changes if change.metric == rule.name], board.permutations)
    alone = [row for row in rows.values() if row.run not in counterparts] if baseline.name else []
    unread = "damaged: the warnings say what to do; or name rows with --run"
    missing = [Verdict(OFF_BOARD, run, run, True, reason=unread) for run in off_board]
    for rows_alone, reason in (
        (alone, f"{baseline.name} has no such row, or several"),
        (baseline.absent, f"it is in {baseline.name} alone"),
    ):
        missing += [Verdict(NO_PARTNER, row.run, row.label, True, reason=reason) for row in rows_alone]
    verdicts = missing if rules and not allow_missing else []
    notes = [] if verdicts else [f"{verdict.row} {verdict.rule}: {verdict.reason}" for verdict in missing]
    for rule in rules:
        found = {row.run: _verdict(rule, row, counterparts.get(row.run), changes) for row in rows.values()}
        if rule.needs_baseline and rule.name in {*board.metrics} - {*tested}:
            for run in found.keys() & counterparts.keys():
                if reason := _uneven(run, counterparts[run], matrix.values[board.key], matrix):
                    found[run] = Verdict(rule.text, run, rows[run].label, True, rule.name, reason=reason)
        asked = [row for row in rows.values() if row.run in counterparts or not rule.needs_baseline]
        unknown = [row for row in asked if found[row.run] is None]
        failed = [row for row in unknown if quantity(row, rule.name) is None and _has_to_know(row, rule, board)]
        known = [verdict for verdict in found.values() if verdict is not None]
        if not known and not failed and (asked or allow_missing or not alone):
            said = f"knows its {rule.name}" if asked else f"is in {baseline.name}"
            raise OptionError(
                f"--fail-if {rule.text!r}: no judged row {said}",
                hint=f"Judged: {', '.join(row.label for row in rows.values()) or 'none'}.",
            )
        reason = f"its {rule.name} is not known"
        verdicts += known
        verdicts += [Verdict(rule.text, row.run, row.label, True, rule.name, reason=reason) for row in failed]
        if rule.name in COST_NAMES and (rest := [row.label for row in unknown if row not in failed]):
            notes.append(f"{rule.text!r} does not judge {', '.join(rest)}: {rule.name} is not known, or was not before")
    verdicts.sort(key=lambda verdict: not verdict.failed)
    return Gate(baseline.name, tuple(changes), tuple(verdicts), tuple(notes))


def measured_requests(values: NDArray[np.float64]) -> int:
    """Return on how many requests a row was measured."""
    return int((~np.isnan(values)).sum())


def _uneven(run: str, base: Counterpart, values: NDArray[np.float64], matrix: ScoreMatrix) -> str:
    """Return why figures of a whole run cannot be held against those of its baseline, nothing if they can."""
    now = measured_requests(values[[line.run for line in matrix.lines].index(run)])
    if now == base.requests:
        return ""
    return f"it is of {now:,} requests, that of {base.row.label} of {base.requests:,}, and it depends on their number"


def _check_reach(rule: Rule, changes: Sequence[Change], permutations: int) -> None:
    """Refuse a rule that no change could violate: the signs of n differences have 2 ** n patterns, two of them extreme.

    Raises:
        OptionError: Naming how many users, or permutations, it takes.
    """
    if rule.p is None or not changes:
        return
    fewest = min(changes, key=lambda change: change.users)
    least, sampled = 2.0 ** (1 - fewest.users), 1 / (permutations + 1)
    if least >= rule.p:
        raise OptionError(
            f"--fail-if {rule.text!r} can never fail for {fewest.row}: with {fewest.users} users p is at least "
            f"{least:.3g}",
            hint=f"It takes {floor(1 - log2(rule.p)) + 1} users; or write a rule without 'at p < {rule.p:g}'.",
        )
    if sampled >= rule.p:
        raise OptionError(
            f"--fail-if {rule.text!r} can never fail: with {permutations:,} permutations p is at least {sampled:.2g}",
            hint=f"Add --permutations {ceil(1 / rule.p)} or more.",
        )


def _has_to_know(row: Row, rule: Rule, board: Board) -> bool:
    return rule.name in board.metrics or (rule.name in COST_NAMES and row.kind == "language model")


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
    p = sign_flip(stack, index, samples=board.permutations, seed=seed, clusters=matrix.users)
    changes = []
    for number, (run, base) in enumerate(pairs.items()):
        for place, metric in enumerate(metrics):
            now, before = stack[place, 2 * number], stack[place, 2 * number + 1]
            found, both = describe(now, before, matrix.users), ~np.isnan(now + before)
            if np.isnan(now).all() or np.isnan(before).all():  # as scores that are no probabilities have no log-loss
                continue
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
        return Verdict(rule.text, row.run, row.label, failed, rule.name, value, rule.amount)
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
    return Verdict(rule.text, row.run, row.label, failed, rule.name, value, amount, before, p)

"""The rules of the gate: read from a line of text."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from llmrs_bench.errors import OptionError
from llmrs_bench.leaderboard.values import SHARES, Row
from llmrs_bench.types import Kind

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

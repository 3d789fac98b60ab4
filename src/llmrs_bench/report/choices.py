"""What answers have in common more often than chance allows, in words."""

from collections.abc import Mapping
from math import exp, lgamma, log
from typing import Any

_DOUBT, _EXCESS = 0.001, 0.1


def choice_words(facts: Mapping[str, Any] | None) -> list[str]:
    """Say how many answers repeat the order shown, and which first place is too frequent; nothing where none is.

    Args:
        facts: What `stages.first_choices` counted; None where there is nothing.
    """
    if not facts:
        return []
    shown, words = int(facts["shown"]), []
    if is_beyond_chance(facts["repeats"], facts["orders"], chance=1 / shown**2, cases=1):
        words.append(f"{_percent(facts['repeats'], facts['orders'])} repeat the order shown")
    if is_beyond_chance(facts["first_count"], facts["answers"], chance=1 / shown, cases=shown):
        words.append(f"first place: {facts['first']} in {_percent(facts['first_count'], facts['answers'])}")
    return words


def _percent(count: int, total: int) -> str:
    return f"{100 * count / total:.3g} %"


def is_beyond_chance(count: int, total: int, *, chance: float, cases: int) -> bool:
    """Tell whether a share is far above what chance allows.

    It is where a binomial distribution reaches `count` with a probability below 0.001 / `cases`, and the share is above
    chance by a tenth of what it could be above it: of many answers a small excess is certain, and yet no matter.

    Args:
        count: How often it happened.
        total: How often it could have.
        chance: The probability of each, between 0 and 1.
        cases: How many such counts this is the largest of.
    """
    if not total or count / total < chance + _EXCESS * (1 - chance):
        return False
    return _tail(count, total, chance) < _DOUBT / cases


def _tail(count: int, total: int, chance: float) -> float:
    """Return the probability of `count` or more of `total`."""

    def term(number: int) -> float:
        ways = lgamma(total + 1) - lgamma(number + 1) - lgamma(total - number + 1)
        return exp(ways + number * log(chance) + (total - number) * log(1 - chance))

    return sum(map(term, range(count, total + 1)))

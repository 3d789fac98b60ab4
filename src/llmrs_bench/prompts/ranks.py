"""Ranks at the beginning of lines: numbers, letters, Roman numerals and words, and whether they count."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

_WORDS = r"(?:rank(?:ing)?|place|position|pick|choice|top|number|no|nr|platz|rang|puesto|posto|место|第|順位|순위)"
_NUMBER = re.compile(
    rf"[\s>*_`\"'\[(#]*(?P<word>{_WORDS}[\s.:#]*)?(?P<number>[0-9]{{1,9}})(?:st|nd|rd|th|º|°|ª|er|ère|位|名|番|위|번)?(?![0-9\w])"
    r"(?P<sign>[\])*_`\"']*\s*(?:->|=>|→|[.:;)|,、=>~]+|[-–—]+(?=[\s\w\[(*\"'])|(?=\s|$)|(?<=[\])]))[*_`]*)\s*(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_LETTERS = re.compile(
    r"[\s>*_`\"'\[(]*(?P<number>[A-Za-z]{1,7})(?P<sign>[*_`]*[.):\]][*_`.:]*)\s+(?P<rest>.*)", re.DOTALL
)
_ORDINALS = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh"]
_ORDINALS += ["twelfth", *(f"{n}teenth" for n in ("thir", "four", "fif", "six", "seven", "eigh", "nine")), "twentieth"]
_WORDED = re.compile(
    rf"[\s>*_`\"']*({'|'.join(_ORDINALS)})(?:\s+(?:place|pick|choice))?[*_`]*\s*[:.,)\-–—=]+[*_`]*\s*(.*)",
    re.IGNORECASE | re.DOTALL,
)
_ROMAN = re.compile(r"(?=[ivxl])(xl|l?x{0,3})(ix|iv|v?i{0,3})", re.IGNORECASE)
_VALUES = {"i": 1, "v": 5, "x": 10, "l": 50}


@dataclass(frozen=True, slots=True)
class Rank:
    """What may be the rank of a line.

    Args:
        values: The numbers that it may be: of "i." as a Roman numeral and as a letter, None where it is none.
        rest: What follows it.
        parted: Whether more than a space stands between the two.
        worded: Whether a word says that it is a rank.
    """

    values: tuple[int | None, int | None, int | None]
    rest: str
    parted: bool = True
    worded: bool = False

    @property
    def full(self) -> bool:
        """Whether an item may follow it."""
        return any(map(str.isalnum, self.rest))


@lru_cache(4096)
def read_rank(line: str) -> Rank | None:
    """Return the rank with which a line begins, if there is one."""
    if re.match(r"\W*0\.[0-9]", line):
        return None
    if found := _NUMBER.match(line):
        parted = bool(found["word"] or found["sign"].strip(" *_`\"'"))
        return Rank((int(found["number"]), None, None), found["rest"], parted, bool(found["word"]))
    if found := _WORDED.match(line):
        return Rank((_ORDINALS.index(found[1].lower()) + 1, None, None), found[2], worded=True)
    if found := _LETTERS.match(line):
        mark = found["number"].lower()
        roman = _roman(mark) if _ROMAN.fullmatch(mark) else None
        letter = ord(mark) - ord("a") + 1 if len(mark) == 1 else None
        if roman or letter:
            return Rank((None, roman, letter), found["rest"])
    return None


def _roman(mark: str) -> int:
    numbers = [_VALUES[sign] for sign in mark]
    return sum(-one if one < after else one for one, after in zip(numbers, [*numbers[1:], 0], strict=True))


def counting(ranks: Sequence[Rank]) -> bool:
    """Tell whether ranks count: from 1 upwards, or one by one from where an earlier list ended."""
    for kind in range(3):
        values = [value for rank in ranks if (value := rank.values[kind]) is not None]
        if len(values) != len(ranks) or not values:
            continue
        if all(before < after for before, after in pairwise(values)) and (
            (values[0] == 1 and (kind == 0 or len(values) > 1))
            or (len(values) > 2 and values[-1] - values[0] == len(values) - 1 and kind == 0)
        ):
            return True
    return False

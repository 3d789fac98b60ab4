"""Which candidate a text names: its label, or its whole title up to what nobody writes alike."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Literal, TypeAlias
from unicodedata import combining, normalize

from llmrs_bench.types import Listed

_AFTER_TITLE = re.compile(r"\s*(?:$|[^\w\s])")
_BEHIND_TITLE = re.compile(r"\s+[-–—]\s+(?=[a-z])|:\s(?=[a-z])")  # prose; a capital may go on with a longer title
_YEAR = re.compile(r"^(.*?)[\s,]*\(?\b(1[89]\d\d|20\d\d)\)?\s*$", re.DOTALL)
_QUOTES = "\"'“”‘’«»„*_ \t"
_ARTICLES = ("the", "a", "an", "les", "le", "la", "il", "el", "der", "die", "das", "l")
Entry: TypeAlias = int | Literal["history", "off-list"]  # the place of a candidate, or what else an answer names
PAST: Final = "history"
OFF: Final = "off-list"


class Names:
    """What each label and each title means."""

    def __init__(self, listed: Listed) -> None:
        self.labels = {label: place for place, label in enumerate(listed.labels) if label}
        self.numeric = all(label.isdecimal() for label in self.labels)
        self.titles = listed.titles
        self._levels = [_unique(list(map(_lower, listed.titles))), _unique(list(map(_fold, listed.titles)))]
        self._cores: dict[str, list[tuple[int, str]]] = {}
        for place, title in enumerate(listed.titles):
            core, year = _core(title)
            self._cores.setdefault(core, []).append((place, year))
        self._past = {_core(title)[0] for title in listed.history} | {_fold(title) for title in listed.history}

    def title(self, text: str) -> int | None:
        """Return the place of the only candidate that a whole text is the title of."""
        bare = text.strip(_QUOTES)
        for found, key in zip(self._levels, (_lower(bare), _fold(bare)), strict=True):
            if (place := found.get(key)) is not None:
                return place
        core, year = _core(bare)
        near = [place for place, known in self._cores.get(core, ()) if not (year and known and year != known)]
        return near[0] if core and len(near) == 1 else None

    def number(self, digits: str) -> Entry:
        """Return what a number in a list of labels means: a label, or a title such as 1984."""
        place = self.labels.get(digits, self.title(digits))
        return OFF if place is None else place

    def past(self, text: str) -> bool:
        """Tell whether a text is a title of the history."""
        bare = text.strip(_QUOTES)
        return bool(_fold(bare)) and (_fold(bare) in self._past or _core(bare)[0] in self._past)

    def entry(self, text: str) -> Entry:
        """Return what an entry of a list means."""
        for part in (text, _BEHIND_TITLE.split(text, maxsplit=1)[0]):
            if (place := self.title(part)) is not None:
                return place
        return PAST if any(self.past(part) for part in (text, _BEHIND_TITLE.split(text, maxsplit=1)[0])) else OFF

    def begins(self, place: int, text: str) -> bool:
        """Tell whether a text begins with the title of a candidate, with no more words of a title behind it."""
        title = _lower(self.titles[place])
        said = _lower(text)
        return bool(title) and said.startswith(title) and bool(_AFTER_TITLE.match(said[len(title) :]))


def _unique(keys: Sequence[str]) -> dict[str, int | None]:
    """Return key to its place; None where several share it."""
    found: dict[str, int | None] = {}
    for place, key in enumerate(keys):
        found[key] = None if key in found else place
    found.pop("", None)
    return found


def _lower(text: str) -> str:
    return " ".join(normalize("NFKC", text).casefold().split())


@lru_cache(1 << 16)  # the titles of a catalogue come again and again
def _fold(text: str) -> str:
    """Return the letters and digits of a text without accents, in lower case, words parted by one space."""
    bare = "".join(char for char in normalize("NFKD", text.casefold().replace("&", " and ")) if not combining(char))
    return " ".join(re.findall(r"\w+", bare))


@lru_cache(1 << 16)
def _core(text: str) -> tuple[str, str]:
    """Return a folded title without article and year, and the year; what is all there is stays."""
    dated = _YEAR.match(text) if len(text) < 400 else None
    body, year = (dated[1], dated[2]) if dated and _fold(dated[1]) else (text, "")
    words = _fold(body).split()
    if len(words) > 1 and words[0] in _ARTICLES:
        words = words[1:]
    elif len(words) > 1 and words[-1] in _ARTICLES and "," in body:
        words = words[:-1]
    return " ".join(words), year

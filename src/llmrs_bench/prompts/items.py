"""Which candidate one entry of an answer means, as `3. **Heat** - a classic`."""

import re
from collections.abc import Iterator

from llmrs_bench.prompts.titles import EDGES, Names, dated, fold

_NEXT_YEAR = re.compile(r"\s*[(\[](?:1[89]|20)[0-9]{2}[)\]]")
BULLET = re.compile(r"\s*(?:[>*+\-–—•·▪◦#]+\s+)+")
WORDS = r"(?:candidate|movie|film|book|game|item|product|option|rank|number|place|position|no)"
# A number that starts a line, maybe in brackets: its word, itself, what parts it from the rest, the rest.
NUMBERED = re.compile(
    rf"[\s>*+\-–—•·#_`\[(\"]*({WORDS}[\s.#]*)?([0-9]{{1,9}})(?:st|nd|rd|th)?(?![0-9])"
    r"([\])*_`\"]*\s*(?:[.:)|]|[-–—](?=\s)|(?=\s|$)|(?<=\]))[*_`]*)\s*(.*)",
    re.IGNORECASE,
)
_LABELLED = re.compile(r"()[\s>*+\-–—•·#_`\[(\"]*(\w[\w\-]{0,39})([\])][*\s]*[.:)\-–—]?|[*_`]*\s*[.:)|\-–—])\s*(.*)")
_PROSE = re.compile(r" [-–—]+ (?=[a-z])|: (?=[a-z])| \((?=[a-z])| \| ")
_ASIDE = re.compile(r"\s[-–—]\s|:")


def find_item(text: str, names: Names, *, loose: bool) -> int | None:
    """Return the candidate that a line or a string means, as "Heat", "3. Heat", "[3]"; or None.

    Where loose, more may follow a title that something parts from it, "3. **Heat** - A classic".
    """
    label: int | None = None
    parted = True
    text = text[: 4 * names.longest]
    for _ in range(3):
        if parted and (place := names.label(text.strip(EDGES))) is not None:
            return place
        for head in _heads(text) if loose else (text, BULLET.sub("", text, count=1)):
            if (place := names.title(head.strip('*_`" \t'))) is not None:
                return place if parted or place == label else None
        if loose and label is not None and _begins(names, label, text):
            return label
        found = NUMBERED.match(text)
        if not found and (found := _LABELLED.match(text)) and names.label(found[2]) is None:
            found = None
        if not found:
            return None
        label, parted, text = names.label(found[2]), is_parted(found), found[4]
    return None


def is_parted(number: re.Match[str]) -> bool:
    """Tell whether more than a space stands between a number and what follows it, or a word before it."""
    return bool(number[1] or number[3].strip())


def _heads(text: str) -> Iterator[str]:
    """Yield the text, and its beginnings that something parts from what follows."""
    yield text
    bullet = BULLET.match(text)
    text = text[bullet.end() :] if bullet else text
    yield text
    opened = text.lstrip('*_`" ')
    if found := re.search(r'\*\*|__|["`]' if text[:1] in {'"', "`"} else r"\*\*|__", opened):
        year = _NEXT_YEAR.match(opened, found.end())
        yield opened[: found.start()] + (year[0] if year else "")
    if (found := _NEXT_YEAR.search(text)) and re.match(r"\s*[^\w\s,]", text[found.end() :]):
        yield text[: found.end()]
    if (found := _PROSE.search(text)) and text != text.lower():
        yield text[: found.start()]


def _begins(names: Names, place: int, text: str) -> bool:
    """Tell whether the title of a candidate stands at the beginning of a text, and prose follows it."""
    title = names.titles[place]
    base, year = dated(title)
    wanted = {fold(title), fold(base) if names.title(base) == place else ""} - {""}
    for end in re.finditer(r"(?<=\S)(?=\W|$)", text[: 2 * len(title) + 16]):
        head, tail = text[: end.start()], text[end.start() :]
        if fold(head) in wanted and re.match(r"\s*(?:$|[^\w\s])|\s+[a-z]", tail):
            other = _NEXT_YEAR.match(tail)
            return not (other and year and year not in other[0])
    return False


def looks_like_item(text: str) -> bool:
    """Tell whether a line is short enough for a title, and no sentence."""
    text = text.strip("*_` ")
    sentence = text.endswith(":") or (text.endswith(".") and len(text.split()) > 2)
    return any(map(str.isalnum, text)) and not sentence and len(_ASIDE.split(text)[0].split()) <= 12

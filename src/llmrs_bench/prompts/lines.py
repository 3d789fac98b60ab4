"""The entries of an answer that is lines of text: labels alone, whole titles, numbers and titles."""

import re
from itertools import pairwise

from llmrs_bench.prompts.items import BULLET, NUMBERED, WORDS, find_item, is_parted, looks_like_item
from llmrs_bench.prompts.titles import EDGES, OFF, Names, shape

_TAG = re.compile(r"</?[a-z][^<>\n]{0,80}>|\\boxed\b|\\text\b|^\s*```\w*")
_UNPARTED = re.compile(r"\W*([0-9]{1,3}) +(?=[\w\"*])")
_PAIR = re.compile(r"(?<![0-9])([0-9]{1,9})\s?[.:)=]\s?[\[(#*]*([0-9]{1,9})(?![0-9])")
_RANK_WORD = re.compile(r"^\W*(?:rank|place|position) ?(?=[0-9])", re.IGNORECASE)
_CAPTION = re.compile(r"[\s{\"*]*[^\W\d][^:]{0,80}:(?=.)")
_SPLIT = re.compile(r"[\s,;>|→=]+")
_COMMA, _SIGN = re.compile(r", ?"), re.compile(r" > | ?(?:[;|→]|->|=>) ?")
_INLINE = re.compile(r"(?:^|[\s,;])[\[(]?[0-9]{1,3}(?:[.)\]]| ?:) ")


def read_lines(said: str, names: Names) -> list[int]:
    """Return the entries of all lines, in their order: places of candidates, or what else an entry may be."""
    lines = [_unmarked(line) for line in re.sub(r"<br ?/?>|</(?:li|p|tr|div)>", "\n", said).splitlines()]
    entries: list[int] = []
    weak: list[int] = []  # bulleted lines that are no titles: reasons, where the answer's items have numbers
    numbered = False
    for line in _without_ranks([line for line in lines if any(map(str.isalnum, line))]):
        found, number = _read_line(line, names), NUMBERED.match(line)
        if not found and number and is_parted(number) and looks_like_item(number[4]):
            found = [OFF]
        elif not found and BULLET.match(line) and looks_like_item(line):
            weak.append(OFF)
        numbered |= bool(found and number)
        entries += found
    return entries if numbered else entries + weak


def _unmarked(line: str) -> str:
    """Return a line without tags and without runs of spaces; of a table's row its cells, "1. Heat | Crime"."""
    line = " ".join(_TAG.sub(" ", line).split())
    if not line.startswith("|"):
        return line
    first, bar, rest = line.strip("| ").partition("|")
    return f"{first.strip(EDGES)}. {rest.strip()}" if bar and first.strip(EDGES).isdecimal() else line.strip("| ")


def _without_ranks(lines: list[str]) -> list[str]:
    """Write lines of ranks and numbers, "1. [7]", as numbers alone; and "1 Heat", "2 Alien" with a dot."""
    opened = {at: number for at, line in enumerate(lines) if (number := _UNPARTED.match(line))}
    if len(opened) > 1 and [int(number[1]) for number in opened.values()] == list(range(1, len(opened) + 1)):
        lines = [
            f"{opened[at][1]}. {line[opened[at].end() :]}" if at in opened else line for at, line in enumerate(lines)
        ]
    pairs = {at: found for at, line in enumerate(lines) if (found := _pairs(line))}
    numbers = [(at, number) for at, line in enumerate(lines) if (number := NUMBERED.match(line)) and is_parted(number)]
    ranks = [int(rank) for at, number in numbers for rank in ([rank for rank, _ in pairs.get(at, ())] or [number[2]])]
    if ranks[:1] == [1] and all(after == 1 or after > before for before, after in pairwise(ranks)):
        return [", ".join(number for _, number in pairs[at]) if at in pairs else line for at, line in enumerate(lines)]
    return lines


def _pairs(line: str) -> list[tuple[str, str]]:
    line = _RANK_WORD.sub("", line)
    pairs: list[tuple[str, str]] = [] if re.search(r"[^\W0-9]", line) else _PAIR.findall(line)
    return pairs if len(re.findall("[0-9]+", line)) == 2 * len(pairs) else []


def _read_line(line: str, names: Names) -> list[int]:
    """Return the entries that a line holds, none where it is nothing but text."""
    caption = _CAPTION.match(line)
    parts = (line, line[caption.end() :]) if caption else (line,)
    scores = re.search(r"\b0\.[0-9]", line)
    for read in (_whole, _opened) if scores else (_labels, _whole, _inline, _opened):
        if found := [entries for part in parts if (entries := read(part, names))]:
            return min(found, key=lambda entries: entries.count(OFF))
    return []


def _labels(line: str, names: Names) -> list[int]:
    """Read a line of labels alone."""
    tokens = [bare for token in _SPLIT.split(line) if (bare := token.strip(EDGES))]
    tokens = [token for token in tokens if not re.fullmatch(f"{WORDS}|and", token, re.IGNORECASE)]
    if "0" in names.shapes and not all(token in names.labels for token in tokens):
        tokens = [part for token in tokens for part in re.split(r"\W+", token) if part]
    if not all(shape(token) in names.shapes for token in tokens):
        return []
    places = [names.label(token) for token in tokens]
    if None in places and (found := _inline(line, names) or _opened(line, names)):
        return found
    if "0" not in names.shapes and all(place is None for place in places):
        return []
    return [names.number(token) for token in tokens]


def _whole(line: str, names: Names) -> list[int]:
    return [] if (item := find_item(line, names, loose=False)) is None else [item]


def _opened(line: str, names: Names) -> list[int]:
    return [] if (item := find_item(line, names, loose=True)) is None else [item]


def _inline(line: str, names: Names) -> list[int]:
    """Read titles on one line, parted by numbers, signs or commas, where most of the parts are titles."""
    for separator in (_INLINE, _SIGN, _COMMA):
        parts = [part for part in separator.split(line) if part.strip()]
        items: list[int] = []
        at = 0 if 1 < len(parts) <= 1000 else len(parts)
        while at < len(parts):
            # A title may itself hold commas: the longest that is one.
            for size in range(min(2 + names.commas if separator is _COMMA else 1, len(parts) - at), 0, -1):
                joined = ", ".join(parts[at : at + size]).strip("[]{}; ").removeprefix("and ")
                bare = joined.strip(EDGES) in names.labels  # as in "The best are 7, 8"
                if (item := None if bare else find_item(joined, names, loose=False)) is not None:
                    break
            items.append(OFF if item is None else item)
            at += size
        if len(items) > 1 and 2 * items.count(OFF) < len(items):
            return items
    return []

"""Lists on one line: labels alone, ranks and labels, or titles that numbers, signs or commas part."""

import re
from collections.abc import Sequence

from llmrs_bench.prompts.items import WORDS, read_item, without_bullet
from llmrs_bench.prompts.ranks import counting, read_rank
from llmrs_bench.prompts.titles import EDGES, OFF, Mention, Names, shape

_DOT = re.compile(r"\W*[0-9]{1,9}\s*[.:)\]]")
_SPLIT = re.compile(r"[\s,;>|→⇒=、，~]+")
_BESIDE = re.compile(rf"{WORDS}|and|then|&|und|et|y|-+|>+", re.IGNORECASE)
_COMMA = re.compile(r"[,、] ?")
_SIGN = re.compile(r" >+ | ?(?:[;|→⇒]|->|=>) ?|\s-{1,2}>\s|\s/\s")
_AND = re.compile(r"\s(?:and|&|und|et|y)\s(?:finally\s)?")
_RANKED = re.compile(r"(?:(?<=[\s,;(])|^)[\[(]?([0-9]{1,3})(?:[.)\]]+| ?:)\s")
_PAIR = re.compile(r"(?<![0-9])([0-9]{1,9})\s?(?:[.:)=]|->|→)\s?[\[(#*]*([0-9]{1,9})(?![0-9])")
_LEAD = re.compile(r".*?\b(?:is|are|be|as follows|follows|to|son|sont|ist|sind|es)\b:?\s+", re.IGNORECASE)
_SCORES = re.compile(
    r"\s*[(\[]\s*(?:score\W*)?(?:[01]?\.[0-9]+|[0-9]+(?:\.[0-9]+)?\s?(?:%|/\s?[0-9]+))\s*[)\]]", re.IGNORECASE
)


def read_labels(text: str, names: Names) -> list[Mention]:
    """Read a line of two labels or more and nothing else; one that looks like a label and is none is another item."""
    tokens = labels_of(text, names)
    if len(tokens) < 2 or text.count("/") == 1 or "%" in text:
        return []
    if any(token not in names.labels for token in tokens):
        rank = read_rank(text)  # "7. 187 (1997)" is a rank and a title, "1. i17" a rank and a label
        items = [read_item(text, names), read_item(rank.rest, names) if rank and _DOT.match(text) else None]
        if any(items):
            return []
    found = [Mention(names.number(token), "label") for token in tokens]
    return found if names.numbered or any(mention.place >= 0 for mention in found) else []


def labels_of(text: str, names: Names) -> list[str]:
    """Return the words of a line of which each looks like a label; none where another word is among them."""
    if len(text) > 3 and "(" in text:
        text = _SCORES.sub(" ", text)
    tokens = [bare for token in _SPLIT.split(text) if (bare := token.strip(EDGES))]
    if tokens and all(token in names.labels for token in tokens):  # as most answers are
        return tokens
    if tokens and tokens[0].isalpha() and shape(tokens[0]) not in names.shapes and not _BESIDE.fullmatch(tokens[0]):
        return []
    tokens = [token for token in tokens if not _BESIDE.fullmatch(token) or token in names.labels]
    if names.numbered and not all(token in names.labels for token in tokens):
        tokens = [part for token in tokens for part in re.split(r"[^\w.]+|(?<=\D)\.|\.(?=\D)", token) if part]
    return tokens if tokens and all(shape(token) in names.shapes for token in tokens) else []


def read_pairs(text: str, names: Names) -> list[Mention]:
    """Read ranks and labels on one line, "1. [7], 2. [3]"."""
    if re.search(r"[^\W0-9]", text):
        return []
    pairs = _PAIR.findall(text)
    numbers = re.findall("[0-9]+", text)
    if len(pairs) < 2 or len(numbers) != 2 * len(pairs):
        return []
    if [int(rank) for rank, _ in pairs] != list(range(1, len(pairs) + 1)):
        return []
    return [Mention(names.number(label), "label") for _, label in pairs]


def read_titles(text: str, names: Names) -> list[Mention]:
    """Read titles on one line, where most of the parts are titles and the first is one."""
    parts = _ranked_parts(text)
    if parts and (found := _read_parts(parts, names, strict=False)):
        return found
    rank = read_rank(text)
    if rank and rank.parted:  # one entry of a list, which may itself hold commas
        return []
    for separator in (_SIGN, _COMMA):
        parts = _split(separator, text)
        found = _read_parts(parts, names, strict=True) if len(parts) > 1 else []
        if len({mention.place for mention in found}) > 1:
            return found
    return []


def read_sentence(text: str, names: Names) -> list[Mention]:
    """Read a sentence that holds a whole list of all candidates, "My ranking is 3, 1, 2."."""
    if not (lead := _LEAD.match(text[:200])):
        return []
    said = text[lead.end() :].strip(" .!")
    found = read_labels(said, names) or read_titles(said, names)
    places = [mention.place for mention in found]
    return found if len(places) > 1 and sorted(places) == list(range(len(names.listed.titles))) else []


def _split(separator: re.Pattern[str], text: str) -> list[str]:
    return [part for part in separator.split(text) if part.strip()] if len(text) < 100_000 else []


def _ranked_parts(text: str) -> list[str]:
    """Return what stands behind numbers that count 1, 2, 3 on one line."""
    marks: list[re.Match[str]] = []
    for found in _RANKED.finditer(text):
        if not marks or int(found[1]) == int(marks[-1][1]) + 1:
            marks.append(found)
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    return (
        [text[mark.end() : end].strip(" ,;") for mark, end in zip(marks, ends, strict=True)] if len(marks) > 1 else []
    )


def _read_parts(parts: Sequence[str], names: Names, *, strict: bool) -> list[Mention]:
    """Read parts of a line; where strict each is a whole title, which may itself hold commas or a word "and"."""
    if len(parts) > 1000:
        return []
    found: list[Mention] = []
    at = 0
    while at < len(parts):
        taken, items = 1, [Mention(OFF, "title")]
        for size in range(min(2 + names.commas if strict else 1, len(parts) - at), 0, -1):
            joined = ", ".join(parts[at : at + size]).strip("[]{}(); ").removeprefix("and ").strip()
            if read := _whole(joined, names, alone=size == 1) if strict else _part(joined, names):
                taken, items = size, read
                break
        found += items
        at += taken
    if found[0].place == OFF and strict:
        return []
    off = sum(item.place == OFF for item in found)
    titles = sum(item.by == "title" and item.place != OFF for item in found)
    return found if len(found) > 1 and 2 * off < len(found) and (titles or not strict) else []


def _part(text: str, names: Names) -> list[Mention]:
    item = read_item(text, names)
    return [item] if item else []


def _whole(text: str, names: Names, *, alone: bool) -> list[Mention]:
    """Read a whole title, maybe with its rank or label before it; or two that "and" parts."""
    text = without_bullet(text)
    for bare in (text, text.strip("*_`\"' ."), text.strip(EDGES)):
        if (place := names.title(bare)) is not None:
            return [Mention(place, "title")]
    if (place := names.label(text.strip(EDGES))) is not None and names.numbered:
        return [Mention(place, "label")]
    rank = read_rank(text) if alone else None
    if rank and (rank.parted or counting([rank])) and (place := names.title(rank.rest.strip(EDGES))) is not None:
        return [Mention(place, "title")]
    if (halves := _AND.split(text, maxsplit=1)) and len(halves) == 2:
        places = [names.title(half.strip(EDGES)) for half in halves]
        if all(place is not None for place in places):
            return [Mention(place, "title") for place in places if place is not None]
    return []

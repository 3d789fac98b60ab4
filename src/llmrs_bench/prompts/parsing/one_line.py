"""Lists that stand on one line, and in sentences."""

import re
from collections.abc import Sequence

from llmrs_bench.prompts.parsing.entries import counting, is_valued, read_rank, read_valued
from llmrs_bench.prompts.parsing.items import (
    CHAIN,
    PAIR_ALONE,
    QUOTED,
    WORDS,
    labels_between,
    read_item,
    without_bullet,
)
from llmrs_bench.prompts.parsing.ranking import FoundList, role_of
from llmrs_bench.prompts.parsing.titles import EDGES, NOUNS, OFF, PAST, Mention, Names, shape

_DOT = re.compile(r"\W*(?:[0-9]{1,9}\s*[.:)\]]|[IVXLivxl]{1,7}[.)]\s)")
_FIRST = re.compile(r"[\s,;>|→⇒=、，~]*([^\s,;>|→⇒=、，~]+)")
_OF_ALL = re.compile(r"\W*[0-9]{1,4}\s?/\s?[0-9]{1,4}\s*[:.)]")  # "2/8: 50/50"
_SPLIT = re.compile(r"[\s,;>|→⇒=、，~]+")
_INNER = re.compile(r"[^\w.]+|(?<=\D)\.|\.(?=\D)")
_BESIDE = re.compile(rf"{WORDS}|and|then|next|finally|lastly|&|und|et|y|-+|>+", re.IGNORECASE)
_PREFIXED = re.compile(rf"{WORDS}[_\-:#]?([0-9]{{1,9}})", re.IGNORECASE)
_COMMA = re.compile(r"[,、] ?")
_SIGN = re.compile(r" ?(?:[;|→⇒]|->|=>|>+) ?|\s-{1,2}>\s|\s/\s")
_AND = re.compile(r"\s(?:and|&|und|et|y)\s(?:finally\s)?")
# "1. Heat 2. Alien", "1st: Heat, 2nd: Alien", "Rank 1: 3, Rank 2: 1", "#1 Heat, #2 Alien", "1 - Heat, 2 - Alien".
_RANKED = re.compile(
    r"(?:(?<=[\s,;(])|^)(?:(?:(?:rank|place|position|pick|choice|no\.?)\s?#?|#)?[\[(]?([0-9]{1,3})(?:st|nd|rd|th)?"
    r"(?:\splace)?(?:[.)\]]+(?:\s|(?=[^\W\d]))| ?[:=]\s)"
    r"|(?:(?<=[,;]\s)|^)(?:#([0-9]{1,3})\s|([0-9]{1,3})(?:\s[-–—]\s|\s?=\s?)(?=[^\W\d]|[\"'*])))",
    re.IGNORECASE,
)
_MAY_BE_RANKED = re.compile(
    r"[0-9](?:st|nd|rd|th)?(?:\splace)?(?:[.)\]]+(?:\s|[^\W\d])|\s?[:=\-–—])|#[0-9]", re.IGNORECASE
)
_PAIR = re.compile(r"(?<![0-9])([0-9]{1,9})\s?(?:[.:)=]|->|→|[-–—])\s?[\[(#*]*([0-9]{1,9})(?![0-9])")
_LABEL_PAIR = re.compile(r"(?<!\w)([0-9]{1,9})\s?(?:[.:)=,]|->|→|[-–—])\s?[\[(#*]*(\w[\w\-]{0,39})(?!\w)")
_BRACKETED = re.compile(r"[(\[]\s*([0-9]{1,9})\s*,\s*([0-9]{1,9})\s*[)\]]")
_LEAD = re.compile(r".*?\b(?:is|are|be|as follows|follows|to|son|sont|ist|sind|es)\b:?\s+", re.IGNORECASE)
_WORDY = re.compile(r"[^0-9\n]{1,80}?[\s=:(\[](?=[0-9]+[\s,;>)\]])")  # "Sure, 3, 1, 2"
_SURE = re.compile(r"\W*(?:[^\W\d_]+[ ']){0,8}[^\W\d_]+[,;:!.]\s+")  # "Sure, C, A, B"
_RISING = re.compile(r"\s+<+\s+|(?<=[0-9])<(?=[0-9])")
_LETTER = re.compile(r"[^\W0-9]")
_DIGITS = re.compile("[0-9]+")
_FROM_ONE = re.compile(r"\W*1\s?[-–—]\s?[0-9]+\W*")
_RANKED_SPAN = re.compile(r"\W*[0-9]{1,3}[.):]+\s+[\[(]?[0-9]{1,4}\s?[-–—]\s?[0-9]{1,4}\W*")  # "3. 9-12"
_CAPTION = re.compile(r"[\s*_`\"'#{\[(>\-]*+([^\W\d_][^:\n]{0,120}?)[*_`\"')]*+\s*:[*_`]*\s*(?=\S)")
_COUNT = re.compile(  # "3 recommendations: 7, 8, 1"
    r"[\s*_#>\-]*[0-9]{1,4} ((?:[a-z]+[ -]){0,3}?"
    rf"(?:(?:recommendation|item|candidate|option|pick|choice|suggestion|prediction|title)s|{NOUNS})[^:\n]{{0,60}})"
    r"[*_]*:[*_]*\s*(?=\S)"
)
_UNCOLONED = re.compile(r"[\s*_`\"'#>\-]*([^\W\d_][^:\n=0-9]{0,80}?)[*_`\"')]*\s*(?:=+|->|→|\s[-–—])\s*(?=\S)")
_PLACES = re.compile(
    r"[\s*_#>\-]*([0-9]{1,3})\s?(?:[-–—]|to)\s?([0-9]{1,3})[*_]*\s*[:.)][*_]*\s(?=.*[,\s])"
)  # "4-6: 9, 2, 1"
_ASIDES = re.compile(r"(?<=[0-9])\s*\([^()0-9]{1,60}\)")
_SIGNED = re.compile(r"[0-9][^\w,;>]*[.:)\]=][^\w,;>]*[0-9]|->|→")
_SCORES = re.compile(
    r"\s*[(\[]\s*(?:score\W*)?(?:[01]?\.[0-9]+|[0-9]+(?:\.[0-9]+)?\s?(?:%|/\s?[0-9]+))\s*[)\]]", re.IGNORECASE
)


def read_labels(text: str, names: Names) -> list[Mention]:
    """Read a line of two labels or more and nothing else; one that looks like a label and is none is another item."""
    tokens = labels_of(text, names)
    text = _SCORES.sub(" ", text) if "(" in text or "[" in text else text
    if not tokens and "(" in text and names.numbered and not names.may_hold_title(text):  # "4 (slow), 1 (loud)"
        tokens = labels_of(text := _ASIDES.sub("", text), names)
    if len(tokens) < 2 or text.count("/") == 1 or "%" in text or _OF_ALL.match(text) or _RANKED_SPAN.fullmatch(text):
        return []
    if any(token not in names.labels for token in tokens):
        rank = read_rank(text)  # "7. 187 (1997)" is a rank and a title, "1. i17" a rank and a label
        items = [read_item(text, names), read_item(rank.rest, names) if rank and _DOT.match(text) else None]
        if any(items) or (
            "(" in text and is_valued(without_bullet(text), names)
        ):  # "1917 (2019): 9" is a title and a score
            return []
    found = [Mention(names.number(token), "label") for token in _with_spans(tokens, text, names)]
    return found if names.numbered or any(mention.place >= 0 for mention in found) else []


def _with_spans(tokens: list[str], text: str, names: Names) -> list[str]:
    """Return the labels of a line with those between both ends of each span, "3, 9-12, 1"."""
    at = 0
    for chain in CHAIN.findall(text):
        ends = _DIGITS.findall(chain)
        starts = (place for place in range(at, len(tokens) - 1) if tokens[place : place + 2] == ends)
        if len(ends) == 2 and (start := next(starts, None)) is not None:
            others = tokens[:start] + tokens[start + 2 :]
            between = labels_between(chain, others, names) or ends
            tokens = [*tokens[:start], *between, *tokens[start + 2 :]]
            at = start + len(between)
    return tokens


def labels_of(text: str, names: Names) -> list[str]:
    """Return the words of a line of which each looks like a label; none where another word is among them."""
    if text not in names.tokens:  # answers repeat their lines
        names.tokens[text] = _labels_of(text, names)
    return names.tokens[text]


def _labels_of(text: str, names: Names) -> list[str]:
    if names.numbered and (pair := PAIR_ALONE.fullmatch(text)) and names.label(text) is None:
        return [pair[1], pair[2]]
    if len(text) > 3 and "(" in text:
        text = _SCORES.sub(" ", text)
    first = _FIRST.match(text)
    word = first[1].strip(EDGES) if first else ""
    if word.isalpha() and shape(word) not in names.shapes and not _BESIDE.fullmatch(word):  # as most lines of prose
        return []
    tokens = [bare for token in _SPLIT.split(text) if (bare := token.strip(EDGES))]
    if not text.isascii():  # signs of other scripts, and of characters that were lost
        tokens = [token for token in tokens if token.isascii() or any(map(str.isalnum, token))]
    if tokens and all(token in names.labels for token in tokens):  # as most answers are
        return tokens
    if tokens and tokens[0].isalpha() and shape(tokens[0]) not in names.shapes and not _BESIDE.fullmatch(tokens[0]):
        return []
    tokens = [token for token in tokens if token.isdecimal() or token in names.labels or not _BESIDE.fullmatch(token)]
    if names.numbered:
        tokens = [prefixed[1] if (prefixed := _PREFIXED.fullmatch(token)) else token for token in tokens]  # item_9
    elif len(tokens) == 1 and (parts := tokens[0].split("-"))[2:] and all(part in names.labels for part in parts):
        return parts  # "C-A-B"
    if names.numbered and not all(token.isdecimal() or token in names.labels for token in tokens):
        tokens = [part for token in tokens for part in _INNER.split(token) if part]
    return tokens if tokens and all(shape(token) in names.shapes for token in tokens) else []


def read_pairs(text: str, names: Names) -> list[Mention]:
    """Read ranks and labels on one line, "1. [7], 2. [3]"."""
    if not names.numbered and (lettered := _LABEL_PAIR.findall(text)):
        counts = [int(rank) for rank, _ in lettered] == list(range(1, len(lettered) + 1))
        rest = _LABEL_PAIR.sub("", text)
        labels = [names.labels.get(label) for _, label in lettered]
        if counts and len(labels) > 1 and None not in labels and not any(map(str.isalnum, rest)):
            return [Mention(place, "label") for place in labels if place is not None]
    if _LETTER.search(text):
        return []
    pairs = _BRACKETED.findall(text) or _PAIR.findall(text)
    numbers = _DIGITS.findall(text)
    if len(pairs) < 2 or len(numbers) != 2 * len(pairs):
        return []
    if [int(rank) for rank, _ in pairs] != list(range(1, len(pairs) + 1)):
        return []
    return [Mention(names.number(label), "label") for _, label in pairs]


def read_titles(text: str, names: Names) -> list[Mention]:
    """Read titles on one line, where most of the parts are titles and the first is one."""
    titled = names.may_hold_title(text)
    if titled and (found := _read_agreed(text, names) or _read_with_values(text, names)):
        return found
    parts = _ranked_parts(text)
    if parts and (found := _read_parts(parts, names, strict=False)):
        return found
    rank = read_rank(text) if titled else None
    number = re.split("[,、>]", text, maxsplit=1)[0].strip(EDGES)  # "1917, Heat" and "2-in-1, Heat" are two titles
    digits = names.title(number) is not None
    if not titled or (rank and rank.parted and not digits):  # one entry of a list, which may itself hold commas
        return []
    for separator in (_SIGN, _COMMA):
        parts = _split(separator, text)
        found = _read_parts(parts, names, strict=True) if len(parts) > 1 else []
        if len(found) == 2 and {mention.by for mention in found} == {"title", "label"}:
            return []  # a title with its rank or score, "Heat -> 4"
        if len({mention.place for mention in found}) > 1 or (found and found[0].place == PAST):
            return found
    return []


def _read_with_values(text: str, names: Names) -> list[Mention]:
    """Read three titles or more, each with a number behind it, on one line: "Heat (1), Alien (2), Jaws (3)"."""
    parts = _split(_VALUES, text.rstrip(" ."))
    found = read_valued(parts, names) if len(parts) > 2 else []
    if any(mention.place >= 0 for mention in found):
        return found
    pairs = [pair for part in parts if (pair := _NUMBERED.fullmatch(part))]
    places = [names.title(pair[1].strip(EDGES)) for pair in pairs]
    own = sum(place is not None and names.label(pair[2]) == place for pair, place in zip(pairs, places, strict=True))
    ranked = [int(pair[2]) for pair in pairs] == list(range(1, len(pairs) + 1))
    if len(pairs) < max(3, len(parts)) or not (ranked or 2 * own > len(pairs)):
        return []
    return [Mention(OFF if place is None else place, "title") for place in places]


_PARTS = re.compile(r"[,;>|]\s+")
_NUMBERED = re.compile(r"(.{1,400}?)\s*[(\[]\s*([0-9]{1,3})\s*[)\]]")
_VALUES = re.compile(r"(?<=[0-9)%★])\s*[,;>|]\s+")
_BEHIND = re.compile(r"(?P<title>.{1,400}?)\s*[(\[]\s*(?P<label>\w{1,40})\s*[)\]]?")
_BEFORE = re.compile(
    r"[(\[]?(?P<label>\w{1,40})(?:\s*[)\]:.=]|\s*[-–—]\s|\s(?=[(\[]))\s*[(\[\"']?(?P<title>.{1,400}?)[)\]\"']?"
)


def _read_agreed(text: str, names: Names) -> list[Mention]:
    """Read labels with their own titles, in any order, on one line: "4 (Fargo), 1 (Jaws)"."""
    found: list[Mention] = []
    parts = _split(_PARTS, text.rstrip(" ."))
    at = 0
    while at < len(parts) and len(parts) > 1:
        sizes = range(min(1 + names.commas, len(parts) - at), 0, -1)
        agreed = [(size, place) for size in sizes if (place := _agreed(", ".join(parts[at : at + size]), names)) >= 0]
        if not agreed:
            return []
        found.append(Mention(agreed[0][1], "title"))
        at += agreed[0][0]
    return found if len(found) > 1 else []


def _agreed(part: str, names: Names) -> int:
    """Return the candidate that a label and its own title name together."""
    for form in (_BEFORE, _BEHIND):
        pair = form.fullmatch(part.strip())
        place = names.label(pair["label"]) if pair else None
        if pair and place is not None and names.title(pair["title"].strip(EDGES)) == place:
            return place
    return OFF


def read_sentence(text: str, names: Names) -> FoundList | None:
    """Read a sentence that holds a whole list of all candidates, "My ranking is 3, 1, 2."."""
    lead = _LEAD.match(text[:200]) or (_WORDY if names.numbered else _SURE).match(text[:200])
    if lead is None:
        return None
    said = text[lead.end() :].strip(" .!")
    found = read_labels(said, names) or read_titles(said, names)
    places = [mention.place for mention in found]
    whole = len(places) > 1 and sorted(places) == list(range(len(names.listed.titles)))
    return FoundList(tuple(found), lead[0]) if whole else None


def _split(separator: re.Pattern[str], text: str) -> list[str]:
    if len(text) >= 100_000 or not separator.search(text):
        return []
    return [part for part in separator.split(text) if part.strip()]


def _ranked_parts(text: str) -> list[str]:
    """Return what stands behind numbers that count 1, 2, 3 on one line."""
    if len(_MAY_BE_RANKED.findall(text)) < 2:
        return []
    marks: list[re.Match[str]] = []
    for found in _RANKED.finditer(text):
        if not marks or int(found[found.lastindex or 1]) == int(marks[-1][marks[-1].lastindex or 1]) + 1:
            marks.append(found)
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    return (
        [text[mark.end() : end].strip(" ,;") for mark, end in zip(marks, ends, strict=True)] if len(marks) > 1 else []
    )


def _read_parts(parts: Sequence[str], names: Names, *, strict: bool) -> list[Mention]:
    """Read parts of a line; where strict each is a whole title, which may itself hold commas or a word "and"."""
    if len(parts) > 1000:
        return []
    if strict and not any(map(names.may_name, parts[: 2 + names.commas])):
        return []
    found: list[Mention] = []
    at = 0
    while at < len(parts):
        taken, items = 1, [Mention(OFF, "title")]
        for size in _sizes(parts, at, names) if strict else (1,):
            joined = _joined(parts[at : at + size])
            if read := _whole(joined, names, alone=size == 1) if strict else _part(joined, names):
                taken, items = size, read
                break
        if strict and items[0].place == OFF and not found:
            return []
        found += items
        at += taken
    off = sum(item.place == OFF for item in found)
    titles = sum(item.by == "title" and item.place != OFF for item in found)
    return found if len(found) > 1 and 2 * off < len(found) and (titles or not strict) else []


def _joined(parts: Sequence[str]) -> str:
    return ", ".join(parts).strip("[]{}(); ").removeprefix("and ").removeprefix("then ").strip()


def _sizes(parts: Sequence[str], at: int, names: Names) -> Sequence[int]:
    """Return how many parts from one on may be a title together, the most first; none where they name nothing."""
    next_ones = parts[at : at + 2 + names.commas]
    named = [names.may_name(part) for part in next_ones]
    if not any(named):
        return ()
    words = all(any(map(str.isalnum, part)) for part in next_ones)
    if len(named) > 1 and words and not names.may_begin(without_bullet(_joined(next_ones))):
        return (1,) if named[0] else ()
    return range(len(named), named.index(True), -1)


def _part(text: str, names: Names) -> list[Mention]:
    item = read_item(text, names)
    return [item] if item else []


def _whole(text: str, names: Names, *, alone: bool) -> list[Mention]:
    """Read a whole title, maybe with its rank or label before it; or two that "and" parts."""
    text = without_bullet(text)
    if (quoted := QUOTED.match(text)) and (place := names.title(quoted[1])) is not None:
        return [Mention(place, "title")]
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


def list_on_line(line: str, names: Names) -> FoundList | None:
    """Return the list that stands on one line; "3 < 1 < 2" has the best one last."""
    if "<" in line and len(rising := _RISING.split(line)) > 1:
        line = " > ".join(reversed(rising))
    if _is_word(line) or line.strip(EDGES) in names.labels or not names.may_name(line):
        return None
    if PAIR_ALONE.fullmatch(line) and not names.may_hold_title(line):  # an entry of a list of such lines
        return None
    parts = [(caption, said) for caption, said in captioned(line, names) if not _is_word(said)]
    if parts and role_of(parts[-1][0]) == "echo" and parts[-1][0].isalpha():  # "Candidates: 1, 2, 3"
        parts = parts[-1:]
    for caption, said in parts:
        counts = caption and _FROM_ONE.fullmatch(said)  # "Ranking: 1-20" says how many there are
        pair = is_pair(said, names) and (not caption or _SIGNED.search(said) is not None or counts)
        if found := read_pairs(said, names) or ([] if pair else read_labels(said, names)):
            return FoundList(tuple(found), caption)
    for at, (caption, said) in enumerate(parts):
        if found := read_titles(said, names):
            after, behind = parts[-1]  # "Draft: 1. Heat 2. Alien" may be read without its caption
            declared = at + 1 < len(parts) and role_of(after) in {"draft", "final"}
            captioned_too = declared and read_titles(behind, names) == found
            return FoundList(tuple(found), after if captioned_too else caption)
    caption, said = _captioned_again(line, parts)
    if said and (found := read_pairs(said, names) or read_labels(said, names) or read_titles(said, names)):
        return FoundList(tuple(found), caption)
    return None


def _captioned_again(line: str, parts: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """Return what stands behind a second caption, "Step 3: The ranking: 3, 1", or behind one without a colon."""
    if parts and parts[-1][0]:
        caption, said = parts[-1]
        again = _CAPTION.match(said)
        if again and role_of(again[1]) in {"final", "ranking"} and not re.search("[0-9,;]", again[1]):
            return f"{caption}: {again[1]}", said[again.end() :]
        return "", ""
    bare = _UNCOLONED.match(line)
    known = bare is not None and "=" not in line[bare.end() :] and role_of(bare[1]) in {"final", "ranking"}
    return (bare[1], line[bare.end() :]) if bare and known else ("", "")


def _is_word(text: str) -> bool:
    return text.strip(EDGES).isalnum()


def is_pair(text: str, names: Names) -> bool:
    """Tell whether a line is two numbers: a rank and a label, or a label and a score, or two labels."""
    tokens = labels_of(text, names)
    if len(tokens) == 1:
        tokens = _DIGITS.findall(tokens[0])
    return len(tokens) == 2 and all(token.isdecimal() for token in tokens[1:])


def captioned(line: str, names: Names) -> list[tuple[str, str]]:
    """Return the line as it is, and what stands behind the words before its colon."""
    if (places := _PLACES.match(line)) and int(places[1]) < int(places[2]):
        return [(places[0], line[places.end() :])]
    if (count := _COUNT.match(line)) and read_item(line[: count.end(1)], names) is None:
        return [(count[1], line[count.end() :])]
    found = _CAPTION.match(line) if ":" in line else None
    if not found or read_item(found[1], names) is not None:
        return [("", line)]
    said = line[found.end() :]
    while (again := _CAPTION.match(said)) and again[1] == found[1]:  # "Ranking: Ranking: 3, 1"
        said = said[again.end() :]
    return [("", line), (found[1], said)]

"""The candidate that one entry of a list names."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from llmrs_bench.prompts.parsing.titles import EDGES, NOUNS, OFF, PAST, Mention, Names, dated

_YEAR = re.compile(r"\s*[(\[](?:1[89]|20)[0-9]{2}[)\]]")
_OPENED = re.compile(r"(\*\*|__|[\"'*_`])(.{1,400}?)\1(?![^\W_])")
_SEPARATOR = re.compile(
    r"\s*(?P<bracket>[(\[{])|\s*(?P<bar>\||\t|\s[•·●]\s)|\s(?P<slash>/)\s+|\s*(?P<arrow>->|=>|→|⇒|~)|\s*(?P<long>—|–|―)|\s+(?P<dash>-{1,3})\s+"
    r"|\s?(?P<colon>:)(?!\d)|(?P<stop>[.;!?。;])\s+|(?P<comma>[,、])\s*|\s+(?P<by>by)\s+(?=(?:the\s)?[A-Z])"
    r"|\s+(?P<word>because|since|due to|as it|starring|featuring|is an?|is the|is one of|is also|is about|has an?"
    r"|directed by|written by|for its|for the|which|with its)\s"
)
# A title in quotes; words of a script without spaces that follow it are no part of it, but "Part Two" is.
QUOTED = re.compile(r'"([^"]{1,200})"(?=[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af])(?![第续続之])')
# What a longer title goes on with.
_MORE = re.compile(
    r"\W*(?:the\s+)?(?:part|vol(?:ume|\.)?|episode|chapter|season|book|no\.?|teil|partie|parte)?\s*"
    r"(?:[0-9]{1,3}|[ivx]{1,5}|one|two|three|four|five)\b(?!\s*(?:%|/|out of|stars?|points?))(?:\s*(?:[:\-–—].*)?$)",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_][\w']*")
_SMALL = frozenset(
    _WORD.findall(
        "a an and as at but by for from in into is it its of off on or over per than that the to up via was with"
    )
)


@dataclass(frozen=True, slots=True)
class Named:
    """A title at the beginning of a text.

    Args:
        place: The candidate, or what else a title may be.
        doubt: Where what follows may as well belong to a longer title: the sign between them.
        tail: What follows.
        sign: The sign between them, whether or not there is a doubt.
    """

    place: int
    doubt: str = ""
    tail: str = ""
    sign: str = ""


def named(text: str, names: Names) -> Named | None:
    """Return the candidate whose whole title a text is or begins with, if something parts it from the rest."""
    text = text[: 4 * names.longest].strip()
    if not names.may_begin(text):
        return None
    bare = text.strip('*_`" \t')
    for whole in (text, bare, bare.strip("'[]{}(),;|.\\ \t")):
        if (place := names.title(whole)) is not None:
            return Named(place)
    if found := _OPENED.match(text):
        year = _YEAR.match(text, found.end())
        place = names.title(found[2] + (year[0] if year else ""))
        if place is not None:
            return Named(place)
        if found[1] in {"**", "__"}:
            inner = named(found[2], names)
            if inner is not None:
                return inner
    heads = list(_heads(text))
    for head, sign, tail in reversed(heads):
        place = names.title(head.strip('*_`" \t'))
        if place is not None and (place >= 0 or place == PAST):
            own = dated(names.titles[place])[1] if place >= 0 else ""
            other = _YEAR.match(f"({tail}") if own and sign == "bracket" else None
            doubtful = None if other and own not in other[0] else _is_doubtful(sign, tail, names)
            return None if doubtful is None else Named(place, sign if doubtful else "", tail, sign)
    return None


def _heads(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield beginnings of a text that a sign parts from the rest, the sign's name, and the rest; the shortest first."""
    for count, found in enumerate(_SEPARATOR.finditer(text)):
        if count == 12:
            return
        if found.start() > 0:
            yield text[: found.start()], found.lastgroup or "", text[found.end() :].strip()


def _is_doubtful(sign: str, tail: str, names: Names) -> bool | None:
    """Tell whether what follows a title may belong to a longer one; None where it certainly does."""
    if sign == "bracket":
        inner = re.match(r"[^)\]]*", tail)
        number = bool(
            inner and re.fullmatch(r"\W*(?:part|vol(?:ume|\.)?|episode|chapter)\s*\w+\W*", inner[0], re.IGNORECASE)
        )
        return None if number else False
    bare = tail.strip("*_`\"' .")
    year = sign == "comma" and re.fullmatch("(?:1[89]|20)[0-9]{2}", bare)
    number = sign == "arrow" and bare.isdecimal()
    if not bare or sign in {"bar", "word"} or year or number or _is_score(bare):
        return False
    if sign != "arrow" and _MORE.fullmatch(bare):
        return None
    sentence = sign == "stop" and bare != tail.strip() and tail.rstrip().endswith((".", "!"))  # "Heat! Lovely."
    if sentence or _FIELD.fullmatch(tail):
        return False
    if sign == "by":
        return len(bare.split()) < 2
    return not is_remark(bare, sign, cased=names.cased)


def is_remark(tail: str, sign: str, *, cased: bool = True) -> bool:
    """Tell whether words behind a title are about it, rather than a subtitle.

    In a subtitle the words that matter have capitals. Where a script has none, a dash, an arrow or a colon
    makes a remark.
    """
    letters = _WORD.findall(tail)
    if not letters:
        return sign in {"dash", "long", "arrow"} and not tail[:1].isdigit()
    with_case = [word for word in letters if word.lower() != word.upper()]
    if not with_case:
        return sign in {"dash", "long", "arrow", "colon", "stop"}
    lower = [word for word in with_case if word[0].islower() and word.lower() not in _SMALL]
    if not cased and tail == tail.lower():
        return len(letters) >= (2 if sign in {"dash", "long", "arrow"} else 3)
    if sign == "comma":
        return tail[:1].islower() and len(letters) > 1
    return bool(lower) or (cased and tail[:1].islower())


_SCORE = re.compile(
    r"\W*(?:(?:score|relevance|rating|probability|likelihood|confidence|points?|prob|match)\W*)?"
    r"(?:[0-9]+(?:[.,][0-9]+)?\s*(?:%|/\s*[0-9]+|out of [0-9]+|points?|stars?|pts)|[01]?\.[0-9]+|[0-9]+\.[0-9]+)\W*",
    re.IGNORECASE,
)
_SCORE_WORD = re.compile(
    r"\W*(?:score|relevance|rating|probability|likelihood|confidence|points?|prob|match)\w*\W{1,4}[0-9]+(?:[.,][0-9]+)?\W*(?:%|/\s?[0-9]+)?\W*",
    re.IGNORECASE,
)


def _is_score(text: str) -> bool:
    return bool(_SCORE.fullmatch(text) or _SCORE_WORD.fullmatch(text))


def is_score(text: str) -> bool:
    """Tell whether a text is a number that can be nothing but a score: "96 %", "7/10", "0.9", "Relevance: 9"."""
    return len(text) < 60 and _is_score(text)


BULLET = re.compile(
    r"\s*(?:(?:[>*+\-–—•·#\u2190-\u21ff\u25a0-\u27bf\u2b00-\u2bff\U0001f300-\U0001faff\u2022\u2023]+|\[[ xX]\])\s+)+"
)
WORDS = (
    rf"(?:{NOUNS}|candidates?|items?|options?|documents?|docs?|passages?|places?|entry|choice|pick"
    r"|titles?|index|label|id|numbers?|num|no|nr|kandidat|candidato|candidat|номер|кандидат|фильм|候補|候选|后选|编号|番号|번호|후보|번)"
)
# "Candidate 9", "No. 9", "movie ID: [9]", and what follows.
_WORDED = re.compile(
    rf"[\s*_`\"'\[(]*(?:{WORDS}[\s.:#=_]*){{1,2}}[\[(#*_`\"']*(\w[\w\-]{{0,39}})(?![\w\-])[\])*_`\"']*(.*)",
    re.IGNORECASE | re.DOTALL,
)
_LABELLED = re.compile(
    r"[\s*_`\"'#]*(?:(?P<open>[\[(])\s*)?(?P<label>\w[\w\-]{0,39})(?(open)\s*[\])])"
    r"(?P<sign>[*_`\"']*\s*(?:[.:)|,、=>]+|->|=>|[-–—→~](?=[\s\w])|$)[*_`]*)?\s*(?P<rest>.*)",
    re.DOTALL,
)
_FIELD = re.compile(rf"\W*(?:{WORDS}|rank|position|score)\s*[:=]\s*\W{{0,2}}\w{{1,6}}\W*", re.IGNORECASE)
_KEY = re.compile(rf"\s*(?:{WORDS}|name)\s*[:=]\s*(?=\S)", re.IGNORECASE)
_COUNTER = re.compile(r"\W*([0-9]{1,9})\s?(?:号|號|番|번|호)\W*")
_ASIDE = re.compile(r"\s[-–—]\s|:|—")
PAIR_ALONE = re.compile("([0-9]+) ?[:=] ?([0-9]+)")  # "7: 96", an entry of a list of such lines
_TO = r"\s?(?:[-–—]|\.{2,3}|…)\s?"
# Numbers with hyphens between them: of two "9-12" is a span, of more "3-7-9" a list of its own.
CHAIN = re.compile(rf"(?<![\w\-–—.])[0-9]{{1,4}}(?:{_TO}[0-9]{{1,4}})+(?![\w\-–—]|\.[0-9])")
_SPAN = re.compile(rf"([0-9]{{1,4}}){_TO}([0-9]{{1,4}})")


def read_item(text: str, names: Names) -> Mention | None:
    """Return what a line, a cell or a string means, as "Heat", "3. Heat", "[3]", "No. 3"; or None."""
    if text not in names.read:
        start = text[: 4 * names.longest]
        pair = PAIR_ALONE.fullmatch(start) and names.label(start) is None and not names.may_hold_title(start)
        names.read[text] = None if pair or not names.may_name(start) else _read_item(text, names)
    return names.read[text]


def _read_item(text: str, names: Names) -> Mention | None:
    text = without_bullet(text[: 4 * names.longest])
    if counted := _COUNTER.fullmatch(text):
        text = counted[1]
    if found := _bare(text.strip(EDGES), names):
        return found
    key = _KEY.match(text)
    whole = named(text, names)
    if key and (whole is None or whole.tail):  # "Title: Heat"
        behind = named(text[key.end() :], names)
        whole = behind if behind is not None and behind.place >= 0 else None
    if whole is not None:
        return Mention(whole.place, "title", doubt=whole.doubt, tail=whole.tail, sign=whole.sign)
    if (worded := _WORDED.match(text)) and (place := names.label(worded[1])) is not None:
        return _labelled(place, worded[2].strip(), names)
    if key and (item := read_item(text[key.end() :], names)):
        return item
    found_label = _LABELLED.match(text)
    place = names.label(found_label["label"]) if found_label else None
    if found_label is None or place is None:
        return None
    sign, rest = (found_label["sign"] or "").strip("*_`\"' "), found_label["rest"]
    item = _labelled(place, rest.strip(), names)
    if item is None and sign[:1] in {"-", "–", "—"} and names.cased and rest[:1].islower():
        item = Mention(place, "label")  # "9 - slower"
    score = rest[:1] in {"(", "["} and is_score(rest)
    parted = score or found_label["open"] or sign
    agreed = item is not None and item.by == "title" and item.place == place
    return item if parted or agreed else None


def labels_between(text: str, named: Collection[str], names: Names) -> list[str]:
    """Return the labels that a span such as "9-12" stands for, in their order; none where it is no span.

    It is none where it falls, where it is a title, where one of its numbers is no label, and where one between its ends
    is named by itself: then the hyphen separates two entries.

    Args:
        text: What may be a span.
        named: The other entries of the list.
        names: What was shown.
    """
    found = _SPAN.fullmatch(text)
    if found is None or not names.numbered or names.title(text) is not None:
        return []
    first, last = int(found[1]), int(found[2])
    if last - first < 2 or last - first > len(names.labels):
        return []
    between = [str(number) for number in range(first, last + 1)]
    return between if all(label in names.labels for label in between) and not {*between[1:-1]} & {*named} else []


def without_bullet(text: str) -> str:
    """Return a line without the mark of a list before it."""
    found = BULLET.match(text)
    return text[found.end() :] if found else text


def _bare(text: str, names: Names) -> Mention | None:
    """Read a text that is a label, or a title of digits, and nothing else."""
    place = names.label(text)
    if place is None:
        if text.isdecimal() and names.numbered:
            title = names.title(text)
            return Mention(OFF, "label") if title is None else Mention(title, "title")
        return None
    title = names.title(text)
    return Mention(place, "label", other=title if title is not None and title != place else None)


def _labelled(place: int, rest: str, names: Names) -> Mention | None:
    """Read what follows a label: nothing, a score, its title, a remark, or the title of another candidate."""
    dashed = rest[:1] in {"-", "–", "—"}
    rest = rest.lstrip(" .:)|,、=->→–—~*")
    if not any(map(str.isalnum, rest)) or (is_score(rest) and names.title(rest) is None):  # but for "50/50"
        return Mention(place, "label")
    if rest.isdecimal() and names.title(rest) is None:
        return None
    key = _KEY.match(rest)  # "12. Title: Heat", where ranks do not count
    if found := named(rest, names) or (named(rest[key.end() :], names) if key else None):
        return Mention(found.place, "title", doubt=found.doubt, tail=found.tail)
    bracket = re.fullmatch(r"[(\[](.{1,200})[)\]]", rest)
    if bracket and (inner := named(bracket[1], names)):
        return Mention(inner.place, "title")
    sign = "dash" if dashed and len(rest.split()) > 3 else "comma"  # few words may be the title of something else
    return Mention(place, "label") if names.cased and is_remark(rest, sign) else None


def settle(mentions: list[Mention]) -> list[Mention]:
    """Decide what one entry alone leaves open by what the others of its list are.

    A number that is the label of one candidate and the title of another is a title among titles; what may be a remark
    or the end of a longer title is a remark where most mentions have the same sign, or two titles the same tail.
    """
    titles = sum(entry.by == "title" and not entry.doubt for entry in mentions)
    labels = sum(entry.by == "label" and entry.other is None for entry in mentions)
    doubts = [entry for entry in mentions if entry.doubt]
    tails: dict[str, set[int]] = {}
    for entry in doubts:
        tails.setdefault(entry.tail, set()).add(entry.place)
    signs = {entry.doubt for entry in mentions}
    by = any(entry.sign == "by" and not entry.doubt for entry in mentions)
    common = len(mentions) > 1 and len(signs) == 1 and signs <= {"dash", "long", "by"}

    def settled(entry: Mention) -> Mention:
        if entry.other is not None and titles > labels:
            return replace(entry, place=entry.other, by="title", other=None)
        if not entry.doubt:
            return entry
        known = common or (by and entry.doubt == "by")
        return replace(entry, doubt="", place=entry.place if known or len(tails[entry.tail]) > 1 else OFF)

    return list(map(settled, mentions))


def looks_like_item(text: str) -> bool:
    """Tell whether a line is short enough for a title, and no sentence."""
    text = text.strip("*_` ")
    sentence = text.endswith(":") or (text.endswith((".", "!", "?")) and len(text.split()) > 3)
    sentence = sentence or (text.endswith(".") and len(text.split()) > 2)
    return any(map(str.isalnum, text)) and not sentence and len(_ASIDE.split(text)[0].split()) <= 12

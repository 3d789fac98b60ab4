"""Which candidate one entry of an answer means, as `3. **Heat** - a classic`."""

import re
from dataclasses import replace

from llmrs_bench.prompts.remarks import is_remark, is_score, named
from llmrs_bench.prompts.titles import EDGES, OFF, Mention, Names

BULLET = re.compile(r"\s*(?:(?:[>*+\-–—•·▪◦●○‣➢➤✓✔☑★☆◆◇■□#]+|\[[ xX]\])\s+)+")
WORDS = (
    r"(?:candidates?|movies?|films?|books?|games?|items?|products?|options?|songs?|tracks?|albums?|artists?|shows?|series"
    r"|documents?|docs?|passages?|articles?|recipes?|restaurants?|business|places?|videos?|anime|entry|choice|pick"
    r"|titles?|index|label|id|numbers?|num|no|nr|kandidat|candidato|candidat|номер|кандидат|фильм|候補|候选|后选|编号|番号|번호|후보|번)"
)
# "Candidate 9", "No. 9", "movie ID: [9]", and what follows.
_WORDED = re.compile(
    rf"[\s*_`\"'\[(]*(?:{WORDS}[\s.:#=]*){{1,2}}[\[(#*_`\"']*(\w[\w\-]{{0,39}})(?![\w\-])[\])*_`\"']*(.*)",
    re.IGNORECASE | re.DOTALL,
)
_LABELLED = re.compile(
    r"[\s*_`\"'#]*(?:(?P<open>[\[(])\s*)?(?P<label>\w[\w\-]{0,39})(?(open)\s*[\])])"
    r"(?P<sign>[*_`\"']*\s*(?:[.:)|,、=>]+|->|=>|[-–—→~](?=[\s\w])|$)[*_`]*)?\s*(?P<rest>.*)",
    re.DOTALL,
)
_KEY = re.compile(rf"\s*(?:{WORDS}|name)\s*[:=]\s*(?=\S)", re.IGNORECASE)
_ASIDE = re.compile(r"\s[-–—]\s|:|—")


def read_item(text: str, names: Names) -> Mention | None:
    """Return what a line, a cell or a string means, as "Heat", "3. Heat", "[3]", "No. 3"; or None."""
    if text not in names.read:
        names.read[text] = _read_item(text, names)
    return names.read[text]


def _read_item(text: str, names: Names) -> Mention | None:
    text = without_bullet(text[: 4 * names.longest])
    bare = text.strip(EDGES)
    if found := _bare(bare, names):
        return found
    key = _KEY.match(text)
    whole = named(text, names)
    if whole is not None and not (whole.tail and key):
        return Mention(whole.place, "title", doubt=whole.doubt, tail=whole.tail)
    if (worded := _WORDED.match(text)) and (place := names.label(worded[1])) is not None:
        return _labelled(place, worded[2].strip(), names)
    if key and (item := read_item(text[key.end() :], names)):
        return item
    found_label = _LABELLED.match(text)
    place = names.label(found_label["label"]) if found_label else None
    if found_label is None or place is None:
        return None
    item = _labelled(place, found_label["rest"].strip(), names)
    score = found_label["rest"][:1] in {"(", "["} and is_score(found_label["rest"])
    parted = score or found_label["open"] or (found_label["sign"] or "").strip("*_`\"' ")
    agreed = item is not None and item.by == "title" and item.place == place
    return item if parted or agreed else None


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
    rest = rest.lstrip(" .:)|,、=->→–—~*")
    if not any(map(str.isalnum, rest)) or is_score(rest):
        return Mention(place, "label")
    if found := named(rest, names):
        return Mention(found.place, "title", doubt=found.doubt, tail=found.tail)
    bracket = re.fullmatch(r"[(\[](.{1,200})[)\]]", rest)
    if bracket and (inner := named(bracket[1], names)):
        return Mention(inner.place, "title")
    return Mention(place, "label") if names.cased and is_remark(rest, "comma") else None


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
    common = len(mentions) > 1 and len(signs) == 1 and signs <= {"dash", "long", "by"}

    def settled(entry: Mention) -> Mention:
        if entry.other is not None and titles > labels:
            return replace(entry, place=entry.other, by="title", other=None)
        if not entry.doubt:
            return entry
        return replace(entry, doubt="", place=entry.place if common or len(tails[entry.tail]) > 1 else OFF)

    return list(map(settled, mentions))


def looks_like_item(text: str) -> bool:
    """Tell whether a line is short enough for a title, and no sentence."""
    text = text.strip("*_` ")
    sentence = text.endswith(":") or (text.endswith((".", "!", "?")) and len(text.split()) > 3)
    sentence = sentence or (text.endswith(".") and len(text.split()) > 2)
    return any(map(str.isalnum, text)) and not sentence and len(_ASIDE.split(text)[0].split()) <= 12

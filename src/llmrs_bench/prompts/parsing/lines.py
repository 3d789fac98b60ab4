"""Lists written in lines, and in sentences."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from llmrs_bench.prompts.parsing.entries import Rank, counting, is_valued, read_mentions, read_rank
from llmrs_bench.prompts.parsing.items import BULLET, WORDS, read_item, without_bullet
from llmrs_bench.prompts.parsing.ranking import FoundList
from llmrs_bench.prompts.parsing.tables import cells_of, read_table
from llmrs_bench.prompts.parsing.titles import EDGES, NOUNS, OFF, PAST, Mention, Names, shape

_DOT = re.compile(r"\W*[0-9]{1,9}\s*[.:)\]]")
_SPLIT = re.compile(r"[\s,;>|→⇒=、，~]+")
_INNER = re.compile(r"[^\w.]+|(?<=\D)\.|\.(?=\D)")
_BESIDE = re.compile(rf"{WORDS}|and|then|&|und|et|y|-+|>+", re.IGNORECASE)
_COMMA = re.compile(r"[,、] ?")
_SIGN = re.compile(r" >+ | ?(?:[;|→⇒]|->|=>) ?|\s-{1,2}>\s|\s/\s")
_AND = re.compile(r"\s(?:and|&|und|et|y)\s(?:finally\s)?")
# "1. Heat 2. Alien", "1st: Heat, 2nd: Alien", "Rank 1: 3, Rank 2: 1", "#1 Heat, #2 Alien", "1 - Heat, 2 - Alien".
_RANKED = re.compile(
    r"(?:(?<=[\s,;(])|^)(?:(?:(?:rank|place|position|pick|choice|no\.?)\s?#?|#)?[\[(]?([0-9]{1,3})(?:st|nd|rd|th)?"
    r"(?:\splace)?(?:[.)\]]+(?:\s|(?=[^\W\d]))| ?:\s)"
    r"|(?:(?<=[,;]\s)|^)(?:#([0-9]{1,3})\s|([0-9]{1,3})(?:\s[-–—]\s|\s?=\s?)(?=[^\W\d]|[\"'*])))",
    re.IGNORECASE,
)
_PAIR = re.compile(r"(?<![0-9])([0-9]{1,9})\s?(?:[.:)=]|->|→|[-–—])\s?[\[(#*]*([0-9]{1,9})(?![0-9])")
_BRACKETED = re.compile(r"[(\[]\s*([0-9]{1,9})\s*,\s*([0-9]{1,9})\s*[)\]]")
_LEAD = re.compile(r".*?\b(?:is|are|be|as follows|follows|to|son|sont|ist|sind|es)\b:?\s+", re.IGNORECASE)
_WORDY = re.compile(r"[^0-9\n]{1,80}?[\s=:(\[](?=[0-9]+[\s,;>)\]])")  # "Sure, 3, 1, 2"
_RISING = re.compile(r"\s+<+\s+|(?<=[0-9])<(?=[0-9])")
_LETTER = re.compile(r"[^\W0-9]")
_DIGITS = re.compile("[0-9]+")
_RANGE = re.compile(r"\W*[0-9]+\s?[-–—]\s?[0-9]+\W*")
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
    if text not in names.tokens:  # answers repeat their lines
        names.tokens[text] = _labels_of(text, names)
    return names.tokens[text]


def _labels_of(text: str, names: Names) -> list[str]:
    if len(text) > 3 and "(" in text:
        text = _SCORES.sub(" ", text)
    tokens = [bare for token in _SPLIT.split(text) if (bare := token.strip(EDGES))]
    if tokens and all(token in names.labels for token in tokens):  # as most answers are
        return tokens
    if tokens and tokens[0].isalpha() and shape(tokens[0]) not in names.shapes and not _BESIDE.fullmatch(tokens[0]):
        return []
    tokens = [token for token in tokens if token.isdecimal() or token in names.labels or not _BESIDE.fullmatch(token)]
    if names.numbered and not all(token.isdecimal() or token in names.labels for token in tokens):
        tokens = [part for token in tokens for part in _INNER.split(token) if part]
    return tokens if tokens and all(shape(token) in names.shapes for token in tokens) else []


def read_pairs(text: str, names: Names) -> list[Mention]:
    """Read ranks and labels on one line, "1. [7], 2. [3]"."""
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
    if found := _read_agreed(text, names):
        return found
    parts = _ranked_parts(text)
    if parts and (found := _read_parts(parts, names, strict=False)):
        return found
    rank = read_rank(text)
    if rank and rank.parted:  # one entry of a list, which may itself hold commas
        return []
    for separator in (_SIGN, _COMMA):
        parts = _split(separator, text)
        found = _read_parts(parts, names, strict=True) if len(parts) > 1 else []
        if len(found) == 2 and {mention.by for mention in found} == {"title", "label"}:
            return []  # a title with its rank or score, "Heat -> 4"
        if len({mention.place for mention in found}) > 1 or (found and found[0].place == PAST):
            return found
    return []


_PARTS = re.compile(r"[,;>|]\s+")
_BEHIND = re.compile(r"(?P<title>.{1,400}?)\s*[(\[]\s*(?P<label>\w{1,40})\s*[)\]]?")
_BEFORE = re.compile(
    r"[(\[]?(?P<label>\w{1,40})(?:\s*[)\]:.=]|\s*[-–—]\s|\s(?=[(\[]))\s*[(\[\"']?(?P<title>.{1,400}?)[)\]\"']?"
)


def _read_agreed(text: str, names: Names) -> list[Mention]:
    """Read labels with their own titles, in any order, on one line: "4 (Fargo), 1 (Jaws)"."""
    found = []
    parts = _split(_PARTS, text.rstrip(" ."))
    for part in parts if len(parts) > 1 else ():
        pairs = [pair for form in (_BEFORE, _BEHIND) if (pair := form.fullmatch(part.strip()))]
        places = [(names.label(pair["label"]), names.title(pair["title"].strip(EDGES))) for pair in pairs]
        agreed = [title for label, title in places if title is not None and label == title]
        if not agreed:
            return []
        found.append(Mention(agreed[0], "title"))
    return found if len(found) > 1 else []


def read_sentence(text: str, names: Names) -> list[Mention]:
    """Read a sentence that holds a whole list of all candidates, "My ranking is 3, 1, 2."."""
    lead = _LEAD.match(text[:200]) or (_WORDY.match(text[:200]) if names.numbered else None)
    if lead is None:
        return []
    said = text[lead.end() :].strip(" .!")
    found = read_labels(said, names) or read_titles(said, names)
    places = [mention.place for mention in found]
    return found if len(places) > 1 and sorted(places) == list(range(len(names.listed.titles))) else []


def _split(separator: re.Pattern[str], text: str) -> list[str]:
    if len(text) >= 100_000 or not separator.search(text):
        return []
    return [part for part in separator.split(text) if part.strip()]


def _ranked_parts(text: str) -> list[str]:
    """Return what stands behind numbers that count 1, 2, 3 on one line."""
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


_BREAK = re.compile(rf"<br ?/?>|</(?:\w{{1,20}}_)?(?:li|p|tr|div|item|candidate|entry|{NOUNS})>", re.IGNORECASE)
_CELL = re.compile(r"</t[dh]>\s*<t[dh][^>]{0,80}>", re.IGNORECASE)
_TAG = re.compile(
    r"</?[a-z_][^<>\n]{0,80}>|\\boxed\b|\\text\b|\\item\b|\\(?:begin|end)\{\w{1,20}\*?\}|^\s*(?:```|~~~)\w*",
    re.IGNORECASE,
)
_MARK = re.compile(r"[<\\`~]")
_SCORE_FIRST = re.compile(
    r"[\s*+\-•]*[\[(]?(0?\.[0-9]{1,9}|1\.0{1,9}|[0-9]{1,3}(?:\.[0-9]{1,9})?\s?%)[\])]?\s*(?:[-–—:|]\s+)?(?<=\s)(?![0-9]+\.[0-9])([^\W_].*)"
)
_ATTRIBUTE = re.compile(r"\b(rank|position|id|label|number)\s*=\s*[\"']?(\w{1,20})", re.IGNORECASE)
_CAPTION = re.compile(r"[\s*_`\"'#{\[(>\-]*+([^\W\d_][^:\n]{0,120}?)[*_`\"')]*+\s*:[*_`]*\s*(?=\S)")
_PLACES = re.compile(
    r"[\s*_#>\-]*([0-9]{1,3})\s?(?:[-–—]|to)\s?([0-9]{1,3})[*_]*\s*[:.)][*_]*\s(?=.*[,\s])"
)  # "4-6: 9, 2, 1"
_TOP = re.compile(r"\W*top\s[0-9]{1,3}\W*:\W*", re.IGNORECASE)
_FIELD = re.compile(rf"(?:- )?[\"']?(?:title|name|item|{NOUNS})[\"']?\s?: ", re.IGNORECASE)
_SIGNED = re.compile(r"[0-9][^\w,;>]*[.:)\]=][^\w,;>]*[0-9]|->|→")
_HEADING = re.compile(r"\s*#{1,6}\s|\s*(\*\*|__)[^*_]+\1\s*$")


@dataclass(frozen=True, slots=True)
class AnswerLine:
    """A line of an answer.

    Args:
        text: The line without tags and without the caption on it.
        indent: How far it is indented.
        caption: The words before a colon on it.
        rank: The number with which it may begin.
    """

    text: str
    indent: int
    caption: str = ""
    rank: Rank | None = None

    @property
    def ranked(self) -> bool:
        """Whether something follows its rank."""
        return self.rank is not None and self.rank.full


@dataclass(slots=True)
class _Lists:
    """Lists found so far, and the lines of the one that is being read."""

    names: Names
    found: list[FoundList] = field(default_factory=list)
    lines: list[AnswerLine] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    caption: str = ""
    blank: bool = False
    read: dict[str, FoundList | None] = field(default_factory=dict)  # answers repeat their lines
    together: int = 0  # neighbouring lines of the list at most
    back: bool = False  # whether a rank of the list went back, so that its ranks do not count

    def end(self) -> None:
        """Read the lines of the list at hand."""
        if len(self.rows) == 1:
            first, *rest = self.rows[0]
            row = f"{first}. {' | '.join(rest)}" if first.isdecimal() else " | ".join(self.rows[0])
            self._keep(FoundList(tuple(read_mentions([row], self.names, strict=False)), self.caption))
        elif self.rows:
            self._keep(FoundList(tuple(read_table(self.rows, self.names)), self.caption))
        if self.lines:
            lines = _without_notes(self.lines)
            self._keep(_read(lines, self.caption or lines[0].caption, self.names))
        self.lines, self.rows, self.blank, self.together, self.back = [], [], False, 0, False

    def _keep(self, found: FoundList) -> None:
        if found.mentions:
            self.found.append(found)
            self.caption = ""

    def add(self, found: FoundList) -> None:
        """End the list at hand and keep one that is read already."""
        self.end()
        self._keep(replace(found, caption=found.caption or self.caption))
        self.caption = ""


def read_lines(text: str, names: Names, values: Sequence[list[FoundList]] = ()) -> list[FoundList]:
    """Return the lists that lines of a text hold, in their order.

    Args:
        text: Lines; one of a NUL and a number stands for values that are read already.
        names: What was shown.
        values: Those values.
    """
    lists = _Lists(names)
    for raw in _CELL.sub(" | ", _BREAK.sub("\n", text)).split("\n"):
        before, mark, number = raw.partition("\0")
        if mark:
            caption = before.strip(" *_:`=")
            for found in values[int(number.partition("\0")[0])]:
                lists.add(replace(found, caption=f"{caption or lists.caption} {found.caption}".strip()))
            lists.end()
            continue
        _read_line(raw, lists)
    lists.end()
    return lists.found


def _read_line(raw: str, lists: _Lists) -> None:
    names = lists.names
    bare = raw.replace("\t", " | ") if "\t" in raw.strip() else raw
    line = " ".join((_TAG.sub(_attributes, bare) if _MARK.search(bare) else bare).split())
    scored = _SCORE_FIRST.fullmatch(line) if line[:8].strip("*+-•[( ")[:1].isdecimal() else None  # "0.9 Heat"
    if scored and names.title(line.strip(EDGES)) is None:  # but for the film "100% Wolf"
        line = f"{scored[2]}: {scored[1]}"
    indent = len(raw) - len(raw.lstrip())
    if not any(map(str.isalnum, line)):
        lists.blank |= not line
        return
    if cells := _row(line, lists):
        if lists.lines or (lists.rows and len(lists.rows[0]) != len(cells) and lists.blank):
            lists.end()
        lists.rows.append(cells)
        lists.blank = False
        return
    if lists.rows:
        lists.end()
    if line not in lists.read:
        lists.read[line] = _list_on(line, names)
    if found := lists.read[line]:
        lists.add(found)
    else:
        _add_item(line, indent, lists)


def _list_on(line: str, names: Names) -> FoundList | None:
    """Return the list that stands on one line; "3 < 1 < 2" has the best one last."""
    if "<" in line and len(rising := _RISING.split(line)) > 1:
        line = " > ".join(reversed(rising))
    if _is_word(line) or line.strip(EDGES) in names.labels:
        return None
    parts = [(caption, said) for caption, said in _captioned(line, names) if not _is_word(said)]
    for caption, said in parts:
        pair = _is_pair(said, names) and (not caption or _SIGNED.search(said) is not None)
        if found := read_pairs(said, names) or ([] if pair else read_labels(said, names)):
            return FoundList(tuple(found), caption)
    for caption, said in parts:
        if found := read_titles(said, names):
            return FoundList(tuple(found), caption)
    return None


def _is_word(text: str) -> bool:
    return text.strip(EDGES).isalnum()


def _add_item(line: str, indent: int, lists: _Lists) -> None:
    names, rank = lists.names, read_rank(line)
    if _TOP.fullmatch(line):
        lists.end()
        lists.caption = line
        return
    caption, said = "", line
    if rank is None and read_item(line, names) is None:
        caption, said = _captioned(line, names)[-1]
        rank = read_rank(said) if caption else None
    new = AnswerLine(said, indent, caption, rank)
    known = new.ranked and rank is not None and (rank.parted or _unparted(rank, lists.lines))
    known = known or bool(rank and rank.worded) or BULLET.match(line) is not None
    if not known and read_item(said, names) is None and not is_valued(said, names):
        if found := read_sentence(line, names):
            lists.add(FoundList(tuple(found), line[:80]))
        elif line.rstrip("*_ ").endswith((":", "-")) or _HEADING.match(line):
            lists.end()
            lists.caption = line
        elif not lists.lines:
            lists.caption = ""
        return
    if caption and len(caption.split()) > 4 and not new.ranked:
        lists.end()
        lists.found.append(FoundList(_read([new], caption, names).mentions, caption, sentence=True))
        return
    if lists.lines and _begins_another(new, lists):
        lists.end()
    lists.together = 1 if lists.blank or not lists.lines else lists.together + 1
    lists.blank = False
    lists.lines.append(new)


def _begins_another(line: AnswerLine, lists: _Lists) -> bool:
    """Tell whether a line begins another list than that of the lines before it."""
    before = lists.lines[-1]
    if lists.blank and _is_pair(line.text, lists.names) and not _is_pair(before.text, lists.names):
        return True
    if line.caption and line.caption != before.caption and not line.ranked:
        return True
    ranked = next((at.rank for at in reversed(lists.lines[-20:]) if at.ranked), None) if line.ranked else None
    if line.rank and ranked:
        kinds = [
            (now, last)
            for now, last in zip(line.rank.values, ranked.values, strict=True)
            if now is not None and last is not None
        ]
        first = any(now == 1 and last >= 1 for now, last in kinds)
        if not any(now <= last for now, last in kinds) or (first and _goes_on_with_scores(line, lists)):
            return False
        if first or lists.blank:
            again = not lists.back and counting([at.rank for at in lists.lines if at.ranked and at.rank])
            lists.back |= not again and len(lists.lines) > 2
            return again
    return lists.blank and lists.together > 1


def _goes_on_with_scores(line: AnswerLine, lists: _Lists) -> bool:
    """Tell whether a line and those before are labels with scores, "8: 96", "1: 95", and no label comes twice."""
    pairs = [labels_of(at.text, lists.names) for at in (*lists.lines[-20:], line)]
    if not all(len(pair) == 2 and lists.names.label(pair[1]) is None for pair in pairs):
        return False
    return len({pair[0] for pair in pairs}) == len(pairs)


def _without_notes(lines: list[AnswerLine]) -> list[AnswerLine]:
    """Return the lines of a list without those that are indented further, and without words among captions."""
    fields = [line for line in lines if _FIELD.match(line.text)]
    others = [line for line in lines if not _FIELD.match(line.text)]
    if len(fields) > 1 or (fields and all(line.caption for line in others)):  # "- title: Heat", "  rank: 1"
        return fields
    numbered = sum(line.ranked for line in lines) > 1
    least = min(line.indent for line in lines if line.ranked or not numbered)
    bullets = [line for line in lines if line.indent <= least or not (BULLET.match(line.text) or line.caption)]
    plain = [line for line in bullets if not line.caption or line.ranked]
    return plain if len(plain) > 1 or (plain and not bullets[0].caption) else bullets


def _read(lines: Sequence[AnswerLine], caption: str, names: Names) -> FoundList:
    texts = [line.text for line in lines]
    if len(texts) == 1 and _RANGE.fullmatch(texts[0]):  # "1-10" says how many there are
        return FoundList((), caption)
    if all(_is_pair(text, names) for text in texts):
        mentions = read_mentions(texts, names, strict=False)
        ranks = [rank for rank in map(read_rank, texts) if rank]
        loose = all(
            re.search(r"\w\W*(?:[,;>\s])\W*\w", text) and not re.search(r"[.:)=|]|->|→|-", text) for text in texts
        )
        if (loose and len(texts) < 3) or not (mentions or counting(ranks)):
            mentions = [mention for text in texts for mention in read_labels(text, names)] if loose else mentions
        return FoundList(tuple(mentions), caption)
    return FoundList(tuple(read_mentions(texts, names, strict=False)), caption)


def _is_pair(text: str, names: Names) -> bool:
    """Tell whether a line is two numbers: a rank and a label, or a label and a score, or two labels."""
    tokens = labels_of(text, names)
    if len(tokens) == 1:
        tokens = _DIGITS.findall(tokens[0])
    return len(tokens) == 2 and all(token.isdecimal() for token in tokens[1:])


def _captioned(line: str, names: Names) -> list[tuple[str, str]]:
    """Return the line as it is, and what stands behind the words before its colon."""
    if (places := _PLACES.match(line)) and int(places[1]) < int(places[2]):
        return [(places[0], line[places.end() :])]
    found = _CAPTION.match(line) if ":" in line else None
    if not found or read_item(found[1], names) is not None:
        return [("", line)]
    said = line[found.end() :]
    while (again := _CAPTION.match(said)) and again[1] == found[1]:  # "Ranking: Ranking: 3, 1"
        said = said[again.end() :]
    return [("", line), (found[1], said)]


def _unparted(rank: Rank, lines: Sequence[AnswerLine]) -> bool:
    """Tell whether a number that only a space parts from the rest may count the lines."""
    if rank.values[0] == 1:
        return True
    last = lines[-1].rank if lines else None
    return bool(last and not last.parted and last.values[0] is not None and rank.values[0] == last.values[0] + 1)


def _row(line: str, lists: _Lists) -> list[str]:
    cells = cells_of(line)
    if not cells or line.startswith("|") or lists.rows:
        return cells
    # A single line of labels or titles may be parted by bars.
    return (
        cells
        if len(cells) < 7 and not read_labels(line, lists.names)[2:] and len(read_titles(line, lists.names)) < 3
        else []
    )


def _attributes(tag: re.Match[str]) -> str:
    """Return a space for a tag, with the rank or the label that it may hold."""
    words = []
    for name, value in _ATTRIBUTE.findall(tag[0]) if "=" in tag[0] else ():
        words.append(f"{value}. " if name.lower() in {"rank", "position"} else f"[{value}] ")
    return f" {''.join(sorted(words))}"

"""Lists written in lines."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from llmrs_bench.prompts.parsing.entries import Rank, counting, is_valued, read_mentions, read_rank
from llmrs_bench.prompts.parsing.items import BULLET, WORDS, named, read_item
from llmrs_bench.prompts.parsing.one_line import (
    captioned,
    is_pair,
    labels_of,
    list_on_line,
    read_labels,
    read_sentence,
    read_titles,
)
from llmrs_bench.prompts.parsing.ranking import FoundList, role_of
from llmrs_bench.prompts.parsing.tables import RANK_NAME, cells_of, read_table
from llmrs_bench.prompts.parsing.titles import EDGES, NOUNS, Names

_RANGE = re.compile(  # "1-20", "Ranking: 1-20", "Ranking 1-20:"
    r"\W*(?:[^\W\d][^:\d]{0,80}:\s*)?[0-9]+\s?[-–—]\s?[0-9]+\W*"
    r"|\W*[^\W\d][^:\d]{0,80}[0-9]+\s?[-–—]\s?[0-9]+\s*[*_]*:\W*"
)
_BREAK = re.compile(rf"<br ?/?>|</(?:\w{{1,20}}_)?(?:li|p|tr|div|item|candidate|entry|{NOUNS})>", re.IGNORECASE)
_CELL = re.compile(r"</t[dh]>\s*<t[dh][^>]{0,80}>", re.IGNORECASE)
_TAG = re.compile(
    r"</?[a-z_][^<>\n]{0,80}>|\\boxed\b|\\text(?:bf|it|tt|rm|sc)?\b|\\emph\b|\\item\b|\\(?:begin|end)\{\w{1,20}\*?\}|^\s*(?:```|~~~)\w*",
    re.IGNORECASE,
)
_MARK = re.compile(r"[<\\`~]")
_SCORE_FIRST = re.compile(
    r"[\s*+\-•]*[\[(]?(0?\.[0-9]{1,9}|1\.0{1,9}|[0-9]{1,3}(?:\.[0-9]{1,9})?\s?%)[\])]?\s*(?:[-–—:|]\s+)?(?<=\s)(?![0-9]+\.[0-9])(\(?[^\W_].*)"
)
_ATTRIBUTE = re.compile(r"\b(rank|position|id|label|number)\s*=\s*[\"']?(\w{1,20})", re.IGNORECASE)
_TOP = re.compile(r"\W*top\s[0-9]{1,3}\W*:\W*", re.IGNORECASE)
_FIELD = re.compile(rf"(?:- )?[\"']?(?:title|name|item|{NOUNS})[\"']?\s?: ", re.IGNORECASE)
_PRECEDES = re.compile(r"\\(?:succ|gt)(?:eq)?(?![a-zA-Z])")
_ROW_END, _BESIDE = re.compile(r"\\\\\s*(?:\\hline)?\s*$"), re.compile(r"\s&\s|\s*\\\\\s*(?:\\hline)?\s*$")  # of LaTeX
_VECTOR = re.compile(r"^(\s*\w{1,40}\s*)<-\s*c\(")  # of R
_WORDED_LABEL = re.compile(rf"\b{WORDS}[\s#]+(\w{{1,40}})\b", re.IGNORECASE)
_SHORT = 4  # lines
_FEW = 2  # candidates that an entry and its remark may name
_HEADING = re.compile(r"\s*#{1,6}\s|\s*(\*\*|__)[^*_]+\1\s*$")


@dataclass(frozen=True, slots=True)
class AnswerLine:
    """A line of an answer.

    Args:
        text: The line without tags and without the caption on it.
        indent: How far it is indented.
        caption: The words before a colon on it.
        rank: The number with which it may begin.
        ranked: Whether something follows its rank.
    """

    text: str
    indent: int
    caption: str = ""
    rank: Rank | None = None
    ranked: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ranked", self.rank is not None and self.rank.full)


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
    short: dict[tuple[object, ...], FoundList] = field(default_factory=dict)
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
            self._keep(self._list())
        self.lines, self.rows, self.blank, self.together, self.back = [], [], False, 0, False

    def _list(self) -> FoundList:
        """Return the list of the lines at hand; models repeat short ones thousands of times."""
        if len(self.lines) > _SHORT:
            return _read(_without_notes(self.lines), self.caption, self.names)
        key = (self.caption, *((line.text, line.indent, line.caption) for line in self.lines))
        if key not in self.short:
            self.short[key] = _read(_without_notes(self.lines), self.caption, self.names)
        return self.short[key]

    def _keep(self, found: FoundList) -> None:
        if found.mentions:
            self.found.append(found)
            self.caption = ""

    def add(self, found: FoundList) -> None:
        """End the list at hand and keep one that is read already."""
        self.end()
        if self.caption and not found.caption:
            found = FoundList(found.mentions, self.caption, found.sentence)
        self._keep(found)
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
                above = f"{caption or lists.caption} {found.caption}".strip()
                lists.add(found if above == found.caption else FoundList(found.mentions, above, found.sentence))
            lists.end()
            continue
        _read_line(raw, lists)
    lists.end()
    return lists.found


def _read_line(raw: str, lists: _Lists) -> None:
    names = lists.names
    bare = raw.replace("\t", " | ") if "\t" in raw.strip() else raw
    if "\\" in bare:  # LaTeX
        bare = _PRECEDES.sub(" > ", bare)
        bare = " | ".join(_beside(bare, names)) if _ROW_END.search(bare) else bare
    elif "<-" in bare:
        bare = _VECTOR.sub(r"\1= (", bare)
    if _MARK.search(bare):
        bare = _TAG.sub(lambda tag: f" {tag[0][1:-1]} " if tag[0][1:-1] in names.labels else _attributes(tag), bare)
    line = " ".join(bare.split())
    scored = _SCORE_FIRST.fullmatch(line) if line[:8].strip("*+-•[( ")[:1].isdecimal() else None  # "0.9 Heat"
    if scored and named(line.lstrip(" *+-•"), names) is None:  # but for the film "100% Wolf"
        line = f"{scored[2]}: {scored[1]}"
    indent = len(raw) - len(raw.lstrip())
    if not any(map(str.isalnum, line)):
        lists.blank |= not line
        return
    if cells := _row(line, lists) or _fields_of(line, lists):
        if lists.lines or (lists.rows and len(lists.rows[0]) != len(cells) and lists.blank):
            lists.end()
        lists.rows.append(cells)
        lists.blank = False
        return
    if lists.rows:
        lists.end()
    if line not in lists.read:
        lists.read[line] = list_on_line(line, names)
    if found := lists.read[line]:
        lists.add(found)
    else:
        _add_item(line, indent, lists)


def _beside(row: str, names: Names) -> list[str]:
    """Return the cells of a row of LaTeX; an ampersand within a title parts none, even if no backslash is before it."""
    cells = _BESIDE.split(row)
    for start in range(len(cells)) if names.ampersands else ():
        for length in range(names.ampersands + 1, 1, -1):
            whole = " & ".join(cells[start : start + length])
            if start + length <= len(cells) and names.title(whole) is not None:
                cells[start : start + length] = [whole]
    return cells


def _add_item(line: str, indent: int, lists: _Lists) -> None:
    names, rank = lists.names, read_rank(line)
    if (
        rank and names.title(line.strip(EDGES)) is not None and names.title(rank.rest.strip(EDGES)) is None
    ):  # "101 Dalmatians"
        rank = None
    if _TOP.fullmatch(line):
        lists.end()
        lists.caption = line
        return
    caption, said = "", line
    if rank is None and read_item(line, names) is None:
        caption, said = captioned(line, names)[-1]
        rank = read_rank(said) if caption else None
    if rank is None and not caption and not BULLET.match(line) and _names_several(line, names):
        return
    new = AnswerLine(said, indent, caption, rank)
    known = new.ranked and rank is not None and (rank.parted or _unparted(rank, lists.lines))
    known = known or bool(rank and rank.worded) or BULLET.match(line) is not None
    if not known and read_item(said, names) is None and not is_valued(said, names):
        if found := read_sentence(line, names):
            lists.add(found)
        elif line.rstrip("*_ ").endswith((":", "-")) or _HEADING.match(line) or _is_role(line):
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


def _names_several(line: str, names: Names) -> bool:
    """Tell whether a line is a sentence about several candidates, "Item 4 has 9 points, item 2 has 8, item 7 has 1"."""
    if line.count(" ") <= 4 * _FEW:  # as most lines
        return False
    return len({label for label in _WORDED_LABEL.findall(line) if label in names.labels}) > _FEW


def _is_role(line: str) -> bool:
    """Tell whether a line is the name of a list alone, as "Final ranking"."""
    return len(line) < 24 and line[-1:].isalpha() and line.count(" ") < 2 and role_of(line) in {"final", "draft"}


def _begins_another(line: AnswerLine, lists: _Lists) -> bool:
    """Tell whether a line begins another list than that of the lines before it."""
    before = lists.lines[-1]
    if lists.blank and is_pair(line.text, lists.names) and not is_pair(before.text, lists.names):
        return True
    ranked = next((at for at in reversed(lists.lines[-20:]) if at.ranked), None)
    if not line.ranked:
        note = ranked is not None and line.indent > ranked.indent
        if line.caption and line.caption != before.caption and not note:
            return True
    elif line.rank and ranked and ranked.rank:
        falls, first = False, False
        for now, last in zip(line.rank.values, ranked.rank.values, strict=True):
            if now is not None and last is not None:
                falls |= now <= last
                first |= now == 1 and last >= 1
        if not falls or (first and _goes_on_with_scores(line, lists)):
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
    texts, caption = [line.text for line in lines], caption or lines[0].caption
    if len(texts) == 1 and _RANGE.fullmatch(texts[0]):  # "1-10" says how many there are
        return FoundList((), caption)
    if all(is_pair(text, names) for text in texts):
        mentions = read_mentions(texts, names, strict=False)
        ranks = [rank for rank in map(read_rank, texts) if rank]
        loose = all(
            re.search(r"\w\W*(?:[,;>\s])\W*\w", text) and not re.search(r"[.:)=|]|->|→|-", text) for text in texts
        )
        if (loose and len(texts) < 3) or not (mentions or counting(ranks)):
            mentions = [mention for text in texts for mention in read_labels(text, names)] if loose else mentions
        return FoundList(tuple(mentions), caption)
    return FoundList(tuple(read_mentions(texts, names, strict=False)), caption)


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


def _fields_of(line: str, lists: _Lists) -> list[str]:
    """Return the cells of a line of three columns or more with commas, below a head that begins with the rank."""
    cells = next(csv.reader([line])) if line.count(",") > 1 else []
    head = len(cells) > 2 and not lists.rows and RANK_NAME.fullmatch(cells[0]) is not None
    return cells if head or (cells and lists.rows and len(cells) >= len(lists.rows[0]) and cells[0].isdecimal()) else []


def _attributes(tag: re.Match[str]) -> str:
    """Return a space for a tag, with the rank or the label that it may hold."""
    words = []
    for name, value in _ATTRIBUTE.findall(tag[0]) if "=" in tag[0] else ():
        words.append(f"{value}. " if name.lower() in {"rank", "position"} else f"[{value}] ")
    return f" {''.join(sorted(words))}"

"""The lists of an answer that is lines of text: where each begins and ends, and which words stand before it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from llmrs_bench.prompts.inline import labels_of, read_labels, read_pairs, read_sentence, read_titles
from llmrs_bench.prompts.items import BULLET, read_item
from llmrs_bench.prompts.mentions import is_valued, read_mentions
from llmrs_bench.prompts.rankings import Found
from llmrs_bench.prompts.ranks import Rank, counting, read_rank
from llmrs_bench.prompts.tables import cells_of, read_table
from llmrs_bench.prompts.titles import EDGES, Names

_BREAK = re.compile(r"<br ?/?>|</(?:li|p|tr|div|item|movie|candidate|entry)>", re.IGNORECASE)
_CELL = re.compile(r"</t[dh]>\s*<t[dh][^>]{0,80}>", re.IGNORECASE)
_TAG = re.compile(r"</?[a-z_][^<>\n]{0,80}>|\\boxed\b|\\text\b|^\s*(?:```|~~~)\w*", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"\b(rank|position|id|label|number)\s*=\s*[\"']?(\w{1,20})", re.IGNORECASE)
_CAPTION = re.compile(r"[\s*_`\"'#{\[(>\-]*([^\W\d][^:\n]{0,120}?)[*_`\"')]*\s*:[*_`]*\s*(?=\S)")
_FIELD = re.compile(r"(?:- )?[\"']?(?:title|name|movie|film|book|song|game|item)[\"']?\s?: ", re.IGNORECASE)
_SIGNED = re.compile(r"[0-9][^\w,;>]*[.:)\]=][^\w,;>]*[0-9]|->|→")
_HEADING = re.compile(r"\s*#{1,6}\s|\s*(\*\*|__)[^*_]+\1\s*$")


@dataclass(frozen=True, slots=True)
class Line:
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
    found: list[Found] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    caption: str = ""
    blank: bool = False
    read: dict[str, Found | None] = field(default_factory=dict)  # answers repeat their lines
    together: int = 0  # neighbouring lines of the list at most

    def end(self) -> None:
        """Read the lines of the list at hand."""
        if len(self.rows) == 1:
            first, *rest = self.rows[0]
            row = f"{first}. {' | '.join(rest)}" if first.isdecimal() else " | ".join(self.rows[0])
            self._keep(Found(tuple(read_mentions([row], self.names, strict=False)), self.caption))
        elif self.rows:
            self._keep(Found(tuple(read_table(self.rows, self.names)), self.caption))
        if self.lines:
            lines = _without_notes(self.lines)
            self._keep(_read(lines, self.caption or lines[0].caption, self.names))
        self.lines, self.rows, self.blank, self.together = [], [], False, 0

    def _keep(self, found: Found) -> None:
        if found.mentions:
            self.found.append(found)
            self.caption = ""

    def add(self, found: Found) -> None:
        """End the list at hand and keep one that is read already."""
        self.end()
        self._keep(replace(found, caption=found.caption or self.caption))
        self.caption = ""


def read_lines(text: str, names: Names, values: Sequence[list[Found]] = ()) -> list[Found]:
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
    line = " ".join(_TAG.sub(_attributes, raw.replace("\t", " | ") if "\t" in raw.strip() else raw).split())
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


def _list_on(line: str, names: Names) -> Found | None:
    """Return the list that stands on one line."""
    if line.strip(EDGES) in names.labels:
        return None
    for caption, said in _captioned(line, names):
        pair = _is_pair(said, names) and (not caption or _SIGNED.search(said) is not None)
        if found := read_pairs(said, names) or ([] if pair else read_labels(said, names)):
            return Found(tuple(found), caption)
    for caption, said in _captioned(line, names):
        if found := read_titles(said, names):
            return Found(tuple(found), caption)
    return None


def _add_item(line: str, indent: int, lists: _Lists) -> None:
    names, rank = lists.names, read_rank(line)
    caption, said = "", line
    if rank is None and read_item(line, names) is None:
        caption, said = _captioned(line, names)[-1]
        rank = read_rank(said) if caption else None
    new = Line(said, indent, caption, rank)
    known = new.ranked and rank is not None and (rank.parted or _unparted(rank, lists.lines))
    item = read_item(said, names) is not None or is_valued(said, names)
    if not known and not item and not (rank and rank.worded) and not BULLET.match(line):
        if found := read_sentence(line, names):
            lists.add(Found(tuple(found), line[:80]))
        elif line.rstrip("*_ ").endswith((":", "-")) or _HEADING.match(line):
            lists.end()
            lists.caption = line
        elif not lists.lines:
            lists.caption = ""
        return
    if caption and len(caption.split()) > 4 and not new.ranked:
        lists.end()
        lists.found.append(Found(_read([new], caption, names).mentions, caption, sentence=True))
        return
    if lists.lines and _begins_another(new, lists):
        lists.end()
    lists.together = 1 if lists.blank or not lists.lines else lists.together + 1
    lists.blank = False
    lists.lines.append(new)


def _begins_another(line: Line, lists: _Lists) -> bool:
    """Tell whether a line begins another list than that of the lines before it."""
    before = lists.lines[-1]
    if _is_pair(line.text, lists.names) and not _is_pair(before.text, lists.names) and lists.blank:
        return True
    if line.caption and line.caption != before.caption and not line.ranked:
        return True
    ranked = next((at.rank for at in reversed(lists.lines[-20:]) if at.ranked), None)
    if line.ranked and line.rank and ranked:
        kinds = list(zip(line.rank.values, ranked.values, strict=True))
        back = any(now is not None and last is not None and now <= last for now, last in kinds)
        first = any(now == 1 and last is not None and last >= 1 for now, last in kinds)
        if back and (first or lists.blank):
            return counting([at.rank for at in lists.lines if at.ranked and at.rank])
        if not back:
            return False
    return lists.blank and lists.together > 1


def _without_notes(lines: list[Line]) -> list[Line]:
    """Return the lines of a list without those that are indented further, and without words among captions."""
    fields = [line for line in lines if _FIELD.match(line.text)]
    others = [line for line in lines if line not in fields]
    if len(fields) > 1 or (fields and all(line.caption for line in others)):  # "- title: Heat", "  rank: 1"
        return fields
    numbered = sum(line.ranked for line in lines) > 1
    least = min(line.indent for line in lines if line.ranked or not numbered)
    bullets = [line for line in lines if line.indent <= least or not (BULLET.match(line.text) or line.caption)]
    plain = [line for line in bullets if not line.caption or line.ranked]
    return plain if len(plain) > 1 or (plain and not bullets[0].caption) else bullets


def _read(lines: Sequence[Line], caption: str, names: Names) -> Found:
    texts = [line.text for line in lines]
    if all(_is_pair(text, names) for text in texts):
        mentions = read_mentions(texts, names, strict=False)
        ranks = [rank for rank in map(read_rank, texts) if rank]
        loose = all(
            re.search(r"\w\W*(?:[,;>\s])\W*\w", text) and not re.search(r"[.:)=|]|->|→|-", text) for text in texts
        )
        if (loose and len(texts) < 3) or not (mentions or counting(ranks)):
            mentions = [mention for text in texts for mention in read_labels(text, names)] if loose else mentions
        return Found(tuple(mentions), caption)
    return Found(tuple(read_mentions(texts, names, strict=False)), caption)


def _is_pair(text: str, names: Names) -> bool:
    """Tell whether a line is two numbers: a rank and a label, or a label and a score, or two labels."""
    tokens = labels_of(text, names)
    if len(tokens) == 1:
        tokens = re.findall("[0-9]+", tokens[0])
    return len(tokens) == 2 and all(token.isdecimal() for token in tokens[1:])


def _captioned(line: str, names: Names) -> list[tuple[str, str]]:
    """Return the line as it is, and what stands behind the words before its colon."""
    found = _CAPTION.match(line)
    if not found or read_item(found[1], names) is not None:
        return [("", line)]
    return [("", line), (found[1], line[found.end() :])]


def _unparted(rank: Rank, lines: Sequence[Line]) -> bool:
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

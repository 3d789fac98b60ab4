"""Any text of a model to an order of candidates: numbers first, then whole titles; nothing matches by substring."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import unescape
from typing import Any, Final, Literal, TypeAlias

from llmrs_bench.prompts.protocol import spoken
from llmrs_bench.types import Kind, Listed

# A line that starts with a number, maybe in brackets, or with a bullet, and what follows it.
_NUMBERED = re.compile(r"^[\[(#]*\s*(\d{1,4})\s*[\])]*\s*[.:)\-–]?\s*(.*)$")
_BULLET = re.compile(r"^[-•*+–]\s+(.*)$")
# A line of nothing but numbers and what separates them, perhaps behind a label such as "Ranking:".
_NUMBERS_ONLY = re.compile(r"^(?:[A-Za-z' ]{1,40}:)?[\s\d,;.>|\[\]()#&:\-–]*\d[\s\d,;.>|\[\]()#&:\-–]*$")
_RANK_AND_LABEL = re.compile(r"^(\d{1,4})\s*[.:)]\s*[\[(#]*([^\s\[\]()#.,;]{1,80})[\])]*[.,;]?$")
_BRACKETED = re.compile(r"^\[([^\[\]]{1,80})\]\s*(.*)$")
_INLINE_NUMBER = re.compile(r"(?:^|\s)\d{1,3}[.)]\s+")
_SEPARATOR = re.compile(r"\s*(?:,|;|>|\|)\s+|\s+>\s*")
_BEHIND_TITLE = re.compile(r"\s+[-–—]\s+|:\s")
_YEAR = re.compile(r"^(.*?)[\s,]*\(?\b(1[89]\d\d|20\d\d)\)?\s*$", re.DOTALL)
_MARKDOWN = re.compile(r"\*\*|__|`|^[\s>#]+(?=\S)")
_QUOTES = "\"'“”‘’«»„*_ \t"
_REFUSAL = re.compile(
    r"\W*(?:(?:i'?m|i am|we'?re) (?:very |so |really )?(?:sorry|afraid|unable|not able)|sorry,? (?:but )?(?:i|we)\b"
    r"|i (?:can't|cannot|can not|won't|am not able)|as an? (?:ai|language model|assistant)\b"
    r"|unfortunately,? (?:i|we|it)\b|i apologi[sz]e)",
    re.IGNORECASE,
)
_ARTICLES = ("the", "a", "an", "les", "le", "la", "il", "el", "der", "die", "das", "l")
_KEYS = ("number", "label", "id", "item_id", "index", "candidate", "title", "name", "item")
_JSON_TRIES = 5

Entry: TypeAlias = int | Literal["history", "off-list"]  # the place of a candidate, or what else an answer names
_PAST: Final = "history"
_OFF: Final = "off-list"


@dataclass(frozen=True, slots=True)
class Ranking:
    """The candidates that an answer names, best first, as places in the list that was shown; and what it is."""

    order: tuple[int, ...]
    kind: Kind


def read_ranking(text: str, listed: Listed, *, cut: bool = False) -> Ranking:
    """Read an answer; the first mention of a candidate counts, what is not named is absent.

    A JSON array is read as it stands. Otherwise lines are: numbers (or other labels) alone; ranks 1, 2, 3 with a label
    each; a whole title, up to case, punctuation, a moved article and a year that does not contradict, if it is that of
    one candidate alone; or a number and a title, where the title decides, because the number may be a rank. Prose such
    as "the 20 candidates" is no answer.

    Args:
        text: What the model wrote, with its thoughts.
        listed: What it was shown.
        cut: Whether it ran into its budget of tokens.
    """
    said = spoken(text)
    if not any(map(str.isalnum, said)):
        return Ranking((), "truncated" if cut else "empty")
    names = _Names(listed)
    entries = _read_json(said, names) or _read_lines(said, names)
    places = [entry for entry in entries if isinstance(entry, int)]
    order = tuple(dict.fromkeys(places))
    return Ranking(order, _kind(said, entries, len(order), len(listed.titles), cut))


def _kind(said: str, entries: Sequence[Entry], named: int, count: int, cut: bool) -> Kind:
    if not named and _REFUSAL.match(said.replace("’", "'")):
        return "refused"
    if cut and named < count:
        return "truncated"
    past, off = entries.count(_PAST), entries.count(_OFF)
    if past or off:
        return _PAST if past > off else _OFF
    if len(entries) > named:
        return "duplicates"
    if not named:
        return "format"
    return "complete" if named == count else "partial"


class _Names:
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

    def past(self, text: str) -> bool:
        """Tell whether a text is a title of the history."""
        bare = text.strip(_QUOTES)
        return bool(_fold(bare)) and (_fold(bare) in self._past or _core(bare)[0] in self._past)

    def entry(self, text: str) -> Entry:
        """Return what an entry of a list means."""
        for part in (text, _BEHIND_TITLE.split(text, maxsplit=1)[0]):
            if (place := self.title(part)) is not None:
                return place
        return _PAST if any(self.past(part) for part in (text, _BEHIND_TITLE.split(text, maxsplit=1)[0])) else _OFF

    def begins(self, place: int, text: str) -> bool:
        """Tell whether a text begins with the title of a candidate."""
        title = _fold(self.titles[place])
        return bool(title) and f"{_fold(text)} ".startswith(f"{title} ")


def _read_lines(said: str, names: _Names) -> list[Entry]:
    lines = [_MARKDOWN.sub("", line.strip()).strip() for line in unescape(said).splitlines()]
    lines = [line.strip("| ") if line.startswith("|") else line for line in lines]
    return [entry for line in _without_ranks(lines, names) for entry in _read_line(line, names)]


def _without_ranks(lines: list[str], names: _Names) -> list[str]:
    """Return the labels alone where lines are ranks 1, 2, 3, ... with a label each."""
    pairs = [(pair, line) for line in lines if (pair := _RANK_AND_LABEL.match(line)) and pair[2] in names.labels]
    ranks = [int(pair[1]) for pair, _ in pairs]
    alone = [line for line in lines if names.numeric and _NUMBERS_ONLY.match(line)]
    if len(pairs) < 2 or ranks != list(range(1, len(pairs) + 1)) or (names.numeric and len(alone) != len(pairs)):
        return lines
    return [pair[2] for pair, _ in pairs]


def _read_line(line: str, names: _Names) -> list[Entry]:
    if not line:
        return []
    if names.numeric and _NUMBERS_ONLY.match(line):
        numbers = [digits.lstrip("0") for digits in re.findall(r"[0-9]+", line) if len(digits) <= 4]
        if any(number in names.labels for number in numbers):
            return [names.labels.get(number, _OFF) for number in numbers]
    elif found := _labels_alone(line, names):
        return found
    if (place := names.title(line)) is not None:
        return [place]
    return _read_list(line, names)


def _labels_alone(line: str, names: _Names) -> list[Entry]:
    """Return the labels of a line that holds nothing else, such as "B > A" or "Ranking: [i3], [i7]"."""
    said = line.rpartition(":")[2] if re.match(r"^[A-Za-z' ]{1,40}:", line) else line
    tokens = [token.strip("[]().#") for token in re.split(r"[\s,;>|&]+", said)]
    tokens = [token for token in tokens if token]
    return [names.labels[token] for token in tokens] if tokens and all(t in names.labels for t in tokens) else []


def _read_list(line: str, names: _Names) -> list[Entry]:
    """Return the entries of a line of a list, or of a list on one line; nothing from prose."""
    parts = [part.strip(" ,;") for part in _INLINE_NUMBER.split(line)]
    if len(parts) > 2 and not parts[0]:
        return [names.entry(part) for part in parts[1:] if part]
    if found := _joined_titles(line, names):
        return found
    if marked := _NUMBERED.match(line):
        return _read_marked(marked[1], marked[2], names)
    if marked := _BULLET.match(line):
        return _read_marked("", marked[1], names)
    return [_PAST] if names.past(line) else []


def _read_marked(label: str, rest: str, names: _Names) -> list[Entry]:
    if not any(map(str.isalnum, rest)):
        return [names.labels.get(label.lstrip("0"), _OFF)] if label and names.numeric else []
    if (place := names.title(rest)) is not None:
        return [place]
    if (given := _BRACKETED.match(rest)) and (place := names.labels.get(given[1])) is not None:
        if not given[2] or names.begins(place, given[2]) or names.title(given[2]) == place:
            return [place]
        rest = given[2]
    elif (place := names.labels.get(rest.strip("[]().# "))) is not None:
        return [place]
    place = names.labels.get(label.lstrip("0"))
    return [place] if place is not None and names.begins(place, rest) else [names.entry(rest)]


def _joined_titles(line: str, names: _Names) -> list[Entry]:
    """Return titles on one line with commas between them; a title may hold commas itself. Nothing unless most are."""
    parts = _SEPARATOR.split(line.rstrip("."))
    if len(parts) < 2 or len(parts) > 200:
        return []
    found: list[Entry] = []
    lost, start = 0, 0
    while start < len(parts):
        for stop in range(min(len(parts), start + 4), start, -1):
            if (place := names.title(", ".join(parts[start:stop]))) is not None:
                found.append(place)
                start = stop
                break
        else:
            found.append(_PAST if names.past(parts[start]) else _OFF)
            lost += 1
            start += 1
    return found if len(found) - lost > max(1, lost) else []


def _read_json(said: str, names: _Names) -> list[Entry]:
    """Return the entries of the first JSON list of two or more in a text, or of the JSON that is the whole text."""
    decoder = json.JSONDecoder()
    for start in list(_openings(said))[:_JSON_TRIES]:
        try:
            value, end = decoder.raw_decode(said, start)
        except (ValueError, RecursionError):
            continue
        items = _items(value)
        whole = not any(map(str.isalnum, said[:start] + said[end:]))
        entries = [entry for item in items if (entry := _json_entry(item, names)) is not None]
        if any(isinstance(entry, int) for entry in entries) and (whole or len(entries) > 1):
            return entries
    return []


def _openings(said: str) -> Iterator[int]:
    before = ""
    for place, char in enumerate(said):
        if (char in "[{" and before not in "[{") or (char in "[{" and not before):
            yield place
        before = char


def _items(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        return []
    lists: list[list[Any]] = [held for held in value.values() if isinstance(held, list)]
    if lists:
        return sorted(lists, key=len)[-1]
    ranked = [(int(key), held) for key, held in value.items() if key.isascii() and key.isdecimal() and len(key) < 5]
    return [held for _, held in sorted(ranked, key=lambda pair: pair[0])] if len(ranked) == len(value) else []


def _json_entry(item: Any, names: _Names) -> Entry | None:
    if isinstance(item, dict):
        held = [item[key] for key in _KEYS if isinstance(item.get(key), int | str)]
        found = [entry for value in held if isinstance(entry := _json_entry(value, names), int)]
        return found[0] if found else _OFF if held else None
    if isinstance(item, bool) or not isinstance(item, int | str):
        return None
    if isinstance(item, int):
        return names.labels.get(str(item), _OFF) if abs(item) < 10**9 else _OFF
    bare = item.strip().strip("[]")
    if (place := names.labels.get(bare)) is not None:
        return place
    read = [entry for entry in _read_line(item.strip(), names) if isinstance(entry, int)]
    return read[0] if len(read) == 1 else names.entry(item)


def _unique(keys: Sequence[str]) -> dict[str, int | None]:
    """Return key to its place; None where several share it."""
    found: dict[str, int | None] = {}
    for place, key in enumerate(keys):
        found[key] = None if key in found else place
    found.pop("", None)
    return found


def _lower(text: str) -> str:
    return " ".join(text.casefold().split())


@lru_cache(1 << 16)  # the titles of a catalogue come again and again
def _fold(text: str) -> str:
    """Return the letters and digits of a text, in lower case, words parted by one space."""
    return " ".join(re.findall(r"\w+", text.casefold()))


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

"""Lists in JSON, or in the notation of Python."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from llmrs_bench.prompts.parsing.entries import by_value, read_mentions, read_rank_word
from llmrs_bench.prompts.parsing.items import read_item, settle
from llmrs_bench.prompts.parsing.lines import read_lines
from llmrs_bench.prompts.parsing.ranking import FoundList, role_of
from llmrs_bench.prompts.parsing.tables import RANK_NAME, SCORE_NAME, read_table
from llmrs_bench.prompts.parsing.titles import NOUNS, OFF, UNSURE, Mention, Names, dated

_OPENING = re.compile(r"[\[{]|(?:(?<![^\n])|(?<==)|(?<== ))\((?=\s*[\"'])")  # "ranking = ('Heat', 'Alien')"
_ORDINAL = re.compile(r"[0-9]{1,3}(?:st|nd|rd|th)")
_BLANK = r"\s|//[^\n]*+|/\*.{0,400}?\*/|#\s[^\n]*+(?=\n)"  # and comments
_SPACE = re.compile(rf"(?:{_BLANK}|,(?=(?:{_BLANK})*+[\]}})]))*", re.DOTALL)
_NUMBER = re.compile(r"-?[0-9]{1,400}(?:\.[0-9]{1,400})?(?:[eE][+-]?[0-9]{1,3})?(?![\w.])")
_CUT_SHORT = re.compile(r"(?:-?[0-9]{0,400}\.?[0-9]{0,400}(?:[eE][+-]?)?|[A-Za-z]{1,8})\Z")
_WORD = re.compile(r"(?:true|false|null|None|True|False|NaN|-?Infinity)\b")
_STRING = {
    '"': re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL),
    # An apostrophe inside a word ends no string: 'Sweet Child O' Mine'.
    "'": re.compile(r"'((?:[^'\\]|\\.|'(?!\s*(?:[,:\]})]|\Z)))*)'", re.DOTALL),
}
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": " ", "f": " "}
_NESTED = 24
_FAILURES = 1000  # brackets in a text that begin no value


class _NoLiteralError(Exception):
    """What stands there is no value."""


class _TooDeepError(_NoLiteralError):
    """Brackets within brackets, deeper than a list of candidates."""


class _CutError(Exception):
    """The text ends inside a value."""


def literals(text: str) -> Iterator[tuple[int, int, object]]:
    """Yield lists and objects in a text with where they begin and end: list, dict, str, int, float, or None for words.

    One that the end of the text cuts off holds the entries that are whole. The work is bound by the length of the text.
    """
    at, failed, left = 0, 0, 4 * len(text) + 1000
    while left > 0 and failed < _FAILURES and (opening := _OPENING.search(text, at)):
        reader = _Reader(text, opening.start())
        try:
            value = reader.value(0)
        except (_NoLiteralError, _CutError) as error:
            at = reader.at if isinstance(error, _TooDeepError) else opening.start() + 1
            left -= reader.at - opening.start()
            failed += 1
            continue
        yield opening.start(), reader.at, value
        at = reader.at


class _Reader:
    """Reads one value from a place of a text."""

    def __init__(self, text: str, at: int) -> None:
        self.text = text
        self.at = at

    def value(self, depth: int) -> object:
        self._skip()
        char = self.text[self.at : self.at + 1]
        if not char:
            raise _CutError
        if char in "[{(":
            if depth > _NESTED:
                raise _TooDeepError
            return self._braces(depth) if char == "{" else self._list(depth, "]" if char == "[" else ")")
        if char in _STRING:
            return self._string(char)
        if found := _NUMBER.match(self.text, self.at):
            self.at = found.end()
            return float(found[0]) if re.search("[.eE]", found[0]) else int(found[0])
        if found := _WORD.match(self.text, self.at):
            self.at = found.end()
            return None
        raise _CutError if _CUT_SHORT.match(self.text, self.at) else _NoLiteralError

    def _skip(self) -> None:
        char = self.text[self.at : self.at + 1]
        if (char in "/#," or char.isspace()) and (found := _SPACE.match(self.text, self.at)):
            self.at = found.end()

    def _string(self, quote: str) -> str:
        found = _STRING[quote].match(self.text, self.at)
        if not found:
            self.at = len(self.text)
            raise _CutError
        self.at = found.end()
        return _ESCAPE.sub(_unescaped, found[1]) if "\\" in found[1] else found[1]

    def _next(self, end: str) -> bool:
        """Go to the next entry; return whether there is one."""
        self._skip()
        char = self.text[self.at : self.at + 1]
        if char == ",":
            self.at += 1
            self._skip()
            return self.text[self.at : self.at + 1] != end or self._close()
        if char == end:
            return self._close()
        if char:
            raise _NoLiteralError
        return False

    def _close(self) -> bool:
        self.at += 1
        return False

    def _list(self, depth: int, end: str) -> list[object]:
        self.at += 1
        entries: list[object] = []
        self._skip()
        if self.text[self.at : self.at + 1] == end:
            self._close()
            return entries
        try:
            entries.append(self.value(depth + 1))
            while self._next(end):
                entries.append(self.value(depth + 1))
        except _CutError:
            if not entries:
                raise
        return entries

    def _braces(self, depth: int) -> object:
        self.at += 1
        entries: list[object] = []
        found: dict[str, object] = {}
        self._skip()
        if self.text[self.at : self.at + 1] == "}":
            self._close()
            return found
        try:
            more = True
            while more:
                key = self.value(depth + 1)
                self._skip()
                if self.text[self.at : self.at + 1] == ":" and isinstance(key, str | int | float):
                    self.at += 1
                    found[str(key)] = self.value(depth + 1)
                elif found:
                    raise _NoLiteralError
                else:
                    entries.append(key)
                more = self._next("}")
        except _CutError:
            if not found and not entries:
                raise
        return found or entries


def _unescaped(found: re.Match[str]) -> str:
    if found[1]:
        code = int(found[1], 16)
        return "" if 0xD800 <= code < 0xE000 else chr(code)
    return _ESCAPES.get(found[2], found[2])


_ITEM_KEY = re.compile(
    r"title|name|numb|label|index|candidate|item|movie|film|book|game|song|track|product|choice|option|document"
    rf"|(?:^|[_ ])(?:id|doc|{NOUNS})$|^no$|^value$|^answer$",
    re.IGNORECASE,
)
_DEPTH = 5


def is_list(value: object) -> bool:
    """Tell whether a value may be a list of candidates; "[3]" alone stands in lines of text too."""
    return isinstance(value, dict) or (
        isinstance(value, list) and (len(value) > 1 or any(isinstance(entry, str | dict | list) for entry in value))
    )


def read_value(value: object, names: Names, caption: str, depth: int = 0) -> list[FoundList]:
    """Return the lists that a value holds, each with the keys above it as its caption."""
    if depth > _DEPTH or not isinstance(value, dict | list) or not value:
        return []
    if isinstance(value, list):
        if len(value) == 1 and isinstance(value[0], list):
            return read_value(value[0], names, caption, depth + 1)
        lists = [FoundList(tuple(read_objects(value, names)), caption)]
        if len(value) == 1 and isinstance(value[0], str) and not lists[0].places:  # ["3, 1, 2"]
            written = [found for found in read_lines(value[0], names) if found.places]
            return [replace(found, caption=caption) for found in written] or lists
        return lists
    if ranked := _by_rank(value, names, rising=bool(_LESS.search(caption))):
        return [FoundList(tuple(ranked), caption)]
    found = []
    for key, inner in value.items():
        above = f"{caption} {key}".replace("_", " ")
        if isinstance(inner, dict | list) and inner:
            found += read_value(inner, names, above, depth + 1)
        elif isinstance(inner, str) and (listed := _written(inner, names)):
            found.append(FoundList(tuple(listed), above))
        elif isinstance(inner, str) and role_of(key.replace("_", " ")) in {"final", "ranking"}:
            found += [replace(one, caption=above) for one in read_lines(inner, names)]
    return found


def _written(text: str, names: Names) -> list[Mention]:
    """Read a string that is a list of labels, "3, 1, 2"."""
    tokens = [token.strip(" []()\"'.") for token in re.split(r"[\s,;>]+", text) if token.strip(" []()\"'.")]
    places = [names.label(token) for token in tokens[:2000]]
    return (
        [Mention(place, "label") for place in places if place is not None]
        if len(places) > 1 and None not in places
        else []
    )


_LESS = re.compile(r"(?<![a-z])(?:distance|loss|perplexity|penalty|cost|error)", re.IGNORECASE)  # the less, the better


def _by_rank(value: Mapping[str, object], names: Names, *, rising: bool = False) -> list[Mention]:
    """Read an object of ranks and items, {"1": "Heat"}, or of titles and ranks or scores, {"Heat": 1}."""
    ranks = {rank: value[key] for key in value if (rank := read_rank_word(key)) is not None}
    parts = list(value.values())
    if len(ranks) == len(value) and sorted(ranks) == list(range(1, len(value) + 1)):
        items = [ranks[rank] for rank in sorted(ranks)]
        if all(isinstance(item, str | int | dict) for item in items):
            return read_objects(items, names)
    if named := _labelled(value, names):
        return named
    mentions = [item for key in value if (item := read_item(key, names)) and item.place >= 0]
    if len(value) < 2 or len(mentions) < len(value):
        return []
    if all(isinstance(part, dict) for part in parts):
        return read_objects([{**part, "title": key} for key, part in value.items() if isinstance(part, dict)], names)
    ordinals = all(isinstance(part, str) and _ORDINAL.fullmatch(part) for part in parts)
    if ordinals:  # {"Heat": "2nd", "Alien": "1st"}
        parts = [int(str(part)[:-2]) for part in parts]
    numbers = [float(part) for part in parts if isinstance(part, int | float)]
    if len(numbers) < len(value) or (
        not ordinals and mentions[0].by == "label" and all(map(float.is_integer, numbers))
    ):
        return []
    counts = sorted(numbers) == [float(number) for number in range(1, len(value) + 1)]
    return [mentions[at] for at in by_value(numbers, "rank" if ordinals or counts or rising else "score")]


def _labelled(value: Mapping[str, object], names: Names) -> list[Mention]:
    """Read an object of labels and their own titles, {"7": "Heat", "3": "Alien"}."""
    found = []
    for label, title in value.items():
        item = read_item(title, names) if isinstance(title, str) else None
        if item is None or item.place < 0 or item.by != "title" or names.label(label) != item.place:
            return []
        found.append(item)
    return settle(found) if len(found) > 1 else []


def read_objects(values: Sequence[object], names: Names) -> list[Mention]:
    """Return what the entries of a list mean, sorted by their ranks or scores where each of them has one."""
    if any(isinstance(value, dict) for value in values):
        parts = [part for value in values if isinstance(value, dict) for part in value.items()]
        if len(parts) == len(values) > 1 and (ranked := _by_rank(dict(parts), names)):
            return ranked  # of [{"1": "Heat"}, {"2": "Alien"}]
        mentions = [_described(value, names) if isinstance(value, dict) else _entry(value, names) for value in values]
        objects = [value for value in values if isinstance(value, dict)]
        settled = settle(mentions)
        for meaning, name in (("rank", RANK_NAME), ("score", SCORE_NAME)):
            numbers = [_numbered(value, name, whole=meaning == "rank") for value in objects]
            given = [number for number in numbers if number is not None]
            if len(given) == len(settled) and (meaning != "rank" or len(set(given)) == len(given)):
                return [settled[at] for at in by_value(given, meaning)]
        return settled
    rows = [value for value in values if isinstance(value, list) and len(value) > 1]
    if len(values) > 1 and len(rows) == len(values) and all(map(_is_row, rows)):
        return read_table([[_text(cell) for cell in row] for row in rows], names)
    if values and all(isinstance(value, str | list) or type(value) in {int, float} for value in values):
        return read_mentions([_text(value) for value in values], names, strict=True)
    return settle([_entry(value, names) for value in values])


def _is_row(value: Sequence[object]) -> bool:
    return all(isinstance(cell, str | int | float) for cell in value)


def _numbered(value: Mapping[str, object], name: re.Pattern[str], *, whole: bool) -> float | None:
    for key, part in value.items():
        if name.fullmatch(key) if whole else name.search(key):
            if isinstance(part, int | float):
                return float(part)
            if isinstance(part, str) and (
                found := re.fullmatch(r"[^\w+-]*([-+]?[0-9]{1,9}(?:\.[0-9]{1,9})?)(?:st|nd|rd|th)?\W*", part)
            ):
                return float(found[1])
            if whole and isinstance(part, str) and (rank := read_rank_word(part)) is not None:
                return float(rank)
    return None


def _text(value: object) -> str:
    if isinstance(value, list):
        value = next((part for part in value if isinstance(part, str)), value[0] if value else "")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return " ".join(str(value).split())


def _entry(value: object, names: Names) -> Mention:
    if isinstance(value, str | list) or type(value) in {int, float}:
        read = read_mentions([_text(value)], names, strict=True)
        return read[0] if read else Mention(UNSURE, "title")
    return Mention(UNSURE, "title")


def _described(value: Mapping[str, object], names: Names) -> Mention:
    """Return the candidate that an object describes: by its title and year, else by its number."""
    for inner in [part for part in value.values() if isinstance(part, dict)]:
        value = {**value, **inner}
    parts = [part for key, part in value.items() if _ITEM_KEY.search(key) and not RANK_NAME.fullmatch(key)]
    year = f" ({value['year']})" if re.fullmatch("[0-9]{4}", str(value.get("year"))) else ""
    texts = [part if dated(part)[1] else part + year for part in parts if isinstance(part, str)]
    found = [item for part in texts if (item := read_item(" ".join(part.split()), names))]
    titles = [item for item in found if item.by == "title"]
    numbers = [Mention(names.number(str(part)), "label") for part in parts if type(part) is int]
    known = [item for item in (*titles, *found, *numbers) if item.place >= 0]
    unknown = [*found, *numbers]
    if known:
        return known[0]
    return unknown[0] if unknown else Mention(OFF if texts else UNSURE, "title")

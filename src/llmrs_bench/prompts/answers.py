"""Any text of a model to an order of candidates: numbers first, then whole titles; nothing matches by substring."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import unescape
from typing import Any
from unicodedata import normalize

from llmrs_bench.prompts.protocol import spoken
from llmrs_bench.prompts.titles import OFF, PAST, Entry, Names
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
_LABELLED = re.compile(r"^(?:[\[(](\w{1,40})[\])][.:]?|(\w{1,40})[.):])\s+(.*)$")
_LETTERS = re.compile(r"[A-Z]{1,2}")
_ENTITY = re.compile(r"&#?\w{1,31};")
# A line that begins with bold text, whatever follows it: its marker, the text, and a year behind it.
_BOLD = re.compile(
    r"^(\W{0,4}\d{0,4}\W{0,4}?)(?:\*\*|__)([^*_].{0,200}?)(?:\*\*|__)(\s*\((?:1[89]|20)\d\d\))?(?:\W.*)?$"
)
_MARKDOWN = re.compile(r"\*\*|__|`|^[\s>#]+(?=\S)")
_REFUSAL = re.compile(
    r"\W*(?:(?:i'?m|i am|we'?re) (?:very |so |really )?(?:sorry|afraid|unable|not able)|sorry,? (?:but )?(?:i|we)\b"
    r"|i (?:can't|cannot|can not|won't|am not able)|as an? (?:ai|language model|assistant)\b"
    r"|unfortunately,? (?:i|we|it)\b|i apologi[sz]e)",
    re.IGNORECASE,
)
_KEYS = ("number", "label", "id", "item_id", "index", "candidate", "title", "name", "item")
_JSON_TRIES = 5


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
    said = normalize("NFKC", _ENTITY.sub(lambda found: unescape(found[0]), spoken(text)))
    if not any(map(str.isalnum, said)):
        return Ranking((), "truncated" if cut and "<think>" in text else "empty")
    names = Names(listed)
    entries = _read_json(said, names) or _read_lines(said, names)
    places = [entry for entry in entries if isinstance(entry, int)]
    order = tuple(dict.fromkeys(places))
    return Ranking(order, _kind(said, entries, len(order), len(listed.titles), cut))


def _kind(said: str, entries: Sequence[Entry], named: int, count: int, cut: bool) -> Kind:
    if not named and _REFUSAL.match(said.replace("’", "'")):
        return "refused"
    if cut and named < count:
        return "truncated"
    past, off = entries.count(PAST), entries.count(OFF)
    if past or off:
        return PAST if past > off else OFF
    if len(entries) > named:
        return "duplicates"
    if not named:
        return "format"
    return "complete" if named == count else "partial"


def _read_lines(said: str, names: Names) -> list[Entry]:
    bold = [_BOLD.sub(r"\1\2\3", line.strip()) for line in said.splitlines()]
    lines = [_MARKDOWN.sub("", line).strip() for line in bold]
    lines = [line.strip("| ").replace(" | ", ". ", 1) if line.startswith("|") else line for line in lines]
    read = [(line, _read_line(line, names)) for line in _without_ranks(lines, names)]
    # Where the items have numbers, bullets below them are reasons.
    numbered = any(_NUMBERED.match(line) for line, entries in read if any(isinstance(entry, int) for entry in entries))
    return [
        entry for line, found in read if found != [OFF] or not (numbered and _BULLET.match(line)) for entry in found
    ]


def _without_ranks(lines: list[str], names: Names) -> list[str]:
    """Return the labels alone where lines are ranks 1, 2, 3, ... with a label each."""
    pairs = [(pair, line) for line in lines if (pair := _RANK_AND_LABEL.match(line)) and pair[2] in names.labels]
    ranks = [int(pair[1]) for pair, _ in pairs]
    alone = [line for line in lines if names.numeric and _NUMBERS_ONLY.match(line)]
    if (
        (len(pairs) < 2 and "[" not in "".join(line for _, line in pairs))
        or ranks != list(range(1, len(pairs) + 1))
        or (names.numeric and len(alone) != len(pairs))
    ):
        return lines
    return [pair[2] for pair, _ in pairs]


def _read_line(line: str, names: Names) -> list[Entry]:
    if not line:
        return []
    marked = _NUMBERED.match(line)
    if marked and marked[2] not in names.labels and (place := names.title(marked[2])) is not None:
        return [place]  # "3. 1984" is no list of numbers
    if names.numeric and _NUMBERS_ONLY.match(line):
        numbers = [digits.lstrip("0") for digits in re.findall(r"[0-9]+", line) if len(digits) <= 4]
        if any(number in names.labels for number in numbers):
            return [names.number(number) for number in numbers]
    elif found := _labels_alone(line, names):
        return found
    if (place := names.title(line)) is not None:
        return [place]
    return _read_list(line, names)


def _labels_alone(line: str, names: Names) -> list[Entry]:
    """Return the labels of a line that holds nothing else, such as "B > A" or "Ranking: [i3], [i7]"."""
    said = line.rpartition(":")[2] if re.match(r"^[A-Za-z' ]{1,40}:", line) else line
    tokens = [token.strip("[]().#") for token in re.split(r"[\s,;>|&]+", said)]
    tokens = [token for token in tokens if token]
    known = [token in names.labels for token in tokens]
    lettered = len(tokens) > 1 and any(known) and all(map(_LETTERS.fullmatch, [*tokens, *names.labels]))
    return [names.labels.get(token, OFF) for token in tokens] if lettered or (tokens and all(known)) else []


def _read_list(line: str, names: Names) -> list[Entry]:
    """Return the entries of a line of a list, or of a list on one line; nothing from prose."""
    parts = [part.strip(" ,;") for part in _INLINE_NUMBER.split(line)]
    if len(parts) > 2 and not parts[0]:
        return [names.entry(part) for part in parts[1:] if part]
    if found := _joined_titles(line, names):
        return found
    if (marked := _LABELLED.match(line)) and not names.numeric and (marked[1] or marked[2]) in names.labels:
        return _read_marked(marked[1] or marked[2], marked[3], names)
    if marked := _NUMBERED.match(line):
        return _read_marked(marked[1], marked[2], names)
    if marked := _BULLET.match(line):
        return _read_marked("", marked[1], names)
    return [PAST] if names.past(line) else []


def _read_marked(label: str, rest: str, names: Names) -> list[Entry]:
    if not any(map(str.isalnum, rest)):
        return [names.labels.get(label.lstrip("0"), OFF)] if label and names.numeric else []
    if (place := names.title(rest)) is not None:
        return [place]
    if (given := _BRACKETED.match(rest)) and (place := names.labels.get(given[1])) is not None:
        if not given[2] or names.begins(place, given[2]) or names.title(given[2]) == place:
            return [place]
        rest = given[2]
    elif (place := names.labels.get(rest.strip("[]().# "))) is not None:
        return [place]
    place = names.labels.get(label.lstrip("0") or label)
    return [place] if place is not None and names.begins(place, rest) else [names.entry(rest)]


def _joined_titles(line: str, names: Names) -> list[Entry]:
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
            found.append(PAST if names.past(parts[start]) else OFF)
            lost += 1
            start += 1
    return found if len(found) - lost > max(1, lost) else []


def _read_json(said: str, names: Names) -> list[Entry]:
    """Return the entries of the first JSON list of two or more in a text, or of the JSON that is the whole text."""
    decoder = json.JSONDecoder()
    for start in list(_openings(said))[:_JSON_TRIES]:
        try:
            value, end = decoder.raw_decode(said, start)
        except (ValueError, RecursionError):
            continue
        items = _items(value)  # "[7]" may begin a line such as "[7] Heat"
        whole = not any(map(str.isalnum, said[:start] + said[end:]))
        entries = [entry for item in items if (entry := _json_entry(item, names)) is not None]
        if any(isinstance(entry, int) for entry in entries) and (
            whole or len(entries) > 1 or not isinstance(items[0], int)
        ):
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


def _json_entry(item: Any, names: Names) -> Entry | None:
    if isinstance(item, dict):
        held = [item[key] for key in _KEYS if isinstance(item.get(key), int | str)]
        found = [entry for value in held if isinstance(entry := _json_entry(value, names), int)]
        return found[0] if found else OFF if held else None
    if isinstance(item, float) and item.is_integer():
        item = int(item)
    if isinstance(item, bool) or not isinstance(item, int | str):
        return None
    if isinstance(item, int):
        return names.labels.get(str(item), OFF) if abs(item) < 10**9 else OFF
    bare = item.strip().strip("[]")
    if (place := names.labels.get(bare)) is not None:
        return place
    read = [entry for entry in _read_line(item.strip(), names) if isinstance(entry, int)]
    return read[0] if len(read) == 1 else names.entry(item)

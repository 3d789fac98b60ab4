"""Records of fields that people write in lines, "Title: Heat" above "Rank: 3", or "Rank: 3, Title: Heat"."""

import json
import re
from collections.abc import Sequence

from llmrs_bench.prompts.parsing.titles import NOUNS

_ITEMS = rf"titles?|names?|{NOUNS}|items?|candidates?|options?|labels?|ids?|numbers?"
_KEYS = rf"(?:(?:{_ITEMS})[ _]?)?(?:{_ITEMS})"  # "movie title", "news article"
_OTHERS = (
    r"rank|ranking|position|place|score|rating|relevance|confidence|probability|year|genres?|author|artist|director|studio"
    r"|reasons?|reasoning|explanation|why|justification|description|comments?|notes?|summary"
)
_FIELD = re.compile(
    rf"(?:^|(?<=[\s,;|({{]))[\"'*_]{{0,3}}(?P<key>{_KEYS}|{_OTHERS})"
    r"[\"'*_]{0,3}\s?[:=][*_]{0,2}\s*(?=\S)",
    re.IGNORECASE,
)
_START = re.compile(r"[\s>*+\-–•·]*(?:\(?[0-9]{1,4}[.)\]:]\s*)?[*_`\"'({]*")
_ITEM = re.compile(_KEYS, re.IGNORECASE)
_LONG = 400


def rewrite_records(text: str) -> str:
    """Return a text in which records are JSON, so that one reader knows what ranks, scores and titles mean.

    A line of fields begins with one: a key that says what it is, a colon or an equals sign, and a value. Records are at
    least two lines or parts of lines that begin with the same key, with an item and something else in each.
    """
    if ":" not in text and "=" not in text:
        return text
    written: list[str] = []
    parted = False  # whether other records stand before those at hand
    stretch: list[tuple[str, list[tuple[str, str]]]] = []  # lines, with the fields on each
    for line in [*text.split("\n"), "\0"]:
        if fields := _fields(line):
            stretch.append((line, fields))
        elif stretch and not line.strip():
            stretch.append((line, []))
        else:
            if stretch:
                written += _as_json(stretch, last=line == "\0" and not parted)
                parted |= len(stretch) > 1
                stretch = []
            written.append(line)
    return "\n".join(written[:-1])


def _fields(line: str) -> list[tuple[str, str]]:
    """Return keys and values of a line that begins with a key; a value ends where the next key begins."""
    start = _START.match(line)
    at = start.end() if start else 0
    if len(line) >= _LONG or not _FIELD.match(line, at):
        return []
    found = list(_FIELD.finditer(line, at))[:12]
    ends = [*(field.start() for field in found[1:]), len(line)]
    return [
        (field["key"].lower(), line[field.end() : end].strip(" \t,;|(){}*_"))
        for field, end in zip(found, ends, strict=True)
    ]


def _as_json(stretch: Sequence[tuple[str, list[tuple[str, str]]]], *, last: bool) -> list[str]:
    """Return records as JSON, or as the lines that they are; of the last ones, one may be cut off."""
    lines = [line for line, _ in stretch]
    records: list[dict[str, str]] = []
    first = next((fields[0][0] for _, fields in stretch if fields), "")
    for _, fields in stretch:
        for key, value in fields:
            if key == first or not records:
                records.append({})
            if key in records[-1]:
                return lines
            records[-1][key] = value
    if last and len(records) > 2 and len(records[-1]) < len(records[-2]):  # what a budget cut off
        cut = next(at for at in range(len(stretch) - 1, -1, -1) if stretch[at][1] and stretch[at][1][0][0] == first)
        return [*_as_json(stretch[:cut], last=False), *lines[cut:]]
    whole = all(len(record) > 1 and any(map(_ITEM.fullmatch, record)) for record in records)
    return [json.dumps(records), ""] if len(records) > 1 and whole else lines

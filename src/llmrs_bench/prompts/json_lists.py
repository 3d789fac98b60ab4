"""The entries of an answer that holds JSON: a list, ranks and items, or an object a line."""

import json
import re
from collections.abc import Mapping

from llmrs_bench.prompts.items import find_item, looks_like_item
from llmrs_bench.prompts.titles import OFF, UNSURE, Names, dated

_OPENING = re.compile(r"[\[{]")
_RANK_KEY = re.compile(r"\D{0,12}([0-9]{1,4})\D{0,3}")
_ITEM_KEY = re.compile(
    r"title|name|numb|label|index|candidate|item|movie|film|book|game|product|choice|option|(?:^|_)id$|^no$",
    re.IGNORECASE,
)


def read_json(said: str, names: Names) -> list[int]:
    """Read the longest list in JSON that the text holds; empty where there is none."""
    lists: list[list[object]] = [[]]  # first the objects that stand alone, one a line
    at = failed = 0
    while failed < 100 and (opening := _OPENING.search(said, at)):
        try:
            value, at = json.JSONDecoder(strict=False).raw_decode(said, opening.start())
        except (ValueError, RecursionError):
            at, failed = opening.start() + 1, failed + 1
            continue
        listing = _listing(value)
        if listing or isinstance(value, dict):
            lists.append(listing) if listing else lists[0].append(value)
    read = [[_entry(value, names) for value in listing] for listing in lists]
    return max(read, key=lambda entries: (sum(entry >= 0 for entry in entries), len(entries)))


def _listing(value: object, depth: int = 0) -> list[object]:
    """Return the entries of a JSON value, best first; none where it is no list."""
    if isinstance(value, list):
        if len(value) == 1 and isinstance(value[0], list) and depth < 4:
            return _listing(value[0], depth + 1)
        return value if depth or len(value) > 1 or any(isinstance(entry, str | dict) for entry in value) else []
    if not isinstance(value, dict):
        return []
    ranks = {int(found[1]): value[key] for key in value if (found := _RANK_KEY.fullmatch(key))}
    if set(ranks) == set(range(1, len(value) + 1)) and all(
        isinstance(entry, str | int | dict) for entry in value.values()
    ):
        return [ranks[rank] for rank in sorted(ranks)]
    return max((_listing(entry, depth + 1) for entry in value.values() if depth < 4), key=len, default=[])


def _entry(value: object, names: Names) -> int:
    """Return the candidate that an entry of a JSON list means."""
    if isinstance(value, list) and value:
        value = next((part for part in value if isinstance(part, str)), value[0])
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return names.number(str(value))
    if isinstance(value, str):
        item = find_item(" ".join(value.split()), names, loose=True)
        return item if item is not None else OFF if looks_like_item(value) else UNSURE
    return _described(value, names) if isinstance(value, dict) else UNSURE


def _described(value: Mapping[str, object], names: Names) -> int:
    """Return the candidate that an object describes: by its title and year, else by its number."""
    for inner in [part for part in value.values() if isinstance(part, dict)]:
        value = {**value, **inner}
    parts = [part for key, part in value.items() if _ITEM_KEY.search(key)]
    year = f" ({value['year']})" if re.fullmatch("[0-9]{4}", str(value.get("year"))) else ""
    texts = [part if dated(part)[1] else part + year for part in parts if isinstance(part, str)]
    found = [_entry(part, names) for part in [*texts, *(part for part in parts if type(part) is int)]]
    return next((entry for entry in found if entry >= 0), found[0] if found else UNSURE)

"""What rows are called where their names have little room."""

from collections import Counter
from collections.abc import Sequence

from llmrs_bench.leaderboard.board import Row

_LEAST_MODEL = 3  # letters of a model before a setting that is shown whole
_LONG = 48  # letters of a label that a sentence has room for


def brief_labels(rows: Sequence[Row], *, templates: bool = True) -> dict[str, str]:
    """Return by run what rows are called where all of their settings have no room.

    A long label is left with those settings that not all rows of its model have, and with the template of a language
    model; without `templates` that is left out as well where all have it.
    """
    models: dict[str, list[Row]] = {}
    for row in rows:
        models.setdefault(row.model, []).append(row)
    found = {}
    for row in rows:
        shared = set.intersection(*(set(_settings(other)) for other in models[row.model]))
        first = _settings(row)[:1] if templates and row.kind == "language model" else []
        kept = [each for each in _settings(row) if each in first or each not in shared]
        brief = f"{row.model} ({', '.join(kept)})" if kept else row.model
        found[row.run] = brief if len(row.label) > _LONG or not templates else row.label
    counts = Counter(found.values())
    return {row.run: found[row.run] if counts[found[row.run]] == 1 else row.label for row in rows}


def _settings(row: Row) -> list[str]:
    return row.setting.split(", ") if row.setting else []


def fitting(names: Sequence[str], room: int) -> str:
    """Return the first of some names that has no more letters than there is room, or the last one, shortened."""
    return next((name for name in names if len(name) <= room), shortened(names[-1], room))


def shortened(name: str, room: int) -> str:
    """Return a name that fits a room: what sets it apart stands at its end, as a setting, or behind a plus."""
    if len(name) <= room:
        return name
    model, bracket, setting = name.partition(" (")
    base, plus, tuning = model.rpartition("+")
    begin, end = (model, bracket + setting) if bracket else (base, plus + tuning)
    left = room - len(end) - 2
    if not end or left < _LEAST_MODEL:
        kept = max(room - 2, 2)
        return f"{name[: kept - kept // 2]}..{name[len(name) - kept // 2 :].lstrip('.')}"
    whole = shortened(begin, left + 2) if left >= 3 * _LEAST_MODEL else f"{begin[:left]}.."
    return f"{whole}{end}"

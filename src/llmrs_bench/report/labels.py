"""What rows are called where their names have little room."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count

from rich.cells import cell_len

from llmrs_bench.leaderboard.board import Row

_LEAST_MODEL = 3  # letters of a model before a setting that is shown whole
_WORD = ""  # the key of settings that are words
NUMBERED = "~"  # before the number of a name that has no room for what sets it apart
_LONG = 48  # letters of a label that a sentence has room for


def brief_labels(rows: Sequence[Row], *, templates: bool = True) -> dict[str, str]:
    """Return by run what rows are called where all of their settings have no room.

    A long label is left with the template of a language model and as few options as set it apart from the other rows of
    its model and template, the first ones; without `templates` that is left out as well where all rows of a model have
    it.
    """
    models: dict[str, list[Row]] = {}
    for row in rows:
        models.setdefault(row.model, []).append(row)
    found = {}
    for row in rows:
        shared = set.intersection(*(set(_settings(other)) for other in models[row.model]))
        first = _settings(row)[:1] if row.kind == "language model" else []
        kept = [each for each in first if templates or each not in shared]
        alike = [other for other in models[row.model] if not first or _settings(other)[:1] == first]
        kept += [each for each in _settings(row) if each not in first and _key(each) in _telling(alike)]
        brief = f"{row.model} ({', '.join(kept)})" if kept else row.model
        found[row.run] = brief if len(row.label) > _LONG or not templates else row.label
    counts = Counter(found.values())
    return {row.run: found[row.run] if counts[found[row.run]] == 1 else row.label for row in rows}


def brief_settings(rows: Sequence[Row]) -> dict[str, str]:
    """Return by run the settings that `brief_labels` keeps."""
    brief = brief_labels(rows)
    return {row.run: brief[row.run].removeprefix(row.model).removeprefix(" (").removesuffix(")") for row in rows}


def _telling(rows: Sequence[Row]) -> set[str]:
    """Return the keys of the first options in which rows differ, as many as set them apart."""
    options = []
    for row in rows:
        words = ", ".join(each for each in _settings(row) if _key(each) == _WORD)
        options.append({_key(each): words if _key(each) == _WORD else each for each in _settings(row)})
    kept: list[str] = []
    told = 1
    for key in dict.fromkeys(key for each in options for key in each):
        apart = len({tuple(each.get(name) for name in (*kept, key)) for each in options})
        if apart > told:
            kept, told = [*kept, key], apart
    return set(kept)


def _key(setting: str) -> str:
    return setting.partition("=")[0] if "=" in setting else _WORD


def _settings(row: Row) -> list[str]:
    return row.setting.split(", ") if row.setting else []


def names_of(rows: Sequence[Row]) -> dict[str, tuple[str, str, str]]:
    """Return by run the names of rows for `distinct`."""
    brief, least = brief_labels(rows), brief_labels(rows, templates=False)
    return {
        row.run: (row.label, (brief if row.kind == "language model" else least)[row.run], least[row.run])
        for row in rows
    }


def reference_name(rows: Sequence[Row], run: str, room: int) -> str:
    """Return what the row of a run is called in the head of a column: its model, and the setting if others have it."""
    place, row = next((place, row) for place, row in enumerate(rows) if row.run == run)
    if sum(other.model == row.model for other in rows) == 1:
        return shortened(row.model, room)
    names = names_of(rows)
    return distinct([names[other.run] for other in rows], [room] * len(rows))[place]


def distinct(names: Sequence[Sequence[str]], rooms: Sequence[int]) -> list[str]:
    """Return one of the names of each row that fits its room; no two are the same, unless all their letters are shown.

    A name that leaves parts out is not taken if it could be that of another row as well. Where no other one fits, rows
    have the same with a number behind `NUMBERED`.

    Args:
        names: In full, then in less words, and at last where two rows would have the same.
        rooms: Letters of each.
    """
    whole, partial = dict[int, Counter[str]](), dict[int, Counter[str]]()
    for room in {*rooms}:
        every = [_forms(each, room) for each in names]
        whole[room] = Counter(text for forms in every for text in {text for text, is_whole in forms if is_whole})
        partial[room] = Counter(text for forms in every for text in {text for text, _ in forms})
    found: list[str] = []
    for each, room in zip(names, rooms, strict=True):
        forms = _forms(each, room)
        free = (text for text, is_whole in forms if (whole if is_whole else partial)[room][text] == 1)
        text = next((text for text in free if text not in found), each[0] if cell_len(each[0]) <= room else "")
        numbered = (f"{fitting(each[:2], room - 3)}{NUMBERED}{number}" for number in count(1))
        found.append(text or next(other for other in numbered if other not in found))
    return found


def _forms(names: Sequence[str], room: int) -> list[tuple[str, bool]]:
    """Return all that a row may be called in a room, the best first, and whether each says all that sets it apart."""
    if fits := [name for name in names[:2] if cell_len(name) <= room]:
        return [(fits[0], True), *_shortened(names[min(1, len(names) - 1)], room), *_shortened(names[-1], room)]
    brief = names[:2][-1]
    found = [*_shortened(brief, room), *_shortened(names[-1], room)]
    return [*found, *_squeezed(names[-1], room), (_cut(brief, room), True)]


def fitting(names: Sequence[str], room: int) -> str:
    """Return the first of some names that is no wider than there is room, or the last one, shortened."""
    return next((name for name in names if cell_len(name) <= room), shortened(names[-1], room))


def shortened(name: str, room: int) -> str:
    """Return a name that fits a room: what sets it apart stands at its end, behind a plus and as a setting.

    That is shown whole with the begin of the model before it, or else with the values of its options, alone, without
    its template, without its options, or cut in the middle.

    Args:
        name: Model and setting.
        room: Columns of a terminal; letters as of Chinese take two.
    """
    return next((text for text, _ in _shortened(name, room)), _cut(name, room))


def _parts(name: str) -> tuple[str, str, str, str, list[str]]:
    """Return the model without its tuning, the tuning, the setting in brackets, the template, and values of options."""
    model, bracket, setting = name.rpartition(" (") if name.endswith(")") else (name, "", "")
    base, plus, tuning = model.rpartition("+")
    base, tuning = (base, plus + tuning) if plus else (model, "")
    first, *options = [
        each.partition("=")[2] or each.removesuffix(" requests") for each in setting.removesuffix(")").split(", ")
    ]
    return base, tuning, bracket + setting, first, options


def _shortened(name: str, room: int) -> Iterator[tuple[str, bool]]:
    """Yield what `shortened` may return, in its order, and whether that says all of the setting."""
    if cell_len(name) <= room:
        yield name, True
        return
    base, tuning, setting, template, options = _parts(name)
    values, own = ", ".join([template, *options]), ", ".join(options)
    forms = [(base, tuning + setting, True)]
    if setting:
        forms += [(base, f"{tuning} ({values})", True), ("", f"{f'{tuning} ' if tuning else ''}{values}", False)]
    if options:
        forms += [(base, f"{tuning} ({own})", False), *([("", f"{tuning} {own}", False)] if tuning else [])]
        forms += [(base, f"{tuning} ({template})", False), *([("", f"{tuning} {template}", False)] if tuning else [])]
    for begin, end, is_whole in forms:
        left = room - cell_len(end) - 2
        if end and left >= (_LEAST_MODEL if begin else 0):
            yield (
                f"{begin if begin and cell_len(begin) <= left + 2 else f'{_first_words(begin, left)}..'}{end}",
                is_whole,
            )
    if tuning and (left := room - cell_len(tuning) - 2) >= 0:
        yield f"{_first_words(base, left)}..{tuning}", False


def _squeezed(name: str, room: int) -> Iterator[tuple[str, bool]]:
    """Yield a name whose template is cut, too, if it fits: all of its parts are there."""
    base, tuning, setting, template, options = _parts(name)
    end = f", {', '.join(options)})"
    left = room - cell_len(f"{tuning} ({end}")
    least = _LEAST_MODEL + 2
    if not setting or not options or left < 2 * least:
        return
    begin = base if cell_len(base) <= left - least else f"{_begin(base, _LEAST_MODEL)}.."
    yield f"{begin}{tuning} ({_begin(template, left - cell_len(begin) - 2)}..{end}", True


def _cut(name: str, room: int) -> str:
    """Return a name without its middle."""
    if cell_len(name) <= room:
        return name
    kept = max(room - 2, 2)
    return f"{_begin(name, kept - kept // 2)}..{_begin(name[::-1], kept // 2)[::-1].lstrip('.')}"


def _first_words(name: str, room: int) -> str:
    """Return the first letters of a name that fit, but none that read as another: 13 of 135M, LLaMA of LLaMA2."""
    text = _begin(name, room)
    if text == name:
        return text
    if name[len(text)].isalnum():
        words = re.sub(r"[-._/ ]*\w*$", "", text)
        text = words if 2 * len(words) >= room else text
    if text[-1:].isalpha() and name[len(text)].isdigit():
        text = text[:-1]
    return text.rstrip(" (")


def _begin(text: str, room: int) -> str:
    """Return the first letters of a text that fit a room."""
    at = len(text)
    while cell_len(text[:at]) > room:
        at -= 1
    return text[:at]

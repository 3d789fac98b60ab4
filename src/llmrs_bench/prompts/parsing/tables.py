"""Rows of cells: which column holds the items, and which their ranks or scores."""

import re
from collections.abc import Sequence

from llmrs_bench.prompts.parsing.entries import by_value, read_rank
from llmrs_bench.prompts.parsing.items import looks_like_item, read_item, settle
from llmrs_bench.prompts.parsing.titles import EDGES, OFF, UNSURE, Mention, Names

RANK_NAME = re.compile(r"\W*(?:rank(?:ing|ed)?|position|pos|place|order|platz|순위|順位|排名|#)\W*", re.IGNORECASE)
SCORE_NAME = re.compile(
    r"(?<![a-z])(?:score|rating|relevance|probability|prob|likelihood|confidence|points|match|fit)", re.IGNORECASE
)
_NUMBER = re.compile(
    r"[^\w+-]*([-+]?[0-9]{1,9}(?:\.[0-9]{1,9})?(?:e[-+]?[0-9]{1,3})?)\s*(?:%|/\s*[0-9]+)?\W*", re.IGNORECASE
)
_VERDICTS = frozenset({"yes", "no", "true", "false", "✓", "✗", "✔", "✘"})


def cells_of(line: str) -> list[str]:
    """Return the cells of a row, none where a line is no row."""
    line = line.strip()
    if "|" not in line:
        return []
    cells = [cell.strip() for cell in line.removeprefix("|").removesuffix("|").split("|")]
    return cells if len(cells) > 1 or line.startswith("|") else []


def read_table(rows: Sequence[Sequence[str]], names: Names) -> list[Mention]:
    """Return the items of a table's rows, in the order of its ranks, else of its scores where it is not sorted."""
    rows = [row for row in rows if any(map(str.isalnum, "".join(row)))]
    width = max(map(len, rows), default=0)
    columns = [[row[at] if at < len(row) else "" for row in rows] for at in range(min(width, 12))]
    head = next((number for number, row in enumerate(rows) if any(_number(cell) is not None for cell in row)), 0)
    read = [[read_item(cell, names) for cell in column] for column in columns]
    ranks = next((at for at, column in enumerate(columns) if _counts(column[head:])), None)
    named = [at for at, column in enumerate(columns) if RANK_NAME.fullmatch(column[0])]
    ranks = named[0] if named else ranks
    scores = [at for at, column in enumerate(columns) if SCORE_NAME.search(column[0])]
    weights = [0.0 if at == ranks or at in scores else _weight(column) for at, column in enumerate(read)]
    if not any(weights):
        return []
    best = weights.index(max(weights))
    start = next((place for place, item in enumerate(read[best]) if item is not None), 0)
    start = min(start, head) if ranks is not None else start
    found: list[tuple[int, Mention]] = []
    for place in range(start, len(rows)):
        item = read[best][place]
        if item is None and looks_like_item(columns[best][place]):
            item = Mention(OFF, "title")
        if item is not None:
            found.append((place, item))
    mentions = settle([item for _, item in found])
    if ranks is not None and scores and not any(map(str.isalpha, columns[ranks][0] if ranks in named else "")):
        labels = [names.label(columns[ranks][place].strip(EDGES)) for place, _ in found]
        ranks = None if labels == [mention.place for mention in mentions] else ranks  # each number is that of its item
    by: list[tuple[int, str]] = [*([] if ranks is None else [(ranks, "rank")]), *((at, "score") for at in scores)]
    others = [column for at, column in enumerate(columns) if at != best]
    if not by and any(_are_verdicts([column[place] for place, _ in found]) for column in others):
        return [Mention(UNSURE, "title")] * len(mentions)
    if not by and _is_sheet([mention.place for mention in mentions]):
        by = [(at, "") for at in range(len(columns)) if at != best]
    if not by and len(columns) == 2:
        by = [(at, "") for at in range(2) if at != best and any("." in cell for cell in columns[at])]
    for at, meaning in by:
        values = [value for place, _ in found if (value := _number(columns[at][place])) is not None]
        if len(values) == len(mentions) and len(set(values)) > 1:
            return [mentions[place] for place in by_value(values, meaning)]
    return mentions


def _weight(column: Sequence[Mention | None]) -> float:
    """Return how many cells of a column name a candidate; a title says it more surely than a label."""
    named = [item for item in column if item is not None and item.place >= 0]
    return sum(1.0 if item.by == "title" else 0.5 for item in named)


def _is_sheet(places: Sequence[int]) -> bool:
    """Tell whether rows stand in the order shown, where a column of numbers may give another one."""
    return len(places) > 2 and list(places) == sorted(places)


def _are_verdicts(column: Sequence[str]) -> bool:
    said = {cell.strip(EDGES).lower() for cell in column}
    return len(said) > 1 and said <= _VERDICTS


def _counts(column: Sequence[str]) -> bool:
    numbers = [_number(cell) for cell in column]
    return len(numbers) > 1 and numbers == [float(number) for number in range(1, len(numbers) + 1)]


def _number(cell: str) -> float | None:
    if found := _NUMBER.fullmatch(cell.strip(EDGES.replace(".", "") + "#") or "-"):
        return float(found[1])
    rank = read_rank(cell + ".") if len(cell) < 12 else None
    value = rank.values[0] if rank and not any(map(str.isalnum, rank.rest)) else None
    return None if value is None else float(value)

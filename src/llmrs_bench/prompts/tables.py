"""Rows of cells: which column holds the items, and which their ranks or scores."""

import re
from collections.abc import Sequence

from llmrs_bench.prompts.items import looks_like_item, read_item, settle
from llmrs_bench.prompts.mentions import by_value
from llmrs_bench.prompts.ranks import read_rank
from llmrs_bench.prompts.titles import EDGES, OFF, Mention, Names

RANK_NAME = re.compile(r"\W*(?:rank(?:ing|ed)?|position|pos|place|order|platz|순위|順位|排名|#)\W*", re.IGNORECASE)
SCORE_NAME = re.compile(
    r"(?<![a-z])(?:score|rating|relevance|probability|prob|likelihood|confidence|points|match|fit)", re.IGNORECASE
)
_NUMBER = re.compile(r"\W*(-?[0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(?:%|/\s*[0-9]+)?\W*")


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
    best, at = 0.0, None
    for number, column in enumerate(read):
        if number == ranks or number in scores:
            continue
        titles = sum(item is not None and item.by == "title" and item.place >= 0 for item in column)
        labels = sum(item is not None and item.by == "label" and item.place >= 0 for item in column)
        if titles + labels / 2 > best:
            best, at = titles + labels / 2, number
    if at is None:
        return []
    start = next((number for number, item in enumerate(read[at]) if item is not None), 0)
    start = min(start, head) if ranks is not None else start
    mentions: list[Mention] = []
    kept: list[int] = []
    for number in range(start, len(rows)):
        item = read[at][number]
        if item is None and looks_like_item(columns[at][number]):
            item = Mention(OFF, "title")
        if item is not None:
            mentions.append(item)
            kept.append(number)
    mentions = settle(mentions)
    for column, meaning in [(ranks, "rank"), *((score, "score") for score in scores)]:
        values = [] if column is None else [_number(columns[column][number]) for number in kept]
        whole = [value for value in values if value is not None]
        if whole and len(whole) == len(mentions):
            return [mentions[place] for place in by_value(whole, meaning)]
    if ranks is None and not scores and _is_sheet([mention.place for mention in mentions]):
        others = [column for number, column in enumerate(columns) if number != at]
        for column_values in ([_number(column[number]) for number in kept] for column in others):
            whole = [value for value in column_values if value is not None]
            if len(whole) == len(mentions) and len(set(whole)) > 1:
                return [mentions[place] for place in by_value(whole)]
    return mentions


def _is_sheet(places: Sequence[int]) -> bool:
    """Tell whether rows stand in the order shown, where a column of numbers may give another one."""
    return len(places) > 2 and list(places) == sorted(places)


def _counts(column: Sequence[str]) -> bool:
    numbers = [_number(cell) for cell in column]
    return len(numbers) > 1 and numbers == [float(number) for number in range(1, len(numbers) + 1)]


def _number(cell: str) -> float | None:
    if found := _NUMBER.fullmatch(cell.strip(EDGES.replace(".", "") + "#") or "-"):
        return float(found[1])
    rank = read_rank(cell + ".") if len(cell) < 12 else None
    value = rank.values[0] if rank and not any(map(str.isalnum, rank.rest)) else None
    return None if value is None else float(value)

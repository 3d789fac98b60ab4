"""A board as Markdown tables."""

import re
from collections.abc import Iterable, Sequence

from llmrs_bench.leaderboard.board import BY_HEART, BY_HEART_WORDS, Board, PublishedRow, Row
from llmrs_bench.report.headline import headline
from llmrs_bench.report.table import Column, Field, Mean, column_words, kind_words, tables


def to_markdown(board: Board) -> str:
    """Return the headline, a table of means with their intervals, groups, printed tables, the protocol and notes."""
    lines = [f"**{escape(board.title)}**", "", *(f"- {escape(line)}" for line in headline(board)), ""]
    for table in tables(board):
        lines += [f"**{escape(table.title)}**", ""] if table.title else []
        lines += [escape(table.note), ""] if table.note else []
        rows = [
            [
                escape(row.model) + (" \\*" if table.is_front(row) else "") + _by_heart(row),
                escape(row.setting),
                *fields,
            ]
            for row, *fields in zip(table.rows, *map(_fields, table.columns), strict=True)
        ]
        lines += markdown_table(["model", "setting"], [column.line for column in table.columns], rows)
    lines += [f"{BY_HEART} {BY_HEART_WORDS}", ""] if any(row.by_heart for row in board.rows) else []
    if words := [f"{head}: {said}" for head, said in column_words(board).items()]:
        lines += [f"Columns: {escape('; '.join(words))}", ""]
    if kinds := kind_words(board):
        lines += [f"Kinds of answers: {escape(kinds)}", ""]
    lines += [f"Protocol: {escape('; '.join(board.protocol))}", ""]
    return "\n".join([*lines, *(f"{escape(note)}\n" for note in board.notes)]).rstrip("\n")


def _by_heart(row: Row | PublishedRow) -> str:
    return f" {BY_HEART}" if isinstance(row, Row) and row.by_heart else ""


def markdown_table(names: Sequence[str], numbers: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table and an empty line; its first columns are words, and the others numbers."""
    fields = [[*names, *numbers], [*["---"] * len(names), *["---:"] * len(numbers)], *rows]
    return [*(f"| {' | '.join(row)} |" for row in fields), ""]


def _fields(column: Column) -> list[str]:
    return [escape(str(field)) if column.kind == "answers" else _field(field) for field in column.fields]


def _field(field: Field) -> str:
    if not isinstance(field, Mean):
        return f"{field:.3f}" if isinstance(field, float) else field
    mean = f"**{field.text}**" if field.cell.rank == 1 else f"{'=' if field.cell.as_good else ''}{field.text}"
    if field.exact:
        return mean
    ends = field.ends("[{:.4f}, {:.4f}]")
    return f"{mean} {'(no interval)' if ends == 'no interval' else ends}{field.spread(' ±{:.4f}')}"


# What HTML and Markdown read as more than text; an underscore is, at the edge of a word alone.
_MEANT = re.compile(r"[\\`*\[\]|~$#]|(?<![^\W_])_|_(?![^\W_])|^>|^[-+](?=\s)")


def escape(text: str) -> str:
    """Return text as one line in which nothing means anything to Markdown or HTML."""
    line = " ".join(text.split())
    return _MEANT.sub(r"\\\g<0>", line.replace("&", "&amp;").replace("<", "&lt;"))

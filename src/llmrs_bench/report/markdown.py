"""A board as Markdown tables."""

import re
from collections.abc import Callable, Sequence

from llmrs_bench.core.formatting import number
from llmrs_bench.leaderboard import Board, Cell, Cost, PublishedTable, Row, Section
from llmrs_bench.leaderboard.board import told_apart
from llmrs_bench.report.numbers import VERSUS_HEADS, answer_words, versus_fields


def to_markdown(board: Board) -> str:
    """Return the protocol, a table of means with their intervals, groups, printed tables and notes."""
    board = told_apart(board)
    heads = ["model", "setting", *board.metrics, "coverage", "answered", "history", *(name for name, _ in _COSTS)]
    with_words = any(answer_words(row) for row in board.rows)
    lines = [
        f"**{escape(board.title)}**: {escape('; '.join(board.protocol))}",
        "",
        *_head([*heads, *(["answers"] if with_words else [])]),
        *(
            _table_row([*_fields(row, board.metrics), *([answer_words(row)] if with_words else [])])
            for row in board.rows
        ),
    ]
    tested = [(row, versus) for row in board.rows if (versus := row.cells[board.key].versus) is not None]
    if tested:
        lines += ["", f"Against the best in {board.key}, on the same users:", ""]
        lines += _head(["model", "setting", *VERSUS_HEADS])
        lines += [_table_row([escape(row.model), escape(row.setting), *versus_fields(v)]) for row, v in tested]
    for section in board.sections:
        lines += ["", *_section(section, board.metrics)]
    for table in board.published:
        lines += ["", *_published(table)]
    return "\n".join([*lines, *(f"\n{escape(note)}" for note in board.notes)])


def _fields(row: Row, metrics: Sequence[str]) -> list[str]:
    history = row.about.get("history")
    return [
        escape(row.model) + (" \\*" if row.pareto else ""),
        escape(row.setting),
        *(_cell(row.cells.get(metric), row.exact) for metric in metrics),
        *(f"{share:.3f}" for share in row.shares.values()),
        "" if history is None else str(history),
        *cost_fields(row.cost),
    ]


_COSTS: tuple[tuple[str, Callable[[Cost], str]], ...] = (
    ("seconds", lambda cost: "" if cost.seconds is None else f"{cost.seconds:.1f}"),
    ("users/s", lambda cost: "" if cost.users_per_second is None else number(cost.users_per_second)),
    ("tokens", lambda cost: "" if cost.tokens is None else f"{cost.tokens:,}"),
    ("J", lambda cost: "" if cost.joules is None else f"{cost.joules:,.0f}"),
    ("USD/1,000", lambda cost: "" if cost.price_per_1000 is None else f"{cost.price_per_1000:.4f}"),
)


def cost_fields(cost: Cost) -> list[str]:
    """Return seconds, users a second, tokens, joules and USD per 1,000 users; empty where unknown."""
    return [write(cost) for _, write in _COSTS]


def _section(section: Section, metrics: Sequence[str]) -> list[str]:
    return [
        f"**{escape(section.by)}: {escape(section.group)}** ({section.users:,} users)",
        "",
        *_head(["model", "setting", *metrics]),
        *(
            _table_row([escape(row.model), escape(row.setting), *(_cell(row.cells.get(m), row.exact) for m in metrics)])
            for row in section.rows
        ),
    ]


def _published(table: PublishedTable) -> list[str]:
    return [
        f"*Printed elsewhere, not tested against: {escape('. '.join([table.title, table.source, table.protocol]))}*",
        "",
        *_head(["model", "setting", *table.metrics]),
        *(
            _table_row([escape(row.model), escape(row.setting), *("" if v is None else f"{v:.4f}" for v in row.values)])
            for row in table.rows
        ),
    ]


def _head(names: Sequence[str]) -> list[str]:
    return [_table_row(names), f"| --- | --- |{' ---: |' * (len(names) - 2)}"]


def _table_row(fields: Sequence[str]) -> str:
    return f"| {' | '.join(fields)} |"


def _cell(cell: Cell | None, exact: bool) -> str:
    if cell is None:
        return ""
    mean = f"**{cell.mean:.4f}**" if cell.rank == 1 else f"{'=' if cell.as_good else ''}{cell.mean:.4f}"
    if exact:
        return mean
    spread = "" if cell.spread is None else f" ±{cell.spread:.4f}"
    return f"{mean} {'(no interval)' if cell.low is None else f'[{cell.low:.4f}, {cell.high:.4f}]'}{spread}"


# What HTML and Markdown read as more than text; an underscore is, at the edge of a word alone.
_MEANT = re.compile(r"[\\`*\[\]|~$#]|(?<![^\W_])_|_(?![^\W_])|^[-+](?=\s)")


def escape(text: str) -> str:
    """Return text as one line in which nothing means anything to Markdown or HTML."""
    line = " ".join(text.split())
    return _MEANT.sub(r"\\\g<0>", line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))

"""A board as Rich tables that fit 80 columns, and grow with a wider terminal."""

from collections.abc import Iterator, Sequence
from textwrap import wrap

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from llmrs_bench.core.formatting import number
from llmrs_bench.leaderboard.board import Board, PublishedRow, Row
from llmrs_bench.report.headline import headline
from llmrs_bench.report.table import Column, Field, Mean, Table, answer_words, tables, without_zeros

_STYLES = {"baseline": "dim", "language model": "bold"}
_NAME, _GAP = 16, 2  # the least width of names, and what is between a column and the next


def to_table(board: Board, width: int = 80) -> Group:
    """Return the board with its headline above, and groups, printed tables, protocol and notes below.

    Metrics that do not fit beside each other go into a table below. Where there is room, costs have columns.

    Args:
        board: What to show.
        width: Columns of the terminal.
    """
    parts: list[RenderableType] = [Text(board.title, "bold"), *map(Text, headline(board))]
    for table in tables(board):
        parts += [Text(f"\n{table.title}", "bold")] if table.title else []
        for columns in _fitting(table, width):
            made = grid(["model"], [column.head for column in columns])
            fields = zip(*(map(_text, column.fields) for column in columns), strict=True)
            with_costs = any(column.kind == "cost" for column in columns)
            room = max(_NAME, width - sum(map(_width, columns)))
            for row, texts in zip(table.rows, fields, strict=True):
                made.add_row(_name(row, table, room, with_costs=with_costs), *texts)
            parts += [Text(""), made]
    protocol = [Text("\nprotocol", "bold"), *(Text(line, "dim") for line in board.protocol)]
    return Group(*parts, *protocol, *(Text(f"\n{note}", "yellow") for note in board.notes))


def grid(names: Sequence[str], numbers: Sequence[str]) -> Grid:
    """Return an empty table of columns that may break, and of numbers."""
    table = Grid(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for place, head in enumerate(names):
        table.add_column(head, overflow="fold", min_width=0 if place else _NAME)
    for head in numbers:
        table.add_column(head, justify="right", no_wrap=True)
    return table


def _fitting(table: Table, width: int) -> Iterator[list[Column]]:
    """Return the columns in lists that fit beside the names; history and shares stand in each list of the board."""
    kinds = {kind: [column for column in table.columns if column.kind == kind] for kind in ("metric", "cost", "share")}
    repeated = [column for column in table.columns if column.kind in ("history", "test")]
    if shares := kinds["share"]:
        texts = (
            "\n".join(f"{100 * share:.0f}%" for share in each if isinstance(share, float))
            for each in zip(*(column.fields for column in shares), strict=True)
        )
        repeated.append(Column("share", ",\n".join(column.head for column in shares), tuple(texts)))
    room = width - _NAME - sum(map(_width, repeated))
    for metrics in _blocks(kinds["metric"], room):
        spare, costs = room - sum(map(_width, metrics)), []
        for column in kinds["cost"]:
            if any(column.fields) and _width(column) <= spare:
                spare -= _width(column)
                costs.append(column)
        yield [*metrics, *repeated, *costs]


def _width(column: Column) -> int:
    texts = [column.head, *(_text(field).plain for field in column.fields)]
    return max(len(line) for text in texts for line in text.split("\n")) + _GAP


def _blocks(columns: Sequence[Column], room: int) -> list[list[Column]]:
    """Return the columns in lists that fit into the room, each of one at least."""
    blocks: list[list[Column]] = [[]]
    left = room
    for column in columns:
        if blocks[-1] and _width(column) > left:
            blocks.append([])
            left = room
        blocks[-1].append(column)
        left -= _width(column)
    return blocks


def _name(row: Row | PublishedRow, table: Table, room: int, *, with_costs: bool) -> Text:
    below, style = [row.setting], ""
    if isinstance(row, Row):
        style = _STYLES.get(row.kind, "")
        below += ["" if with_costs else _spent(row), answer_words(row)] if table.kind == "board" else []
    lines = [line for text in below for line in _broken(text, room - _GAP)]
    return Text.assemble(
        (row.model, style), " *" if table.is_front(row) else "", *((f"\n  {line}", "dim") for line in lines)
    )


def _broken(text: str, room: int) -> list[str]:
    """Return a text in lines that fit; an option that is too long is broken before its value, never within it."""
    words = [
        part for word in text.split() for part in (word.replace("=", "= ").split() if len(word) > room else [word])
    ]
    return wrap(" ".join(words), max(room, 1))


def _spent(row: Row) -> str:
    """Return what answers cost, where there is no room for columns of it."""
    rate, price = row.cost.users_per_second, row.cost.price_per_1000
    if row.kind != "language model" or rate is None:
        return ""
    return f"{number(rate)}/s" + ("" if price is None else f", {price:.3g} USD per 1,000")


def _text(field: Field) -> Text:
    """Return a field; what stands below its first line is dim."""
    if not isinstance(field, Mean):
        first, *below = str(field).split("\n")
        return Text.assemble(first, *((f"\n{line}", "dim") for line in below))
    cell = field.cell
    ends = "-" if field.ends("") == "no interval" else without_zeros(field.ends("{:.3f}-{:.3f}"))
    mean = (field.text, "bold" if cell.rank == 1 else "")
    spread = without_zeros(field.spread("\n±{:.4f}"))
    return Text.assemble("=" if cell.as_good else "", mean, (f"\n{ends}{spread}", "dim"))

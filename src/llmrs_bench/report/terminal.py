"""A board as Rich tables that fit 80 columns, and grow with a wider terminal."""

from collections.abc import Callable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from llmrs_bench.core.formatting import number
from llmrs_bench.leaderboard import Board, Cell, Cost, PublishedTable, Row
from llmrs_bench.leaderboard.board import told_apart
from llmrs_bench.report.numbers import VERSUS_HEADS, answer_words, interval, short, versus_fields

_STYLES = {"baseline": "dim", "recommender": "", "language model": "bold"}
# Widths of columns; with two more between each and the next.
_NAME, _SHARES, _CELL, _COST, _GAP = 16, 14, 9, 11, 2
_COSTS: tuple[tuple[str, Callable[[Cost], float | None]], ...] = (
    ("users/s", lambda cost: cost.users_per_second),
    ("USD/\n1,000", lambda cost: cost.price_per_1000),
    ("tokens", lambda cost: cost.tokens),
    ("seconds", lambda cost: cost.seconds),
    ("J", lambda cost: cost.joules),
)


def to_table(board: Board, width: int = 80) -> Group:
    """Return the board with its protocol above, groups, printed tables and notes below.

    Metrics that do not fit beside each other go into a table below. Where there is room, costs have columns.

    Args:
        board: What to show.
        width: Columns of the terminal.
    """
    board = told_apart(board)
    head = Text("\n").join([Text(board.title, "bold"), *(Text(line, "dim") for line in board.protocol)])
    parts: list[RenderableType] = [head]
    room = width - _NAME - _GAP - _SHARES
    blocks = list(_blocks(board.metrics, room))
    for block in blocks:
        spare = room - sum(_width(metric) for metric in block)
        known = [pair for pair in _COSTS if any(pair[1](row.cost) is not None for row in board.rows)]
        parts.append(_table(board.rows, block, costs=known[: max(spare // _COST, 0)], whole=True))
    parts += _versus(board)
    for section in board.sections:
        parts.append(Text(f"{section.by}: {section.group} ({section.users:,} users)", "bold"))
        parts += [_table(section.rows, block, costs=[], whole=False) for block in _blocks(board.metrics, room)]
    for table in board.published:
        parts += _published(table, width)
    return Group(*parts, *(Text(note, "yellow") for note in board.notes))


def _versus(board: Board) -> list[RenderableType]:
    """Return how rows differ from the best one in the metric that orders them."""
    tested = [(row, versus) for row in board.rows if (versus := row.cells[board.key].versus) is not None]
    if not tested:
        return []
    table = _empty("model")
    for name in VERSUS_HEADS:
        head = name.replace(" to ", "\nto ").replace("corrected", "corr.").replace("won/", "won/\n")
        table.add_column(head, justify="right", overflow="fold")
    for row, versus in tested:
        table.add_row(row.label, *versus_fields(versus))
    return [Text(f"against the best in {board.key}, on the same users", "bold"), table]


def _width(metric: str) -> int:
    return max(_CELL, len(metric)) + _GAP


def _blocks(metrics: Sequence[str], room: int) -> list[list[str]]:
    """Return the metrics in lists that fit into `room` columns, each of one at least."""
    blocks: list[list[str]] = [[]]
    left = room
    for metric in metrics:
        if blocks[-1] and _width(metric) > left:
            blocks.append([])
            left = room
        blocks[-1].append(metric)
        left -= _width(metric)
    return blocks


Costs = Sequence[tuple[str, Callable[[Cost], float | None]]]


def _table(rows: Sequence[Row], metrics: Sequence[str], *, costs: Costs, whole: bool) -> Table:
    table = _empty("model")
    for metric in metrics:
        table.add_column(metric, justify="right", no_wrap=True)
    if whole:
        table.add_column("hist.", justify="right", no_wrap=True)
        table.add_column("cov.\nansw.", justify="right", no_wrap=True)
    for name, _ in costs:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        cells = [_cell(row.cells.get(metric), row.exact) for metric in metrics]
        more = [_history(row), _shares(row), *(_cost(row, read) for _, read in costs)] if whole else []
        table.add_row(_name(row, whole=whole, costs=costs), *cells, *more)
    return table


def _empty(first: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column(first, overflow="fold", min_width=_NAME)
    return table


def _name(row: Row, *, whole: bool, costs: Costs) -> Text:
    below = [row.setting] if row.setting else []
    if whole:
        below += [_spent(row)] if not costs and _spent(row) else []
        below += [answer_words(row)] if answer_words(row) else []
    front = " *" if row.pareto and whole else ""
    return Text.assemble(
        (row.model, _STYLES.get(row.kind, "")), front, "\n", ("\n".join(f"  {x}" for x in below), "dim")
    )


def _spent(row: Row) -> str:
    """Return what answers cost, where there is no room for columns of it."""
    rate, price = row.cost.users_per_second, row.cost.price_per_1000
    if row.kind != "language model" or rate is None:
        return ""
    return f"{number(rate)}/s" + ("" if price is None else f", {price:.3g} USD per 1,000")


def _history(row: Row) -> Text:
    return Text("" if row.about.get("history") is None else str(row.about["history"]))


def _shares(row: Row) -> Text:
    shares = zip(row.shares.values(), ("", "dim"), strict=True)
    return Text("\n").join(Text(f"{100 * share:.0f}%", style) for share, style in shares)


def _cost(row: Row, read: Callable[[Cost], float | None]) -> Text:
    value = read(row.cost)
    return Text("" if value is None else number(value))


def _cell(cell: Cell | None, exact: bool) -> Text:
    if cell is None:
        return Text("")
    mean = (f"{cell.mean:.4f}", "bold" if cell.rank == 1 else "")
    spread = "" if cell.spread is None else f"\n±{short(cell.spread, 4)}"
    return Text.assemble("=" if cell.as_good else "", mean, "\n", (interval(cell, exact), "dim"), (spread, "dim"))


def _published(table: PublishedTable, width: int) -> list[RenderableType]:
    parts: list[RenderableType] = [
        Text(f"\nprinted elsewhere, not tested against: {table.title}", "bold"),
        Text(f"{table.source}. {table.protocol}", "dim"),
    ]
    for block in _blocks(table.metrics, width - 2 * _NAME):
        made = _empty("model")
        made.add_column("setting", overflow="fold")
        for metric in block:
            made.add_column(metric, justify="right", no_wrap=True)
        for row in table.rows:
            known = dict(zip(table.metrics, row.values, strict=True))
            made.add_row(row.model, row.setting, *(_printed(known[metric]) for metric in block))
        parts.append(made)
    return parts


def _printed(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"

"""A board as a Rich table that fits 80 columns."""

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from llmrs_bench.leaderboard import Board, Cell, Row
from llmrs_bench.report.words import number

_STYLES = {"baseline": "dim", "recommender": "", "language model": "bold"}


def to_table(board: Board) -> Group:
    """Return the board with its protocol above and its notes below."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("model", overflow="fold", min_width=16)
    for metric in board.metrics:
        table.add_column(metric, justify="right", no_wrap=True)
    table.add_column("hist.", justify="right", no_wrap=True)
    table.add_column("cov.\nansw.", justify="right", no_wrap=True)
    for row in board.rows:
        table.add_row(*_line(row, board.metrics))
    head = Text("\n").join([Text(board.title, "bold"), *(Text(line, "dim") for line in board.protocol)])
    notes = [Text(note, "yellow") for note in board.notes]
    return Group(head, table, *notes)


def _line(row: Row, metrics: tuple[str, ...]) -> list[Text]:
    style = _STYLES.get(row.kind, "")
    return [
        Text.assemble((row.model, style), "\n", ("\n".join(f"  {line}" for line in _below(row)), "dim")),
        *(_cell(row.cells[metric], row.exact) for metric in metrics),
        Text("" if row.about.get("history") is None else str(row.about["history"])),
        Text("\n").join(
            Text(f"{100 * share:.0f}%", style) for share, style in zip(row.shares.values(), ("", "dim"), strict=True)
        ),
    ]


def _below(row: Row) -> list[str]:
    """Return the lines below a model's name: its setting, and what its answers cost."""
    rate, price = row.about.get("requests_per_second"), row.about.get("price_usd")
    cost = [] if rate is None else [f"{number(rate)}/s" + ("" if price is None else f", {price:.3g} USD")]
    return [*([row.setting] if row.setting else []), *cost]


def _cell(cell: Cell, exact: bool) -> Text:
    interval = "exact" if exact else f"{_short(cell.low)}-{_short(cell.high)}"
    spread = "" if cell.spread is None else f"\n±{_short(cell.spread, 4)}"
    return Text.assemble(f"{cell.mean:.4f}", "\n", (interval, "dim"), (spread, "dim"))


def _short(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}".removeprefix("0")

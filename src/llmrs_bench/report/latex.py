"""A board as a LaTeX table with booktabs rules."""

from collections.abc import Sequence

from llmrs_bench.leaderboard import Board, Cell, PublishedTable, Row
from llmrs_bench.leaderboard.board import told_apart

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    "\n": " ",
}


def to_latex(board: Board) -> str:
    """Return one `table` for the board, one for each group and printed table; they need the package booktabs.

    The best value of a column is bold and the second underlined; `=` marks values that are not distinguishable from
    the best. Intervals stand below the values.
    """
    board = told_apart(board)
    front = r" Rows with $\ast$ are on the Pareto front." if any(row.pareto for row in board.rows) else ""
    caption = (
        f"{escape(board.title)}. {escape('; '.join(board.protocol))}. Best bold, second underlined, "
        f"$^{{=}}$ not distinguishable from the best.{front}"
    )
    tables = [_table(caption, board.metrics, board.rows, front=True)]
    for section in board.sections:
        words = f"{escape(board.title)}, {escape(section.by)}: {escape(section.group)} ({section.users:,} users)."
        tables.append(_table(words, board.metrics, section.rows, front=False))
    tables += [_published(table) for table in board.published]
    notes = [f"% {note}".replace("\n", " ") for note in board.notes]
    return "\n".join([r"% needs \usepackage{booktabs}", *tables, *notes])


def escape(text: str) -> str:
    """Return text in which no character means anything to LaTeX."""
    return "".join(_SPECIAL.get(character, character) for character in text)


def _table(caption: str, metrics: Sequence[str], rows: Sequence[Row], *, front: bool) -> str:
    lines = []
    for row in rows:
        star = r"$^{\ast}$" if front and row.pareto else ""
        values = [_value(row.cells.get(metric)) for metric in metrics]
        ends = [_interval(row.cells.get(metric), row.exact) for metric in metrics]
        lines.append(_line([escape(row.model) + star, escape(row.setting), *values]))
        lines.append(_line(["", "", *ends]))
    return _tabular(caption, metrics, lines)


def _published(table: PublishedTable) -> str:
    caption = f"Printed elsewhere, not tested against: {table.title}. {table.source}. {table.protocol}"
    lines = [
        _line([escape(row.model), escape(row.setting), *("" if v is None else f"{v:.4f}" for v in row.values)])
        for row in table.rows
    ]
    return _tabular(escape(caption), table.metrics, lines)


def _tabular(caption: str, metrics: Sequence[str], lines: Sequence[str]) -> str:
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{caption}}}",
            rf"\begin{{tabular}}{{ll{'r' * len(metrics)}}}",
            r"\toprule",
            _line(["model", "setting", *map(escape, metrics)]),
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def _line(fields: Sequence[str]) -> str:
    return f"{' & '.join(fields)} \\\\"


def _value(cell: Cell | None) -> str:
    if cell is None:
        return ""
    mean = f"{cell.mean:.4f}"
    wrapped = {1: rf"\textbf{{{mean}}}", 2: rf"\underline{{{mean}}}"}.get(cell.rank, mean)
    return wrapped + (r"$^{=}$" if cell.as_good else "")


def _interval(cell: Cell | None, exact: bool) -> str:
    if cell is None:
        return ""
    if exact or cell.low is None or cell.high is None:
        return rf"{{\scriptsize {'exact' if exact else 'no interval'}}}"
    spread = "" if cell.spread is None else rf" $\pm${cell.spread:.4f}"
    return rf"{{\scriptsize [{cell.low:.3f}, {cell.high:.3f}]{spread}}}"

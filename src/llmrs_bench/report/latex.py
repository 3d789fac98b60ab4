"""A board as a LaTeX table with booktabs rules."""

from collections.abc import Sequence

from llmrs_bench.leaderboard.board import Board, Row
from llmrs_bench.report.table import Field, Mean, Table, tables

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
    front = r" Rows with $\ast$ are on the Pareto front." if any(row.pareto for row in board.rows) else ""
    caption = (
        f"{escape(board.title)}. {escape('; '.join(board.protocol))}. Best bold, second underlined, "
        f"$^{{=}}$ not distinguishable from the best.{front}"
    )
    captions = {"board": caption, "group": f"{escape(board.title)}, "}
    made = [
        _tabular(captions.get(table.kind, "") + escape(table.title), table)
        for table in tables(board)
        if table.kind != "tests"
    ]
    notes = [f"% {note}".replace("\n", " ") for note in board.notes]
    return "\n".join([r"% needs \usepackage{booktabs}", *made, *notes])


def escape(text: str) -> str:
    """Return text in which no character means anything to LaTeX."""
    return "".join(_SPECIAL.get(character, character) for character in text)


def _tabular(caption: str, table: Table) -> str:
    metrics = [column for column in table.columns if column.kind == "metric"]
    lines = []
    for row, *fields in zip(table.rows, *(column.fields for column in metrics), strict=True):
        star = r"$^{\ast}$" if table.is_front(row) else ""
        lines.append(_line([escape(row.model) + star, escape(row.setting), *map(_value, fields)]))
        if isinstance(row, Row):
            lines.append(_line(["", "", *map(_interval, fields)]))
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{caption}}}",
            rf"\begin{{tabular}}{{ll{'r' * len(metrics)}}}",
            r"\toprule",
            _line(["model", "setting", *(escape(column.line) for column in metrics)]),
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def _line(fields: Sequence[str]) -> str:
    return f"{' & '.join(fields)} \\\\"


def _value(field: Field) -> str:
    if not isinstance(field, Mean):
        return str(field)
    wrapped = {1: rf"\textbf{{{field.text}}}", 2: rf"\underline{{{field.text}}}"}.get(field.cell.rank, field.text)
    return wrapped + (r"$^{=}$" if field.cell.as_good else "")


def _interval(field: Field) -> str:
    if not isinstance(field, Mean):
        return ""
    spread = field.spread(r" $\pm${:.4f}")
    return rf"{{\scriptsize {field.ends('[{:.3f}, {:.3f}]')}{spread}}}"

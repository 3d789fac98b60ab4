"""A board as a LaTeX table with booktabs rules."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.formatting import counted
from llmrs_bench.leaderboard.board import ALPHA, BY_HEART_WORDS, Board, Row, told_apart
from llmrs_bench.leaderboard.family import pick_rows
from llmrs_bench.report.headline import headline
from llmrs_bench.report.labels import brief_settings
from llmrs_bench.report.table import Column, Field, Mean, Table, family_over, tables

_CORRECTED = "corrected p"
_TESTED = ("difference", "95 % interval", "Cohen's d", _CORRECTED)  # columns of tests that a paper has room for

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
    "≤": r"$\leq$",
    "\n": " ",
}


def to_latex(board: Board, *, columns: Sequence[str] = (), rows: Sequence[str] = ()) -> str:
    """Return one `table` for the board, one of differences and p, one for each group and printed table, with booktabs.

    The best value of a column is bold and the second underlined; `=` marks values that are not distinguishable from
    the best, and a dagger a corrected p below .05. Intervals stand below the values. The protocol and
    settings that tell no rows apart are comments: `compare --text` has them in paragraphs.

    Args:
        board: What to write.
        columns: Heads of columns, such as `ndcg@10` or `seconds`, in this order; none: all metrics.
        rows: Names of rows, as of `--against`, in the order of the board; none: all.

    Raises:
        OptionError: If a column or row is not on the board.
    """
    kept = chosen_runs(board, rows)
    apart = [row for row in told_apart(board).rows if row.run in kept]
    settings, made = brief_settings(apart), []
    for table in tables(board):
        chosen = [at for at, row in enumerate(table.rows) if not isinstance(row, Row) or row.run in kept]
        if not chosen:
            continue
        part = replace(
            table,
            rows=tuple(table.rows[at] for at in chosen),
            columns=tuple(
                replace(column, fields=tuple(column.fields[at] for at in chosen)) for column in _columns(table, columns)
            ),
        )
        if part.columns:
            made.append(_tabular(_caption(board, part), part, settings))
    whole = [f"{row.model} ({settings[row.run]}) is {row.label}" for row in apart if settings[row.run] != row.setting]
    comments = [f"% {line}".replace("\n", " ") for line in (*headline(board), *whole, *board.protocol, *board.notes)]
    return "\n".join([r"% needs \usepackage{booktabs}", *comments, *made])


def chosen_runs(board: Board, names: Sequence[str]) -> set[str]:
    """Return the runs of the rows that names are of; of no names those of all rows.

    Raises:
        OptionError: If a name is of no row.
    """
    chosen = pick_rows(board.rows, names, "--rows", lambda row: (row.run,)) if names else board.rows
    return {row.run for row in chosen}


def _columns(table: Table, names: Sequence[str]) -> list[Column]:
    """Return the columns of a table that are asked for: of tests those of a paper, of others metrics unless named."""
    if table.kind == "tests":
        return [column for column in table.columns if not table.against or column.line in _TESTED]
    metrics = [column for column in table.columns if column.kind == "metric"]
    if table.kind == "matched":  # one metric has room beside what differs
        return [column for column in table.columns if column.kind == "answers" or column is table.columns[0]]
    if not names or table.kind == "published":
        return metrics
    known = {column.line: column for column in table.columns}
    if table.kind == "board" and (unknown := [name for name in names if name not in known]):
        raise OptionError(f"--columns {unknown[0]}: the board has no such column", hint=f"It has {', '.join(known)}.")
    return [known[name] for name in names if name in known]


def _caption(board: Board, table: Table) -> str:
    """Return a caption of about two lines."""
    title = escape(board.title)
    if table.kind == "tests" and table.against:
        against = next(escape(row.label) for row in told_apart(board).rows if row.run == table.against)
        family = table.title.partition(":")[0] if board.family else "all"
        primary = family == "primary"
        over = escape(family_over(board, primary=primary))
        kind = f"{family} differences" if board.family else "differences"
        return (
            f"{title}: {kind} in {escape(table.metric)} from {against}, paired by user, with 95\\,\\% intervals. "
            f"$p$: sign-flip test, {over}; $^{{\\dagger}}$: $p < .05$.{f' {escape(table.note)}' if table.note else ''}"
        )
    if table.kind == "board":
        users = max((row.users for row in board.rows), default=0)
        cells = [cell for row in board.rows for cell in row.cells.values()]
        marks = "Bold: best; underlined: second"
        marks += "; $^{=}$: not distinguishable from the best" if any(cell.as_good for cell in cells) else ""
        marks += f"; less is better: {escape(', '.join(board.less_is_better))}" if board.less_is_better else ""
        if any(row.pareto for row in board.rows):
            unknown = any(row.pareto is None and not row.exact for row in board.rows)
            aside = " of rows with a measured cost" if unknown else ""
            marks += f"; $^{{\\ast}}$: Pareto front of quality and cost{aside}"
        if any(row.by_heart for row in board.rows):
            marks += f"; $^{{\\ddagger}}$: {BY_HEART_WORDS}"
        over = escape(board.scope) or counted(users, "user")
        return f"{title}: means over {over}, with 95\\,\\% intervals. {marks}."
    if table.kind == "group":
        return f"{title}: {escape(table.title)}."
    return escape(f"{table.title}. {table.note}" if table.note else table.title)


def escape(text: str) -> str:
    """Return text in which no character means anything to LaTeX."""
    return "".join(_SPECIAL.get(character, character) for character in text)


def _tabular(caption: str, table: Table, settings: Mapping[str, str]) -> str:
    """Return a table; what sets a row apart, by run or else all of its settings, and its intervals stand below it."""
    lines: list[str] = []
    room = 16 if len(table.columns) <= _FEW else 10
    below = any(isinstance(field, Mean) for column in table.columns for field in column.fields)
    for row, *fields in zip(table.rows, *(column.fields for column in table.columns), strict=True):
        lines += [r"\addlinespace[2pt]"] if lines and below else []
        star = r"$^{\ast}$" if table.is_front(row) else ""
        star += r"$^{\ddagger}$" if isinstance(row, Row) and row.by_heart else ""
        values = [_value(column, field) for column, field in zip(table.columns, fields, strict=True)]
        lines.append(_line([_boxed(row.model, room) + star, *values]))
        apart = settings.get(row.run, row.setting) if isinstance(row, Row) else row.setting
        setting = rf"\quad{{\scriptsize {_boxed(apart, 13)}}}" if apart else ""
        if below or setting:
            lines.append(_line([setting, *map(_interval, fields)]))
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering\small",
            r"\setlength{\tabcolsep}{4pt}",
            rf"\caption{{{caption}}}",
            rf"\begin{{tabular}}{{@{{}}l{'r' * len(table.columns)}@{{}}}}",
            r"\toprule",
            _line(["model", *(escape(column.line) for column in table.columns)]),
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


_FEW = 3  # columns, beside which names have more room


def _boxed(text: str, width: int = 10) -> str:
    """Return a text that breaks into lines of a width in em where it is long."""
    return rf"\parbox[t]{{{width}em}}{{\raggedright {escape(text)}\strut}}" if len(text) > 2.4 * width else escape(text)


def _line(fields: Sequence[str]) -> str:
    return f"{' & '.join(fields)} \\\\"


def _value(column: Column, field: Field) -> str:
    if isinstance(field, float):
        return f"{field:.3f}"
    if isinstance(field, str):
        text = _boxed(field, 8) if column.kind == "answers" else escape(field)
        if column.line == _CORRECTED:
            return text + (r"$^{\dagger}$" if field and float(field.lstrip("<≤")) < ALPHA else "")
        return re.sub(r"(?<![\w.])-(?=[\d.])", "$-$", text) if column.kind == "test" else text
    wrapped = {1: rf"\textbf{{{field.text}}}", 2: rf"\underline{{{field.text}}}"}.get(field.cell.rank, field.text)
    return wrapped + (r"$^{=}$" if field.cell.as_good else "")


def _interval(field: Field) -> str:
    if not isinstance(field, Mean):
        return ""
    spread = field.spread(r" $\pm${:.4f}")
    return rf"{{\scriptsize {field.ends('[{:.3f}, {:.3f}]')}{spread}}}"

"""A board in a terminal: a row is one line, and the width decides which columns there are."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from textwrap import wrap

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import measure_renderables
from rich.table import Column as GridColumn
from rich.table import Table as Grid
from rich.text import Text

from llmrs_bench.core.formatting import without_zeros
from llmrs_bench.leaderboard.board import (
    ALPHA,
    BY_HEART,
    BY_HEART_WORDS,
    Board,
    PublishedRow,
    Row,
    front_words,
    told_apart,
)
from llmrs_bench.leaderboard.family import Difference, difference_from
from llmrs_bench.report.headline import headline, is_verdict, is_warning
from llmrs_bench.report.labels import NUMBERED, brief_labels, distinct, names_of, reference_name
from llmrs_bench.report.table import (
    Column,
    Field,
    Mean,
    Table,
    answer_words,
    column_words,
    corrected_p,
    kind_words,
    p_words,
    tables,
)

_STYLES = {"baseline": "dim", "language model": "bold"}
_HEAD = "model"  # of names
_NAME, _GAP = 20, 2  # the least width of names, and what is between a column and the next
_ROOMY = 36  # so wide are names before what is less needed gets a column
_LEAST_NAME = 12  # so wide are columns of names that may break, at least
_HEAD_LINES = (3, 6)  # in how many lines heads break, and where there is no room for that
_TUNED = re.compile(r"\+(full|lora(?:-nf4)?)-\d+$")  # how the name of a tuned model ends
_LARGE = 0.1  # a share of the variance that has room before smaller ones
_DIFFERENCE = "the difference"  # what the column of differences is called where it is left out
_SHORT = 4  # lines of the protocol below a board


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of a terminal table.

    Args:
        head: Above it, in one line.
        cells: One for each row.
        said: What it is called where it is left out.
        extra: Whether names come first.
        ends_of: The metric that it has the intervals of; empty: none.
        need: Columns of a lower number get their room first.
        beside: What another column is called without which this one is not shown; empty: none.
    """

    head: str
    cells: tuple[Text, ...]
    said: str
    extra: bool = False
    ends_of: str = ""
    need: int = 9
    beside: str = ""

    @property
    def width(self) -> int:
        """The characters it takes, with the space before the next one."""
        return max(len(text) for text in (self.head, *(cell.plain for cell in self.cells))) + _GAP


def to_table(board: Board, width: int = 80, *, protocol: bool = False) -> Group:
    """Return the board with its headline above, and tests, groups, printed tables, protocol and notes below.

    Args:
        board: What to show.
        width: Columns of the terminal.
        protocol: Whether the whole protocol stands below it; else its first lines do.
    """
    board = told_apart(board)
    parts: list[RenderableType] = [
        Text(board.title, "bold"),
        *(Text(line, "yellow" if is_warning(line) else "bold" if is_verdict(line) else "") for line in headline(board)),
        Text(""),
    ]
    beside = board.reference
    columns = _board_columns(board, beside)
    parts += _fitted(_names(board.rows, stars=True), columns, width, partial(_legend, board, beside))
    brief = brief_labels(board.rows)
    if answers := [f"{brief[row.run]}: {words}" for row in board.rows if (words := answer_words(row))]:
        kinds = kind_words(board)
        parts += [Text("\nanswers", "bold"), *(Text(line, "dim") for line in [*answers, *([kinds] if kinds else [])])]
    for table in tables(board):
        if table.kind == "board" or (table.kind == "tests" and table.against == beside and table.metric == board.key):
            continue
        parts += [Text(f"\n{table.title}", "bold"), *([Text(table.note, "dim")] if table.note else [])]
        parts += _fitted(_names(table.rows), _plain_columns(table), width)
    shown = board.protocol if protocol else board.protocol[:_SHORT]
    parts += [Text("\nprotocol", "bold"), *(Text(line, "dim") for line in shown)]
    if left := len(board.protocol) - len(shown):
        parts += [Text(f"... and {left} more {'line' if left == 1 else 'lines'}: add --protocol", "dim")]
    return Group(*parts, *(Text(f"\n{note}", "yellow") for note in board.notes))


class _Numbers(Grid):
    """A table whose numbers are shown whole or not at all: columns without room are named below it."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the table without the columns that have no room, the least needed first; heads break before that."""
        every, heads = self.columns, {id(column): " ".join(str(column.header).split()) for column in self.columns}
        left: list[str] = []
        for lines in _HEAD_LINES:
            for column in every:
                column.header = _broken(heads[id(column)], self._width(column, console, options), lines)
            if self._least(console, options) <= options.max_width:
                break
        numbers = [column for column in every if column.no_wrap]
        while len(numbers) > 1 and self._least(console, options) > options.max_width:
            lost = _least_needed(numbers, heads)
            numbers.remove(lost)
            left.append(heads[id(lost)])
            self.columns = [column for column in self.columns if column is not lost]
        yield from super().__rich_console__(console, options)
        self.columns = every
        if left:
            said = ", ".join(head for head in heads.values() if head in left)
            yield Text(f"left out: {said}; a wider terminal and --format markdown have them", "dim")
        for column in every:
            column.header = heads[id(column)]

    def _width(self, column: GridColumn, console: Console, options: ConsoleOptions) -> int:
        """Return the width of the cells of a column: all of it for numbers, what names take at least."""
        if not column.no_wrap:
            return _LEAST_NAME
        return measure_renderables(console, options.update(width=10_000), list(column.cells)).maximum

    def _least(self, console: Console, options: ConsoleOptions) -> int:
        """Return the width that the numbers and the least of the names take."""
        widths = (
            max(self._width(column, console, options), *map(len, str(column.header).split("\n")))
            for column in self.columns
        )
        return sum(width + _GAP for width in widths) - 1


def _broken(head: str, width: int, lines: int) -> str:
    """Return a head in at most so many lines, none wider than the cells if that can be."""
    width = max([width, *map(len, head.split())])
    while len(found := wrap(head, width, break_on_hyphens=False)) > lines:
        width += 1
    return "\n".join(found)


def _least_needed(numbers: Sequence[GridColumn], heads: Mapping[int, str]) -> GridColumn:
    """Return the column to leave out: p beside a corrected one, seeds and users, then the last one."""
    named = {heads[id(column)]: column for column in numbers[1:]}
    first = ["p"] if "corrected p" in named else []
    return next((named[head] for head in (*first, "seeds", "users") if head in named), numbers[-1])


def grid(names: Sequence[str], numbers: Sequence[str]) -> Grid:
    """Return an empty table of columns that may break, and of numbers."""
    table = _Numbers(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for head in names:
        table.add_column(head, overflow="fold", min_width=_LEAST_NAME)
    for head in numbers:
        table.add_column(head, justify="right", no_wrap=True)
    return table


@dataclass(frozen=True, slots=True)
class _Name:
    """What a row is called: in full, in less words, and where two would be the same; with a mark and a style."""

    full: str
    brief: tuple[str, ...] = ()
    mark: str = ""
    style: str = ""


def _names(rows: Iterable[Row | PublishedRow], *, stars: bool = False) -> list[_Name]:
    """Return the names of rows."""
    rows = [*rows]
    own = [row for row in rows if isinstance(row, Row)]
    named = names_of(own)
    found = []
    for row in rows:
        label = " ".join((f"{row.model} ({row.setting})" if row.setting else row.model).split())
        if isinstance(row, Row):
            short = tuple(" ".join(name.split()) for name in named[row.run][1:])
            mark = (" *" if stars and row.pareto else "") + (f" {BY_HEART}" if row.by_heart else "")
            found.append(_Name(label, short, mark, _STYLES.get(row.kind, "")))
        else:
            found.append(_Name(label))
    return found


def _no_legend(_: Sequence[_Column]) -> list[str]:
    return []


def _fitted(
    names: Sequence[_Name],
    columns: Sequence[_Column],
    width: int,
    legend: Callable[[Sequence[_Column]], list[str]] = _no_legend,
) -> list[RenderableType]:
    """Return a table of the columns that fit, what its marks mean, a key of shortened names, and what was left out.

    Args:
        names: Of the rows, with marks and styles.
        columns: As they stand beside each other; the first is always shown.
        width: Of the terminal.
        legend: Says what marks and heads of the columns that are shown mean.
    """
    longest = max([len(_HEAD), *(cell_len((name.full, *name.brief[:1])[-1]) + len(name.mark) for name in names)]) + _GAP
    usual = min(longest, max(_NAME, min(width // 3, _ROOMY)))
    for own in (*range(usual, min(longest, width // 2) + 1), usual):
        taken, short = _beside(names, columns, width, own, longest)
        # Names that have no room for what sets them apart take that of the columns that are needed least.
        if not any(NUMBERED in text for name, text in zip(names, short, strict=True) if text != name.full):
            break
    shown = [column for column in columns if column in taken]
    made = Grid(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    made.add_column(_HEAD, no_wrap=True)
    for column in shown:
        made.add_column(column.head, justify="right", no_wrap=True)
    for name, text, *cells in zip(names, short, *(column.cells for column in shown), strict=True):
        made.add_row(Text.assemble((text, name.style), name.mark), *cells)
    key = [f"{text} = {name.full}" for name, text in zip(names, short, strict=True) if text != name.full]
    lost = [column for column in columns if column not in taken]
    below = [*legend(shown), *(["", *key] if key else [])]
    parts: list[RenderableType] = [made, *(Text(line, "dim") for line in below)]
    words = [column.said for column in lost if not column.ends_of]
    said = [", ".join(words)] if words else []
    if ends := [column.ends_of for column in lost if column.ends_of]:
        said.append(f"95 % intervals (of {', '.join(ends)})")
    if said:
        parts.append(Text(f"left out: {', and '.join(said)}; a wider terminal and --format markdown have them", "dim"))
    return parts


def _beside(
    names: Sequence[_Name], columns: Sequence[_Column], width: int, own: int, longest: int
) -> tuple[list[_Column], list[str]]:
    """Return the columns that fit beside names of a width, of which the longest is known, and what rows are called."""
    left = width - own
    taken: list[_Column] = []
    for column in sorted(columns, key=lambda each: (each.extra, each.need)):
        least = max(min(longest, _ROOMY) - own, 0) if column.extra else 0
        alone = bool(column.beside) and all(column.beside != each.said for each in taken)
        if not taken or (column.width <= left - least and not alone):
            taken.append(column)
            left -= column.width
    room = max(width - sum(column.width for column in taken) - _GAP, 8)
    return taken, distinct([(name.full, *name.brief) for name in names], [room - len(name.mark) for name in names])


def _board_columns(board: Board, beside: str) -> list[_Column]:
    """Return the columns of the board: the main metric with its differences, other metrics, shares, costs, tests."""
    first, *others = [metric for metric in (board.key, *board.metrics) if metric]
    pairs = [each for each in board.differences if each.metric == board.key and beside in (each.first, each.second)]
    tested = {each.first: each for each in (difference_from(each, beside) for each in pairs)}
    columns = [_means(board, first), _intervals(board, first, extra=False), *_differences(board, beside, tested)]
    columns += [_means(board, metric) for metric in others if metric != first]
    rest = next(table for table in tables(board) if table.kind == "board").columns
    kinds = {kind: [column for column in rest if column.kind == kind] for kind in ("share", "cost", "history")}
    costs = sorted(kinds["cost"], key=lambda column: not column.head.startswith("USD"))
    for number, column in enumerate(column for column in costs if any(column.fields)):
        columns.append(replace(_made(column, extra=number > 0), need=9 if number else 3))
    whole = all(share == 1.0 for row in board.rows for share in row.shares.values())
    columns += [_made(column, extra=whole) for column in kinds["share"]]
    versus = {row.run: row.cells[board.key].versus for row in board.rows if board.key in row.cells}
    if any(found is not None and found.against == beside for found in versus.values()):
        needed = [
            "" if (found := versus.get(row.run)) is None or found.needed is None else f"{found.needed:,}"
            for row in board.rows
        ]
        said = "users for a power of 80 %"
        columns.append(_Column("users for 80 %", tuple(map(Text, needed)), said, extra=True))
    columns += [_intervals(board, metric, extra=True) for metric in others if metric != first]
    columns += [_made(column, extra=True) for column in kinds["history"] if any(column.fields)]
    return columns


def _differences(board: Board, beside: str, tested: dict[str, Difference]) -> list[_Column]:
    """Return the columns of the difference from one row and of its corrected p, in brackets where it is exploratory."""
    if not tested:
        return []
    numbers, values, ends = [], [], []
    for row in board.rows:
        found = tested.get(row.run)
        if found is None:
            numbers.append(Text("-" if row.run == beside else "", "dim"))
            values.append(Text(""))
            ends.append(Text(""))
            continue
        better = found.difference * board.sign(board.key) > 0
        style = ("green" if better else "red") if found.corrected < ALPHA else "dim"
        numbers.append(Text(f"{found.difference:+z.4f}", style))
        said = corrected_p(found, board.permutations)
        values.append(Text(said if found.primary or board.family is None else f"({said})", "dim" if not style else ""))
        known = found.low is not None and found.high is not None
        ends.append(Text(without_zeros(f"{found.low:+z.3f} to {found.high:+z.3f}") if known else "", "dim"))
    name = reference_name(board.rows, beside, 12)
    return [
        _Column(f"vs {name}", tuple(numbers), _DIFFERENCE, need=1),
        _Column("p", tuple(values), "p", need=2, beside=_DIFFERENCE),
        _Column("vs in 95 %", tuple(ends), "", extra=True, ends_of=_DIFFERENCE, beside=_DIFFERENCE),
    ]


def _means(board: Board, metric: str) -> _Column:
    cells = []
    for row in board.rows:
        cell = row.cells.get(metric)
        text = "" if cell is None else f"{'=' if cell.as_good else ''}{cell.mean:.4f}"
        cells.append(Text(text, "bold" if cell is not None and cell.rank == 1 else ""))
    return _Column(metric, tuple(cells), metric, need=0 if metric == board.key else 4)


def _intervals(board: Board, metric: str, *, extra: bool) -> _Column:
    cells = [Mean(row.cells[metric], row.exact) if metric in row.cells else None for row in board.rows]
    texts = tuple(Text("") if mean is None else Text(_ends(mean), "dim") for mean in cells)
    head = "95 % interval" if metric == board.key else f"{metric} in 95 %"
    return _Column(head, texts, "", extra, ends_of=metric, need=3)


def _ends(mean: Mean) -> str:
    ends = mean.ends("{:.3f}-{:.3f}")
    return without_zeros(("-" if ends == "no interval" else ends) + mean.spread(" ±{:.4f}"))


def _made(column: Column, *, extra: bool) -> _Column:
    return _Column(column.line, tuple(Text(_words(field)) for field in column.fields), column.line, extra)


def _plain_columns(table: Table) -> list[_Column]:
    """Return the columns of a table below the board; means get their intervals where there is room."""
    needs = {
        "difference": 1,
        "corrected p": 2,
        "95 % interval": 3,
        "95 % interval, all sources": 1,
        "narrowed most by": 3,
        "differs in": 1,
    }
    if table.kind == "matched":  # of several printed rows of one model a reader has to know which is which
        needs |= {table.columns[0].line: 0, "printed as": 1 if len({*_names(table.rows)}) < len(table.rows) else 9}
    if table.kind == "tests":  # of shares of the variance the largest come first
        shares = [column for column in table.columns if column.kind == "share"]
        largest = {column.line: max(field for field in column.fields if isinstance(field, float)) for column in shares}
        needs |= {line: 2 if share >= _LARGE else 8 for line, share in largest.items()}
        needs |= {table.columns[0].line: 0} if shares else {}
    columns = [
        replace(made, need=needs.get(made.head, 9)) for made in (_made(each, extra=False) for each in table.columns)
    ]
    # A p that is not corrected is shown beside the corrected one or not at all.
    corrected = "corrected p" if any(column.head == "corrected p" for column in columns) else ""
    columns = [replace(each, need=10, beside=corrected) if each.head == "p" else each for each in columns]
    for column in table.columns:
        if any(isinstance(field, Mean) for field in column.fields):
            ends = tuple(Text(_ends(field) if isinstance(field, Mean) else "", "dim") for field in column.fields)
            columns.append(_Column(f"{column.line} in 95 %", ends, "", extra=True, ends_of=column.line))
    return columns


def _words(field: Field) -> str:
    if isinstance(field, Mean):
        return f"{'=' if field.cell.as_good else ''}{field.text}"
    return f"{100 * field:.0f}%" if isinstance(field, float) else " ".join(field.split())


def _legend(board: Board, beside: str, columns: Sequence[_Column]) -> list[str]:
    """Say what marks and heads of the columns that are shown mean."""
    heads = {column.head for column in columns}
    equal = any(cell.plain.startswith("=") for column in columns for cell in column.cells)
    lines = ["= not distinguishable from the best of its column"] if equal else []
    if fewer := [metric for metric in board.less_is_better if metric in heads]:
        lines.append(f"less is better: {', '.join(fewer)}")
    if any(row.pareto for row in board.rows):
        lines.append(f"* {front_words(board.rows, board.key, board.pareto_by, board.unit)}")
    if any(row.by_heart for row in board.rows):
        lines.append(f"{BY_HEART} {BY_HEART_WORDS}")
    if said := [f"{head}: {words}" for head, words in column_words(board).items() if head in heads]:
        lines.append("; ".join(said))
    if any(column.said == _DIFFERENCE for column in columns):
        name = next(row.label for row in board.rows if row.run == beside)
        tested = f"; {p_words(board)}" if "p" in heads else ""
        lines.append(f"vs: difference from {name} in {board.key}, paired{tested}")
    methods = {method for row in board.rows if row.kind == "language model" for method in _TUNED.findall(row.model)}
    if methods:
        said = ["+full-N: all weights tuned on N samples"] if "full" in methods else []
        said += ["+lora-N: an adapter tuned on N samples"] if methods - {"full"} else []
        lines.append("; ".join(said))
    return lines

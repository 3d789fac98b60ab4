"""Charts of a board as files of the width of a column, drawn by matplotlib from the values of the board."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from llmrs_bench.core.errors import OptionError
from llmrs_bench.leaderboard.board import ALPHA, Board, Row, cost_words, told_apart
from llmrs_bench.leaderboard.family import Difference, difference_from

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Chart: TypeAlias = Literal["differences", "means", "cost"]
FORMATS = (".pdf", ".svg", ".png")
_WIDTH = 3.35  # inches: a column of two-column papers
# The colours of the page, and marks that stay apart in grey.
_LOOKS = {
    "language model": ("#0b62a8", "o"),
    "recommender": ("#c4520a", "s"),
    "click model": ("#c4520a", "s"),
    "fusion": ("#00795a", "^"),
    "import": ("#9a3f7c", "*"),
    "oracle": ("#8a6d00", "x"),
}
_OTHER = ("#6c7580", "D")


def save_figure(board: Board, path: Path, chart: Chart, rows: Sequence[str] = ()) -> None:
    """Write a chart of the metric that orders a board, in the format that the file's name ends in.

    The file is the same for the same board and version of matplotlib.

    Args:
        board: What to draw.
        path: The file; its name ends in .pdf, .svg or .png.
        chart: `differences` from the row all others are shown against, `means` with intervals, or quality by `cost`.
        rows: Runs of the rows to draw; none: all.

    Raises:
        OptionError: If matplotlib is missing, the file has another ending, or the board has nothing to draw.
        OSError: If the file cannot be written.
    """
    if path.suffix.lower() not in FORMATS:
        raise OptionError(f"--figure {path}: a figure ends in {', '.join(FORMATS)}", hint="Name the file so.")
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise OptionError(
            f"matplotlib cannot be imported: {error}", hint="Run `pip install 'llmrs-bench[figures]'`."
        ) from error
    board = told_apart(board)
    shown = [row for row in board.rows if board.key in row.cells and (not rows or row.run in rows)]
    fonts = {"font.size": 7, "pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "llmrs-bench"}
    with rc_context({**fonts, "axes.spines.top": False, "axes.spines.right": False}):
        height = 0.55 + 0.19 * len(shown) if chart != "cost" else 2.4
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        draw = {"differences": _differences, "means": _means, "cost": _cost}[chart]
        draw(figure.add_subplot(), board, shown)
        metadata = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(path.suffix.lower(), {})
        figure.savefig(path, dpi=300, metadata=metadata)


def _plain(text: str) -> str:
    """Return text in which a dollar sign begins no formula."""
    return text.replace("$", r"\$")


def _look(row: Row) -> tuple[str, str]:
    return _LOOKS.get(row.kind, _OTHER)


def _differences(axes: "Axes", board: Board, rows: Sequence[Row]) -> None:
    """Draw the difference of each row from one, with its interval; hollow where it is not distinguishable from 0."""
    against = board.reference
    found: dict[str, Difference] = {}
    for each in board.differences:
        if each.metric == board.key and against in (each.first, each.second):
            turned = difference_from(each, against)
            found[turned.first] = turned
    drawn = [row for row in rows if row.run in found]
    if not drawn:
        raise OptionError("the board has no differences to draw", hint="Add --chart means.")
    ends = [(found[row.run].low, found[row.run].high) for row in drawn]
    certain = [found[row.run].corrected < ALPHA for row in drawn]
    _lines(axes, drawn, [found[row.run].difference for row in drawn], ends, certain)
    axes.axvline(0, color="black", linewidth=0.8)
    name = next(row.label for row in board.rows if row.run == against)
    axes.set_xlabel(_plain(f"difference in {board.key} from {name}"))


def _means(axes: "Axes", board: Board, rows: Sequence[Row]) -> None:
    cells = [row.cells[board.key] for row in rows]
    ends = [(None, None) if row.exact else (cell.low, cell.high) for row, cell in zip(rows, cells, strict=True)]
    _lines(axes, rows, [cell.mean for cell in cells], ends, [True] * len(rows))
    axes.set_xlabel(_plain(board.key))


def _lines(
    axes: "Axes",
    rows: Sequence[Row],
    values: Sequence[float],
    ends: Sequence[tuple[float | None, float | None]],
    filled: Sequence[bool],
) -> None:
    """Draw a value and an interval for each row, the first at the top."""
    for place, (row, value, (low, high), full) in enumerate(zip(rows, values, ends, filled, strict=True)):
        color, mark = _look(row)
        if low is not None and high is not None:
            axes.plot([low, high], [place, place], color=color, linewidth=1)
        face = color if full else "white"
        axes.plot([value], [place], marker=mark, color=color, markerfacecolor=face, markersize=4, linestyle="none")
    axes.set_yticks(range(len(rows)), [_plain(_short(row.label)) for row in rows])
    axes.invert_yaxis()
    axes.grid(axis="x", linewidth=0.4, color="#dddddd")
    axes.set_axisbelow(True)


def _short(label: str, room: int = 30) -> str:
    return label if len(label) <= room else f"{label[: room // 2 - 1]}...{label[len(label) - room // 2 + 2 :]}"


def _cost(axes: "Axes", board: Board, rows: Sequence[Row]) -> None:
    """Draw quality against cost, each point numbered, and the front as a dashed line."""
    from matplotlib.ticker import FuncFormatter

    points = [(row, cost) for row in rows if (cost := getattr(row.cost, board.pareto_by or "seconds")) is not None]
    if not points:
        raise OptionError("no row of the board knows its cost", hint="Add --chart means.")
    drawn: list[Any] = []
    for number, (row, cost) in enumerate(points, start=1):
        color, mark = _look(row)
        label = f"{number} {_plain(_short(row.label))}"
        mean = row.cells[board.key].mean
        drawn += axes.plot([cost], [mean], marker=mark, color=color, markersize=4, linestyle="none", label=label)
        axes.annotate(str(number), (cost, mean), xytext=(3, 3), textcoords="offset points", fontsize=6)
    front = sorted((cost, row.cells[board.key].mean) for row, cost in points if row.pareto)
    axes.step(
        *zip(*front, strict=True), where="post", color="#888888", linewidth=0.8, linestyle="--"
    ) if front else None
    if all(cost > 0 for _, cost in points):
        axes.set_xscale("log")
        for which in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
            which(FuncFormatter(lambda cost, _: f"{cost:g}" if f"{cost:e}"[0] in "125" else ""))
    axes.set_xlabel(cost_words(board.pareto_by, board.unit))
    axes.set_ylabel(_plain(board.key))
    axes.legend(handles=drawn, loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2, fontsize=5.5, frameon=False)

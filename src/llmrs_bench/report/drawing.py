"""What charts that are files have in common: the file, colours and marks, names of rows, and legends."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from llmrs_bench.core.errors import OptionError
from llmrs_bench.leaderboard.board import Row
from llmrs_bench.report.labels import distinct, names_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".pdf", ".svg", ".png")
LETTERS = 28  # of a name beside a chart
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
# Of lines, which are told apart by more than their kind.
LINES = [("#0b62a8", "o"), ("#c4520a", "s"), ("#00795a", "^"), ("#9a3f7c", "v"), ("#8a6d00", "D"), ("#3c4249", "x")]


def save_drawing(path: Path, height: float, draw: Callable[["Figure"], None]) -> None:
    """Draw into a file of the width of a column, and of a height in inches.

    Raises:
        OptionError: If matplotlib is missing, or the file has another ending.
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
    # Text stays text, and the same board is the same file.
    fonts = {"font.size": 7, "pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "llmrs-bench"}
    lines = {"axes.spines.top": False, "axes.spines.right": False, "hatch.linewidth": 0.4}
    with rc_context({**fonts, **lines}):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        draw(figure)
        metadata = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(path.suffix.lower(), {})
        figure.savefig(path, dpi=300, metadata=metadata)


def plain(text: str) -> str:
    """Return text in which a dollar sign begins no formula."""
    return text.replace("$", r"\$")


def look_of(kind: str) -> tuple[str, str]:
    """Return the colour and the mark of a kind of row."""
    return _LOOKS.get(kind, _OTHER)


def looks_of(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Return a colour and a mark for each of some lines: those of their kinds, where these tell all of them apart."""
    looks = [look_of(row.kind) for row in rows]
    return looks if len(set(looks)) == len(looks) else [LINES[at % len(LINES)] for at in range(len(rows))]


def row_names(rows: Sequence[Row], letters: int = LETTERS) -> list[str]:
    """Return what rows are called, in as many letters as there is room; no two are called the same."""
    named = names_of(rows)
    return [plain(name) for name in distinct([named[row.run] for row in rows], [letters] * len(rows))]


def grid(axes: "Axes", axis: Literal["x", "y", "both"]) -> None:
    """Draw thin lines behind what is drawn, at the ticks of the axis `x`, `y` or `both`."""
    axes.grid(axis=axis, linewidth=0.4, color="#dddddd")
    axes.set_axisbelow(True)


def legend_below(figure: "Figure", handles: Sequence[Any], columns: int = 2) -> None:
    """Explain what is drawn below all panels."""
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=5.5, frameon=False)

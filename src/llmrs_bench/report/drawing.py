"""What charts that are files have in common: the file, colours and marks, names of rows, and legends."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from llmrs_bench.core.errors import OptionError
from llmrs_bench.leaderboard.board import Row
from llmrs_bench.report.labels import brief_labels, fitting

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
    briefs = [brief_labels(rows), brief_labels(rows, templates=False)]
    names = [fitting((row.label, *(brief[row.run] for brief in briefs)), letters) for row in rows]
    for _ in range(2):  # names of rows that were told apart may be those of others
        for name in [name for name, count in Counter(names).items() if count > 1]:
            apart = _apart([row for row, other in zip(rows, names, strict=True) if other == name])
            names = [fitting((apart.get(row.run, other),), letters) for row, other in zip(rows, names, strict=True)]
    before = [names[:at].count(name) for at, name in enumerate(names)]
    return [plain(f"{name}~{count + 1}" if count else name) for name, count in zip(names, before, strict=True)]


def _apart(rows: Sequence[Row]) -> dict[str, str]:
    """Return by run the model of rows, with the first setting that sets it apart from others of the model."""
    found = {}
    for row in rows:
        others = [other.setting.split(", ") for other in rows if other.model == row.model and other is not row]
        own = [each for each in row.setting.split(", ") if any(each not in other for other in others)]
        found[row.run] = f"{row.model} ({own[0]})" if own else row.model
    return found


def grid(axes: "Axes", axis: Literal["x", "y", "both"]) -> None:
    """Draw thin lines behind what is drawn, at the ticks of the axis `x`, `y` or `both`."""
    axes.grid(axis=axis, linewidth=0.4, color="#dddddd")
    axes.set_axisbelow(True)


def legend_below(figure: "Figure", handles: Sequence[Any], columns: int = 2) -> None:
    """Explain what is drawn below all panels."""
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=5.5, frameon=False)

"""Charts of a board as files of the width of a column, drawn by matplotlib from the values of the board."""

from collections.abc import Mapping, Sequence
from math import nan
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_args

from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.types import Kind
from llmrs_bench.leaderboard.board import ALPHA, Board, Cell, Row, Section, cost_words, told_apart
from llmrs_bench.leaderboard.curves import Curve, Curves, Level
from llmrs_bench.leaderboard.family import Difference, difference_from
from llmrs_bench.report.curves import amount, named_over, positions
from llmrs_bench.report.drawing import (
    LETTERS,
    LINES,
    grid,
    legend_below,
    look_of,
    looks_of,
    plain,
    row_names,
    save_drawing,
)
from llmrs_bench.report.labels import fitting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

Chart: TypeAlias = Literal["differences", "means", "cost", "groups", "slots", "answers", "reliability"]
_BEHIND = "#bcc2c8"  # rows that do not stand out
_UPRIGHT = 44  # letters that the names of groups have room for
# Kinds of answers as the page has them, and hatches that stay apart in grey.
_ANSWERS = {
    "complete": ("#cfd5db", ""),
    "partial": ("#e69f00", "/////"),
    "duplicates": ("#56b4e9", "....."),
    "off-list": ("#009e73", "\\\\\\\\\\"),
    "history": ("#f0e442", "-----"),
    "format": ("#0072b2", ""),
    "empty": ("#3c4249", ""),
    "truncated": ("#d55e00", "xxxxx"),
    "refused": ("#cc79a7", "|||||"),
}
_ON_DARK = ("format", "empty")
_INSIDE = 0.09  # the least share that its number has room in
# Click probabilities: words, the metric that sums them up, its word, colour and mark.
_PROBABILITIES = {
    "raw": ("as the model states it", "ece", "ece", "#6c7580", "s"),
    "calibrated": ("calibrated", "ece-calibrated", "calibrated", "#0b62a8", "o"),
}


def save_figure(
    board: Board,
    path: Path,
    chart: Chart,
    rows: Sequence[str] = (),
    biases: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """Write a chart of the metric that orders a board, in the format that the file's name ends in.

    The file is the same for the same board and version of matplotlib.

    Args:
        board: What to draw.
        path: The file; its name ends in .pdf, .svg or .png.
        chart: `differences` from the row all others are shown against, `means` with intervals, quality by `cost`,
            means in `groups` of requests, position bias by `slots`, kinds of `answers`, or the `reliability` of click
            probabilities.
        rows: Runs of the rows to draw; none: all. Where all of them have no room, the best of each kind are in front.
        biases: For `slots`: by run, what `position_bias` found.

    Returns:
        Which rows are in front, in words; empty: all.

    Raises:
        OptionError: If matplotlib is missing, the file has another ending, or the board has nothing to draw.
        OSError: If the file cannot be written.
    """
    board = told_apart(board)
    shown = [row for row in board.rows if board.key in row.cells and (not rows or row.run in rows)]
    if not shown:
        raise OptionError(
            f"none of these rows has {board.key}, by which the board is ordered", hint="Name other --rows."
        )
    if chart == "groups":
        return _save_groups(board, path, shown, named=bool(rows))
    if chart == "slots":
        return _save_slots(path, shown, biases or {}, named=bool(rows))
    if chart == "answers":
        _save_answers(path, shown)
        return ""
    if chart == "reliability":
        return _save_reliability(path, shown, named=bool(rows))
    height = 0.8 + 0.19 * len(shown) if chart != "cost" else 2.25 + 0.11 * ((len(shown) + 1) // 2)
    draw = {"differences": _differences, "means": _means, "cost": _cost}[chart]
    save_drawing(path, height, lambda figure: draw(figure.add_subplot(), board, shown))
    return ""


def save_curves(curves: Curves, path: Path) -> None:
    """Write the curves of the first metric that is shown, as `save_figure` does.

    Args:
        curves: What to draw: lines with 95 % intervals, and dashed across what does not vary.
        path: The file; its name ends in .pdf, .svg or .png.

    Raises:
        OptionError: If matplotlib is missing, or the file has another ending.
        OSError: If the file cannot be written.
    """
    metric = curves.shown[0]
    lines = [each for each in curves.curves if each.metric == metric]
    levels = [each for each in curves.levels if each.metric == metric]
    height = 2.1 + 0.11 * ((len(lines) + len(levels) + 1) // 2)
    save_drawing(path, height, lambda figure: _curves(figure.add_subplot(), curves, lines, levels))


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
    name = next(name for row, name in zip(board.rows, row_names(board.rows), strict=True) if row.run == against)
    axes.set_xlabel(plain(f"difference in {board.key}\nfrom ") + name + plain(_scope(board)))


def _scope(board: Board) -> str:
    """Return over how many users means are and how many candidates each has, in a line of its own."""
    return f"\n{board.scope}" if board.scope else ""


def _means(axes: "Axes", board: Board, rows: Sequence[Row]) -> None:
    cells = [row.cells[board.key] for row in rows]
    ends = [(None, None) if row.exact else (cell.low, cell.high) for row, cell in zip(rows, cells, strict=True)]
    _lines(axes, rows, [cell.mean for cell in cells], ends, [True] * len(rows))
    axes.set_xlabel(plain(f"{board.key}{_scope(board)}"))


def _lines(
    axes: "Axes",
    rows: Sequence[Row],
    values: Sequence[float],
    ends: Sequence[tuple[float | None, float | None]],
    filled: Sequence[bool],
) -> None:
    """Draw a value and an interval for each row, the first at the top."""
    for place, (row, value, (low, high), full) in enumerate(zip(rows, values, ends, filled, strict=True)):
        color, mark = look_of(row.kind)
        if low is not None and high is not None:
            axes.plot([low, high], [place, place], color=color, linewidth=1)
        face = color if full else "white"
        axes.plot([value], [place], marker=mark, color=color, markerfacecolor=face, markersize=4, linestyle="none")
    axes.set_yticks(range(len(rows)), row_names(rows))
    axes.invert_yaxis()
    grid(axes, "x")


def _cost(axes: "Axes", board: Board, rows: Sequence[Row]) -> None:
    """Draw quality against cost, each point numbered, and the front as a dashed line."""
    from matplotlib.ticker import FuncFormatter

    points = [(row, cost) for row in rows if (cost := getattr(row.cost, board.pareto_by or "seconds")) is not None]
    if not points:
        raise OptionError("no row of the board knows its cost", hint="Add --chart means.")
    drawn: list[Any] = []
    names = row_names([row for row, _ in points])
    for number, ((row, cost), name) in enumerate(zip(points, names, strict=True), start=1):
        color, mark = look_of(row.kind)
        label = f"{number} {name}"
        mean = row.cells[board.key].mean
        drawn += axes.plot([cost], [mean], marker=mark, color=color, markersize=4, linestyle="none", label=label)
    front = sorted((cost, row.cells[board.key].mean) for row, cost in points if row.pareto)
    axes.step(
        *zip(*front, strict=True), where="post", color="#888888", linewidth=0.8, linestyle="--"
    ) if front else None
    if all(cost > 0 for _, cost in points):
        axes.set_xscale("log")
        for which in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
            which(FuncFormatter(lambda cost, _: f"{cost:g}" if f"{cost:e}"[0] in "125" else ""))
    axes.set_xlabel(plain(f"{cost_words(board.pareto_by, board.unit)}{_scope(board)}"))
    axes.set_ylabel(plain(board.key))
    axes.margins(0.08)
    legend_below(cast("Figure", axes.figure), drawn)
    _number(axes, [(cost, row.cells[board.key].mean) for row, cost in points])


_DIGIT, _TALL, _MARK = 3.9, 5.0, 5.0  # points: how wide a digit is, how high, and how large a mark
# Where the number of a point may stand, from its middle, as steps of what it needs: the first that is free.
_SIDES = [
    (x, y) for far in (1, 2, 3) for x, y in ((far, far), (far, -far), (-far, far), (-far, -far), (0, far), (0, -far))
]


def _number(axes: "Axes", points: Sequence[tuple[float, float]]) -> None:
    """Write the number of each point beside it, where neither a point nor another number is."""
    figure = cast("Figure", axes.figure)
    figure.draw_without_rendering()  # else nobody knows where the points are
    middles = [tuple(72 / figure.dpi * each for each in axes.transData.transform(point)) for point in points]
    taken = [(x, y, _MARK, _MARK) for x, y in middles]
    for number, ((x, y), point) in enumerate(zip(middles, points, strict=True), start=1):
        wide = _DIGIT * len(str(number))
        reach = ((_MARK + wide) / 2 + 0.5, (_MARK + _TALL) / 2 + 0.5)
        places = [(right * reach[0], up * reach[1]) for right, up in _SIDES]
        free = (
            place
            for place in places
            if not any(
                abs(x + place[0] - left) < (wide + width) / 2 and abs(y + place[1] - low) < (_TALL + height) / 2
                for left, low, width, height in taken
            )
        )
        right, up = next(free, places[0])
        taken.append((x + right, y + up, wide, _TALL))
        style: dict[str, Any] = {
            "fontsize": 6,
            "ha": "center",
            "va": "center",
            "textcoords": "offset points",
            "annotation_clip": False,
        }
        axes.annotate(str(number), point, xytext=(right, up), **style)


def _curves(axes: "Axes", curves: Curves, lines: Sequence[Curve], levels: Sequence[Level]) -> None:
    """Draw curves with bands, each with a look of its own, and what does not vary as dashed lines."""
    places = positions(curves)
    for number, line in enumerate(lines):
        again, place = divmod(number, len(LINES))
        color, mark = LINES[place]
        look: dict[str, Any] = {"linestyle": (0, (1, again)), "markerfacecolor": "white"} if again else {}
        x, means = [places[point.x] for point in line.points], [point.cell.mean for point in line.points]
        label = plain(fitting((line.label,), LETTERS))
        axes.plot(x, means, color=color, marker=mark, markersize=3, linewidth=1, label=label, **look)
        band = [(places[point.x], point.cell.low, point.cell.high) for point in line.points]
        known = [(x, low, high) for x, low, high in band if low is not None and high is not None]
        within, low, high = ([each[at] for each in known] for at in range(3))
        axes.fill_between(within, low, high, color=color, alpha=0.15, linewidth=0)
    for number, level in enumerate(levels):
        style = (0, (4, 1 + 1.5 * number))
        label = plain(fitting((level.label,), LETTERS))
        axes.axhline(level.cell.mean, color=look_of(level.kind)[0], linewidth=0.9, linestyle=style, label=label)
    axes.set_xticks([*places.values()], [amount(x) for x in places])
    axes.set_xlabel(plain(named_over(curves) + (" (logarithmic)" if curves.logarithmic else "")))
    axes.set_ylabel(plain(curves.shown[0]))
    grid(axes, "y")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2, fontsize=5.5, frameon=False)


def _save_groups(board: Board, path: Path, rows: Sequence[Row], *, named: bool) -> str:
    """Write the mean of each row in each group of requests, with intervals of the rows in front."""
    sections = [each for each in board.sections if any(board.key in row.cells for row in each.rows)]
    if not sections:
        raise OptionError("the board has no groups to draw", hint="Add --by history, or another --by.")
    front, which = _in_front(rows, named=named)
    cells = {row.run: [_cell_of(row, each, board.key) for each in sections] for row in rows}
    tilted = sum(max(map(len, each.group.split()), default=0) + 2 for each in sections) > _UPRIGHT

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        others: list[Line2D] = []
        for row in (row for row in rows if row not in front):
            others = axes.plot(_means_of(cells[row.run]), color=_BEHIND, linewidth=0.7, label="other rows")
        handles: list[Line2D] = []
        for number, (row, name, (color, mark)) in enumerate(zip(front, row_names(front), looks_of(front), strict=True)):
            aside = min(0.014 * len(sections), 0.1) * (number - (len(front) - 1) / 2)
            places = [place + aside for place in range(len(sections))]
            for place, cell in zip(places, cells[row.run], strict=True):
                if cell is not None and not row.exact and cell.low is not None and cell.high is not None:
                    axes.plot([place, place], [cell.low, cell.high], color=color, linewidth=0.8)
            handles += axes.plot(
                places, _means_of(cells[row.run]), color=color, marker=mark, markersize=3, linewidth=1, label=name
            )
        words = [
            each.group if tilted else "\n".join([*wrap(each.group, _UPRIGHT // len(sections)), f"{each.users:,}"])
            for each in sections
        ]
        axes.set_xticks(range(len(sections)), [plain(each) for each in words], rotation=90 if tilted else 0)
        axes.set_xlim(-0.5, len(sections) - 0.5)
        axes.set_xlabel(plain(sections[0].by + ("" if tilted else ", and number of users")))
        axes.set_ylabel(plain(board.key))
        grid(axes, "y")
        legend_below(figure, [*handles, *others[:1]])

    save_drawing(path, 2.1 + 0.11 * (len(front) // 2 + 1) + (0.35 if tilted else 0), draw)
    return which and f"in colour: {which}"


def _cell_of(row: Row, section: Section, metric: str) -> Cell | None:
    return next((each.cells.get(metric) for each in section.rows if each.run == row.run), None)


def _means_of(cells: Sequence[Cell | None]) -> list[float]:
    return [nan if cell is None else cell.mean for cell in cells]


def _save_slots(path: Path, rows: Sequence[Row], biases: Mapping[str, Mapping[str, Any]], *, named: bool) -> str:
    """Write NDCG@10 by the slot of the target, and below it how often what stands in a slot is chosen first."""
    biased = [row for row in rows if row.run in biases]
    if not biased:
        raise OptionError(
            "no row has a position bias: it is measured of language models that rank candidate lists",
            hint="Choose another --chart.",
        )
    front, which = _in_front(biased, named=named)
    behind = [biases[row.run]["slots"] for row in biased if row not in front]
    size = max(len(biases[row.run]["slots"]) for row in biased)

    def draw_panel(axes: "Axes", measure: str, even: float | None) -> "list[Line2D]":
        others: list[Line2D] = []
        for slots in behind:
            others = axes.plot(*_points(slots, measure), color=_BEHIND, linewidth=0.7, label="other rows")
        dashed = (
            [axes.axhline(even, color="black", linewidth=0.7, linestyle="--", label="all slots alike")] if even else []
        )
        handles: list[Line2D] = []
        for row, name, (color, mark) in zip(front, row_names(front), looks_of(front), strict=True):
            slots = biases[row.run]["slots"]
            handles += axes.plot(
                *_points(slots, measure), color=color, marker=mark, markersize=2.5, linewidth=1, label=name
            )
            places, low = _points(slots, f"{measure}_low")
            axes.fill_between(places, low, _points(slots, f"{measure}_high")[1], color=color, alpha=0.15, linewidth=0)
        axes.set_ylim(bottom=0)
        grid(axes, "y")
        return [*handles, *dashed, *others[:1]]

    def draw(figure: "Figure") -> None:
        above, below = figure.subplots(2, 1, sharex=True)
        draw_panel(above, "ndcg", biases[front[0].run]["single"] if len(front) == 1 else None)
        handles = draw_panel(below, "chosen", 1 / size)
        above.set_ylabel("ndcg@10 of targets\nin a slot")
        below.set_ylabel("share of first choices\nfrom a slot")
        below.set_xticks(range(0, size, -(-size // 10)))
        below.set_xlabel("slot, from 0")
        legend_below(figure, handles)

    save_drawing(path, 2.8 + 0.11 * ((len(front) + 3) // 2), draw)
    return which and f"in colour: {which}"


def _points(slots: Sequence[Mapping[str, Any]], measure: str) -> tuple[list[int], list[float]]:
    """Return the slots whose value is known, and the values."""
    known = [slot for slot in slots if slot[measure] is not None]
    return [slot["slot"] for slot in known], [slot[measure] for slot in known]


def _save_answers(path: Path, rows: Sequence[Row]) -> None:
    """Write the share of each kind of answer of each row, the first row at the top."""
    answered = [row for row in rows if row.kinds]
    if not answered:
        raise OptionError(
            "no row has kinds of answers: they are counted of language models", hint="Choose another --chart."
        )
    kinds = [kind for kind in get_args(Kind) if any(row.kinds.get(kind) for row in answered)]

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        handles: list[Any] = []
        begins = [0.0] * len(answered)
        for kind in kinds:
            color, hatch = _ANSWERS[kind]
            shares = [row.kinds.get(kind, 0.0) for row in answered]
            handles.append(
                axes.barh(
                    range(len(answered)),
                    shares,
                    left=begins,
                    height=0.72,
                    facecolor=color,
                    hatch=hatch,
                    edgecolor="black",
                    linewidth=0.3,
                    label=kind,
                )
            )
            for place, (begin, share) in enumerate(zip(begins, shares, strict=True)):
                if share >= _INSIDE:
                    axes.text(
                        begin + share / 2,
                        place,
                        f"{100 * share:.0f} %",
                        color="white" if kind in _ON_DARK else "black",
                        fontsize=5,
                        horizontalalignment="center",
                        verticalalignment="center_baseline",
                        bbox={"facecolor": color, "edgecolor": "none", "pad": 0.6},
                    )
            begins = [begin + share for begin, share in zip(begins, shares, strict=True)]
        axes.set_yticks(range(len(answered)), row_names(answered))
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.5, 1], ["0", "50 %", "100 %"])
        axes.set_xlabel("share of the responses")
        axes.invert_yaxis()
        legend_below(figure, handles, columns=min(len(kinds), 4))

    save_drawing(path, 0.55 + 0.2 * len(answered) + 0.12 * ((len(kinds) + 3) // 4), draw)


def _save_reliability(path: Path, rows: Sequence[Row], *, named: bool) -> str:
    """Write the share of liked rows in bins of click probabilities, in a panel for each row of the board.

    The area of a point is the share of the rows in its bin. Rows that were asked for are all drawn.
    """
    stated = [row for row in rows if any((row.about.get("reliability") or {}).values())]
    if not stated:
        raise OptionError(
            "no row has click probabilities",
            hint="Choose another --chart; data with clicks are made by `llmrs-bench prepare --task click`.",
        )
    drawn, which = (list(stated), "") if named else _in_front(stated, named=False)
    columns, lines = min(len(drawn), 2), -(-len(drawn) // 2)

    def draw(figure: "Figure") -> None:
        handles: dict[str, Line2D] = {}
        for number, (row, name) in enumerate(zip(drawn, row_names(drawn), strict=True)):
            axes = figure.add_subplot(lines, columns, number + 1)
            handles |= _draw_reliability(axes, row)
            axes.set_title(name, fontsize=6)
            lowest, left = number + 2 >= len(drawn), number % 2 == 0
            axes.set_xlabel("mean probability" if lowest else "")
            axes.set_ylabel("share liked" if left else "")
            axes.tick_params(labelbottom=lowest, labelleft=left)
        legend_below(figure, list(handles.values()))

    save_drawing(path, 0.55 + 1.55 * lines, draw)
    return which and f"drawn: {which}"


def _draw_reliability(axes: "Axes", row: Row) -> "dict[str, Line2D]":
    """Draw the probabilities of a row, and return what explains them, by words."""
    axes.plot([0, 1], [0, 1], color="black", linewidth=0.6, linestyle="--")
    handles: dict[str, Line2D] = {}
    errors = []
    for kind, (words, metric, short, color, mark) in _PROBABILITIES.items():
        if not (bins := row.about["reliability"].get(kind)):
            continue
        x, y = [each["probability"] for each in bins], [each["liked"] for each in bins]
        total = sum(each["rows"] for each in bins)
        sizes = [2 + 80 * each["rows"] / total for each in bins]
        face = "white" if kind == "raw" else color
        axes.plot(x, y, color=color, linewidth=0.7)
        axes.scatter(
            x, y, s=sizes, marker=mark, facecolor=face, edgecolor=color, linewidth=0.7, zorder=3, clip_on=False
        )
        look: dict[str, Any] = {
            "color": color,
            "marker": mark,
            "markerfacecolor": face,
            "markersize": 4,
            "linewidth": 0.7,
        }
        handles |= {words: axes.plot([], [], label=words, **look)[0]}
        errors += [f"{short} {row.cells[metric].mean:.3f}"] if metric in row.cells else []
    axes.text(0.04, 0.96, "\n".join(errors), fontsize=5.5, verticalalignment="top", transform=axes.transAxes)
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1], aspect="equal")
    grid(axes, "both")
    return handles


def _in_front(rows: Sequence[Row], *, named: bool) -> tuple[list[Row], str]:
    """Return the rows in front: those that were asked for, or else the best of each kind; and in words which."""
    best: dict[str, Row] = {}
    for row in rows:
        best.setdefault(row.kind, row)
    front = (list(rows) if named else list(best.values()))[: len(LINES)]
    which = "the first of those named" if named else "the best of each kind"
    return front, f"{which}, {len(front)} of {len(rows)} rows" if len(front) < len(rows) else ""

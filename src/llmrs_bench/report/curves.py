"""Curves as text: a picture and a table in a terminal, Markdown, CSV, JSON, LaTeX."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from math import ceil, floor, isnan, log, log10
from string import ascii_lowercase, ascii_uppercase
from typing import Any

import polars as pl
from rich.console import Group, RenderableType
from rich.text import Text

from llmrs_bench.core.formatting import without_zeros
from llmrs_bench.leaderboard.curves import Crossing, Curve, CurvePoint, Curves, Level, Slope, outcome
from llmrs_bench.report.latex import escape as latex_escape
from llmrs_bench.report.markdown import escape, markdown_table
from llmrs_bench.report.table import Mean, p_value
from llmrs_bench.report.terminal import grid

_ROWS, _WIDEST = 15, 100  # of the picture
_ZERO = 0.12  # of the width of a logarithmic axis: so far left of the least positive value stands 0


def amount(x: float) -> str:
    """Return a value of the number that curves are drawn over."""
    return f"{x:,.0f}" if x == int(x) else f"{x:.3g}"


def place_words(point: CurvePoint) -> str:
    """Return the value of a point, marked where a language model cannot have seen its requests."""
    return f"{amount(point.x)} \u2020" if point.unseen else amount(point.x)


def positions(curves: Curves) -> dict[float, float]:
    """Return where each value of the axis stands, from 0 to 1; of a logarithmic axis 0 is apart, on the left."""
    values = sorted({point.x for curve in curves.curves for point in curve.points})
    places = [log(x) if curves.logarithmic and x > 0 else x for x in values]
    if curves.logarithmic and values[0] == 0:
        places[0] = places[1] - _ZERO * (places[-1] - places[1])
    return {x: (place - places[0]) / (places[-1] - places[0]) for x, place in zip(values, places, strict=True)}


def named_over(curves: Curves) -> str:
    """Return the name of the number as it is read: `train fraction`."""
    return curves.over.replace("_", " ")


def end_words(crossing: Crossing, at: float) -> str:
    """Return the place of a crossing, or which answer it is that there is none between the values compared."""
    if isnan(at):
        return ""
    match outcome(at):
        case "below":  # nothing is less than the least value
            first = amount(crossing.first)
            return f"from {first} on" if crossing.first <= crossing.least else f"less than {first}"
        case "none":
            return f"none up to {amount(crossing.last)}"
        case "crosses":
            return amount(_next_whole(at) if crossing.whole else float(f"{at:.3g}"))


def _next_whole(at: float) -> float:
    """Return the least whole number from `at` on, in three digits: interpolation is not surer than that."""
    step = 10 ** max(0, floor(log10(max(at, 1.0))) - 2)
    return float(ceil(round(at / step, 6)) * step)


def reach_words(crossing: Crossing, over: str) -> str:
    """Say where a curve reaches another one, with the interval of that place."""
    match outcome(crossing.at):
        case "below":
            even = "" if crossing.below else "even "
            said = f"is not below {crossing.other} {even}at {over} {amount(crossing.first)}"
        case "none":
            said = f"does not reach {crossing.other} up to {over} {amount(crossing.last)}"
        case "crosses":
            said = f"reaches {crossing.other} at {over} {end_words(crossing, crossing.at)}"
    ends = interval_words(crossing)
    return f"{crossing.curve} {said}{f' (95 % interval: {ends})' if ends else ''}{_again(crossing, 'but is below it')}"


def reached(crossing: Crossing) -> str:
    """Return where a curve reaches another one, for a cell, and where it is below again."""
    return f"{end_words(crossing, crossing.at)}{_again(crossing, 'but below')}"


def _again(crossing: Crossing, words: str) -> str:
    return f", {words} at {' and '.join(map(amount, crossing.below))}" if crossing.below else ""


def interval_words(crossing: Crossing) -> str:
    """Return both ends of the interval of a crossing, once where they are the same answer."""
    low, high = (end_words(crossing, at) for at in (crossing.low, crossing.high))
    return low if low == high else f"{low.removeprefix('from ').removesuffix(' on')} to {high}"


@dataclass(frozen=True, slots=True)
class _Part:
    """What is shown of one metric."""

    metric: str
    curves: tuple[Curve, ...]
    levels: tuple[Level, ...]
    crossings: tuple[Crossing, ...]
    slopes: tuple[Slope, ...]
    contrasts: tuple[Slope, ...]

    @property
    def rows(self) -> tuple[Curve | Level, ...]:
        """The curves, then the lines."""
        return (*self.curves, *self.levels)

    def signs(self) -> Iterator[tuple[str, Curve | Level]]:
        """Yield the letter of each curve and line of the picture; the last ones may have none."""
        yield from zip([*ascii_uppercase, *[""] * len(self.curves)], self.curves, strict=False)
        yield from zip([*ascii_lowercase, *[""] * len(self.levels)], self.levels, strict=False)


def _parts(curves: Curves, metrics: Sequence[str]) -> Iterator[_Part]:
    for metric in metrics:
        own = tuple(each for each in curves.curves if each.metric == metric)
        if own:
            levels = tuple(each for each in curves.levels if each.metric == metric)
            found = [
                tuple(each for each in every if each.metric == metric) for every in (curves.slopes, curves.contrasts)
            ]
            crossings = tuple(each for each in curves.crossings if each.metric == metric)
            yield _Part(metric, own, levels, crossings, found[0], found[1])


_TESTS = ("difference", "p", "corrected p")
_MOST_PAIRS = 15  # of slopes that a text shows


def _heads(curves: Curves) -> tuple[str, ...]:
    """Return the columns of a point behind its mean; between points of one row, of other requests, there is no test."""
    if curves.of_requests:
        return ("users",)
    return (*((curves.cost,) if curves.cost else ()), "seeds", *_TESTS)


def _cells(curves: Curves, each: CurvePoint | Level) -> list[str]:
    if curves.of_requests:
        return [f"{each.users:,}"]
    costs = [_cost(each)] if curves.cost else []
    return [*costs, _seeds(each), *(_tests(each) if isinstance(each, CurvePoint) else ["", "", ""])]


def _cost(each: CurvePoint | Level) -> str:
    return f"{each.cost:,.3g}" if isinstance(each, CurvePoint) and each.cost is not None else ""


_SLOPE_HEADS = ("slope", "95 % interval", "p", "corrected p")


def _slope_texts(each: Slope) -> list[str]:
    ends = "" if each.low is None else f"{each.low:+z.4f} to {each.high:+z.4f}"
    return [f"{each.slope:+z.4f}", ends, p_value(each.p), p_value(each.corrected)]


def _closest(part: _Part) -> tuple[list[Slope], str]:
    """Return the pairs of rows whose slopes differ most clearly, and how many are left out, in words."""
    ordered = sorted(part.contrasts, key=lambda each: (each.p, -abs(each.slope)))
    left = len(ordered) - _MOST_PAIRS
    return ordered[:_MOST_PAIRS], f"{left:,} more pairs: --format json" if left > 0 else ""


def _tests(point: CurvePoint) -> list[str]:
    if point.difference is None or point.p is None or point.corrected is None:
        return ["", "", ""]
    return [f"{point.difference:+z.4f}", p_value(point.p), p_value(point.corrected)]


def curves_table(curves: Curves, width: int = 80) -> Group:
    """Return for each metric shown a picture, a row for each point and line, and where curves reach each other.

    Args:
        curves: What to show.
        width: Columns of the terminal.
    """
    parts: list[RenderableType] = [Text(curves.title, "bold"), *(Text(line, "dim") for line in curves.protocol)]
    over = named_over(curves)
    for part in _parts(curves, curves.shown):
        parts.append(Text(f"\n{part.metric} over {over}{' (logarithmic)' if curves.logarithmic else ''}\n", "bold"))
        parts += map(Text, _picture(part, positions(curves), width))
        table = grid(["curve"], [over, part.metric, *_heads(curves)])
        for sign, each in part.signs():
            if isinstance(each, Level):
                table.add_row(_name(sign, each.label), "", _mean(Mean(each.cell, each.exact)), *_cells(curves, each))
                continue
            for place, point in enumerate(each.points):
                name = Text("") if place else _name(sign, each.label)
                mean = _mean(Mean(point.cell, exact=False))
                table.add_row(name, place_words(point), mean, *_cells(curves, point))
        parts += [Text(""), table, *_slope_tables(part)]
        if part.crossings:
            parts += [Text(""), *(Text(reach_words(each, over)) for each in part.crossings)]
    return Group(*parts, *(Text(f"\n{note}", "yellow") for note in curves.notes))


def _slope_tables(part: _Part) -> Iterator[RenderableType]:
    """Yield how each row changes, and where two change differently; intervals stand below, as those of means do."""

    def cells(each: Slope) -> list[RenderableType]:
        slope, ends, *tests = _slope_texts(each)
        return [Text.assemble(slope, (f"\n{ends}", "dim")), *tests]

    if part.slopes:
        table = grid(["curve"], ["slope", "p", "corrected p"])
        for each in part.slopes:
            table.add_row(each.curve, *cells(each))
        yield Text("")
        yield table
    if part.contrasts:
        table = grid(["slope of", "less that of"], ["difference", "p", "corrected p"])
        pairs, left = _closest(part)
        for each in pairs:
            table.add_row(each.curve, each.other, *cells(each))
        yield Text("")
        yield table
        if left:
            yield Text(left, "dim")


def _name(sign: str, label: str) -> Text:
    return Text.assemble((f"{sign} " if sign else "", "bold"), label)


def _seeds(each: CurvePoint | Level) -> str:
    return str(len(each.runs)) if len(each.runs) > 1 else ""


def _mean(mean: Mean) -> Text:
    ends = without_zeros(mean.ends("{:.3f}-{:.3f}")) + without_zeros(mean.spread("\n±{:.4f}"))
    return Text.assemble(mean.text, (f"\n{ends}", "dim"))


def _picture(part: _Part, places: Mapping[float, float], width: int) -> list[str]:
    """Return the lines of a picture: letters are points, dots lead from one to the next, dashes are lines."""
    signs = [(sign, each) for sign, each in part.signs() if sign]
    values = [point.cell.mean for curve in part.curves for point in curve.points]
    values += [each.cell.mean for _, each in signs if isinstance(each, Level)]
    least, most = min(values), max(values)
    if least == most:
        least, most = least - 0.01, most + 0.01
    span = most - least
    left, right = 9, max((len(line) for line in _beside(signs, least, span).values()), default=0) + 1
    columns = max(20, min(width, _WIDEST) - left - right)
    cells = [[" "] * columns for _ in range(_ROWS)]
    for line in _beside(signs, least, span):
        cells[line][::2] = "-" * len(cells[line][::2])
    for _, each in signs:
        if isinstance(each, Curve):
            spots = [(_column(places[point.x], columns), _row(point.cell.mean, least, span)) for point in each.points]
            for start, end in pairwise(spots):
                for column, line in _between(start, end):
                    cells[line][column] = "." if cells[line][column] in " -" else cells[line][column]
    for sign, each in signs:
        for point in each.points if isinstance(each, Curve) else ():
            column, line = _column(places[point.x], columns), _row(point.cell.mean, least, span)
            cells[line][column] = sign if not cells[line][column].isalpha() else "*"
    beside, lines = _beside(signs, least, span), []
    for line, row in enumerate(cells):
        value = most - span * line / (_ROWS - 1)
        label = without_zeros(f"{value:.4f}") if line % ((_ROWS - 1) // 2) == 0 else ""
        lines.append(f"{label:>{left - 2}} |{''.join(row)} {beside.get(line, '')}".rstrip())
    return [*lines, f"{'':>{left - 2}} +{'-' * columns}", " " * left + _ticks(places, columns)]


def _column(place: float, columns: int) -> int:
    return round(place * (columns - 1))


def _row(value: float, least: float, span: float) -> int:
    return round((1.0 - (value - least) / span) * (_ROWS - 1))


def _beside(signs: Sequence[tuple[str, Curve | Level]], least: float, span: float) -> dict[int, str]:
    """Return by row of the picture the letters of the lines that are drawn there."""
    found: dict[int, str] = {}
    for sign, each in signs:
        if isinstance(each, Level):
            line = _row(each.cell.mean, least, span)
            found[line] = found.get(line, "") + sign
    return found


def _between(start: tuple[int, int], end: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Yield the cells between two others, with a gap between dots where the way is level."""
    steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]))
    for step in range(2, steps - 1, 2):
        yield tuple(round(a + (b - a) * step / steps) for a, b in zip(start, end, strict=True))  # type: ignore[misc]


def _ticks(places: Mapping[float, float], columns: int) -> str:
    """Return the values below the axis, each where it stands; those without room are left out, the last is not."""
    texts = [(amount(x), place) for x, place in places.items()]
    row = [" "] * (columns + 8)
    for text, place in [texts[-1], *texts[:-1]]:
        start = max(0, min(_column(place, columns) - len(text) // 2, columns - len(text)))
        around = row[max(0, start - 2) : start + len(text) + 2]
        if all(cell == " " for cell in around):
            row[start : start + len(text)] = text
    return "".join(row).rstrip()


def _flat(curves: Curves, metrics: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield every point and line as one record."""
    for part in _parts(curves, metrics):
        for each in part.rows:
            head = {"metric": each.metric, "curve": each.label, "kind": each.kind, "over": curves.over}
            if isinstance(each, Level):
                yield head | _record(each) | {"exact": each.exact}
                continue
            slope = next((found for found in part.slopes if found.curve == each.label), None)
            own = {name: getattr(slope, name, None) for name in ("slope",)} if curves.of_requests else {}
            for point in each.points:
                yield head | {"x": point.x} | _record(point) | {"exact": False} | own


def _record(each: CurvePoint | Level) -> dict[str, Any]:
    cell, tests = each.cell, ("difference", "p", "corrected")
    found = {"mean": cell.mean, "low": cell.low, "high": cell.high, "spread": cell.spread, "seeds": len(each.runs)}
    if isinstance(each, CurvePoint):
        found |= {name: getattr(each, name) for name in tests}
        found |= {} if each.cost is None else {"cost": each.cost}
    return found | {"users": each.users, "runs": list(each.runs)}


def curves_csv(curves: Curves) -> str:
    """Return one line for each point and metric, and one for each line, whose `x` is empty."""
    rows = [{**record, "runs": " ".join(record["runs"])} for record in _flat(curves, curves.metrics)]
    return pl.DataFrame(rows, infer_schema_length=None).write_csv().rstrip("\n")


def curves_json(curves: Curves) -> str:
    """Return all that is known of the curves as JSON."""
    return json.dumps(curves_value(curves), indent=2, ensure_ascii=False, allow_nan=False)


def curves_value(curves: Curves) -> dict[str, Any]:
    """Return the curves as plain values; where a crossing is no number its `outcome` says which answer that is."""
    return {
        "title": curves.title,
        "over": curves.over,
        "logarithmic": curves.logarithmic,
        "protocol": list(curves.protocol),
        "metrics": list(curves.metrics),
        "curves": [
            {
                **{"metric": curve.metric, "curve": curve.label, "kind": curve.kind},
                **{name: day for name in ("released", "cutoff") if (day := getattr(curve, name))},
                "points": [{"x": point.x, **_record(point), **_unseen(curve, point)} for point in curve.points],
            }
            for curve in curves.curves
        ],
        "levels": [
            {"metric": each.metric, "row": each.label, "kind": each.kind, **_record(each), "exact": each.exact}
            for each in curves.levels
        ],
        "crossings": [_crossing(each) for each in curves.crossings],
        **({"cost": curves.cost} if curves.cost else {}),
        "slopes": [asdict(each) for each in curves.slopes],
        "contrasts": [asdict(each) for each in curves.contrasts],
        "notes": list(curves.notes),
    }


def _unseen(curve: Curve, point: CurvePoint) -> dict[str, bool]:
    return {"unseen": point.unseen} if curve.released else {}


def _crossing(crossing: Crossing) -> dict[str, Any]:
    found = asdict(crossing)
    del found["least"]  # known of each number
    for name in ("at", "low", "high"):
        found |= _end(name, found.pop(name))
    known = not isnan(crossing.low)
    found["shares"] = dict(zip(("below", "crosses", "none"), crossing.shares, strict=True)) if known else None
    return found


def _end(name: str, at: float) -> dict[str, Any]:
    said = "outcome" if name == "at" else f"{name}_outcome"
    if isnan(at):
        return {name: None, said: None}
    return {name: at if outcome(at) == "crosses" else None, said: outcome(at)}


def curves_markdown(curves: Curves) -> str:
    """Return a table of points and lines for each metric shown, and where curves reach each other."""
    over = escape(named_over(curves))
    lines = [f"**{escape(curves.title)}**: {escape('; '.join(curves.protocol))}", ""]
    for part in _parts(curves, curves.shown):
        lines += [f"**{escape(part.metric)} over {over}**", ""]
        tests = () if curves.of_requests else _TESTS
        heads = [over, part.metric, "seeds", "users", *tests]
        rows = [[escape(name), *fields[: len(heads)]] for name, *fields in _texts(part, "[{:.4f}, {:.4f}]")]
        if curves.cost:
            heads.append(curves.cost)
            places = [place for each in part.rows for place in (each.points if isinstance(each, Curve) else (each,))]
            rows = [[*row, _cost(place)] for row, place in zip(rows, places, strict=True)]
        lines += markdown_table(["curve"], heads, rows)
        if part.slopes:
            rows = [[escape(each.curve), *_slope_texts(each)] for each in part.slopes]
            lines += markdown_table(["curve"], list(_SLOPE_HEADS), rows)
        if part.contrasts:
            pairs, left = _closest(part)
            rows = [[escape(each.curve), escape(each.other), *_slope_texts(each)] for each in pairs]
            lines += markdown_table(["slope of", "less that of"], ["difference", *_SLOPE_HEADS[1:]], rows)
            lines += [f"{left}\n"] if left else []
        if part.crossings:
            rows = [
                [escape(each.curve), escape(each.other), reached(each), interval_words(each)] for each in part.crossings
            ]
            lines += markdown_table(["curve", "reaches"], [f"at {over}", "95 % interval"], rows)
    return "\n".join([*lines, *(f"{escape(note)}\n" for note in curves.notes)]).rstrip("\n")


def _texts(part: _Part, ends: str) -> Iterator[list[str]]:
    """Yield name, number, mean with its interval, seeds, users and tests of each point and line."""
    for each in part.rows:
        places: tuple[CurvePoint | Level, ...] = each.points if isinstance(each, Curve) else (each,)
        for place in places:
            mean = Mean(place.cell, isinstance(place, Level) and place.exact)
            yield [
                each.label,
                place_words(place) if isinstance(place, CurvePoint) else "",
                f"{mean.text} {mean.ends(ends)}{mean.spread(' ±{:.4f}')}",
                str(len(place.runs)),
                f"{place.users:,}",
                *(_tests(place) if isinstance(place, CurvePoint) else ["", "", ""]),
            ]


def curves_latex(curves: Curves) -> str:
    """Return one `table` for each metric shown; they need the package booktabs. Crossings are comments below."""
    over, made = latex_escape(named_over(curves)), [r"% needs \usepackage{booktabs}"]
    caption = f"{latex_escape(curves.title)}. {latex_escape('; '.join(curves.protocol))}."
    for part in _parts(curves, curves.shown):
        heads = ["curve", over, latex_escape(part.metric), "seeds", "users", "difference", "p", "corrected p"]
        heads = heads[:5] if curves.of_requests else heads
        rows = [" & ".join(map(latex_escape, row[: len(heads)])) for row in _texts(part, "[{:.3f}, {:.3f}]")]
        columns = f"l{'r' * (len(heads) - 1)}"
        made += [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{caption}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
        ]
        made += [f"{' & '.join(heads)} \\\\", r"\midrule", *(f"{row} \\\\" for row in rows), r"\bottomrule"]
        made += [r"\end{tabular}", r"\end{table}"]
        made += [f"% {reach_words(each, named_over(curves))}" for each in part.crossings]
        made += [
            f"% slope of {each.curve}{f' less that of {each.other}' if each.other else ''}: "
            f"{' '.join(_slope_texts(each)[:2])}, p {p_value(each.p)}, corrected {p_value(each.corrected)}"
            for each in (*part.slopes, *part.contrasts)
        ]
    return "\n".join([*made, *(f"% {note}".replace("\n", " ") for note in curves.notes)])


CURVE_FORMATS: Mapping[str, Callable[[Curves], str]] = {
    "markdown": curves_markdown,
    "csv": curves_csv,
    "json": curves_json,
    "latex": curves_latex,
}

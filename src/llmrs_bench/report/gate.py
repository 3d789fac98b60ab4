"""The verdict of a gate and the trend of saved boards, in words."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from xml.etree import ElementTree

import polars as pl
from rich.console import Group
from rich.text import Text

from llmrs_bench.core.formatting import counted, without_zeros
from llmrs_bench.leaderboard.board import ALPHA, Board
from llmrs_bench.leaderboard.gate import Change, Gate, Verdict
from llmrs_bench.leaderboard.trends import History, Point
from llmrs_bench.report.markdown import escape, markdown_table, to_markdown
from llmrs_bench.report.table import Mean, p_value
from llmrs_bench.report.terminal import grid

_UNCORRECTED = (
    "uncorrected p: of the test of that row and metric alone, which is what rules read; the leaderboard says how "
    "its own p are corrected"
)


def gate_lines(gate: Gate) -> list[str]:
    """Say what every rule says about every row, failures first, and how every row changed."""
    lines = [f"{'FAIL' if v.failed else 'pass'}  {v.row}: {v.rule} ({verdict_words(v)})" for v in gate.verdicts]
    lines += [f"{change.row}: {change.metric} {change_words(change)}" for change in gate.changes]
    return [*lines, f"{_UNCORRECTED}."] if gate.changes else lines


def change_words(change: Change) -> str:
    """Say how a row differs from its baseline in a metric."""
    effect = "" if change.effect is None else f", d {change.effect:+z.2f}"
    return (
        f"{change.now:.4f}, {change.baseline} had {change.before:.4f}: {change.difference:+z.4f} "
        f"(uncorrected p {p_value(change.p)}{effect}, {counted(change.users, 'user')})"
    )


def verdict_words(verdict: Verdict) -> str:
    """Say what a rule saw."""
    if verdict.value is None:
        return verdict.reason

    def said(value: float) -> str:
        return f"{100 * value:.5g} %" if verdict.is_share else f"{value:.4g}"

    before = "" if verdict.before is None else f", was {said(verdict.before)}"
    p = "" if verdict.p is None else f", uncorrected p {p_value(verdict.p)}"
    return f"is {said(verdict.value)}{before}{p}"


def gate_json(gate: Gate) -> str:
    """Return the gate as JSON."""
    value = {
        "passed": not gate.failures,
        "baseline": gate.baseline or None,
        "verdicts": [asdict(verdict) for verdict in gate.verdicts],
        "changes": [asdict(change) for change in gate.changes],
        "notes": list(gate.notes),
    }
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def to_junit(board: Board, gate: Gate) -> str:
    """Return JUnit XML: one test case for every row and rule."""
    suite = ElementTree.Element(
        "testsuite",
        name=f"llmrs-bench compare {board.title}",
        tests=str(len(gate.verdicts)),
        failures=str(len(gate.failures)),
        errors="0",
        skipped="0",
    )
    for verdict in gate.verdicts:
        case = ElementTree.SubElement(suite, "testcase", classname=verdict.row, name=verdict.rule)
        if verdict.failed:
            words = f"{verdict.row}: {verdict.rule} ({verdict_words(verdict)})"
            ElementTree.SubElement(case, "failure", message=words, type="rule").text = words
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def to_summary(board: Board, gate: Gate, page: str = "") -> str:
    """Return Markdown for the summary of a CI step: failures, then what changed beyond noise, and the rest folded away.

    Args:
        board: What was judged.
        gate: Its verdicts and changes.
        page: Where the page of the board is: an address, which becomes a link, or the name of a file; empty: nowhere.
    """
    lines = [
        f"## llmrs-bench: {_outcome(gate)}",
        "",
        *([f"{escape(board.title)}: {board.scope}.", ""] if board.scope else []),
    ]
    failed, passed = ([v for v in gate.verdicts if v.failed is each] for each in (True, False))
    lines += _verdict_table(failed) if failed else []
    if gate.changes:
        beyond = [change for change in gate.changes if change.p < ALPHA]
        rows = [
            [escape(c.row), c.metric, f"{c.before:.4f}", f"{c.now:.4f}", f"{c.difference:+z.4f}", p_value(c.p)]
            for c in beyond
        ]
        within = f"{len(gate.changes) - len(beyond):,} of {len(gate.changes):,} differences are within noise"
        said = f"beyond noise (uncorrected p <.05); {within}:" if beyond else f"{within} (uncorrected p not below .05)."
        lines += [f"Against {escape(gate.baseline)}, on common requests{',' if beyond else ':'} {said}", ""]
        lines += (
            markdown_table(["row", "metric"], ["before", "now", "difference", "uncorrected p"], rows) if rows else []
        )
        lines += [f"{_UNCORRECTED[0].upper()}{_UNCORRECTED[1:]}.", ""]
    if page:
        web = page.startswith(("https://", "http://"))
        lines += [f"[The page of this board]({page})" if web else f"The page of this board: `{page}`", ""]
    lines += [f"{escape(note)}\n" for note in gate.notes]
    if passed:
        count = f"{len(passed):,} {'verdict that passes' if len(passed) == 1 else 'verdicts that pass'}"
        lines += [f"<details><summary>{count}</summary>", "", *_verdict_table(passed), "</details>", ""]
    return "\n".join([*lines, "<details><summary>board</summary>", "", to_markdown(board), "", "</details>", ""])


def _verdict_table(verdicts: Sequence[Verdict]) -> list[str]:
    rows = [
        ["**fail**" if v.failed else "pass", escape(v.row), f"`{v.rule}`", escape(verdict_words(v))] for v in verdicts
    ]
    return markdown_table(["", "row", "fails if", "found"], [], rows)


def _outcome(gate: Gate) -> str:
    if not gate.verdicts:
        return "board"
    failed = len(gate.failures)
    return f"gate failed, {failed} of {len(gate.verdicts)} verdicts" if failed else "gate passed"


_EXPLAINED = (
    "jump: paired sign-flip test on common requests, Holm over all steps, p < 0.05; or intervals that are apart"
)


def history_table(history: History) -> Group:
    """Return the trends, one line for each board, row and metric."""
    table = grid(["row, metric", "board, versions"], ["mean", "change", "p"])
    for trend in history.trends:
        for number, point in enumerate(trend.points):
            first = Text.assemble((trend.row, "bold"), f"\n  {trend.metric}") if not number else Text("")
            made = Text.assemble(f"{point.made[:10]} {point.board}", "\n", (point.versions, "dim"))
            mean = Text.assemble(f"{point.cell.mean:.4f}", "\n", (without_zeros(_ends(point, "{:.3f}-{:.3f}")), "dim"))
            change = Text.assemble(_change(point), ("\njump" if point.jump else "", "bold red"))
            table.add_row(first, made, mean, change, "" if point.p is None else p_value(point.p))
    head = Text.assemble((history.title, "bold"), "\n", (_EXPLAINED, "dim"), "\n")
    return Group(head, table, *(Text(f"\n{note}", "yellow") for note in history.notes))


def _ends(point: Point, form: str) -> str:
    return Mean(point.cell, point.cell.low == point.cell.high == point.cell.mean).ends(form)


def _change(point: Point) -> str:
    return "" if point.difference is None else f"{point.difference:+z.4f}"


def history_markdown(history: History) -> str:
    """Return the trends as a Markdown table."""
    rows = [
        [
            *(escape(trend.row), trend.metric, point.made[:10], escape(point.board), escape(point.versions)),
            *(f"{point.cell.mean:.4f} {_ends(point, '[{:.4f}, {:.4f}]')}", _change(point)),
            *("" if point.p is None else p_value(point.p), "**jump**" if point.jump else ""),
        ]
        for trend in history.trends
        for point in trend.points
    ]
    table = markdown_table(["row", "metric", "date", "board", "versions"], ["mean", "change", "p", ""], rows)
    notes = (f"{escape(note)}\n" for note in history.notes)
    return "\n".join([f"**{escape(history.title)}**: {_EXPLAINED}", "", *table, *notes]).rstrip("\n")


def history_csv(history: History) -> str:
    """Return one line for each board, row and metric."""
    columns = ("row", "metric", "made", "board", "versions", "mean", "low", "high", "difference", "p", "jump")
    lines = [
        {"row": trend.row, "metric": trend.metric, **asdict(point), **asdict(point.cell)}
        for trend in history.trends
        for point in trend.points
    ]
    rows = [{name: line[name] for name in columns} for line in lines]
    return pl.DataFrame(rows, infer_schema_length=None).write_csv().rstrip("\n")


def history_json(history: History) -> str:
    """Return all that is known of the trends as JSON."""
    return json.dumps(asdict(history), indent=2, ensure_ascii=False)


HISTORY_FORMATS: Mapping[str, Callable[[History], str]] = {
    "markdown": history_markdown,
    "csv": history_csv,
    "json": history_json,
}

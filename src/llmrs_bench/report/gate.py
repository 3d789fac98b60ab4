"""Verdicts of the gate as text: lines for people, JSON, JUnit XML, and a Markdown summary."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from xml.etree import ElementTree

from llmrs_bench.leaderboard import Board
from llmrs_bench.leaderboard.gate import Change, Gate, Verdict
from llmrs_bench.report.markdown import escape, to_markdown
from llmrs_bench.report.numbers import p_value


def gate_lines(gate: Gate) -> list[str]:
    """Say how every row changed, and what every rule says about it."""
    lines = [f"{change.row}: {change.metric} {change_words(change)}" for change in gate.changes]
    lines += [f"{'FAIL' if v.failed else 'pass'}  {v.row}: {v.rule} ({verdict_words(v)})" for v in gate.verdicts]
    return lines


def change_words(change: Change) -> str:
    """Say how a row differs from its baseline in a metric."""
    effect = "" if change.effect is None else f", d {change.effect:+.2f}"
    return (
        f"{change.now:.4f}, {change.baseline} had {change.before:.4f}: {change.difference:+.4f} "
        f"(p {p_value(change.p)}{effect}, {change.users:,} users)"
    )


def verdict_words(verdict: Verdict) -> str:
    """Say what a rule saw."""
    before = "" if verdict.before is None else f", was {verdict.before:.4g}"
    p = "" if verdict.p is None else f", p {p_value(verdict.p)}"
    return f"is {verdict.value:.4g}{before}{p}"


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


def to_summary(board: Board, gate: Gate) -> str:
    """Return Markdown for the summary of a CI step: verdicts, changes, and the board folded away."""
    lines = [f"## llmrs-bench: {_outcome(gate)}", ""]
    if gate.verdicts:
        rows = [
            ["**fail**" if v.failed else "pass", escape(v.row), f"`{v.rule}`".replace("|", "\\|"), verdict_words(v)]
            for v in gate.verdicts
        ]
        lines += _table(["", "row", "fails if", "found"], rows)
    if gate.changes:
        rows = [
            [escape(c.row), c.metric, f"{c.before:.4f}", f"{c.now:.4f}", f"{c.difference:+.4f}", p_value(c.p)]
            for c in gate.changes
        ]
        lines += [f"Against `{gate.baseline}`, on common requests:", ""]
        lines += _table(["row", "metric", "before", "now", "difference", "p"], rows)
    lines += [f"{escape(note)}\n" for note in gate.notes]
    return "\n".join([*lines, "<details><summary>board</summary>", "", to_markdown(board), "", "</details>", ""])


def _outcome(gate: Gate) -> str:
    if not gate.verdicts:
        return "board"
    failed = len(gate.failures)
    return f"gate failed, {failed} of {len(gate.verdicts)} verdicts" if failed else "gate passed"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    fields = [heads, ["---"] * len(heads), *rows]
    return [*(f"| {' | '.join(row)} |" for row in fields), ""]

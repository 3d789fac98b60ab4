"""What a model knows of a data set by heart, in words: the result of a probe, for people and for boards."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llmrs_bench.core.formatting import counted, number
from llmrs_bench.leaderboard.board import ALPHA
from llmrs_bench.report.table import p_value

_NAMES = {
    ("item", "token"): "item titles",
    ("item", "pmi"): "item titles, PMI",
    ("event", "token"): "next events of users",
    ("line", "token"): "rating and time of events",
}
_HEADS = ("lines", "asked", "among", "rank 1", "95 %", "chance", "p", "corrected", "other ids", "p")


def probe_lines(facts: Mapping[str, Any]) -> list[str]:
    """Lay out a probe for a terminal: a verdict, a table, and how it was asked."""
    rows = [_HEADS, *(_cells(verdict) for verdict in facts["verdicts"])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
    table = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
    return [verdict_sentence(facts), "", *table, "", *_notes(facts)]


def probe_markdown(facts: Mapping[str, Any]) -> list[str]:
    """Lay out a probe as Markdown."""
    head = [f"| {' | '.join(_HEADS)} |", f"| --- |{' ---: |' * (len(_HEADS) - 1)}"]
    rows = [f"| {' | '.join(_cells(verdict))} |" for verdict in facts["verdicts"]]
    return [verdict_sentence(facts), "", *head, *rows, "", *_notes(facts)]


def verdict_sentence(facts: Mapping[str, Any]) -> str:
    """Say in one sentence whether a model knows a data set by heart."""
    name, known = facts["model"]["name"], [each for each in facts["verdicts"] if each["significant"]]
    if known:
        return f"{name} {memory_words(facts)}."
    found = "; ".join(map(_share, facts["verdicts"]))
    return f"No sign that {name} knows {facts['dataset'].partition('@')[0]} by heart: {found}."


def memory_words(facts: Mapping[str, Any]) -> str:
    """Say what a model knows by heart, as a board says it; an empty text where nothing is significant.

    "knows the data by heart: item titles 31.0 % at rank 1, chance 1.0 %, p <.001"
    """
    known = [each for each in facts["verdicts"] if each["significant"]]
    return f"knows the data by heart: {'; '.join(map(_share, known))}" if known else ""


def board_note(facts: Mapping[str, Any]) -> str:
    """Return what a board says of a probed model: as a note where it is significant, else in its protocol."""
    return f"probe of memory: {verdict_sentence(facts)}"


def _share(verdict: Mapping[str, Any]) -> str:
    than = f"chance {_percent(verdict['chance'])}"
    if verdict["against"] == "control":
        than += f", behind other ids {_percent(verdict['control_share'])}"
    name = _NAMES[verdict["probe"], verdict["reading"]]
    return f"{name} {_percent(verdict['share'])} at rank 1, {than}, p {p_value(verdict['corrected'])}"


def _cells(verdict: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        _NAMES[verdict["probe"], verdict["reading"]] + (" *" if verdict["significant"] else ""),
        f"{verdict['trials']:,}",
        f"{verdict['candidates']:.4g}",
        _percent(verdict["share"]),
        "-" if verdict["low"] is None else f"{100 * verdict['low']:.1f} to {100 * verdict['high']:.1f}",
        _percent(verdict["chance"]),
        p_value(verdict["p"]),
        p_value(verdict["corrected"]),
        _percent(verdict["control_share"]),
        p_value(verdict["control_p"]),
    )


def _notes(facts: Mapping[str, Any]) -> Iterator[str]:
    verdicts: Sequence[Mapping[str, Any]] = facts["verdicts"]
    yield f"Lines as in {facts['lines']}; data set {facts['dataset']}; seed {facts['seed']}."
    yield (
        "rank 1: true continuations that the model holds to be the likeliest (mean log-probability of a token; PMI: "
        "sum, less that without an id). p: exact test of reciprocal ranks against chance; corrected: Holm over "
        f"{len(verdicts)} {'tests' if len(verdicts) > 1 else 'test'}; *: below .05. Other ids: the same continuations "
        "behind another id."
    )
    for verdict in verdicts:
        if verdict["against"] == "control":
            name = _NAMES[verdict["probe"], verdict["reading"]]
            because = (
                "other ids are above chance, too"
                if verdict["control_p"] < ALPHA
                else "the item before is shown, and says something of the next one behind any id"
            )
            yield (
                f"{name}: {because}. The corrected p is the larger of that against chance and that of a paired test "
                "against other ids."
            )
            if verdict["p"] < ALPHA <= verdict["tested"]:
                yield (
                    f"{name}: above chance (p {p_value(verdict['p'])}), but not reliably more than behind other ids, "
                    "so predictable, and no sign of memory."
                )
    yield from (f"Not asked: {reason}." for reason in facts["left_out"])
    spent = f"{number(facts['seconds'])} s"
    yield f"{counted(facts['prompts'], 'prompt')}, {spent}, engine {facts['engine']}."


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"

"""How lists change with what is stated of users, in words, for a terminal and as Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from textwrap import wrap
from typing import Any

from llmrs_bench.core.formatting import counted, without_zeros
from llmrs_bench.leaderboard.board import ALPHA
from llmrs_bench.report.table import p_value

_MEASURES = ("jaccard", "serp", "prag")
_QUALITY = "ndcg@10"
_COLUMNS = (*_MEASURES, _QUALITY)
_WIDTH = 80
_LABEL = 20  # characters of what is stated, in a terminal


def fairness_lines(facts: Mapping[str, Any]) -> list[str]:
    """Lay out what was found for a terminal: verdicts, a table of what is stated, one of spreads, and the protocol."""
    lines = [*_wrapped(verdicts(facts)), ""]
    for table in (_stated(facts, intervals=False), _spreads(facts)):
        widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
        lines += ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in table]
        lines.append("")
    return [*lines, *_wrapped([*_protocol(facts), "95 % intervals: --format markdown, or json"])]


def _wrapped(lines: Sequence[str]) -> list[str]:
    return [part for line in lines for part in wrap(line, _WIDTH, break_long_words=False, break_on_hyphens=False)]


def fairness_markdown(facts: Mapping[str, Any]) -> list[str]:
    """Lay out what was found as Markdown."""
    lines = [*verdicts(facts), ""]
    for head, *rows in (_stated(facts, intervals=True), _spreads(facts)):
        lines += [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
        lines += [*(f"| {' | '.join(row)} |" for row in rows), ""]
    return [*lines, *_protocol(facts)]


def verdicts(facts: Mapping[str, Any]) -> list[str]:
    """Say in sentences whether it matters what is stated: for the lists, and for their quality."""
    return [_verdict(facts, _MEASURES, "The lists"), _verdict(facts, (_QUALITY,), "Their quality")]


def _verdict(facts: Mapping[str, Any], names: Sequence[str], what: str) -> str:
    spreads = {name: facts["spreads"][name] for name in names}
    told = ", ".join(f"{name} {_short(each['snsr'])}, p {p_value(each['corrected'])}" for name, each in spreads.items())
    depend = f"depend{'s' if len(names) == 1 else ''} on what is stated: SNSR of {told}."
    if any(each["corrected"] < ALPHA for each in spreads.values()):
        return f"{what} {depend}"
    return f"No sign that {what[0].lower()}{what[1:]} {depend}"


def _stated(facts: Mapping[str, Any], *, intervals: bool) -> list[tuple[str, ...]]:
    """Return head and rows of the means of each stated value; without intervals names are cut to fit a terminal."""
    heads = [(name, "95 %") if intervals else (name,) for name in _COLUMNS]
    rows: list[tuple[str, ...]] = [("stated", *chain(*heads), "vs neutral", "p")]
    for row in facts["rows"]:
        cells: list[str] = []
        for name in _COLUMNS:
            mark = "*" if (row.get("against_control") or {}).get(name, {}).get("corrected", 1.0) < ALPHA else ""
            cells.append(_short(row[name]["mean"]) + mark)
            if intervals:
                low, high = row[name]["low"], row[name]["high"]
                cells.append("-" if low is None else f"{_short(low)} to {_short(high)}")
        label, gap = row["stated"] or row["run"], row["difference"]
        label = label if intervals or len(label) <= _LABEL else f"{label[: _LABEL - 2]}.."
        label += " (control)" if row["control"] else ""
        rows.append((label, *cells, f"{gap['mean']:+z.4f}", p_value(gap["corrected"])))
    return rows


def _spreads(facts: Mapping[str, Any]) -> list[tuple[str, ...]]:
    head = ("spread over what is stated", "SNSR", "p", "corrected", "SNSV", "p")
    rows = (
        (name, _short(each["snsr"]), p_value(each["p_snsr"]), p_value(each["corrected"]), _short(each["snsv"]),
         p_value(each["p_snsv"]))
        for name, each in facts["spreads"].items()
    )  # fmt: skip
    return [head, *rows]


def _protocol(facts: Mapping[str, Any]) -> Iterator[str]:
    neutral = facts["neutral"]
    said = f"'{neutral['stated']}'" if neutral["stated"] else "nothing"
    yield (
        f"{facts['dataset']}, {facts['model']} ({facts['template']}): {counted(facts['users'], 'user')}; the first "
        f"{facts['k']} items of each list, compared with those of {neutral['run']}, which states {said} "
        f"({_QUALITY} {_short(neutral[_QUALITY])})"
    )
    yield "jaccard, serp, prag: 1 where a list is the neutral one (FaiRLLM, arXiv 2305.07609; serp scaled to 1)"
    yield "SNSR: largest less smallest mean over what is stated; SNSV: their standard deviation"
    yield (
        f"p of SNSR and SNSV: values shuffled within users {facts['permutations']:,} times, Holm over the four; "
        f"of 'vs neutral' and *: paired sign-flip tests, Holm"
    )
    if any(row["control"] for row in facts["rows"]):
        yield "*: further from, or closer to, the neutral lists than those of the control, p < 0.05"
    else:
        yield "no control: --control RUN, a run that states what should not matter, shows what any words change"
    yield from facts["notes"]


def _short(value: float) -> str:
    return without_zeros(f"{value:.4f}")

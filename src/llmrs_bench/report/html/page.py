"""The web page: values as escaped JSON, put into one file with scripts and styles."""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from llmrs_bench.core.costs import COST_FIELDS
from llmrs_bench.leaderboard.board import ALPHA, Board, Row, ahead_of_front, cost_words, front_words, told_apart
from llmrs_bench.leaderboard.build import NULL
from llmrs_bench.leaderboard.curves import Curves
from llmrs_bench.report.curves import amount, curves_value, interval_words, named_over, positions, reached
from llmrs_bench.report.headline import headline, is_verdict
from llmrs_bench.report.html.values import Extra, rounded
from llmrs_bench.report.labels import brief_labels, brief_settings, distinct, names_of, reference_name
from llmrs_bench.report.machine import costs, measured
from llmrs_bench.report.profile import bin_labels, profile_rows
from llmrs_bench.report.table import (
    Table,
    answer_words,
    column_words,
    family_over,
    kind_words,
    matched_table,
    p_words,
    share_heads,
    variance_tables,
)

_MEAN_DIGITS = 8  # of what is shown in four digits beside other formats: a number rounded twice would be another one
_HEAD = 14  # letters of a name in the head of a column
_BESIDE = 30  # letters of a name beside a chart
_SLIM = 34  # letters of a name on a phone: three lines
_ESCAPED = "<>&\u2028\u2029"  # what leaves a script element, or ends a line in JavaScript
_FACTS = {
    "run": "run",
    "engine": "engine",
    "revision": "revision",
    "seed": "seed",
    "fit_on": "fitted on",
    "made": "made",
    "fingerprint": "fingerprint",
    "command": "command",
}


def as_json(value: Any) -> str:
    """Return JSON in which `<`, `>`, `&` and the line separators of Unicode are escaped, so that it stays data.

    Raises:
        ValueError: If a number is not finite.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in _ESCAPED:
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def board_payload(board: Board, extra: Extra) -> dict[str, Any]:
    """Return the board, its groups and printed tables, and position bias."""
    lines = headline(board)
    board = told_apart(board)
    labels, brief = {row.run: row.label for row in board.rows}, brief_labels(board.rows)
    named, settings = names_of(board.rows), brief_settings(board.rows)
    slim, beside = (
        distinct([named[row.run] for row in board.rows], [room] * len(board.rows)) for room in (_SLIM, _BESIDE)
    )
    places = {row.run: place for place, row in enumerate(board.rows)}
    ahead = {row.run for row in ahead_of_front(board.rows, board.key)}
    differences: dict[str, list[Any]] = {}
    for each in board.differences:
        found = rounded(each.difference, _MEAN_DIGITS)
        values = (each.low, each.high, each.p, each.corrected, int(each.primary))
        differences.setdefault(each.metric, []).append(
            [places[each.first], places[each.second], found, *rounded(values)]
        )
    return {
        "made": extra.made,
        "alpha": ALPHA,
        "family": _family(board, brief),
        "p_words": p_words(board, brackets=False),
        "columns": column_words(board),
        "kinds": kind_words(board),
        "permutations": board.permutations,
        "front": front_words(board.rows, board.key, board.pareto_by, board.unit),
        "reference": board.reference,
        "reference_name": reference_name(board.rows, board.reference, _HEAD) if board.reference else "",
        "differences": differences,
        "title": board.title,
        "clicks": board.unit == "rows",
        "headline": [[line, is_verdict(line)] for line in lines],
        "protocol": board.protocol,
        "notes": board.notes,
        "metrics": [{"name": metric, "sign": board.sign(metric)} for metric in board.metrics],
        "key": board.key,
        "shares": [(name, head.replace("\n", " ")) for name, head in share_heads(board)],
        "costs": [
            {**asdict(cost), "head": cost.head.replace("users", board.unit), "words": cost_words(cost.name, board.unit)}
            for cost in COST_FIELDS
            if cost.head
        ],
        "cost": {"name": board.pareto_by, "words": cost_words(board.pareto_by, board.unit)},
        "rows": [
            {
                **_row(row, labels),
                "short": brief[row.run],
                "slim": least,
                "beside": name,
                "apart": settings[row.run],
                "ahead": row.run in ahead,
            }
            for row, least, name in zip(board.rows, slim, beside, strict=True)
        ],
        "groups": [
            {
                "by": section.by,
                "group": section.group,
                "users": section.users,
                "rows": [{"run": row.run, "cells": _cells(row, labels)} for row in section.rows],
            }
            for section in board.sections
        ],
        "published": [
            {**asdict(table), "matched": [_texts(each) for each in matched_table(table, board)]}
            for table in board.published
        ],
        "variance": [_texts(table) for table in variance_tables(board)],
        "biases": [{"run": run, **rounded(facts)} for run, facts in extra.biases.items() if run in labels],
        "curves": None if extra.curves is None else _curves(extra.curves),
        "data": None if extra.profile is None else _profile(extra.profile, extra.warnings),
    }


def _family(board: Board, labels: Mapping[str, str]) -> str:
    """Return which comparisons are primary, in words."""
    if (family := board.family) is None:
        return ""
    over = family_over(board, primary=True)
    if not family.declared:
        sides = ["each language model", "each row that is neither one nor a fusion"]
    else:
        sides = [", ".join(labels[run] for run in side) for side in (family.main, family.against)]
    return f"{' against '.join(sides)}, in {', '.join(family.metrics)} ({over})"


def _texts(table: Table) -> dict[str, Any]:
    """Return a table as texts."""
    texts = [
        [f"{100 * field:.0f} %" if isinstance(field, float) else str(field) for field in column.fields]
        for column in table.columns
    ]
    labels = [row.label for row in table.rows if isinstance(row, Row)]
    return {
        "title": table.title,
        "note": table.note,
        "heads": ["row", *(column.line for column in table.columns)],
        "rows": [list(each) for each in zip(labels, *texts, strict=True)],
    }


def _curves(curves: Curves) -> dict[str, Any]:
    """Return the curves, the place of each of their values on the axis, and crossings in words."""
    ends = [{"at_words": reached(each), "interval_words": interval_words(each)} for each in curves.crossings]
    found: dict[str, Any] = rounded(curves_value(curves))
    crossings = [value | words for value, words in zip(found["crossings"], ends, strict=True)]
    axis = [[x, place, amount(x)] for x, place in positions(curves).items()]
    return found | {"name": named_over(curves), "axis": axis, "crossings": crossings}


def _profile(facts: Mapping[str, Any], warnings: Sequence[str]) -> dict[str, Any]:
    """Return what was counted in words, and the bars of the pictures: [what it is of, how many]."""
    spreads = {
        name: [list(bar) for bar in zip(bin_labels(spread["bins"]), spread["bins"], strict=True)]
        for name in ("per_user", "per_item")
        if (spread := facts[name]) is not None
    }
    return {
        "rows": profile_rows(facts),
        "warnings": list(warnings),
        **spreads,
        "ratings": [[f"{value:g}", count] for value, count in facts["ratings"]["values"]],
        "times": facts["times"],
    }


def _row(row: Row, labels: Mapping[str, str]) -> dict[str, Any]:
    known = {"run": row.run, **row.about}
    facts = [(words, _plain(known[name])) for name, words in _FACTS.items() if known.get(name) not in (None, "")]
    return {
        "run": row.run,
        "model": row.model,
        "setting": row.setting,
        "answers": answer_words(row),
        "label": row.label,
        "kind": row.kind,
        "exact": row.exact,
        "users": row.users,
        "cells": _cells(row, labels),
        "shares": rounded(row.shares),
        "history": row.about.get("history"),
        "kinds": rounded(row.kinds),
        "cost": rounded(costs(row)),
        "pareto": row.pareto,
        "memory": row.about.get("memory", ""),
        "reliability": rounded(row.about.get("reliability") or {}),
        "facts": facts + _calibration_facts(row),
    }


def _calibration_facts(row: Row) -> list[tuple[str, str]]:
    """Return how the scores of a row of labelled requests were calibrated, and its UAUC by chance, in words."""
    found, null = row.about.get("calibration"), row.about.get(NULL)
    facts = []
    if found and "temperature" not in found:
        words = f"{found['offset']:.4g} + {found['slope']:.4g} x the predicted rating"
        facts.append(("calibrated", f"{words}, on {found['rows']:,} validation rows"))
    elif found:
        temperature = "infinite" if found["temperature"] is None else f"{found['temperature']:.4g}"
        words = f"temperature {temperature}, offset {found['offset']:.4g}, threshold {found['threshold']:.4g}"
        facts.append(("calibrated", f"{words}, on {found['rows']:,} validation rows"))
    if null:
        words = f"{null['mean']:.4f} ({null['low']:.4f} to {null['high']:.4f})"
        facts.append(
            ("uauc by chance", f"{words}, {null['permutations']:,} permutations, histories {null['histories']}")
        )
    return facts


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cells(row: Row, labels: Mapping[str, str]) -> dict[str, Any]:
    values = measured(row)["metrics"]
    cells: dict[str, Any] = rounded(values)
    for metric, cell in cells.items():
        cell["mean"] = rounded(values[metric]["mean"], _MEAN_DIGITS)
        if cell["versus"]:
            cell["versus"]["against"] = labels.get(cell["versus"]["against"], cell["versus"]["against"])
    return cells


_HERE = files("llmrs_bench.report.html")
_SCRIPTS = (
    "dom",
    "board-data",
    "links",
    "table",
    "board",
    "draw",
    "differences",
    "charts",
    "groups",
    "curves",
    "bias",
    "reliability",
    "data",
    "requests",
    "theme",
    "main",
)
_VENDORED = ("d3.min.js", "plot.umd.min.js")
LICENCES = ("d3", "plot", "isoformat", "interval-tree-1d", "binary-search-bounds")


def to_html(board: Board, extra: Extra) -> str:
    """Return the board as one web page that needs no network.

    Whatever comes from data is in it as JSON, and put on the page as text alone. A Content-Security-Policy admits the
    scripts of the page, by their digests, and no request at all.

    Args:
        board: What to show.
        extra: Position bias, and a sample of requests; sections without anything to show are left out.
    """
    scripts = [_read(f"vendor/{name}") for name in _VENDORED] + [own_script(_SCRIPTS)]
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(digest(script) for script in scripts)}",
            "style-src 'unsafe-inline'",  # Observable Plot styles its drawings
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    page = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True).from_string(
        _read("assets/page.html")
    )
    requests = ""
    if extra.requests:
        from llmrs_bench.report.html.sample import packed_sample

        requests = packed_sample(board, extra)
    return page.render(
        title=board.title,
        index=extra.index,
        policy=policy,
        style=_read("assets/style.css"),
        scripts=scripts,
        board=as_json(board_payload(board, extra)),
        requests=requests,
        licences=[(name, _read(f"vendor/LICENSE-{name}")) for name in LICENCES],
    )


@cache
def _read(path: str) -> str:
    return (_HERE / path).read_text("utf-8").replace("\r\n", "\n")


def read_asset(name: str) -> str:
    """Return the text of a template or a style of pages."""
    return _read(f"assets/{name}")


def own_script(names: Sequence[str]) -> str:
    """Return parts of the code of pages as one script."""
    parts = "\n".join(_read(f"assets/{name}.js") for name in names)
    return f'"use strict";\n(() => {{\n{parts}}})();\n'


def digest(script: str) -> str:
    """Return what a policy names a script by."""
    return f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'"

"""Every format says the same of a board, and none lets a name break it."""

import csv
import html
import io
import json
import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from board_cases import board, entry
from llmrs_bench.leaderboard import Board, PublishedRow, PublishedTable
from llmrs_bench.leaderboard.gate import Change, Gate, Verdict
from llmrs_bench.report.formats import FORMATS
from llmrs_bench.report.gate import gate_json, gate_lines, to_junit, to_summary
from llmrs_bench.report.html import Extra, to_html
from llmrs_bench.report.latex import escape
from llmrs_bench.report.markdown import escape as markdown_escape
from llmrs_bench.report.terminal import to_table

NOISE = np.random.default_rng(2).normal(0, 0.1, (4, 200))
NASTY = r"a|b & 50% of $x_1^2 {\"q\"} ~#<>\cmd"
METRICS = ("ndcg@10", "mrr", "hit@1", "hit@10", "precision@10", "recall@20", "catalogue-coverage@10")


@pytest.fixture(scope="module")
def made() -> Board:
    """Return a board with a best row, an equal one, a worse one, groups, and a printed table."""
    quality = {"best": 0.5, "equal": 0.499, NASTY: 0.3}
    costs = {
        "requests": 200,
        "seconds": 4.0,
        "price_usd": 0.1,
        "history": 10,
        "prefill_tokens": 5,
        "completion_tokens": 1,
    }
    entries = [
        entry(
            name,
            dict.fromkeys(METRICS, level + NOISE[number]),
            setting=name if name == NASTY else "",
            kind="language model",
            about={**costs, "kinds": {"complete": 1, "off-list": 3}} if name == NASTY else costs,
        )
        for number, (name, level) in enumerate(quality.items())
    ]
    names = [f"r{number:04d}" for number in range(200)]
    groups = pl.DataFrame({"request_id": names, "group": ["few"] * 50 + ["many"] * 150, "order": [0] * 50 + [1] * 150})
    shown, _ = board(entries, METRICS, groups=groups, by="history")
    table = PublishedTable(
        "ranking",
        "a paper, Table 1",
        "200 users",
        ("ndcg@10", "seconds/user"),
        (PublishedRow("GPT", "big", (0.5, None)),),
    )
    return replace(shown, published=(table,), notes=("a note",))


def test_a_wide_terminal_shows_groups_printed_tables_and_more_columns(made: Board) -> None:
    texts = {}
    for width in (80, 120, 200):
        console = Console(width=width, file=io.StringIO(), highlight=False)
        console.print(to_table(made, width))
        texts[width] = console.file.getvalue()  # type: ignore[attr-defined]
        assert max(map(len, map(str.rstrip, texts[width].splitlines()))) <= width
        for metric in METRICS:
            assert metric in texts[width]
    assert "USD/1,000" in texts[200].partition("left out")[0]
    assert "=0.4" in texts[80]
    assert "few (50 users), by history" in texts[80]
    assert "printed elsewhere, not tested against: ranking" in texts[80]
    versus = made.rows[1].cells["ndcg@10"].versus
    assert versus is not None
    for text in texts.values():
        assert "vs best" in text
        assert f"{versus.difference:+.4f}" in text
    assert "complete 25 %, off-list 75 %" in " ".join(texts[200].split())


def test_rows_that_share_a_label_name_their_runs_in_every_form() -> None:
    pair = [entry(f"lm-{number}", [0.1, 0.2 * number], model="lm", setting="listwise") for number in (1, 2)]
    shown, _ = board(pair)
    console = Console(width=160, file=io.StringIO(), highlight=False)
    console.print(to_table(shown, 160))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for form in (text, FORMATS["markdown"](shown), FORMATS["latex"](shown), to_html(shown, Extra())):
        assert "listwise, run lm-1" in form


def test_markdown_marks_the_best_and_what_equals_it(made: Board) -> None:
    text = FORMATS["markdown"](made)
    rows = [line for line in text.splitlines() if line.startswith("| best")]
    assert "**0." in rows[0]
    assert re.search(r"\| equal .*\| =0\.\d{4} \[", text)
    table = [line for line in text.splitlines() if line.startswith("|")][:5]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {len(METRICS) + 10}
    assert "**printed elsewhere, not tested against: ranking. a paper, Table 1. 200 users**" in text
    assert "| GPT | big | 0.5000 |  |" in text


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        "> a &amp; b",
        "![x](https://example.org/x.png)",
        "`code` ~~gone~~ $x$",
        "__init__ *b*\n# head",
    ],
)
def test_markdown_shows_a_name_letter_by_letter(name: str) -> None:
    text = markdown_escape(name)
    bare = re.sub(r"\\[\\`*\[\]|~$#_>]", "", text)
    assert not re.search(r"^>|[<`*\[\]|~$#\n]|&(?!amp;|lt;|gt;)|(?<!\w)_|_(?!\w)", bare)
    assert html.unescape(re.sub(r"\\(?=[^a-zA-Z0-9\s])", "", text)) == " ".join(name.split())
    assert text in FORMATS["markdown"](board([entry("run", [0.1, 0.2], model=name), entry("other", [0.1, 0.3])])[0])


def test_json_holds_tests_costs_kinds_groups_and_printed_tables(made: Board) -> None:
    found = json.loads(FORMATS["json"](made))
    worst = found["rows"][-1]
    assert worst["kinds"] == {"complete": 0.25, "off-list": 0.75}
    assert worst["cost"]["price_per_1000"] == pytest.approx(0.5)
    versus = worst["metrics"]["mrr"]["versus"]
    assert versus["corrected"] >= versus["p"]
    assert versus["wins"] + versus["ties"] + versus["losses"] == versus["users"] == 200
    assert [(group["group"], group["users"]) for group in found["groups"]] == [("few", 50), ("many", 150)]
    assert found["published"][0]["rows"] == [{"model": "GPT", "setting": "big", "values": [0.5, None]}]
    assert found["tests"] == made.tests == 3 * len(METRICS) * 3


def test_csv_has_a_line_for_every_row_and_group(made: Board) -> None:
    lines = list(csv.DictReader(io.StringIO(FORMATS["csv"](made))))
    assert [(line["group"], line["model"]) for line in lines] == [
        (group, row.model)
        for group, rows in [("", made.rows), *((s.group, s.rows) for s in made.sections)]
        for row in rows
    ]
    assert lines[2]["kind_off-list"] == "0.75"
    assert float(lines[2]["mrr_corrected"]) == made.rows[2].cells["mrr"].versus.corrected  # type: ignore[union-attr]


def test_latex_is_balanced_escaped_and_marked(made: Board) -> None:
    text = FORMATS["latex"](made)
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 5
    assert text.count(r"\toprule") == text.count(r"\midrule") == text.count(r"\bottomrule") == 5
    for line in text.splitlines():
        bare = line.replace(r"\{", "").replace(r"\}", "")
        assert bare.count("{") == bare.count("}")
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert all(len(re.findall(r"(?<!\\)&", line)) in (len(METRICS), 4, 2) for line in body)
    best = next(line for line in body if line.startswith("best"))
    equal = next(line for line in body if line.startswith("equal"))
    assert best.count(r"\textbf") == len(METRICS)
    assert equal.count(r"\underline") == len(METRICS)
    assert equal.count("$^{=}$") == len(METRICS)
    assert escape(NASTY) in text
    assert NASTY not in text


def test_latex_escapes_every_special_character() -> None:
    assert escape("50% & $_{}#~^\\") == r"50\% \& \$\_\{\}\#\textasciitilde{}\textasciicircum{}\textbackslash{}"


def gate() -> Gate:
    change = Change("run", "a|b", "old", "ndcg@10", 0.5, 0.4, -0.1, 0.0004, -0.3, 200)
    fail = Verdict("ndcg@10 drops > 0.01 at p < 0.05", "run", "a|b", True, "ndcg@10", 0.4, 0.01, 0.5, 0.0004)
    good = Verdict("seconds > 100", "run", "a|b", False, "seconds", 4.0, 100.0)
    return Gate("old.parquet", (change,), (fail, good), ("one row is new",))


def test_junit_has_a_case_for_every_verdict(made: Board) -> None:
    suite = ElementTree.fromstring(to_junit(made, gate())).find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    cases = suite.findall("testcase")
    assert [(case.get("classname"), case.find("failure") is not None) for case in cases] == [
        ("a|b", True),
        ("a|b", False),
    ]
    assert "is 0.4, was 0.5, uncorrected p <.001" in (cases[0].find("failure").get("message") or "")  # type: ignore[union-attr]


def test_a_summary_has_failures_first_and_only_what_changed_beyond_noise(made: Board) -> None:
    found = gate()
    noise = replace(found.changes[0], row="steady", p=0.4)
    turned = replace(found, verdicts=found.verdicts[::-1], changes=(noise, *found.changes))
    summary = to_summary(made, turned, "https://example.org/runs/1#artifacts")
    verdicts = [line for line in summary.splitlines() if line.startswith(("| **fail**", "| pass"))]
    assert [line.split()[1] for line in verdicts] == ["**fail**", "pass"]
    assert "beyond noise (uncorrected p <.05); 1 of 2 differences are within noise:" in summary
    assert "| row | metric | before | now | difference | uncorrected p |" in summary
    assert "\nUncorrected p: of the test of that row and metric alone, which is what rules read; the" in summary
    assert "| steady |" not in summary
    assert "[The page of this board](https://example.org/runs/1#artifacts)" in summary
    assert "The page of this board: `board.html`" in to_summary(made, turned, "board.html")
    quiet = to_summary(made, replace(found, changes=(noise,)))
    assert "on common requests: 1 of 1 differences are within noise (uncorrected p not below .05)." in quiet
    assert "<details><summary>1 verdict that passes</summary>" in quiet
    assert "| row | metric |" not in quiet
    assert "The page" not in quiet


def test_verdicts_as_lines_json_and_markdown(made: Board) -> None:
    lines = gate_lines(gate())
    assert [line[:4] for line in lines[:2]] == ["FAIL", "pass"]
    assert lines[2] == "a|b: ndcg@10 0.4000, old had 0.5000: -0.1000 (uncorrected p <.001, d -0.30, 200 users)"
    assert lines[-1].startswith("uncorrected p: of the test of that row and metric alone, which is what rules read; ")
    found = json.loads(gate_json(gate()))
    assert found["passed"] is False
    assert [verdict["failed"] for verdict in found["verdicts"]] == [True, False]
    summary = to_summary(made, gate())
    assert summary.startswith("## llmrs-bench: gate failed, 1 of 2 verdicts\n")
    assert r"| **fail** | a\|b | `ndcg@10 drops > 0.01 at p < 0.05` |" in summary
    assert "one row is new" in summary
    assert "1 of 2 verdicts" in summary
    assert "<details>" in summary

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
# Means of users that are no share of them, which print as 1.000.
NEARLY_ONE = np.where(np.arange(50) > 0, 1.0, 0.9999)
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


def test_the_terminal_board_fits_and_grows(made: Board) -> None:
    widths, texts = {}, {}
    for width in (80, 120, 200):
        console = Console(width=width, file=io.StringIO(), highlight=False)
        console.print(to_table(made, width))
        texts[width] = console.file.getvalue()  # type: ignore[attr-defined]
        widths[width] = max(map(len, map(str.rstrip, texts[width].splitlines())))
        assert widths[width] <= width
        assert "…" not in texts[width]
        for metric in METRICS:
            assert metric in texts[width]
    assert [texts[width].count("answered") for width in (80, 120, 200)] == [3, 2, 1]
    assert texts[200].count("best") < texts[80].count("best")  # fewer tables, for more metrics fit beside each other
    assert "tokens" in texts[200]
    assert "=0.4" in texts[80]
    assert "few (50 users), by history" in texts[80]
    assert "printed elsewhere, not tested against: ranking" in texts[80]
    versus = made.rows[1].cells["ndcg@10"].versus
    assert versus is not None
    for text in texts.values():
        assert "against the best in ndcg@10, on the same users" in text
        assert f"{versus.difference:+.4f}" in text
        assert f"{versus.wins}/{versus.ties}/{versus.losses}" in text
        assert f"{versus.needed:,}" in text
    assert "complete 25 %, off-list 75 %" in " ".join(texts[200].split())


def test_a_board_of_80_columns_says_what_its_columns_are_and_holds_full_intervals() -> None:
    ones = dict.fromkeys(("hit@1", "ndcg@10", "hit@10", "mrr"), NEARLY_ONE)
    zeros = {name: values - 0.5 for name, values in ones.items()}
    shown, _ = board([entry("a-model", ones, setting="k=1, " * 9), entry("other", zeros)], tuple(ones))
    console = Console(width=80, file=io.StringIO(), highlight=False)
    console.print(to_table(shown, 80))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= 80
    assert sum(line.split().count("1.000-1.000") for line in lines) == 4
    heads = " ".join(" ".join(lines).split())
    for words in ("history answered", "corrected Cohen's won/ users for", "tied/lost 80 % power"):
        assert words in heads
    assert heads.count("target ranked,") == heads.count("history answered")


def test_rows_that_share_a_label_name_their_runs_in_every_form() -> None:
    pair = [entry(f"lm-{number}", [0.1, 0.2 * number], model="lm", setting="listwise") for number in (1, 2)]
    shown, _ = board(pair)
    console = Console(width=120, file=io.StringIO(), highlight=False)
    console.print(to_table(shown, 120))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for form in (text, FORMATS["markdown"](shown), FORMATS["latex"](shown), to_html(shown, Extra())):
        assert "listwise, run lm-1" in form


def test_markdown_marks_the_best_and_what_equals_it(made: Board) -> None:
    text = FORMATS["markdown"](made)
    rows = [line for line in text.splitlines() if line.startswith("| best")]
    assert "**0." in rows[0]
    assert re.search(r"\| equal .*\| =0\.\d{4} \[", text)
    table = [line for line in text.splitlines() if line.startswith("|")][:5]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {len(METRICS) + 12}
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
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 4
    assert text.count(r"\toprule") == text.count(r"\midrule") == text.count(r"\bottomrule") == 4
    for line in text.splitlines():
        bare = line.replace(r"\{", "").replace(r"\}", "")
        assert bare.count("{") == bare.count("}")
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert all(len(re.findall(r"(?<!\\)&", line)) in (len(METRICS) + 1, 3) for line in body)
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
    assert "is 0.4, was 0.5, p <.001" in (cases[0].find("failure").get("message") or "")  # type: ignore[union-attr]


def test_verdicts_as_lines_json_and_markdown(made: Board) -> None:
    lines = gate_lines(gate())
    assert [line[:4] for line in lines[:2]] == ["FAIL", "pass"]
    assert lines[2] == "a|b: ndcg@10 0.4000, old had 0.5000: -0.1000 (p <.001, d -0.30, 200 users)"
    found = json.loads(gate_json(gate()))
    assert found["passed"] is False
    assert [verdict["failed"] for verdict in found["verdicts"]] == [True, False]
    summary = to_summary(made, gate())
    assert summary.startswith("## llmrs-bench: gate failed, 1 of 2 verdicts\n")
    assert r"| **fail** | a\|b | `ndcg@10 drops > 0.01 at p < 0.05` |" in summary
    assert "one row is new" in summary
    assert "<details>" in summary


def test_options_below_a_name_stay_indented_and_their_values_whole() -> None:
    ones = dict.fromkeys(("hit@1", "ndcg@10", "hit@10", "mrr"), NEARLY_ONE)
    zeros = {name: values - 0.5 for name, values in ones.items()}
    long = "train_fraction=0.0625, max_history=12345678"
    shown, _ = board([entry("a-model", ones, setting=long), entry("other", zeros)], tuple(ones))
    console = Console(width=80, file=io.StringIO(), highlight=False)
    console.print(to_table(shown, 80))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    lines = text[text.index("\nmodel ") :].splitlines()  # below the headline, in which names are words among others
    below = {line.split()[0] for line in lines if line.startswith("  ") and line.strip()}
    assert {"train_fraction=", "0.0625,", "max_history=12345678"} <= below
    assert not any(re.match(r"train|max_h|=?0\.0625|=?1234", line) for line in lines)

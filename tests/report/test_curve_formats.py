"""Curves as people and machines read them: a picture of letters, tables, records, and the page."""

import csv
import json
from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from board_cases import board, entry
from curve_cases import USERS, curves, trained, tuned
from llmrs_bench.leaderboard.curves import Crossing, Curves
from llmrs_bench.report.curves import (
    CURVE_FORMATS,
    amount,
    curves_json,
    curves_table,
    end_words,
    interval_words,
    positions,
    reach_words,
    reached,
)
from llmrs_bench.report.html import Extra, to_html
from llmrs_bench.report.table import p_value

ENTRIES = [
    *(tuned(n, mean) for n, mean in ((0, 0.3), (16, 0.32), (256, 0.4))),
    *(trained("sasrec", 0.1 + n / 1000, words={"train_samples": n}, seed=seed) for n in (16, 256) for seed in (0, 1)),
    entry("chance", np.full(USERS, 0.1), kind="baseline", exact=True),
]


@pytest.fixture(scope="module")
def made() -> Curves:
    return curves(ENTRIES)


def printed(made: Curves, width: int) -> list[str]:
    console = Console(width=width, file=StringIO())
    with console.capture() as capture:
        console.print(curves_table(made, width))
    return capture.get().splitlines()


def test_the_picture_fits_and_puts_letters_where_values_are(made: Curves) -> None:
    lines = printed(made, 80)
    assert max(map(len, lines)) <= 80
    axis = next(at for at, line in enumerate(lines) if "+-----" in line)
    picture, ticks = lines[axis - 15 : axis], lines[axis + 1]
    assert picture[0].startswith("  .4000 |")
    assert picture[0].endswith("A")
    assert picture[-1].startswith("  .1000 |")
    assert picture[-1].endswith("- a")  # chance, beside its line
    assert sum(line.count("A") for line in picture) == 3
    assert sum(line.count("B") for line in picture) == 2
    assert ticks.split() == ["0", "16", "256"]
    lowest = next(line for line in reversed(picture) if "B" in line)
    assert abs(lowest.index("B") - ticks.index("16")) <= 1  # a letter stands above the value of its point
    assert any(line.startswith("A smol+lora (label)") for line in lines)
    assert any(line.startswith("a chance") and "0.1000" in line for line in lines)


@pytest.mark.parametrize("width", [44, 60, 100])
def test_a_test_of_a_point_is_shown_whole_or_named(made: Curves, width: int) -> None:
    lines = printed(made, width)
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    left = text.partition("left out: ")[2].partition(";")[0].split(", ")
    points = [point for curve in made.curves for point in curve.points if point.difference is not None]
    for head, digits in (("difference", "{:+.4f}"), ("corrected p", "")):
        shown = [digits.format(point.difference) if digits else p_value(point.corrected or 0.0) for point in points]
        assert all(each in text for each in shown) or head in left
    assert ("corrected p" in left) <= ("p" in left)  # the raw one goes first


@pytest.mark.parametrize(
    ("at", "whole", "said"),
    [
        (0.05, True, "reaches lm at known events 1 (95 % interval: 0 to 3)"),
        (2.0, True, "reaches lm at known events 2 (95 % interval: 0 to 3)"),
        (1234.5, True, "reaches lm at known events 1,240 (95 % interval: 0 to 3)"),
        (0.05, False, "reaches lm at known events 0.05 (95 % interval: 0 to 2.5)"),
        (float("inf"), True, "does not reach lm up to known events 10 (95 % interval: 0 to 3)"),
        (float("-inf"), True, "is not below lm even at known events 0 (95 % interval: 0 to 3)"),
    ],
)
def test_a_count_is_reached_at_a_whole_number(at: float, whole: bool, said: str) -> None:
    found = Crossing("ndcg@10", "sasrec", "lm", 0.0, 10.0, at, 0.0, 2.5, (0.0, 1.0, 0.0), whole)
    assert reach_words(found, "known events") == f"sasrec {said}"
    again = replace(found, below=(3.0, 5.0))
    assert reach_words(again, "known events") == f"sasrec {said.replace('even ', '')}, but is below it at 3 and 5"
    assert reached(again) == f"{end_words(found, at)}, but below at 3 and 5"


@pytest.mark.parametrize(
    ("first", "least", "both", "low"),
    [
        (0.0, 0.0, "from 0 on", "0 to 3"),
        (1.0, 1.0, "from 1 on", "1 to 3"),
        (16.0, 0.0, "less than 16", "less than 16 to 3"),
    ],
)
def test_nothing_is_less_than_the_least_value(first: float, least: float, both: str, low: str) -> None:
    below = float("-inf")
    found = Crossing("ndcg@10", "sasrec", "lm", first, 20.0, below, below, below, (1.0, 0.0, 0.0), True, least=least)
    assert (reached(found), interval_words(found)) == (both, both)
    assert interval_words(replace(found, high=2.5)) == low
    assert (
        "least"
        not in json.loads(curves_json(replace(curves([tuned(16, 0.3), tuned(64, 0.4)]), crossings=(found,))))[
            "crossings"
        ][0]
    )


def test_points_in_one_place_are_a_star() -> None:
    both = [*(tuned(n, mean) for n, mean in ((16, 0.3), (64, 0.4))), *(tuned(n, 0.3, rank=4) for n in (16, 64))]
    lines = printed(curves(both), 60)
    assert any("|*" in line for line in lines)
    assert max(map(len, lines)) <= 60


def test_equal_values_and_shares_can_be_drawn() -> None:
    flat = curves([trained("sasrec", 0.3, words={"train_fraction": share}) for share in (0.1, 0.25)], "train-fraction")
    assert not flat.logarithmic
    lines = printed(flat, 80)
    assert any(line.startswith("  .3000 |A") and line.endswith("A") for line in lines)
    assert any("0.25" in line for line in lines)
    assert [amount(x) for x in (0.05, 0.25, 16.0, 33891.0)] == ["0.05", "0.25", "16", "33,891"]


def test_zero_stands_apart_on_a_logarithmic_axis(made: Curves) -> None:
    places = positions(made)
    assert made.logarithmic
    assert places[0.0] == 0.0
    assert places[256.0] == 1.0
    assert 0.1 < places[16.0] < 0.12
    assert positions(curves([tuned(0, 0.3), tuned(16, 0.3), tuned(32, 0.3)]))[16.0] == 0.5  # no decade: linear


def test_json_holds_points_lines_and_crossings(made: Curves) -> None:
    value = json.loads(CURVE_FORMATS["json"](made))
    assert (value["over"], value["logarithmic"], value["metrics"]) == ("samples", True, ["ndcg@10"])
    smol, sasrec = value["curves"]
    assert [point["x"] for point in smol["points"]] == [0, 16, 256]
    assert [point["mean"] for point in smol["points"]] == pytest.approx([0.3, 0.32, 0.4])
    point = smol["points"][1]
    assert point["low"] < point["mean"] < point["high"]
    assert (point["users"], point["seeds"], point["spread"]) == (USERS, 1, None)
    assert point["difference"] == pytest.approx(0.02)
    assert 0 < point["p"] <= point["corrected"]
    assert [point["seeds"] for point in sasrec["points"]] == [2, 2]
    (chance,) = value["levels"]
    assert (chance["row"], chance["kind"], chance["exact"], chance["runs"]) == ("chance", "baseline", True, ["chance"])
    assert chance["low"] == chance["high"] == chance["mean"] == pytest.approx(0.1)
    (crossing,) = value["crossings"]
    assert (crossing["curve"], crossing["other"]) == ("sasrec", "smol+lora (label)")
    assert (crossing["at"], crossing["outcome"], crossing["last"]) == (None, "none", 256)
    assert crossing["shares"] == {"below": 0.0, "crosses": 0.0, "none": 1.0}


def test_csv_has_a_line_for_each_point_and_line(made: Curves) -> None:
    rows = list(csv.DictReader(StringIO(CURVE_FORMATS["csv"](made))))
    assert [(row["curve"], row["x"]) for row in rows] == [
        *(("smol+lora (label)", x) for x in ("0.0", "16.0", "256.0")),
        *(("sasrec", x) for x in ("16.0", "256.0")),
        ("chance", ""),
    ]
    assert float(rows[2]["mean"]) == pytest.approx(0.4)
    assert float(rows[2]["difference"]) == pytest.approx(0.1)
    assert len(rows[3]["runs"].split()) == 2


def test_markdown_and_latex_hold_the_numbers(made: Curves) -> None:
    for form in ("markdown", "latex"):
        text = CURVE_FORMATS[form](made)
        assert "256" in text
        assert "0.4000" in text
    assert "% sasrec does not reach smol+lora (label) up to samples 256" in CURVE_FORMATS["latex"](made)
    assert "| sasrec | smol+lora (label) | none up to 256 | none up to 256 |" in CURVE_FORMATS["markdown"](made)
    assert r"corrected p \\" in CURVE_FORMATS["latex"](made)


class _Data(HTMLParser):
    """What the page holds as JSON."""

    inside = False
    text = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.inside = ("id", "board-data") in attributes

    def handle_data(self, data: str) -> None:
        self.text += data if self.inside else ""


def page_values(page: str) -> Any:
    reader = _Data()
    reader.feed(page)
    return json.loads(reader.text)


def test_the_page_holds_the_values(made: Curves) -> None:
    shown = page_values(to_html(board(ENTRIES)[0], Extra(curves=made)))["curves"]
    assert [point["mean"] for point in shown["curves"][0]["points"]] == pytest.approx([0.3, 0.32, 0.4])
    assert [(x, text) for x, _, text in shown["axis"]] == [(0, "0"), (16, "16"), (256, "256")]
    assert shown["crossings"][0]["at_words"] == shown["crossings"][0]["interval_words"] == "none up to 256"
    assert page_values(to_html(board(ENTRIES)[0], Extra()))["curves"] is None

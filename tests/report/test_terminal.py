"""A board in a terminal of four widths: one line a row, and what has no room is named."""

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from board_cases import board, entry
from llmrs_bench.leaderboard import Board, EvaluatedRun
from llmrs_bench.report.headline import headline
from llmrs_bench.report.html import Extra
from llmrs_bench.report.html.page import board_payload
from llmrs_bench.report.table import column_words
from llmrs_bench.report.terminal import grid, to_table

USERS = 80
METRICS = ("hit@1", "ndcg@10", "hit@10", "mrr")
MODEL = "SmolLM2-135M-Instruct.Q4_1"
LM = "language model"
WIDTHS = (60, 80, 120, 200)


def row(model: str, level: float, kind: str, setting: str = "", **about: Any) -> EvaluatedRun:
    """Return a row of values in steps of 1/4, so that sums are exact on every machine."""
    draws = np.random.default_rng([*model.encode(), *setting.encode()]).random((len(METRICS), USERS))
    values = {metric: np.round(4 * (draw < level) * draw) / 4 for metric, draw in zip(METRICS, draws, strict=True)}
    costs = {"requests": USERS, "seconds": 8.0, "scoring_seconds": 8.0, "history": 10}
    return entry(f"{model}{setting}", values, model=model, kind=kind, setting=setting, about=costs | about)


@pytest.fixture(scope="module")
def made() -> Board:
    choices = {"shown": 20, "orders": 80, "repeats": 0, "first": "A", "first_count": 80, "answers": 80}
    tokens = {"prefill_tokens": 190_844, "completion_tokens": 0}
    return board(
        [
            row("sasrec", 0.95, "recommender", seconds=48.0),
            row("popularity", 0.6, "baseline"),
            row(MODEL, 0.8, LM, "likelihood", **tokens),
            row(MODEL, 0.7, LM, "likelihood, per token", **tokens),
            row(MODEL, 0.3, LM, "label", first_choices=choices, **tokens),
            row("fused", 1.0, "fusion", "sasrec + likelihood"),
        ],
        METRICS,
    )[0]


def shown(made: Board, width: int, **options: Any) -> list[str]:
    console = Console(width=width, file=io.StringIO(), highlight=False, emoji=False)
    console.print(to_table(made, width, **options))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined,no-any-return]


def body(lines: list[str]) -> list[str]:
    """Return the head and the rows of the board."""
    start = next(number for number, line in enumerate(lines) if line.startswith("model "))
    return [lines[start].rstrip(), *(line.rstrip() for line in lines[start + 2 : start + 8])]


SNAPSHOTS = {
    int(width): text.strip("\n")
    for width, text in re.findall(
        r"== (\d+) ==\n(.*?)(?=== \d|\Z)", Path(__file__).with_name("terminal_boards.txt").read_text("utf-8"), re.DOTALL
    )
}


@pytest.mark.parametrize("width", WIDTHS)
def test_the_board_looks_as_it_was_looked_at(made: Board, width: int) -> None:
    lines = shown(made, width)
    assert max(map(len, lines)) <= width
    assert "\n".join(body(lines)) == SNAPSHOTS[width]


def test_what_has_no_room_is_named_and_short_names_have_a_key(made: Board) -> None:
    for width in WIDTHS:
        lines = shown(made, width)
        text = " ".join(" ".join(lines).split())
        heads = head_words(body(lines)[0])
        left = text.partition("left out: ")[2].partition(";")[0]
        for metric in METRICS:
            assert (metric in heads) != bool(re.search(rf"{metric}(,|$)", left.partition("95 % intervals")[0]))
        short = [re.split(r" \*|  +", line)[0] for line in body(lines)[1:]]
        assert len(set(short)) == 6
        for name in short:
            if ".." in name:
                assert f"{name} = " in text
        for head, words in column_words(made).items():
            assert (f"{head}: {words}" in text) == (head in heads)
        assert ("= not distinguishable" in text) == (re.search(r"  =", "\n".join(body(lines))) is not None)


@pytest.mark.parametrize(
    "models",
    [
        ("mock",),
        ("SmolLM2-135M-Instruct",),
        ("SmolLM2-135M-Instruct+lora-512",),
        ("SmolLM2-135M-Instruct", "SmolLM2-360M-Instruct"),
    ],
)
def test_names_say_what_sets_rows_apart_at_80_columns(models: tuple[str, ...]) -> None:
    rows = [
        row(model, 0.1 * number, LM, setting + limit)
        for number, model in enumerate(models, 1)
        for setting in ("likelihood", "yes-no")
        for limit in ("", ", first 6 requests")
    ]
    made = board([row("sasrec", 0.95, "recommender"), *rows])[0]
    lines = shown(made, 80)
    start = next(number for number, line in enumerate(lines) if line.startswith("model ")) + 2
    names = [re.split(r" \*|  +", line)[0] for line in lines[start : start + len(made.rows)]]
    assert len(set(names)) == len(made.rows)
    assert not any("~" in name for name in names)
    for each, name in zip(made.rows, names, strict=True):
        assert ("first 6" in name) == ("first 6" in each.setting)
        assert each.kind != LM or ("yes-no" if "yes-no" in each.setting else "like") in name
        assert len(models) == 1 or each.kind != LM or re.search(r"\d{3}M", each.model)[0] in name  # type: ignore[index]


def test_differences_are_from_the_row_that_the_gate_holds_all_against(made: Board) -> None:
    label, per_token = (
        next(row for row in made.rows if row.setting == each) for each in ("label", "likelihood, per token")
    )
    held = replace(made, baseline=label.run)
    lines = shown(held, 120)
    assert "vs ..label" in head_words(body(lines)[0])  # three rows have that model
    assert f"vs: difference from {MODEL} (label) in ndcg@10" in " ".join(" ".join(lines).split())
    named = next(line for line in body(lines) if "per token" in line)
    assert f"{per_token.cells['ndcg@10'].mean - label.cells['ndcg@10'].mean:+.4f}" in named
    assert "vs popularity" in head_words(body(shown(replace(made, baseline="popularity"), 120))[0])
    assert board_payload(held, Extra())["reference_name"] == "Smol.. (label)"


def head_words(line: str) -> list[str]:
    """Return the heads of the columns of a board."""
    return re.split(r"  +", line)


def test_a_difference_has_a_sign_a_colour_and_a_p_of_its_family(made: Board) -> None:
    console = Console(width=120, file=io.StringIO(), force_terminal=True, color_system="standard", highlight=False)
    console.print(to_table(made, 120))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert made.family is not None
    for row in made.rows:
        found = row.cells["ndcg@10"].versus
        if found is None:
            continue
        colour = "\x1b[2m" if found.corrected >= 0.05 else "\x1b[31m" if found.difference < 0 else "\x1b[32m"
        assert re.search(re.escape(colour) + r" *" + re.escape(f"{found.difference:+.4f}"), text)
    plain = " ".join(" ".join(shown(made, 120)).split())
    primary = [pair for pair in made.differences if pair.primary]
    assert len(primary) == made.family.pairs == 6
    assert "p in brackets: of an exploratory comparison (" in plain
    assert re.search(r"popularity .* \((<\.001|≤?[01]?\.\d{3})\)", "\n".join(body(shown(made, 120))))


def test_the_protocol_is_short_unless_it_is_asked_for(made: Board) -> None:
    lines = shown(made, 200)
    assert "... and 2 more lines: add --protocol" in lines
    whole = shown(made, 200, protocol=True)
    assert not any("--protocol" in line for line in whole)
    for line in made.protocol:
        assert line in whole


def test_answers_stand_below_the_board_and_the_headline_above(made: Board) -> None:
    lines = shown(made, 200)
    assert lines[1 : 1 + len(headline(made))] == headline(made)
    assert f"{MODEL} (label): A is put first in 100 %" in lines


def test_a_declared_row_is_what_all_others_are_held_against() -> None:
    runs = [row("lm", 0.8, LM), row("sasrec", 0.95, "recommender"), row("itemknn", 0.5, "recommender")]
    lines = shown(board(runs, METRICS, against=("itemknn",))[0], 120)
    assert re.search(r"vs itemknn", body([*lines, *[""] * 9])[0])
    assert any(re.match(r"itemknn .* -  ", line) for line in lines)
    both = shown(board(runs, METRICS, against=("itemknn", "sasrec"))[0], 120)
    assert "primary: against sasrec in ndcg@10, on the same users (Holm over 2 primary pairs)" in both


@pytest.mark.parametrize(("width", "there"), [(60, True), (40, False)])
def test_numbers_without_room_are_left_out_and_named(width: int, there: bool) -> None:
    table = grid(["slope of"], ["difference", "p", "corrected\np"])
    table.add_row("itemknn, retrain=each, train_fraction=0.25", "+0.0123\n.001-.002", ".0031", "<.0012")
    console = Console(width=width, file=io.StringIO(), highlight=False)
    console.print(table)
    text = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    assert (".0031" in text) == there
    assert "<.0012" in text
    assert ("left out: p; a wider terminal" in text) != there


def test_an_uncorrected_p_is_never_shown_alone() -> None:
    runs = [row("lm", 0.8, LM), row("sasrec", 0.95, "recommender"), row("itemknn", 0.5, "recommender")]
    made = board(runs, METRICS, against=("itemknn", "sasrec"))[0]
    seen = set()
    for width in range(36, 120, 3):
        heads = [line for line in shown(made, width) if line.startswith("model ") and "vs " not in line]
        assert heads
        for head in heads:
            named = re.split(r"  +", head.strip())
            assert ("p" in named) <= ("corrected p" in named) <= ("difference" in named)
            seen |= {("p" in named, "corrected p" in named)}
    assert seen == {(False, True), (True, True)}

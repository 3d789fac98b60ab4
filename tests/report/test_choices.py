"""What answers have in common more often than chance allows."""

import json

import pytest
from rich.console import Console

from board_cases import board, entry
from llmrs_bench.report.formats import FORMATS
from llmrs_bench.report.html import Extra, to_html
from llmrs_bench.report.terminal import to_table
from llmrs_bench.report.words import choice_words, is_beyond_chance


def facts(**changed: object) -> dict[str, object]:
    return {"answers": 40, "first": "A", "first_count": 2, "shown": 20, "orders": 40, "repeats": 0, **changed}


def test_a_run_without_first_choices_or_within_chance_has_no_words() -> None:
    assert choice_words(None) == []
    assert choice_words(facts()) == []
    assert choice_words(facts(first_count=4, repeats=1)) == []  # a tenth of what could be above chance


def test_answers_that_repeat_the_order_shown_or_choose_one_place_are_told() -> None:
    assert choice_words(facts(first="1", first_count=39, repeats=39)) == [
        "97.5 % repeat the order shown",
        "1 is put first in 97.5 %",
    ]
    assert choice_words(facts(first_count=40, orders=0)) == ["A is put first in 100 %"]


def test_five_answers_of_five_are_enough_and_two_of_two_are_not() -> None:
    five = facts(answers=5, first="1", first_count=5, orders=5, repeats=5)
    assert len(choice_words(five)) == 2
    assert not is_beyond_chance(2, 2, chance=0.5, cases=2)


@pytest.mark.parametrize(
    ("count", "total", "chance", "beyond"),
    [
        (700, 10_000, 0.05, False),  # certain, and yet no matter
        (1_500, 10_000, 0.05, True),
        (0, 0, 0.05, False),
        (520, 1_000, 0.5, False),
        (620, 1_000, 0.5, True),
    ],
)
def test_a_share_counts_where_it_is_both_certain_and_large(count: int, total: int, chance: float, beyond: bool) -> None:
    assert is_beyond_chance(count, total, chance=chance, cases=round(1 / chance)) == beyond


def test_every_form_of_the_board_marks_them() -> None:
    about = {"kinds": {"complete": 40}, "first_choices": facts(first="3", first_count=40, repeats=0)}
    made = board([entry("model", [0.1, 0.3], about=about), entry("other", [0.2, 0.2])])[0]
    words = "3 is put first in 100 %"
    terminal = Console(width=120)
    with terminal.capture() as shown:
        terminal.print(to_table(made, 120))
    assert words in shown.get()
    assert words in FORMATS["markdown"](made)
    assert [row["answers"] for row in json.loads(FORMATS["json"](made))["rows"]].count(words) == 1
    assert words in to_html(made, Extra())

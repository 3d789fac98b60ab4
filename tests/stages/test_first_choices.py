"""Counting answers that repeat the order shown, and first places."""

from llmrs_bench.core.types import Listed, Message, Prompt, Response
from llmrs_bench.stages.infer_language_model import FirstChoices

SHOWN = ("a", "b", "c", "d")
ASK = (Message("user", "Rank."),)


def written(text: str) -> tuple[Prompt, Response]:
    listed = Listed(("1", "2", "3", "4"), ("Heat", "Alien", "Jaws", "Up"))
    return Prompt("r", "r", ASK, SHOWN, listed=listed), Response("r", text, None, 0, 0, 0, "stop")


def lettered(*logprobs: float) -> tuple[Prompt, Response]:
    prompt = Prompt("r", "r", ASK, SHOWN, choices=(" A", " B", " C", " D"), labels=True)
    return prompt, Response("r", None, tuple((value,) for value in logprobs), 0, 0, 0, "choices")


def test_orders_that_begin_as_shown_are_counted() -> None:
    counts = FirstChoices()
    counts.add([written("1, 2, 3, 4"), written("1, 2, 3"), written("1, 3, 2, 4"), written("2, 1"), written("none")])
    assert counts.facts() == {"answers": 4, "first": "1", "first_count": 3, "shown": 4, "orders": 3, "repeats": 2}


def test_the_likeliest_letter_is_a_first_choice_unless_two_are() -> None:
    counts = FirstChoices()
    counts.add([lettered(-3, -1, -2, -4), lettered(-3, -1, -2, -1.5), lettered(-1, -1, -2, -2)])
    assert counts.facts() == {"answers": 2, "first": "B", "first_count": 2, "shown": 4, "orders": 0, "repeats": 0}


def test_prompts_that_show_one_candidate_have_no_first_choice() -> None:
    counts = FirstChoices()
    alone = Prompt("r", "r", ASK, ("a",), choices=(" Yes", " No"), labels=True)
    counts.add([(alone, Response("r", None, ((-1.0,), (-2.0,)), 0, 0, 0, "choices"))])
    assert counts.facts() is None

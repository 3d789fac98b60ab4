"""Any text is read without an error, and every permutation is read back."""

import json
from collections.abc import Callable
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from answer_lists import FILMS, PAST, SHORT, letters, numbers
from llmrs_bench.core.types import Kind, Listed
from llmrs_bench.prompts.parsing.answer import parse_ranking

HARD = (
    "[" * 100_000,
    '{"a":' * 100_000,
    '["' * 50_000,
    "((" * 50_000,
    "1. " * 30_000,
    "a, " * 30_000,
    "9" * 100_000,
    f"[{'9' * 10_000}]",
    "&#" + "9" * 10_000 + ";",
    "**" * 50_000,
    "| " * 50_000,
    "- " * 50_000,
    "1" + " " * 100_000 + "x",
    "I'm sorry " * 10_000,
    "²\n٣\n\0\n①\n\ud800",
    "[NaN, Infinity, -Infinity, 1e999, true, null]",
    "a:" * 50_000,
)
WORDS = st.sampled_from(
    ["1", "2", "9", ". ", ", ", "\n", "[", "]", "{", "}", '"', ":", "|", "**", "- ", "(1995)", "Heat", "Toy Story", "A"]
)


@given(st.one_of(st.text(), st.lists(WORDS).map("".join)), st.booleans(), st.booleans())
def test_any_text_is_read_without_an_error(text: str, cut: bool, by_letter: bool) -> None:
    ranking = parse_ranking(text, letters(SHORT) if by_letter else numbers(SHORT, PAST), cut=cut)
    assert len(set(ranking.order)) == len(ranking.order)
    assert set(ranking.order) <= set(range(5))
    assert ranking.kind in get_args(Kind)
    assert ranking.order or ranking.kind not in {"complete", "partial", "duplicates"}
    assert len(ranking.order) == 5 or ranking.kind != "complete"


@pytest.mark.parametrize("text", HARD, ids=lambda text: repr(text[:8]))
def test_hard_texts_name_no_five_candidates(text: str) -> None:
    assert len(parse_ranking(text, numbers(SHORT)).order) < 5


STYLES: dict[str, Callable[[Listed, list[int]], str]] = {
    "comma labels": lambda shown, order: ", ".join(shown.labels[place] for place in order),
    "label lines": lambda shown, order: "\n".join(shown.labels[place] for place in order),
    "greater": lambda shown, order: " > ".join(f"[{shown.labels[place]}]" for place in order),
    "rank: [label]": lambda shown, order: "\n".join(f"{n}: [{shown.labels[at]}]" for n, at in enumerate(order, 1)),
    "titles": lambda shown, order: "\n".join(shown.titles[place] for place in order),
    "numbered": lambda shown, order: "\n".join(f"{n}. {shown.titles[at]}" for n, at in enumerate(order, 1)),
    "bold": lambda shown, order: "\n".join(f"{n}. **{shown.titles[at]}** - Good." for n, at in enumerate(order, 1)),
    "bullets": lambda shown, order: "\n".join(f"- {shown.titles[place]}" for place in order),
    "labelled": lambda shown, order: "\n".join(f"[{shown.labels[at]}] {shown.titles[at]}" for at in order),
    "table": lambda shown, order: "\n".join(f"| {n} | {shown.titles[at]} |" for n, at in enumerate(order, 1)),
    "JSON titles": lambda shown, order: json.dumps([shown.titles[place] for place in order]),
    "JSON labels": lambda shown, order: json.dumps({"ranking": [shown.labels[place] for place in order]}),
    "JSON objects": lambda shown, order: json.dumps(
        [{"rank": n, "title": shown.titles[at], "id": shown.labels[at]} for n, at in enumerate(order, 1)], indent=1
    ),
    "JSON ranks": lambda shown, order: json.dumps({str(n): shown.titles[at] for n, at in enumerate(order, 1)}),
}


@pytest.mark.parametrize("style", STYLES)
@settings(max_examples=30)
@given(data=st.data())
def test_every_permutation_is_read_back(style: str, data: st.DataObject) -> None:
    shown = data.draw(st.sampled_from([numbers(FILMS, PAST), letters(FILMS), numbers(SHORT), numbers(("Heat",))]))
    order = data.draw(st.permutations(range(len(shown.titles))))
    ranking = parse_ranking(f"Here is my ranking:\n{STYLES[style](shown, order)}", shown)
    assert (list(ranking.order), ranking.kind) == (order, "complete")


def test_a_hundred_candidates_are_read_back() -> None:
    shown = numbers(tuple(f"Title {number}" for number in range(100)))
    order = tuple(range(99, -1, -1))
    assert parse_ranking(", ".join(shown.labels[place] for place in order), shown).order == order
    assert parse_ranking("\n".join(shown.titles[place] for place in order), shown).order == order


@pytest.mark.parametrize("piece", ["\n", "_", "}{", "\u200b\n", "\u2060 \n", "1 2\n"])
@pytest.mark.parametrize("end", ["", "x"])
def test_a_model_that_repeats_itself_is_read_to_the_end(piece: str, end: str) -> None:
    """Where reading takes the square of the length, or more, these take minutes to years."""
    ranking = parse_ranking(piece * 20_000 + end, numbers(FILMS))
    assert ranking.kind != "complete"
    assert len(ranking.order) < 3


@pytest.mark.parametrize("between", ["\n", " "])
def test_of_a_very_long_answer_the_beginning_and_the_end_are_read(between: str) -> None:
    prose = between.join(["the reader likes a quiet film"] * 2_000)
    shown = numbers(SHORT)
    assert parse_ranking(f"3, 1, 2, 5, 4\n{prose}", shown).order == (2, 0, 1, 4, 3)
    assert parse_ranking(f"{prose}\n3, 1, 2, 5, 4", shown).order == (2, 0, 1, 4, 3)
    assert parse_ranking(f"{prose}\n3, 1, 2, 5, 4\n{prose}", shown).order == ()
    assert parse_ranking(f"<think>{prose}</think>3, 1\n{prose[:20_000]}", shown).order == (2, 0)


def test_labels_without_end_are_one_list() -> None:
    shown = numbers(FILMS)
    assert parse_ranking(", ".join(["20", "3", "11"] * 20_000), shown).order == (19, 2, 10)
    assert parse_ranking("\n".join(["20", "3", "11"] * 20_000), shown).order == (19, 2, 10)

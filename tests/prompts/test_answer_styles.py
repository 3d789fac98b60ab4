"""A model that always names the target first is right in every style that is read, wherever the target stands."""

from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from answer_lists import BOOKS, FILMS, PAST, READ, numbers
from answer_styles import EXAMPLE, PAGE, STYLES, page_with_styles
from llmrs_bench.prompts.parsing.answer import parse_ranking

SHELF = numbers(BOOKS, READ)


@pytest.mark.parametrize("style", STYLES)
def test_the_target_is_first_in_every_style_from_every_place(style: str) -> None:
    for target in range(len(BOOKS)):
        others = [place for place in range(len(BOOKS)) if place != target]
        Random(target).shuffle(others)
        text = STYLES[style](SHELF, [target, *others])
        ranking = parse_ranking(text, SHELF)
        assert (list(ranking.order), ranking.kind) == ([target, *others], "complete"), text


@settings(max_examples=150)
@given(st.sampled_from(sorted(STYLES)), st.permutations(range(len(BOOKS))))
def test_every_order_is_read_in_every_style(style: str, order: list[int]) -> None:
    assert list(parse_ranking(STYLES[style](SHELF, order), SHELF).order) == order


@settings(max_examples=100)
@given(
    st.sampled_from(sorted(STYLES.keys() - {"title (year)"})),
    st.lists(st.sampled_from(FILMS), min_size=8, max_size=8, unique=True),
)
@example("table of LaTeX", [*FILMS[:7], "Romeo & Juliet (1968)"])
def test_titles_with_years_articles_and_commas_are_read_in_every_style(style: str, titles: list[str]) -> None:
    shown = numbers(tuple(sorted(titles)), PAST)
    order = [shown.titles.index(title) for title in titles]
    assert list(parse_ranking(STYLES[style](shown, order), shown).order) == order


@settings(max_examples=40)
@given(st.sampled_from(["title: Remark", "caption, rank, title", "table with remarks"]), st.data())
def test_longer_lists_of_titles_are_read(style: str, data: st.DataObject) -> None:
    shown = numbers(FILMS, PAST)
    order = data.draw(st.permutations(range(len(FILMS))))
    assert list(parse_ranking(STYLES[style](shown, order), shown).order) == order


def test_the_documentation_shows_every_style() -> None:
    page = PAGE.read_text("utf-8")
    assert page == page_with_styles(page, SHELF, EXAMPLE), "renew it: python tests/answer_styles.py"
    assert all(f"| {style} |" in page for style in STYLES)

"""Reading an order from whatever a model wrote."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrs_bench.core.types import Item, Listed, Request, Response
from llmrs_bench.prompts.parsing.answer import parse_ranking
from llmrs_bench.prompts.strategies.base import ItemCatalog, Normalization, distinct_titles
from template_runs import make


def read_order(text: str, titles: dict[int, str]) -> list[int]:
    listed = Listed(tuple(map(str, titles)), tuple(titles.values()))
    return [number + 1 for number in parse_ranking(text, listed).order]


TITLES = {1: "Heat", 2: "The Matrix", 3: "1984", 4: "Toy Story", 5: "Toy Story 2"}


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("3, 1, 2, 5, 4", [3, 1, 2, 5, 4]),
        (" [3] > [1] > [2]", [3, 1, 2]),
        ("Ranking: 2,1", [2, 1]),
        ("2\n1\n3", [2, 1, 3]),
        ("2, 2, 1, 2", [2, 1]),
        ("7, 0, 2", [2]),
        ("1. [3]\n2. [1]\n3. [2]", [3, 1, 2]),
        ("1. The Matrix\n2. Heat", [2, 1]),
        ("2. The Matrix - a classic\n1. Heat (1995)", [2, 1]),
        ("**4. toy story**", [4]),
        ("Toy Story 2\nToy Story", [5, 4]),
        ("1984", [3]),
        ("Here are the 20 best of the 5 candidates:\n4, 5", [4, 5]),
        ("I would pick 3 of them.", []),
        ("5. Toy Story", [4]),
        ("1. The Matrix Reloaded", []),
        ("1. Heatwave", []),
        ("Toy", []),
        ("", []),
        ("\n\n", []),
        ("99999999999999999999", []),
    ],
)
def test_read_order(text: str, order: list[int]) -> None:
    assert read_order(text, TITLES) == order


def test_titles_that_fold_alike_are_never_matched_by_position() -> None:
    assert read_order("Heat!", {1: "Heat?", 2: "Heat"}) == []
    assert read_order("\n", {1: "???"}) == []


def test_same_titles_are_told_apart_by_year_then_by_number() -> None:
    items = {
        "a": Item("a", "Sabrina", year=1954),
        "b": Item("b", "sabrina", year=1995),
        "c": Item("c", "Heat"),
        "d": Item("d", "Heat"),
        "e": Item("e", "Alien", year=1979),
    }
    titles = distinct_titles(list(items), ItemCatalog(items, "movie"))
    assert titles == ["Sabrina (1954)", "sabrina (1995)", "Heat [3]", "Heat [4]", "Alien"]


def test_a_number_that_makes_titles_differ_is_no_other_items_title() -> None:
    items = {"a": Item("a", "Heat"), "b": Item("b", "Heat"), "c": Item("c", "Heat [2]")}
    titles = distinct_titles(list(items), ItemCatalog(items, "movie"))
    assert len(set(titles)) == 3
    assert all(title.startswith("Heat [") for title in titles)


def test_no_two_items_of_one_prompt_have_the_same_title() -> None:
    items = {name: Item(name, "Voucher") for name in "abcdef"} | {"g": Item("g", "Alien")}
    request = Request("r", "u", ("a", "b", "g"), ("c", "d", "b", "g"), relevant=("e",), notes={"b": "a gift"})
    prompt = make("listwise").render(request, ItemCatalog(items, "product"), history=3)[0]
    shown = re.findall(r"(?:Voucher|Alien).*", prompt.messages[0].content)
    assert shown == [
        *("Voucher [5]", "Voucher [3]", "Alien"),  # an item that is shown twice keeps its title
        *("Voucher [1]", "Voucher [2]", "Voucher [3]", "Alien"),
    ]
    assert prompt.listed is not None
    assert prompt.listed.history == ("Voucher [5]", "Voucher [3]", "Alien")
    assert prompt.listed.titles == ("Voucher [1]", "Voucher [2]", "Voucher [3]", "Alien")


def test_prompt_shows_the_newest_history_and_all_candidates_and_no_target_mark() -> None:
    items = {name: Item(name, f"Title {name}") for name in "abcdefg"}
    request = Request("r", "u", ("a", "b", "c"), ("e", "d", "f"))
    prompt = make("listwise").render(request, ItemCatalog(items, "book"), history=2)[0]
    assert prompt.messages[0].content == (
        "A user chose these books, one after the other:\n- Title b\n- Title c\n\n"
        "Here are 3 candidate books:\n[1] Title e\n[2] Title d\n[3] Title f\n\n"
        "Rank all 3 candidates by how likely the user is to choose each of them next, most likely first. "
        "Answer with the candidates' numbers alone, separated by commas, each number exactly once.\nRanking:"
    )
    assert "chose" not in make("listwise").render(request, ItemCatalog(items, "book"), history=0)[0].messages[0].content


@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    order = read_order(text, TITLES)
    assert len(set(order)) == len(order)
    assert set(order) <= set(TITLES)


@given(st.permutations(sorted(TITLES)), st.sampled_from([", ", "\n", " > ", ",", "\n\n", " | "]))
def test_every_permutation_is_read_back(order: list[int], separator: str) -> None:
    assert read_order(separator.join(map(str, order)), TITLES) == order


def test_scores_follow_the_first_mention_and_silent_items_are_absent() -> None:
    items = {name: Item(name, f"Title {name}") for name in "abc"}
    prompts = make("listwise").render(Request("r", "u", (), ("a", "b", "c")), ItemCatalog(items, "item"), history=10)
    response = Response("r", "3, 1", None, 0, 0, 0, "stop")
    scores = make("listwise").parse(prompts, [response], Normalization())
    assert scores.values == {"c": 3.0, "a": 2.0}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("<think>1, 2, 3 or rather</think>3, 1", {"c": 3.0, "a": 2.0}),
        ("1, 2</think>\n3, 1", {"c": 3.0, "a": 2.0}),  # the prompt opened the thought
        ("<think>1, 2, 3 and so on", {}),  # it never came to an answer
    ],
)
def test_thoughts_are_no_answer(text: str, values: dict[str, float]) -> None:
    items = {name: Item(name, f"Title {name}") for name in "abc"}
    template = make("listwise")
    prompts = template.render(Request("r", "u", (), ("a", "b", "c")), ItemCatalog(items, "item"), history=10)
    assert template.parse(prompts, [Response("r", text, None, 0, 0, 0, "stop")], Normalization()).values == values

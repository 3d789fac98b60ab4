"""Templates as files: what they may say, and what is wrong with one is named."""

from pathlib import Path

import pytest

from llmrs_bench.core.config import PromptConfig
from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.types import Item, Request
from llmrs_bench.prompts.context import plural
from llmrs_bench.prompts.strategies.base import ItemCatalog
from llmrs_bench.prompts.template import CompiledPart, read_source
from llmrs_bench.stages.prompt import open_plan

SHOP = ItemCatalog({name: Item(name, f"Title {name}", year=2000, categories=("Drama",)) for name in "abc"}, "movie")
REQUEST = Request("r", "u", ("c",), ("a", "b"))
GOOD = """
about = "Mine."
form = "listwise"

[parts]
interest = "recent"
candidates = { text = "{% for entry in candidates %}<{{ entry.label }}> {{ entry.title }}\\n{% endfor %}" }
system = { text = "You rank {{ items }}." }
task = "rank"
"""


def write(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text, "utf-8")
    return str(path)


def plan(name: str, **options: str) -> object:
    return open_plan(PromptConfig(template=name, options=options))


def test_a_file_of_ones_own_is_a_template(tmp_path: Path) -> None:
    found = open_plan(PromptConfig(template=write(tmp_path, GOOD)))
    [prompt] = found.template.render(REQUEST, SHOP, history=5)
    assert [message.role for message in prompt.messages] == ["system", "user"]
    assert prompt.messages[0].content == "You rank movies."
    assert "<1> Title a\n<2> Title b\n\nRank all 2 candidates" in prompt.messages[1].content
    assert found.name == "mine"
    again = open_plan(PromptConfig(template=write(tmp_path, GOOD + "\n# changed"))).source
    assert again.digest != found.source.digest


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('form = "listwise"', 'form = "listwize"', "listwise"),
        ('task = "rank"', 'task = "rnk"', "rank"),
        ('task = "rank"', 'tusk = "rank"', "tusk"),
        ('task = "rank"', 'task = { text = "{{ target }}" }', "target"),
        ('task = "rank"', 'task = { text = "{{ history | random }}" }', "draws anew in every run"),
        ('task = "rank"', "task = { text = \"{{ history | map(attribute='title') }}\" }", "map returns a list"),
        ('task = "rank"', 'task = { text = "{{ item" }', "Jinja"),
        ('task = "rank"', 'task = { words = "x" }', "words"),
        ('about = "Mine."', "", "about"),
        ('about = "Mine."', 'about = "Mine', "TOML"),
        ('form = "listwise"', 'form = "listwise"\norder = [["task"], ["task"]]', "order"),
        ('form = "listwise"', 'form = "label"', "letters"),
        ('form = "listwise"', 'form = "listwise"\noptions = { grammer = true }', "grammer"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path: Path, old: str, new: str, fault: str) -> None:
    assert old in GOOD
    with pytest.raises(OptionError) as caught:
        plan(write(tmp_path, GOOD.replace(old, new)))
    assert fault in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"strategy": "recencyy"}, "recency"),
        ({"method": "all"}, "method"),
        ({"shots": "2", "examples": "none"}, "shots"),
        ({"relevant": "3"}, "recent-relevant"),
        ({"interest": "relevant"}, "relevant=N"),
        ({"interest": "written"}, "interest_run"),
        ({"query": "recent"}, "relevant=N"),
        ({"shots_from": "similar"}, "no effect without shots=K Add shots=K, or leave out shots_from."),
        (
            {"query": "recent", "retriever": "bm25"},
            "Add relevant=N, or leave out query, retriever and",
        ),
        ({"shots_from": "similar:ml1m", "shots": "1"}, "write shots_from=ml1m for choices of any of them"),
        ({"shots_from": "ml1m", "shots": "1", "examples": "next"}, "no part says so"),
        ({"shots": "1", "examples": "domain"}, "a part speaks of another one"),
        ({"orders": "3", "slots": "0,1"}, "orders"),
        ({"aggregate": "borda"}, "orders=N"),
        ({"past": "other", "shots": "1"}, "past=other"),
        ({"past": "other", "interest": "likes"}, "ratings"),
        ({"slots": "0,-1"}, "slots"),
        ({"candidates": "letters", "grammar": "true"}, "numbers"),
    ],
)
def test_options_that_nothing_reads_are_refused(options: dict[str, str], fault: str) -> None:
    with pytest.raises(OptionError) as caught:
        plan("listwise", **options)
    assert fault in f"{caught.value} {caught.value.hint}"


def test_a_part_without_a_place_is_refused() -> None:
    with pytest.raises(OptionError, match="no place"):
        plan("likelihood", answer="numbers")


def test_a_missing_file_and_an_unknown_name_are_told() -> None:
    with pytest.raises(OptionError, match="no template file"):
        read_source("nowhere.toml")
    with pytest.raises(OptionError) as caught:
        read_source("listwize")
    assert "listwise" in caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "{{ item.__class__ }}",
        "{{ history.append(1) }}",
        "{{ history[0].nothing }}",
        "{{ history[7].title }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ 1 // 0 }}",
        "{% include 'x' %}",
    ],
)
def test_a_template_can_do_nothing_but_tell(text: str) -> None:
    """The sandbox refuses what is not telling, and what is missing is an error, never an empty place."""
    with pytest.raises(OptionError) as caught:
        CompiledPart(text).render({"item": "movie", "history": []})
    assert caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "{{ '-' * 10**12 }}",
        "{{ history * 10**9 }}",
        "{{ 7 ** 7 ** 7 ** 7 }}",
        "{{ 'x' | center(10**10) }}",
        "{{ '%900000000d' % 1 }}",
        "{{ '{:>900000000}'.format(item) }}",
        "{{ item.rjust(10**11) }}",
        "{{ ('a' * 90000) | replace('a', 'b' * 90000) }}",
        "{% for one in range(90000) %}{% for two in range(90000) %}{% endfor %}{% endfor %}",
        "{% for one in range(90000) %}{{ item * 900 }}{% endfor %}",
        "{% set all = namespace(text=item) %}"
        "{% for n in range(99) %}{% set all.text = all.text ~ all.text %}{% endfor %}{{ all.text }}",
        "{% macro twice(n) %}{% if n %}{{ twice(n - 1) }}{{ twice(n - 1) }}{% endif %}{% endmacro %}{{ twice(70) }}",
        "{{ lipsum(90000) }}",
    ],
)
def test_a_template_that_never_ends_is_stopped(text: str) -> None:
    with pytest.raises(OptionError, match=r"more than 10,000,000 letters or steps|uses lipsum"):
        CompiledPart(text, where="part 'task' of template long").render({"item": "movie", "history": ["a"]})


@pytest.mark.parametrize(
    "text",
    ["{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}", "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}"],
)
def test_a_template_that_goes_too_deep_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="too deep"):
        CompiledPart(text).render({})


def test_loops_calls_and_filters_of_an_ordinary_template_are_not_touched() -> None:
    text = (
        "{% for film in history %}{{ loop.index }}/{{ loop.length }} {{ film | upper }}{{ '%4.1f' % 2 }}\n{% endfor %}"
    )
    films = [f"film {number}" for number in range(1000)]
    written = CompiledPart(text + "{{ history | join('; ') | replace('film', 'movie') | length }}").render(
        {"history": films}
    )
    assert written.startswith("1/1000 FILM 0 2.0\n2/1000 FILM 1 2.0\n")
    assert written.endswith(str(len("; ".join(films)) + 1000))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("n = " + "[" * 9000, "nested too deep"),
        ("n = " + "8" * 7000, "digits"),
        ("# " + "x" * 1_100_000, "1,000,000 bytes"),
    ],
)
def test_a_template_file_beyond_measure_is_named(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(OptionError, match=fault):
        read_source(str(path))


@pytest.mark.parametrize(
    ("word", "many"),
    [
        ("movie", "movies"),
        ("story", "stories"),
        ("news", "news"),
        ("box", "boxes"),
        ("toy", "toys"),
        ("watch", "watches"),
    ],
)
def test_plurals(word: str, many: str) -> None:
    assert plural(word) == many

"""Every template and part that ships speaks of the items of any domain, and of no other's; so do answers."""

import json
import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from llmrs_bench.core.config import PrepareConfig
from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.types import Item, Listed, Prompt
from llmrs_bench.prompts.context import article, plural, word_forms
from llmrs_bench.prompts.parsing.answer import parse_ranking
from llmrs_bench.prompts.strategies.base import ItemCatalog, PromptStrategy
from llmrs_bench.prompts.template import PART_NAMES, template_names, template_parts
from template_runs import NEEDS, REQUEST, make, template_for

DOMAINS = {
    "movie": "movies",
    "book": "books",
    "song": "songs",
    "news article": "news articles",
    "product": "products",
    "game": "games",
    "album": "albums",
    "story/stories": "stories",
}
# What belongs to one domain alone; a prompt of another says none of it.
OWN = r"movies?|films?|books?|songs?|tracks?|news|articles?|stor(?:y|ies)|products?|games?|albums?"
VERBS = r"watch(?:ed|es)?|viewers?|read|readers?|listen(?:ed|s)?|heard|play(?:ed|s)?|bought|purchased?|cinema"
NEUTRAL = replace(REQUEST, interest="Long ones.")


def catalog(word: str) -> ItemCatalog:
    names = [*REQUEST.history, *REQUEST.candidates, *REQUEST.relevant, *(e.next for e in REQUEST.examples)]
    names += [item for example in REQUEST.examples for item in example.history]
    return ItemCatalog({name: Item(name, f"Zed {name.upper()}", year=1990) for name in names}, word)


def prompts(made: PromptStrategy, word: str) -> list[Prompt]:
    return made.render(NEUTRAL, catalog(word), history=3)


def text(prompt: Prompt) -> str:
    return "\n".join(message.content for message in prompt.messages)


@pytest.fixture(scope="module")
def shipped() -> dict[str, PromptStrategy]:
    """All templates, and each part in one of them."""
    found = {name: make(name) for name in template_names()}
    for part in PART_NAMES:
        for name, template_part in template_parts(part).items():
            options = {part: name, **NEEDS.get(f"{part}={name}", {})}
            found[f"{part}={name}"] = make(template_for(part, template_part.labels), **options)
    return found


@pytest.mark.parametrize("word", DOMAINS)
def test_prompts_speak_of_their_domain_alone(shipped: dict[str, PromptStrategy], word: str) -> None:
    one, several = word_forms(word)
    assert several == DOMAINS[word]
    other = re.compile(rf"\b(?:{OWN}|{VERBS})\b", re.IGNORECASE)
    wrong = re.compile(rf"\b{'a' if article(one) == 'an' else 'an'} {one}\b|\b{one}s\b", re.IGNORECASE)
    for name, made in shipped.items():
        said = text(prompts(made, word)[0]).replace(several, "\0")
        assert not wrong.search(said), name
        assert not other.search(said.replace(one, "")), name
    assert f"these {several}, one after the other" in text(prompts(shipped["listwise"], word)[0])


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("movie", "You are a movie recommender."),
        ("item", "You are an item recommender."),
        ("album/albums", "You are an album recommender."),
        ("news article", "You are a news article recommender."),
        ("MP3", "You are an MP3 recommender."),
    ],
)
def test_the_article_fits_the_word(shipped: dict[str, PromptStrategy], word: str, said: str) -> None:
    assert said in text(prompts(shipped["role=recommender"], word)[0])


@pytest.mark.parametrize(
    ("word", "before"),
    [
        *(("artist", "an"), ("hour", "an"), ("umbrella", "an"), ("e-book", "an"), ("SUV", "an"), ("App", "an")),
        *(
            ("user", "a"),
            ("unit", "a"),
            ("used car", "a"),
            ("European film", "a"),
            ("one-act play", "a"),
            ("TV show", "a"),
        ),
    ],
)
def test_articles(word: str, before: str) -> None:
    assert article(word) == before


@pytest.mark.parametrize(
    ("word", "several"),
    [
        *(("company", "companies"), ("TV series", "TV series"), ("waltz", "waltzes"), ("person", "people")),
        *(("news article", "news articles"), ("play", "plays"), ("CD", "CDs"), ("business", "businesses")),
    ],
)
def test_plurals_by_rule(word: str, several: str) -> None:
    assert plural(word) == several


@pytest.mark.parametrize("word", ["a/b/c", "/stories", "story/", " ", "a\nb"])
def test_what_is_no_word_is_refused(word: str) -> None:
    with pytest.raises(OptionError, match="is not a word, or singular/plural") as error:
        PrepareConfig.parse_flags({"dataset": "x", "item_word": word}, command="prepare")
    assert "--item-word" in str(error.value)


NAMED = ("Harbor Lights", "Quiet Valley", "Seven Winters", "The Glass Road")
ORDER = (3, 1, 0, 2)
# How models answer who were told the word.
ANSWERS: dict[str, Callable[[str], str]] = {
    "objects": lambda word: json.dumps([{word: NAMED[at], "rank": rank} for rank, at in enumerate(ORDER, 1)]),
    "numbers in objects": lambda word: json.dumps([{word: at + 1, "why": "so"} for at in ORDER]),
    "records": lambda word: "\n".join(f"Rank: {n}\n{word}: {NAMED[at]}\nReason: so" for n, at in enumerate(ORDER, 1)),
    "numbers": lambda word: ", ".join(f"{word} {at + 1}" for at in ORDER),
    "lines": lambda word: "\n".join(f"{n}. {word} [{at + 1}]: {NAMED[at]}" for n, at in enumerate(ORDER, 1)),
    "tags": lambda word: "".join(f"<{word}>{NAMED[at]}</{word}>".replace(" ", "_", 0) for at in ORDER),
}


@pytest.mark.parametrize("word", ["Film", "Book", "Song", "News article", "Story", "Headline", "Product", "Album"])
@pytest.mark.parametrize("style", ANSWERS)
def test_answers_that_use_the_word_are_read(word: str, style: str) -> None:
    listed = Listed(tuple("1234"), NAMED, ())
    if style == "tags":
        word = word.lower().replace(" ", "_")
    assert parse_ranking(ANSWERS[style](word), listed).order == ORDER


def test_an_objects_history_is_no_candidate() -> None:
    """`history` ends like `story`."""
    listed = Listed(tuple("1234"), NAMED, ())
    said = json.dumps([{"history": NAMED[0], "title": NAMED[at]} for at in ORDER])
    assert parse_ranking(said, listed).order == ORDER

"""What a template may show of one request: items with distinct titles and labels, history, examples."""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import product
from string import ascii_uppercase
from typing import Any

from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.types import Item, Listed, Message, Request
from llmrs_bench.prompts.strategies.base import ItemCatalog, distinct_titles, rating_format
from llmrs_bench.prompts.template import ExampleView, ItemView, PartName, PromptTemplate


def labels(count: int) -> list[str]:
    """Return `count` labels of the same length, so that none begins another: A to Z, or AA to ZZ.

    Raises:
        OptionError: If there are more than 676.
    """
    length = 1 if count <= len(ascii_uppercase) else 2
    names = ["".join(letters) for letters in product(ascii_uppercase, repeat=length)]
    if count > len(names):
        raise OptionError(
            f"{count} candidates are more than there are labels ({len(names)})",
            hint="Use --template likelihood, or fewer candidates (prepare --n-candidates).",
        )
    return names[:count]


_LIKED = 0.75  # of the way from the lowest to the highest rating: 4 stars of 1 to 5


class PromptContext:
    """What a template may say of one request: its history, its candidates, and what was found for it.

    Args:
        prompt_template: How it is worded.
        request: The user's history and candidates.
        catalog: The items.
        history: How many of the latest history items are shown.
    """

    def __init__(self, prompt_template: PromptTemplate, request: Request, catalog: ItemCatalog, history: int) -> None:
        self.prompt_template = prompt_template
        self.request = request
        self.catalog = catalog
        first = max(0, len(request.history) - history)
        told = [*request.candidates, *request.history[first:], *request.relevant]
        examples = [item_id for example in request.examples for item_id in (*example.history, example.next)]
        self.titles = _titles([*told, *(examples if catalog.examples is None else ())], catalog)
        others = catalog if catalog.examples is None else catalog.examples
        called = self.titles if catalog.examples is None else _titles(examples, others)
        shown = {item_id: item_view(called[item_id], others.items[item_id], catalog) for item_id in examples}
        self.history = self._views(request.history[first:], request.ratings[first:], liked=request.liked[first:])
        self._rendered: dict[PartName, str] = {}
        self._variables: dict[str, Any] = {
            **_of_all(catalog.item_word, tuple(catalog.scale)),
            "history": self.history,
            "likes": [view for view in self.history if _liked(view, catalog.scale) is True],
            "dislikes": [view for view in self.history if _liked(view, catalog.scale) is False],
            "relevant": self._views(request.relevant),
            "examples": [
                ExampleView([shown[item_id] for item_id in example.history], shown[example.next])
                for example in request.examples
            ],
            "example_items": word_forms(others.item_word)[1],
            "interest": request.interest,
            "stated": prompt_template.stated,
        }

    def messages(self, shown: Sequence[str]) -> tuple[Message, ...]:
        """Return the turns of a prompt that shows these candidates in this order."""
        listed = []
        if self.prompt_template.lists_candidates:
            named = zip(label_names(self.prompt_template, shown), shown, strict=True)
            listed = [self._view(label, item_id) for label, item_id in named]
        return self.prompt_template.messages(
            {**self._variables, "candidates": listed, "count": len(shown)}, self._rendered
        )

    def listed(self, shown: Sequence[str]) -> Listed:
        """Return what an answer may name: candidates, and what the history shows."""
        return Listed(
            tuple(label_names(self.prompt_template, shown)),
            tuple(self.titles[item_id] for item_id in shown),
            tuple(view.title for view in self.history),
        )

    def _view(self, label: str, item_id: str) -> ItemView:
        item = self.catalog.items[item_id]
        opinion = self.request.notes.get(item_id, "")
        return item_view(self.titles[item_id], item, self.catalog, label=label, opinion=opinion)

    def _views(
        self,
        item_ids: Sequence[str],
        ratings: Sequence[float | None] = (),
        liked: Sequence[bool] = (),
    ) -> list[ItemView]:
        """Return the views of items; no two of one prompt have the same title."""
        notes, nothing = self.request.notes, [None] * len(item_ids)
        return [
            item_view(
                self.titles[item_id],
                self.catalog.items[item_id],
                self.catalog,
                rating=rating,
                note=notes.get(item_id, ""),
                liked=label,
            )
            for item_id, rating, label in zip(item_ids, ratings or nothing, liked or nothing, strict=True)
        ]


def _titles(item_ids: Iterable[str], catalog: ItemCatalog) -> dict[str, str]:
    """Return item to a title that none of the others has."""
    once = list(dict.fromkeys(item_ids))
    return dict(zip(once, distinct_titles(once, catalog), strict=True))


@lru_cache
def _of_all(item_word: str, scale: tuple[float, ...]) -> Mapping[str, str]:
    """Return what parts may name that is the same in all prompts of a data set."""
    item, items = word_forms(item_word)
    written = rating_format(scale)
    return {
        "item": item,
        "items": items,
        "a_item": f"{article(item)} {item}",
        "lowest": written % min(scale, default=0.0),
        "highest": written % max(scale, default=0.0),
        "rating_format": written,
    }


def _liked(view: ItemView, scale: Sequence[float]) -> bool | None:
    """Return whether an item was liked, by its label, else by its rating on a scale; None where neither is known."""
    if view.liked is not None or view.rating is None or not scale:
        return view.liked
    return view.rating >= min(scale) + _LIKED * (max(scale) - min(scale))


def item_view(
    title: str,
    item: Item,
    catalog: ItemCatalog,
    *,
    rating: float | None = None,
    label: str = "",
    note: str = "",
    liked: bool | None = None,
    opinion: str = "",
) -> ItemView:
    """Return the view of an item, with its attributes if the catalog shows them."""
    about, text = (item.about, item.text) if catalog.attributes else ("", "")
    return ItemView(title, about, text, rating, label, note, liked, opinion)


def label_names(prompt_template: PromptTemplate, shown: Sequence[str]) -> list[str]:
    """Return what stands before each candidate."""
    if prompt_template.labels == "letters":
        return labels(len(shown))
    if prompt_template.labels == "none":
        return [""] * len(shown)
    return list(shown) if prompt_template.labels == "ids" else [str(number) for number in range(1, len(shown) + 1)]


def need_letters(prompt_template: PromptTemplate, form: str) -> PromptTemplate:
    """Return the template of a strategy whose answers are letters.

    Raises:
        OptionError: If its candidates have none.
    """
    if prompt_template.labels != "letters":
        raise OptionError(
            f"a template of the form {form} is answered by letters, and its candidates have {prompt_template.labels}",
            hint="Choose candidates with letters, for instance `-T candidates=letters`.",
        )
    return prompt_template


def word_forms(item_word: str) -> tuple[str, str]:
    """Return the word for one item and that for several: both as given in "story/stories", else by rule."""
    one, _, many = (word.strip() for word in item_word.partition("/"))
    return one, many or plural(one)


_UNCHANGED = ("news", "series", "species", "anime", "manga")


def plural(word: str) -> str:
    """Return the plural of the word for an item: movies, news articles, stories, news."""
    last = word.lower()
    if last.endswith(_UNCHANGED):
        return word
    if last.endswith("person"):
        return f"{word[:-6]}people"
    if last.endswith("y") and last[-2:-1] not in "aeiou":
        return f"{word[:-1]}ies"
    return f"{word}es" if last.endswith(("s", "x", "z", "ch", "sh")) else f"{word}s"


# "A user" and "an hour" are said otherwise than they are written; letters such as M are called "em".
_AS_CONSONANT = re.compile(r"(?:eu|one\b|once|uni(?!n|m)|u[st][aeiu])", re.IGNORECASE)
_AS_VOWEL = re.compile(r"(?:[aeiou]|hour|honest|heir)", re.IGNORECASE)
_ABBREVIATION = re.compile(r"[A-Z](?:[A-Z0-9]*\b|-)")


def article(word: str) -> str:
    """Return "a" or "an", as it stands before a word: a movie, an album, an MP3, a user."""
    if _ABBREVIATION.match(word):
        return "an" if word[0] in "AEFHILMNORSX" else "a"
    return "an" if _AS_VOWEL.match(word) and not _AS_CONSONANT.match(word) else "a"

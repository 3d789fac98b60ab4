"""What a template knows of one request: items with distinct titles and labels, history, examples."""

from collections.abc import Mapping, Sequence
from itertools import product
from string import ascii_uppercase
from types import MappingProxyType
from typing import Any

from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.types import Item, Listed, Message, Request
from llmrs_bench.prompts.strategies.base import Shop, distinct_titles
from llmrs_bench.prompts.template import Entry, ExampleEntry, PartName, Wording


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


_LIKED = 4.0  # stars, of five


class Story:
    """A request, told in the words of a wording.

    Args:
        wording: The words.
        request: Whom it is about.
        shop: The items.
        history: How many of the latest history items are told.
    """

    def __init__(self, wording: Wording, request: Request, shop: Shop, history: int) -> None:
        self.wording = wording
        self.request = request
        self.shop = shop
        first = max(0, len(request.history) - history)
        self.titles = dict(zip(request.candidates, distinct_titles(request.candidates, shop), strict=True))
        self.history = entries(request.history[first:], shop, request.ratings[first:], request.notes)
        self._told: dict[PartName, str] = {}
        self._scene: dict[str, Any] = {
            "item": shop.item_word,
            "items": plural(shop.item_word),
            "history": self.history,
            "likes": [entry for entry in self.history if entry.rating is not None and entry.rating >= _LIKED],
            "dislikes": [entry for entry in self.history if entry.rating is not None and entry.rating < _LIKED],
            "relevant": entries(request.relevant, shop, notes=request.notes),
            "examples": [
                ExampleEntry(entries(example.history, shop), entries([example.next], shop)[0])
                for example in request.examples
            ],
            "interest": request.interest,
        }

    def messages(self, shown: Sequence[str]) -> tuple[Message, ...]:
        """Return the turns of a prompt that shows these candidates in this order."""
        named = zip(label_names(self.wording, shown), shown, strict=True)
        listed = [self._entry(label, item_id) for label, item_id in named]
        return self.wording.messages({**self._scene, "candidates": listed, "count": len(listed)}, self._told)

    def listed(self, shown: Sequence[str]) -> Listed:
        """Return what an answer may name: candidates, and what the history shows."""
        return Listed(
            tuple(label_names(self.wording, shown)),
            tuple(self.titles[item_id] for item_id in shown),
            tuple(entry.title for entry in self.history),
        )

    def _entry(self, label: str, item_id: str) -> Entry:
        item = self.shop.items[item_id]
        return told(self.titles[item_id], item, self.shop, label=label)


def entries(
    item_ids: Sequence[str],
    shop: Shop,
    ratings: Sequence[float | None] = (),
    notes: Mapping[str, str] = MappingProxyType({}),
) -> list[Entry]:
    """Return items as entries whose titles are told apart."""
    known = ratings or [None] * len(item_ids)
    rows = zip(item_ids, distinct_titles(item_ids, shop), known, strict=True)
    return [
        told(title, shop.items[item_id], shop, rating=rating, note=notes.get(item_id, ""))
        for item_id, title, rating in rows
    ]


def told(title: str, item: Item, shop: Shop, *, rating: float | None = None, label: str = "", note: str = "") -> Entry:
    """Return an item as an entry, with its attributes if the shop tells them."""
    about, text = (item.about, item.text) if shop.attributes else ("", "")
    return Entry(title, about, text, rating, label, note)


def label_names(wording: Wording, shown: Sequence[str]) -> list[str]:
    """Return what stands before each candidate."""
    if wording.labels == "letters":
        return labels(len(shown))
    if wording.labels == "none":
        return [""] * len(shown)
    return list(shown) if wording.labels == "ids" else [str(number) for number in range(1, len(shown) + 1)]


def need_letters(wording: Wording, form: str) -> Wording:
    """Return the wording of a form whose answers are letters.

    Raises:
        OptionError: If its candidates have none.
    """
    if wording.labels != "letters":
        raise OptionError(
            f"a template of the form {form} is answered by letters, and its candidates have {wording.labels}",
            hint="Choose candidates with letters, for instance `-T candidates=letters`.",
        )
    return wording


def plural(word: str) -> str:
    """Return the plural of the word for an item: movies, stories, news."""
    if word.endswith("news"):
        return word
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return f"{word[:-1]}ies"
    return f"{word}es" if word.endswith(("s", "x", "ch", "sh")) else f"{word}s"

"""What a template is, and the text rules all templates share."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from llmrs_bench.types import Item, Prompt, Request, Response, Scores


@dataclass(frozen=True, slots=True)
class Shop:
    """What a template may know of a data set: its items by id, and the word for one of them."""

    items: Mapping[str, Item]
    item_word: str


class Template(Protocol):
    """A text codec: renders a request to model calls, and reads their answers back.

    Laws: `parse` of an oracle's answer is the oracle's order; `parse` never raises, on any text; an item the
    model did not name is absent from the scores.
    """

    has_choices: bool

    def render(self, request: Request, shop: Shop, *, history: int) -> list[Prompt]:
        """Write the model calls of one request, showing the `history` latest items, oldest first."""
        ...

    def parse(self, prompts: Sequence[Prompt], responses: Sequence[Response], *, normalize: str) -> Scores:
        """Read the responses to the prompts of one request, in the same order.

        `normalize` is `sum` or `mean` (over the tokens of a choice) and matters to choices alone.
        """
        ...


def recent(history: Sequence[str], count: int) -> Sequence[str]:
    """Return the `count` latest items of a history."""
    return history[len(history) - min(count, len(history)) :]


def distinct_titles(item_ids: Sequence[str], shop: Shop) -> list[str]:
    """Return a title for each item such that no two are the same up to case.

    Titles that stand alone stay as they are; the others get their year, and a number where that is not enough.
    """
    titles = [shop.items[item_id].title for item_id in item_ids]
    dated = [
        f"{title} ({year})" if (year := shop.items[item_id].year) is not None else title
        for title, item_id in zip(titles, item_ids, strict=True)
    ]
    titles = [dated[i] if again else titles[i] for i, again in enumerate(_repeated(titles))]
    return [f"{titles[i]} [{i + 1}]" if again else titles[i] for i, again in enumerate(_repeated(titles))]


def _repeated(titles: Sequence[str]) -> list[bool]:
    folded = [title.casefold() for title in titles]
    return [folded.count(title) > 1 for title in folded]


def bullets(lines: Iterable[str]) -> str:
    """Return the lines as a list without numbers."""
    return "\n".join(f"- {line}" for line in lines)

"""What a template is, and the text rules all templates share."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import ClassVar, Protocol, TypeAlias, runtime_checkable

from llmrs_bench.core.config import Normalize, Options
from llmrs_bench.core.types import Item, Mode, Prompt, Request, Response, Scores
from llmrs_bench.prompts.template import PromptTemplate


@dataclass(frozen=True, slots=True)
class ItemCatalog:
    """What a template may know of a data set: its items by id, and the word for one of them.

    Without `attributes` items are shown by their titles alone. `scale` has the ratings that users give, in their order;
    it is empty where they are too many to name. `examples` is the catalogue of the data set that examples are of, if
    that is another one.
    """

    items: Mapping[str, Item]
    item_word: str
    attributes: bool = True
    scale: tuple[float, ...] = (1.0, 2.0, 3.0, 4.0, 5.0)
    examples: "ItemCatalog | None" = None


@dataclass(frozen=True, slots=True)
class Normalization:
    """How the log-probabilities of a choice become its score.

    Args:
        normalize: `sum` over its tokens; the mean over them, `token`; the sum over the UTF-8 bytes of its text, `byte`;
            or `pmi`, the sum less that of the same choice without a history (Holtzman et al., 2021,
            domain-conditional pointwise mutual information).
        prior: For `pmi` the summed log-probability of each choice without a history.
    """

    normalize: Normalize = "sum"
    prior: Mapping[str, float] = field(default_factory=dict)


def rating_format(scale: Sequence[float]) -> str:
    """Return how a prompt writes the ratings of a scale, so that none begins another one: `%.0f`, or with decimals.

    Of 1 and 10, or of 1 and 1.5, the probability of the first would hold that of the second: they are 1.0, 10.0, 1.5.
    """
    return _format_of(tuple(scale))


@lru_cache
def _format_of(scale: tuple[float, ...]) -> str:
    for decimals in range(7):
        words = [f"{rating:.{decimals}f}" for rating in scale]
        alike = any(one != other and other.startswith(one) for one in words for other in words)
        if not alike and [float(word) for word in words] == list(scale):
            break
    return f"%.{decimals}f"


def rating_words(scale: Sequence[float]) -> list[str]:
    """Return the ratings of a scale as a prompt writes them."""
    return [rating_format(scale) % rating for rating in scale]


Exchange: TypeAlias = tuple[Prompt, Response]


class PromptStrategy(Protocol):
    """A text codec: renders a request to model calls, and reads their answers back.

    It is an answer form, `Form(options, wording)`, and the words of a template file.

    One that has `tasks` is for these alone (`PrepareConfig.task`), another one for `ranking`.

    Laws: `parse` of an oracle's answer is the oracle's order; `parse` never raises, on any text; an item the
    model did not name is absent from the scores; the same answers lead to the same prompts.
    """

    Options: ClassVar[type[Options]]
    prompt_template: PromptTemplate
    mode: ClassVar[Mode]  # what its prompts ask for
    rounds: ClassVar[bool]  # whether later prompts depend on earlier answers

    def render(
        self, request: Request, catalog: ItemCatalog, *, history: int, asked: Sequence[Exchange] = ()
    ) -> list[Prompt]:
        """Write the next model calls of one request, showing the `history` latest items, oldest first.

        Without `asked` these are the first ones; with the answers so far (all of them, in the order in which the
        prompts were written) they are those that come next, none when nothing is left to ask. A template without
        rounds is rendered once.
        """
        ...

    def parse(self, prompts: Sequence[Prompt], responses: Sequence[Response], reading: Normalization) -> Scores:
        """Read the responses to the prompts of one request, in the same order."""
        ...


@runtime_checkable
class CountsCalls(Protocol):
    """A prompt strategy that asks several prompts a request, and knows how many before any is answered."""

    def calls(self, candidates: int) -> int:
        """Return the prompts of a request with so many candidates, over all rounds.

        Where the answers decide how many follow, this is their number for drawn answers.
        """
        ...


@runtime_checkable
class ScoresTitles(Protocol):
    """A prompt strategy whose choices are titles, which may be scored without a history, too."""

    def priors(self, choices: Sequence[str], catalog: ItemCatalog) -> list[Prompt]:
        """Write the model calls that ask for `choices` without any history."""
        ...


@runtime_checkable
class HasAnswers(Protocol):
    """A prompt strategy that can write the answer that is right, so that a model may be tuned on its prompts."""

    def answer_of(self, prompt: Prompt, relevant: Collection[str]) -> str | None:
        """Return what a model should answer: one of the prompt's choices, or a text; None where nothing is right.

        Law: `parse` reads from it that relevant items stand above all others.

        Args:
            prompt: One that `render` wrote.
            relevant: The items that the user chose, or liked.
        """
        ...


def first_relevant(prompt: Prompt, relevant: Collection[str]) -> str | None:
    """Return the choice of the first shown item that is relevant, or None."""
    pairs = zip(prompt.shown, prompt.choices or (), strict=True)
    return next((choice for item_id, choice in pairs if item_id in relevant), None)


def written(
    template: PromptStrategy, request: Request, catalog: ItemCatalog, *, history: int, asked: Sequence[Exchange] = ()
) -> list[Prompt]:
    """Return what `PromptStrategy.render` writes, as that sample of it which the request is."""
    prompts = template.render(request, catalog, history=history, asked=asked)
    return [replace(prompt, sample=request.sample) for prompt in prompts] if request.sample else prompts


def distinct_titles(item_ids: Sequence[str], catalog: ItemCatalog) -> list[str]:
    """Return a title for each item such that no two are the same up to case.

    Titles that stand alone stay as they are; the others get their year, and a number where that is not enough.
    """
    titles = [catalog.items[item_id].title for item_id in item_ids]
    if len({title.casefold() for title in titles}) == len(titles):
        return titles
    dated = [
        f"{title} ({year})" if (year := catalog.items[item_id].year) is not None else title
        for title, item_id in zip(titles, item_ids, strict=True)
    ]
    titles = [dated[i] if again else titles[i] for i, again in enumerate(_repeated(titles))]
    while any(repeated := _repeated(titles)):  # once, unless a numbered title is another item's own
        titles = [f"{titles[i]} [{i + 1}]" if again else titles[i] for i, again in enumerate(repeated)]
    return titles


def _repeated(titles: Sequence[str]) -> list[bool]:
    times = Counter(folded := [title.casefold() for title in titles])
    return [times[title] > 1 for title in folded]

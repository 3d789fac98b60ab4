"""Prompts that are too long for a model, shortened by their oldest items of history."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

from llmrs_bench.core.errors import EngineError
from llmrs_bench.core.types import Prompt


class Render(Protocol):
    """Writes the prompts of a question with fewer items of history, and without attributes of items if need be."""

    def __call__(self, fewer: int, *, without_attributes: bool = False) -> Sequence[Prompt]: ...


@dataclass(frozen=True, slots=True)
class Question:
    """The prompts of one request that are asked together.

    Args:
        prompts: As they are with all that was wanted.
        shown: How many items of history they show.
        render: Writes them with less.
        attributes: Whether they show attributes of items.
    """

    prompts: Sequence[Prompt]
    shown: int
    render: Render
    attributes: bool = False


class CountsTokens(Protocol):
    """What says how long prompts are, and how long they may be; every `Engine` does."""

    @property
    def context(self) -> int:
        """Return how many tokens fit."""
        ...

    def count_tokens(self, prompts: Sequence[Prompt]) -> list[int]:
        """Return how many tokens each prompt takes."""
        ...


class Clipped(NamedTuple):
    """A prompt that fits, how many items of history it lost, and whether it lost the attributes of items."""

    prompt: Prompt
    lost: int = 0
    without_attributes: bool = False


_SHORTER = (
    "Use fewer candidates (prepare --n-candidates), fewer examples (-T shots=K), a smaller answer budget "
    "(-O answer_tokens=N) or a model with a longer context."
)


def clip(questions: Sequence[Question], engine: CountsTokens, *, hint: str = _SHORTER) -> Iterator[Clipped]:
    """Yield all prompts such that each fits the engine's context.

    All prompts of a question lose as much as the longest of them has to, the oldest items first. Where none of the
    history can stay, attributes of items go, and as much history stays as then fits. `hint` says what to do where even
    that is too long.

    Raises:
        EngineError: If a prompt does not fit even without history and attributes.
    """
    sizes = iter(engine.count_tokens([prompt for question in questions for prompt in question.prompts]))
    for question in questions:
        longest = max(next(sizes) for _ in question.prompts)
        if longest <= engine.context:
            yield from map(Clipped, question.prompts)
        else:
            yield from _shortened(question, engine, hint)


def _shortened(question: Question, engine: CountsTokens, hint: str) -> Iterator[Clipped]:
    """Yield the prompts with the most that still fits."""
    for without_attributes in (False, True) if question.attributes else (False,):
        found = _longest(
            partial(question.render, without_attributes=without_attributes),
            question.shown - (not without_attributes),
            engine,
        )
        if found is not None:
            prompts, kept = found
            return (Clipped(prompt, question.shown - kept, without_attributes) for prompt in prompts)
    raise EngineError(
        f"the prompt of request {question.prompts[0].request_id!r} does not fit the model's "
        f"{engine.context} tokens even without any history",
        hint=hint,
    )


def _longest(
    render: Callable[[int], Sequence[Prompt]], most: int, engine: CountsTokens
) -> tuple[Sequence[Prompt], int] | None:
    """Return the prompts with the most history that fits, and how many items that is, found by bisection."""
    best: tuple[Sequence[Prompt], int] | None = None
    low, high = 0, most
    while low <= high:
        middle = (low + high) // 2
        prompts = render(middle)
        if max(engine.count_tokens(prompts)) <= engine.context:
            best, low = (prompts, middle), middle + 1
        else:
            high = middle - 1
    return best

"""Prompts that are too long for a model: the oldest history goes, candidates and instructions never."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from llmrs_bench.engines.protocol import Engine
from llmrs_bench.errors import EngineError
from llmrs_bench.types import Prompt


@dataclass(frozen=True, slots=True)
class Question:
    """The prompts of one request that are asked together.

    Args:
        prompts: As they are with the whole history that was wanted.
        shown: How many items of history they show.
        render: Writes them with fewer.
    """

    prompts: Sequence[Prompt]
    shown: int
    render: Callable[[int], Sequence[Prompt]]


def clip(questions: Sequence[Question], engine: Engine) -> Iterator[tuple[Prompt, int]]:
    """Yield all prompts such that each fits the engine's context, and how many items of history it lost.

    All prompts of a question lose as much as the longest of them has to, the oldest items first.

    Raises:
        EngineError: If a prompt does not fit even without history.
    """
    sizes = iter(engine.needs([prompt for question in questions for prompt in question.prompts]))
    for question in questions:
        longest = max(next(sizes) for _ in question.prompts)
        if longest <= engine.context:
            yield from ((prompt, 0) for prompt in question.prompts)
        else:
            prompts, kept = _shortened(question, engine)
            yield from ((prompt, question.shown - kept) for prompt in prompts)


def _shortened(question: Question, engine: Engine) -> tuple[Sequence[Prompt], int]:
    """Return the prompts with the most history that still fits, and how many items that is, found by bisection."""
    best: tuple[Sequence[Prompt], int] | None = None
    low, high = 0, question.shown - 1
    while low <= high:
        middle = (low + high) // 2
        prompts = question.render(middle)
        if max(engine.needs(prompts)) <= engine.context:
            best, low = (prompts, middle), middle + 1
        else:
            high = middle - 1
    if best is None:
        raise EngineError(
            f"the prompt of request {question.prompts[0].request_id!r} does not fit the model's "
            f"{engine.context} tokens even without any history",
            hint="Use fewer candidates (prepare --n-candidates), a smaller answer budget (-O answer_tokens=N) "
            "or a model with a longer context.",
        )
    return best

"""What an engine is: something that answers prompts with text, or with the log-probabilities of choices."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Protocol

from llmrs_bench.catalog import ModelSpec
from llmrs_bench.config import Options
from llmrs_bench.types import Json, Prompt, Response


class Engine(Protocol):
    """A loaded language model.

    An engine is made as `Engine(model, options, device=..., seed=...)`: the `ModelSpec`, an instance of its
    `Options`, `auto`, `cpu` or `cuda`, and a seed. Making it loads the model and raises ModelError if that fails.

    Laws: one response for each prompt, in any order; the same answers for the same prompts in another order, or
    with their choices in another order; log-probabilities are natural, exact and over the full vocabulary.

    Prompts of one request that begin alike follow each other; an engine may read what they share once.

    In a response `prompt_tokens` counts the tokens of the prompt, `cached_tokens` those of them that were not
    computed again, and `completion_tokens` the tokens written or, for choices, those of the distinct choices.
    """

    Options: ClassVar[type[Options]]
    packages: ClassVar[tuple[str, ...]]  # installed distributions whose versions decide the answers

    @staticmethod
    def identity(model: ModelSpec, options: Any) -> dict[str, str]:
        """Return what identifies the model whose answers are kept: two models with equal values answer alike.

        Raises:
            ModelError: If there is no such model.
        """
        ...

    @property
    def context(self) -> int:
        """Return how many tokens the model can take."""
        ...

    def needs(self, prompts: Sequence[Prompt]) -> list[int]:
        """Return how many tokens of the context each prompt takes with its longest choice or its answer budget."""
        ...

    def check(self, prompts: Sequence[Prompt]) -> None:
        """Compare the way in which some of these prompts are going to be answered with a plainer one.

        Called before `answer` with all that is going to be asked, so that what it costs is no part of their cost.
        Returns at once where nothing new is to be compared; an engine with one way of answering has nothing to do.

        Raises:
            EngineError: If the two ways differ by more than rounding explains.
        """
        ...

    def batches(self, prompts: Sequence[Prompt]) -> Iterator[Sequence[Prompt]]:
        """Cut prompts into batches: what the machine computes together, and what is kept together.

        The cut follows from the prompts and their order alone, so that an interrupted run is cut as any other, and the
        same prompts beside each other give the same bits.

        Raises:
            EngineError: If a prompt needs more than the context.
        """
        ...

    def answer(self, prompts: Sequence[Prompt]) -> Iterator[Response]:
        """Answer each prompt once, in any order.

        Raises:
            EngineError: If the machine fails, or a prompt needs more than the context; nothing is ever truncated.
        """
        ...

    def answer_batches(self, batches: Iterable[Sequence[Prompt]]) -> Iterator[Sequence[Response]]:
        """Answer batches, in any order, and yield all responses to one as soon as they are there.

        Raises:
            EngineError: As `answer` does.
        """
        ...

    def forget(self) -> None:
        """Drop what earlier prompts left behind, such as cached prefixes, as a cold start would."""
        ...

    def close(self) -> None:
        """Stop processes and give memory back; the engine answers no more."""
        ...

    def facts(self) -> dict[str, Json]:
        """Return what a manifest should say about the model, the engine and the answers so far."""
        ...

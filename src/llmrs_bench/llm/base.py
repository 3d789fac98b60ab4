"""What an engine is, the options that all share, and the settings of sampling."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from pydantic import Field

from llmrs_bench.core.config import Options
from llmrs_bench.core.hashing import hash64
from llmrs_bench.core.types import Json, Prompt, Response
from llmrs_bench.llm.model_aliases import ModelSpec
from llmrs_bench.llm.tokenization import Ids


class Engine(Protocol):
    """A loaded language model.

    An engine is made as `Engine(model, options, device=..., seed=...)`: the `ModelSpec`, an instance of its
    `Options`, `auto`, `cpu` or `cuda`, and a seed. Making it loads the model and raises ModelError if that fails.

    Laws: one response for each prompt, in any order; the same answers for the same prompts in another order, or
    with their choices in another order; log-probabilities are natural, exact and over the full vocabulary.

    An engine that subclasses this protocol inherits one prompt a batch, one way of answering, and nothing to forget or
    to close. It then writes `identity`, `context`, `count_tokens`, `answer` and `facts`.

    Prompts of one request that begin alike follow each other; an engine may read what they share once.

    In a response `prompt_tokens` counts the tokens of the prompt, `cached_tokens` those of them that were not
    computed again, and `completion_tokens` the tokens written or, for choices, those of the distinct choices.
    """

    Options: ClassVar[type[Options]]
    # Installed distributions whose versions decide the answers; that of a plug-in counts without being named.
    packages: ClassVar[tuple[str, ...]] = ()

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

    def count_tokens(self, prompts: Sequence[Prompt]) -> list[int]:
        """Return how many tokens of the context each prompt takes with its longest choice or its answer budget."""
        ...

    def check(self, prompts: Sequence[Prompt]) -> None:
        """Compare the way in which some of these prompts are going to be answered with a plainer one.

        Called before `answer` with all that is going to be asked, so that what it costs is no part of their cost.
        Returns at once where nothing new is to be compared; an engine with one way of answering has nothing to do.

        Raises:
            EngineError: If the two ways differ by more than rounding explains.
        """
        return None

    def batches(self, prompts: Sequence[Prompt]) -> Iterator[Sequence[Prompt]]:
        """Cut prompts into batches: what the machine computes together, and what is kept together.

        The cut follows from the prompts and their order alone, so that an interrupted run is cut as any other, and the
        same prompts beside each other give the same bits.

        Raises:
            EngineError: If a prompt needs more than the context.
        """
        return ([prompt] for prompt in prompts)

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
        return (list(self.answer(batch)) for batch in batches)

    def reset_cache(self) -> None:
        """Drop what earlier prompts left behind, such as cached prefixes, as a cold start would."""
        return None

    def close(self) -> None:
        """Stop processes and give memory back; the engine answers no more."""
        return None

    def facts(self) -> dict[str, Json]:
        """Return what a manifest should say about the model, the engine and the answers so far."""
        ...


@runtime_checkable
class CountsPrompts(Protocol):
    """An engine that may leave a share of a run's prompts without an answer."""

    def found(self, prompts: int) -> None:
        """Take how many prompts of the run were answered before."""
        ...


@runtime_checkable
class TellsTokens(Protocol):
    """An engine that tells how far it is within a batch, which may take minutes."""

    def tell(self, heard: Callable[[int], None]) -> None:
        """Call `heard` from now on with tokens as soon as they are read or written, those of padding left out."""
        ...


class ModelOptions(Options):
    """How a model is loaded and asked.

    Args:
        dtype: Type of the weights; `auto` is float32 on a CPU, else that of the checkpoint.
        answer_tokens: Maximum length of an answer in tokens; longer ones are truncated.
        temperature: Sampling temperature; each text has its own seed. 0 is greedy decoding.
        trust_remote_code: Let the model run the Python code of its repository.
        chat_template: A Jinja file to use instead of the tokenizer's chat template.
        context: Maximum number of tokens of prompt and answer together, if the model states none, or more.
        gguf_file: The GGUF file with the weights, if the model's folder or repository has several.
        lora: Folder of a LoRA adapter for the model, with its adapter_config.json.
        self_check: Number of prompts with choices that are also scored in the slow, plain way for comparison: the
            longest and the shortest first, on each side of a length at which the architecture changes.
        thinking_tokens: Token budget for reasoning before the answer; 0 switches reasoning off.
        deterministic: Use slower kernels whose results do not depend on the rest of the batch.
        price_per_hour: Price of the machine in USD per hour, for the leaderboard.
        released: Release date of the model, for curves over time.
    """

    cost_only: ClassVar[frozenset[str]] = frozenset({"self_check", "price_per_hour", "released"})

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    answer_tokens: int = Field(default=512, ge=1)
    temperature: float = Field(default=0.0, ge=0)
    trust_remote_code: bool = False
    chat_template: Path | None = None
    context: int | None = Field(default=None, ge=2)
    gguf_file: str | None = None
    lora: Path | None = None
    self_check: int = Field(default=2, ge=0)
    thinking_tokens: int = Field(default=0, ge=0)
    deterministic: bool = False
    price_per_hour: float | None = Field(default=None, ge=0)
    released: date | None = None


def sample_seed(seed: int, sample: int, asked: str | Ids) -> int:
    """Return the seed of one sampled text, below 2**31, which every server takes.

    Args:
        seed: Of the engine.
        sample: The number of this answer among those to one prompt.
        asked: The prompt, as text or as tokens.
    """
    text = asked if isinstance(asked, str) else ",".join(map(str, asked))
    return hash64(f"sample\0{seed}\0{sample}\0{text}") >> 33


def asked_text(prompt: Prompt) -> str:
    """Return all that is asked as one text: two prompts that read alike have the same, whatever their ids."""
    return json.dumps([[message.role, message.content] for message in prompt.messages], ensure_ascii=False)

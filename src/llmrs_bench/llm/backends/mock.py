"""Engine without a model: seeded answers at chance, for tests and load tests."""

import time
from collections.abc import Iterator, Sequence
from datetime import date
from functools import lru_cache
from math import log
from typing import ClassVar

from pydantic import Field

from llmrs_bench.core import config
from llmrs_bench.core.errors import EngineError
from llmrs_bench.core.hashing import hash64
from llmrs_bench.core.types import Json, Message, Prompt, Response
from llmrs_bench.llm.base import Engine
from llmrs_bench.llm.identity import MOCK_VERSION, identify
from llmrs_bench.llm.model_aliases import ModelSpec


class MockOptions(config.Options):
    """How the mock model behaves.

    Args:
        context: How much it can take, in words.
        pause: Seconds before each answer, as a slow model would need.
        released: The day on which it came out, for curves over time.
    """

    cost_only: ClassVar[frozenset[str]] = frozenset({"pause", "released"})

    context: int = Field(default=1_000_000, ge=1)
    pause: float = Field(default=0.0, ge=0)
    released: date | None = None


class MockEngine(Engine):
    """Ranks candidates by a hash of (seed, prompt, item or choice), so their order in the prompt carries no weight.

    Tokens are words. Written answers are numbers of candidates, best first: "3, 1, 2".
    """

    Options: ClassVar[type[config.Options]] = MockOptions

    @staticmethod
    def identity(model: ModelSpec, options: config.Options) -> dict[str, str]:
        """Return the version of the mock answers."""
        return identify(model)

    def __init__(self, model: ModelSpec, options: MockOptions, *, device: str, seed: int) -> None:
        self.model = model
        self._context = options.context
        self.pause = options.pause
        self.device = device
        self.seed = seed

    @property
    def context(self) -> int:
        """The words that it can take."""
        return self._context

    def count_tokens(self, prompts: Sequence[Prompt]) -> list[int]:
        """Return the words of each prompt and of its longest choice, or one for each number of an answer."""
        return [self._count_tokens(prompt) for prompt in prompts]

    def _count_tokens(self, prompt: Prompt) -> int:
        if prompt.choices is None:
            return _words(prompt.messages) + len(prompt.shown)
        return _words(prompt.messages) + max((len(choice.split()) for choice in prompt.choices), default=0)

    def answer(self, prompts: Sequence[Prompt]) -> Iterator[Response]:
        """Answer each prompt as the hash of its items says.

        Raises:
            EngineError: If a prompt needs more words than the context has.
        """
        for prompt in prompts:
            if (words := self._count_tokens(prompt)) > self.context:
                raise EngineError(f"prompt {prompt.prompt_id!r} needs {words} words, the mock takes {self.context}")
            if self.pause:
                time.sleep(self.pause)
            if prompt.choices is not None:
                yield _choices(prompt, self._uniform(prompt.prompt_id, prompt.choices))
            else:
                values = self._uniform(prompt.prompt_id, prompt.shown)
                ranks = len(values) > 1 or (values and prompt.listed is not None)
                yield _text(prompt, values) if ranks else _note(prompt)

    def facts(self) -> dict[str, Json]:
        """Return the version of the mock answers."""
        return {"engine": "mock", "mock": MOCK_VERSION, "model_source": self.model.source, "context": self.context}

    def _uniform(self, prompt_id: str, names: Sequence[str]) -> list[float]:
        """Return for each item or choice a number above 0 and at most 1."""
        asked = f"{self.seed}\0{prompt_id}\0"
        return [(hash64(asked + name) + 1) / 2**64 for name in names]


@lru_cache(4096)  # counted to see whether a prompt fits, and again for its answer
def _words(messages: tuple[Message, ...]) -> int:
    return sum(len(message.content.split()) for message in messages)


def _choices(prompt: Prompt, values: list[float]) -> Response:
    written = sum(len(choice.split()) for choice in prompt.choices or ())
    total = sum(values) if prompt.labels else 1.0  # labels are all that it can answer
    logprobs = tuple((log(value / total),) for value in values)
    return Response(prompt.prompt_id, None, logprobs, _words(prompt.messages), 0, written, "choices")


def _text(prompt: Prompt, values: list[float]) -> Response:
    order = sorted(range(len(values)), key=lambda index: values[index])
    text = ", ".join(str(index + 1) for index in order)
    return Response(prompt.prompt_id, text, None, _words(prompt.messages), 0, len(values), "stop")


def _note(prompt: Prompt) -> Response:
    """Return a text where there is nothing to rank."""
    text = f"1. Nothing is known of {prompt.request_id}."
    return Response(prompt.prompt_id, text, None, _words(prompt.messages), 0, len(text.split()), "stop")

"""An engine: `infer --engine ngrams --model trigrams`."""

from collections.abc import Iterator, Sequence
from math import log
from typing import Any, ClassVar

from llmrs_bench.core import config
from llmrs_bench.core.registry import unknown_name
from llmrs_bench.core.types import Json, Prompt, Response
from llmrs_bench.llm.base import Engine
from llmrs_bench.llm.model_aliases import ModelSpec

MODELS = {"bigrams": 2, "trigrams": 3}


class NgramEngine(Engine):
    """Finds a choice as likely as the share of its letter n-grams that stand in the history. A word is a token."""

    Options: ClassVar[type[config.Options]] = config.Options  # given as -O KEY=VALUE: none
    context = 100_000  # tokens of the longest prompt

    @staticmethod
    def identity(model: ModelSpec, options: Any) -> dict[str, str]:
        """Return what tells models apart; this is where an engine refuses a name."""
        if model.source not in MODELS:
            raise unknown_name("n-gram model", model.source, list(MODELS))
        return {"ngrams": model.source}

    def __init__(self, model: ModelSpec, options: config.Options, *, device: str, seed: int) -> None:
        self.model, self.size = model, MODELS[model.source]

    def count_tokens(self, prompts: Sequence[Prompt]) -> list[int]:
        """Count the tokens of each prompt with its longest choice, or with the longest answer."""
        return [_words(prompt) + (1 if prompt.choices else len(prompt.shown)) for prompt in prompts]

    def answer(self, prompts: Sequence[Prompt]) -> Iterator[Response]:
        """Yield log-probabilities where there are choices, else the numbers of the candidates, best first."""
        for prompt in prompts:
            titles = prompt.choices or (prompt.listed.titles if prompt.listed else prompt.shown)
            history = "\n".join(prompt.listed.history) if prompt.listed else prompt.messages[0].content
            logprobs = [self._logprob(history, title) for title in titles]
            order = sorted(range(len(titles)), key=lambda index: -logprobs[index])
            text = None if prompt.choices else ", ".join(str(index + 1) for index in order)
            given = tuple((logprob,) for logprob in logprobs) if prompt.choices else None
            reason = "choices" if prompt.choices else "stop"
            yield Response(prompt.prompt_id, text, given, _words(prompt), 0, len(titles), reason)

    def facts(self) -> dict[str, Json]:
        """Return what the manifest of a run says about the engine."""
        return {"engine": "ngrams", "model_source": self.model.source}

    def _logprob(self, text: str, choice: str) -> float:
        grams = [choice[start : start + self.size] for start in range(len(choice) - self.size + 1)]
        return log((sum(gram in text for gram in grams) + 1) / (len(grams) + 2))


def _words(prompt: Prompt) -> int:
    return sum(len(message.content.split()) for message in prompt.messages)

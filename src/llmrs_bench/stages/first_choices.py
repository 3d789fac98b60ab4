"""What answers of a language model have in common whatever they were asked: the order shown, or one first place."""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import inf
from typing import Any

from llmrs_bench.prompts.comparison import label_logprobs
from llmrs_bench.prompts.listwise import ranking_of
from llmrs_bench.prompts.protocol import Exchange
from llmrs_bench.types import Prompt

_LEAST = 3  # candidates named: fewer repeat the order shown too often by chance


class FirstChoices:
    """Counts, over the prompts of a run, answers that repeat the order shown, and the place of the first choice.

    Only prompts count that show several candidates, in writing or with labels; of a request with several rounds
    each prompt counts.
    """

    def __init__(self) -> None:
        self._answers = 0
        self._orders = 0
        self._repeats = 0
        self._least = 0
        self._first: Counter[str] = Counter()

    def add(self, exchanges: Iterable[Exchange]) -> None:
        """Add prompts and their responses."""
        for prompt, response in exchanges:
            if len(prompt.shown) < 2:
                continue
            if prompt.choices is None and prompt.listed is not None:
                order: Sequence[int] = ranking_of(prompt, response).order
                if len(order) >= _LEAST:
                    self._orders += 1
                    self._repeats += list(order) == list(range(len(order)))
                if order:
                    self._count(prompt, prompt.listed.labels[order[0]])
            elif prompt.labels and prompt.choices is not None and len(prompt.choices) == len(prompt.shown):
                logprobs = label_logprobs(response, len(prompt.shown))
                best = max(logprobs)
                if best > -inf and logprobs.count(best) == 1:
                    self._count(prompt, prompt.choices[logprobs.index(best)].strip())

    def _count(self, prompt: Prompt, label: str) -> None:
        self._answers += 1
        self._first[label] += 1
        self._least = min(self._least or len(prompt.shown), len(prompt.shown))

    def facts(self) -> dict[str, Any] | None:
        """Return the counts; None where no prompt has a first choice.

        Returns:
            `answers` with a first choice; `first`, the label that is the most frequent one, `first_count`, how often
            it is; `shown`, the fewest candidates of a prompt; `orders`, the answers that name three candidates or
            more, and `repeats`, those of them that name them in the order shown from its beginning.
        """
        if not self._answers:
            return None
        first, count = max(self._first.items(), key=lambda pair: (pair[1], pair[0]))
        return {
            "answers": self._answers,
            "first": first,
            "first_count": count,
            "shown": self._least,
            "orders": self._orders,
            "repeats": self._repeats,
        }

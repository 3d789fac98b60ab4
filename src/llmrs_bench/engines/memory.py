"""Batches on a device whose memory may run out: then their halves, and smaller batches from there on."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from llmrs_bench.errors import EngineError

S = TypeVar("S")
T = TypeVar("T")
_LESS_MEMORY = "Use `-O dtype=bfloat16`, or show less history with --history."


class Memory:
    """Runs batches, and knows how many tokens one may have.

    Args:
        tokens: The bound at the start; it is halved whenever a batch does not fit.
        deterministic: Take only algorithms that repeat themselves.
    """

    def __init__(self, tokens: int, *, deterministic: bool) -> None:
        self.tokens = tokens
        self.deterministic = deterministic
        self.batches = 0
        self.halved = 0

    def run(self, batch: Sequence[S], work: Callable[[Sequence[S]], Sequence[T]]) -> Iterator[T]:
        """Yield what `work` makes of a batch, or of its halves where memory runs out.

        Raises:
            EngineError: If memory runs out for a batch of one, or the device fails.
        """
        pending = [batch]
        while pending:
            some = pending.pop()
            done = self._attempt(some, work)
            if done is not None:
                self.batches += 1
                yield from done
                continue
            half = (len(some) + 1) // 2
            pending += [some[half:], some[:half]]
            self.halved += 1
            self.tokens = max(1, self.tokens // 2)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _attempt(self, batch: Sequence[S], work: Callable[[Sequence[S]], Sequence[T]]) -> Sequence[T] | None:
        """Return what `work` makes of a batch without gradients, or None if memory ran out and it can be halved."""
        before = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(self.deterministic or before)
        try:
            with torch.inference_mode():
                return work(batch)
        except RuntimeError as error:
            if not exhausted(error):
                raise EngineError(f"the model failed while answering: {error}", hint=_LESS_MEMORY) from error
            if len(batch) == 1:
                raise EngineError(
                    "the device ran out of memory while answering one request alone", hint=_LESS_MEMORY
                ) from error
            return None
        finally:
            torch.use_deterministic_algorithms(before)


def exhausted(error: RuntimeError) -> bool:
    """Return whether memory ran out, for which a CPU has no error of its own."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)

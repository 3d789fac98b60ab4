"""Thoughts of reasoning models: how they end, and how a response holds them beside the answer."""

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from llmrs_bench.core.errors import ModelError
from llmrs_bench.core.types import Response
from llmrs_bench.llm.tokenization import Ids, Job, encode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

OPEN, CLOSE = "<think>", "</think>"
# What stands between a thought and its answer in the chat templates of reasoning models.
GAP = "\n\n"

Thought: TypeAlias = tuple[Ids, Ids]  # as the model wrote it, and as it reads it before its answer


@dataclass(frozen=True, slots=True)
class Closing:
    """How a thought comes to its end.

    Args:
        token: The token that ends a thought.
        cut: Tokens that end a thought which its budget cut off, the ending token among them.
        gap: Tokens between the end of a thought and the answer.
    """

    token: int
    cut: Ids
    gap: Ids

    def close(self, written: Ids, stops: Ids) -> Ids:
        """Return a thought as the model reads it before its answer, closed by force if the model did not close it.

        Args:
            written: What the model wrote within the budget of its thought.
            stops: Tokens that end an answer; one that ends the thought is dropped.
        """
        if written and written[-1] == self.token:
            return written + self.gap
        ended = bool(written) and written[-1] in stops
        return (written[:-1] if ended else written) + self.cut + self.gap

    @property
    def longest(self) -> int:
        """Return how many tokens are added to a thought at most."""
        return len(self.cut) + len(self.gap)


def find_closing(tokenizer: "PreTrainedTokenizerBase", *, chat: bool | None) -> Closing:
    """Return how the thoughts of a model end.

    Args:
        tokenizer: The model's own.
        chat: Whether its chat template is used; None: if it has one.

    Raises:
        ModelError: If the model was not made to think: it has no chat template, or no token that ends a thought.
    """
    token = tokenizer.get_vocab().get(CLOSE)
    if token is None or tokenizer.chat_template is None or chat is False:
        lacks = f"its tokenizer has no {CLOSE!r}" if token is None else "it is not asked through a chat template"
        raise ModelError(
            f"this model does not think before it answers: {lacks}",
            hint="Use `-O thinking_tokens=0`, or a reasoning model.",
        )
    line, gap = encode(tokenizer, ["\n", GAP])
    return Closing(token, (*line, token), gap)


def compose(tokenizer: "PreTrainedTokenizerBase", prompt_text: str, written: Ids) -> tuple[str, int]:
    """Return what a model wrote as `<think>thought</think>answer`, and how many of the tokens are of the thought.

    Tokenizers drop the tags if they are special tokens, and some chat templates write the first one themselves.
    Text without tags is an answer; a thought without an end is all there is.

    Args:
        tokenizer: The model's own.
        prompt_text: The rendered prompt, which may open the thought.
        written: The tokens behind the prompt, those of a closing that was forced among them.
    """
    if CLOSE in (whole := _read(tokenizer, written, tags=True)):
        length = bisect_left(range(len(written) + 1), True, key=lambda end: _closed(tokenizer, written[:end]))
        thought, answer = _read(tokenizer, written[:length]), _read(tokenizer, written[length:])
        return f"{OPEN}{_bare(thought)}{CLOSE}{answer}", length
    text = _read(tokenizer, written)
    if prompt_text.rstrip().endswith(OPEN) or whole.lstrip().startswith(OPEN):
        return f"{OPEN}{_bare(text)}", len(written)
    return text, 0


def written_response(
    tokenizer: "PreTrainedTokenizerBase",
    job: Job,
    thought: Thought | None,
    answer: Ids,
    *,
    stopped: bool,
    cached: int,
) -> Response:
    """Return the response of a text.

    Args:
        tokenizer: The model's own.
        job: What was asked.
        thought: What was written within the budget of a thought, and as the answer follows it; None without a budget.
        answer: The tokens behind that.
        stopped: Whether the answer came to its end.
        cached: Tokens of the prompt that were in the cache.
    """
    written, closed = thought or ((), ())
    text, thinking = compose(tokenizer, job.text, closed + answer)
    return Response(
        prompt_id=job.prompt.prompt_id,
        text=text,
        choice_logprobs=None,
        prompt_tokens=len(job.tokens.prefix),
        cached_tokens=cached,
        completion_tokens=len(written) + len(answer),
        finish_reason="stop" if stopped else "length",
        thinking_tokens=thinking if thought is None else len(written),
    )


def _read(tokenizer: "PreTrainedTokenizerBase", ids: Ids, *, tags: bool = False) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=not tags))


def _closed(tokenizer: "PreTrainedTokenizerBase", ids: Ids) -> bool:
    return CLOSE in _read(tokenizer, ids, tags=True)


def _bare(thought: str) -> str:
    """Return a thought without its tags."""
    head = thought.lstrip()
    return (head.removeprefix(OPEN) if head.startswith(OPEN) else thought).partition(CLOSE)[0]

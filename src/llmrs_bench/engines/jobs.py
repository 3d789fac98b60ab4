"""Prompts as token ids that fit the context, in an order of their own, and cut into batches of bounded size."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, TypeVar

from llmrs_bench.engines.chat import render
from llmrs_bench.engines.tokens import (
    Ids,
    Tokenized,
    encode,
    special_affixes,
    special_texts,
    split_choices,
    take_apart,
)
from llmrs_bench.errors import EngineError
from llmrs_bench.types import Prompt, Response

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

T = TypeVar("T")
_REMEMBERED = 3_000_000  # tokens of prompts, some 100 MB: whoever plans and then answers tokenises a prompt once
_STRETCH = 256  # prompts at least, among which those of like length are brought together


@dataclass(frozen=True, slots=True)
class Job:
    """A prompt, its rendered text and its tokens."""

    prompt: Prompt
    tokens: Tokenized
    text: str = ""

    @property
    def size(self) -> int:
        """How many tokens it holds."""
        return len(self.tokens.prefix) + sum(map(len, self.tokens.suffixes))


class PromptReader:
    """Renders and tokenises prompts for one model.

    Special tokens come from its chat template alone: where a title, or another part of a message or a choice, holds the
    text of one, it is taken apart.

    Args:
        tokenizer: The model's own.
        chat: Whether to use its chat template; None: if it has one.
        encoder_decoder: Prompts go to an encoder: they keep the special tokens at their end, and choices, which
            begin a text of their own, are tokenised alone and without the space they begin with.
        thinking: Ask a reasoning model to think before it writes a text; choices are scored without thoughts.
    """

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        *,
        chat: bool | None,
        encoder_decoder: bool,
        thinking: bool = False,
    ) -> None:
        self.tokenizer = tokenizer
        self.chat = chat
        self.thinking = thinking
        self.encoder_decoder = encoder_decoder
        self.lead, self.tail = special_affixes(tokenizer)
        self._special = special_texts(tokenizer)
        self._jobs: OrderedDict[Prompt, Job] = OrderedDict()  # the latest ones, bounded by what they hold
        self._held = 0  # tokens

    def read(self, prompt: Prompt) -> Job:
        """Return the prompt as a job.

        Raises:
            EngineError: If a choice is blank.
        """
        job = self._jobs.pop(prompt, None)
        if job is None:
            job = self._read(prompt)
            self._held += job.size
        self._jobs[prompt] = job
        while self._held > _REMEMBERED and len(self._jobs) > 1:
            self._held -= self._jobs.popitem(last=False)[1].size
        return job

    def _read(self, prompt: Prompt) -> Job:
        thinking = self.thinking and prompt.choices is None
        messages = [replace(turn, content=take_apart(turn.content, self._special)) for turn in prompt.messages]
        choices = None if prompt.choices is None else [take_apart(text, self._special) for text in prompt.choices]
        text, complete = render(messages, self.tokenizer, self.chat, thinking=thinking)
        lead: Ids = () if complete else self.lead
        if choices and not self.encoder_decoder:
            return Job(prompt, split_choices(self.tokenizer, text, choices, lead=lead), text)
        prefix = lead + encode(self.tokenizer, [text])[0]
        if not self.encoder_decoder:
            return Job(prompt, Tokenized(prefix), text)
        targets = encode(self.tokenizer, [choice.strip() for choice in choices]) if choices else []
        if not all(targets):
            raise EngineError(f"prompt {prompt.prompt_id!r} has a blank choice", hint="Look for items without a title.")
        return Job(prompt, Tokenized(prefix if complete else prefix + self.tail, tuple(targets)), text)

    def plan(self, prompts: Sequence[Prompt], *, needs: Callable[[Prompt], int], context: int) -> list[Job]:
        """Return the prompts as jobs, longest first, ties by prompt id: the same plan for any order of prompts.

        Raises:
            EngineError: If a prompt needs more tokens than the context has.
        """
        for prompt in prompts:
            if (tokens := needs(prompt)) > context:
                raise EngineError(
                    f"prompt {prompt.prompt_id!r} needs {tokens} tokens, the model takes {context}",
                    hint="Show less history with --history, or lower `-O answer_tokens`.",
                )
        jobs = [self.read(prompt) for prompt in prompts]
        return sorted(jobs, key=lambda job: (-len(job.tokens.prefix), job.prompt.prompt_id))


def stretches(prompts: Iterable[Prompt]) -> Iterator[list[Prompt]]:
    """Cut prompts, in their order, into parts of 256 or a few more; those of one request stay together."""
    part: list[Prompt] = []
    for _, group in groupby(prompts, key=lambda prompt: prompt.request_id):
        part += group
        if len(part) >= _STRETCH:
            yield part
            part = []
    if part:
        yield part


def cut(items: Iterable[T], *, fits: Callable[[list[T]], bool]) -> Iterator[list[T]]:
    """Cut items, in their order, into batches for which `fits` holds, or of one item.

    `fits` is asked as the batches are taken, so its bound may change on the way.
    """
    batch: list[T] = []
    for item in items:
        if batch and not fits([*batch, item]):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def choices_response(job: Job, logprobs: Sequence[Sequence[float]], *, cached: int = 0) -> Response:
    """Return the response to a prompt with choices from the log-probabilities of `job.tokens.distinct`."""
    distinct = job.tokens.distinct
    values = {suffix: tuple(row) for suffix, row in zip(distinct, logprobs, strict=True)}
    return Response(
        prompt_id=job.prompt.prompt_id,
        text=None,
        choice_logprobs=tuple(values[suffix] for suffix in job.tokens.suffixes),
        prompt_tokens=len(job.tokens.prefix),
        cached_tokens=cached,
        completion_tokens=sum(map(len, distinct)),
        finish_reason="choices",
    )

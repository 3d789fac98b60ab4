"""Texts on vLLM: greedy or sampled answers, thoughts before them, and answers that obey a grammar."""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from vllm import SamplingParams

from llmrs_bench.core.types import Response
from llmrs_bench.llm.backends.vllm_likelihood import Send
from llmrs_bench.llm.base import ModelOptions, sample_seed
from llmrs_bench.llm.constrained import Permutation, lead_in, permutation
from llmrs_bench.llm.thinking import CLOSE, GAP, find_closing, written_response
from llmrs_bench.llm.tokenization import Ids, Job, PromptReader

if TYPE_CHECKING:
    from vllm import RequestOutput

_REMEMBERED = 64  # grammars


class VllmGenerator:
    """Writes answers, greedy or sampled.

    vLLM's structured outputs cannot say "each number once": a regular grammar of permutations has 2^n states. An answer
    with a grammar is therefore written token by token, one request for each that is not forced, which reads the prefix
    cache and admits the allowed tokens alone.

    Args:
        send: Has vLLM answer prompts of token ids.
        reader: The prompts, rendered for thinking if there is a budget for it.
        options: The budgets, and the temperature.
        stops: Tokens that end an answer.
        seed: Of sampled texts.

    Raises:
        ModelError: If a model that does not think is to.
    """

    def __init__(self, send: Send, reader: PromptReader, options: ModelOptions, *, stops: Ids, seed: int) -> None:
        self.send = send
        self.reader = reader
        self.options = options
        self.stops = stops
        self.seed = seed
        self.closing = find_closing(reader.tokenizer, chat=reader.chat) if options.thinking_tokens else None
        self._grammar = lru_cache(_REMEMBERED)(self._make_grammar)

    def count_tokens(self, job: Job) -> int:
        """Return how many tokens a thought and an answer take at most."""
        thought = 0 if self.closing is None else self.options.thinking_tokens + self.closing.longest
        grammar = self._grammar_of(job)
        return thought + max(self.options.answer_tokens, 0 if grammar is None else grammar.longest)

    def write(self, jobs: Sequence[Job]) -> list[Response]:
        """Write an answer to each job."""
        thoughts = self._think(jobs)
        prefixes = [job.tokens.prefix + closed for job, (_, closed, _) in zip(jobs, thoughts, strict=True)]
        free = [index for index, job in enumerate(jobs) if job.prompt.grammar is None]
        bound = [index for index, job in enumerate(jobs) if job.prompt.grammar is not None]
        answers = dict(zip(free, self._say([jobs[i] for i in free], [prefixes[i] for i in free]), strict=True))
        answers |= dict(zip(bound, self._spell([jobs[i] for i in bound], [prefixes[i] for i in bound]), strict=True))
        return [
            self._respond(job, *thought, *answers[index])
            for index, (job, thought) in enumerate(zip(jobs, thoughts, strict=True))
        ]

    def _think(self, jobs: Sequence[Job]) -> list[tuple[Ids, Ids, int]]:
        """Return for each job its thought, the thought as the answer follows it, and the prompt tokens in the cache."""
        if self.closing is None:
            return [((), (), 0)] * len(jobs)
        budget = self.options.thinking_tokens
        prefixes = [job.tokens.prefix for job in jobs]
        told = {"max_tokens": budget, "stop_token_ids": [self.closing.token]}
        params = [self._params(job, prefix, **told) for job, prefix in zip(jobs, prefixes, strict=True)]
        outputs = self.send(prefixes, params)
        thoughts = [(tuple(output.outputs[0].token_ids), output.num_cached_tokens or 0) for output in outputs]
        return [(thought, self.closing.close(thought, self.stops), cached) for thought, cached in thoughts]

    def _say(self, jobs: Sequence[Job], prefixes: Sequence[Ids]) -> list[tuple[Ids, bool, int]]:
        """Return for each prefix an answer, whether it came to its end, and the tokens of the prefix in the cache."""
        pairs, longest = zip(jobs, prefixes, strict=True), self.options.answer_tokens
        outputs = self.send(prefixes, [self._params(job, prefix, max_tokens=longest) for job, prefix in pairs])
        return [_said(output) for output in outputs]

    def _spell(self, jobs: Sequence[Job], prefixes: Sequence[Ids]) -> list[tuple[Ids, bool, int]]:
        """Return what `_say` does, of answers that obey the grammar of their job."""
        written: list[list[int]] = [[] for _ in jobs]
        cached: list[int | None] = [None] * len(jobs)
        waiting = {index: grammar for index, job in enumerate(jobs) if (grammar := self._grammar_of(job))}
        while waiting:
            asked = {index: grammar.advance(written[index]) for index, grammar in waiting.items()}
            waiting = {index: grammar for index, grammar in waiting.items() if not grammar.ended(written[index])}
            so_far = {index: prefixes[index] + tuple(written[index]) for index in waiting}
            steps = [
                self._params(jobs[index], prefix, max_tokens=1, allowed_token_ids=asked[index])
                for index, prefix in so_far.items()
            ]
            outputs = self.send(list(so_far.values()), steps)
            for index, output in zip(list(waiting), outputs, strict=True):
                written[index] += output.outputs[0].token_ids
                known = cached[index]
                cached[index] = (output.num_cached_tokens or 0) if known is None else known
                if waiting[index].ended(written[index]):
                    del waiting[index]
        return [(tuple(ids), True, count or 0) for ids, count in zip(written, cached, strict=True)]

    def _respond(  # two phases of one answer
        self, job: Job, thought: Ids, closed: Ids, before: int, answer: Ids, stopped: bool, cached: int
    ) -> Response:
        known = None if self.closing is None else (thought, closed)
        read = cached if self.closing is None else before
        return written_response(self.reader.tokenizer, job, known, answer, stopped=stopped, cached=read)

    def _params(self, job: Job, prefix: Ids, **changed: Any) -> SamplingParams:
        """Return how the text behind a prefix is written: a sampled one from a seed of its own."""
        warm = self.options.temperature
        seed = sample_seed(self.seed, job.prompt.sample, prefix) if warm else self.seed
        return SamplingParams(temperature=warm, seed=seed, detokenize=False, **changed)

    def _grammar_of(self, job: Job) -> Permutation | None:
        if job.prompt.grammar is None:
            return None
        return self._grammar(lead_in(job.text) if self.closing is None else CLOSE + GAP, len(job.prompt.shown))

    def _make_grammar(self, before: str, count: int) -> Permutation:
        return permutation(self.reader.tokenizer, before, count, self.stops)


def _said(output: "RequestOutput") -> tuple[Ids, bool, int]:
    answer = output.outputs[0]
    return tuple(answer.token_ids), answer.finish_reason != "length", output.num_cached_tokens or 0

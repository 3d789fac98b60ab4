"""Texts of a transformers model: batches of prompts, thoughts before answers, and answers that obey a grammar."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from llmrs_bench.engines.generation import generate, greedy_config
from llmrs_bench.engines.jobs import Job, PromptReader, cut
from llmrs_bench.engines.memory import Memory
from llmrs_bench.engines.options import ModelOptions
from llmrs_bench.engines.permutation import Permutation, permutation
from llmrs_bench.engines.sampling import sample_seed
from llmrs_bench.engines.thinking import CLOSE, GAP, find_closing, written_response
from llmrs_bench.engines.tokens import Ids
from llmrs_bench.types import Response

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_REMEMBERED = 64  # grammars
_CONTEXT = 200  # characters before an answer that may say how its first number is written


class Writer:
    """Writes answers, greedy or sampled, with a thought before each if the options give it tokens.

    Args:
        model: Causal or encoder-decoder.
        reader: Its prompts, rendered for thinking if there is a budget for it.
        memory: Bounds the batches.
        options: The budgets, and the temperature.
        seed: Of sampled texts.

    Raises:
        ModelError: If a model that does not think is to.
    """

    def __init__(
        self, model: "PreTrainedModel", reader: PromptReader, memory: Memory, options: ModelOptions, *, seed: int
    ) -> None:
        self.model = model
        self.reader = reader
        self.memory = memory
        self.options = options
        self.seed = seed
        self.encoder_decoder = bool(model.config.is_encoder_decoder)
        self.config = greedy_config(model, reader.tokenizer)
        model.generation_config = self.config
        self.stops: Ids = tuple(self.config.eos_token_id or ())
        self.closing = find_closing(reader.tokenizer, chat=reader.chat) if options.thinking_tokens else None
        self._grammar: Callable[[str, int], Permutation] = lru_cache(_REMEMBERED)(self._make_grammar)

    def needs(self, job: Job) -> int:
        """Return how many tokens a thought and an answer take at most."""
        thought = 0 if self.closing is None else self.options.thinking_tokens + self.closing.longest
        return thought + self._budget(job)

    def write(self, jobs: Sequence[Job]) -> Iterator[Response]:
        """Write an answer to each job, the longest prompt first.

        Raises:
            EngineError: If the device fails.
        """
        for batch in self.batches(jobs):
            yield from self.memory.run(batch, self._write)

    def batches(self, jobs: Sequence[Job]) -> Iterator[list[Job]]:
        """Cut jobs into what `write` computes together."""
        return cut(jobs, fits=self._fits)

    def _fits(self, batch: Sequence[Job]) -> bool:
        width = max(len(job.tokens.prefix) for job in batch) + max(map(self.needs, batch))
        alike = len({job.prompt.grammar for job in batch}) == 1
        return alike and not self.memory.deterministic and len(batch) * width <= self.memory.tokens

    def _write(self, batch: Sequence[Job]) -> list[Response]:
        thoughts = self._think(batch)
        grammars = [grammar for job in batch if (grammar := self._grammar_of(job)) is not None]
        prefixes = [job.tokens.prefix + closed for job, (_, closed) in zip(batch, thoughts, strict=True)]
        answers = generate(
            self.model,
            self.config,
            prefixes,
            budgets=[self._budget(job) for job in batch],
            stops=grammars[0].stops if grammars else self.stops,
            grammars=grammars or None,
            **self._sampled(batch, prefixes),
        )
        return [
            self._respond(job, thought, closed, *answer)
            for job, (thought, closed), answer in zip(batch, thoughts, answers, strict=True)
        ]

    def _think(self, batch: Sequence[Job]) -> list[tuple[Ids, Ids]]:
        """Return for each job the thought as the model wrote it, and as it reads it before its answer."""
        if self.closing is None:
            return [((), ())] * len(batch)
        prefixes = [job.tokens.prefix for job in batch]
        written = generate(
            self.model,
            self.config,
            prefixes,
            budgets=[self.options.thinking_tokens] * len(batch),
            stops=(*self.stops, self.closing.token),
            **self._sampled(batch, prefixes),
        )
        return [(thought, self.closing.close(thought, self.stops)) for thought, _ in written]

    def _sampled(self, batch: Sequence[Job], prefixes: Sequence[Ids]) -> dict[str, Any]:
        """Return temperature and seeds of texts behind these prefixes."""
        pairs = zip(batch, prefixes, strict=True)
        seeds = [sample_seed(self.seed, job.prompt.sample, prefix) for job, prefix in pairs]
        return {"temperature": self.options.temperature, "seeds": seeds}

    def _respond(self, job: Job, thought: Ids, closed: Ids, answer: Ids, stopped: bool) -> Response:
        known = None if self.closing is None else (thought, closed)
        return written_response(self.reader.tokenizer, job, known, answer, stopped=stopped, cached=0)

    def _budget(self, job: Job) -> int:
        grammar = self._grammar_of(job)
        return max(self.options.answer_tokens, 0 if grammar is None else grammar.longest)

    def _grammar_of(self, job: Job) -> Permutation | None:
        if job.prompt.grammar is None:
            return None
        before = "" if self.encoder_decoder else job.text[-_CONTEXT:] if self.closing is None else CLOSE + GAP
        return self._grammar(before, len(job.prompt.shown))

    def _make_grammar(self, before: str, count: int) -> Permutation:
        return permutation(self.reader.tokenizer, before, count, self.stops or (self.config.pad_token_id,))

"""Texts of a transformers model, greedy or sampled, many prompts at a time."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from copy import deepcopy
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers import __version__ as transformers_version
from transformers.generation.streamers import BaseStreamer

from llmrs_bench.core import config
from llmrs_bench.core.device import pick_device
from llmrs_bench.core.environment import environment
from llmrs_bench.core.errors import ModelError
from llmrs_bench.core.types import Json, Prompt, Response
from llmrs_bench.llm.backends.likelihood import Scorer
from llmrs_bench.llm.base import ModelOptions, sample_seed
from llmrs_bench.llm.constrained import Permutation, lead_in, permutation
from llmrs_bench.llm.engine_options import TransformersOptions
from llmrs_bench.llm.identity import identify
from llmrs_bench.llm.loading import Checkpoint, Memory, context_length, pick_dtype, tokenizer_digest
from llmrs_bench.llm.model_aliases import ModelSpec
from llmrs_bench.llm.self_check import candidates, mates
from llmrs_bench.llm.thinking import CLOSE, GAP, find_closing, written_response
from llmrs_bench.llm.tokenization import Ids, Job, PromptReader, cut, stretches, template_digest

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def greedy_config(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> GenerationConfig:
    """Return a configuration for greedy answers that takes nothing from the checkpoint but its special tokens.

    Checkpoints bring temperatures and repetition penalties of their own, which `generate` would mix in.
    """
    own = model.generation_config
    stop = own.eos_token_id if own.eos_token_id is not None else tokenizer.eos_token_id
    stops = stop if isinstance(stop, list) else [] if stop is None else [stop]
    start = own.decoder_start_token_id
    return GenerationConfig(
        do_sample=False,
        eos_token_id=stops or None,
        pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else next(iter(stops), 0),
        bos_token_id=own.bos_token_id,
        decoder_start_token_id=getattr(model.config, "decoder_start_token_id", None) if start is None else start,
    )


class _Heard(BaseStreamer):  # type: ignore[misc]  # transformers leaves it untyped
    """Tells after each pass over the model how many tokens it read and wrote; the first one reads the prompts.

    Args:
        heard: Called with their number.
        prompts: Tokens of all prompts.
        padding: The token that fills rows, which does not count.
    """

    def __init__(self, heard: Callable[[int], None], *, prompts: int, padding: int) -> None:
        self.heard = heard
        self.read: int | None = None
        self.prompts = prompts
        self.padding = padding

    def put(self, value: Tensor) -> None:
        """Take what comes next: before the first pass, what `generate` was given."""
        if self.read is None:
            self.read = self.prompts
            return
        self.heard(self.read + int((value != self.padding).sum()))
        self.read = 0

    def end(self) -> None:
        """Do nothing: the texts themselves come back from `generate`."""


class _Noise(LogitsProcessor):  # type: ignore[misc]  # transformers leaves it untyped
    """Adds Gumbel noise, after which the likeliest token is one drawn from the softmax (Gumbel, 1954).

    Each row has a generator of its own, so that a text does not depend on the others of its batch.
    """

    def __init__(self, temperature: float, seeds: Sequence[int], device: torch.device) -> None:
        self.temperature = temperature
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        waits = torch.empty_like(scores, dtype=torch.float32)
        for row, generator in zip(waits, self.generators, strict=True):
            row.exponential_(generator=generator)
        return scores / self.temperature - waits.clamp_min(torch.finfo(torch.float32).tiny).log()


def _admit(grammars: Sequence[Permutation], start: int) -> Callable[[int, Tensor], list[int]]:
    """Return what `generate` asks for the tokens that may come next in one row of a batch."""

    def allowed(row: int, ids: Tensor) -> list[int]:
        grammar, written = grammars[row], ids[start:].tolist()
        # A text that has ended is padded until the others of its batch have.
        return list(grammar.stops) if set(grammar.stops) & set(written) else grammar.allowed(written)

    return allowed


def _cut(row: list[int], stops: Sequence[int]) -> tuple[Ids, bool]:
    for index, token in enumerate(row):
        if token in stops:
            return tuple(row[: index + 1]), True
    return tuple(row), False


if TYPE_CHECKING:
    from transformers import PreTrainedModel

_REMEMBERED = 64  # grammars


class TextGenerator:
    """Writes answers, greedy or sampled, with a thought before each if the options give it tokens.

    Args:
        model: Causal or encoder-decoder.
        reader: Its prompts, rendered for thinking if there is a budget for it.
        memory: Bounds the batches.
        options: The budgets, and the temperature.
        seed: Of sampled texts.

    Attributes:
        heard: Called with tokens as soon as they are read or written.

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
        self.heard: Callable[[int], None] = lambda tokens: None
        self._grammar: Callable[[str, int], Permutation] = lru_cache(_REMEMBERED)(self._make_grammar)

    def count_tokens(self, job: Job) -> int:
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
        width = max(len(job.tokens.prefix) for job in batch) + max(map(self.count_tokens, batch))
        alike = len({job.prompt.grammar for job in batch}) == 1
        return alike and not self.memory.deterministic and len(batch) * width <= self.memory.tokens

    def _write(self, batch: Sequence[Job]) -> list[Response]:
        thoughts = self._think(batch)
        grammars = [grammar for job in batch if (grammar := self._grammar_of(job)) is not None]
        prefixes = [job.tokens.prefix + closed for job, (_, closed) in zip(batch, thoughts, strict=True)]
        answers = self._generate(
            batch,
            prefixes,
            budgets=[self._budget(job) for job in batch],
            stops=grammars[0].stops if grammars else self.stops,
            grammars=grammars or None,
        )
        return [
            self._respond(job, thought, closed, *answer)
            for job, (thought, closed), answer in zip(batch, thoughts, answers, strict=True)
        ]

    def _think(self, batch: Sequence[Job]) -> list[tuple[Ids, Ids]]:
        """Return for each job the thought as the model wrote it, and as it reads it before its answer."""
        if self.closing is None:
            return [((), ())] * len(batch)
        written = self._generate(
            batch,
            [job.tokens.prefix for job in batch],
            budgets=[self.options.thinking_tokens] * len(batch),
            stops=(*self.stops, self.closing.token),
        )
        return [(thought, self.closing.close(thought, self.stops)) for thought, _ in written]

    def _generate(
        self,
        batch: Sequence[Job],
        prefixes: Sequence[Ids],
        *,
        budgets: Sequence[int],
        stops: Sequence[int],
        grammars: Sequence[Permutation] | None = None,
    ) -> list[tuple[Ids, bool]]:
        """Return behind each prefix the new tokens up to the first stop token, and whether there was one.

        Prefixes are padded on the left, or on the right for an encoder, and the padding is masked.

        Args:
            batch: The jobs, whose samples have seeds of their own.
            prefixes: Token ids.
            budgets: The most tokens to write behind each prefix.
            stops: Tokens that end a text.
            grammars: What each text may be.
        """
        width = max(map(len, prefixes))
        padding = self.config.pad_token_id
        ids, mask = [], []
        for prefix in prefixes:
            fill, ones = [padding] * (width - len(prefix)), [1] * len(prefix)
            ids.append([*prefix, *fill] if self.encoder_decoder else [*fill, *prefix])
            mask.append([*ones, *[0] * len(fill)] if self.encoder_decoder else [*[0] * len(fill), *ones])
        start = 1 if self.encoder_decoder else width  # an encoder-decoder's output begins with its start token
        settings = deepcopy(self.config)
        settings.max_new_tokens = max(budgets)
        settings.eos_token_id = list(stops) or None
        extra: dict[str, Any] = {} if grammars is None else {"prefix_allowed_tokens_fn": _admit(grammars, start)}
        if (warm := self.options.temperature) > 0:
            pairs = zip(batch, prefixes, strict=True)
            seeds = [sample_seed(self.seed, job.prompt.sample, prefix) for job, prefix in pairs]
            extra["logits_processor"] = LogitsProcessorList([_Noise(warm, seeds, self.model.device)])
        output = self.model.generate(
            input_ids=torch.tensor(ids, device=self.model.device),
            attention_mask=torch.tensor(mask, device=self.model.device),
            generation_config=settings,
            streamer=_Heard(self.heard, prompts=sum(map(len, prefixes)), padding=padding),
            **extra,
        )
        written = output[:, start:].tolist()
        return [_cut(row[:budget], stops) for row, budget in zip(written, budgets, strict=True)]

    def _respond(self, job: Job, thought: Ids, closed: Ids, answer: Ids, stopped: bool) -> Response:
        known = None if self.closing is None else (thought, closed)
        return written_response(self.reader.tokenizer, job, known, answer, stopped=stopped, cached=0)

    def _budget(self, job: Job) -> int:
        grammar = self._grammar_of(job)
        return max(self.options.answer_tokens, 0 if grammar is None else grammar.longest)

    def _grammar_of(self, job: Job) -> Permutation | None:
        if job.prompt.grammar is None:
            return None
        before = "" if self.encoder_decoder else lead_in(job.text) if self.closing is None else CLOSE + GAP
        return self._grammar(before, len(job.prompt.shown))

    def _make_grammar(self, before: str, count: int) -> Permutation:
        return permutation(self.reader.tokenizer, before, count, self.stops or (self.config.pad_token_id,))


# A pass that reads prompts fills a CPU with this many tokens; the states of more leave its cache.
_CPU_TOKENS = 2048


class TransformersEngine:
    """Answers with a causal or an encoder-decoder model.

    With the option `deterministic` each request is computed alone.
    """

    Options: ClassVar[type[config.Options]] = TransformersOptions
    packages: ClassVar[tuple[str, ...]] = ("transformers", "torch")

    @staticmethod
    def identity(model: ModelSpec, options: TransformersOptions) -> dict[str, str]:
        """Return the digests or the commit of the weights and of the adapter."""
        return identify(model, gguf_file=options.gguf_file, lora=options.lora)

    def __init__(self, model: ModelSpec, options: TransformersOptions, *, device: str, seed: int) -> None:
        # CUDA reads it when it starts, and refuses deterministic algorithms without it.
        variables = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"} if options.deterministic else {}
        with ExitStack() as stack:
            stack.enter_context(environment(variables))
            self._load(model, options, device=device, seed=seed)
            self._close = stack.pop_all()

    def _load(self, model: ModelSpec, options: TransformersOptions, *, device: str, seed: int) -> None:
        self.options = options
        self.seed = seed
        checkpoint = Checkpoint(model, options)
        self._identity = {"model_source": model.source, **checkpoint.identity}
        settings = checkpoint.config()
        tokenizer = checkpoint.tokenizer()
        self.encoder_decoder = bool(settings.is_encoder_decoder)
        self.context = context_length(model, settings, tokenizer, wanted=options.context)
        self.reader = PromptReader(
            tokenizer, chat=model.chat, encoder_decoder=self.encoder_decoder, thinking=options.thinking_tokens > 0
        )
        self._tokenizer_digest = tokenizer_digest(tokenizer)
        place = pick_device(device)
        self.weights = checkpoint.weights(settings, dtype=pick_dtype(options.dtype, settings, place), device=place)
        if not self.weights.can_generate():
            raise ModelError(f"model {model.source!r} does not write text", hint="Choose a language model.")
        bound = min(options.batch_tokens, _CPU_TOKENS) if place.type == "cpu" else options.batch_tokens
        self._reading = Memory(bound, deterministic=options.deterministic)
        self._decoding = Memory(options.batch_tokens, deterministic=options.deterministic)
        self.scorer = Scorer(self.weights, self._reading, packed=options.packed, self_check=options.self_check)
        self.writer = TextGenerator(self.weights, self.reader, self._decoding, options, seed=seed)
        self._device = torch.cuda.get_device_name(place) if place.type == "cuda" else place.type

    def count_tokens(self, prompts: Sequence[Prompt]) -> list[int]:
        """Return the tokens of the prompt, and of its longest choice or thought and answer.

        An encoder takes the prompt alone.
        """
        return [self._count_tokens(self.reader.read(prompt)) for prompt in prompts]

    def check(self, prompts: Sequence[Prompt]) -> None:
        """Score some prompts with choices in two ways: the longest and the shortest, and others between them.

        Raises:
            EngineError: If the two differ by more than rounding explains.
        """
        if self.scorer.checked:
            return
        picked = self.scorer.pick([self.reader.read(prompt) for prompt in candidates(prompts)])
        together = {other.prompt_id: other for job in picked for other in mates(job.prompt, prompts)}
        if picked:
            self.scorer.check(picked, [self.reader.read(prompt) for prompt in together.values()])

    def batches(self, prompts: Sequence[Prompt]) -> Iterator[Sequence[Prompt]]:
        """Cut prompts into what one pass over the model takes, those of like length in a stretch of them together."""
        for some in stretches(prompts):
            scored, written = self._plan(some)
            for batch in chain(self.scorer.batches(scored), self.writer.batches(written)):
                yield [job.prompt for job in batch]

    def answer(self, prompts: Sequence[Prompt]) -> Iterator[Response]:
        """Answer each prompt once: those with choices first, the longest first.

        Raises:
            EngineError: If a prompt does not fit, the device fails, or packed and plain scoring differ.
        """
        self.check(prompts)
        yield from self._answer(prompts)

    def answer_batches(self, batches: Iterable[Sequence[Prompt]]) -> Iterator[Sequence[Response]]:
        """Answer one batch after the other; whoever cut them has them checked."""
        for batch in batches:
            yield list(self._answer(batch))

    def _answer(self, prompts: Sequence[Prompt]) -> Iterator[Response]:
        scored, written = self._plan(prompts)
        yield from self.scorer.score(scored)
        yield from self.writer.write(written)

    def tell(self, heard: Callable[[int], None]) -> None:
        """Call `heard` with the tokens of texts as soon as they are read or written."""
        self.writer.heard = heard

    def reset_cache(self) -> None:
        """Do nothing: no prompt leaves a cache behind."""

    def close(self) -> None:
        """Free the memory of the weights."""
        self._close.close()
        self.weights.to("meta")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def facts(self) -> dict[str, Json]:
        """Return model, tokenizer, template, numbers, device and versions, and what happened while answering."""
        return {
            **self._identity,
            "engine": "transformers",
            "engine_version": transformers_version,
            "torch_version": torch.__version__,
            "tokenizer_sha256": self._tokenizer_digest,
            "chat_template_sha256": template_digest(self.reader.tokenizer),
            "dtype": str(self.weights.dtype).removeprefix("torch."),
            "device": self._device,
            "context": self.context,
            "seed": self.seed,
            "deterministic": self.options.deterministic,
            **self.scorer.self_check.facts(),
            "boundary_moved": self.scorer.boundary_moved,
            "scored_plainly": self.scorer.scored_plainly,
            "batches": self._reading.batches + self._decoding.batches,
            "batches_halved": self._reading.halved + self._decoding.halved,
        }

    def _plan(self, prompts: Sequence[Prompt]) -> tuple[list[Job], list[Job]]:
        """Return the prompts to score and those to answer with a text."""
        jobs = self.reader.plan(
            prompts, count_tokens=lambda prompt: self.count_tokens([prompt])[0], context=self.context
        )
        scored = [job for job in jobs if job.prompt.choices is not None]
        return scored, [job for job in jobs if job.prompt.choices is None]

    def _count_tokens(self, job: Job) -> int:
        if self.encoder_decoder:
            return len(job.tokens.prefix)
        return len(job.tokens.prefix) + (
            self.writer.count_tokens(job) if job.prompt.choices is None else job.tokens.longest
        )

"""Engine on Hugging Face transformers: exact choice log-probabilities and texts, on a CPU or one GPU."""

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import ClassVar

import torch
from pydantic import Field
from transformers import __version__ as transformers_version

from llmrs_bench import config
from llmrs_bench.catalog import ModelSpec
from llmrs_bench.engines.chat import template_digest
from llmrs_bench.engines.identity import identify
from llmrs_bench.engines.jobs import Job, PromptReader, stretches
from llmrs_bench.engines.loading import Checkpoint, context_length, pick_device, pick_dtype, tokenizer_digest
from llmrs_bench.engines.memory import Memory
from llmrs_bench.engines.options import ModelOptions
from llmrs_bench.engines.scoring import Scorer
from llmrs_bench.engines.self_check import candidates, mates
from llmrs_bench.engines.writing import Writer
from llmrs_bench.errors import ModelError
from llmrs_bench.types import Json, Prompt, Response

# A pass that reads prompts fills a CPU with this many tokens; the states of more leave its cache.
_CPU_TOKENS = 2048


class TransformersOptions(ModelOptions):
    """How transformers runs the model.

    Args:
        batch_tokens: The most tokens in one forward pass, padding and answers counted; for choices on a CPU fewer
            are taken, which is faster. Where memory runs out, the engine halves it by itself.
        packed: Score the choices of a prompt as one packed sequence behind its cached keys and values.
    """

    batch_tokens: int = Field(default=8192, ge=1)
    packed: bool = True


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
        if options.deterministic:  # read by CUDA when it starts; without it, it refuses deterministic algorithms
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
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
        place = pick_device(device)
        self.weights = checkpoint.weights(settings, dtype=pick_dtype(options.dtype, settings, place), device=place)
        if not self.weights.can_generate():
            raise ModelError(f"model {model.source!r} does not write text", hint="Choose a language model.")
        bound = min(options.batch_tokens, _CPU_TOKENS) if place.type == "cpu" else options.batch_tokens
        self._reading = Memory(bound, deterministic=options.deterministic)
        self._decoding = Memory(options.batch_tokens, deterministic=options.deterministic)
        self.scorer = Scorer(self.weights, self._reading, packed=options.packed, self_check=options.self_check)
        self.writer = Writer(self.weights, self.reader, self._decoding, options, seed=seed)
        self._device = torch.cuda.get_device_name(place) if place.type == "cuda" else place.type

    def needs(self, prompts: Sequence[Prompt]) -> list[int]:
        """Return the tokens of the prompt, and of its longest choice or thought and answer.

        An encoder takes the prompt alone.
        """
        return [self._needs(self.reader.read(prompt)) for prompt in prompts]

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

    def forget(self) -> None:
        """Do nothing: no prompt leaves a cache behind."""

    def close(self) -> None:
        """Free the memory of the weights."""
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
            "tokenizer_sha256": tokenizer_digest(self.reader.tokenizer),
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
        jobs = self.reader.plan(prompts, needs=lambda prompt: self.needs([prompt])[0], context=self.context)
        scored = [job for job in jobs if job.prompt.choices is not None]
        return scored, [job for job in jobs if job.prompt.choices is None]

    def _needs(self, job: Job) -> int:
        if self.encoder_decoder:
            return len(job.tokens.prefix)
        return len(job.tokens.prefix) + (self.writer.needs(job) if job.prompt.choices is None else job.tokens.longest)

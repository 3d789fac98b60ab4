"""The engine that answers with a model of transformers: likelihoods of choices, and texts."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from typing import TYPE_CHECKING, ClassVar

import torch
from transformers import __version__ as transformers_version

from llmrs_bench.core import config
from llmrs_bench.core.device import pick_device
from llmrs_bench.core.environment import environment
from llmrs_bench.core.errors import ModelError
from llmrs_bench.core.types import Json, Prompt, Response
from llmrs_bench.llm.backends.likelihood import Scorer
from llmrs_bench.llm.backends.transformers_generation import TextGenerator
from llmrs_bench.llm.engine_options import BATCH_TOKENS, TransformersOptions
from llmrs_bench.llm.identity import identify
from llmrs_bench.llm.loading import Checkpoint, Memory, context_length, pick_dtype, tokenizer_digest
from llmrs_bench.llm.model_aliases import ModelSpec
from llmrs_bench.llm.self_check import candidates, mates
from llmrs_bench.llm.tokenization import Job, PromptReader, stretches, template_digest

if TYPE_CHECKING:
    from transformers import PreTrainedModel


# Keys and values of a batch that writes on a CPU. Each token of a text reads all weights, once for the whole batch.
_CPU_CACHE = 2 * 2**30


def writing_tokens(model: "PreTrainedModel", batch_tokens: int) -> int:
    """Return how many tokens a batch that writes may have where nobody said.

    Args:
        model: On a CPU, it takes as many as `_CPU_CACHE` holds, if that is more than `batch_tokens`.
        batch_tokens: The usual bound.
    """
    settings = model.config.get_text_config(decoder=True)
    heads = getattr(settings, "num_key_value_heads", None) or getattr(settings, "num_attention_heads", None)
    if model.device.type != "cpu" or model.config.is_encoder_decoder or not heads:
        return batch_tokens
    width = getattr(settings, "head_dim", None) or settings.hidden_size // settings.num_attention_heads
    token: int = 2 * settings.num_hidden_layers * heads * width * model.dtype.itemsize
    return max(batch_tokens, _CPU_CACHE // token)


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
        usual = options.batch_tokens or BATCH_TOKENS
        reading = min(usual, _CPU_TOKENS) if place.type == "cpu" else usual
        writing = options.batch_tokens or writing_tokens(self.weights, BATCH_TOKENS)
        self._reading = Memory(reading, deterministic=options.deterministic)
        self._writing = Memory(writing, deterministic=options.deterministic)
        self.scorer = Scorer(self.weights, self._reading, packed=options.packed, self_check=options.self_check)
        self.writer = TextGenerator(self.weights, self.reader, self._writing, options, seed=seed)
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
            "batches": self._reading.batches + self._writing.batches,
            "batches_halved": self._reading.halved + self._writing.halved,
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

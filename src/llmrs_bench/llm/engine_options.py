"""The options of the engines that hold a model: a module of their own, for who reads them without loading one."""

from pydantic import Field

from llmrs_bench.llm.base import ModelOptions


class TransformersOptions(ModelOptions):
    """How transformers runs the model.

    Args:
        batch_tokens: The most tokens in one forward pass, padding and answers counted; for choices on a CPU fewer
            are taken, which is faster. Where memory runs out, the engine halves it by itself.
        packed: Score the choices of a prompt as one packed sequence behind its cached keys and values.
    """

    batch_tokens: int = Field(default=8192, ge=1)
    packed: bool = True


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
        share_prompt: Score choices by requests that share the prompt's cache, instead of each without it.
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

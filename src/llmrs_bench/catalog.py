"""Short names of language models: which Hugging Face model each means, and what kind of model it is."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Architecture: TypeAlias = Literal["causal", "encoder-decoder", "prefix"]
Tuning: TypeAlias = Literal["none", "instruction", "chat", "reasoning"]


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A language model: where it is loaded from, and the properties the paper compares.

    `source` is a Hugging Face id or a local folder; `revision` a commit, a tag or None (the main branch,
    whose commit is resolved and recorded when the model is used). `size_b` is in 10^9 parameters and
    `context` in tokens; None where nobody said. `chat` tells whether prompts go through the model's own
    chat template; None: as the tokenizer has one or not. `remote_code`: it only loads with code of its own.
    """

    name: str
    source: str
    revision: str | None = None
    family: str | None = None
    size_b: float | None = None
    context: int | None = None
    architecture: Architecture | None = None
    tuning: Tuning | None = None
    chat: bool | None = None
    remote_code: bool = False


# The open models of arXiv 2401.04997, Tables 4 and 5; Alpaca-LoRA needs an adapter and has no row yet.
_SPECS = (
    ModelSpec(
        "flan-t5-xl", "google/flan-t5-xl", None, "Flan-T5", 3, 512, "encoder-decoder", "instruction", False, False
    ),
    ModelSpec(
        "flan-t5-xxl", "google/flan-t5-xxl", None, "Flan-T5", 11, 512, "encoder-decoder", "instruction", False, False
    ),
    ModelSpec("chatglm-6b", "zai-org/chatglm-6b", None, "ChatGLM", 6, 2048, "prefix", "chat", True, True),
    ModelSpec("chatglm2-6b-32k", "zai-org/chatglm2-6b-32k", None, "ChatGLM", 6, 32768, "causal", "chat", True, True),
    ModelSpec("chatglm3-6b", "zai-org/chatglm3-6b", None, "ChatGLM", 6, 2048, "causal", "chat", True, True),
    ModelSpec("chatglm3-6b-32k", "zai-org/chatglm3-6b-32k", None, "ChatGLM", 6, 32768, "causal", "chat", True, True),
    ModelSpec("llama-7b", "huggyllama/llama-7b", None, "LLaMA", 7, 2048, "causal", "none", False, False),
    ModelSpec("llama-13b", "huggyllama/llama-13b", None, "LLaMA", 13, 2048, "causal", "none", False, False),
    ModelSpec("llama-33b", "huggyllama/llama-30b", None, "LLaMA", 33, 2048, "causal", "none", False, False),
    ModelSpec("llama-65b", "huggyllama/llama-65b", None, "LLaMA", 65, 2048, "causal", "none", False, False),
    ModelSpec("vicuna-7b", "lmsys/vicuna-7b-v1.3", None, "Vicuna", 7, 2048, "causal", "chat", True, False),
    ModelSpec("vicuna-13b", "lmsys/vicuna-13b-v1.3", None, "Vicuna", 13, 2048, "causal", "chat", True, False),
    ModelSpec("llama-2-7b", "meta-llama/Llama-2-7b-hf", None, "LLaMA 2", 7, 4096, "causal", "none", False, False),
    ModelSpec("llama-2-13b", "meta-llama/Llama-2-13b-hf", None, "LLaMA 2", 13, 4096, "causal", "none", False, False),
    ModelSpec("llama-2-70b", "meta-llama/Llama-2-70b-hf", None, "LLaMA 2", 70, 4096, "causal", "none", False, False),
    ModelSpec(
        "llama-2-7b-chat", "meta-llama/Llama-2-7b-chat-hf", None, "LLaMA 2", 7, 4096, "causal", "chat", True, False
    ),
    ModelSpec(
        "llama-2-13b-chat", "meta-llama/Llama-2-13b-chat-hf", None, "LLaMA 2", 13, 4096, "causal", "chat", True, False
    ),
    ModelSpec(
        "llama-2-70b-chat", "meta-llama/Llama-2-70b-chat-hf", None, "LLaMA 2", 70, 4096, "causal", "chat", True, False
    ),
    ModelSpec("llama-3-8b", "meta-llama/Meta-Llama-3-8B", None, "LLaMA 3", 8, 8192, "causal", "none", False, False),
    ModelSpec("llama-3-70b", "meta-llama/Meta-Llama-3-70B", None, "LLaMA 3", 70, 8192, "causal", "none", False, False),
    ModelSpec(
        "llama-3-8b-instruct",
        "meta-llama/Meta-Llama-3-8B-Instruct",
        None,
        "LLaMA 3",
        8,
        8192,
        "causal",
        "chat",
        True,
        False,
    ),
    ModelSpec(
        "llama-3-70b-instruct",
        "meta-llama/Meta-Llama-3-70B-Instruct",
        None,
        "LLaMA 3",
        70,
        8192,
        "causal",
        "chat",
        True,
        False,
    ),
    ModelSpec(
        "llama-3.1-8b-instruct",
        "meta-llama/Llama-3.1-8B-Instruct",
        None,
        "LLaMA 3",
        8,
        131072,
        "causal",
        "chat",
        True,
        False,
    ),
    ModelSpec(
        "llama-3.1-70b-instruct",
        "meta-llama/Llama-3.1-70B-Instruct",
        None,
        "LLaMA 3",
        70,
        131072,
        "causal",
        "chat",
        True,
        False,
    ),
    ModelSpec(
        "qwen2.5-7b-instruct", "Qwen/Qwen2.5-7B-Instruct", None, "Qwen2.5", 7, 32768, "causal", "chat", True, False
    ),
    ModelSpec(
        "qwen2.5-32b-instruct", "Qwen/Qwen2.5-32B-Instruct", None, "Qwen2.5", 32, 32768, "causal", "chat", True, False
    ),
    ModelSpec(
        "qwen2.5-72b-instruct", "Qwen/Qwen2.5-72B-Instruct", None, "Qwen2.5", 72, 32768, "causal", "chat", True, False
    ),
    ModelSpec("deepseek-v3", "deepseek-ai/DeepSeek-V3", None, "DeepSeek", 671, 131072, "causal", "chat", True, False),
    ModelSpec(
        "deepseek-r1", "deepseek-ai/DeepSeek-R1", None, "DeepSeek", 671, 131072, "causal", "reasoning", True, False
    ),
)
CATALOG: dict[str, ModelSpec] = {spec.name: spec for spec in _SPECS}

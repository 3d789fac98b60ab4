"""Short names of language models: which Hugging Face model each means, and what kind of model it is."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Architecture: TypeAlias = Literal["causal", "encoder-decoder", "prefix"]
Tuning: TypeAlias = Literal["none", "instruction", "chat", "reasoning"]


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A language model: where it is loaded from, and the properties the paper compares.

    `source` is a Hugging Face id, a local folder or a GGUF file; `revision` a commit, a tag or None (the main branch,
    whose commit is resolved and recorded when the model is used). `size_b` is in 10^9 parameters and
    `context` in tokens; None where nobody said. `chat` says whether prompts go through the model's own
    chat template; None: as the tokenizer has one or not. `remote_code`: it only loads with code of its own. The maker
    released it on the day `released`, and says that its data end in the month `cutoff`.
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
    released: str | None = None
    cutoff: str | None = None


# A line in brackets says what the models below it have in common: family, tokens of context, architecture and tuning.
# Contexts are max_position_embeddings of the configurations, where they have it; sizes those of the names.
# Behind the size stand the day of release and the last month of the data, where the maker says so: launch dates and
# model cards of meta-llama/llama-models (chat models of Llama 2: the tuning data), news of QwenLM/Qwen3, the model card
# of Gemma 3, the system prompt of gpt-oss, and announcements of the others. Models that were not looked up have none.
_TABLE = """
# The open models of arXiv 2401.04997, Tables 4 and 5; Alpaca-LoRA takes an adapter of one's own.
[Flan-T5; 512; encoder-decoder; instruction]
flan-t5-xl google/flan-t5-xl 3
flan-t5-xxl google/flan-t5-xxl 11
[ChatGLM; 2048; prefix; chat; remote code]
chatglm-6b zai-org/chatglm-6b 6
[ChatGLM; 2048; causal; chat; remote code]
chatglm3-6b zai-org/chatglm3-6b 6
[ChatGLM; 32768; causal; chat; remote code]
chatglm2-6b-32k zai-org/chatglm2-6b-32k 6
chatglm3-6b-32k zai-org/chatglm3-6b-32k 6
[LLaMA; 2048; causal; none]
llama-7b huggyllama/llama-7b 7
llama-13b huggyllama/llama-13b 13
llama-33b huggyllama/llama-30b 33
llama-65b huggyllama/llama-65b 65
[Vicuna; 2048; causal; chat]
vicuna-7b lmsys/vicuna-7b-v1.3 7
vicuna-13b lmsys/vicuna-13b-v1.3 13
[LLaMA 2; 4096; causal; none]
llama-2-7b meta-llama/Llama-2-7b-hf 7 2023-07-18 2022-09
llama-2-13b meta-llama/Llama-2-13b-hf 13 2023-07-18 2022-09
llama-2-70b meta-llama/Llama-2-70b-hf 70 2023-07-18 2022-09
[LLaMA 2; 4096; causal; chat]
llama-2-7b-chat meta-llama/Llama-2-7b-chat-hf 7 2023-07-18 2023-07
llama-2-13b-chat meta-llama/Llama-2-13b-chat-hf 13 2023-07-18 2023-07
llama-2-70b-chat meta-llama/Llama-2-70b-chat-hf 70 2023-07-18 2023-07
# Others.
[LLaMA 3; 8192; causal; none]
llama-3-8b meta-llama/Meta-Llama-3-8B 8 2024-04-18 2023-03
llama-3-70b meta-llama/Meta-Llama-3-70B 70 2024-04-18 2023-12
[LLaMA 3; 8192; causal; chat]
llama-3-8b-instruct meta-llama/Meta-Llama-3-8B-Instruct 8 2024-04-18 2023-03
llama-3-70b-instruct meta-llama/Meta-Llama-3-70B-Instruct 70 2024-04-18 2023-12
[LLaMA 3; 131072; causal; none]
llama-3.1-8b meta-llama/Llama-3.1-8B 8 2024-07-23 2023-12
llama-3.1-70b meta-llama/Llama-3.1-70B 70 2024-07-23 2023-12
llama-3.2-1b meta-llama/Llama-3.2-1B 1 2024-09-25 2023-12
llama-3.2-3b meta-llama/Llama-3.2-3B 3 2024-09-25 2023-12
[LLaMA 3; 131072; causal; chat]
llama-3.1-8b-instruct meta-llama/Llama-3.1-8B-Instruct 8 2024-07-23 2023-12
llama-3.1-70b-instruct meta-llama/Llama-3.1-70B-Instruct 70 2024-07-23 2023-12
llama-3.2-1b-instruct meta-llama/Llama-3.2-1B-Instruct 1 2024-09-25 2023-12
llama-3.2-3b-instruct meta-llama/Llama-3.2-3B-Instruct 3 2024-09-25 2023-12
llama-3.3-70b-instruct meta-llama/Llama-3.3-70B-Instruct 70 2024-12-06 2023-12
[Qwen2.5; 32768; causal; chat]
qwen2.5-0.5b-instruct Qwen/Qwen2.5-0.5B-Instruct 0.5 2024-09-19
qwen2.5-1.5b-instruct Qwen/Qwen2.5-1.5B-Instruct 1.5 2024-09-19
qwen2.5-3b-instruct Qwen/Qwen2.5-3B-Instruct 3 2024-09-19
qwen2.5-7b-instruct Qwen/Qwen2.5-7B-Instruct 7 2024-09-19
qwen2.5-14b-instruct Qwen/Qwen2.5-14B-Instruct 14 2024-09-19
qwen2.5-32b-instruct Qwen/Qwen2.5-32B-Instruct 32 2024-09-19
qwen2.5-72b-instruct Qwen/Qwen2.5-72B-Instruct 72 2024-09-19
[Qwen3; 32768; causal; none]
qwen3-0.6b-base Qwen/Qwen3-0.6B-Base 0.6 2025-04-29
qwen3-1.7b-base Qwen/Qwen3-1.7B-Base 1.7 2025-04-29
qwen3-4b-base Qwen/Qwen3-4B-Base 4 2025-04-29
qwen3-8b-base Qwen/Qwen3-8B-Base 8 2025-04-29
qwen3-14b-base Qwen/Qwen3-14B-Base 14 2025-04-29
[Qwen3; 40960; causal; reasoning]
qwen3-0.6b Qwen/Qwen3-0.6B 0.6 2025-04-29
qwen3-1.7b Qwen/Qwen3-1.7B 1.7 2025-04-29
qwen3-4b Qwen/Qwen3-4B 4 2025-04-29
qwen3-8b Qwen/Qwen3-8B 8 2025-04-29
qwen3-14b Qwen/Qwen3-14B 14 2025-04-29
qwen3-32b Qwen/Qwen3-32B 32 2025-04-29
qwen3-30b-a3b Qwen/Qwen3-30B-A3B 30 2025-04-29
[Qwen3; 262144; causal; chat]
qwen3-4b-instruct-2507 Qwen/Qwen3-4B-Instruct-2507 4 2025-08-06
qwen3-30b-a3b-instruct-2507 Qwen/Qwen3-30B-A3B-Instruct-2507 30 2025-07-30
[Qwen3; 262144; causal; reasoning]
qwen3-4b-thinking-2507 Qwen/Qwen3-4B-Thinking-2507 4 2025-08-06
qwen3-30b-a3b-thinking-2507 Qwen/Qwen3-30B-A3B-Thinking-2507 30 2025-07-31
[Qwen3.5; 262144; causal; none]
qwen3.5-0.8b-base Qwen/Qwen3.5-0.8B-Base 0.8
qwen3.5-2b-base Qwen/Qwen3.5-2B-Base 2
qwen3.5-4b-base Qwen/Qwen3.5-4B-Base 4
qwen3.5-9b-base Qwen/Qwen3.5-9B-Base 9
[Qwen3.5; 262144; causal; reasoning]
qwen3.5-0.8b Qwen/Qwen3.5-0.8B 0.8
qwen3.5-2b Qwen/Qwen3.5-2B 2
qwen3.5-4b Qwen/Qwen3.5-4B 4
qwen3.5-9b Qwen/Qwen3.5-9B 9
qwen3.5-27b Qwen/Qwen3.5-27B 27
[Gemma 2; 8192; causal; none]
gemma-2-2b google/gemma-2-2b 2 2024-07-31
gemma-2-9b google/gemma-2-9b 9 2024-06-27
gemma-2-27b google/gemma-2-27b 27 2024-06-27
[Gemma 2; 8192; causal; chat]
gemma-2-2b-it google/gemma-2-2b-it 2 2024-07-31
gemma-2-9b-it google/gemma-2-9b-it 9 2024-06-27
gemma-2-27b-it google/gemma-2-27b-it 27 2024-06-27
[Gemma 3; 32768; causal; none]
gemma-3-1b-pt google/gemma-3-1b-pt 1 2025-03-12 2024-08
[Gemma 3; 32768; causal; chat]
gemma-3-1b-it google/gemma-3-1b-it 1 2025-03-12 2024-08
[Gemma 3; 131072; causal; none]
gemma-3-4b-pt google/gemma-3-4b-pt 4 2025-03-12 2024-08
gemma-3-12b-pt google/gemma-3-12b-pt 12 2025-03-12 2024-08
gemma-3-27b-pt google/gemma-3-27b-pt 27 2025-03-12 2024-08
[Gemma 3; 131072; causal; chat]
gemma-3-4b-it google/gemma-3-4b-it 4 2025-03-12 2024-08
gemma-3-12b-it google/gemma-3-12b-it 12 2025-03-12 2024-08
gemma-3-27b-it google/gemma-3-27b-it 27 2025-03-12 2024-08
# The E of E2B and E4B counts parameters without the embeddings of each layer; these are all of them.
[Gemma 4; 131072; causal; none]
gemma-4-e2b google/gemma-4-E2B 5.1
gemma-4-e4b google/gemma-4-E4B 8
[Gemma 4; 131072; causal; chat]
gemma-4-e2b-it google/gemma-4-E2B-it 5.1
gemma-4-e4b-it google/gemma-4-E4B-it 8
[Gemma 4; 262144; causal; chat]
gemma-4-12b-it google/gemma-4-12B-it 12
gemma-4-26b-a4b-it google/gemma-4-26B-A4B-it 26
gemma-4-31b-it google/gemma-4-31B-it 31
[Mistral; 32768; causal; none]
mistral-7b mistralai/Mistral-7B-v0.3 7
[Mistral; 32768; causal; chat]
mistral-7b-instruct mistralai/Mistral-7B-Instruct-v0.3 7
mistral-small-3 mistralai/Mistral-Small-24B-Instruct-2501 24
[Mistral; 131072; causal; chat]
mistral-nemo mistralai/Mistral-Nemo-Instruct-2407 12
[Phi-3; 4096; causal; chat]
phi-3-mini microsoft/Phi-3-mini-4k-instruct 3.8
[Phi-3; 131072; causal; chat]
phi-3.5-mini microsoft/Phi-3.5-mini-instruct 3.8
[Phi-4; 16384; causal; chat]
phi-4 microsoft/phi-4 14
[Phi-4; 131072; causal; chat]
phi-4-mini microsoft/Phi-4-mini-instruct 3.8
[OLMo 2; 4096; causal; none]
olmo-2-1b allenai/OLMo-2-0425-1B 1
olmo-2-7b allenai/OLMo-2-1124-7B 7
olmo-2-13b allenai/OLMo-2-1124-13B 13
olmo-2-32b allenai/OLMo-2-0325-32B 32
[OLMo 2; 4096; causal; chat]
olmo-2-1b-instruct allenai/OLMo-2-0425-1B-Instruct 1
olmo-2-7b-instruct allenai/OLMo-2-1124-7B-Instruct 7
olmo-2-13b-instruct allenai/OLMo-2-1124-13B-Instruct 13
olmo-2-32b-instruct allenai/OLMo-2-0325-32B-Instruct 32
[OLMo 3; 65536; causal; none]
olmo-3-7b allenai/Olmo-3-1025-7B 7
olmo-3-32b allenai/Olmo-3-1125-32B 32
[OLMo 3; 65536; causal; chat]
olmo-3-7b-instruct allenai/Olmo-3-7B-Instruct 7
[OLMo 3; 65536; causal; reasoning]
olmo-3-7b-think allenai/Olmo-3-7B-Think 7
olmo-3-32b-think allenai/Olmo-3-32B-Think 32
[gpt-oss; 131072; causal; reasoning]
gpt-oss-20b openai/gpt-oss-20b 21 2025-08-05 2024-06
gpt-oss-120b openai/gpt-oss-120b 117 2025-08-05 2024-06
[DeepSeek; 163840; causal; chat]
deepseek-v3 deepseek-ai/DeepSeek-V3 671 2024-12-26
[DeepSeek; 163840; causal; reasoning]
deepseek-r1 deepseek-ai/DeepSeek-R1 671 2025-01-20
[DeepSeek; 131072; causal; reasoning]
r1-0528-qwen3-8b deepseek-ai/DeepSeek-R1-0528-Qwen3-8B 8
r1-distill-qwen-1.5b deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B 1.5 2025-01-20
r1-distill-qwen-7b deepseek-ai/DeepSeek-R1-Distill-Qwen-7B 7 2025-01-20
r1-distill-qwen-14b deepseek-ai/DeepSeek-R1-Distill-Qwen-14B 14 2025-01-20
r1-distill-qwen-32b deepseek-ai/DeepSeek-R1-Distill-Qwen-32B 32 2025-01-20
r1-distill-llama-8b deepseek-ai/DeepSeek-R1-Distill-Llama-8B 8 2025-01-20
r1-distill-llama-70b deepseek-ai/DeepSeek-R1-Distill-Llama-70B 70 2025-01-20
[SmolLM2; 8192; causal; none]
smollm2-135m HuggingFaceTB/SmolLM2-135M 0.135 2024-11-01
smollm2-360m HuggingFaceTB/SmolLM2-360M 0.36 2024-11-01
smollm2-1.7b HuggingFaceTB/SmolLM2-1.7B 1.7 2024-11-01
[SmolLM2; 8192; causal; chat]
smollm2-135m-instruct HuggingFaceTB/SmolLM2-135M-Instruct 0.135 2024-11-01
smollm2-360m-instruct HuggingFaceTB/SmolLM2-360M-Instruct 0.36 2024-11-01
smollm2-1.7b-instruct HuggingFaceTB/SmolLM2-1.7B-Instruct 1.7 2024-11-01
[SmolLM3; 65536; causal; none]
smollm3-3b-base HuggingFaceTB/SmolLM3-3B-Base 3 2025-07-08
[SmolLM3; 65536; causal; reasoning]
smollm3-3b HuggingFaceTB/SmolLM3-3B 3 2025-07-08
"""


def _read_table(table: str) -> Iterator[ModelSpec]:
    """Yield the models of a table; those tuned for chats or to reason have a chat template that prompts go through."""
    common: dict[str, Any] = {}
    for line in table.splitlines():
        if line.startswith("["):
            family, context, architecture, tuning, *code = line.strip("[]").split("; ")
            common = {
                "family": family,
                "context": int(context),
                "architecture": architecture,
                "tuning": tuning,
                "chat": tuning in ("chat", "reasoning"),
                "remote_code": bool(code),
            }
        elif line and not line.startswith("#"):
            name, source, size, *days = line.split()
            dates: dict[str, Any] = dict(zip(("released", "cutoff"), days, strict=False))
            yield ModelSpec(name, source, size_b=float(size), **common, **dates)


MODEL_ALIASES: dict[str, ModelSpec] = {spec.name: spec for spec in _read_table(_TABLE)}
_BY_SOURCE = {spec.source: spec for spec in MODEL_ALIASES.values()}


def release_of(source: str, typed: str | None = None) -> dict[str, str]:
    """Return what is known of when a model came out: `released`, as typed if it was, and `cutoff`, the end of its data.

    Args:
        source: Where the model is loaded from; the catalogue knows those of the hub.
        typed: The day that somebody typed.
    """
    spec = _BY_SOURCE.get(source)
    known = {"released": typed or (spec and spec.released), "cutoff": spec and spec.cutoff}
    return {name: day for name, day in known.items() if day}

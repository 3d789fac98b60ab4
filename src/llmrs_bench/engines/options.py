"""Options that every engine with weights has."""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from llmrs_bench.config import Options


class ModelOptions(Options):
    """How a model is loaded and asked.

    Args:
        dtype: Number format of the weights; `auto` is float32 on a CPU, else that of the checkpoint.
        answer_tokens: The longest answer, in tokens; more is cut off.
        temperature: Of texts that are sampled, each from a seed of its own; 0 writes the likeliest tokens.
        trust_remote_code: Let the model run the Python code of its repository.
        chat_template: A Jinja file that replaces the chat template of the tokenizer.
        self_check: Prompts with choices that are also scored the slow, plain way, to compare: the longest and the
            shortest first, on each side of a length at which the architecture changes.
        thinking_tokens: The longest thought of a reasoning model before its answer, in tokens; 0 asks it not to think.
        deterministic: Take slower ways whose results do not depend on what else is computed beside them.
        price_per_hour: What the machine costs in USD, for the board.
    """

    neutral: ClassVar[frozenset[str]] = frozenset({"self_check", "price_per_hour"})

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    answer_tokens: int = Field(default=512, ge=1)
    temperature: float = Field(default=0.0, ge=0)
    trust_remote_code: bool = False
    chat_template: Path | None = None
    self_check: int = Field(default=2, ge=0)
    thinking_tokens: int = Field(default=0, ge=0)
    deterministic: bool = False
    price_per_hour: float | None = Field(default=None, ge=0)

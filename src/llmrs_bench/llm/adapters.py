"""LoRA adapters on disk, as PEFT writes them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmrs_bench.core.errors import ModelError, OptionError

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
# An adapter has to change some log-probability of a prompt by more than this, in nats.
LEAST_CHANGE = 1e-6
# What an adapter for a language model is saved as.
_TASKS = ("CAUSAL_LM", "SEQ_2_SEQ_LM", None)
# Ranks that vLLM has room for.
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
# A folder of PEFT may hold the tokenizer that the adapter was trained with, and the state of its training.
_TOKENIZER = ("tokenizer", "special_tokens_map", "added_tokens", "vocab", "merges", "chat_template", "spiece")


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter.

    Args:
        folder: Where its configuration and weights are.
        rank: Its highest rank.
        base: The model that it was trained on, as a path or an id of the hub, if it says so.
        base_revision: Of the base on the hub.
    """

    folder: Path
    rank: int
    base: str | None = None
    base_revision: str | None = None

    @property
    def room(self) -> int:
        """Return the least rank that vLLM has room for and that is not below its own.

        Raises:
            ModelError: If it is above all of them.
        """
        room = next((known for known in _RANKS if known >= self.rank), None)
        if room is None:
            raise ModelError(
                f"the LoRA adapter {self.folder} has rank {self.rank}, and vLLM takes {_RANKS[-1]} at most",
                hint="Use --engine transformers.",
            )
        return room

    @property
    def has_tokenizer(self) -> bool:
        """Whether the tokenizer that it was trained with lies beside it."""
        return (self.folder / "tokenizer_config.json").is_file()

    @property
    def files(self) -> Iterator[Path]:
        """The files that decide what a model answers with it."""
        wanted = {CONFIG, *WEIGHTS}
        return (path for path in self.folder.iterdir() if path.name in wanted or path.name.startswith(_TOKENIZER))

    def request(self) -> Any:
        """Return what vLLM needs with every request."""
        from vllm.lora.request import LoRARequest

        return LoRARequest(self.folder.name, 1, str(self.folder))


def read_adapter(folder: Path) -> Adapter:
    """Return the adapter in a folder.

    Raises:
        OptionError: If it holds none, one that is not a LoRA, or one for models of another kind.
    """
    hint = f"Give a folder with {CONFIG} and {WEIGHTS[0]}, as PEFT writes it."
    try:
        settings = json.loads((folder / CONFIG).read_text("utf-8"))
        ranks = [settings["r"], *(settings.get("rank_pattern") or {}).values()]
        rank = max(map(int, ranks))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise OptionError(f"lora={folder}: no LoRA adapter can be read there: {error}", hint=hint) from error
    if (kind := settings.get("peft_type", "LORA")) != "LORA":
        raise OptionError(f"lora={folder}: this is an adapter of the type {kind}, no LoRA", hint=hint)
    if (task := settings.get("task_type")) not in _TASKS:
        raise OptionError(
            f"lora={folder}: this adapter is for the task {task}, and changes no language model",
            hint="Give an adapter that was trained with task_type CAUSAL_LM.",
        )
    if not any((folder / name).is_file() for name in WEIGHTS):
        raise OptionError(f"lora={folder}: it holds no {' or '.join(WEIGHTS)}", hint=hint)
    base = settings.get("base_model_name_or_path")
    return Adapter(folder.resolve(), rank, base or None, settings.get("revision") or None)


def changes_nothing(adapter: Adapter, source: str) -> ModelError:
    """Return the error for an adapter with which a model answers as without it."""
    return ModelError(
        f"the LoRA adapter {adapter.folder} changes nothing in what {source} answers",
        hint="Its weights are zero, or belong to modules that this model does not have: check that its training ended, "
        "and that this is its base; or leave the adapter out.",
    )

"""LoRA adapters on disk, as PEFT writes them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmrs_bench.errors import OptionError

CONFIG = "adapter_config.json"
# Ranks that vLLM has room for.
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter.

    Args:
        folder: Where its configuration and weights are.
        rank: The room it needs: the least rank of vLLM that is not below its own.
    """

    folder: Path
    rank: int

    def request(self) -> Any:
        """Return what vLLM wants to be told with every request."""
        from vllm.lora.request import LoRARequest

        return LoRARequest(self.folder.name, 1, str(self.folder))


def read_adapter(folder: Path) -> Adapter:
    """Return the adapter in a folder.

    Raises:
        OptionError: If it holds none, or one of too high a rank.
    """
    hint = f"Give a folder with {CONFIG} and adapter_model.safetensors, as PEFT writes it."
    try:
        rank = int(json.loads((folder / CONFIG).read_text("utf-8"))["r"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OptionError(f"-O lora={folder}: no LoRA adapter can be read there: {error}", hint=hint) from error
    room = next((known for known in _RANKS if known >= rank), None)
    if room is None:
        raise OptionError(f"-O lora={folder}: its rank {rank} is above {_RANKS[-1]}", hint=hint)
    return Adapter(folder.resolve(), room)

"""What the architecture of a model says about scoring: whether titles can be packed, and where lengths matter."""

from collections.abc import Iterator
from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING, Any

from llmrs_bench.engines.tokens import Tokenized

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

_ATTENTION = frozenset({"full_attention", "sliding_attention"})
# Kinds whose packed scores are compared with one full sequence for each title in the tests of this project.
_PROVEN = frozenset(
    {
        "cohere", "cohere2", "deepseek_v3", "falcon", "gemma", "gemma2", "gemma3_text", "gpt2", "gpt_neox", "granite",
        "llama", "mistral", "mixtral", "mt5", "olmo2", "opt", "phi", "phi3", "qwen2", "qwen3", "qwen3_moe", "smollm3",
        "t5", "umt5",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Architecture:
    """How a model reads a sequence.

    Args:
        obstacle: Why its titles cannot be packed, or None.
        proven: Whether titles of this kind of model are known to pack, so that a difference is an error.
        window: How many tokens some layer looks back, or None; prompts beyond that are not packed.
        switch: The length up to which positions are rotated by one set of factors and beyond which by another
            (LongRoPE), or None. The longest sequence of a batch decides for all of it.
    """

    obstacle: str | None = None
    proven: bool = False
    window: int | None = None
    switch: int | None = None

    def packs(self, tokens: Tokenized) -> bool:
        """Return whether a prompt and its choices can be one sequence: all of it lies on one side of a switch."""
        whole = len(tokens.prefix) + tokens.longest
        within = self.window is None or whole <= self.window
        one_side = self.switch is None or whole <= self.switch or len(tokens.prefix) > self.switch
        return self.obstacle is None and within and one_side

    @property
    def limits(self) -> set[int]:
        """Return the lengths at which something changes."""
        return {limit for limit in (self.window, self.switch) if limit is not None}

    def side(self, tokens: Tokenized) -> int:
        """Return how many of the limits a prompt with its longest choice exceeds."""
        return sum(len(tokens.prefix) + tokens.longest > limit for limit in self.limits)


def read_architecture(model: "PreTrainedModel") -> Architecture:
    """Return what configuration and code of a model say about it.

    What they leave open is for the self-check: a kind that is not proven is packed if that agrees with plain scoring.
    """
    config = model.config.get_text_config()
    return Architecture(
        obstacle=_obstacle(model, config),
        proven=config.model_type in _PROVEN and not getattr(model.config, "auto_map", None),
        window=attention_window(config),
        switch=_switch(config),
    )


def _obstacle(model: "PreTrainedModel", config: "PretrainedConfig") -> str | None:
    kinds = {*(getattr(config, "layer_types", None) or ()), *(getattr(config, "layers_block_type", None) or ())}
    if getattr(model, "_is_stateful", False) or "linear_attention" in kinds:
        return "some of its layers read a sequence through a state, which cannot branch"
    if config.model_type in {"qwen3_next", "lfm2", "lfm2_moe", "rwkv"}:  # not marked in every version of transformers
        return "some of its layers read a sequence through a state, which cannot branch"
    if strange := sorted(kinds - _ATTENTION - {"attention"}):
        return f"it has layers of the kind {strange[0]!r}"
    if getattr(config, "alibi", False):
        return "its attention counts the distance between tokens by their place in the sequence (ALiBi)"
    if not model.config.is_encoder_decoder and "position_ids" not in signature(model.forward).parameters:
        return "it counts the positions of its tokens itself"
    return None


def attention_window(config: "PretrainedConfig") -> int | None:
    """Return how many tokens some layer of a model looks back, or None if all of them see the whole context."""
    window = getattr(config, "sliding_window", None)
    return window if isinstance(window, int) and getattr(config, "use_sliding_window", True) else None


def _switch(config: "PretrainedConfig") -> int | None:
    """Return the length at which LongRoPE turns from its short to its long factors."""
    for part in _rotations(config):
        if part.get("rope_type", part.get("type")) in {"longrope", "su"}:
            original = part.get("original_max_position_embeddings")
            original = original or getattr(config, "original_max_position_embeddings", None)
            return int(original or config.max_position_embeddings)
    return None


def _rotations(config: "PretrainedConfig") -> Iterator[dict[str, Any]]:
    """Yield the settings of rotary positions, which may differ between kinds of layers."""
    for name in ("rope_parameters", "rope_scaling"):  # before transformers 5 the second
        found = getattr(config, name, None)
        if isinstance(found, dict):
            yield found
            yield from (part for part in found.values() if isinstance(part, dict))

"""How much memory tuning a language model takes, estimated before any weight is loaded."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from llmrs_bench.core.errors import ModelError
from llmrs_bench.llm.processes import Group, layers
from llmrs_bench.llm.tune_options import Method, TuneOptions

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_ALONE = Group()


@dataclass(frozen=True, slots=True)
class TrainingMemory:
    """What one process takes of the memory of its device, in GB.

    Args:
        fixed: Weights, gradients and the two moments of AdamW, or this process's part of them.
        passes: What a pass keeps for the backward pass, and weights gathered for it.
        weights: Trained and other ones, counted.
    """

    fixed: float
    passes: float
    weights: int

    @property
    def total(self) -> float:
        """All of it."""
        return self.fixed + self.passes


def training_memory(
    config: "PretrainedConfig",
    method: Method,
    options: TuneOptions,
    *,
    longest: int,
    device: torch.device,
    group: Group = _ALONE,
) -> TrainingMemory:
    """Estimate what tuning takes; no weight is loaded.

    What a pass keeps is estimated at 34 numbers a token, layer and unit of width (arXiv 2205.05198), and at a tenth of
    that with `checkpointing`. Where weights are divided, those of the largest layer and of what is in no layer are
    gathered for a pass.

    Args:
        config: Of the model.
        method: What is trained.
        options: Of tuning.
        longest: Tokens of the longest sample.
        device: Where it is trained.
        group: The processes that train it.
    """
    kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    with torch.device("meta"):
        model = kind.from_config(config)
    weights = sum(weight.numel() for weight in model.parameters())
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    adapters = options.rank * sum(module.in_features + module.out_features for module in linear)
    bytes_each = options.low(device).itemsize
    packed = 0.0
    if options.quantization != "none":  # 4 bits and the scales, but for the output layer
        head = model.get_output_embeddings()
        packed = sum(module.weight.numel() for module in linear if module is not head) * (bytes_each - 0.516)
    fixed = 16 * weights if method == "full" else bytes_each * weights - packed + 16 * adapters
    text = config.get_text_config()
    tokens = max(longest, min(options.batch_tokens, options.batch * longest))
    count, width = int(getattr(text, "num_hidden_layers", 1)), int(getattr(text, "hidden_size", 1))
    kept = 34 * tokens * count * width * bytes_each / 2 * (0.1 if options.checkpointing else 1)
    if group.sharded:
        sizes = [sum(weight.numel() for weight in layer.parameters()) for layer in layers(model)]
        gathered = weights - sum(sizes) + max(sizes, default=0)
        if method == "full":
            gathered *= 2  # and their gradients
        fixed, kept = fixed / group.size, kept + gathered * (4 if method == "full" else bytes_each)
    return TrainingMemory(float(fixed) / 1e9, float(kept) / 1e9, weights)


def free_memory(device: torch.device, group: Group = _ALONE) -> float:
    """Return the GB that a process may have: those free on its GPU, or its share of those free on the machine.

    Raises:
        ModelError: If what reads the latter is not installed.
    """
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info()[0]) / 1e9
    try:
        import psutil
    except ImportError as error:
        raise ModelError(
            f"tuning needs packages that are not installed: {error}", hint="Run `pip install 'llmrs-bench[tune]'`."
        ) from error
    return float(psutil.virtual_memory().available) / 1e9 / group.turns


def check_memory(
    config: "PretrainedConfig",
    method: Method,
    options: TuneOptions,
    *,
    longest: int,
    device: torch.device,
    group: Group = _ALONE,
) -> float:
    """Return about how many GB training takes on a device, before any weight is loaded.

    Raises:
        ModelError: If that is more than is free.
    """
    need = training_memory(config, method, options, longest=longest, device=device, group=group)
    free = free_memory(device, group)
    if need.total > free:
        tokens = max(longest, min(options.batch_tokens, options.batch * longest))
        ways = ["--method lora"] if method == "full" else ["a smaller model"]
        ways += [f"-O batch_tokens={longest}"] if tokens > longest else []
        ways += [] if options.checkpointing else ["-O checkpointing=true"]
        ways += ["-O dtype=bfloat16"] if method == "lora" and options.low(device) == torch.float32 else []
        ways += ["-O quantization=nf4"] if method == "lora" and options.quantization == "none" else []
        ways += ["accelerate launch --use_fsdp"] if device.type == "cuda" and not group.sharded else []
        each = f", and {group.turns} processes share them" if group.turns > 1 and device.type == "cpu" else ""
        raise ModelError(
            f"tuning this model takes about {need.total:.1f} GB ({need.fixed:.1f} GB of them weights, gradients and "
            f"moments), and {free:.1f} GB are free on {device.type}{each}",
            hint=f"Try {', '.join(ways)}.",
        )
    return need.total

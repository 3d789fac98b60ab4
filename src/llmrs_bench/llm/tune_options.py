"""Options of tuning a language model."""

from typing import Any, ClassVar, Literal, TypeAlias

import torch
from pydantic import Field

from llmrs_bench.core.config import Options

Method: TypeAlias = Literal["lora", "full"]
_LR: dict[Method, float] = {"lora": 2e-4, "full": 2e-5}


class TuneOptions(Options):
    """How a model is tuned.

    Args:
        rank: Rank of the LoRA matrices.
        alpha: The adapter is scaled by alpha / rank; None: 2 x rank.
        dropout: Dropout on the adapter's inputs during training.
        modules: Layers with an adapter: all linear ones, or only the query and value projections.
        lr: Peak learning rate; None: 2e-4 for LoRA, 2e-5 for all weights.
        batch: Samples per step of the optimizer (AdamW).
        batch_tokens: Maximum number of tokens in one pass, including padding; gradients accumulate over the passes of a
            batch.
        epochs: Maximum number of passes over all samples.
        redraw: Draw new candidates besides the target in each epoch, and show all in a new order, as recommenders draw
            new negatives. Only for rankings; the samples keep their events.
        warmup: Share of all steps in which the learning rate rises.
        schedule: Learning rate after the warm-up: cosine decay to 0, or constant.
        weight_decay: Weight decay of AdamW.
        evaluate_every: Steps between validations; None: an epoch, or 10 if that is more.
        patience: Stop after this many validations without improvement.
        valid: Maximum number of validation requests, a seeded choice that never depends on the number of samples.
        dtype: Type of the weights; `auto` is float32 on a CPU, else bfloat16. Adapters, and all weights with `full`,
            are float32.
        quantization: Quantisation of the base during tuning (QLoRA, arXiv 2305.14314): `nf4` holds its linear layers in
            4 bits. The adapter is saved as usual, and used with weights that are not quantised.
        checkpointing: Recompute activations in the backward pass, which takes less memory and more time.
        loss: Learn only the answer and the end of its turn, or also the prompt, as in TALLRec.
        context: Maximum number of tokens of a prompt and its answer; history beyond that is left out, oldest first.
        trust_remote_code: Let the model run the Python code of its repository.
    """

    rank: int = Field(default=8, ge=1, le=512)
    alpha: float | None = Field(default=None, gt=0, description="2 x rank")
    dropout: float = Field(default=0.05, ge=0, lt=1)
    modules: Literal["all-linear", "qv"] = "all-linear"
    lr: float | None = Field(default=None, gt=0, description="2e-4; full: 2e-5")
    batch: int = Field(default=16, ge=1)
    batch_tokens: int = Field(default=4096, ge=1)
    epochs: int = Field(default=10, ge=1)
    redraw: bool = False
    warmup: float = Field(default=0.1, ge=0, le=1)
    schedule: Literal["cosine", "constant"] = "cosine"
    weight_decay: float = Field(default=0.0, ge=0)
    evaluate_every: int | None = Field(default=None, ge=1, description="an epoch, or 10 steps if that is more")
    patience: int = Field(default=3, ge=1)
    valid: int = Field(default=200, ge=1)
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    quantization: Literal["none", "nf4"] = "none"
    checkpointing: bool = False
    loss: Literal["answer", "all"] = "answer"
    context: int = Field(default=1024, ge=2)
    trust_remote_code: bool = False

    # Options that `full` does not read.
    of_lora: ClassVar[frozenset[str]] = frozenset({"rank", "alpha", "dropout", "modules", "quantization"})

    @property
    def result_options(self) -> dict[str, Any]:
        """The options that may change a result; those that came later than the others only where they are given."""
        found = super().result_options
        later = {"quantization": "none", "redraw": False}
        return {name: value for name, value in found.items() if name not in later or value != later[name]}

    def low(self, device: torch.device) -> torch.dtype:
        """Return the number format of the passes; bfloat16 is slow on a CPU without instructions for it."""
        wide = self.dtype == "float32" or (self.dtype == "auto" and device.type == "cpu")
        return torch.float32 if wide else torch.bfloat16

    def every(self, each: int) -> int:
        """Return the steps between validations, of epochs of `each` steps."""
        return self.evaluate_every or max(each, min(10, self.epochs * each))

    def rate(self, method: Method) -> float:
        """Return the highest learning rate."""
        return _LR[method] if self.lr is None else self.lr

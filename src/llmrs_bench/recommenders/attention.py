"""Attention of the networks that read histories, and their dropout."""

import math
from typing import Self

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from pydantic import Field, model_validator
from torch import Tensor, nn

from llmrs_bench.recommenders.neural import SequenceOptions

_LEVELS = 2**16


class Dropout(nn.Module):
    """Zero each value with probability `p`, to a precision of 2**-16, and divide the others by what is kept.

    As `torch.nn.Dropout`, it does nothing in evaluation mode, draws from torch's global generator, and draws the same
    on any number of threads. It is here for its speed on a CPU, because it takes four decisions from each random
    number: forward and backward of a tensor (128, 50, 64) take 1.6 ms on one core, those of `torch.nn.Dropout` 4.3 ms,
    which would be a fifth of an epoch of SASRec.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.dropped = round(p * _LEVELS)

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the shape of `x`."""
        if not self.training or not self.dropped:
            return x
        words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64, device=x.device).random_(-(2**63), None)
        levels = words.view(torch.int16)[: x.numel()].view(x.shape)
        kept = levels >= self.dropped - _LEVELS // 2
        return x * (kept * (_LEVELS / (_LEVELS - self.dropped)))


class AttentionOptions(SequenceOptions):
    """The shape of the network, beside `max_history` and `dim`.

    `dropout` is a probability, on embeddings, attention weights and feed-forward layers.
    """

    blocks: int = Field(default=2, ge=1)
    heads: int = Field(default=1, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def heads_divide_dim(self) -> Self:
        """Refuse a width that cannot be shared out among the heads."""
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} is not a multiple of heads {self.heads}")
        return self


class Attention(nn.Module):
    """Multi-head attention with queries from one tensor, keys and values from another."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, Dropout(dropout)
        self.query, self.key_value, self.out = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)

    def initialise(self) -> None:
        """Draw the three projections as one Xavier-uniform matrix (3 * dim, dim), as torch's own attention does."""
        dim = self.query.in_features
        bound = math.sqrt(6 / (dim + 3 * dim))
        for layer in (self.query, self.key_value):
            nn.init.uniform_(layer.weight, -bound, bound)

    def forward(self, query: Tensor, x: Tensor, hidden: Tensor) -> Tensor:
        """Map two tensors (batch, time, dim) to one of that shape.

        Args:
            query: What looks.
            x: What is looked at.
            hidden: True where a query may not look; broadcast to (batch, head, time of query, time of x).
        """
        batch, time, dim = x.shape
        q = self.query(query).view(batch, time, self.heads, -1).transpose(1, 2)  # (batch, head, time, dim / heads)
        k, v = self.key_value(x).view(batch, time, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        if self.training:
            mixed = self._weights(q, k, hidden) @ v
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=~hidden)
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, time, dim))
        return out

    def _weights(self, q: Tensor, k: Tensor, hidden: Tensor) -> Tensor:
        """Return attention weights with dropout (batch, head, time, time), written out for the sake of its speed."""
        logits = (q / math.sqrt(q.shape[3])) @ k.transpose(2, 3)
        weights: Tensor = self.dropout(logits.masked_fill_(hidden, -torch.inf).softmax(3))
        return weights


def initialise(module: nn.Module) -> None:
    """Draw the weights of a layer from N(0, 0.02); biases and padding are zero."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
    if isinstance(module, nn.Embedding) and module.padding_idx is not None:
        with torch.no_grad():
            module.weight[module.padding_idx].zero_()

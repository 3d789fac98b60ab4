"""The SASRec network: a causal transformer over item ids that ends in a state per position."""

import math
from typing import Self

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from pydantic import Field, model_validator
from torch import Tensor, nn

from llmrs_bench.config import Options
from llmrs_bench.recommenders.dropout import Dropout
from llmrs_bench.recommenders.sequences import PADDING


class NetOptions(Options):
    """The shape of the network.

    `max_history` is the longest sequence, `dim` the width of embeddings and states; `dropout` is a probability,
    on embeddings, attention weights and feed-forward layers.
    """

    max_history: int = Field(default=200, ge=1)
    dim: int = Field(default=64, ge=1)
    blocks: int = Field(default=2, ge=1)
    heads: int = Field(default=1, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def heads_divide_dim(self) -> Self:
        """Refuse a width that cannot be shared out among the heads."""
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} is not a multiple of heads {self.heads}")
        return self


class SASRecNet(nn.Module):
    """Self-attentive sequential recommendation (Kang and McAuley, ICDM 2018), with output weights tied to the input.

    Sequences are right-padded and positions count from the oldest item shown. A position sees only itself and
    what is before it, so padding changes nothing and needs no mask.

    Args:
        items: Number of known items; their integers are 1 to `items`.
        options: The shape of the network.
    """

    def __init__(self, items: int, options: NetOptions) -> None:
        super().__init__()
        self.item = nn.Embedding(items + 1, options.dim, padding_idx=PADDING)
        self.position = nn.Embedding(options.max_history, options.dim)
        self.dropout = Dropout(options.dropout)
        self.blocks = nn.ModuleList(Block(options) for _ in range(options.blocks))
        self.norm = nn.LayerNorm(options.dim)
        self.apply(_initialise)
        for module in self.blocks.modules():
            if isinstance(module, Attention):
                module.initialise()

    def forward(self, items: Tensor) -> Tensor:
        """Return a state for every position: (batch, time) -> (batch, time, dim)."""
        x = self.item(items) * math.sqrt(self.item.embedding_dim)
        x = self.dropout(x + self.position.weight[: items.shape[1]])
        for block in self.blocks:
            x = block(x)
        states: Tensor = self.norm(x)
        return states

    def item_weights(self) -> Tensor:
        """Return the output weights (items, dim): row i belongs to the integer i + 1."""
        return self.item.weight[1:]


class Block(nn.Module):
    """Attention, then a feed-forward layer; as in the original, each residual starts from the normalised input."""

    def __init__(self, options: NetOptions) -> None:
        super().__init__()
        dim = options.dim
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = Attention(dim, options.heads, options.dropout)
        self.forward_norm = nn.LayerNorm(dim)
        self.inner, self.outer = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.dropout = Dropout(options.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, time, dim) to the same shape."""
        query = self.attention_norm(x)
        x = self.forward_norm(query + self.attention(query, x))
        out: Tensor = x + self.dropout(self.outer(F.relu(self.dropout(self.inner(x)))))
        return out


class Attention(nn.Module):
    """Causal multi-head attention with queries from one tensor, keys and values from another."""

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

    def forward(self, query: Tensor, x: Tensor) -> Tensor:
        """Map two tensors (batch, time, dim) to one of that shape."""
        batch, time, dim = x.shape
        q = self.query(query).view(batch, time, self.heads, -1).transpose(1, 2)  # (batch, head, time, dim / heads)
        k, v = self.key_value(x).view(batch, time, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = self._weights(q, k) @ v if self.training else F.scaled_dot_product_attention(q, k, v, is_causal=True)
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, time, dim))
        return out

    def _weights(self, q: Tensor, k: Tensor) -> Tensor:
        """Return attention weights with dropout (batch, head, time, time), written out for the sake of its speed."""
        time = q.shape[2]
        future = torch.ones(time, time, dtype=torch.bool, device=q.device).triu(1)
        logits = (q / math.sqrt(q.shape[3])) @ k.transpose(2, 3)
        weights: Tensor = self.dropout(logits.masked_fill_(future, -torch.inf).softmax(3))
        return weights


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
    if isinstance(module, nn.Embedding) and module.padding_idx is not None:
        with torch.no_grad():
            module.weight[module.padding_idx].zero_()

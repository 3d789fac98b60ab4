"""The SASRec network: a causal transformer over item ids that ends in a state per position."""

import math
from collections.abc import Iterator
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from pydantic import Field
from torch import Tensor, nn

from llmrs_bench.core import config
from llmrs_bench.recommenders.attention import Attention, AttentionOptions, Dropout, initialise
from llmrs_bench.recommenders.losses import LossOptions, make_loss
from llmrs_bench.recommenders.neural import Net, NeuralOptions, NeuralRecommender, newest_states, next_item_losses
from llmrs_bench.recommenders.sequences import PADDING, Histories


class SASRecNet(Net):
    """Self-attentive sequential recommendation (Kang and McAuley, ICDM 2018), with output weights tied to the input.

    Sequences are right-padded and positions count from the oldest item shown. A position sees only itself and
    what is before it, so padding changes nothing and needs no mask.

    Args:
        items: Number of known items; their integers are 1 to `items`.
        options: The shape of the network.
    """

    def __init__(self, items: int, options: AttentionOptions) -> None:
        super().__init__()
        self.item = nn.Embedding(items + 1, options.dim, padding_idx=PADDING)
        self.position = nn.Embedding(options.max_history, options.dim)
        self.dropout = Dropout(options.dropout)
        self.blocks = nn.ModuleList(TransformerBlock(options) for _ in range(options.blocks))
        self.norm = nn.LayerNorm(options.dim)
        self.apply(initialise)
        for module in self.blocks.modules():
            if isinstance(module, Attention):
                module.initialise()

    def forward(self, items: Tensor) -> Tensor:
        """Return a state for every position: (batch, time) -> (batch, time, dim)."""
        x = self.item(items) * math.sqrt(self.item.embedding_dim)
        x = self.dropout(x + self.position.weight[: items.shape[1]])
        future = torch.ones(items.shape[1], items.shape[1], dtype=torch.bool, device=items.device).triu(1)
        for block in self.blocks:
            x = block(x, future)
        states: Tensor = self.norm(x)
        return states

    def item_weights(self) -> Tensor:
        """Return the output weights (items, dim): row i belongs to the integer i + 1."""
        return self.item.weight[1:]


class TransformerBlock(nn.Module):
    """Attention, then a feed-forward layer; as in the original, each residual starts from the normalised input."""

    def __init__(self, options: AttentionOptions) -> None:
        super().__init__()
        dim = options.dim
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = Attention(dim, options.heads, options.dropout)
        self.forward_norm = nn.LayerNorm(dim)
        self.inner, self.outer = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.dropout = Dropout(options.dropout)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Map (batch, time, dim) to the same shape; `hidden` as in `Attention`."""
        query = self.attention_norm(x)
        x = self.forward_norm(query + self.attention(query, x, hidden))
        out: Tensor = x + self.dropout(self.outer(F.relu(self.dropout(self.inner(x)))))
        return out


class SASRecOptions(LossOptions, AttentionOptions, NeuralOptions):
    """Defaults are those of SASRec+ on MovieLens-1M (Klenitskiy and Vasilev, RecSys 2023), but for half the batch.

    Steps of 64 users validate best after about half as many epochs as steps of 128, and no worse.
    """

    batch: int = Field(default=64, ge=1)


class SASRec(NeuralRecommender):
    """Self-attention over the history (Kang and McAuley, ICDM 2018), trained to predict each next item."""

    name = "sasrec"
    Options: ClassVar[type[config.Options]] = SASRecOptions

    def build(self, users: int, items: int) -> SASRecNet:
        """Return an untrained network."""
        return SASRecNet(items, self.options)

    def losses(self, net: SASRecNet, examples: Histories, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield the loss of each step of one epoch, over `batch` users in random order."""
        loss = make_loss(self.options, len(net.item_weights()))
        yield from next_item_losses(net, examples.items, self.options.batch, loss, generator)

    def states(self, net: SASRecNet, histories: Histories) -> Tensor:
        """Return the state after the newest item of each history."""
        return newest_states(net, histories.items)

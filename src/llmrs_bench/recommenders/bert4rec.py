"""The BERT4Rec network: a bidirectional transformer over item ids and a mask."""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from pydantic import Field
from torch import Tensor, nn

from llmrs_bench.core import config
from llmrs_bench.recommenders.attention import Attention, AttentionOptions, Dropout, initialise
from llmrs_bench.recommenders.losses import LossOptions, make_loss
from llmrs_bench.recommenders.neural import Net, NeuralRecommender, epoch_batches
from llmrs_bench.recommenders.sequences import PADDING, Histories


class BERT4RecNet(Net):
    """The encoder of BERT (Devlin et al., 2019) over items, with output weights tied to the input and an output bias.

    Sequences are right-padded and padding is hidden, so it changes nothing. The last column of states and of item
    weights carries the bias: it is one in every state.

    Args:
        items: Number of known items; their integers are 1 to `items`, that of the mask is `items` + 1.
        options: The shape of the network.
    """

    def __init__(self, items: int, options: AttentionOptions) -> None:
        super().__init__()
        self.mask = items + 1
        self.item = nn.Embedding(items + 2, options.dim, padding_idx=PADDING)
        self.position = nn.Embedding(options.max_history, options.dim)
        self.norm, self.dropout = nn.LayerNorm(options.dim), Dropout(options.dropout)
        self.blocks = nn.ModuleList(TransformerBlock(options) for _ in range(options.blocks))
        self.bias = nn.Parameter(torch.zeros(items))
        self.apply(initialise)

    def forward(self, items: Tensor) -> Tensor:
        """Return a state for every position: (batch, time) -> (batch, time, dim + 1)."""
        hidden = (items == PADDING)[:, None, None, :]
        x = self.dropout(self.norm(self.item(items) + self.position.weight[: items.shape[1]]))
        for block in self.blocks:
            x = block(x, hidden)
        return torch.cat([x, x.new_ones(*x.shape[:2], 1)], 2)

    def item_weights(self) -> Tensor:
        """Return the output weights (item, dim + 1): row i belongs to the integer i + 1."""
        return torch.cat([self.item.weight[1:-1], self.bias[:, None]], 1)


class TransformerBlock(nn.Module):
    """Attention, then a feed-forward layer of four times the width, each followed by residual and normalisation."""

    def __init__(self, options: AttentionOptions) -> None:
        super().__init__()
        dim = options.dim
        self.attention = Attention(dim, options.heads, options.dropout)
        self.attention_norm, self.forward_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.inner, self.outer = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.dropout = Dropout(options.dropout)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Map (batch, time, dim) to the same shape; `hidden` as in `Attention`."""
        x = self.attention_norm(x + self.dropout(self.attention(x, x, hidden)))
        out: Tensor = self.forward_norm(x + self.dropout(self.outer(F.gelu(self.inner(x)))))
        return out


class BERT4RecOptions(LossOptions, AttentionOptions):
    """Defaults are those of BERT4Rec on MovieLens-1M in Klenitskiy and Vasilev (RecSys 2023), but for half the batch.

    `masked` is the probability that an item of a sequence is masked, drawn again in every epoch; a sequence has at
    least one. The mask that scoring puts after the history counts towards `max_history`.
    """

    max_history: int = Field(default=200, ge=2)
    heads: int = Field(default=2, ge=1)
    masked: float = Field(default=0.2, gt=0, lt=1)
    batch: int = Field(default=64, ge=1)
    epochs: int = Field(default=200, ge=1)
    patience: int = Field(default=20, ge=1)


class BERT4Rec(NeuralRecommender):
    """Bidirectional self-attention (Sun et al., CIKM 2019); the state at a mask after the history scores items."""

    name = "bert4rec"
    Options: ClassVar[type[config.Options]] = BERT4RecOptions

    @property
    def history_size(self) -> int:
        """One less than the network reads, for the mask."""
        return int(self.options.max_history) - 1

    def build(self, users: int, items: int) -> BERT4RecNet:
        """Return an untrained network."""
        return BERT4RecNet(items, self.options)

    def losses(self, net: BERT4RecNet, examples: Histories, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield the loss of each step of one epoch: the masked items of `batch` users in random order."""
        loss = make_loss(self.options, len(net.item_weights()))
        for groups in epoch_batches(examples.items, self.options.batch, generator):
            states, targets = [], []
            for group in groups:
                items = group.to(self.device)
                chosen = self._choose(group, generator).to(self.device)
                states.append(net(items.masked_fill(chosen, net.mask))[chosen])
                targets.append(items[chosen] - 1)
            yield loss(torch.cat(states), net.item_weights(), torch.cat(targets))

    def _choose(self, items: Tensor, generator: torch.Generator) -> Tensor:
        """Draw which items are masked: (sequence, time) of true and false, at least one true in each row."""
        draws = torch.rand(items.shape, generator=generator).masked_fill(items == PADDING, torch.inf)
        chosen: Tensor = (draws < self.options.masked) | (draws == draws.amin(1, keepdim=True))
        return chosen

    def states(self, net: BERT4RecNet, histories: Histories) -> Tensor:
        """Return the state at a mask after the newest item of each history."""
        items, lengths = histories.items.padded(), torch.from_numpy(histories.items.lengths)
        asked = torch.cat([items, items.new_zeros(len(items), 1)], 1)
        asked[np.arange(len(items)), lengths] = net.mask
        states: Tensor = net(asked.to(self.device))
        return states[torch.arange(len(items), device=self.device), lengths.to(self.device)]

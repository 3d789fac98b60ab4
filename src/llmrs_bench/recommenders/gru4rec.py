"""GRU4Rec: a recurrent network over the history."""

from collections.abc import Iterator
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from llmrs_bench.core import config
from llmrs_bench.recommenders.attention import Dropout
from llmrs_bench.recommenders.losses import LossOptions, make_loss
from llmrs_bench.recommenders.neural import Net, NeuralRecommender, SequenceOptions, newest_states, next_item_losses
from llmrs_bench.recommenders.sequences import PADDING, Histories


class GRU4RecOptions(LossOptions, SequenceOptions):
    """`hidden` is the width of the recurrent state, `layers` their number, `dropout` a probability on embeddings."""

    hidden: int = Field(default=128, ge=1)
    layers: int = Field(default=1, ge=1)
    dropout: float = Field(default=0.2, ge=0, lt=1)


class GRU4RecNet(Net):
    """A gated recurrent unit over item embeddings, its state projected back to their width; output weights are tied."""

    def __init__(self, items: int, options: GRU4RecOptions) -> None:
        super().__init__()
        self.item = nn.Embedding(items + 1, options.dim, padding_idx=PADDING)
        self.dropout = Dropout(options.dropout)
        self.gru = nn.GRU(options.dim, options.hidden, options.layers, batch_first=True)
        self.out = nn.Linear(options.hidden, options.dim)
        nn.init.normal_(self.item.weight, std=options.dim**-0.5)
        with torch.no_grad():
            self.item.weight[PADDING].zero_()

    def forward(self, items: Tensor) -> Tensor:
        """Return a state for every position, of what comes up to it: (batch, time) -> (batch, time, dim)."""
        states, _ = self.gru(self.dropout(self.item(items)))
        out: Tensor = self.out(states)
        return out

    def item_weights(self) -> Tensor:
        """Return the output weights (item, dim)."""
        return self.item.weight[1:]


class GRU4Rec(NeuralRecommender):
    """Recurrence over the history (Hidasi et al., ICLR 2016), trained to predict each next item of whole histories."""

    name = "gru4rec"
    Options: ClassVar[type[config.Options]] = GRU4RecOptions

    def build(self, users: int, items: int) -> GRU4RecNet:
        """Return an untrained network."""
        return GRU4RecNet(items, self.options)

    def losses(self, net: GRU4RecNet, examples: Histories, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield the loss of each step of one epoch, over `batch` users in random order."""
        loss = make_loss(self.options, len(net.item_weights()))
        yield from next_item_losses(net, examples.items, self.options.batch, loss, generator)

    def states(self, net: GRU4RecNet, histories: Histories) -> Tensor:
        """Return the state after the newest item of each history."""
        return newest_states(net, histories.items)

"""DIN: the liked items of the history, each weighed by what it has to do with the item in question."""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from llmrs_bench.clicks.neural import FIELDS, ClickNet, ClickNetwork, DeepOptions, Features, Rows, tower
from llmrs_bench.core import config


class DINOptions(DeepOptions):
    """`max_history` newest liked items are looked at; `attention` is the width of the layer that weighs them.

    With `dislikes` the newest events of either label are, and the network reads which each has.
    """

    max_history: int = Field(default=20, ge=1)
    attention: int = Field(default=32, ge=1)
    dislikes: bool = False


class DINNet(ClickNet):
    """The weights of a history are normalised by a softmax, unlike in the paper, where they are summed as they are.

    Summed, the interest grows with the history, and longer ones than those of training are overrated.
    """

    def __init__(self, features: Features, options: DINOptions) -> None:
        super().__init__(features, options.dim)
        width = (FIELDS - 1) * options.dim
        self.labels = nn.Embedding(2, width) if options.dislikes else None
        self.weigh = nn.Sequential(
            nn.Linear(4 * width, options.attention), nn.Sigmoid(), nn.Linear(options.attention, 1)
        )
        self.deep = tower(FIELDS * options.dim + width, options)

    def forward(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """Return the log-odds (row,) and the vectors of the fields."""
        vectors = self.embeddings(rows)
        events = self.embeddings.items(rows.history).flatten(2)  # (row, time, 3 dim)
        if self.labels is not None:
            events = events + self.labels(rows.liked.long())
        item = vectors[:, 1:].flatten(1)[:, None].expand_as(events)
        weights = self.weigh(torch.cat([events, item, events - item, events * item], -1))
        real = rows.real[..., None]
        weights = weights.masked_fill(~real, -1e9).softmax(1) * real
        interest = (weights * events).sum(1)
        return self.deep(torch.cat([vectors.flatten(1), interest], 1)).squeeze(1), vectors


class DIN(ClickNetwork):
    """Deep interest network (Zhou et al., KDD 2018)."""

    name = "din"
    Options: ClassVar[type[config.Options]] = DINOptions
    reads_history = True

    def build(self, features: Features) -> DINNet:
        """Return an untrained network."""
        return DINNet(features, self.options)

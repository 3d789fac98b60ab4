"""BERT4Rec: a transformer that looks both ways, trained to guess masked items."""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from llmrs_bench import config
from llmrs_bench.recommenders.attention import AttentionOptions
from llmrs_bench.recommenders.bert4rec_net import BERT4RecNet
from llmrs_bench.recommenders.losses import LossOptions, make_loss
from llmrs_bench.recommenders.neural import NeuralRecommender
from llmrs_bench.recommenders.next_item import epoch_batches
from llmrs_bench.recommenders.sequences import PADDING, Histories


class BERT4RecOptions(LossOptions, AttentionOptions):
    """Defaults are those of BERT4Rec on MovieLens-1M in Klenitskiy and Vasilev (RecSys 2023), but for half the batch.

    `masked` is the probability that an item of a sequence is masked, in every epoch anew; a sequence has at
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
        loss = make_loss(self.options)
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

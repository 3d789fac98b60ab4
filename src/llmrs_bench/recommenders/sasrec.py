"""SASRec: the transformer baseline that a language model has to beat, trained at its published strength."""

from collections.abc import Iterator
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from llmrs_bench import config
from llmrs_bench.recommenders.attention import AttentionOptions
from llmrs_bench.recommenders.losses import LossOptions, make_loss
from llmrs_bench.recommenders.neural import NeuralOptions, NeuralRecommender
from llmrs_bench.recommenders.next_item import newest_states, next_item_losses
from llmrs_bench.recommenders.sasrec_net import SASRecNet
from llmrs_bench.recommenders.sequences import Histories


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
        loss = make_loss(self.options)
        yield from next_item_losses(net, examples.items, self.options.batch, loss, generator)

    def states(self, net: SASRecNet, histories: Histories) -> Tensor:
        """Return the state after the newest item of each history."""
        return newest_states(net, histories.items)

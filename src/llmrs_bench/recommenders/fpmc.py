"""FPMC: matrix factorisation of users and items plus a factorised step from the newest item to the next."""

import torch
from torch import Tensor, nn

from llmrs_bench.recommenders.factors import FactorRecommender
from llmrs_bench.recommenders.neural import Net
from llmrs_bench.recommenders.sequences import PADDING


class FPMCNet(Net):
    """Vectors of users and of newest items, side by side in a state, and of items for each of the two."""

    def __init__(self, users: int, items: int, dim: int) -> None:
        super().__init__()
        self.user = nn.Embedding(users + 1, dim, padding_idx=PADDING)
        self.newest = nn.Embedding(items + 1, dim, padding_idx=PADDING)
        self.item = nn.Parameter(torch.randn(items, 2 * dim) * 0.1)
        for table in (self.user, self.newest):
            nn.init.normal_(table.weight, std=0.1)
            with torch.no_grad():
                table.weight[PADDING].zero_()

    def forward(self, users: Tensor, newest: Tensor) -> Tensor:
        """Return the states of users after an item (event, 2 * dim); the integer 0 adds nothing."""
        return torch.cat([self.user(users), self.newest(newest)], 1)

    def item_weights(self) -> Tensor:
        """Return the output weights (item, 2 * dim)."""
        return self.item


class FPMC(FactorRecommender):
    """Factorised personalised Markov chains (Rendle et al., WWW 2010) over the newest item."""

    name = "fpmc"

    @property
    def history_size(self) -> int:
        """States look at the newest item."""
        return 1

    def build(self, users: int, items: int) -> FPMCNet:
        """Return untrained vectors."""
        return FPMCNet(users, items, self.options.dim)

    def embed(self, net: FPMCNet, users: Tensor, previous: Tensor) -> Tensor:
        """Return the vectors of users and of the items before."""
        states: Tensor = net(users, previous)
        return states

"""BPR-MF: a vector for each user and each item, trained to put a user's items above others."""

import torch
from torch import Tensor, nn

from llmrs_bench.recommenders.factors import FactorRecommender
from llmrs_bench.recommenders.neural import Net
from llmrs_bench.recommenders.sequences import PADDING


class BPRMFNet(Net):
    """Vectors of users and items, and item biases, which the last column of states and item weights carries."""

    def __init__(self, users: int, items: int, dim: int) -> None:
        super().__init__()
        self.user = nn.Embedding(users + 1, dim, padding_idx=PADDING)
        self.item = nn.Parameter(torch.randn(items, dim) * 0.1)
        self.bias = nn.Parameter(torch.zeros(items))
        nn.init.normal_(self.user.weight, std=0.1)
        with torch.no_grad():
            self.user.weight[PADDING].zero_()

    def forward(self, users: Tensor) -> Tensor:
        """Return the states of users (user, dim + 1)."""
        return torch.cat([self.user(users), self.bias.new_ones(len(users), 1)], 1)

    def item_weights(self) -> Tensor:
        """Return the output weights (item, dim + 1)."""
        return torch.cat([self.item, self.bias[:, None]], 1)


class BPRMF(FactorRecommender):
    """Matrix factorisation by Bayesian personalised ranking (Rendle et al., UAI 2009), uniform unseen negatives.

    The history of a request is not looked at: what is known of a user was learned in training.
    """

    name = "bprmf"

    @property
    def history_size(self) -> int:
        """States look at no history."""
        return 0

    def build(self, users: int, items: int) -> BPRMFNet:
        """Return untrained vectors."""
        return BPRMFNet(users, items, self.options.dim)

    def embed(self, net: BPRMFNet, users: Tensor, previous: Tensor) -> Tensor:
        """Return the vectors of the users; the item before does not matter."""
        states: Tensor = net(users)
        return states

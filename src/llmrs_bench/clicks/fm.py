"""FM: a weight for each field, and the products of their vectors."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from llmrs_bench.clicks.neural import ClickNet, ClickNetwork, ClickOptions, Features, Rows
from llmrs_bench.core import config


def products(vectors: Tensor) -> Tensor:
    """Return the sum of the dot products of all pairs of fields: (row, field, dim) -> (row,)."""
    return (vectors.sum(1).square() - vectors.square().sum(1)).sum(-1) / 2


class FMNet(ClickNet):
    """Vectors whose last value is the weight of their own."""

    def __init__(self, features: Features, dim: int) -> None:
        super().__init__(features, dim + 1)
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """Return the log-odds (row,) and the vectors of the fields."""
        vectors = self.embeddings(rows)
        return self.bias + vectors[..., -1].sum(1) + products(vectors[..., :-1]), vectors


class FM(ClickNetwork):
    """A factorisation machine (Rendle, ICDM 2010) over user, item, year and categories."""

    name = "fm"
    Options: ClassVar[type[config.Options]] = ClickOptions

    def build(self, features: Features) -> FMNet:
        """Return untrained vectors."""
        return FMNet(features, self.options.dim)

"""DeepFM: a factorisation machine and a deep network over the same vectors."""

from typing import ClassVar

from torch import Tensor

from llmrs_bench.clicks.fm import FMNet, products
from llmrs_bench.clicks.neural import FIELDS, ClickNetwork, DeepOptions, Features, Rows, tower
from llmrs_bench.core import config


class DeepFMNet(FMNet):
    """The sum of both log-odds; the bias is that of the deep network's last layer, too."""

    def __init__(self, features: Features, options: DeepOptions) -> None:
        super().__init__(features, options.dim)
        self.deep = tower(FIELDS * options.dim, options)

    def forward(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """Return the log-odds (row,) and the vectors of the fields."""
        vectors = self.embeddings(rows)
        wide = self.bias + vectors[..., -1].sum(1) + products(vectors[..., :-1])
        return wide + self.deep(vectors[..., :-1].flatten(1)).squeeze(1), vectors


class DeepFM(ClickNetwork):
    """Guo et al., IJCAI 2017."""

    name = "deepfm"
    Options: ClassVar[type[config.Options]] = DeepOptions

    def build(self, features: Features) -> DeepFMNet:
        """Return an untrained network."""
        return DeepFMNet(features, self.options)

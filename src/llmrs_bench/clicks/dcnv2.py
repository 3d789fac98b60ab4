"""DCNv2: layers of products of the input with itself, beside a deep network."""

from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn

from llmrs_bench.clicks.neural import FIELDS, ClickNet, ClickNetwork, DeepOptions, Features, Rows, tower
from llmrs_bench.core import config


class DCNv2Options(DeepOptions):
    """`crosses` is the number of cross layers: products of up to one more field."""

    crosses: int = Field(default=2, ge=1)


class DCNv2Net(ClickNet):
    """x' = x0 * (W x + b) + x, `crosses` times; the parallel form, in which both halves are added."""

    def __init__(self, features: Features, options: DCNv2Options) -> None:
        super().__init__(features, options.dim)
        width = FIELDS * options.dim
        self.crosses = nn.ModuleList(nn.Linear(width, width) for _ in range(options.crosses))
        self.crossed = nn.Linear(width, 1)
        self.deep = tower(width, options)

    def forward(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """Return the log-odds (row,) and the vectors of the fields."""
        vectors = self.embeddings(rows)
        first = crossed = vectors.flatten(1)
        for layer in self.crosses:
            crossed = first * layer(crossed) + crossed
        return (self.crossed(crossed) + self.deep(first)).squeeze(1), vectors


class DCNv2(ClickNetwork):
    """Wang et al., WWW 2021."""

    name = "dcnv2"
    Options: ClassVar[type[config.Options]] = DCNv2Options

    def build(self, features: Features) -> DCNv2Net:
        """Return an untrained network."""
        return DCNv2Net(features, self.options)

"""Chance: random scores, repeatable by seed."""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import polars as pl

from llmrs_bench.core import config
from llmrs_bench.core.hashing import uniform_hash
from llmrs_bench.core.types import Json
from llmrs_bench.recommenders.base import Corpus, ScoreBlock, TrainContext, score_blocks


class RandomOptions(config.Options):
    """Chance has nothing to choose but the seed."""


class Random:
    """Scores uniform in [0, 1), a hash of (seed, request, item).

    The hash is salted, so that it is independent of the ranking's tie rule under the same seed.
    """

    Options: ClassVar[type[config.Options]] = RandomOptions
    learns: ClassVar[bool] = False

    def __init__(self, options: config.Options, *, seed: int, device: str) -> None:
        self.options = options
        self.seed = seed

    def fit(self, corpus: Corpus, work: TrainContext) -> dict[str, Json]:
        """Learn nothing."""
        return {}

    def score(self, requests: pl.DataFrame, items: pl.Series) -> Iterator[ScoreBlock]:
        """Yield one uniform score per request and item."""
        for rows in score_blocks(len(requests)):
            names = requests["request_id"].gather(rows)
            salt = pl.repeat("random", len(rows), dtype=pl.String, eager=True)
            bits = uniform_hash(self.seed, salt, names, across=items)
            # The upper 53 bits are all that a float in [0, 1) can hold.
            yield ScoreBlock(rows, (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53)

"""A recommender: `infer --model followers`."""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import ClassVar

import numpy as np
import polars as pl
from pydantic import Field

from llmrs_bench.core import config
from llmrs_bench.core.types import Json
from llmrs_bench.recommenders.base import Corpus, FitOptions, ScoreBlock, TrainContext, fitted_events, score_blocks


class FollowersOptions(FitOptions):
    """`popularity` is the weight of how often an item was chosen at all; given as -O popularity=0.1."""

    popularity: float = Field(default=0.01, ge=0)


class Followers:
    """Scores an item by how often it came right after the last item of the history."""

    Options: ClassVar[type[config.Options]] = FollowersOptions
    learns: ClassVar[bool] = True  # fewer interactions make another model

    def __init__(self, options: FollowersOptions, *, seed: int, device: str) -> None:
        self.options = options

    def fit(self, corpus: Corpus, work: TrainContext) -> dict[str, Json]:
        """Count pairs of neighbours in what each user chose, and return facts for the manifest."""
        users = fitted_events(corpus.interactions, self.options).group_by("user_id", maintain_order=True)
        walks = users.agg("item_id")["item_id"].to_list()
        self.pairs = Counter(pair for walk in walks for pair in pairwise(walk))
        self.counts = Counter(item for walk in walks for item in walk)
        return {"pairs": self.pairs.total()}

    def score(self, requests: pl.DataFrame, items: pl.Series) -> Iterator[ScoreBlock]:
        """Yield the scores of all items for a block of requests at a time."""
        popular = np.array([self.options.popularity * self.counts[item] for item in items])
        last = [walk[-1] if walk else None for walk in requests["history"].to_list()]
        for rows in score_blocks(len(requests)):
            pairs = np.array([[self.pairs[last[row], item] for item in items] for row in rows])
            yield ScoreBlock(rows, pairs + popular)

"""Popularity: an item's score is how often it was interacted with, the same for every user."""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import polars as pl

from llmrs_bench.core import config
from llmrs_bench.core.errors import ModelError
from llmrs_bench.core.types import Json
from llmrs_bench.recommenders.base import Corpus, FitOptions, ScoreBlock, TrainContext, fitted_events, score_blocks


class Popularity:
    """Scores an item by its number of events; an item without any scores 0."""

    Options: ClassVar[type[config.Options]] = FitOptions
    learns: ClassVar[bool] = True

    def __init__(self, options: FitOptions, *, seed: int, device: str) -> None:
        self.options = options
        self._counts: dict[str, int] | None = None

    def fit(self, corpus: Corpus, work: TrainContext) -> dict[str, Json]:
        """Count the events of each item.

        Raises:
            ModelError: If there are no events in the part to count.
        """
        events = fitted_events(corpus.interactions, self.options)
        self._counts = dict(events.group_by("item_id").len().iter_rows())
        return {"events": len(events), "items": len(self._counts)}

    def score(self, requests: pl.DataFrame, items: pl.Series) -> Iterator[ScoreBlock]:
        """Yield the count of every item.

        Raises:
            ModelError: If nothing was counted yet.
        """
        if self._counts is None:
            raise ModelError("popularity is not fitted yet", hint="Call fit before score.")
        counts = np.array([self._counts.get(item, 0) for item in items], dtype=np.float64)
        for rows in score_blocks(len(requests)):
            yield ScoreBlock(rows, np.broadcast_to(counts, (len(rows), len(counts))))

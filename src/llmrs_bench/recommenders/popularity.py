"""Popularity: an item's score is how often it was interacted with, the same for every user."""

from collections.abc import Iterator
from typing import ClassVar

import polars as pl

from llmrs_bench import config
from llmrs_bench.errors import ModelError
from llmrs_bench.recommenders.candidates import candidate_rows, split_scores
from llmrs_bench.recommenders.fitting import FitOptions, fitted_events
from llmrs_bench.types import Json, Progress, Scores


class Popularity:
    """Scores an item by its number of events; an item without any scores 0."""

    Options: ClassVar[type[config.Options]] = FitOptions

    def __init__(self, options: FitOptions, *, seed: int, device: str) -> None:
        self.options = options
        self._counts: pl.DataFrame | None = None

    def fit(self, interactions: pl.DataFrame, progress: Progress) -> dict[str, Json]:
        """Count the events of each item.

        Raises:
            ModelError: If there are no events in the part to count.
        """
        events = fitted_events(interactions, self.options)
        self._counts = events.group_by("item_id").agg(pl.len().cast(pl.Float64).alias("count"))
        return {"events": len(events), "items": len(self._counts)}

    def score(self, requests: pl.DataFrame) -> Iterator[Scores]:
        """Yield the count of every candidate.

        Raises:
            ModelError: If nothing was counted yet.
        """
        if self._counts is None:
            raise ModelError("popularity has counted nothing yet", hint="Call fit before score.")
        rows = candidate_rows(requests).join(self._counts, on="item_id", how="left", maintain_order="left")
        yield from split_scores(requests, rows["count"].fill_null(0.0).to_numpy())

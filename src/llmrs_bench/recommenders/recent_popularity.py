"""Recent popularity: how often an item was chosen before the request, where older events count less."""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from llmrs_bench import config
from llmrs_bench.errors import ModelError
from llmrs_bench.recommenders.candidates import candidate_rows, split_scores
from llmrs_bench.recommenders.fitting import FitOptions, fitted_events
from llmrs_bench.recommenders.sequences import Vocabulary
from llmrs_bench.types import Json, Progress, Scores

_DAY = 86_400.0  # seconds


class RecentPopularityOptions(FitOptions):
    """How fast events fade: `half_life` is in days."""

    half_life: float = Field(default=30.0, gt=0, allow_inf_nan=False)


class RecentPopularity:
    """Scores an item by the sum of 0.5 ** (age / half_life) over its events before the request's cutoff.

    Ages are those at the cutoff, so no event of the future counts. An item without any scores 0.
    """

    Options: ClassVar[type[config.Options]] = RecentPopularityOptions

    def __init__(self, options: RecentPopularityOptions, *, seed: int, device: str) -> None:
        self.options = options
        self._vocabulary = Vocabulary(())
        self._items = np.empty(0, dtype=np.int64)  # (event,), sorted, and by time within an item
        self._times = np.empty(0, dtype=np.int64)  # (event,), UTC seconds
        self._weights = np.zeros(1)  # (event + 1,), faded events of the item so far, at the time of the newest

    def fit(self, interactions: pl.DataFrame, progress: Progress) -> dict[str, Json]:
        """Sum up the events of each item, faded to each of their times.

        Raises:
            ModelError: If there are no events in the part to count.
        """
        events = fitted_events(interactions, self.options)
        self._vocabulary = Vocabulary.of(events["item_id"])
        codes, times = self._vocabulary.encode(events["item_id"]), events["timestamp"].to_numpy()
        order = np.lexsort((times, codes))
        self._items, self._times = codes[order], times[order]
        self._weights = np.zeros(len(order) + 1)
        for event in range(len(order)):
            same = event > 0 and self._items[event] == self._items[event - 1]
            gap = float(self._times[event] - self._times[event - 1]) if same else 0.0
            self._weights[event + 1] = 1.0 + (self._weights[event] * self._fade(gap) if same else 0.0)
        return {"events": len(order), "items": len(self._vocabulary)}

    def score(self, requests: pl.DataFrame) -> Iterator[Scores]:
        """Yield the faded count of every candidate at its request's cutoff.

        Raises:
            ModelError: If nothing was counted yet.
        """
        if not len(self._items):
            raise ModelError("recent-popularity has counted nothing yet", hint="Call fit before score.")
        rows = candidate_rows(requests).join(requests.select("request_id", "cutoff"), on="request_id", how="left")
        codes, cutoffs = self._vocabulary.encode(rows["item_id"]), rows["cutoff"].to_numpy()
        newest = self._newest_before(codes, cutoffs)
        known = newest >= 0
        ages = np.where(known, cutoffs - self._times[newest], 0).astype(np.float64)
        values = np.where(known, self._weights[newest + 1] * self._fade(ages), 0.0)
        yield from split_scores(requests, values)

    def _newest_before(self, codes: NDArray[np.int64], cutoffs: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the index of the newest event of each item before each cutoff, -1 where there is none."""
        before = np.searchsorted(_pairs(self._items, self._times), _pairs(codes, cutoffs), side="left") - 1
        return np.where((before >= 0) & (self._items[before] == codes), before, -1)

    def _fade(self, seconds: "NDArray[np.float64] | float") -> "NDArray[np.float64]":
        return np.asarray(0.5 ** (np.asarray(seconds) / (_DAY * self.options.half_life)), dtype=np.float64)


def _pairs(items: NDArray[np.int64], times: NDArray[np.int64]) -> "NDArray[np.void]":
    """Return (item, time) as one column that sorts by item, then by time."""
    made = np.empty(len(items), dtype=[("item", np.int64), ("time", np.int64)])
    made["item"], made["time"] = items, times
    return made

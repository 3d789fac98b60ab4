"""Recent popularity: how often an item was chosen before the request, where older events count less."""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from llmrs_bench.core import config
from llmrs_bench.core.errors import ModelError
from llmrs_bench.core.types import Json
from llmrs_bench.recommenders.base import Corpus, FitOptions, ScoreBlock, TrainContext, fitted_events, score_blocks
from llmrs_bench.recommenders.sequences import Ints, Vocabulary

_DAY = 86_400.0  # seconds


class RecentPopularityOptions(FitOptions):
    """How fast events fade: `half_life` is in days."""

    half_life: float = Field(default=30.0, gt=0, allow_inf_nan=False)


class RecentPopularity:
    """Scores an item by the sum of 0.5 ** (age / half_life) over its events before the request's cutoff.

    Ages are those at the cutoff, so no event of the future counts. An item without any scores 0.
    """

    Options: ClassVar[type[config.Options]] = RecentPopularityOptions
    learns: ClassVar[bool] = True

    def __init__(self, options: RecentPopularityOptions, *, seed: int, device: str) -> None:
        self.options = options
        self._vocabulary = Vocabulary(())
        self._items = np.empty(0, dtype=np.int64)  # (event,), sorted, and by time within an item
        self._times = np.empty(0, dtype=np.int64)  # (event,), UTC seconds
        self._weights = np.zeros(1)  # (event + 1,), faded events of the item so far, at the time of the newest

    def fit(self, corpus: Corpus, work: TrainContext) -> dict[str, Json]:
        """Sum up the events of each item, faded to each of their times.

        Raises:
            ModelError: If there are no events in the part to count.
        """
        events = fitted_events(corpus.interactions, self.options)
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

    def score(self, requests: pl.DataFrame, items: pl.Series) -> Iterator[ScoreBlock]:
        """Yield the faded count of every item at its request's cutoff.

        Raises:
            ModelError: If nothing was counted yet.
        """
        if not len(self._items):
            raise ModelError("recent-popularity is not fitted yet", hint="Call fit before score.")
        codes, cutoffs = self._vocabulary.encode(items), requests["cutoff"].to_numpy()
        in_time = np.argsort(self._times, kind="stable")
        newest = np.full(len(self._vocabulary) + 1, -1)  # (item + 1,), the newest event so far
        told = 0
        order = np.argsort(cutoffs, kind="stable")
        for rows in score_blocks(len(requests)):
            values = np.zeros((len(rows), len(codes)))
            for row, request in enumerate(order[rows]):
                until = np.searchsorted(self._times, cutoffs[request], side="left", sorter=in_time)
                newest[self._items[in_time[told:until]]] = in_time[told:until]
                told = max(told, int(until))
                values[row] = self._at(newest[codes], int(cutoffs[request]))
            yield ScoreBlock(order[rows], values)

    def _at(self, newest: Ints, cutoff: int) -> NDArray[np.float64]:
        """Return the faded counts at `cutoff` of items, given the newest event of each before it, -1 for none."""
        known = newest >= 0
        ages = np.where(known, cutoff - self._times[newest], 0)
        return np.where(known, self._weights[newest + 1] * self._fade(ages), 0.0)

    def _fade(self, seconds: "Ints | float") -> "NDArray[np.float64]":
        return np.asarray(0.5 ** (np.asarray(seconds) / (_DAY * self.options.half_life)), dtype=np.float64)

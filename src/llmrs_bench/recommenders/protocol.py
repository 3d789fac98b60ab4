"""What a recommender is: it learns from a corpus and scores items for requests."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrs_bench import config
from llmrs_bench.types import Json, Progress, silent

# Requests in one block of scores, so that the matrix (request, item) is never held whole.
BLOCK = 256


@dataclass(frozen=True, slots=True)
class Corpus:
    """All that a recommender may learn from: the tables `interactions` and `items`."""

    interactions: pl.DataFrame
    items: pl.DataFrame


@dataclass(frozen=True, slots=True)
class Work:
    """How a fit reports and survives: its progress display, and the file an interrupted training goes on from.

    Without a checkpoint, training starts at the beginning and leaves nothing behind.
    """

    progress: Progress = silent
    checkpoint: Path | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """Scores of every asked item for some requests: `scores[i, j]` belongs to request row `rows[i]`, item j."""

    rows: NDArray[np.int64]
    scores: "NDArray[np.float32] | NDArray[np.float64]"


class Recommender(Protocol):
    """A model that is trained here, not downloaded.

    Laws: the same seed gives the same model; a score depends on its request and its item alone, whatever else is asked.
    """

    Options: ClassVar[type[config.Options]]
    # Whether it learns from interactions, so that fewer of them make another model.
    learns: ClassVar[bool]

    def __init__(self, options: config.Options, *, seed: int, device: str) -> None: ...

    def fit(self, corpus: Corpus, work: Work) -> dict[str, Json]:
        """Learn from `corpus` and return facts about the training.

        Raises:
            ModelError: If there is too little data to learn from, or the training diverges.
        """
        ...

    def score(self, requests: pl.DataFrame, items: pl.Series) -> Iterator[Block]:
        """Yield finite scores of all `items` (distinct ids) for every row of the table `requests` once.

        Higher is better. The column `candidates` is not read.

        Raises:
            ModelError: If the model is not trained yet.
        """
        ...


class Trained(Recommender, Protocol):
    """A recommender whose fitted state is worth keeping."""

    def save(self, folder: Path) -> None:
        """Write the fitted state into the existing `folder`."""
        ...

    @classmethod
    def load(cls, folder: Path, *, device: str) -> Self:
        """Return the recommender that `save` wrote.

        Raises:
            ModelError: If the folder is damaged, incomplete or another recommender's.
        """
        ...


def blocks(count: int) -> Iterator[NDArray[np.int64]]:
    """Yield the row numbers 0 to `count` - 1 in runs of at most `BLOCK`."""
    for start in range(0, count, BLOCK):
        yield np.arange(start, min(start + BLOCK, count))

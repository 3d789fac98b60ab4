"""What a recommender is: it learns from interactions and scores the candidates of requests."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Protocol, Self

import polars as pl

from llmrs_bench import config
from llmrs_bench.types import Json, Progress, Scores


class Recommender(Protocol):
    """A model that is trained here, not downloaded.

    Laws: the same seed gives the same model; the score of a candidate depends neither on the order of the
    candidates nor on which other candidates or requests there are.
    """

    Options: ClassVar[type[config.Options]]

    def __init__(self, options: config.Options, *, seed: int, device: str) -> None: ...

    def fit(self, interactions: pl.DataFrame, progress: Progress) -> dict[str, Json]:
        """Learn from the table `interactions` and return facts about the training.

        Raises:
            ModelError: If there is too little data to learn from, or the training diverges.
        """
        ...

    def score(self, requests: pl.DataFrame) -> Iterator[Scores]:
        """Yield for each row of the table `requests`, in any order, a finite score of every candidate.

        Raises:
            ModelError: If the model is not trained yet, or a request has no list of candidates.
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

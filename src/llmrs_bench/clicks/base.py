"""What a model of clicks is: it learns from labelled pairs of user and item, and says how likely a like is."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrs_bench.core import config
from llmrs_bench.core.types import Json
from llmrs_bench.recommenders.base import TrainContext


@dataclass(frozen=True, slots=True)
class ClickCorpus:
    """All that a click model may learn from: the tables `samples` and `items`."""

    samples: pl.DataFrame
    items: pl.DataFrame


class ClickModel(Protocol):
    """A model of whether a user likes an item.

    Laws: the same seed gives the same model; a score depends on its row alone, whatever else is asked; the labels of
    `samples` of the part `valid` say when to stop and nothing else, so that scores can be calibrated on them.
    """

    Options: ClassVar[type[config.Options]]
    # Whether it learns from samples, so that fewer of them make another model.
    learns: ClassVar[bool]

    def __init__(self, options: config.Options, *, seed: int, device: str) -> None: ...

    def fit(self, corpus: ClickCorpus, work: TrainContext) -> Mapping[str, Json]:
        """Learn from `corpus` and return facts about the training.

        Raises:
            ModelError: If there is too little to learn from, or the training diverges.
        """
        ...

    def score(self, asked: pl.DataFrame, items: pl.DataFrame) -> NDArray[np.float64]:
        """Return the log-odds of a like for each row of `asked` (user_id, item_id, history, liked).

        Args:
            asked: The rows.
            items: The table `items`, for year and categories of items.

        Raises:
            ModelError: If the model is not trained yet.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write the fitted state into the existing `folder`."""
        ...

    @classmethod
    def load(cls, folder: Path, *, device: str) -> Self:
        """Return the model that `save` wrote.

        Raises:
            ModelError: If the folder is damaged, incomplete or another model's.
        """
        ...

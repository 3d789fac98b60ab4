"""What the recommenders share that keep the nearest neighbours of every item: fitting, scores, and the kept file."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
import torch
from pydantic import Field
from scipy.sparse import csr_matrix

from llmrs_bench.core import config
from llmrs_bench.core.errors import ModelError, OptionError
from llmrs_bench.core.types import Json
from llmrs_bench.recommenders.base import Corpus, FitOptions, ScoreBlock, TrainContext, fitted_events, score_blocks
from llmrs_bench.recommenders.model_store import damaged, read_checkpoint, write_checkpoint
from llmrs_bench.recommenders.sequences import Sequences, Vocabulary


class NeighbourOptions(FitOptions):
    """How many items are looked at.

    `neighbours` is the number of most similar items that an item keeps; `max_history` is the number of newest items
    of a user that are looked at.
    """

    neighbours: int = Field(default=100, ge=1)
    max_history: int = Field(default=200, ge=1)


class NeighbourRecommender(ABC):
    """Scores a candidate by the sum of its similarities to the items of the history.

    A candidate that is no neighbour of any of them, or was not in training, scores 0.
    """

    name: ClassVar[str]
    Options: ClassVar[type[config.Options]]
    learns: ClassVar[bool] = True
    fallback: ClassVar[str] = "by chance"

    def __init__(self, options: Any, *, seed: int, device: str) -> None:
        self.options = options
        self._vocabulary = Vocabulary(())
        self._similar = csr_matrix((1, 1))  # (item + 1, item + 1), row and column 0 are empty

    @abstractmethod
    def similarities(self, counts: csr_matrix) -> csr_matrix:
        """Return the similarity of each item to its neighbours (item + 1, item + 1), row i to column j.

        Args:
            counts: Events of each user with each item (user, item + 1), float64; column 0 is empty.
        """

    def fit(self, corpus: Corpus, work: TrainContext) -> dict[str, Json]:
        """Find the neighbours of every item.

        Raises:
            ModelError: If there are no events in the part to learn from.
        """
        events = fitted_events(corpus.interactions, self.options)
        self._vocabulary = Vocabulary.of(events["item_id"])
        items, users = self._vocabulary.encode(events["item_id"]), Vocabulary.of(events["user_id"])
        rows = users.encode(events["user_id"]) - 1
        shape = (len(users), len(self._vocabulary) + 1)
        self._similar = self.similarities(csr_matrix((np.ones(len(items)), (rows, items)), shape, dtype=np.float64))
        return {"events": len(items), "items": len(self._vocabulary), "similarities": int(self._similar.nnz)}

    def score(self, requests: pl.DataFrame, items: pl.Series) -> Iterator[ScoreBlock]:
        """Yield the summed similarity of every item.

        Raises:
            ModelError: If the model is not fitted.
        """
        if not len(self._vocabulary):
            raise ModelError(f"{self.name} is not fitted yet", hint="Call fit, or load a trained model.")
        histories = self._histories(requests)
        codes = self._vocabulary.encode(items)
        for rows in score_blocks(len(requests), len(items)):
            users, events = histories.take(rows).flat()
            shape = (len(rows), len(self._vocabulary) + 1)
            chosen = csr_matrix((np.ones(len(events)), (users, events)), shape=shape)
            chosen.sum_duplicates()  # and sorts: float sums depend on the order
            yield ScoreBlock(rows, (chosen @ self._similar)[:, codes].toarray())

    def unknown(self, requests: pl.DataFrame) -> int:
        """Return how many rows of `requests` have no known item among their newest: all their items score 0."""
        return int((self._histories(requests).lengths == 0).sum())

    def save(self, folder: Path) -> None:
        """Write similarities, options and item vocabulary into the existing `folder`."""
        matrix = {"data": self._similar.data, "indices": self._similar.indices, "indptr": self._similar.indptr}
        facts: dict[str, Json] = {"options": self.options.model_dump(mode="json"), "items": list(self._vocabulary.ids)}
        write_checkpoint(folder, self.name, facts, {name: torch.from_numpy(part) for name, part in matrix.items()})

    @classmethod
    def load(cls, folder: Path, *, device: str) -> Self:
        """Return the model that `save` wrote.

        Raises:
            ModelError: If the folder is damaged, incomplete or another recommender's.
        """
        facts, parts = read_checkpoint(folder, cls.name)
        try:
            model = cls(cls.Options.parse(facts["options"], owner=cls.name), seed=0, device=device)
            model._vocabulary = Vocabulary(tuple(facts["items"]))
            size = len(model._vocabulary) + 1
            matrix = tuple(parts[name].numpy() for name in ("data", "indices", "indptr"))
            model._similar = csr_matrix(matrix, shape=(size, size))
        except (KeyError, TypeError, ValueError, OptionError) as error:
            raise damaged(folder, cls.name, str(error)) from error
        return model

    def _histories(self, requests: pl.DataFrame) -> Sequences:
        return Sequences.of(requests["history"], self._vocabulary).last(self.options.max_history)

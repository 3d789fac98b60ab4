"""EASE: an item is predicted from all others, with weights in closed form."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.sparse import csr_matrix

from llmrs_bench.core import config
from llmrs_bench.core.errors import ModelError, OptionError
from llmrs_bench.core.types import Json
from llmrs_bench.recommenders.base import Corpus, FitOptions, ScoreBlock, TrainContext, fitted_events, score_blocks
from llmrs_bench.recommenders.model_store import damaged, read_checkpoint, write_checkpoint
from llmrs_bench.recommenders.sequences import Sequences, Vocabulary

_BYTES = 28  # of a pair of items: its count, the factor and the inverse in float64, the weight in float32


class EaseOptions(FitOptions):
    """How strongly weights are held back, and how large a catalogue may be.

    `l2` is added to the diagonal of the item-by-item matrix; `max_items` bounds its side, for memory grows with the
    square of it; `max_history` is the number of newest items of a user that are looked at.
    """

    l2: float = Field(default=200.0, gt=0)
    max_items: int = Field(default=10_000, ge=1)
    max_history: int = Field(default=200, ge=1)


class Ease:
    """Scores a candidate by the sum of the weights from the items of the history to it (EASE, Steck 2019).

    With X the 0/1 matrix of users and items and P the inverse of X'X + l2 I, the weight from item i to item j is
    -P[i, j] / P[j, j], and that from an item to itself is 0. Whole users are learned from, however long their history
    is. A candidate that was not in training scores 0.
    """

    Options: ClassVar[type[config.Options]] = EaseOptions
    learns: ClassVar[bool] = True
    fallback: ClassVar[str] = "by chance"

    def __init__(self, options: EaseOptions, *, seed: int, device: str) -> None:
        self.options = options
        self._vocabulary = Vocabulary(())
        self._weights: NDArray[np.float32] = np.zeros((1, 1), np.float32)  # (item + 1, item + 1); 0 is no item

    def fit(self, corpus: Corpus, work: TrainContext) -> dict[str, Json]:
        """Solve for the weights.

        Raises:
            ModelError: If there are no events in the part to learn from, or more items than `max_items`.
        """
        events = fitted_events(corpus.interactions, self.options).select("user_id", "item_id").unique()
        self._vocabulary = Vocabulary.of(events["item_id"])
        count = len(self._vocabulary)
        if count > self.options.max_items:
            raise ModelError(
                f"ease inverts a matrix of {count:,} x {count:,} items, and max_items is {self.options.max_items:,}",
                hint=f"It takes {_BYTES * count**2 / 1e9:.1f} GB: set -O max_items={count} if there is so much memory, "
                "or use itemknn.",
            )
        users = Vocabulary.of(events["user_id"])
        where = users.encode(events["user_id"]) - 1, self._vocabulary.encode(events["item_id"]) - 1
        matrix = csr_matrix((np.ones(len(events)), where), shape=(len(users), count))
        counts = (matrix.T @ matrix).toarray()
        counts[np.diag_indices(count)] += self.options.l2
        try:
            inverse = cho_solve(cho_factor(counts, overwrite_a=True), np.eye(count), overwrite_b=True)
        except LinAlgError as error:
            raise ModelError(
                f"ease cannot invert its matrix with l2={self.options.l2:g}", hint="Set a larger -O l2."
            ) from error
        inverse /= -np.diag(inverse).copy()
        self._weights = np.zeros((count + 1, count + 1), np.float32)
        self._weights[1:, 1:] = inverse
        np.fill_diagonal(self._weights, 0)
        return {"events": len(events), "items": count}

    def score(self, requests: pl.DataFrame, items: pl.Series) -> Iterator[ScoreBlock]:
        """Yield the summed weight of every item.

        Raises:
            ModelError: If the model is not fitted.
        """
        if not len(self._vocabulary):
            raise ModelError("ease is not fitted yet", hint="Call fit, or load a trained model.")
        histories = self._histories(requests)
        codes = self._vocabulary.encode(items)
        for rows in score_blocks(len(requests)):
            users, events = histories.take(rows).flat()
            chosen = csr_matrix(
                (np.ones(len(events), np.float32), (users, events)), shape=(len(rows), len(self._vocabulary) + 1)
            )
            chosen.sum_duplicates()  # and sorts: float sums depend on the order
            chosen.data[:] = 1  # an item that was chosen twice counts once, as in training
            yield ScoreBlock(rows, np.asarray(chosen @ self._weights)[:, codes])

    def unknown(self, requests: pl.DataFrame) -> int:
        """Return how many rows of `requests` have no known item among their newest: all their items score 0."""
        return int((self._histories(requests).lengths == 0).sum())

    def save(self, folder: Path) -> None:
        """Write weights, options and item vocabulary into the existing `folder`."""
        facts: dict[str, Json] = {"options": self.options.model_dump(mode="json"), "items": list(self._vocabulary.ids)}
        write_checkpoint(folder, "ease", facts, {"weights": torch.from_numpy(self._weights)})

    @classmethod
    def load(cls, folder: Path, *, device: str) -> Self:
        """Return the model that `save` wrote.

        Raises:
            ModelError: If the folder is damaged, incomplete or another recommender's.
        """
        facts, parts = read_checkpoint(folder, "ease")
        try:
            model = cls(EaseOptions.parse(facts["options"], owner="ease"), seed=0, device=device)
            model._vocabulary = Vocabulary(tuple(facts["items"]))
            model._weights = parts["weights"].numpy()
            if model._weights.shape != (len(model._vocabulary) + 1,) * 2:
                raise ValueError("weights and items do not fit together")
        except (KeyError, TypeError, ValueError, OptionError) as error:
            raise damaged(folder, "ease", str(error)) from error
        return model

    def _histories(self, requests: pl.DataFrame) -> Sequences:
        return Sequences.of(requests["history"], self._vocabulary).last(self.options.max_history)

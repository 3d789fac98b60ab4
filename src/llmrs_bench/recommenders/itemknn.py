"""Item-kNN: candidates that were chosen by the same users as the items of the history."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
import polars as pl
import torch
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender
from implicit.utils import ParameterWarning
from pydantic import Field
from scipy.sparse import csr_matrix

from llmrs_bench.core import config
from llmrs_bench.core.errors import ModelError, OptionError
from llmrs_bench.core.types import Json
from llmrs_bench.recommenders.base import Corpus, FitOptions, ScoreBlock, TrainContext, fitted_events, score_blocks
from llmrs_bench.recommenders.model_store import damaged, read_checkpoint, write_checkpoint
from llmrs_bench.recommenders.sequences import Sequences, Vocabulary

_KINDS = {"cosine": CosineRecommender, "tfidf": TFIDFRecommender, "bm25": BM25Recommender}


class ItemKNNOptions(FitOptions):
    """How items are compared.

    `neighbours` is the number of most similar items that an item keeps, itself among them; `similarity` weighs
    events before the cosine; `max_history` is the number of newest items of a user that are looked at.
    """

    neighbours: int = Field(default=100, ge=1)
    similarity: Literal["cosine", "tfidf", "bm25"] = "cosine"
    max_history: int = Field(default=200, ge=1)


class ItemKNN:
    """Scores a candidate by the sum of its similarities to the items of the history (Deshpande and Karypis 2004).

    Similarities are those of the library `implicit`. A candidate that is no neighbour of any of them, or was not
    in training, scores 0.
    """

    Options: ClassVar[type[config.Options]] = ItemKNNOptions
    learns: ClassVar[bool] = True
    fallback: ClassVar[str] = "by chance"

    def __init__(self, options: ItemKNNOptions, *, seed: int, device: str) -> None:
        self.options = options
        self._vocabulary = Vocabulary(())
        self._similar = csr_matrix((1, 1))  # (item + 1, item + 1), row and column 0 are empty

    def fit(self, corpus: Corpus, work: TrainContext) -> dict[str, Json]:
        """Find the neighbours of every item.

        Raises:
            ModelError: If there are no events in the part to learn from.
        """
        events = fitted_events(corpus.interactions, self.options)
        self._vocabulary = Vocabulary.of(events["item_id"])
        items, users = self._vocabulary.encode(events["item_id"]), Vocabulary.of(events["user_id"])
        rows = users.encode(events["user_id"]) - 1
        matrix = csr_matrix(
            (np.ones(len(items)), (rows, items)), shape=(len(users), len(self._vocabulary) + 1), dtype=np.float64
        )
        model = _KINDS[self.options.similarity](K=self.options.neighbours, num_threads=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ParameterWarning)  # the library warns of its own COO weighting
            model.fit(matrix, show_progress=False)
        self._similar = csr_matrix(model.similarity)
        return {"events": len(items), "items": len(self._vocabulary), "similarities": int(self._similar.nnz)}

    def score(self, requests: pl.DataFrame, items: pl.Series) -> Iterator[ScoreBlock]:
        """Yield the summed similarity of every item.

        Raises:
            ModelError: If the model is not fitted.
        """
        if not len(self._vocabulary):
            raise ModelError("itemknn is not fitted yet", hint="Call fit, or load a trained model.")
        histories = Sequences.of(requests["history"], self._vocabulary).last(self.options.max_history)
        codes = self._vocabulary.encode(items)
        for rows in score_blocks(len(requests)):
            users, events = histories.take(rows).flat()
            shape = (len(rows), len(self._vocabulary) + 1)
            chosen = csr_matrix((np.ones(len(events)), (users, events)), shape=shape)
            chosen.sum_duplicates()  # and sorts: float sums depend on the order
            yield ScoreBlock(rows, (chosen @ self._similar).toarray()[:, codes])

    def unknown(self, requests: pl.DataFrame) -> int:
        """Return how many rows of `requests` have no known item among their newest: all their items score 0."""
        histories = Sequences.of(requests["history"], self._vocabulary).last(self.options.max_history)
        return int((histories.lengths == 0).sum())

    def save(self, folder: Path) -> None:
        """Write similarities, options and item vocabulary into the existing `folder`."""
        matrix = {"data": self._similar.data, "indices": self._similar.indices, "indptr": self._similar.indptr}
        facts: dict[str, Json] = {"options": self.options.model_dump(mode="json"), "items": list(self._vocabulary.ids)}
        write_checkpoint(folder, "itemknn", facts, {name: torch.from_numpy(part) for name, part in matrix.items()})

    @classmethod
    def load(cls, folder: Path, *, device: str) -> Self:
        """Return the model that `save` wrote.

        Raises:
            ModelError: If the folder is damaged, incomplete or another recommender's.
        """
        facts, parts = read_checkpoint(folder, "itemknn")
        try:
            model = cls(ItemKNNOptions.parse(facts["options"], owner="itemknn"), seed=0, device=device)
            model._vocabulary = Vocabulary(tuple(facts["items"]))
            size = len(model._vocabulary) + 1
            matrix = tuple(parts[name].numpy() for name in ("data", "indices", "indptr"))
            model._similar = csr_matrix(matrix, shape=(size, size))
        except (KeyError, TypeError, ValueError, OptionError) as error:
            raise damaged(folder, "itemknn", str(error)) from error
        return model

"""Item-kNN: candidates that were chosen by the same users as the items of the history."""

import warnings
from typing import ClassVar, Literal

from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender
from implicit.utils import ParameterWarning
from scipy.sparse import csr_matrix

from llmrs_bench.core import config
from llmrs_bench.recommenders.neighbours import NeighbourOptions, NeighbourRecommender

_KINDS = {"cosine": CosineRecommender, "tfidf": TFIDFRecommender, "bm25": BM25Recommender}


class ItemKNNOptions(NeighbourOptions):
    """How items are compared.

    `neighbours` is the number of most similar items that an item keeps, itself among them; `similarity` is the cosine
    of events, that of events weighed by TF-IDF, or their product weighed by BM25, which is no cosine; `max_history` is
    the number of newest items of a user that are looked at.
    """

    similarity: Literal["cosine", "tfidf", "bm25"] = "cosine"


class ItemKNN(NeighbourRecommender):
    """Sums the similarities of items by their users (Deshpande and Karypis 2004), those of the library `implicit`."""

    name = "itemknn"
    Options: ClassVar[type[config.Options]] = ItemKNNOptions

    def similarities(self, counts: csr_matrix) -> csr_matrix:
        """Return the similarity of each item to its nearest ones, itself among them."""
        model = _KINDS[self.options.similarity](K=self.options.neighbours, num_threads=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ParameterWarning)  # the library warns of its own COO weighting
            model.fit(counts, show_progress=False)
        return csr_matrix(model.similarity)

"""RP3beta: random walks of three steps from a user, along his items and other users, to items that are not popular."""

from typing import ClassVar

import numpy as np
from implicit.nearest_neighbours import all_pairs_knn
from pydantic import Field
from scipy.sparse import csr_matrix, diags

from llmrs_bench.core import config
from llmrs_bench.recommenders.neighbours import NeighbourOptions, NeighbourRecommender


class RP3betaOptions(NeighbourOptions):
    """How walks are weighed.

    `alpha` is the power of the probability of a step, as in P3alpha (Cooper et al. 2014), 1 is that of a walk; `beta`
    is the power of an item's number of users by which its weight is divided; `neighbours` is the number of largest
    weights that an item keeps; `max_history` is the number of newest items of a user that are looked at.
    """

    alpha: float = Field(default=1.0, ge=0)
    beta: float = Field(default=0.6, ge=0)


class RP3beta(NeighbourRecommender):
    """Sums the weights of walks from the items of the history to a candidate (RP3beta, Paudel et al. 2017).

    With d the number of users of an item, and of items of a user, the weight from item i to item j is the sum over
    the users u of both of (1 / d[i])^alpha (1 / d[u])^alpha, divided by d[j]^beta; that from an item to itself is 0.
    The first step, from the user to his items, has the same probability for all of them, and is left out.
    """

    name = "rp3beta"
    Options: ClassVar[type[config.Options]] = RP3betaOptions

    def similarities(self, counts: csr_matrix) -> csr_matrix:
        """Return the largest weights of walks from each item to others."""
        alpha, beta, kept = self.options.alpha, self.options.beta, self.options.neighbours
        chosen = counts.copy()
        chosen.sum_duplicates()
        chosen.data[:] = 1  # an item that was chosen twice counts once
        of_users, of_items = (np.maximum(np.asarray(chosen.sum(axis)).ravel(), 1) for axis in (1, 0))
        # The library finds the largest products of columns. The weights of row i are such products, but for a factor.
        scaled = diags(of_users ** (-alpha / 2)) @ chosen @ diags(of_items**-beta)
        near = csr_matrix(all_pairs_knn(csr_matrix(scaled), kept + 1, num_threads=1, show_progress=False))
        return csr_matrix(diags(of_items ** (beta - alpha)) @ _without_itself(near, kept))


def _without_itself(near: csr_matrix, kept: int) -> csr_matrix:
    """Return the `kept` largest entries of each row but the diagonal, of at most one more than that in a row."""
    rows = np.repeat(np.arange(near.shape[0]), np.diff(near.indptr))
    other = (rows != near.indices) & (near.data > 0)
    rows, columns, data = rows[other], near.indices[other], near.data[other]
    order = np.lexsort((columns, -data, rows))
    rows, columns, data = rows[order], columns[order], data[order]
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)
    few = place < kept
    return csr_matrix((data[few], (rows[few], columns[few])), shape=near.shape)

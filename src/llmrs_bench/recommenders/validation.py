"""Full-ranking validation: where the held-out event of each user stands among all items not seen before."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl
import torch
from torch import Tensor

from llmrs_bench.errors import ModelError
from llmrs_bench.recommenders.protocol import blocks
from llmrs_bench.recommenders.sequences import PADDING, Histories, Ints, Vocabulary, user_histories


@dataclass(frozen=True, slots=True)
class Holdout:
    """Training histories of users and the validation event of each; a target of 0 is an item never trained on."""

    histories: Histories
    targets: Ints

    @classmethod
    def of(cls, interactions: pl.DataFrame, users: Vocabulary, items: Vocabulary) -> Self:
        """Return the first validation event of every user who has training events as well.

        Raises:
            ModelError: If there is no such user.
        """
        names, histories = user_histories(interactions.filter(pl.col("part") == "train"), users, items)
        first = interactions.filter(pl.col("part") == "valid").unique("user_id", keep="first", maintain_order=True)
        rows = names.to_frame().with_row_index("row").join(first, on="user_id", maintain_order="left")
        if rows.is_empty():
            raise ModelError(
                "no user has both training and validation events, so nothing says when to stop training",
                hint="Users need at least three events: lower the filters, or take a larger data set.",
            )
        return cls(histories.take(rows["row"].to_numpy().astype(np.int64)), items.encode(rows["item_id"]))

    def ndcg(self, logits: Callable[[Histories], Tensor], k: int = 10) -> float:
        """Return the mean NDCG@k over users with one relevant item each: 1 / log2(1 + rank), 0 below rank k.

        Ties count against the target. Items of the history are not ranked; a target among them, or one
        never trained on, counts 0.

        Args:
            logits: Returns a new tensor (history, item) of scores on any device.
            k: Depth of the list.
        """
        # Long histories together: less padding.
        order = np.argsort(self.histories.items.lengths, kind="stable")
        total = 0.0
        for rows in blocks(len(order)):
            part = self.histories.take(order[rows])
            ranks = _target_ranks(logits(part), part, self.targets[order[rows]])
            known = torch.from_numpy(self.targets[order[rows]] != PADDING) & (ranks <= k)
            total += (known / torch.log2(1 + ranks.double())).sum().item()
        return total / len(order)


def _target_ranks(logits: Tensor, histories: Histories, targets: Ints) -> Tensor:
    """Return the rank of each target (user,) from 1, with unseen items only; overwrites `logits`."""
    users, seen = (torch.from_numpy(column).to(logits.device) for column in histories.items.flat())
    logits[users, seen - 1] = -torch.inf
    wanted = torch.from_numpy(np.maximum(targets - 1, 0)).to(logits.device)
    own = logits.gather(1, wanted[:, None])
    # "Not lower" instead of "higher", so that equal scores, and nan, are never an advantage.
    return (~(logits < own)).sum(1).cpu()

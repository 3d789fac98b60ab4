"""What factor models of users and items share: pairwise training on single events, against items not seen."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from llmrs_bench.core import config
from llmrs_bench.recommenders.neural import NeuralOptions, NeuralRecommender
from llmrs_bench.recommenders.sequences import PADDING, Histories, Ints

# A user who has seen nearly everything gets a seen item after so many draws.
_DRAWS = 8


class FactorOptions(NeuralOptions):
    """`reg` weighs the squared length of the vectors of a step's users and items; `batch` counts events."""

    batch: int = Field(default=8192, ge=1)
    lr: float = Field(default=3e-3, gt=0)
    reg: float = Field(default=0.004, ge=0)


class FactorRecommender(NeuralRecommender):
    """Trained by Bayesian personalised ranking (Rendle et al., UAI 2009) with uniform unseen negatives."""

    Options: ClassVar[type[config.Options]] = FactorOptions
    learns_users: ClassVar[bool] = True
    event_cost: ClassVar[int] = 500
    state_cost: ClassVar[int] = 0
    # Its steps are small: several threads wait for each other, on a busy machine for ten times as long as one works.
    step_threads: ClassVar[int | None] = 1

    @abstractmethod
    def embed(self, net: Any, users: Tensor, previous: Tensor) -> Tensor:
        """Return the states of users after an item (event, dim); the integer 0 is an unknown one."""

    def examples(self, histories: Histories, items: int) -> "Events":
        """Return the single events of `histories`."""
        return Events(histories, items)

    def losses(self, net: Any, examples: "Events", generator: torch.Generator) -> Iterator[Tensor]:
        """Yield the loss of each step of one epoch, over `batch` events in random order."""
        for columns in examples.batches(self.options.batch, generator):
            users, previous, targets, negatives = (column.to(self.device) for column in columns)
            states, weights = self.embed(net, users, previous), net.item_weights()
            wanted, others = (F.embedding(codes - 1, weights) for codes in (targets, negatives))
            length = sum((vectors**2).sum() for vectors in (states, wanted, others))
            loss = F.softplus((states * (others - wanted)).sum(1)).mean()
            yield loss + self.options.reg * length / len(users)

    def states(self, net: Any, histories: Histories) -> Tensor:
        """Return the states of users after their newest items."""
        lengths = histories.items.lengths
        newest = np.zeros(len(histories), dtype=np.int64)
        _, newest[lengths > 0] = histories.items.last(1).flat()
        users, previous = (torch.from_numpy(column).to(self.device) for column in (histories.users, newest))
        return self.embed(net, users, previous)

    def knows(self, histories: Histories) -> NDArray[np.bool_]:
        """Return which users were in training, or have a known newest item that counts."""
        known: NDArray[np.bool_] = (histories.users != PADDING) | (histories.items.lengths > 0)
        return known


class Events:
    """The events of training histories as flat columns: user, item before (0: none), item.

    Args:
        histories: All training events of each user, oldest first.
        items: Number of known items.
    """

    def __init__(self, histories: Histories, items: int) -> None:
        rows, self.targets = histories.items.flat()
        self.users = histories.users[rows]
        first = np.diff(rows, prepend=-1) != 0
        self.previous = np.where(first, PADDING, np.roll(self.targets, 1))
        self._items = items
        self._seen = np.unique(self._keys(self.users, self.targets))

    def batches(self, size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Yield users, previous items, targets and negatives (event,) of each step of one epoch, in random order."""
        negatives = self._unseen(generator)
        order = torch.randperm(len(self.targets), generator=generator).numpy()
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            columns = (self.users[rows], self.previous[rows], self.targets[rows], negatives[rows])
            users, previous, targets, drawn = map(torch.from_numpy, columns)
            yield users, previous, targets, drawn

    def _unseen(self, generator: torch.Generator) -> Ints:
        """Draw an item for each event, uniformly among those that are not in its user's training events.

        All at once and user by user, because lookups in order are ten times faster than at random.
        """
        drawn = self._draw(len(self.users), generator)
        again = np.arange(len(drawn))
        for _ in range(_DRAWS):
            keys = self._keys(self.users[again], drawn[again])
            places = np.minimum(np.searchsorted(self._seen, keys), len(self._seen) - 1)
            again = again[self._seen[places] == keys]
            drawn[again] = self._draw(len(again), generator)
        return drawn

    def _draw(self, count: int, generator: torch.Generator) -> Ints:
        drawn: Ints = torch.randint(1, self._items + 1, (count,), generator=generator).numpy()
        return drawn

    def _keys(self, users: Ints, items: Ints) -> Ints:
        return users * (self._items + 1) + items

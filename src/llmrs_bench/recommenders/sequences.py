"""Histories as dense integers: the vocabulary of items, and ragged sequences that become padded tensors."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Ints = NDArray[np.int64]
PADDING = 0


@dataclass(frozen=True)
class Vocabulary:
    """Items a model knows, as the integers 1 to n in the order of `ids`; 0 is padding and everything unknown."""

    ids: tuple[str, ...]

    @classmethod
    def of(cls, column: pl.Series) -> Self:
        """Return the vocabulary of the distinct ids in `column`, sorted, so that row order does not matter."""
        return cls(tuple(column.unique().sort()))

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def _codes(self) -> dict[str, int]:
        return {item: code for code, item in enumerate(self.ids, start=1)}

    def encode(self, column: pl.Series) -> Ints:
        """Return the integer of each id of `column`, 0 for an unknown one."""
        codes = self._codes
        return np.fromiter((codes.get(item, PADDING) for item in column), dtype=np.int64, count=len(column))


@dataclass(frozen=True, slots=True)
class Sequences:
    """Ragged sequences of known items, oldest first: row i is `items[starts[i] : starts[i] + lengths[i]]`."""

    items: Ints
    starts: Ints
    lengths: Ints

    @classmethod
    def of(cls, lists: pl.Series, vocabulary: Vocabulary) -> Self:
        """Return the sequences of a column of id lists; ids outside the vocabulary are left out."""
        sizes = lists.list.len().fill_null(0)
        codes = vocabulary.encode(lists.filter(sizes > 0).explode())
        rows = np.repeat(np.arange(len(lists)), sizes.to_numpy())
        lengths = np.bincount(rows[codes != PADDING], minlength=len(lists)).astype(np.int64)
        return cls(codes[codes != PADDING], np.cumsum(lengths) - lengths, lengths)

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, rows: Ints) -> Self:
        """Return the sequences of `rows`, in that order, without copying items."""
        return type(self)(self.items, self.starts[rows], self.lengths[rows])

    def last(self, size: int) -> Self:
        """Return the sequences cut to their newest `size` items."""
        cut = np.maximum(self.lengths - size, 0)
        return type(self)(self.items, self.starts + cut, self.lengths - cut)

    def flat(self) -> tuple[Ints, Ints]:
        """Return the row number and the item of every event."""
        rows = np.repeat(np.arange(len(self)), self.lengths)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(self.lengths) - self.lengths, self.lengths)
        return rows, self.items[np.repeat(self.starts, self.lengths) + within]

    def padded(self) -> "Tensor":
        """Return an integer tensor (sequence, time), filled up with 0 on the right to the longest one."""
        import torch

        _, items = self.flat()
        width = int(self.lengths.max(initial=0))
        table = np.full((len(self), width), PADDING, dtype=np.int64)
        table[np.arange(width) < self.lengths[:, None]] = items
        return torch.from_numpy(table)


@dataclass(frozen=True, slots=True)
class Histories:
    """Users, as integers of a vocabulary (0: unknown), and the items of each."""

    users: Ints
    items: Sequences

    def __len__(self) -> int:
        return len(self.users)

    def take(self, rows: Ints) -> Self:
        """Return the histories of `rows`, in that order."""
        return type(self)(self.users[rows], self.items.take(rows))

    def last(self, size: int) -> Self:
        """Return the histories cut to their newest `size` items."""
        return type(self)(self.users, self.items.last(size))


def user_histories(events: pl.DataFrame, users: Vocabulary, items: Vocabulary) -> tuple[pl.Series, Histories]:
    """Return the users of `events`, rows of the table interactions, and the history of each, in row order."""
    rows = events.group_by("user_id", maintain_order=True).agg("item_id")
    return rows["user_id"], Histories(users.encode(rows["user_id"]), Sequences.of(rows["item_id"], items))

"""Texts as numbers: what is counted and sorted by user or item takes a tenth of the time on them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

Codes = npt.NDArray[np.uint32]


def first_lines(texts: pl.Series) -> Codes:
    """Return for each text the number of the first line with the same one, so that equal texts have equal numbers.

    Args:
        texts: Without nulls; fewer than 2**32.
    """
    numbers = texts.cast(pl.Categorical(pl.Categories.random())).to_physical().to_numpy()
    first = np.zeros(int(numbers.max(initial=0)) + 1, dtype=np.uint32)
    first[numbers[::-1]] = np.arange(len(numbers), dtype=np.uint32)[::-1]  # of several lines the last one written stays
    codes: Codes = first[numbers]
    return codes


def count_pairs(one: Codes, other: Codes) -> int:
    """Return how many different pairs two columns of codes make."""
    return pl.Series(one.astype(np.uint64) << np.uint64(32) | other).n_unique()


def has_repeats(events: pl.DataFrame, pair: Sequence[str]) -> bool:
    """Tell whether two events have the same values in the two columns of `pair`."""
    one, other = (events[column].hash(seed) for seed, column in enumerate(pair))
    if (one ^ other).n_unique() == events.height:  # rows that differ in their hash are no repeats
        return False
    return bool(events.select(pl.struct(pair).is_duplicated().any()).item())

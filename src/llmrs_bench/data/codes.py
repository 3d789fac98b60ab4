"""Texts as numbers: what is counted and sorted by user or item takes a tenth of the time on them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

Codes = npt.NDArray[np.uint32]


def first_lines(texts: pl.Series) -> Codes:
    """Return for each text the number of the first line with the same one, so that equal texts have equal numbers.

    Texts are grouped by a hash of 64 bits, which is checked by another one; where it fails, they are compared.

    Args:
        texts: Without nulls; fewer than 2**32.
    """
    lines = pl.int_range(len(texts), dtype=pl.UInt32, eager=True)
    by_hash, check = (texts.hash(seed) for seed in (1, 2))
    first = _first(by_hash, lines)
    if (check.gather(first) != check).any():  # different texts share a hash
        first = _first(texts, lines)
    codes: Codes = first.to_numpy()
    return codes


def _first(keys: pl.Series, lines: pl.Series) -> pl.Series:
    return pl.DataFrame({"key": keys, "line": lines}).select(pl.col("line").first().over("key")).to_series()


def count_pairs(one: Codes, other: Codes) -> int:
    """Return how many different pairs two columns of codes make."""
    return _distinct(one.astype(np.uint64) << np.uint64(32) | other)


def _distinct(numbers: npt.NDArray[np.uint64]) -> int:
    """Count different numbers; sorted they are counted in less than half the time of hashing."""
    ordered = np.sort(numbers)
    return int((ordered[1:] != ordered[:-1]).sum()) + bool(len(ordered))


def has_repeats(events: pl.DataFrame, pair: Sequence[str]) -> bool:
    """Return whether two events have the same values in the two columns of `pair`."""
    one, other = (events[column].hash(seed) for seed, column in enumerate(pair))
    if _distinct((one ^ other).to_numpy()) == events.height:  # rows that differ in their hash are no repeats
        return False
    return bool(events.select(pl.struct(pair).is_duplicated().any()).item())

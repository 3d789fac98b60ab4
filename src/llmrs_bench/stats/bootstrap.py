"""Intervals of means over users."""

import numpy as np
from numpy.typing import NDArray

_CHUNK = 200


def bootstrap_interval(
    values: NDArray[np.float64], *, samples: int, seed: int, level: float = 0.95
) -> NDArray[np.float64]:
    """Percentile bootstrap interval of the mean of every row (Efron and Tibshirani 1993, section 13.3).

    All rows are resampled with the same users, so that rows of one board move together. A user without a value in a row
    counts nothing there; a resample that holds none of a row's users is left out for that row.

    Args:
        values: (rows, users), one value for each user, NaN where there is none.
        samples: Number of resamples.
        seed: Seed of the resampling.
        level: Probability content of the interval.

    Returns:
        (rows, 2), lower and upper end; NaN for a row without values.
    """
    generator = np.random.default_rng(seed)
    users = values.shape[1]
    there = ~np.isnan(values)
    whole = bool(there.all())
    filled = np.where(there, values, 0.0)
    means = np.empty((values.shape[0], samples))
    for start in range(0, samples, _CHUNK):
        size = min(_CHUNK, samples - start)
        weights = generator.multinomial(users, np.full(users, 1.0 / users), size=size).T.astype(np.float64)
        drawn = users if whole else there @ weights  # (rows, size)
        sums = filled @ weights
        means[:, start : start + size] = np.divide(sums, drawn, out=np.full_like(sums, np.nan), where=drawn != 0)
    tail = 100.0 * (1.0 - level) / 2.0
    if whole:
        ends: NDArray[np.float64] = np.percentile(means, [tail, 100.0 - tail], axis=1).T
        return ends
    found = [row[~np.isnan(row)] for row in means]
    return np.array([np.percentile(row, [tail, 100.0 - tail]) if row.size else [np.nan] * 2 for row in found])

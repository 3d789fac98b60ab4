"""Uncertainty of means over users."""

import numpy as np
from numpy.typing import NDArray

_CHUNK = 200


def bootstrap_interval(
    values: NDArray[np.float64], *, samples: int, seed: int, level: float = 0.95
) -> NDArray[np.float64]:
    """Percentile bootstrap interval of the mean of every row (Efron and Tibshirani 1993, section 13.3).

    All rows are resampled with the same users, so that rows of one board move together.

    Args:
        values: (rows, users), one value for each user.
        samples: Number of resamples.
        seed: Seed of the resampling.
        level: Probability content of the interval.

    Returns:
        (rows, 2), lower and upper end.
    """
    generator = np.random.default_rng(seed)
    users = values.shape[1]
    means = np.empty((values.shape[0], samples))
    for start in range(0, samples, _CHUNK):
        size = min(_CHUNK, samples - start)
        weights = generator.multinomial(users, np.full(users, 1.0 / users), size=size)  # (size, users)
        means[:, start : start + size] = values @ weights.T / users
    tail = 100.0 * (1.0 - level) / 2.0
    ends: NDArray[np.float64] = np.percentile(means, [tail, 100.0 - tail], axis=1).T
    return ends

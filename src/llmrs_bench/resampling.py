"""Resamples of users, and percentiles of what they give."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from statistics import NormalDist
from threading import Lock, Thread

import numpy as np
from numpy.typing import NDArray

_RESAMPLED_TOGETHER = 200
_KEPT = 20_000_000  # users times resamples: as many are kept for the next call
_SMALL = 200_000  # up to which those of several numbers of users are


def resamples(users: int, samples: int, seed: int) -> Iterable[NDArray[np.uint32]]:
    """Return how often each of some resamples holds each user, (size, users), until there are so many resamples."""
    draw = _drawn if users * samples > _KEPT else _kept_resamples if users * samples > _SMALL else _small_resamples
    return draw(users, samples, seed)


def draw_ahead(users: int, samples: int, seed: int) -> None:
    """Draw the resamples of a board while modules are imported and values read: it is a sixth of the work.

    Nothing but time depends on it: whoever needs resamples that were not drawn, or not yet, draws them or waits.
    """
    if _SMALL < users * samples <= _KEPT:
        Thread(target=_kept_resamples, args=(users, samples, seed), name="resamples").start()


_drawing = Lock()


def _kept_resamples(users: int, samples: int, seed: int) -> tuple[NDArray[np.uint32], ...]:
    """Return the resamples of a board: its intervals of means and of differences are from the same ones."""
    with _drawing:
        return _last_resamples(users, samples, seed)


@lru_cache(maxsize=1)
def _last_resamples(users: int, samples: int, seed: int) -> tuple[NDArray[np.uint32], ...]:
    return tuple(_drawn(users, samples, seed))


@lru_cache(maxsize=32)
def _small_resamples(users: int, samples: int, seed: int) -> tuple[NDArray[np.uint32], ...]:
    """Return those of parts of the users: of a slot of the list, say, in each run of a board."""
    return tuple(_drawn(users, samples, seed))


def _drawn(users: int, samples: int, seed: int) -> Iterator[NDArray[np.uint32]]:
    generator = np.random.default_rng(seed)
    for start in range(0, samples, _RESAMPLED_TOGETHER):
        size = min(_RESAMPLED_TOGETHER, samples - start)
        yield generator.multinomial(users, np.full(users, 1.0 / users), size=size).astype(np.uint32)


def expanded_tail(users: int, level: float = 0.95) -> float:
    """Return the share of resamples beyond either end of an interval of so many users.

    The ordinary share, .025, makes the interval too narrow by sqrt((n - 1) / n), and as if the deviation were known;
    the expanded one is normal(-t(n - 1) sqrt(n / (n - 1))) (Hesterberg 2015, 10.1080/00031305.2015.1089789, section
    5.2), which measures nearest to 95 % (benchmarks/intervals.py). The quantile of Student's t is that of Abramowitz
    and Stegun, 26.7.5.
    """
    normal = NormalDist()
    if users < 2:
        return (1.0 - level) / 2.0
    z, freedom = normal.inv_cdf((1.0 + level) / 2.0), users - 1
    t = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    t += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    return normal.cdf(-t * (users / freedom) ** 0.5)


def two_percentiles(values: NDArray[np.float64], percentiles: tuple[float, float]) -> NDArray[np.float64]:
    """Return what `np.percentile` would, to the bit: (rows, 2); numpy's imports its masked arrays, for 15 ms."""
    last = values.shape[1] - 1
    places = [last * (percentile / 100) for percentile in percentiles]
    below = [int(place) for place in places]
    wanted = sorted({0, last, *below, *(min(at + 1, last) for at in below)})
    ordered = np.partition(values, wanted, axis=1)
    ends = []
    for place, at in zip(places, below, strict=True):
        low, high, part = ordered[:, at], ordered[:, min(at + 1, last)], place - at
        ends.append(low + (high - low) * part if part < 0.5 else high - (high - low) * (1 - part))
    return np.stack(ends, axis=1)

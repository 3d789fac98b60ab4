"""Resamples of users, and percentiles of what they give."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from statistics import NormalDist
from threading import Lock, Thread

import numpy as np
from numpy.typing import NDArray

# How often each of some resamples holds each user, (size, users). No user is drawn 256 times: that one of n is has a
# probability below n / 256!, which is n times 1e-507.
Draws = NDArray[np.uint8]

_RESAMPLED_TOGETHER = 200
_DRAWN_TOGETHER = 2_000_000  # numbers, which take eight bytes each until they are counts
_KEPT = 250_000_000  # bytes of resamples for later calls: 2,000 of 125,000 users
_kept: OrderedDict[tuple[int, int, int], "Future[tuple[Draws, ...]]"] = OrderedDict()
_keeping = Lock()
_WORTH = 200_000  # numbers that are worth a thread


def resamples(users: int, samples: int, seed: int) -> Iterable[Draws]:
    """Return how often each of some resamples holds each user, until there are so many resamples.

    The latest ones are kept: intervals of means and of differences are from the same ones. Those that another thread
    is drawing are waited for.
    """
    if users * samples > _KEPT:
        return _drawn(users, samples, seed)
    asked = users, samples, seed
    with _keeping:
        known = _kept.pop(asked, None)
        found = _kept[asked] = known or Future()
        while sum(users * samples for users, samples, _ in _kept) > _KEPT:
            _kept.popitem(last=False)
    if known is None:
        try:
            found.set_result(tuple(_drawn(*asked)))
        except BaseException as error:  # noqa: BLE001 - raised below, and in the threads that wait
            found.set_exception(error)
            with _keeping:
                _kept.pop(asked, None)
    return found.result()


def draw_ahead(users: int, samples: int, seed: int) -> None:
    """Draw the resamples of a board while modules are imported and values read: it is a sixth of the work.

    Nothing but time depends on it: whoever needs resamples that were not drawn, or not yet, draws them or waits.
    """
    if _WORTH < users * samples <= _KEPT:
        Thread(target=resamples, args=(users, samples, seed), name="resamples").start()


def _drawn(users: int, samples: int, seed: int) -> Iterator[Draws]:
    generator, even = np.random.default_rng(seed), np.full(users, 1.0 / users)
    rows = max(1, _DRAWN_TOGETHER // users)
    for start in range(0, samples, _RESAMPLED_TOGETHER):
        block: Draws = np.empty((min(_RESAMPLED_TOGETHER, samples - start), users), dtype=np.uint8)
        for place in range(0, len(block), rows):
            part = block[place : place + rows]
            part[:] = generator.multinomial(users, even, size=len(part))
        yield block


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

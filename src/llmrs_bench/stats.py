"""Uncertainty of means over users, and of differences between them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import ceil, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from llmrs_bench.core.cores import in_parts
from llmrs_bench.resampling import Draws, expanded_tail, resamples, two_percentiles

_CHUNK = 500
_LARGE = 1e8  # products of values and signs: from so many on a test is divided among cores
_NOISE = 1e-6  # of the sum of absolute differences: sums that differ by less are the same sum, added in another order
# In float32 a sum of n signed numbers of norm c is off by about 2^-24 sqrt(n) c / 2: each step rounds a partial sum.
_ROUNDING = 8 * 2.0**-24
_CLOSE = 1000  # times that error: two rows that differ by less are subtracted before their signs are flipped


def bootstrap_interval(
    values: NDArray[np.float64],
    *,
    samples: int,
    seed: int,
    level: float = 0.95,
    clusters: NDArray[np.intp] | None = None,
) -> NDArray[np.float64]:
    """Bootstrap interval of the mean of every row: percentiles (Efron and Tibshirani 1993, 13.3), by `expanded_tail`.

    All rows are resampled with the same users, so that rows of one board move together. A user without a value in a row
    counts nothing there; a resample that holds none of a row's users is left out for that row. With `clusters` a user
    has several values, which are drawn together; the mean stays that of all values, a ratio of two sums (Davison and
    Hinkley 1997, section 3.8).

    Args:
        values: (rows, users), one value for each user, NaN where there is none; with `clusters` (rows, values).
        samples: Number of resamples.
        seed: Seed of the resampling.
        level: Probability content of the interval.
        clusters: (values,) the user of each value, as a whole number; None: each has one.

    Returns:
        (rows, 2), lower and upper end; NaN for a row with values of fewer than two users: one says nothing of others.
    """
    there = ~np.isnan(values)
    filled = summed(np.where(there, values, 0.0), clusters)
    whole = clusters is None and bool(there.all())
    counts = None if whole else summed(there.astype(np.float64), clusters)
    users = np.full(len(filled), filled.shape[1]) if counts is None else (counts > 0).sum(1)
    ends = _percentiles(_resampled_means(filled, counts, samples=samples, seed=seed), users, level)
    ends[users < 2] = np.nan
    return ends


def difference_intervals(
    values: NDArray[np.float64],
    pairs: NDArray[np.intp],
    *,
    samples: int,
    seed: int,
    level: float = 0.95,
    clusters: NDArray[np.intp] | None = None,
) -> NDArray[np.float64]:
    """Bootstrap intervals of the mean differences of many pairs of rows, from resamples they share.

    A pair is resampled on the users that have both values, as `bootstrap_interval` of its differences would do.

    Args:
        values: (blocks, rows, users), for instance one block for each metric; NaN where a row has no value for a user.
        pairs: (pairs, 2) indices of rows.
        samples: Number of resamples.
        seed: Seed of the resampling.
        level: Probability content of the intervals.
        clusters: (values,) the user of each value, as a whole number; None: each has one.

    Returns:
        (blocks, pairs, 2), lower and upper end; NaN for a pair without a user, or with a single one.
    """
    blocks = values.shape[0]
    columns, first, second = _columns(values, pairs)
    filled = summed(columns, clusters)
    there = ~np.isnan(values)
    if there.all() and clusters is None:
        means = _resampled_means(filled, None, samples=samples, seed=seed)
        drawn, users = None, np.full(first.size, filled.shape[1])
    else:
        masks: dict[bytes, int] = {}
        rows = []
        for block in there:
            for i, j in pairs.tolist():
                both = block[i] & block[j]
                rows.append(masks.setdefault(both.tobytes(), len(masks)))
        shapes = np.array([np.frombuffer(mask, dtype=np.bool_) for mask in masks], dtype=np.float64)
        counts = summed(shapes.reshape(len(masks), -1), clusters)
        users = (counts > 0).sum(1)[rows]
        means = _resampled_means(np.concatenate([filled, counts]), np.ones_like(counts[:1]), samples=samples, seed=seed)
        means, drawn = means[: len(filled)], means[len(filled) :][rows]
    ends = np.empty((first.size, 2))
    for start in range(0, first.size, _CHUNK):
        part = slice(start, start + _CHUNK)
        found = means[first[part]] - means[second[part]]
        if drawn is not None:
            found = np.divide(found, drawn[part], out=np.full_like(found, np.nan), where=drawn[part] > 0)
        ends[part] = _percentiles(found, users[part], level)
    ends[users < 2] = np.nan
    return ends.reshape(blocks, len(pairs), 2)


def _resampled_means(
    filled: NDArray[np.float64], counts: NDArray[np.float64] | None, *, samples: int, seed: int
) -> NDArray[np.float64]:
    """Return (rows, samples), the sums of each resample of users divided by how many values it holds.

    Args:
        filled: (rows, users), 0 where there is no value.
        counts: (rows, users) or (1, users), how many values a user has; None: one each. NaN where a resample has none.
        samples: Number of resamples.
        seed: Of the resampling.
    """
    users = filled.shape[1]

    def means(drawn: Draws) -> NDArray[np.float64]:
        """Return (rows, size), the means of some resamples."""
        weights = drawn.T.astype(np.float64)
        sums = filled @ weights
        held = np.full((1, 1), float(users)) if counts is None else counts @ weights  # (rows or 1, size)
        return np.divide(sums, held, out=np.full_like(sums, np.nan), where=held != 0)

    parts = ((drawn,) for drawn in resamples(users, samples, seed))
    return np.concatenate(list(in_parts(means, parts, large=filled.size * samples > _LARGE)), axis=1)


def _percentiles(means: NDArray[np.float64], users: NDArray[np.intp], level: float) -> NDArray[np.float64]:
    """Return (rows, 2), both ends of the interval of each row, from its values that are not NaN and how many users."""
    found = np.full((len(means), 2), np.nan)
    whole = ~np.isnan(means).any(1)
    for count in sorted(set(users.tolist())):
        tail = 100.0 * expanded_tail(count, level)
        rows = users == count
        if (rows & whole).any():
            found[rows & whole] = two_percentiles(means[rows & whole], (tail, 100.0 - tail))
        for place in np.flatnonzero(rows & ~whole):
            known = means[place][~np.isnan(means[place])]
            found[place] = np.percentile(known, [tail, 100.0 - tail]) if known.size else np.nan
    return found


def mean_interval(
    values: NDArray[np.float64], *, samples: int, seed: int, clusters: NDArray[np.intp] | None = None
) -> NDArray[np.float64]:
    """Return a 95 % interval of the mean of every row: Wilson's where it is a share of users, else of the bootstrap.

    A row of which each value is 0 or 1, and that of another user, is a share. The score interval (Wilson 1927; method 3
    of Newcombe 1998, 10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E) then holds the truth where the
    bootstrap is too narrow. Of six intervals it is the one nearest to 95 % over all shares (benchmarks/intervals.py).

    Args:
        values: (rows, users), NaN where a user has no value; with `clusters` (rows, values).
        samples: Resamples of `bootstrap_interval`.
        seed: Of the resamples.
        clusters: (values,) the user of each value, where some have several.

    Returns:
        (rows, 2), lower and upper end; NaN for a row with values of fewer than two users.
    """
    if clusters is not None and len(np.unique(clusters)) < len(clusters):
        return bootstrap_interval(values, samples=samples, seed=seed, clusters=clusters)
    shares = [share_interval(row) for row in values]
    if None in shares:
        ends = bootstrap_interval(values, samples=samples, seed=seed, clusters=clusters)
    else:  # of so many users, resampling takes seconds
        ends = np.where((~np.isnan(values)).sum(1, keepdims=True) < 2, np.nan, np.zeros((len(values), 2)))
    for place, found in enumerate(shares):
        if found is not None and not np.isnan(ends[place]).any():
            ends[place] = found
    return ends


def share_interval(values: NDArray[np.float64]) -> tuple[float, float] | None:
    """Return Wilson's 95 % interval of the mean of values that are all 0 or 1; None where they are not, or are none.

    Args:
        values: (users,), one value for each user, NaN where there is none.
    """
    known = values[~np.isnan(values)]
    if not known.size or not np.isin(known, (0.0, 1.0)).all():
        return None
    share, users, z = float(known.mean()), known.size, NormalDist().inv_cdf(0.975)
    middle = (share + z * z / (2 * users)) / (1 + z * z / users)
    reach = z * sqrt(share * (1 - share) / users + z * z / (4 * users * users)) / (1 + z * z / users)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def summed(values: NDArray[np.float64], clusters: NDArray[np.intp] | None) -> NDArray[np.float64]:
    """Return the sums of the last axis over each cluster, in the order of their numbers; without clusters as they are.

    Args:
        values: (..., values).
        clusters: (values,) whole numbers.
    """
    if clusters is None:
        return values
    order = np.argsort(clusters, kind="stable")
    starts = np.flatnonzero(np.diff(clusters[order], prepend=-1))
    return np.add.reduceat(values[..., order], starts, axis=-1)


def slopes(
    values: NDArray[np.float64],
    times: NDArray[np.float64],
    *,
    samples: int,
    seed: int,
    clusters: NDArray[np.intp] | None = None,
) -> NDArray[np.float64]:
    """Least-squares slope of the values of every row on their times, and its 95 % bootstrap interval.

    Users are drawn whole, with all of their values and times (Efron and Tibshirani 1993, section 9.5: pairs, here of
    clusters), the same for all rows.

    Args:
        values: (rows, values), NaN where there is none.
        times: (values,) NaN where there is none.
        samples: Number of resamples.
        seed: Of the resamples.
        clusters: (values,) the user of each value, as a whole number; None: each has one.

    Returns:
        (rows, 3): slope, lower and upper end; NaN where all values of a row are of one time, its ends where they are
        of one user.
    """
    there = ~np.isnan(values) & ~np.isnan(times)
    y, t = np.where(there, values, 0.0), np.where(there, times, 0.0)
    parts = np.stack([summed(part, clusters) for part in (there.astype(np.float64), t, y, t * t, t * y)])
    users = (parts[0] > 0).sum(axis=1)  # of each row

    def of_resamples(weights: Draws) -> NDArray[np.float64]:
        return _slope(parts @ weights.T.astype(np.float64))

    weighed = ((weights,) for weights in resamples(parts.shape[2], samples, seed))
    drawn = np.concatenate(list(in_parts(of_resamples, weighed, large=False)), axis=1)
    found = np.full((len(values), 3), np.nan)
    found[:, 0] = _slope(parts.sum(axis=2))
    for place, row in enumerate(drawn):
        known = row[~np.isnan(row)]
        if known.size and users[place] > 1:
            tail = 100.0 * expanded_tail(int(users[place]))
            found[place, 1:] = np.percentile(known, [tail, 100.0 - tail])
    return found


def _slope(parts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return slopes from the sums of 1, t, y, t t and t y; NaN where all times are equal."""
    count, t, y, tt, ty = parts
    spread = count * tt - t * t
    found: NDArray[np.float64] = np.full(spread.shape, np.nan)
    np.divide(count * ty - t * y, spread, out=found, where=spread > _NOISE * count * tt)
    return found


def slope_tests(
    values: NDArray[np.float64],
    times: NDArray[np.float64],
    *,
    samples: int,
    seed: int,
    clusters: NDArray[np.intp] | None = None,
) -> NDArray[np.float64]:
    """Two-sided p of each row that the slope of its values on their times is 0.

    The slope is a sum over users: of the deviations of their values from the mean, times those of their times. Without
    a slope each user's part of it is as likely to have the other sign: the wild cluster bootstrap with the null
    hypothesis imposed (Cameron, Gelbach and Miller, Review of Economics and Statistics 90, 2008), of the sum itself.

    Args:
        values: (rows, values), NaN where there is none.
        times: (values,) NaN where there is none.
        samples: Number of sign vectors.
        seed: Of the sign vectors.
        clusters: (values,) the user of each value, as a whole number; None: each has one.

    Returns:
        (rows,) p-values.
    """
    there = ~np.isnan(values) & ~np.isnan(times)
    counts = np.maximum(there.sum(axis=1, keepdims=True), 1)
    y, t = np.where(there, values, 0.0), np.where(there, times, 0.0)
    y, t = y - y.sum(axis=1, keepdims=True) / counts, t - t.sum(axis=1, keepdims=True) / counts
    parts = np.where(there, y * t, np.nan)
    stack = np.concatenate([parts, np.zeros((1, values.shape[1]))])[None]
    pairs = np.array([(row, len(values)) for row in range(len(values))], dtype=np.intp).reshape(-1, 2)
    p: NDArray[np.float64] = sign_flip(stack, pairs, samples=samples, seed=seed, clusters=clusters)[0]
    return p


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p-values adjusted for the family-wise error rate, step down (Holm 1979), in the order and shape of `p`."""
    flat = p.ravel()
    order = np.argsort(flat, kind="stable")
    steps = flat[order] * np.arange(flat.size, 0, -1)
    return _back(np.maximum.accumulate(steps), order, p.shape)


def benjamini_hochberg(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p-values adjusted for the false discovery rate, step up (Benjamini and Hochberg 1995), shaped as `p`."""
    flat = p.ravel()
    order = np.argsort(flat, kind="stable")
    steps = flat[order] * flat.size / np.arange(1, flat.size + 1)
    return _back(np.minimum.accumulate(steps[::-1])[::-1], order, p.shape)


def _back(sorted_p: NDArray[np.float64], order: NDArray[np.intp], shape: tuple[int, ...]) -> NDArray[np.float64]:
    adjusted = np.empty_like(sorted_p)
    adjusted[order] = np.minimum(sorted_p, 1.0)
    return adjusted.reshape(shape)


CORRECTIONS: Mapping[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "holm": holm,
    "bh": benjamini_hochberg,
    "none": np.copy,
}


@dataclass(frozen=True, slots=True)
class Paired:
    """What two rows' values on the same users differ by.

    Args:
        users: How many users have a value in both rows.
        difference: Mean of first - second.
        effect: Cohen's d of paired differences, mean over standard deviation (n - 1): d_z in Lakens 2013
            (10.3389/fpsyg.2013.00863), equation 6. None where the deviation is 0 and the mean is not.
        wins: Users for whom the first value is the greater one; `ties` and `losses` likewise.
        needed: Users of whom as many differences of this size are seen at a power of 80 %, see `users_needed`.
    """

    users: int
    difference: float
    effect: float | None
    wins: int
    ties: int
    losses: int
    needed: int | None


def all_pairs(rows: int) -> NDArray[np.intp]:
    """Return all pairs (i, j) of `rows` rows with i < j, shaped (pairs, 2)."""
    return np.column_stack(np.triu_indices(rows, 1))


def sign_flip(
    values: NDArray[np.float64],
    pairs: NDArray[np.intp],
    *,
    samples: int,
    seed: int,
    clusters: NDArray[np.intp] | None = None,
) -> NDArray[np.float64]:
    """Two-sided paired permutation tests of mean differences, all pairs at once.

    Under the null hypothesis that the two rows of a pair may be exchanged for every user, the signs of the differences
    are arbitrary (Fisher 1935, section 21; Noreen 1989). p = (1 + number of samples whose mean difference is at
    least as far from 0) / (1 + samples) (Phipson and Smyth 2010), so that identical rows, and rows of one user, have
    p = 1 and no p is 0. All pairs and blocks share the sign vectors: the sums of all rows under a sign vector are one
    column of one matrix product, and a pair's sum is the difference of two of them; a pair of nearly equal rows has a
    column of its differences instead, which rounding would drown. A sum that is as far from 0 up to rounding counts.
    With `clusters` all values of a user share a sign: they are no independent differences.

    Args:
        values: (blocks, rows, users), for instance one block for each metric; NaN where a row has no value for a user.
            A pair is tested on the users that have both values. With `clusters` (blocks, rows, values).
        pairs: (pairs, 2) indices of rows.
        samples: Number of sign vectors.
        seed: Seed of the sign vectors.
        clusters: (values,) the user of each value, as a whole number; None: each has one.

    Returns:
        (blocks, pairs) p-values.
    """
    blocks = values.shape[0]
    columns, first, second = _columns(values, pairs)
    columns = summed(columns, clusters)
    users = columns.shape[1]
    error = _ROUNDING * sqrt(users) * np.linalg.norm(columns, axis=1)
    reach = np.empty(first.size)
    close: list[NDArray[np.float64]] = [np.zeros((1, users))]  # what is subtracted is compared with 0
    for start in range(0, first.size, _CHUNK):
        part = slice(start, start + _CHUNK)
        drawn = columns[first[part]] - columns[second[part]]
        noise, rounding = _NOISE * np.abs(drawn).sum(1), np.maximum(error[first[part]], error[second[part]])
        near = np.linalg.norm(drawn, axis=1) < _CLOSE * rounding
        reach[part] = np.abs(drawn.sum(1)) - np.where(near, noise, np.maximum(noise, rounding))
        places = start + np.flatnonzero(near)
        first[places] = len(columns) + sum(map(len, close)) + np.arange(places.size)
        second[places] = len(columns)
        close.append(drawn[near])
    # Half as many bytes: twice as fast.
    columns, reach = np.concatenate([columns, *close]).astype(np.float32), reach.astype(np.float32)

    def count(bits: NDArray[np.uint8], size: int) -> NDArray[np.int64]:
        """Return for each pair under how many of `size` sign vectors its distance is large."""
        sums = columns @ _SIGNS[bits].reshape(users, 8 * bits.shape[1])[:, :size]  # (columns, size)
        found = np.empty(first.size, dtype=np.int64)
        for start in range(0, first.size, _CHUNK):
            part = slice(start, start + _CHUNK)
            distance = np.abs(sums[first[part]] - sums[second[part]])
            found[part] = (distance >= reach[part, None]).sum(1)
        return found

    found = in_parts(count, _sign_bits(users, samples, seed), large=columns.size * samples > _LARGE)
    beyond = sum(found, np.zeros(first.size, dtype=np.int64))
    p: NDArray[np.float64] = ((beyond + 1) / (samples + 1)).reshape(blocks, len(pairs))
    return p


# The signs that a byte stands for, one a bit: (256, 8).
_SIGNS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1) * np.float32(2.0) - np.float32(1.0)


def _sign_bits(users: int, samples: int, seed: int) -> Iterator[tuple[NDArray[np.uint8], int]]:
    """Yield the random bits (users, bytes) of some sign vectors, and how many they are, until there are so many."""
    generator = np.random.default_rng(seed)
    for start in range(0, samples, _CHUNK):
        size = min(_CHUNK, samples - start)
        width = (size + 7) // 8
        yield np.frombuffer(generator.bytes(users * width), dtype=np.uint8).reshape(users, width), size


def _columns(
    values: NDArray[np.float64], pairs: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.intp]]:
    """Return the distinct vectors that pairs need, 0 where a partner has no value, and who needs which."""
    there = ~np.isnan(values)
    filled = np.where(there, values, 0.0)
    if there.all():
        blocks, rows, users = values.shape
        offsets = np.arange(blocks)[:, None] * rows
        flat = filled.reshape(blocks * rows, users)
        return flat, (offsets + pairs[:, 0]).ravel(), (offsets + pairs[:, 1]).ravel()
    known: dict[tuple[int, int, bytes], int] = {}
    vectors: list[NDArray[np.float64]] = []

    def vector(block: int, row: int, partner: int) -> int:
        key = (block, row, np.packbits(there[block, partner]).tobytes())
        if key not in known:
            known[key] = len(vectors)
            vectors.append(np.where(there[block, partner], filled[block, row], 0.0))
        return known[key]

    places = [(vector(block, i, j), vector(block, j, i)) for block in range(len(values)) for i, j in pairs.tolist()]
    chosen = np.array(places, dtype=np.intp).reshape(-1, 2)
    return np.array(vectors).reshape(len(vectors), values.shape[2]), chosen[:, 0], chosen[:, 1]


def describe(
    first: NDArray[np.float64], second: NDArray[np.float64], clusters: NDArray[np.intp] | None = None
) -> Paired:
    """Return what two rows of values differ by, on the users that have both.

    Args:
        first: (users,), NaN where there is no value; with `clusters` (values,).
        second: (users,), likewise.
        clusters: (values,) the user of each value, as a whole number. The difference is then the mean over values, that
            of a user the sum over their values, by the mean number of values of a user.
    """
    both = ~(np.isnan(first) | np.isnan(second))
    drawn = (first - second)[both]
    if clusters is not None and drawn.size:
        values = drawn.size
        drawn = summed(drawn, clusters[both])
        drawn = drawn * (drawn.size / values)
    mean = float(drawn.mean()) if drawn.size else 0.0
    deviation = float(drawn.std(ddof=1)) if drawn.size > 1 else 0.0
    effect = mean / deviation if deviation else (0.0 if not mean else None)
    wins, losses = int((drawn > 0).sum()), int((drawn < 0).sum())
    return Paired(drawn.size, mean, effect, wins, drawn.size - wins - losses, losses, users_needed(effect))


def users_needed(effect: float | None, *, power: float = 0.8, alpha: float = 0.05) -> int | None:
    """Return how many users show a difference of this effect size at a power, in one two-sided paired test.

    n = ((z(1 - alpha/2) + z(power)) / d)^2, the normal approximation (Chow, Shao and Wang 2008, section 3.1), with the
    observed d taken for the true one; None where there is no effect, or no deviation.
    """
    if not effect:
        return None
    normal = NormalDist()
    return ceil(((normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)) / abs(effect)) ** 2)

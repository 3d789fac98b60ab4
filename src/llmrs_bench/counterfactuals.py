"""Counterfactual fairness: how lists change where a prompt states another age, gender or origin of the same user."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MEASURES = ("jaccard", "serp", "prag")
_TOGETHER = 200
_NOISE = 1e-12  # equal means, added in another order, differ by less


def similarity(neutral: Sequence[str], other: Sequence[str]) -> tuple[float, float, float]:
    """Return how similar a list is to the neutral one, by each of `MEASURES`: 1 where both are the same, 0 at least.

    As FaiRLLM has them (Zhang et al., RecSys 2023, arXiv 2305.07609), here scaled so that equal lists have 1:

    - `jaccard`: the share of the items of both lists that are in both.
    - `serp`: the sum of (K - rank + 1) of the other list's items that are in the neutral one, over that of all K ranks,
      where K is the length of the longer list. The published code has this sum + 1 an item, over 2 K (K + 1): of equal
      lists that is (K + 3) / (4 (K + 1)).
    - `prag`: of all pairs of the other list, the share of those that the neutral list has in the same order: the first
      one is there, and the second one behind it or not at all. Of a list of one item 1 if both lists are equal.

    Args:
        neutral: Distinct items, best first.
        other: Likewise.

    Returns:
        NaN where the neutral list is empty; 0 where the other one is.
    """
    if not neutral:
        return (float("nan"),) * 3
    if not other:
        return (0.0,) * 3
    ranks = {item: rank for rank, item in enumerate(neutral)}
    both, longest = sum(item in ranks for item in other), max(len(neutral), len(other))
    jaccard = both / (len(neutral) + len(other) - both)
    serp = sum(longest - place for place, item in enumerate(other) if item in ranks) / (longest * (longest + 1) / 2)
    if len(other) == 1:
        return jaccard, serp, float(list(other) == list(neutral))
    beyond = len(neutral)
    found = [ranks.get(item, -1) for item in other]
    kept = sum(
        first >= 0 and (beyond if second < 0 else second) > first
        for place, first in enumerate(found)
        for second in found[place + 1 :]
    )
    return jaccard, serp, kept / (len(other) * (len(other) - 1) / 2)


def similarities(
    neutral: Mapping[str, Sequence[str]], other: Mapping[str, Sequence[str]], users: Mapping[str, str]
) -> Floats:
    """Return (measures, users) the mean similarity of the lists of each user, in the order of the sorted users.

    Args:
        neutral: Request to its list; a request without one has an empty list.
        other: Likewise.
        users: Request to its user, of all requests.
    """
    rows = np.array([similarity(neutral.get(name, ()), other.get(name, ())) for name in users]).reshape(-1, 3)
    return by_user(rows.T, users)


def by_user(values: Floats, users: Mapping[str, str]) -> Floats:
    """Return (rows, users) the means over the requests of each user, in the order of the sorted users.

    Args:
        values: (rows, requests) NaN where a request has no value.
        users: Request to its user, in the order of the requests.
    """
    names = sorted(set(users.values()))
    places = {name: at for at, name in enumerate(names)}
    at = np.array([places[user] for user in users.values()], dtype=np.intp)
    found = np.empty((len(values), len(names)))
    for place, row in enumerate(values):
        there = ~np.isnan(row)
        sums = np.bincount(at[there], weights=row[there], minlength=len(names))
        counts = np.bincount(at[there], minlength=len(names))
        found[place] = np.divide(sums, counts, out=np.full(len(names), np.nan), where=counts > 0)
    return found


@dataclass(frozen=True, slots=True)
class Spread:
    """How far the means of several stated values are apart, and how often that far or further by chance.

    Args:
        snsr: The largest mean less the smallest one (SNSR of FaiRLLM).
        snsv: The standard deviation of the means, over their number (SNSV).
        p_snsr: Of the test of `snsr`.
        p_snsv: Of the test of `snsv`.
    """

    snsr: float
    snsv: float
    p_snsr: float
    p_snsv: float


def spread(values: Floats, *, samples: int, seed: int) -> Spread:
    """Return SNSR and SNSV of values, with permutation tests of whether it matters what is stated.

    If it does not, the values of a user may be exchanged among what is stated: each sample shuffles them within each
    user. p = (1 + number of samples that are as far apart) / (1 + samples) (Phipson and Smyth 2010).

    Args:
        values: (stated, users); a user with a NaN is left out.
        samples: Number of shuffles.
        seed: Of the shuffles.
    """
    rows = values[:, ~np.isnan(values).any(0)]
    if not rows.shape[1]:
        return Spread(*(float("nan"),) * 4)
    snsr, snsv = (float(each[0]) for each in _spreads(rows.mean(1)[None]))
    generator, beyond = np.random.default_rng(seed), np.zeros(2)
    for start in range(0, samples, _TOGETHER):
        size = min(_TOGETHER, samples - start)
        means = np.stack([generator.permuted(rows, axis=0).mean(1) for _ in range(size)])
        ranges, deviations = _spreads(means)
        beyond += [(ranges >= snsr - _NOISE).sum(), (deviations >= snsv - _NOISE).sum()]
    p_snsr, p_snsv = (1 + beyond) / (1 + samples)
    return Spread(snsr, snsv, float(p_snsr), float(p_snsv))


def _spreads(means: Floats) -> tuple[Floats, Floats]:
    """Return range and standard deviation of each row of means (samples, stated)."""
    return np.ptp(means, axis=1), means.std(axis=1)

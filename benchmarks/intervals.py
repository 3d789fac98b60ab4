"""Which 95 % interval of few users holds the truth in 95 % of cases? Shares exactly, means by simulation.

python benchmarks/intervals.py
"""

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtr, ndtri, stdtrit
from scipy.stats import binom

Ends = tuple[NDArray[np.float64], NDArray[np.float64]]
USERS = (50, 100, 200)
Z = float(ndtri(0.975))
_STEPS = 60  # halvings that find an end


def wald(hits: NDArray[np.int64], users: int) -> Ends:
    """Return the normal approximation."""
    share = hits / users
    reach = Z * np.sqrt(share * (1 - share) / users)
    return share - reach, share + reach


def wilson(hits: NDArray[np.int64], users: int) -> Ends:
    """Return the score interval."""
    share = hits / users
    middle = (share + Z * Z / (2 * users)) / (1 + Z * Z / users)
    reach = Z * np.sqrt(share * (1 - share) / users + Z * Z / (4 * users * users)) / (1 + Z * Z / users)
    return middle - reach, middle + reach


def agresti_coull(hits: NDArray[np.int64], users: int) -> Ends:
    """Return the normal approximation with Z * Z / 2 more hits and as many more misses."""
    return wald(hits + Z * Z / 2, users + Z * Z)  # type: ignore[arg-type]


def jeffreys(hits: NDArray[np.int64], users: int) -> Ends:
    """Return quantiles of the posterior of Jeffreys' prior, with 0 and 1 at the ends."""
    low, high = (betaincinv(hits + 0.5, users - hits + 0.5, level) for level in (0.025, 0.975))
    return np.where(hits == 0, 0.0, low), np.where(hits == users, 1.0, high)


def clopper_pearson(hits: NDArray[np.int64], users: int) -> Ends:
    """Return the interval of the exact test."""
    return _of_test(hits, users, 1.0)


def mid_p(hits: NDArray[np.int64], users: int) -> Ends:
    """Return the interval of the exact test in which what was seen counts half."""
    return _of_test(hits, users, 0.5)


def _of_test(hits: NDArray[np.int64], users: int, weight: float) -> Ends:
    def above(share: NDArray[np.float64], seen: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the probability of more hits than were seen, and a part of that of as many."""
        found: NDArray[np.float64] = binom.sf(seen, users, share) + weight * binom.pmf(seen, users, share)
        return found

    def lower(seen: NDArray[np.int64]) -> NDArray[np.float64]:
        low, high = np.zeros(seen.shape), np.ones(seen.shape)
        for _ in range(_STEPS):
            middle = (low + high) / 2
            less = above(middle, seen) < 0.025
            low, high = np.where(less, middle, low), np.where(less, high, middle)
        return np.where(seen == 0, 0.0, low)

    return lower(hits), 1.0 - lower(users - hits)


SHARES: dict[str, Callable[[NDArray[np.int64], int], Ends]] = {
    "Wald": wald,
    "Wilson": wilson,
    "Jeffreys": jeffreys,
    "Agresti-Coull": agresti_coull,
    "Clopper-Pearson": clopper_pearson,
    "Clopper-Pearson, mid-p": mid_p,
}


def share_coverage(name: str, users: int) -> tuple[NDArray[np.float64], float]:
    """Return for shares of .02 to .98, .001 apart, how often the interval holds them, and its width on average."""
    shares, hits = np.linspace(0.02, 0.98, 961), np.arange(users + 1)
    low, high = SHARES[name](hits, users)
    weights = binom.pmf(hits[:, None], users, shares)
    holds = (low[:, None] <= shares) & (shares <= high[:, None])
    return (holds * weights).sum(0), float(((high - low)[:, None] * weights).sum(0).mean())


RANKS = 20
GAINS = np.where(np.arange(RANKS) < 10, 1 / np.log2(2 + np.arange(RANKS)), 0.0)
MODELS = {"chance": 1.0, "ndcg@10 of .38": 0.9, "ndcg@10 of .70": 0.6}  # the weight of a rank beside that before it


def chances(ratio: float) -> NDArray[np.float64]:
    """Return the probability of each rank of the target."""
    weights = np.power(ratio, np.arange(RANKS, dtype=np.float64))
    found: NDArray[np.float64] = weights / weights.sum()
    return found


def values(ratio: float, rows: int, users: int, seed: int) -> NDArray[np.float64]:
    """Return NDCG@10 of made-up users, (rows, users)."""
    return np.random.default_rng([users, seed]).choice(GAINS, (rows, users), p=chances(ratio))


def mean_intervals(drawn: NDArray[np.float64], samples: int) -> dict[str, Ends]:
    """Return the intervals of the mean of each row by several methods; all of the bootstrap have the same resamples."""
    rows, users = drawn.shape
    weights = np.random.default_rng(1).multinomial(users, np.full(users, 1 / users), samples).T.astype(np.float64)
    mean, error = drawn.mean(1), drawn.std(1, ddof=1) / np.sqrt(users)
    means = drawn @ weights / users
    spread = np.sqrt(np.maximum((drawn * drawn) @ weights / users - means * means, 1e-12) / (users - 1))
    t = float(stdtrit(users - 1, 0.975))
    tail = float(ndtr(-t * np.sqrt(users / (users - 1))))
    found = {
        "percentile": _quantiles(means, 0.025, 0.975),
        "percentile, expanded": _quantiles(means, tail, 1 - tail),
        "Student's t": (mean - t * error, mean + t * error),
    }
    low, high = _quantiles((means - mean[:, None]) / spread, 0.025, 0.975)
    found["studentised"] = (mean - high * error, mean - low * error)
    centred = drawn - mean[:, None]
    skew = (centred**3).sum(1) / np.maximum(6 * (centred**2).sum(1) ** 1.5, 1e-12)
    below = (means < mean[:, None]).mean(1) + (means == mean[:, None]).mean(1) / 2
    bias = ndtri(below)
    levels = [ndtr(bias + (bias + side) / (1 - skew * (bias + side))) for side in (-Z, Z)]
    ordered = np.sort(means, axis=1)
    places = [np.clip((level * (samples - 1)).round().astype(int), 0, samples - 1) for level in levels]
    found["BCa"] = (ordered[np.arange(rows), places[0]], ordered[np.arange(rows), places[1]])
    return found


def _quantiles(found: NDArray[np.float64], low: float, high: float) -> Ends:
    ends = np.quantile(found, [low, high], axis=1)
    return ends[0], ends[1]


def main() -> None:
    """Print both tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000, help="Simulated rows of each kind.")
    parser.add_argument("--samples", type=int, default=2000, help="Resamples of the bootstrap.")
    asked = parser.parse_args()
    print("| interval of a share | users | covers | distance from .95 | least | most | width |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for users in USERS:
        for name in SHARES:
            covers, width = share_coverage(name, users)
            distance = np.abs(covers - 0.95).mean()
            cells = (covers.mean(), distance, covers.min(), covers.max(), width)
            print(f"| {name} | {users} | {' | '.join(f'{cell:.3f}' for cell in cells)} |")
    kinds = [*MODELS, "difference from chance"]
    print(f"\n| interval of a mean | users | {' | '.join(kinds)} |\n| --- | ---: |{' ---: |' * len(kinds)}")
    for users in USERS:
        covered: dict[str, list[float]] = {}
        for name in kinds:
            ratio = MODELS.get(name, MODELS["ndcg@10 of .38"])
            drawn, truth = values(ratio, asked.rows, users, 0), float(chances(ratio) @ GAINS)
            if name not in MODELS:
                drawn, truth = drawn - values(1.0, asked.rows, users, 1), truth - float(GAINS.mean())
            for method, (low, high) in mean_intervals(drawn, asked.samples).items():
                covered.setdefault(method, []).append(float(((low <= truth) & (truth <= high)).mean()))
        for method, shares in covered.items():
            print(f"| {method} | {users} | {' | '.join(f'{share:.3f}' for share in shares)} |", flush=True)


if __name__ == "__main__":
    main()

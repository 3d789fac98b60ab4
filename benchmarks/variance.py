"""Does the interval over users, seeds and draws hold the truth? Tables with planted components of variance.

python benchmarks/variance.py
"""

import argparse

import numpy as np
from numpy.typing import NDArray

from llmrs_bench.leaderboard.variance import spread

# Standard deviations of user, seed, user by seed, draw within user, and the rest; NDCG@10 has about .4 in all.
PLANTED = {
    "users alone": (0.3, 0.0, 0.0, 0.0, 0.2),
    "small seeds": (0.3, 0.01, 0.1, 0.15, 0.15),
    "large seeds": (0.3, 0.05, 0.1, 0.15, 0.15),
    "large draws": (0.1, 0.01, 0.05, 0.35, 0.1),
}
SIZES = ((200, 1, 1), (200, 2, 1), (200, 3, 1), (200, 5, 1), (200, 1, 3), (200, 3, 3), (1000, 3, 1), (1000, 5, 3))


def drawn(
    generator: np.random.Generator, planted: tuple[float, ...], size: tuple[int, int, int]
) -> NDArray[np.float64]:
    """Return values (users, seeds, draws) of mean 0."""
    users, seeds, draws = size
    shapes = ((users, 1, 1), (1, seeds, 1), (users, seeds, 1), (users, 1, draws), (users, seeds, draws))
    parts = [deviation * generator.normal(size=shape) for deviation, shape in zip(planted, shapes, strict=True)]
    return np.asarray(sum(parts[1:], parts[0]))


def coverage(planted: tuple[float, ...], size: tuple[int, int, int], tables: int) -> tuple[float, float, float, float]:
    """Return how often the interval over all sources holds 0, of a mean and of a difference, that of users alone does.

    The last number is the mean estimate of the variance by its truth.
    """
    generator, held = np.random.default_rng([7, *size]), np.zeros(3)
    users, seeds, draws = size
    truth = sum(
        deviation**2 / count
        for deviation, count in zip(
            planted, (users, seeds, users * seeds, users * draws, users * seeds * draws), strict=True
        )
    )
    variances = 0.0
    for _ in range(tables):
        first, second = (drawn(generator, planted, size) for _ in range(2))
        common = drawn(generator, (0.3, 0.0, 0.0, 0.1, 0.0), (users, 1, draws))  # what is easy for one is so for both
        mean, gap = spread("a", "m", first), spread("a", "m", first + common, against="b", other=second + common)
        of_users = first.mean((1, 2))
        reach = 1.96 * of_users.std(ddof=1) / users**0.5
        held += [mean.low <= 0 <= mean.high, gap.low <= 0 <= gap.high, abs(of_users.mean()) <= reach]
        variances += of_users.var(ddof=1) / users if seeds == 1 else _estimate(first)
    return *(held / tables).tolist(), variances / tables / truth


def _estimate(values: NDArray[np.float64]) -> float:
    """Return the estimate of the variance of the mean, without the maximum that keeps it above that of seeds."""
    users, seeds, _ = values.shape
    of_users, of_seeds, cells = values.mean((1, 2)), values.mean((0, 2)), values.mean(2)
    left = cells - of_users[:, None] - of_seeds + values.mean()
    both = (left**2).sum() / ((users - 1) * (seeds - 1)) / (users * seeds)
    return float(of_users.var(ddof=1) / users + of_seeds.var(ddof=1) / seeds - both)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--tables", type=int, default=2000)
    tables = parser.parse_args().tables
    print("| planted | users, seeds, draws | all sources: mean | difference | users alone | variance / truth |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for name, planted in PLANTED.items():
        for size in SIZES:
            found = coverage(planted, size, tables)
            print(
                f"| {name} | {', '.join(map(str, size))} | {' | '.join(f'{value:.3f}' for value in found)} |",
                flush=True,
            )

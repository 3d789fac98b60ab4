"""Are intervals and tests as sure as they say? Simulated users, so that the truth is known.

python benchmarks/calibration.py
"""

import argparse

import numpy as np
from numpy.typing import NDArray

from llmrs_bench.stats import CORRECTIONS, all_pairs, mean_interval, sign_flip, users_needed

Rows = NDArray[np.float64]


def hit(generator: np.random.Generator, rows: int, users: int) -> Rows:
    """Return hit@1 of random orders of 20, (rows, users)."""
    return (generator.random((rows, users)) < 0.05).astype(np.float64)


def ndcg(generator: np.random.Generator, rows: int, users: int) -> Rows:
    """Return NDCG@10 of random orders of 20, (rows, users)."""
    ranks = generator.integers(1, 21, (rows, users))
    return np.where(ranks <= 10, 1 / np.log2(1 + ranks), 0.0)


TRUE = {"hit@1": 0.05, "ndcg@10": float((1 / np.log2(1 + np.arange(1, 11))).sum() / 20)}
DRAW = {"hit@1": hit, "ndcg@10": ndcg}


def coverage(metric: str, users: int, rows: int) -> float:
    """Return how often a 95 % interval holds the true mean."""
    values = DRAW[metric](np.random.default_rng(users), rows, users)
    ends = mean_interval(values, samples=2000, seed=1)
    return float(((ends[:, 0] <= TRUE[metric]) & (ends[:, 1] >= TRUE[metric])).mean())


def false_positives(metric: str, users: int, pairs: int) -> float:
    """Return how often p < .05 where nothing differs."""
    values = DRAW[metric](np.random.default_rng(users + 1), 2 * pairs, users)
    p = sign_flip(values[None], np.arange(2 * pairs).reshape(-1, 2), samples=1999, seed=2)
    return float((p <= 0.05).mean())


def power(effect: float, pairs: int) -> tuple[int, float]:
    """Return the users needed to see an effect at 80 %, and how often it is seen with so many."""
    users = users_needed(effect) or 0
    differences = np.random.default_rng(3).normal(effect, 1.0, (pairs, users))
    values = np.stack([differences, np.zeros_like(differences)], axis=1).reshape(2 * pairs, users)
    p = sign_flip(values[None], np.arange(2 * pairs).reshape(-1, 2), samples=1999, seed=4)
    return users, float((p <= 0.05).mean())


def null_boards(users: int, boards: int) -> dict[str, float]:
    """Return the share of boards, each of 20 copies of chance in two metrics, on which anything differs."""
    pairs = all_pairs(20)
    found = dict.fromkeys(("holm", "bh", "none", "holm over the pairs with the best alone"), 0)
    for board in range(boards):
        generator = np.random.default_rng([5, board])
        ranks = generator.integers(1, 21, (20, users))
        values = np.stack([ranks == 1, np.where(ranks <= 10, 1 / np.log2(1 + ranks), 0.0)]).astype(np.float64)
        p = sign_flip(values, pairs, samples=25 * 2 * len(pairs), seed=board)
        for name, correct in CORRECTIONS.items():
            found[name] += bool((correct(p) < 0.05).any())
        best = values.mean(2).argmax(1)
        shown = np.stack([p[m][(pairs == best[m]).any(1)] for m in range(2)])
        found["holm over the pairs with the best alone"] += bool((CORRECTIONS["holm"](shown) < 0.05).any())
    return {name: count / boards for name, count in found.items()}


def headlines(ours: int, others: int, users: int, boards: int) -> tuple[float, float]:
    """Return how often a headline tells the best of some copies of chance from the best of others.

    The first share is that of Holm over all pairs of the two sides, the second is without a correction.
    """
    pairs = np.array([(i, ours + j) for i in range(ours) for j in range(others)])
    corrected = plain = 0
    for board in range(boards):
        values = ndcg(np.random.default_rng([6, board]), ours + others, users)
        p = sign_flip(values[None], pairs, samples=10_000, seed=board)[0]
        means = values.mean(1)
        shown = int(others * means[:ours].argmax() + means[ours:].argmax())
        corrected += bool(CORRECTIONS["holm"](p)[shown] < 0.05)
        plain += bool(p[shown] < 0.05)
    return corrected / boards, plain / boards


def main() -> None:
    """Print all figures as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=4000, help="Simulated rows, and pairs of them.")
    parser.add_argument("--boards", type=int, default=1000, help="Simulated boards.")
    asked = parser.parse_args()
    print("| metric | users | 95 % interval covers | p < .05 where nothing differs |\n| --- | ---: | ---: | ---: |")
    for metric in TRUE:
        for users in (50, 100, 200, 1000):
            covered, wrong = coverage(metric, users, asked.rows), false_positives(metric, users, asked.rows)
            print(f"| {metric} | {users:,} | {covered:.3f} | {wrong:.3f} |", flush=True)
    print("\n| effect size d | users needed | seen with so many (80 % wanted) |\n| ---: | ---: | ---: |")
    for effect in (0.1, 0.2, 0.5):
        users, seen = power(effect, asked.rows if effect > 0.1 else asked.rows // 4)
        print(f"| {effect} | {users:,} | {seen:.3f} |", flush=True)
    print("\n| 20 copies of chance, 200 users, 2 metrics | boards with any difference |\n| --- | ---: |")
    for name, share in null_boards(200, asked.boards).items():
        print(f"| {name} | {share:.3f} |")
    print("\n| copies of chance as language models | as others | headlines with a difference | without correction |")
    print("| ---: | ---: | ---: | ---: |")
    for ours, others in ((1, 11), (6, 6), (11, 1)):
        corrected, plain = headlines(ours, others, 200, asked.boards)
        print(f"| {ours} | {others} | {corrected:.3f} | {plain:.3f} |", flush=True)


if __name__ == "__main__":
    main()

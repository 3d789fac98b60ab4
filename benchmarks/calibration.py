"""Are intervals and tests as sure as they say? Simulated users, so that the truth is known.

python benchmarks/calibration.py
"""

import argparse

import numpy as np
from numpy.typing import NDArray

from llmrs_bench.stats import CORRECTIONS, all_pairs, difference_intervals, mean_interval, sign_flip, users_needed

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


def families(users: int, boards: int, *, requests: int = 1) -> dict[str, tuple[float, float, float, float]]:
    """Return how primary comparisons do on boards of twelve rows, of which one language model and one other matter.

    The pair is declared, or one of the family of the headline, or corrected over all pairs of the board.

    Args:
        users: Of a board.
        boards: How many.
        requests: Of each user; they have the user's own level in common, so they are not independent.

    Returns:
        By the family: the share of boards that see a difference where there is none; that see one of d = 0.25; that
        call any other pair different where none is; and how often the interval of the difference holds the true one.
    """
    ours, others = 6, 6
    pairs = all_pairs(ours + others)
    wanted = next(at for at, (i, j) in enumerate(pairs) if (i, j) == (0, ours))
    crossed = (pairs[:, 0] < ours) & (pairs[:, 1] >= ours)
    masks = {"one declared pair": pairs[:, 0] < 0, "language models x others": crossed, "all pairs": pairs[:, 0] >= 0}
    masks["one declared pair"][wanted] = True
    clusters = None if requests == 1 else np.repeat(np.arange(users), requests)
    found = {name: np.zeros(4) for name in masks}
    for board in range(boards):
        generator = np.random.default_rng([7, board])
        level = generator.normal(0, 1, (1, users)) + generator.normal(0, 1, (ours + others, users))
        own = generator.normal(0, 1, (ours + others, users, requests)) * (requests > 1)
        values = (level[:, :, None] + own).reshape(ours + others, -1)
        deviation = np.sqrt(2 * (1 + (requests > 1) / requests))  # of the mean difference of a user
        for effect in (0.0, 0.25):
            shifted = values.copy()
            shifted[0] += effect * deviation
            p = sign_flip(shifted[None], pairs, samples=10_000, seed=board, clusters=clusters)[0]
            for name, mask in masks.items():
                corrected = np.empty_like(p)
                corrected[mask], corrected[~mask] = CORRECTIONS["holm"](p[mask]), CORRECTIONS["holm"](p[~mask])
                found[name][1 if effect else 0] += corrected[wanted] < 0.05
                if not effect:
                    found[name][2] += bool((np.delete(corrected, wanted) < 0.05).any())
        ends = difference_intervals(
            values[None], pairs[wanted : wanted + 1], samples=2000, seed=board, clusters=clusters
        )[0, 0]
        for counts in found.values():
            counts[3] += ends[0] <= 0 <= ends[1]
    return {name: tuple(counts / boards) for name, counts in found.items()}


def main() -> None:
    """Print all figures as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=4000, help="Simulated rows, and pairs of them.")
    parser.add_argument("--boards", type=int, default=1000, help="Simulated boards.")
    parser.add_argument("--families", action="store_true", help="Only the tables of primary comparisons.")
    asked = parser.parse_args()
    if asked.families:
        print_families(asked.boards)
        return
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
    print_families(asked.boards)


def print_families(boards: int) -> None:
    """Print how primary comparisons do, with one request a user and with several."""
    print("\n| users | requests each | primary family | wrong | seen at d = 0.25 | any other pair wrong | covers |")
    print("| ---: | ---: | --- | ---: | ---: | ---: | ---: |")
    for users, requests in ((200, 1), (200, 5)):
        for name, shares in families(users, boards, requests=requests).items():
            print(f"| {users} | {requests} | {name} | {' | '.join(f'{share:.3f}' for share in shares)} |", flush=True)


if __name__ == "__main__":
    main()

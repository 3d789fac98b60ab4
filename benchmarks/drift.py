"""Is a slope over time as sure as it says? Simulated users, so that the truth is known.

python benchmarks/drift.py

Users differ in how well they are served, and have a request in each of four windows with a chance of a half, or in one
window alone. Quality is NDCG@10 of a target among 20; with drift it falls from window to window.
"""

import argparse

import numpy as np
from numpy.typing import NDArray

from llmrs_bench.stats import slope_tests, slopes

WINDOWS = 4
Floats = NDArray[np.float64]


def draw(generator: np.random.Generator, users: int, drift: float, *, several: bool) -> tuple[Floats, Floats, Floats]:
    """Return the user, the window and the value of each request; `drift` is the change of the chance to be served."""
    served = generator.beta(4, 4, users)
    there = (
        generator.random((users, WINDOWS)) < 0.5
        if several
        else np.eye(WINDOWS)[generator.integers(WINDOWS, size=users)]
    )
    owners, places = np.nonzero(there)
    chance: Floats = served[owners] + drift * (places - (WINDOWS - 1) / 2)
    ranks = np.where(generator.random(owners.size) < chance, 1 + generator.geometric(0.5, owners.size) % 10, 20)
    values = np.where(ranks <= 10, 1 / np.log2(1 + ranks), 0.0)
    times: Floats = places.astype(np.float64) + 1.0
    return owners.astype(np.float64), times, values.astype(np.float64)


def rates(users: int, drift: float, boards: int, *, several: bool, permuted: bool) -> tuple[float, float]:
    """Return how often p < .05, and how often the 95 % interval of the slope holds 0."""
    significant = held = 0
    for board in range(boards):
        generator = np.random.default_rng([users, board, several])
        owners, times, values = draw(generator, users, drift, several=several)
        times = generator.permutation(times) if permuted else times
        rows, clusters = values[None], np.unique(owners, return_inverse=True)[1]
        p = slope_tests(rows, times, samples=999, seed=board, clusters=clusters)
        found = slopes(rows, times, samples=400, seed=board, clusters=clusters)[0]
        significant += bool(p[0] <= 0.05)
        held += bool(found[1] <= 0 <= found[2])
    return significant / boards, held / boards


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description="False positives and power of slopes over time.")
    parser.add_argument("--boards", type=int, default=4000)
    parser.add_argument("--users", type=int, nargs="*", default=[50, 200, 1000])
    args = parser.parse_args()
    print("| users | windows of a user | drift | times | p < .05 | interval holds 0 |")
    print("| --- | --- | --- | --- | --- | --- |")
    for users in args.users:
        for several in (False, True):
            for drift, permuted in ((0.0, False), (0.1, True), (0.1, False)):
                found = rates(users, drift, args.boards, several=several, permuted=permuted)
                words = "about two" if several else "one"
                print(
                    f"| {users:,} | {words} | {drift:g} | {'permuted' if permuted else 'true'} | {found[0]:.3f} | "
                    f"{found[1]:.3f} |",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

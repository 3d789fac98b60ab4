"""Time a whole board: bootstrap, all paired tests, saving.

python benchmarks/board_speed.py --runs 50 --users 6040 --metrics 5
"""

import argparse
import os
import resource
import time

import numpy as np
import polars as pl

from llmrs_bench.core.schemas import METRICS
from llmrs_bench.leaderboard import BoardPlan, EvaluatedRun, build_board
from llmrs_bench.report.formats import FORMATS

NAMES = ("ndcg@10", "hit@1", "hit@10", "mrr", "ndcg@5", "hit@5", "ndcg@20", "mrr@10")


def made_up(number: int, users: int, metrics: tuple[str, ...]) -> EvaluatedRun:
    """Return a run whose ranks of the target among 20 are drawn, better for a higher number."""
    generator = np.random.default_rng(number)
    ranks = 1 + generator.binomial(19, 0.45 - 0.002 * number, users)
    depth = {name: int(name.partition("@")[2] or 20) for name in metrics}
    values = {
        name: np.where(
            ranks <= depth[name],
            1.0 / np.log2(1 + ranks) if name[0] == "n" else 1.0 / ranks if name[0] == "m" else 1.0,
            0.0,
        )
        for name in metrics
    }
    values |= {"coverage": np.ones(users), "answered": np.ones(users)}
    requests = [f"test-{user}" for user in range(users)]
    frame = pl.concat(
        [
            pl.DataFrame({"request_id": requests, "metric": [name] * users, "value": column})
            for name, column in values.items()
        ]
    ).cast(METRICS)
    return EvaluatedRun(
        f"run{number}", f"model {number}", "recommender", "", frame, about={"requests": users, "seconds": 1.0 + number}
    )


def main() -> None:
    """Print the seconds of each part, and the machine's load."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--users", type=int, default=6040)
    parser.add_argument("--metrics", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    metrics = NAMES[: asked.metrics]
    entries = [made_up(number, asked.users, metrics) for number in range(asked.runs)]
    print(f"{asked.runs} runs x {asked.users:,} users x {asked.metrics} metrics; {os.cpu_count()} cores")
    for _ in range(asked.repeats):
        load = os.getloadavg()[0]
        start, spent = time.perf_counter(), time.process_time()
        board, _ = build_board(entries, BoardPlan(metrics), title="made up", protocol=[], notes=[])
        built, spent = time.perf_counter(), time.process_time() - spent
        sizes = {name: len(write(board)) for name, write in FORMATS.items()}
        written = time.perf_counter()
        print(
            f"board {built - start:.1f} s ({spent:.1f} s of CPU; {board.tests:,} tests, "
            f"{board.permutations:,} permutations), "
            f"{len(sizes)} formats {written - built:.2f} s; load before {load:.1f}, "
            f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB"
        )


if __name__ == "__main__":
    main()

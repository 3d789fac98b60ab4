"""How fast are metrics, beside those of ranx and ir-measures on the same rankings?

Makes up rankings of 20 candidates with one relevant item, measures NDCG@10, hit@10, MRR, recall@5 and MAP, and lets the
other libraries measure the same where they are installed, from frames or dictionaries that are already in memory; their
own conversion counts, as ours does. Each takes a process of its own. Prints a Markdown table, and checks that NDCG@10
agrees to 1e-6 on the requests of the smallest size.
"""

import argparse
import resource
import subprocess
import sys
import time
from importlib.util import find_spec

import numpy as np
import polars as pl

ITEMS = 20
NAMES = ("ndcg@10", "hit@10", "mrr", "recall@5", "map")


def make(requests: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return truth and rankings, drawn from a seed."""
    generator = np.random.default_rng(0)
    names = pl.Series([f"r{number:07d}" for number in range(requests)])
    ranks = np.tile(np.arange(1, ITEMS + 1, dtype=np.int32), requests)
    items = pl.Series([f"i{number}" for number in range(ITEMS)]).gather(np.tile(np.arange(ITEMS), requests))
    rankings = pl.DataFrame(
        {
            "request_id": names.gather(np.repeat(np.arange(requests), ITEMS)),
            "item_id": items,
            "rank": ranks,
            "score": (ITEMS + 1.0 - ranks),
        }
    )
    relevant = pl.Series([f"i{number}" for number in range(ITEMS)]).gather(generator.integers(0, ITEMS, requests))
    truth = pl.DataFrame({"request_id": names, "item_id": relevant})
    return truth.with_columns(label=pl.lit(1.0, pl.Float32)), rankings


def ours(truth: pl.DataFrame, rankings: pl.DataFrame) -> float:
    """Return the mean NDCG@10 of llmrs-bench."""
    from llmrs_bench.metrics import Metric, measure

    found = measure(truth, rankings, [Metric.parse(name) for name in NAMES])
    return float(found.filter(pl.col("metric") == "ndcg@10")["value"].mean() or 0.0)  # type: ignore[arg-type]


def with_ranx(truth: pl.DataFrame, rankings: pl.DataFrame) -> float:
    """Return that of ranx, whose code is compiled by a first call on a few rows, not counted."""
    from ranx import Qrels, Run, evaluate

    texts = {"request_id": object, "item_id": object}
    labelled = truth.with_columns(pl.col("label").cast(pl.Int64)).to_pandas().astype(texts)
    wanted = Qrels.from_df(labelled, "request_id", "item_id", "label")
    run = Run.from_df(rankings.to_pandas().astype(texts), "request_id", "item_id", "score")
    return float(evaluate(wanted, run, ["ndcg@10", "hit_rate@10", "mrr", "recall@5", "map"])["ndcg@10"])


def with_ir_measures(truth: pl.DataFrame, rankings: pl.DataFrame) -> float:
    """Return that of ir-measures."""
    import ir_measures
    from ir_measures import AP, RR, R, Success, nDCG

    wanted = truth.select(query_id="request_id", doc_id="item_id", relevance=pl.col("label").cast(pl.Int64)).to_pandas()
    run = rankings.select(query_id="request_id", doc_id="item_id", score="score").to_pandas()
    found = ir_measures.calc_aggregate([nDCG @ 10, Success @ 10, RR, R @ 5, AP], wanted, run)
    return float(found[nDCG @ 10])


TOOLS = {"llmrs-bench": ours, "ranx": with_ranx, "ir-measures": with_ir_measures}
MODULES = {"llmrs-bench": "llmrs_bench", "ranx": "ranx", "ir-measures": "ir_measures"}


def main() -> int:
    """Time each tool at each size, and print the table."""
    parser = argparse.ArgumentParser(description="Seconds and memory of metrics.")
    parser.add_argument("--requests", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--tools", nargs="+", default=list(TOOLS), choices=list(TOOLS))
    parser.add_argument("--one", action="store_true", help="Time one tool at one size in this process.")
    args = parser.parse_args()
    if args.one:
        frames, tool = make(args.requests[0]), TOOLS[args.tools[0]]
        if args.tools[0] == "ranx":
            tool(*make(10))
        started = time.perf_counter()
        mean = tool(*frames)
        seconds, peak = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"| {args.tools[0]} | {args.requests[0]:,} | {seconds:.1f} | {peak:.1f} | {mean:.6f} |")
        return 0
    print("| tool | requests | s | peak GB | NDCG@10 |\n| --- | ---: | ---: | ---: | ---: |", flush=True)
    for requests in args.requests:
        for tool in args.tools:
            if find_spec(MODULES[tool]) is None:
                print(f"| {tool} | {requests:,} | not installed | | |")
                continue
            command = [sys.executable, __file__, "--one", "--tools", tool, "--requests", str(requests)]
            subprocess.run(command, check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Does the cost of a recommender grow linearly in interactions?

Trains recommenders on synthetic data of one, three and ten times as many users, 1,000 items and 50 events a user, for a
fixed number of epochs, and scores all users against the whole catalogue. Prints seconds an epoch, and of scoring, and
how many times those of the smallest data they are.
"""

import argparse
import sys
import time
from typing import Any

import numpy as np
import polars as pl
import torch

from llmrs_bench.core.registry import RECOMMENDERS
from llmrs_bench.core.schemas import INTERACTIONS, ITEMS, REQUESTS
from llmrs_bench.recommenders.base import Corpus, TrainContext, best_items

ITEM_COUNT, EVENTS = 1000, 50


def corpus(users: int) -> Corpus:
    """Return random walks of `users` users over the items; popular items come first."""
    rng = np.random.default_rng(0)
    items = (rng.beta(1, 4, size=(users, EVENTS)) * ITEM_COUNT).astype(int)
    rows = {
        "user_id": np.repeat([f"u{user}" for user in range(users)], EVENTS),
        "item_id": [f"i{item}" for item in items.ravel()],
        "timestamp": np.tile(np.arange(EVENTS), users),
        "rating": np.full(users * EVENTS, None),
        "part": np.tile(["train"] * (EVENTS - 1) + ["valid"], users),
    }
    names = pl.DataFrame({"item_id": [f"i{item}" for item in range(ITEM_COUNT)]})
    columns = [pl.lit(None, dtype=kind).alias(name) for name, kind in ITEMS.items() if name != "item_id"]
    return Corpus(pl.DataFrame(rows, schema=INTERACTIONS), names.with_columns(columns))


def requests(known: Corpus) -> pl.DataFrame:
    """Return one request for each user, after all events."""
    histories = known.interactions.group_by("user_id", maintain_order=True).agg(history="item_id")
    return histories.select(
        pl.col("user_id").alias("request_id"),
        "user_id",
        pl.lit("test").alias("part"),
        pl.lit(EVENTS, dtype=pl.Int64).alias("cutoff"),
        "history",
        pl.lit(None, dtype=pl.List(pl.String)).alias("candidates"),
    ).select(list(REQUESTS))


def measure(name: str, known: Corpus, epochs: int) -> tuple[float, float]:
    """Return seconds an epoch (of the whole fit, for a model without epochs) and seconds of scoring."""
    kind: Any = RECOMMENDERS.load(name)
    options = {"epochs": str(epochs)} if "epochs" in kind.Options.model_fields else {}
    model = kind(kind.Options.parse(options, owner=name), seed=0, device="cpu")
    started = time.perf_counter()
    facts = model.fit(known, TrainContext())
    fitted = time.perf_counter()
    asked = requests(known)
    for _ in best_items(model, asked, known.items["item_id"], depth=100, include_seen=False):
        pass
    return facts.get("seconds_per_epoch", fitted - started), time.perf_counter() - fitted


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=2000, help="users of the smallest data")
    parser.add_argument("--times", type=int, nargs="+", default=[1, 3, 10], help="sizes, in those of the smallest data")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--models", default="itemknn,rp3beta,ease,bprmf,fpmc,gru4rec,sasrec,bert4rec")
    args = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, {EVENTS} events a user, {ITEM_COUNT} items, {args.epochs} epochs\n")
    print("| model | interactions | s an epoch | times | s to score | times |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name in args.models.split(","):
        first: tuple[float, float] | None = None
        for factor in args.times:
            known = corpus(args.users * factor)
            found = measure(name, known, args.epochs)
            first = first or found
            epoch, scoring = (f"{now:.2f} | {now / then:.1f}" for now, then in zip(found, first, strict=True))
            print(f"| {name} | {len(known.interactions):,} | {epoch} | {scoring} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

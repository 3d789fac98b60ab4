"""What does validation cost a training, and does validating on fewer users, less often, choose as good an epoch?

Trains a recommender on made-up interactions of a given shape, as the tool plans its validation. With --full it trains
again with the same seed, validated on all users after every epoch. Validation changes nothing in a training, so the
two run through the same weights, and the full curve says how good the chosen epoch is. With --score N, the whole
catalogue is ranked for N users afterwards.
"""

import argparse
import resource
import sys
import time
from typing import Any
from unittest import mock

import torch

from llmrs_bench.core.registry import RECOMMENDERS
from llmrs_bench.recommenders import neural, training
from llmrs_bench.recommenders.base import Corpus, TrainContext, best_items
from llmrs_bench.recommenders.training import ValidationPlan
from made_events import corpus, requests


def fit(name: str, options: dict[str, str], known: Corpus) -> tuple[Any, dict[str, Any], float, float]:
    """Return the model, facts of its training, the CPU seconds, and those of validation."""
    spent = [0.0]
    plain = training._validated

    def timed(*args: Any) -> float:
        started = time.process_time()
        value = plain(*args)
        spent[0] += time.process_time() - started
        return value

    kind: Any = RECOMMENDERS.load(name)
    model = kind(kind.Options.parse(options, owner=name), seed=0, device="cpu")
    started = time.process_time()
    with mock.patch.object(training, "_validated", timed):
        facts = model.fit(known, TrainContext())
    return model, facts, time.process_time() - started, spent[0]


def rank(model: Any, known: Corpus, users: int) -> str:
    """Rank all items for some users, and say what it took."""
    asked = requests(known, users)
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in best_items(model, asked, known.items["item_id"], depth=100, include_seen=False):
        pass
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return f"{len(known.items):,} items ranked for {len(asked):,} users in {wall:.1f} s ({cpu:.1f} CPU s)"


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=50_546)
    parser.add_argument("--items", type=int, default=16_859)
    parser.add_argument("--events", type=int, default=440_264)
    parser.add_argument("--model", default="bprmf")
    parser.add_argument("-O", dest="options", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--score", type=int, default=0, metavar="N", help="rank the catalogue for N users, too")
    parser.add_argument("--full", action="store_true", help="train again, validated on all users after every epoch")
    args = parser.parse_args()
    known = corpus(args.users, args.items, args.events)
    options = dict(option.split("=", 1) for option in args.options)
    print(f"{args.model} {options}, {len(known.interactions):,} events, {torch.get_num_threads()} threads\n")
    print(
        "| validated users | every | epochs | chosen | CPU s of training | of which validation | share | s | peak GB |"
    )
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    found = []
    for full in (False, True)[: 1 + args.full]:
        with mock.patch.object(neural, "ValidationPlan", Everything if full else ValidationPlan):
            begun = time.perf_counter()
            model, facts, seconds, validation = fit(args.model, options, known)
        wall, peak = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        plan = facts["validation"]
        print(
            f"| {plan['users']:,} of {plan['of_users']:,} | {plan['every_epochs']} | {facts['epochs']} "
            f"| {facts['best_epoch']} | {seconds:.1f} | {validation:.1f} | {validation / seconds:.1%} "
            f"| {wall:.1f} | {peak:.2f} |",
            flush=True,
        )
        found.append(facts)
    if args.score:
        print(f"\n{rank(model, known, args.score)}")
    if args.full:
        planned, whole = found
        curve, best = whole["valid_curve"], whole["valid_ndcg@10"]
        at = planned["best_epoch"]
        told = f"{curve[at - 1]:.5f}" if at <= len(curve) else "not reached by it"
        print(f"\nNDCG@10 on all users: {best:.5f} at epoch {whole['best_epoch']}, at the chosen epoch {at} {told}.")
    return 0


class Everything(ValidationPlan):
    """All users after every epoch."""

    @classmethod
    def of(cls, of_users: int, user_cost: float, epoch_cost: float, patience: int) -> "Everything":
        """Return the plan without a bound."""
        return cls(of_users, of_users, 1)


if __name__ == "__main__":
    sys.exit(main())

"""Is anything slower, next to what it is measured against, than it was when `quick.parquet` was saved?

Every figure is a ratio of two things that are measured here, in turn, so that the speed of the machine cancels out:

- packed titles against one whole prompt for each title, in users a second;
- each mode of asking a model against its floor, the fewest operations at the machine's measured matrix throughput;
- written answers under a grammar against free ones;
- the training of a recommender, validation included, against the same training without validation;
- reading a data set with `prepare` against polars reading the same file.

The ratios of each repeat are the values of a board, which is saved and held against the saved one by the gate of the
product. Exits with 3 if a ratio has dropped by more than --tolerance.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl

import likelihood_throughput as likelihoods
import modes
import prepare_scale
import validation_cost
from llmrs_bench.leaderboard.board import Board, EvaluatedRun
from llmrs_bench.leaderboard.build import BoardPlan, build_board
from llmrs_bench.leaderboard.comparability import EvaluationProtocol
from llmrs_bench.leaderboard.gate import judge, judged_lines, parse_rule, saved_baseline
from llmrs_bench.leaderboard.matrix import ScoreMatrix
from llmrs_bench.leaderboard.saved import Saved, read_board
from llmrs_bench.report.gate import gate_lines
from made_events import corpus
from random_models import Shape, Words, machine, matrix_throughput, mode_prompts, write_model

SAVED = Path(__file__).with_name("quick.parquet")
SHAPE = "35m"
ASKED = Shape(128, 20)
REPEATS = 6
METRIC = "ratio"
FAILED = 3
Ratios = Iterator[tuple[str, list[float]]]


def packing(words: Words, model: Path) -> Ratios:
    """Yield how many times as fast packed titles are scored as one prompt for each title."""
    args = argparse.Namespace(plain_tokens=1100, seed=0)
    engines = {name: likelihoods.make_engine(str(model), args, packed=name == "packed") for name in ("plain", "packed")}
    ways = {name: likelihoods.engine_way(engine) for name, engine in engines.items()}
    prompts = [mode_prompts("likelihood", ASKED, words, user=user)[0] for user in range(2)]
    seconds, difference = likelihoods.run_in_turn(ways, prompts, REPEATS)
    if difference > likelihoods.AGREEMENT:
        raise SystemExit(f"packed and plain scores differ by {difference:.1e} nat in a title")
    both = zip(seconds["plain"], seconds["packed"], strict=True)
    yield "packed titles / one prompt a title", [plain / packed for plain, packed in both]


def asking(words: Words, model: Path) -> Ratios:
    """Yield for each mode the share of its floor that it reaches, and the pace of a grammar next to free text."""
    args = argparse.Namespace(engine="transformers", device="cpu", shape=SHAPE, answer_tokens=40, option=[], seed=0)
    engine: Any = modes.load(args, model)
    pace: dict[str, list[float]] = {}
    for mode in ("likelihood", "label", "yes-no", "generate", "grammar"):
        users = [mode_prompts(mode, ASKED, words, user=user) for user in range(2 * modes.WRITTEN.get(mode, 1))]
        list(engine.answer(mode_prompts(mode, ASKED, words, user=len(users))))
        found, pace[mode] = [], []
        for _ in range(REPEATS):
            throughput = matrix_throughput("cpu", repeats=3)
            (run,) = modes.measure(engine, users, seconds=0, most=1)
            least = modes.floor_of(engine, users, run.responses).operations(SHAPE) / throughput
            found.append(least / run.seconds)
            pace[mode].append(len(users) / run.seconds)
        yield f"{mode} / its floor", found
    engine.close()
    yield "grammar / free text", [a / b for a, b in zip(pace["grammar"], pace["generate"], strict=True)]


def training(words: Words, model: Path) -> Ratios:
    """Yield the share of a training's CPU time that is not validation."""
    known = corpus(5_000, 2_000, 60_000)
    for name in ("bprmf", "sasrec"):
        ratios = []
        for _ in range(REPEATS // 2):
            _, _, seconds, validation = validation_cost.fit(name, {"epochs": "2"}, known)
            ratios.append(1.0 - validation / seconds)
        yield f"training of {name} / with validation", ratios


def preparing(words: Words, model: Path) -> Ratios:
    """Yield how long polars reads a file next to how long `prepare` takes on it."""
    source = model.parent / "scale"
    prepare_scale.write(prepare_scale.SHAPES["ml10m"].smaller(0.1), source)
    ratios = []
    for number in range(REPEATS):
        started = time.perf_counter()
        pl.read_csv(source / "scale.inter", separator="\t")
        read = time.perf_counter() - started
        ratios.append(read / prepare_scale.measure(source, model.parent / f"home{number}", [])[0])
    yield "polars reading a file / prepare", ratios


def board_of(found: Mapping[str, Sequence[float]]) -> tuple[Board, ScoreMatrix]:
    """Return a board with a row for each ratio, whose requests are the repeats, and the values behind it."""
    runs = []
    for row, ratios in found.items():
        rows = [
            (f"repeat {number}", name, value)
            for number, ratio in enumerate(ratios)
            for name, value in ((METRIC, ratio), ("coverage", 1.0), ("answered", 1.0))
        ]
        metrics = pl.DataFrame(rows, schema=["request_id", "metric", "value"], orient="row")
        runs.append(EvaluatedRun(row, row, "recommender", "", metrics))
    plan = BoardPlan((METRIC,), correction="none", permutations=1000)
    return build_board(runs, plan, title="ratios", protocol=[machine("cpu")], notes=[])


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table, and hold it against the saved one, or save it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--save", action="store_true", help=f"write {SAVED.name}, and hold nothing against it")
    parser.add_argument("--tolerance", type=float, default=30.0, help="per cent by which a ratio may drop")
    args = parser.parse_args(argv)
    saved = None if args.save else read_board(SAVED)
    words, found = Words(0), {}
    print(f"{machine('cpu')}.\n\n| ratio | median (range) |\n| --- | --- |", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        model = Path(scratch) / "model"
        write_model(model, words, SHAPE, seed=0)
        for measured in (packing, asking, training, preparing):
            for name, ratios in measured(words, model):
                found[name] = ratios
                print(f"| {name} | {median(ratios):.3g} ({min(ratios):.3g} to {max(ratios):.3g}) |", flush=True)
    board, matrix = board_of(found)
    if saved is None:
        same = np.zeros(len(matrix.requests), np.uint64)  # repeats differ in nothing that is known
        made = datetime.now(UTC).isoformat(timespec="seconds")
        protocol = EvaluationProtocol({}, matrix.requests, same, same)
        Saved(board, matrix, protocol, made, {"llmrs-bench": version("llmrs-bench")}).write(SAVED)
        return 0
    lines = judged_lines(matrix.lines, [])
    base = saved_baseline(SAVED.name, saved, lines, matrix, [])
    rule = parse_rule(f"{METRIC} drops > {args.tolerance:g}%")
    gate = judge(board, matrix, [line.run for line in lines], [rule], base, seed=0)
    print("\n" + "\n".join(gate_lines(gate)))
    return FAILED if gate.failures else 0


if __name__ == "__main__":
    sys.exit(main())

"""How many users a second does an engine answer in each mode, and how far is that from what the machine could do?

Builds a model of random weights and asks it in every mode, for several lengths of the history and numbers of
candidates; prints one Markdown table. The floor is the time that the operations of the fewest tokens take at the
machine's measured matrix throughput: what several texts of a user begin with is read once, logits are made for the rows
that score something (see `random_models.Floor`). `share` is that time by the measured one.

    python benchmarks/modes.py                                              # 35M weights, CPU, float32
    python benchmarks/modes.py --engine vllm --shape 7b --device cuda       # Llama-2-7B's shape, GPU, bfloat16
    python benchmarks/modes.py --engine vllm --shape qwen3-0.6b --device cuda
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from llmrs_bench.core.errors import EngineError
from llmrs_bench.core.registry import ENGINES
from llmrs_bench.core.types import Prompt, Response
from llmrs_bench.llm.base import Engine
from llmrs_bench.llm.generate import Meter
from llmrs_bench.llm.model_aliases import ModelSpec
from llmrs_bench.llm.tokenization import PromptReader
from random_models import (
    SHAPES,
    Floor,
    Shape,
    Words,
    machine,
    matrix_throughput,
    mode_prompts,
    reading_floor,
    write_model,
    writing_floor,
)

MODES = ("likelihood", "label", "yes-no", "pairwise", "generate", "grammar")
PLAIN = {"transformers": {"packed": False}, "vllm": {"share_prompt": False}}
PLAIN_MODES = ("likelihood", "yes-no", "pairwise")
LARGE = tuple(sorted(set(SHAPES) - {"tiny", "35m"}))  # vLLM draws their weights itself
WRITTEN = {"generate": 2, "grammar": 2}  # how many times the users of other modes: more rows for each step of decoding
PAIRED = 20  # candidates at most of which all pairs are asked: the number of pairs grows with their square


@dataclass(frozen=True, slots=True)
class Run:
    """What answering some users once took; the energy is None where it cannot be read."""

    seconds: float
    joules: float | None
    responses: list[Response]


def measure(engine: Engine, users: Sequence[Sequence[Prompt]], *, seconds: float, most: int) -> list[Run]:
    """Answer all users up to `most` times, but begin no run after `seconds`; each run starts cold."""
    runs: list[Run] = []
    meter = Meter()
    begun = time.perf_counter()
    while not runs or (len(runs) < most and time.perf_counter() - begun < seconds):
        engine.reset_cache()
        fresh_reader(engine)
        before, started = meter.joules(), time.perf_counter()
        prompts = [prompt for user in users for prompt in user]
        answered = engine.answer_batches(engine.batches(prompts))
        responses = [response for batch in answered for response in batch]
        spent, after = time.perf_counter() - started, meter.joules()
        runs.append(Run(spent, None if before is None or after is None else after - before, responses))
    return runs


def fresh_reader(engine: Any) -> None:
    """Let the engine tokenise anew what it has seen before."""
    reader = PromptReader(engine.reader.tokenizer, chat=None, encoder_decoder=False)
    engine.reader.read = reader.read


def floor_of(engine: Any, users: Sequence[Sequence[Prompt]], responses: Sequence[Response]) -> Floor:
    """Return the least work for the answers to some users."""
    total = Floor(0, 0, 0)
    written = {response.prompt_id: response.completion_tokens for response in responses}
    for prompts in users:
        tokens = [engine.reader.read(prompt).tokens for prompt in prompts]
        if prompts[0].choices is None:
            parts = zip(prompts, tokens, strict=True)
            total = sum((writing_floor(len(ids.prefix), written[asked.prompt_id]) for asked, ids in parts), total)
        else:
            sequences = [(ids.prefix + suffix, len(ids.prefix)) for ids in tokens for suffix in ids.distinct]
            total += reading_floor([sequence for sequence, _ in sequences], [start for _, start in sequences])
    return total


def load(args: argparse.Namespace, folder: Path, *, plain: bool = False) -> Engine:
    """Return the engine, or with `plain` the one that reads a whole prompt for each choice."""
    options: dict[str, Any] = {"self_check": 0, "answer_tokens": args.answer_tokens}
    options |= PLAIN[args.engine] if plain else {}
    options |= {"load_format": "dummy"} if args.engine == "vllm" and args.shape in LARGE else {}
    options |= dict(pair.split("=", 1) for pair in args.option)
    made = ENGINES.load(args.engine)
    values = made.Options.parse(options, owner=f"engine {args.engine}")
    engine: Engine = made(ModelSpec(f"random-{args.shape}", str(folder)), values, device=args.device, seed=args.seed)
    return engine


def cells(args: argparse.Namespace) -> list[tuple[str, Shape]]:
    """Return the modes and shapes to measure."""
    return [
        (mode, Shape(prompt, candidates))
        for mode in args.modes
        for prompt in args.prompt_tokens
        for candidates in args.candidates
        if mode != "pairwise" or candidates <= PAIRED
    ]


def row(args: argparse.Namespace, engine: Engine, mode: str, shape: Shape, words: Words) -> tuple[list[str], float]:
    """Measure one cell; return its columns, and the median rate."""
    count = args.users * WRITTEN.get(mode, 1)
    users = [mode_prompts(mode, shape, words, user=user, seed=args.seed) for user in range(count)]
    warm = mode_prompts(mode, shape, words, user=count, seed=args.seed)
    list(engine.answer(warm))
    runs = measure(engine, users, seconds=args.seconds, most=args.repeats)
    rates = sorted(count / run.seconds for run in runs)
    floor = floor_of(engine, users, runs[0].responses)
    least = floor.operations(args.shape) / args.throughput / count
    spread = f"{median(rates):.3g} ({rates[0]:.3g} to {rates[-1]:.3g}, n={len(rates)})"
    share = f"{100 * least * median(rates):.0f} %"
    joules = [run.joules / count for run in runs if run.joules is not None]
    energy = f"{median(joules):.3g}" if joules else ""
    columns = [mode, str(shape.prompt), str(shape.candidates), str(floor.tokens // count), f"{1 / least:.3g}"]
    return [*columns, spread, share, energy], median(rates)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description="Users a second in every mode, next to the floor.")
    parser.add_argument("--engine", choices=sorted(PLAIN), default="transformers")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--shape", choices=sorted(SHAPES), default="35m")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--prompt-tokens", nargs="+", type=int, default=[128, 512, 2048], help="tokens of the history")
    parser.add_argument("--candidates", nargs="+", type=int, default=[5, 20, 100])
    parser.add_argument("--answer-tokens", type=int, default=40, help="the most tokens of a written answer")
    parser.add_argument("--users", type=int, help="users in one run, twice as many for texts: 2 on a CPU, else 32")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each cell at most")
    parser.add_argument("--seconds", type=float, default=4.0, help="no run of a cell begins after these")
    parser.add_argument(
        "--plain",
        nargs="*",
        choices=PLAIN_MODES,
        help="measure the way of one whole prompt for each choice, too: in all modes that have it, or in those named",
    )
    parser.add_argument("--quick", action="store_true", help="two lengths, one number of candidates")
    parser.add_argument("--threads", type=int, help="threads of PyTorch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-O", "--option", action="append", default=[], help="an option of the engine, key=value")
    args = parser.parse_args(argv)
    args.users = args.users or (2 if args.device == "cpu" else 32)
    args.plain = PLAIN_MODES if args.plain == [] else args.plain or ()
    if args.quick:
        args.prompt_tokens, args.candidates = [128, 512], [20]
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Measure every cell and print the table, a row as soon as it is known."""
    args = parse_args(argv)
    torch.set_num_threads(args.threads or torch.get_num_threads())
    args.throughput = matrix_throughput(args.device)
    words = Words(args.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dummy = args.engine == "vllm" and args.shape in LARGE
        weights = write_model(folder, words, args.shape, seed=args.seed, device=args.device, weights=not dummy)
        print(f"Shape {args.shape}, {weights / 1e6:.0f}M random weights, engine {args.engine}; {machine(args.device)}.")
        print(
            f"Matrix throughput {args.throughput / 1e12:.3g} TFLOP/s; titles of 8 tokens; {args.users} users a run.\n"
        )
        table(args, words, folder)
    return 0


def table(args: argparse.Namespace, words: Words, folder: Path) -> None:
    """Print the table; the plain way is measured behind all others, for two engines may not fit the memory.

    vLLM scores the plain way when its option says so: it is not started again.
    """
    heads = [
        "mode",
        "history",
        "candidates",
        "tokens/user",
        "floor users/s",
        "users/s: median (range)",
        "share",
        "J/user",
    ]
    print(f"| {' | '.join(heads)} |\n| {' | '.join('---' for _ in heads)} |", flush=True)
    engine: Any = None
    for plain in (False, True) if args.plain else (False,):
        if engine is None:
            engine = load(args, folder, plain=plain)
        elif args.engine == "vllm":
            engine.options = engine.options.model_copy(update=PLAIN["vllm"])
        else:
            engine.close()
            engine = load(args, folder, plain=plain)
        for mode, shape in cells(args):
            if plain and mode not in args.plain:
                continue
            try:
                columns, _ = row(args, engine, mode, shape, words)
            except EngineError as error:  # too long for the model: the others are still worth knowing
                columns = [mode, str(shape.prompt), str(shape.candidates), "", "", str(error), "", ""]
            columns[0] += ", one prompt per choice" if plain else ""
            print(f"| {' | '.join(columns)} |", flush=True)
    engine.close()


if __name__ == "__main__":
    sys.exit(main())

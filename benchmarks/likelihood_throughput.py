"""How much faster is packed scoring of candidate titles than one full prompt for each title?

    python benchmarks/likelihood_throughput.py                                          # random weights, made-up words
    python benchmarks/likelihood_throughput.py --model SMOLLM2 --source ml-100k --history 10

Builds a Llama of about 35 million random weights (8 layers of width 512, 32,000 tokens) with a tokenizer trained on
made-up words, or takes a model and the `likelihood` prompts of MovieLens-100K in its chat template. Scores the same
prompts and titles in three ways, in turn:

- harness: `loglikelihood` of lm-evaluation-harness on the same weights in memory, if it is installed
  (`pip install 'lm_eval[hf]'`): one sequence for each title, and a log-softmax over the logits of every row.
- plain: the engine with `packed=false`: one sequence for each title, and logits for the rows of a title alone.
- packed: the engine as it is by default: the prompt once, then all titles as one sequence behind its cache.

Tokenising is part of every time. Prints a Markdown table; exits with 1 if two of them disagree by more than 1e-3 nat
in a title. Below it stands what the packed way consists of: the products of its linear layers and its attention are
recorded, and run again by themselves, in the same order, on the same shapes and weights.
"""

import argparse
import importlib.util
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version
from math import fsum
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from torch.nn import functional

from llmrs_bench.core.types import Prompt
from llmrs_bench.llm.backends.transformers import TransformersEngine
from llmrs_bench.llm.engine_options import TransformersOptions
from llmrs_bench.llm.model_aliases import ModelSpec
from llmrs_bench.llm.tokenization import PromptReader
from random_models import Shape, Words, machine, mode_prompts, write_model
from real_prompts import rendered

Scores = dict[str, list[float]]  # of each prompt, of each of its titles
Way = Callable[[Sequence[Prompt]], Scores]
AGREEMENT = 1e-3  # nat in a title


def harness_way(engine: TransformersEngine, batch: int) -> Way:
    """Return the harness on the weights of `engine`, with `batch` sequences in one pass."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    instance = import_module("lm_eval.api.instance").Instance
    tokenizer = engine.reader.tokenizer
    model = import_module("lm_eval.models.huggingface").HFLM(
        engine.weights,
        tokenizer=tokenizer,
        batch_size=batch,
        device="cpu",
        add_bos_token=tokenizer.chat_template is None,  # a chat template has written it
    )

    def score(prompts: Sequence[Prompt]) -> Scores:
        pairs = [(engine.reader.read(prompt).text, choice) for prompt in prompts for choice in prompt.choices or ()]
        asked = [instance("loglikelihood", {}, pair, number) for number, pair in enumerate(pairs)]
        values = iter(model.loglikelihood(asked, disable_tqdm=True))
        return {prompt.prompt_id: [next(values)[0] for _ in prompt.choices or ()] for prompt in prompts}

    return score


def engine_way(engine: TransformersEngine) -> Way:
    """Return what `engine` does, without what it remembers of earlier prompts."""

    def score(prompts: Sequence[Prompt]) -> Scores:
        engine.reader = PromptReader(engine.reader.tokenizer, chat=None, encoder_decoder=False)
        return {
            response.prompt_id: [fsum(title) for title in response.choice_logprobs or ()]
            for response in engine.answer(prompts)
        }

    return score


def make_engine(folder: str, args: argparse.Namespace, *, packed: bool) -> TransformersEngine:
    """Return the engine for one of its two ways of scoring."""
    bound = {} if packed else {"batch_tokens": args.plain_tokens}
    options = TransformersOptions(packed=packed, self_check=0, dtype=args.dtype, **bound)
    return TransformersEngine(ModelSpec(Path(folder).name, folder), options, device="cpu", seed=args.seed)


def products(engine: TransformersEngine, prompts: Sequence[Prompt], repeats: int) -> dict[str, list[float]]:
    """Return the seconds that the products of a run take by themselves, each time they are run again.

    They are recorded from one run: the linear layers, and attention from queries, keys and values on. Both are run
    again in their order, on numbers of the same shapes; the weights and masks are those of the run.
    """
    linear: Any = functional.linear
    attention: Any = functional.scaled_dot_product_attention
    layers: list[tuple[torch.Size, torch.Tensor]] = []
    looks: list[tuple[list[torch.Size], dict[str, Any]]] = []

    def note_layer(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        layers.append((states.shape, weight))
        result: torch.Tensor = linear(states, weight, bias)
        return result

    def note_look(*states: torch.Tensor, **options: Any) -> torch.Tensor:
        looks.append(([part.shape for part in states], options))
        result: torch.Tensor = attention(*states, **options)
        return result

    with (
        patch.object(functional, "linear", note_layer),
        patch.object(functional, "scaled_dot_product_attention", note_look),
    ):
        engine_way(engine)(prompts)
    kind = engine.weights.dtype
    numbers = {
        shape: torch.randn(shape, dtype=torch.float32 if weight.dtype == torch.float32 else kind)
        for shape, weight in layers
    }
    numbers |= {shape: torch.randn(shape, dtype=kind) for shapes, _ in looks for shape in shapes}
    found: dict[str, list[float]] = {"linear layers": [], "attention": []}
    for _ in range(repeats):
        with torch.inference_mode():
            started = time.perf_counter()
            for shape, weight in layers:
                linear(numbers[shape], weight)
            between = time.perf_counter()
            for shapes, options in looks:
                attention(*(numbers[shape] for shape in shapes), **options)
            found["linear layers"].append(between - started)
            found["attention"].append(time.perf_counter() - between)
    return found


def largest_difference(one: Scores, other: Scores) -> float:
    """Return the largest difference in a title, in nats."""
    return max(abs(a - b) for name, titles in one.items() for a, b in zip(titles, other[name], strict=True))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description="Packed scoring of titles against one full prompt per title.")
    parser.add_argument("--model", type=Path, help="a folder of transformers, beside --source")
    parser.add_argument("--source", type=Path, help="ml-100k, a folder or an archive, beside --model")
    parser.add_argument("--history", type=int, default=10, help="titles of the history in a real prompt")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--requests", type=int, default=4, help="users in one run")
    parser.add_argument("--prompt-tokens", type=int, default=500, help="tokens of a prompt")
    parser.add_argument("--candidates", type=int, default=20, help="titles of a user")
    parser.add_argument("--title-tokens", type=int, default=8, help="tokens of a title")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each way, in turn")
    parser.add_argument("--harness-batch", type=int, default=4, help="sequences in one pass of the harness")
    parser.add_argument("--plain-tokens", type=int, default=1100, help="tokens in one pass of the plain way")
    parser.add_argument("--threads", type=int, help="threads of PyTorch; 1 is steadier on a machine with other work")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and texts")
    args = parser.parse_args(argv)
    if (args.model is None) != (args.source is None):
        parser.error("--model and --source go together")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Run the ways in turn, print the table, and return 0 if they agree."""
    args = parse_args(argv)
    torch.set_num_threads(args.threads or torch.get_num_threads())
    with tempfile.TemporaryDirectory() as folder:
        if args.model is None:
            words = Words(args.seed)
            shape = Shape(args.prompt_tokens, args.candidates, args.title_tokens)
            asked = [
                mode_prompts("likelihood", shape, words, user=user, seed=args.seed) for user in range(args.requests)
            ]
            prompts = [prompt for (prompt,) in asked]
            write_model(Path(folder), words, "35m", seed=args.seed)
        else:
            # Twice as many, of whom those with the longest prompts are taken: others have fewer titles to show.
            found = rendered(
                args.source, folder, 2 * args.requests, args.candidates, "likelihood", ["--history", str(args.history)]
            )
            found.sort(key=lambda prompt: -sum(len(message.content) for message in prompt.messages))
            prompts = found[: args.requests]
        model = str(args.model or folder)
        plain, packed = (make_engine(model, args, packed=packed) for packed in (False, True))
    ways: dict[str, Way] = {"plain": engine_way(plain), "packed": engine_way(packed)}
    if importlib.util.find_spec("lm_eval") is not None:
        name = f"harness {version('lm_eval')}, batch {args.harness_batch}"
        ways = {name: harness_way(plain, args.harness_batch), **ways}
    seconds, difference = run_in_turn(ways, prompts, args.repeats)
    report(packed, prompts, seconds)
    print(f"\nLargest difference from packed: {difference:.1e} nat in a title.\n")
    whole = median(seconds["packed"])
    for part, times in products(packed, prompts, args.repeats).items():
        print(f"{part} by themselves: {median(times):.2f} s, {median(times) / whole:.0%} of packed")
    return 0 if difference <= AGREEMENT else 1


def run_in_turn(ways: dict[str, Way], prompts: Sequence[Prompt], repeats: int) -> tuple[dict[str, list[float]], float]:
    """Return the seconds of each run of each way, and the largest difference from the last way."""
    for way in ways.values():
        way(prompts[:1])  # the first pass of a process is slower
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    difference = 0.0
    for _ in range(repeats):
        scores = []
        for name, way in ways.items():
            started = time.perf_counter()
            scores.append(way(prompts))
            seconds[name].append(time.perf_counter() - started)
        difference = max(difference, *(largest_difference(other, scores[-1]) for other in scores[:-1]))
    return seconds, difference


def report(engine: TransformersEngine, prompts: Sequence[Prompt], seconds: dict[str, list[float]]) -> None:
    """Print the figures as Markdown."""
    tokens = [engine.reader.read(prompt).tokens for prompt in prompts]
    prefix = median(len(ids.prefix) for ids in tokens)
    title = median(len(suffix) for ids in tokens for suffix in ids.suffixes)
    titles = median(len(ids.suffixes) for ids in tokens)
    weights = engine.weights.num_parameters() / 1e6
    repeats = len(seconds["packed"])
    print(f"{weights:.1f}M weights in {engine.scorer.dtype}; {machine('cpu')}.")
    print(
        f"{prefix:.0f} prompt tokens, {titles:.0f} titles of {title:.0f} tokens (medians), {len(prompts)} users a run, "
        f"{repeats} runs of each in turn.\n"
    )
    print("| scoring | users/s, median | users/s, each run | packed is faster: min | median | max |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, times in seconds.items():
        rates = [len(prompts) / took for took in times]
        ratios = sorted(took / packed for took, packed in zip(times, seconds["packed"], strict=True))
        faster = " | ".join(f"{ratio:.1f}x" for ratio in (ratios[0], median(ratios), ratios[-1]))
        print(f"| {name} | {median(rates):.3f} | {', '.join(f'{rate:.3f}' for rate in rates)} | {faster} |")


if __name__ == "__main__":
    sys.exit(main())

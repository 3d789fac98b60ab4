"""How much faster does an engine write answers to real prompts than plain `generate` in batches padded on the left?

    python benchmarks/writing.py SMOLLM2 ml-100k                      # a folder with a model, and MovieLens-100K
    python benchmarks/writing.py SMOLLM2 ml-100k --engine vllm -O enforce_eager=true

Renders `listwise` prompts of MovieLens-100K, and answers them in turn: with `generate` of transformers, greedy, in
batches of like length of each of the sizes `--rows`; with the engine as it is by default; and with the engine and the
grammar of permutations. All write at most `--answer-tokens` tokens behind each prompt. Tokenising is part of every
time. Prints a Markdown table, and how many texts of the engine are those of `generate`: rounding in another batch may
turn a close choice.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from llmrs_bench.core.registry import ENGINES
from llmrs_bench.core.types import Prompt
from llmrs_bench.llm.model_aliases import ModelSpec
from random_models import machine
from real_prompts import rendered

# What each prompt was answered, and the number of tokens of all answers.
Written = tuple[dict[str, str], int]


def plain(model: Any, tokenizer: Any, prompts: Sequence[Prompt], rows: int, tokens: int) -> Written:
    """Answer prompts with `generate`, `rows` at a time, the longest first."""
    texts = {
        prompt.prompt_id: tokenizer.apply_chat_template(
            [{"role": message.role, "content": message.content} for message in prompt.messages],
            tokenize=False,
            add_generation_prompt=True,
        )
        for prompt in prompts
    }
    order = sorted(texts, key=lambda name: -len(texts[name]))
    answers, count = dict[str, str](), 0
    for start in range(0, len(order), rows):
        names = order[start : start + rows]
        asked = tokenizer([texts[name] for name in names], add_special_tokens=False, padding=True, return_tensors="pt")
        with torch.inference_mode():
            output = model.generate(
                **asked, do_sample=False, max_new_tokens=tokens, pad_token_id=tokenizer.pad_token_id
            )
        new = output[:, asked["input_ids"].shape[1] :]
        count += int((new != tokenizer.pad_token_id).sum())
        answers |= dict(zip(names, tokenizer.batch_decode(new, skip_special_tokens=True), strict=True))
    return answers, count


def engine_way(engine: Any, prompts: Sequence[Prompt]) -> Written:
    """Answer prompts with an engine that has seen none of them."""
    engine.reset_cache()
    responses = [found for batch in engine.answer_batches(engine.batches(prompts)) for found in batch]
    answers = {found.prompt_id: found.text or "" for found in responses}
    return answers, sum(found.completion_tokens for found in responses)


def main() -> int:
    """Measure every way in turn, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="a folder of transformers")
    parser.add_argument("source", type=Path, help="ml-100k, a folder or an archive")
    parser.add_argument("--engine", choices=["transformers", "vllm"], default="transformers")
    parser.add_argument("--users", type=int, default=32)
    parser.add_argument("--n-candidates", type=int, default=20)
    parser.add_argument("--answer-tokens", type=int, default=512)
    parser.add_argument("--rows", nargs="*", type=int, default=[8, 32], help="of a batch of generate; none: skip it")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("-O", "--option", action="append", default=[], help="an option of the engine, key=value")
    args = parser.parse_args()
    options = {"answer_tokens": args.answer_tokens, "dtype": "float32", **dict(o.split("=", 1) for o in args.option)}
    made: Any = ENGINES.load(args.engine)
    engine = made(
        ModelSpec(args.model.name, str(args.model)),
        made.Options.parse(options, owner=args.engine),
        device="cpu",
        seed=0,
    )
    with tempfile.TemporaryDirectory() as home:
        prompts = rendered(args.source, home, args.users, args.n_candidates)
    ways: dict[str, Callable[[], Written]] = {}
    if args.rows:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(args.model, padding_side="left")
        model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
        for rows in args.rows:
            ways[f"generate, {rows} rows"] = lambda rows=rows: plain(  # type: ignore[misc]
                model, tokenizer, prompts, rows, args.answer_tokens
            )
    bound = [replace(prompt, grammar="permutation") for prompt in prompts]
    ways[args.engine] = lambda: engine_way(engine, prompts)
    ways[f"{args.engine}, grammar"] = lambda: engine_way(engine, bound)
    length = median(engine.count_tokens(prompts)) - args.answer_tokens
    print(f"{args.model.name}, {len(prompts)} prompts of {length:.0f} tokens (median); {machine('cpu')}.\n")
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    written: dict[str, Written] = {}
    for _ in range(args.repeats):
        for way, run in ways.items():
            started = time.perf_counter()
            written[way] = run()
            seconds[way].append(time.perf_counter() - started)
            print(f"{way}: {seconds[way][-1]:.1f} s", file=sys.stderr)
    print("| way | s: least, median, most | tokens written | tokens/s | texts as the first | times the engine's |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    first, own = written[next(iter(ways))][0], median(seconds[args.engine])
    for way, spent in seconds.items():
        answers, tokens = written[way]
        equal = sum(answers[name].strip() == text.strip() for name, text in first.items())
        spread = f"{min(spent):.1f}, {median(spent):.1f}, {max(spent):.1f}"
        print(
            f"| {way} | {spread} | {tokens:,} | {tokens / median(spent):.1f} | {equal} of {len(first)} "
            f"| {median(spent) / own:.2f} |"
        )
    engine.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How much faster is packed scoring of candidate titles than one full prompt for each title?

Builds a Llama of about 35 million random weights (8 layers of width 512, 32,000 tokens) with a tokenizer trained on
made-up words, and scores the same prompts and titles in three ways, in turn:

- all logits: prompt and title as a sequence of their own, all titles of a user in right-padded batches, and a
  log-softmax over the logits of every row, as evaluation harnesses do.
- plain: the same batches with the fast causal attention and logits for the rows of a title alone. That is the
  engine with `packed=false`, and the fairer opponent.
- packed: the engine as it is by default, the prompt once, then all titles as one sequence behind its cache.

Tokenising is part of every time but the first, which is handed the ids.

Prints a Markdown table; exits with 1 if two of them disagree by more than 1e-4 nat in any token.
"""

import argparse
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from llmrs_bench.catalog import ModelSpec
from llmrs_bench.engines.jobs import PromptReader
from llmrs_bench.engines.packing import pad_right
from llmrs_bench.engines.tokens import Tokenized
from llmrs_bench.engines.transformers import TransformersEngine, TransformersOptions
from llmrs_bench.types import Message, Prompt

Scores = dict[str, tuple[tuple[float, ...], ...]]  # of each prompt, of each of its titles, of each token

VOCABULARY = 32_000
AGREEMENT = 1e-4  # nat in a token
SYLLABLES = [a + b for a in "bcdfghjklmnprstvwz" for b in ("a", "e", "i", "o", "u", "an", "er", "ol")]


def make_words(count: int, rng: random.Random) -> list[str]:
    """Return `count` distinct made-up words."""
    words: set[str] = set()
    while len(words) < count:
        words.add("".join(rng.choices(SYLLABLES, k=rng.randint(2, 4))))
    return sorted(words)


def make_tokenizer(words: Sequence[str]) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer in which nearly every word becomes one token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((f" {word}" for word in words), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>", model_max_length=4096
    )


def build(folder: Path, words: Sequence[str], *, seed: int) -> tuple[PreTrainedTokenizerFast, int]:
    """Write model and tokenizer into `folder`; return the tokenizer and the number of weights."""
    torch.manual_seed(seed)
    tokenizer = make_tokenizer(words)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=512,
        intermediate_size=1024,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=1,
    )
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return tokenizer, sum(weight.numel() for weight in model.parameters())


def text_of(tokens: int, tokenizer: PreTrainedTokenizerFast, words: Sequence[str], rng: random.Random) -> str:
    """Return words, each behind a space, that take exactly `tokens` tokens."""
    text = ""
    while True:
        longer = f"{text} {rng.choice(words)}"
        size = len(tokenizer(longer, add_special_tokens=False)["input_ids"])
        if size <= tokens:
            text = longer
        if size == tokens:
            return text


def make_prompts(args: argparse.Namespace, tokenizer: PreTrainedTokenizerFast, words: Sequence[str]) -> list[Prompt]:
    """Return `args.requests` prompts of the wanted number of tokens, the one that begins a text among them."""
    rng = random.Random(args.seed)
    titles = [text_of(args.title_tokens, tokenizer, words, rng) for _ in range(20 * args.candidates)]
    prompts = []
    for number in range(args.requests):
        body = text_of(args.prompt_tokens - 1, tokenizer, words, rng)
        choices = tuple(rng.sample(titles, args.candidates))
        prompts.append(Prompt(f"{number}", f"{number}", (Message("user", body),), choices, choices))
    return prompts


def run_engine(engine: TransformersEngine, prompts: Sequence[Prompt]) -> tuple[float, Scores]:
    """Return the seconds that `engine` takes for all prompts, and its scores."""
    engine.reader = PromptReader(engine.reader.tokenizer, chat=None, encoder_decoder=False)  # forgets known prompts
    started = time.perf_counter()
    scores = {response.prompt_id: response.choice_logprobs or () for response in engine.answer(prompts)}
    return time.perf_counter() - started, scores


def run_all_logits(engine: TransformersEngine, prompts: Sequence[Prompt], batch_tokens: int) -> tuple[float, Scores]:
    """Return the seconds that one full sequence for each title takes, and the scores."""
    jobs = [engine.reader.read(prompt).tokens for prompt in prompts]
    started = time.perf_counter()
    found = [all_logits_scores(engine.weights, job, batch_tokens) for job in jobs]
    seconds = time.perf_counter() - started
    return seconds, {prompt.prompt_id: scores for prompt, scores in zip(prompts, found, strict=True)}


@torch.inference_mode()
def all_logits_scores(model: LlamaForCausalLM, tokens: Tokenized, batch_tokens: int) -> tuple[tuple[float, ...], ...]:
    """Score each suffix as a sequence of its own, with a log-softmax over all its rows."""
    start = len(tokens.prefix)
    size = max(1, batch_tokens // (start + tokens.longest))
    values: list[tuple[float, ...]] = []
    for begin in range(0, len(tokens.suffixes), size):
        suffixes = tokens.suffixes[begin : begin + size]
        inputs = pad_right([tokens.prefix + suffix[:-1] for suffix in suffixes], 0)
        logprobs = model(input_ids=inputs, use_cache=False).logits.float().log_softmax(-1)
        for rows, suffix in zip(logprobs, suffixes, strict=True):
            targets = torch.tensor(suffix)[:, None]
            values.append(tuple(rows[start - 1 : start - 1 + len(suffix)].gather(1, targets)[:, 0].tolist()))
    return tuple(values)


def largest_difference(one: Scores, other: Scores) -> tuple[float, float]:
    """Return the largest difference in a token and in a title, in nats."""
    token = title = 0.0
    for name, titles in one.items():
        for left, right in zip(titles, other[name], strict=True):
            token = max(token, *(abs(a - b) for a, b in zip(left, right, strict=True)))
            title = max(title, abs(sum(left) - sum(right)))
    return token, title


def machine() -> str:
    """Return processor, cores and versions in words."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        name = names[0] if names else name
    return f"{name}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, PyTorch {torch.__version__}, float32"


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description="Packed scoring of titles against one full prompt per title.")
    parser.add_argument("--requests", type=int, default=2, help="users in one run")
    parser.add_argument("--prompt-tokens", type=int, default=500, help="tokens of a prompt")
    parser.add_argument("--candidates", type=int, default=20, help="titles of a user")
    parser.add_argument("--title-tokens", type=int, default=8, help="tokens of a title")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each way, in turn")
    parser.add_argument("--batch-tokens", type=int, default=1100, help="tokens in one pass; few suit a CPU")
    parser.add_argument("--threads", type=int, help="threads of PyTorch; 1 is steadier on a machine with other work")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and texts")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the three ways in turn, print the table, and return 0 if they agree."""
    args = parse_args(argv)
    torch.set_num_threads(args.threads or torch.get_num_threads())
    words = make_words(12_000, random.Random(args.seed))
    with tempfile.TemporaryDirectory() as folder:
        tokenizer, weights = build(Path(folder), words, seed=args.seed)
        prompts = make_prompts(args, tokenizer, words)
        plain, packed = (make_engine(folder, args, packed=packed) for packed in (False, True))
    ways: dict[str, Callable[[Sequence[Prompt]], tuple[float, Scores]]] = {
        "all logits": lambda some: run_all_logits(plain, some, args.batch_tokens),
        "plain": lambda some: run_engine(plain, some),
        "packed": lambda some: run_engine(packed, some),
    }
    for way in ways.values():
        way(prompts[:1])  # the first pass of a process is slower
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    token = title = 0.0
    for _ in range(args.repeats):
        scores = {}
        for name, way in ways.items():
            took, scores[name] = way(prompts)
            seconds[name].append(took)
        for name in ("all logits", "plain"):
            found = largest_difference(scores[name], scores["packed"])
            token, title = max(token, found[0]), max(title, found[1])
    report(args, weights, seconds)
    print(f"\nLargest difference from packed: {token:.1e} nat in a token, {title:.1e} nat in a title.")
    return 0 if token <= AGREEMENT else 1


def make_engine(folder: str, args: argparse.Namespace, *, packed: bool) -> TransformersEngine:
    """Return the engine for one of its two ways of scoring."""
    options = TransformersOptions(packed=packed, self_check=0, batch_tokens=args.batch_tokens)
    return TransformersEngine(ModelSpec("random-llama", folder), options, device="cpu", seed=args.seed)


def report(args: argparse.Namespace, weights: int, seconds: dict[str, list[float]]) -> None:
    """Print the figures as Markdown."""
    print(f"Llama of {weights / 1e6:.1f}M random weights; {machine()}.")
    print(
        f"{args.prompt_tokens} prompt tokens, {args.candidates} titles of {args.title_tokens} tokens, "
        f"{args.requests} users a run, {args.repeats} runs of each in turn.\n"
    )
    print("| scoring | users/s, median | users/s, each run | packed is faster: min | median | max |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, times in seconds.items():
        rates = [args.requests / took for took in times]
        ratios = sorted(took / packed for took, packed in zip(times, seconds["packed"], strict=True))
        faster = " | ".join(f"{ratio:.1f}x" for ratio in (ratios[0], median(ratios), ratios[-1]))
        print(f"| {name} | {median(rates):.3f} | {', '.join(f'{rate:.3f}' for rate in rates)} | {faster} |")


if __name__ == "__main__":
    sys.exit(main())

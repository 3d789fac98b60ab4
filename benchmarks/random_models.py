"""Language models of random weights, prompts of an exact number of tokens for every mode, and what a machine can do."""

import os
import platform
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations
from pathlib import Path
from statistics import median

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, PretrainedConfig, PreTrainedTokenizerFast, Qwen3Config
from transformers.utils.logging import disable_progress_bar

from llmrs_bench.core.types import Grammar, Message, Prompt

VOCABULARY = 32_000
CONTEXT = 4096
SYLLABLES = [a + b for a in "bcdfghjklmnprstvwz" for b in ("a", "e", "i", "o", "u", "an", "er", "ol")]
# Of Qwen3 with its own vocabulary, its heads of 128 and its normed queries and keys; the others are Llamas.
SHAPES: dict[str, dict[str, int | bool]] = {
    "tiny": {
        "hidden_size": 128,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    },
    "35m": {
        "hidden_size": 512,
        "intermediate_size": 1024,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 8,
        "tie_word_embeddings": True,
    },
    "7b": {
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "tie_word_embeddings": False,
    },
    "qwen3-0.6b": {
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "tie_word_embeddings": True,
        "vocab_size": 151_936,
    },
    "qwen3-8b": {
        "hidden_size": 4096,
        "intermediate_size": 12_288,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "tie_word_embeddings": False,
        "vocab_size": 151_936,
    },
}


def model_config(shape: str) -> PretrainedConfig:
    """Return the configuration of a shape; `7b` is that of Llama-2-7B, the others say whose they are."""
    made, architecture = (
        (Qwen3Config, "Qwen3ForCausalLM") if shape.startswith("qwen3") else (LlamaConfig, "LlamaForCausalLM")
    )
    common = {
        "vocab_size": VOCABULARY,
        "max_position_embeddings": CONTEXT,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "architectures": [architecture],
    }
    return made(**(common | SHAPES[shape]))


class Words:
    """Made-up words, each of them one token behind a space, and a tokenizer that knows them.

    Args:
        seed: Of the words.
    """

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)
        words = {"".join(rng.choices(SYLLABLES, k=rng.randint(2, 4))) for _ in range(13_000)}
        numbers = [str(number) for number in range(1, 101)]
        self.tokenizer = _train_tokenizer([*sorted(words), *numbers])
        ids = self.tokenizer([f" {word}" for word in sorted(words)], add_special_tokens=False)["input_ids"]
        self.words = [word for word, tokens in zip(sorted(words), ids, strict=True) if len(tokens) == 1]

    def text(self, tokens: int, rng: random.Random) -> str:
        """Return words, each behind a space, that take exactly `tokens` tokens."""
        return "".join(f" {word}" for word in rng.choices(self.words, k=tokens))

    def distinct(self, count: int, rng: random.Random) -> list[str]:
        """Return `count` different texts of one token."""
        return [f" {word}" for word in rng.sample(self.words, count)]


def _train_tokenizer(words: Sequence[str]) -> PreTrainedTokenizerFast:
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
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>", model_max_length=CONTEXT
    )


def write_model(folder: Path, words: Words, shape: str, *, seed: int, device: str = "cpu", weights: bool = True) -> int:
    """Write a model and its tokenizer into `folder`; return its number of weights.

    Args:
        folder: An existing folder.
        words: Holds the tokenizer.
        shape: One of `SHAPES`.
        seed: Of the weights.
        device: Where the weights are made: in float32 on a CPU, else in bfloat16.
        weights: Whether they are written; if not, the folder holds a configuration alone.
    """
    torch.manual_seed(seed)
    disable_progress_bar()
    config = model_config(shape)
    config.dtype = torch.float32 if device == "cpu" else torch.bfloat16
    words.tokenizer.save_pretrained(folder)
    with torch.device(device if weights else "meta"):
        before = torch.get_default_dtype()
        torch.set_default_dtype(config.dtype)
        model = AutoModelForCausalLM.from_config(config)
        torch.set_default_dtype(before)
    if weights:
        model.save_pretrained(folder)
    else:
        config.save_pretrained(folder)
    return sum(weight.numel() for weight in model.parameters())


@dataclass(frozen=True, slots=True)
class Shape:
    """The prompts of one user: tokens of the history, candidates, and tokens of a title."""

    prompt: int
    candidates: int
    title: int = 8


def mode_prompts(mode: str, shape: Shape, words: Words, *, user: int, seed: int = 0) -> list[Prompt]:
    """Return the prompts of one user for a mode.

    The history takes `shape.prompt` tokens, the one that begins a text among them. Behind it stand for `label`,
    `generate` and `grammar` all candidates, each with 3 more tokens, for `yes-no` one, for `pairwise` two with 3 more
    tokens each; and a question of 8 tokens. Likelihoods are asked right behind the history.
    """
    rng = random.Random(f"{seed} {mode} {user}")
    name = f"{mode}-{user}"
    history = words.text(shape.prompt - 1, rng)
    titles = [words.text(shape.title, rng) for _ in range(shape.candidates)]
    question = words.text(8, rng)
    if mode == "likelihood":
        return [_prompt(name, name, history, titles)]
    if mode == "yes-no":
        answers = words.distinct(2, rng)
        return [_prompt(f"{name}/{n}", name, history + title + question, answers) for n, title in enumerate(titles)]
    listed = [words.text(3, rng) + title for title in titles]
    if mode == "pairwise":
        answers = words.distinct(2, rng)
        pairs = enumerate(permutations(listed, 2))
        return [_prompt(f"{name}/{n}", name, history + one + other + question, answers) for n, (one, other) in pairs]
    text = history + "".join(listed) + question
    if mode == "label":
        return [_prompt(name, name, text, words.distinct(shape.candidates, rng))]
    grammar: Grammar | None = "permutation" if mode == "grammar" else None
    return [Prompt(name, name, (Message("user", text),), tuple(titles), grammar=grammar)]


def _prompt(name: str, request: str, text: str, choices: Sequence[str]) -> Prompt:
    return Prompt(name, request, (Message("user", text),), tuple(choices), tuple(choices))


@dataclass(frozen=True, slots=True)
class Floor:
    """What has to be computed at least: tokens, pairs of a token and one that it sees, rows of the vocabulary."""

    tokens: int
    pairs: int
    rows: int

    def __add__(self, other: "Floor") -> "Floor":
        return Floor(self.tokens + other.tokens, self.pairs + other.pairs, self.rows + other.rows)

    def operations(self, shape: str) -> float:
        """Return the operations: 2 for each token and weight of the layers, 4 for each pair and width, 2 for logits.

        The width of a pair is that of all heads together.
        """
        config = model_config(shape)
        width, layers, heads = int(config.hidden_size), int(config.num_hidden_layers), int(config.num_attention_heads)
        head = int(getattr(config, "head_dim", None) or width // heads)
        seen = 2 * head * (heads + int(config.num_key_value_heads))  # queries and the output; keys and values
        layer = width * seen + 3 * width * int(config.intermediate_size)
        attention = 4 * layers * heads * head * self.pairs
        return 2 * layers * layer * self.tokens + attention + 2 * width * int(config.vocab_size) * self.rows


def reading_floor(sequences: Sequence[tuple[int, ...]], scored: Sequence[int]) -> Floor:
    """Return what it takes to read sequences when what several begin with is read once.

    Args:
        sequences: The tokens of each text, the last one of which is scored and not read.
        scored: The index of the first token of each that is scored.
    """
    order = sorted(range(len(sequences)), key=lambda index: sequences[index])
    tokens = pairs = 0
    contexts: set[tuple[int, ...]] = set()
    for before, index in pairwise([None, *order]):
        assert index is not None
        ids, read = sequences[index], len(sequences[index]) - 1
        shared = 0 if before is None else _shared(sequences[before][:-1], ids[:-1])
        tokens += read - shared
        pairs += (read * (read + 1) - shared * (shared + 1)) // 2
        contexts |= {ids[:end] for end in range(scored[index], len(ids))}
    return Floor(tokens, pairs, len(contexts))


def writing_floor(prompt: int, written: int) -> Floor:
    """Return what it takes to read a prompt and to write tokens behind it; the last one is not read again."""
    read = prompt + written - 1
    return Floor(read, read * (read + 1) // 2, written)


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    for index, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return index
    return min(len(one), len(other))


def matrix_throughput(device: str, *, size: int | None = None, repeats: int = 10) -> float:
    """Return the floating-point operations a second of a product of two square matrices: the median of some.

    In float32 on a CPU, else in bfloat16.
    """
    side = size or (2048 if device == "cpu" else 8192)
    matrix = torch.randn(side, side, device=device, dtype=torch.float32 if device == "cpu" else torch.bfloat16)
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        product = matrix @ matrix
        product[0, 0].item()  # waits for a GPU
        times.append(time.perf_counter() - started)
    return 2 * side**3 / median(times[1:])


def machine(device: str) -> str:
    """Return processor, cores and versions in words."""
    load = f"load {os.getloadavg()[0]:.1f}"
    if device == "cuda":
        return f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, bfloat16, {load}"
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        name = names[0] if names else name
    threads = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    return f"{name}, {threads}, PyTorch {torch.__version__}, float32, {load}"

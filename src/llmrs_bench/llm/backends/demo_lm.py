"""`demo-lm`: a small Llama with a tokenizer of its own, trained in about a minute; no stand-in for a real model."""

import json
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from llmrs_bench.core.config import Options
from llmrs_bench.core.types import Json, Progress

BOS, EOS = "<s>", "</s>"


class DemoOptions(Options):
    """Shape and training of the model.

    `characters` is the length of all training text together: 3 million take about a minute and a half on two cores.
    """

    characters: int
    vocabulary: int = 4096
    width: int = 128
    layers: int = 2
    heads: int = 4
    context: int = 1024
    batch_tokens: int = 2048
    learning_rate: float = 3e-3


def train_demo_lm(
    documents: Sequence[str], folder: Path, options: DemoOptions, *, seed: int, progress: Progress
) -> dict[str, Json]:
    """Train the model on whole documents and save it, with its tokenizer, as a Hugging Face folder.

    Args:
        documents: Training texts; each is learned between a begin and an end token, cut at the context.
        folder: An existing folder, where the model lands.
        options: Shape and training.
        seed: Seed of the weights and of the order of batches.
        progress: Shows batches done and the loss.

    Returns:
        Facts for the manifest: parameters, tokens seen, last loss in nats per token, seconds.
    """
    started = time.perf_counter()
    tokenizer = train_tokenizer(documents, options)
    rows = [
        [tokenizer.bos_token_id, *ids, tokenizer.eos_token_id][: options.context]
        for ids in tokenizer(list(documents), add_special_tokens=False)["input_ids"]
    ]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(_shape(len(tokenizer), options))
        loss = _fit(model, list(_batches(rows, options.batch_tokens, seed)), options.learning_rate, progress)
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    facts: dict[str, Json] = {
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "documents": len(rows),
        "tokens": sum(map(len, rows)),
        "loss": round(loss, 4),
        "seconds": round(time.perf_counter() - started, 1),
    }
    (folder / "training.json").write_text(json.dumps({**options.model_dump(), "seed": seed}, indent=2), "utf-8")
    return facts


def train_tokenizer(documents: Sequence[str], options: DemoOptions) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer that begins every text with the begin token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=False), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=options.vocabulary,
        special_tokens=[BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    from tokenizers.processors import TemplateProcessing

    tokenizer.post_processor = TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, 0), (EOS, 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=EOS,
        model_max_length=options.context,
        clean_up_tokenization_spaces=False,
    )


def _shape(vocabulary: int, options: DemoOptions) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=options.width,
        intermediate_size=3 * options.width,
        num_hidden_layers=options.layers,
        num_attention_heads=options.heads,
        num_key_value_heads=options.heads,
        max_position_embeddings=options.context,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )


def _batches(rows: Sequence[list[int]], batch_tokens: int, seed: int) -> Iterator[Tensor]:
    """Yield right-padded batches of rows of like length, (rows, tokens), in a seeded order; -1 is padding."""
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    groups: list[list[int]] = [[]]
    for index in order:
        if groups[-1] and len(rows[index]) * (len(groups[-1]) + 1) > batch_tokens:
            groups.append([])
        groups[-1].append(index)
    for group in np.random.default_rng(seed).permutation(len(groups)):
        width = max(len(rows[index]) for index in groups[group])
        yield torch.tensor([rows[index] + [-1] * (width - len(rows[index])) for index in groups[group]])


def _fit(model: LlamaForCausalLM, batches: list[Tensor], learning_rate: float, progress: Progress) -> float:
    """Take one pass over the batches; return the mean loss of the last tenth, in nats per token."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _schedule(step, len(batches)))
    losses: list[float] = []
    with progress("demo-lm", len(batches)) as step:
        for done, batch in enumerate(batches, 1):
            logits = model(input_ids=batch.clamp(min=0)).logits[:, :-1]
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), ignore_index=-1)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            rate.step()
            losses.append(loss.item())
            step(done, f"loss {losses[-1]:.3f}")
    tail = losses[-max(1, len(losses) // 10) :]
    return sum(tail) / len(tail)


def _schedule(step: int, total: int) -> float:
    warmup = max(1, total // 20)
    return min(1.0, (step + 1) / warmup) * 0.5 * (1.0 + math.cos(math.pi * step / total))

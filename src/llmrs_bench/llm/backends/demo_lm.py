"""`demo-lm`: a small Llama with a tokenizer of its own, trained in a minute or two; no stand-in for a real model."""

import json
import math
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from llmrs_bench.core.config import Options
from llmrs_bench.core.types import Json, Progress

BOS, EOS = "<s>", "</s>"
# What a token may reach over: a line of the history with its mark; the mark of any other line; a number in a list of
# numbers; and what a line says up to a colon. A frequent title thus becomes one token, and another one in a history.
_PIECES = r"\n- [^\n]*|\n(?:-|\[\d+\]|\d+\.(?= ))?|,? \d+(?=,|\n|\z)|[^\n:]+:?|:"
_PROMPT, _HISTORY, _ANSWER = range(3)  # what a token belongs to
_Batch: TypeAlias = tuple[Tensor, Tensor]  # tokens, and what each belongs to, both (rows, tokens)


@dataclass(frozen=True, slots=True)
class Document:
    """A prompt and its answer, in three texts that follow each other.

    Args:
        history: The beginning of the prompt, which the model learns to write.
        task: The rest of the prompt, which it only reads: the order of candidates is chance.
        answer: What it learns to write behind a prompt.
    """

    history: str
    task: str
    answer: str

    @property
    def text(self) -> str:
        """The whole document."""
        return self.history + self.task + self.answer


class DemoOptions(Options):
    """Shape and training of the model; 28,000 documents take about a minute and a half on an idle core.

    Args:
        documents: How many prompts with answers it is trained on.
        vocabulary: The most tokens that its tokenizer has.
        width: Numbers that a token becomes.
        layers: Layers of the Llama.
        heads: Attention heads of a layer.
        context: The most tokens of a text.
        batch_tokens: Tokens of a training step.
        learning_rate: The highest rate of AdamW.
        answer_weight: Weight of the loss on answers against that on histories.
        spread: Standard deviation of the first weights.
        embedding_spread: The same of embeddings.
        word_share: Weight of a title's words against the title itself in its first embedding.
        copying: How strongly attention layers pass on, before training, what they read.
    """

    documents: int
    vocabulary: int = 4096
    width: int = 128
    layers: int = 2
    heads: int = 4
    context: int = 1024
    batch_tokens: int = 512
    learning_rate: float = 2e-3
    answer_weight: float = 2.0
    spread: float = 0.02
    embedding_spread: float = 0.2
    word_share: float = 4.0
    copying: float = 3.0


def train_demo_lm(
    documents: Sequence[Document], folder: Path, options: DemoOptions, *, seed: int, progress: Progress
) -> dict[str, Json]:
    """Train the model on documents and save it, with its tokenizer, as a Hugging Face folder.

    Args:
        documents: Prompts with answers; each stands between a begin and an end token, cut at the context.
        folder: An existing folder, where the model lands.
        options: Shape and training.
        seed: Seed of the weights and of the order of batches.
        progress: Shows batches done and the loss.

    Returns:
        Facts for the manifest: parameters, tokens seen, last loss in nats per token, seconds.
    """
    started = time.perf_counter()
    tokenizer = train_tokenizer([document.text for document in documents], options)
    rows = _read(tokenizer, documents, options.context)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(_shape(len(tokenizer), options))
        _begin(model, tokenizer, options)
        loss = _fit(model, list(_batches(rows, options.batch_tokens, seed)), options, progress)
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    facts: dict[str, Json] = {
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "documents": len(rows),
        "tokens": sum(len(ids) for ids, _ in rows),
        "loss": round(loss, 4),
        "seconds": round(time.perf_counter() - started, 1),
    }
    (folder / "training.json").write_text(json.dumps({**options.model_dump(), "seed": seed}, indent=2), "utf-8")
    return facts


def train_tokenizer(texts: Sequence[str], options: DemoOptions) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer of whole titles that begins every text with the begin token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=options.vocabulary,
        special_tokens=[BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
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
        initializer_range=options.spread,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )


def _begin(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, options: DemoOptions) -> None:
    """Set weights from which copying and likeness of titles are quickly learned; they depend on no event.

    A token of several words begins near the sum of its words, rare ones above all: sequels are near each other, and
    a title is near the same title in a history. Attention layers begin by adding what they read, W_o W_v = c I.
    """
    texts = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    words = [re.findall("[^Ġ]+", text) for text in texts]  # a byte-level tokenizer writes a space as Ġ
    used = Counter(word for some in words for word in set(some))
    vectors = {word: math.log(len(texts) / count) * torch.randn(options.width) for word, count in used.items()}
    with torch.no_grad():
        embeddings = model.get_input_embeddings().weight
        embeddings.normal_()
        for place, some in enumerate(words):
            if len(some) > 1:
                total = torch.stack([vectors[word] for word in some]).sum(0)
                total *= options.word_share * options.width**0.5 / total.norm()
                embeddings[place] = (embeddings[place] + total) / math.hypot(1.0, options.word_share)
        embeddings *= options.embedding_spread
        for layer in model.model.layers:
            turn = torch.linalg.qr(torch.randn(options.width, options.width))[0]
            layer.self_attn.v_proj.weight.copy_(turn)
            layer.self_attn.o_proj.weight.copy_(options.copying * turn.T)


def _read(
    tokenizer: PreTrainedTokenizerFast, documents: Sequence[Document], context: int
) -> list[tuple[list[int], list[int]]]:
    """Return the tokens of each document and what each of them belongs to."""
    texts = [document.text for document in documents]
    read = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
    rows = []
    for document, ids, offsets in zip(documents, read["input_ids"], read["offset_mapping"], strict=True):
        task, answer = len(document.history), len(document.history) + len(document.task)
        parts = [_HISTORY if start < task else _ANSWER if start >= answer else _PROMPT for start, _ in offsets]
        whole = [tokenizer.bos_token_id, *ids, tokenizer.eos_token_id]
        rows.append((whole[:context], [_PROMPT, *parts, _ANSWER][:context]))
    return rows


def _batches(rows: Sequence[tuple[list[int], list[int]]], batch_tokens: int, seed: int) -> Iterator[_Batch]:
    """Yield right-padded batches of rows of like length in a seeded order."""
    order = sorted(range(len(rows)), key=lambda index: len(rows[index][0]))
    groups: list[list[int]] = [[]]
    for index in order:
        if groups[-1] and len(rows[index][0]) * (len(groups[-1]) + 1) > batch_tokens:
            groups.append([])
        groups[-1].append(index)
    for group in np.random.default_rng(seed).permutation(len(groups)):
        width = max(len(rows[index][0]) for index in groups[group])
        ids, parts = zip(*(rows[index] for index in groups[group]), strict=True)
        yield (
            torch.tensor([row + [1] * (width - len(row)) for row in ids]),
            torch.tensor([row + [_PROMPT] * (width - len(row)) for row in parts]),
        )


def _fit(model: LlamaForCausalLM, batches: list[_Batch], options: DemoOptions, progress: Progress) -> float:
    """Take one pass over the batches; return the mean loss of the last tenth on answers, in nats per token."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _schedule(step, len(batches)))
    losses: list[float] = []
    with progress("demo-lm", len(batches)) as step:
        for done, (ids, parts) in enumerate(batches, 1):
            learned = parts[:, 1:] != _PROMPT
            part = parts[:, 1:][learned]
            states = model.model(input_ids=ids).last_hidden_state[:, :-1][learned]
            each = nn.functional.cross_entropy(model.lm_head(states), ids[:, 1:][learned], reduction="none")
            answers = each[part == _ANSWER].sum() / (part == _ANSWER).sum().clamp(min=1)
            histories = each[part == _HISTORY].sum() / (part == _HISTORY).sum().clamp(min=1)
            loss: Tensor = options.answer_weight * answers + histories
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            rate.step()
            losses.append(answers.item())
            step(done, f"loss {losses[-1]:.3f}")
    tail = losses[-max(1, len(losses) // 10) :]
    return sum(tail) / len(tail)


def _schedule(step: int, total: int) -> float:
    warmup = max(1, total // 20)
    return min(1.0, (step + 1) / warmup) * 0.5 * (1.0 + math.cos(math.pi * step / total))

"""Exact log-probabilities of continuations under a causal language model of transformers."""

from collections.abc import Sequence
from inspect import signature
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from llmrs_bench.engines.packing import additive, pack, packs, pad_right
from llmrs_bench.engines.tokens import Ids, Tokenized

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_FLOAT32_ROWS = 256  # rows of (vocabulary,) that are held in float32 at a time


def target_logprobs(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the natural-log probabilities (rows,) of `targets` (rows,) under `logits` (rows, vocabulary).

    Computed in float32 over the full vocabulary.
    """
    parts = []
    for rows, wanted in zip(torch.split(logits, _FLOAT32_ROWS), torch.split(targets, _FLOAT32_ROWS), strict=True):
        scores = rows.float()
        parts.append(scores.gather(1, wanted[:, None])[:, 0] - scores.logsumexp(1))
    return torch.cat(parts)


def score_packed(model: "PreTrainedModel", tokens: Tokenized, *, max_rows: int) -> list[list[float]]:
    """Score each distinct suffix in two forward passes: the prefix, then all suffixes as one packed sequence.

    The prefix runs with the fast causal attention and leaves its keys and values; the suffixes then attend to
    them and each to itself. A prompt of P tokens and N titles of T tokens costs P + N (T - 1) tokens, not
    N (P + T).

    Args:
        model: A causal model whose attention takes a mask of four dimensions.
        tokens: The prompt and its choices.
        max_rows: The most rows packed together; more take another pass over the same cache.

    Returns:
        For each of `tokens.distinct` the log-probabilities of its tokens.
    """
    distinct = tokens.distinct
    prefix = torch.tensor([tokens.prefix], device=model.device)  # (1, P)
    output = _forward(model, keep=1, input_ids=prefix, use_cache=True)
    firsts = torch.tensor([suffix[0] for suffix in distinct], device=model.device)
    first = target_logprobs(output.logits[0].expand(len(distinct), -1), firsts).tolist()
    rest: dict[Ids, list[float]] = {}
    for group in packs(distinct, max_rows):
        packed = pack(group, len(tokens.prefix))
        cache = output.past_key_values
        logits = _forward(
            model,
            keep=len(packed.inputs),
            input_ids=packed.inputs[None].to(model.device),
            position_ids=packed.positions[None].to(model.device),
            attention_mask=additive(packed.mask.to(model.device), model.dtype),
            past_key_values=cache,
            use_cache=True,
        ).logits[0]  # (S, vocabulary)
        cache.crop(-len(packed.inputs))  # back to the prefix
        scored = target_logprobs(logits, packed.targets.to(model.device))
        sizes = [len(suffix) - 1 for suffix in group]
        rest |= dict(zip(group, (part.tolist() for part in torch.split(scored, sizes)), strict=True))
    return [[value, *rest.get(suffix, [])] for suffix, value in zip(distinct, first, strict=True)]


def score_plain(model: "PreTrainedModel", tokens: Tokenized, *, batch_tokens: int) -> list[list[float]]:
    """Score each distinct suffix as a sequence of its own behind the whole prefix, in batches padded on the right.

    Padding comes after all that is scored, so causal attention never sees it and needs no mask; logits are only
    made for the rows that score a suffix. Correct for every causal model; about N (P + T) tokens.
    """
    distinct = tokens.distinct
    width = len(tokens.prefix) + tokens.longest - 1
    size = max(1, batch_tokens // width)
    values: list[list[float]] = []
    for start in range(0, len(distinct), size):
        suffixes = distinct[start : start + size]
        inputs = pad_right([tokens.prefix + suffix[:-1] for suffix in suffixes], 0).to(model.device)
        rows = inputs.shape[1] - len(tokens.prefix) + 1
        logits = _forward(model, keep=rows, input_ids=inputs, use_cache=False).logits  # (N, rows, vocabulary)
        values += gather_rows(logits, suffixes)
    return values


def gather_rows(logits: Tensor, suffixes: Sequence[Ids]) -> list[list[float]]:
    """Return the log-probabilities of each suffix under its row of `logits` (suffixes, longest, vocabulary)."""
    return [
        target_logprobs(rows[: len(suffix)], torch.tensor(suffix, device=rows.device)).tolist()
        for rows, suffix in zip(logits, suffixes, strict=True)
    ]


def sliding_window(model: "PreTrainedModel") -> int | None:
    """Return the number of tokens the model's attention looks back, or None if it sees the whole context."""
    text = model.config.get_text_config()
    window = getattr(text, "sliding_window", None)
    return window if isinstance(window, int) and getattr(text, "use_sliding_window", True) else None


def _forward(model: "PreTrainedModel", *, keep: int, **inputs: Any) -> Any:
    """Run the model; its `logits` are those of the last `keep` positions."""
    if "logits_to_keep" in signature(model.forward).parameters:
        return model(**inputs, logits_to_keep=keep)
    output = model(**inputs)
    output.logits = output.logits[:, -keep:]
    return output

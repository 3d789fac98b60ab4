"""Exact log-probabilities of continuations under a causal language model of transformers."""

from collections.abc import Sequence
from inspect import signature
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import DynamicCache

from llmrs_bench.engines.groups import Group
from llmrs_bench.engines.packing import PackBatch, edge_logprobs, pad_right
from llmrs_bench.engines.tokens import Ids, Tokenized

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def score_groups(model: "PreTrainedModel", groups: Sequence[Group]) -> list[list[list[float]]]:
    """Score the branches of several groups in two forward passes: the prefixes, then what is packed behind each.

    The prefixes are padded at their ends and run with the fast causal attention, which never sees that; they leave
    their keys and values. The packed rows then attend to them and to what is above each in its tree. A prompt of P
    tokens and N titles of T tokens costs at most P + N (T - 1) tokens, not N (P + T).

    Args:
        model: A causal model whose attention takes a mask of four dimensions, and that looks back on all of it.
        groups: Several of one pack each, or one of several packs, which take a pass each over the same cache.

    Returns:
        For each group the log-probabilities of the scored tokens of each branch.
    """
    # A plain cache drops nothing, also where a model looks back on less: what is packed is within that.
    cache = DynamicCache()
    last = _read_prefixes(model, [group.prefix for group in groups], cache)
    lengths = torch.tensor([len(group.prefix) for group in groups], device=model.device)
    width = max(len(group.prefix) for group in groups)
    found: list[list[list[float]]] = [[] for _ in groups]
    for packs in zip(*(group.packs for group in groups), strict=True):
        batch = PackBatch(packs, model.device)
        logits = None
        if batch.rows:
            logits = _forward(
                model,
                keep=batch.kept,
                input_ids=batch.inputs,
                position_ids=batch.depths + lengths[:, None],
                attention_mask=batch.mask(lengths, width, model.dtype),
                use_cache=True,
                **{cache_argument(model): cache},
            )
            cache.crop(-batch.rows)  # back to the prefixes
        for all_values, new in zip(found, batch.read(last, logits), strict=True):
            all_values.extend(new)
    return found


def score_plain(model: "PreTrainedModel", tokens: Tokenized, *, batch_tokens: int) -> list[list[float]]:
    """Score each distinct suffix in a sequence of its own behind the whole prefix, in batches padded on the right.

    Padding comes after all that is scored, so causal attention never sees it and needs no mask; logits are only
    made for the rows that score a suffix. Suffixes that differ in their last token alone are one sequence. Correct
    for every causal model; about N (P + T) tokens.

    Returns:
        For each of `tokens.distinct` the log-probabilities of its tokens.
    """
    inputs = sorted({suffix[:-1] for suffix in tokens.distinct}, key=lambda ids: (len(ids), ids))
    size = max(1, batch_tokens // (len(tokens.prefix) + tokens.longest - 1))
    found: dict[Ids, list[float]] = {}
    for start in range(0, len(inputs), size):
        some = inputs[start : start + size]
        padded = pad_right([tokens.prefix + ids for ids in some], 0).to(model.device)
        rows = padded.shape[1] - len(tokens.prefix) + 1
        logits = _forward(model, keep=rows, input_ids=padded, use_cache=False)  # (sequences, rows, vocabulary)
        found |= read_suffixes(logits, some, tokens.distinct)
    return [found[suffix] for suffix in tokens.distinct]


def read_suffixes(logits: Tensor, inputs: Sequence[Ids], suffixes: Sequence[Ids]) -> dict[Ids, list[float]]:
    """Return the log-probabilities of those suffixes whose tokens but the last are one of `inputs`.

    Args:
        logits: (inputs, rows, vocabulary); row i of each scores the token i of a suffix.
        inputs: The tokens that were read, without the prefix.
        suffixes: What to look for.
    """
    number = {ids: index for index, ids in enumerate(inputs)}
    wanted = [suffix for suffix in suffixes if suffix[:-1] in number]
    starts = [number[suffix[:-1]] * logits.shape[1] for suffix in wanted]
    edges = [
        (start + row, token) for start, suffix in zip(starts, wanted, strict=True) for row, token in enumerate(suffix)
    ]
    values = iter(edge_logprobs(logits, edges))
    return {suffix: [next(values) for _ in suffix] for suffix in wanted}


def sliding_window(model: "PreTrainedModel") -> int | None:
    """Return the number of tokens the model's attention looks back, or None if it sees the whole context."""
    text = model.config.get_text_config()
    window = getattr(text, "sliding_window", None)
    return window if isinstance(window, int) and getattr(text, "use_sliding_window", True) else None


def cache_argument(model: "PreTrainedModel") -> str:
    """Return what the model's forward pass calls the cache: `cache` from transformers 5.20 on, before that another."""
    return "cache" if "cache" in signature(model.forward).parameters else "past_key_values"


def _read_prefixes(model: "PreTrainedModel", prefixes: Sequence[Ids], cache: DynamicCache) -> Tensor:
    """Fill the cache, and return the logits (prefixes, vocabulary) of the last token of each prefix."""
    padded = pad_right(prefixes, 0).to(model.device)
    ends = sorted({len(prefix) - 1 for prefix in prefixes})
    keep = 1 if len(ends) == 1 else torch.tensor(ends, device=model.device)
    logits = _forward(model, keep=keep, input_ids=padded, use_cache=True, **{cache_argument(model): cache})
    picked = torch.tensor([ends.index(len(prefix) - 1) for prefix in prefixes], device=model.device)
    return logits[torch.arange(len(prefixes), device=model.device), picked]


def _forward(model: "PreTrainedModel", *, keep: int | Tensor, **inputs: Any) -> Tensor:
    """Return the logits (batch, rows, vocabulary) of the last `keep` positions, or of those that it lists."""
    if "logits_to_keep" in signature(model.forward).parameters:
        logits: Tensor = model(**inputs, logits_to_keep=keep).logits
        return logits
    logits = model(**inputs).logits
    return logits[:, -keep:] if isinstance(keep, int) else logits[:, keep]

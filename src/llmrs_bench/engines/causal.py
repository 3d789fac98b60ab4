"""Exact log-probabilities of continuations under a causal language model of transformers."""

from collections.abc import Sequence
from inspect import signature
from itertools import accumulate
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import DynamicCache

from llmrs_bench.engines.groups import Group
from llmrs_bench.engines.heads import row_logits
from llmrs_bench.engines.jobs import cut
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
            logits = row_logits(
                model,
                batch.scored,
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


def score_plain(
    model: "PreTrainedModel", tokens: Tokenized, *, batch_tokens: int, one_length: bool = False
) -> list[list[float]]:
    """Score each distinct suffix in a sequence of its own behind the whole prefix, in batches padded on the right.

    Padding comes after all that is scored, so causal attention never sees it and needs no mask; logits are only
    made for the rows that score a suffix. Suffixes that differ in their last token alone are one sequence. Correct
    for every causal model; about N (P + T) tokens.

    Args:
        model: Causal.
        tokens: A prompt and its suffixes.
        batch_tokens: The most tokens of a batch, or of one sequence that takes more.
        one_length: Whether a batch may only hold sequences as long as that of a whole suffix, its last token counted:
            for a model that rotates positions by the length of what it reads.

    Returns:
        For each of `tokens.distinct` the log-probabilities of its tokens.
    """
    inputs = sorted({suffix[:-1] for suffix in tokens.distinct}, key=lambda ids: (len(ids), ids))
    size = max(1, batch_tokens // (len(tokens.prefix) + tokens.longest - 1))
    found: dict[Ids, list[float]] = {}
    for some in cut(inputs, fits=lambda some: len(some) <= size and not (one_length and len(some[0]) < len(some[-1]))):
        padded = pad_right([tokens.prefix + ids + (0,) * one_length for ids in some], 0).to(model.device)
        rows = suffix_rows(some, padded.shape[1], len(tokens.prefix) - 1).to(model.device)
        logits = row_logits(model, rows, input_ids=padded, use_cache=False)
        found |= read_suffixes(logits, some, tokens.distinct)
    return [found[suffix] for suffix in tokens.distinct]


def score_behind(model: "PreTrainedModel", tokens: Tokenized) -> list[list[float]]:
    """Score each distinct suffix alone behind the cache of its prefix, without mask or positions of our own.

    The arithmetic of `score_plain` in other portions: the numbers that rounding makes of it are others.

    Args:
        model: Causal, with a cache of keys and values that sees the whole prompt.
        tokens: A prompt and its suffixes.

    Returns:
        For each of `tokens.distinct` the log-probabilities of its tokens.
    """
    cache = DynamicCache()
    first = _read_prefixes(model, [tokens.prefix], cache)
    found = []
    for suffix in tokens.distinct:
        logits = first
        if len(suffix) > 1:
            inputs = torch.tensor([suffix[:-1]], device=model.device)
            rows = torch.arange(len(suffix) - 1, device=model.device)
            behind = row_logits(model, rows, input_ids=inputs, use_cache=True, **{cache_argument(model): cache})
            cache.crop(1 - len(suffix))
            logits = torch.cat([first, behind])
        found.append(edge_logprobs(logits, list(enumerate(suffix))))
    return found


def suffix_rows(inputs: Sequence[Ids], width: int, first: int) -> Tensor:
    """Return the rows that score suffixes, counted through a batch of (inputs, width).

    Args:
        inputs: The tokens of each suffix but its last.
        width: Of the batch.
        first: Where in a sequence the row is that scores the first token of a suffix.
    """
    starts = [number * width + first for number in range(len(inputs))]
    return torch.tensor([start + row for start, ids in zip(starts, inputs, strict=True) for row in range(len(ids) + 1)])


def read_suffixes(logits: Tensor, inputs: Sequence[Ids], suffixes: Sequence[Ids]) -> dict[Ids, list[float]]:
    """Return the log-probabilities of those suffixes whose tokens but the last are one of `inputs`.

    Args:
        logits: (n, vocabulary) of the n rows of `suffix_rows`.
        inputs: The tokens that were read, without the prefix.
        suffixes: What to look for.
    """
    starts = dict(zip(inputs, accumulate((len(ids) + 1 for ids in inputs), initial=0), strict=False))
    wanted = [suffix for suffix in suffixes if suffix[:-1] in starts]
    edges = [(starts[suffix[:-1]] + row, token) for suffix in wanted for row, token in enumerate(suffix)]
    values = iter(edge_logprobs(logits, edges))
    return {suffix: [next(values) for _ in suffix] for suffix in wanted}


def cache_argument(model: "PreTrainedModel") -> str:
    """Return what the model's forward pass calls the cache: `cache` from transformers 5.20 on, before that another."""
    return "cache" if "cache" in signature(model.forward).parameters else "past_key_values"


def _read_prefixes(model: "PreTrainedModel", prefixes: Sequence[Ids], cache: DynamicCache) -> Tensor:
    """Fill the cache, and return the logits (prefixes, vocabulary) of the last token of each prefix."""
    padded = pad_right(prefixes, 0).to(model.device)
    lasts = [number * padded.shape[1] + len(prefix) - 1 for number, prefix in enumerate(prefixes)]
    rows = torch.tensor(lasts, device=model.device)
    return row_logits(model, rows, input_ids=padded, use_cache=True, **{cache_argument(model): cache})

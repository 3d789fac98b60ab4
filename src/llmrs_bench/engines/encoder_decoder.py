"""Exact log-probabilities of target texts under an encoder-decoder model of transformers, such as Flan-T5."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

from llmrs_bench.engines.causal import read_suffixes, suffix_rows
from llmrs_bench.engines.groups import Group
from llmrs_bench.engines.heads import row_logits
from llmrs_bench.engines.packing import PackBatch, pad_right
from llmrs_bench.engines.tokens import Ids, Tokenized

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def start_token(model: "PreTrainedModel") -> int:
    """Return the token that a decoder's text begins with."""
    return int(model.config.decoder_start_token_id)


def score_chains(model: "PreTrainedModel", groups: Sequence[Group]) -> list[list[list[float]]]:
    """Score the choices of several prompts as one decoder sequence for each prompt, whose encoder runs once.

    Each choice is a chain of neighbouring rows that sees itself alone, so distances between its tokens are right;
    the decoder must know no other positions. One sequence, for the decoder takes keys and values of the prompt
    for each sequence it has.

    Args:
        model: An encoder-decoder model whose decoder knows relative positions only, such as T5.
        groups: Several of one pack each, or one of several packs; made of chains.

    Returns:
        For each group the log-probabilities of the tokens of each choice.
    """
    states, mask = _encode(model, [group.prefix for group in groups])
    nothing = torch.zeros(len(groups), dtype=torch.long, device=model.device)
    found: list[list[list[float]]] = [[] for _ in groups]
    for packs in zip(*(group.packs for group in groups), strict=True):
        batch = PackBatch(packs, model.device)
        logits = row_logits(
            model,
            batch.scored,
            encoder_outputs=BaseModelOutput(last_hidden_state=states),
            attention_mask=mask,
            decoder_input_ids=batch.inputs,
            decoder_attention_mask=batch.mask(nothing, 0, model.dtype),
            use_cache=False,
        )
        for all_values, new in zip(found, batch.read(None, logits), strict=True):
            all_values.extend(new)
    return found


def score_targets(model: "PreTrainedModel", tokens: Tokenized, *, batch_tokens: int) -> list[list[float]]:
    """Score each distinct suffix as a decoder sequence of its own; the encoder reads the prompt once.

    Returns:
        For each of `tokens.distinct` the log-probabilities of its tokens.
    """
    states, mask = _encode(model, [tokens.prefix])
    start, distinct = start_token(model), tokens.distinct
    size = max(1, batch_tokens // (len(tokens.prefix) + tokens.longest))
    found: dict[Ids, list[float]] = {}
    for begin in range(0, len(distinct), size):
        suffixes = distinct[begin : begin + size]
        inputs = [suffix[:-1] for suffix in suffixes]
        padded = pad_right([(start, *ids) for ids in inputs], 0).to(model.device)
        logits = row_logits(
            model,
            suffix_rows(inputs, padded.shape[1], 0).to(model.device),
            encoder_outputs=BaseModelOutput(last_hidden_state=states.expand(len(suffixes), -1, -1)),
            attention_mask=mask.expand(len(suffixes), -1),
            decoder_input_ids=padded,
            use_cache=False,
        )
        found |= read_suffixes(logits, inputs, suffixes)
    return [found[suffix] for suffix in distinct]


def _encode(model: "PreTrainedModel", prompts: Sequence[Ids]) -> tuple[Tensor, Tensor]:
    """Return the encoder's states (B, width, size) of prompts padded at their ends, and the mask (B, width)."""
    inputs = pad_right(prompts, 0).to(model.device)
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=model.device)
    mask = (torch.arange(inputs.shape[1], device=model.device)[None, :] < lengths[:, None]).long()
    states: Tensor = model.get_encoder()(input_ids=inputs, attention_mask=mask, return_dict=True).last_hidden_state
    return states, mask

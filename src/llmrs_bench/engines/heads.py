"""Logits of chosen rows in float32, whatever number format a model computes in."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_CAST_TOGETHER = 16384  # tokens of the vocabulary whose output weights are held in float32 at a time


def row_logits(model: "PreTrainedModel", rows: Tensor, **inputs: Any) -> Tensor:
    """Run a model, and return the logits (n, vocabulary) of n rows of what it reads, in float32.

    A logit in bfloat16 has 8 bits: between 16 and 32 it is a multiple of 1/8. So the last hidden state of each row is
    multiplied with the output weights in float32; all that the model does to logits afterwards (soft-capping, scales)
    is its own code on these numbers. A head that is not a plain linear layer, such as a quantised one or one with
    an adapter, computes as it does; its logits are cast.

    Args:
        model: Causal or encoder-decoder.
        rows: Which rows, counted through the batch of shape (sequences, tokens) that the head gets.
        inputs: Of the model's forward pass.
    """
    head = model.get_output_embeddings()
    if head is None:
        return _picked(model(**inputs).logits, rows)
    with _chosen_rows(head, rows) as hidden:
        logits: Tensor = model(**inputs).logits
    # A model may reach its output weights by another way than a call of its head.
    if len(hidden) == 1 and logits.shape[:-1] == (1, len(rows)):
        return logits[0].float()
    return _picked(logits, rows)


@contextmanager
def _chosen_rows(head: nn.Module, rows: Tensor) -> Iterator[list[Tensor]]:
    """Let a head compute these rows alone, and return logits (1, rows, vocabulary); yield the states it got."""
    own, before = head.forward, vars(head).get("forward")
    plain = head if type(head) is nn.Linear and before is None and head.weight.is_floating_point() else None
    seen: list[Tensor] = []

    def forward(states: Tensor) -> Tensor:
        chosen = states.flatten(0, -2)[rows][None]
        seen.append(chosen)
        if plain is None:
            logits: Tensor = own(chosen)
            return logits
        return _linear(chosen, plain.weight, plain.bias)

    head.forward = forward
    try:
        yield seen
    finally:
        if before is None:
            del head.forward
        else:
            head.forward = before


def _linear(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return states @ weight.T + bias in float32."""
    wide = states.float()
    if weight.dtype == torch.float32:
        return nn.functional.linear(wide, weight, bias)
    parts = [nn.functional.linear(wide, part.float()) for part in torch.split(weight, _CAST_TOGETHER)]
    logits = torch.cat(parts, dim=-1)
    return logits if bias is None else logits.add_(bias.float())


def _picked(logits: Tensor, rows: Tensor) -> Tensor:
    return logits.flatten(0, -2)[rows].float()

"""Training losses of next-item models: (states, item weights, targets) -> mean loss per position."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# states (position, dim), weights (item, dim), targets (position,) as rows of the weights.
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

# Logits held at a time. On a CPU 1 Mi floats stay in the cache, which halves the time of an epoch;
# a GPU wants large matrices.
_CPU_LOGITS, _GPU_LOGITS = 2**20, 2**26


def cross_entropy(states: Tensor, weights: Tensor, targets: Tensor) -> Tensor:
    """Return the mean softmax cross-entropy of the targets over all items, in nats.

    Logits are `states @ weights.T`. Positions are taken in chunks and the gradients are made along with the
    loss, so that the full matrix (position, item) never exists; the loss can be differentiated once.
    """
    loss: Tensor = _ChunkedCrossEntropy.apply(states, weights, targets)  # type: ignore[no-untyped-call]
    return loss


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, weights: Tensor, targets: Tensor) -> Tensor:
        count, items = len(states), len(weights)
        budget = _GPU_LOGITS if states.is_cuda else _CPU_LOGITS
        rows = max(1, min(count, budget // items))
        buffer = states.new_empty(rows, items)
        state_grad, weight_grad = torch.empty_like(states), torch.zeros_like(weights)
        total = states.new_zeros((), dtype=torch.float64)
        for start in range(0, count, rows):
            chunk, wanted = states[start : start + rows], targets[start : start + rows, None]
            logits = torch.mm(chunk, weights.T, out=buffer[: len(chunk)])  # (rows, item)
            total += _softmax_error(logits, wanted)
            torch.mm(logits, weights, out=state_grad[start : start + rows])
            weight_grad.addmm_(logits.T, chunk)
        ctx.save_for_backward(state_grad.div_(count), weight_grad.div_(count))
        return (total / count).to(states.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        state_grad, weight_grad = ctx.saved_tensors
        return state_grad * grad, weight_grad * grad, None


def _softmax_error(logits: Tensor, wanted: Tensor) -> Tensor:
    """Return the summed loss, and turn `logits` into its gradient: softmax minus one at the target."""
    logits -= logits.amax(1, keepdim=True)
    positive = logits.gather(1, wanted)
    norm = logits.exp_().sum(1, keepdim=True)
    logits /= norm
    logits.scatter_add_(1, wanted, torch.full_like(positive, -1.0))
    return (norm.log() - positive).sum(dtype=torch.float64)


LOSSES: dict[str, Loss] = {"ce": cross_entropy}

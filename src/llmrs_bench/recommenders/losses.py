"""Training losses of next-item models: (states, item weights, targets) -> mean loss per position."""

from collections.abc import Callable
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from pydantic import Field, model_validator
from torch import Tensor
from torch.autograd.function import once_differentiable

from llmrs_bench.core.config import Options

# states (position, dim), weights (item, dim), targets (position,) as rows of the weights.
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

# Logits held at a time. On a CPU 1 Mi floats stay in the cache, which halves the time of an epoch;
# a GPU wants large matrices.
_CPU_LOGITS, _GPU_LOGITS = 2**20, 2**26
_CALIBRATION = 0.75
# A softmax over all items already takes more than half of an epoch at 17,000 of them.
_MOST_ITEMS = 30_000
_NEGATIVES = {"bpr": 1, "bce": 1, "gbce": 256, "sampled-softmax": 512}


class LossOptions(Options):
    """What is minimised, over the positions of a step.

    - `auto`: `ce`, and `sampled-softmax` above 30,000 items.
    - `ce`: softmax cross-entropy over all items.
    - `sampled-softmax`: the same over the target and `negatives` uniform items (512), shared by the step.
    - `bce`: binary cross-entropy of the target and `negatives` uniform items (1) of each position
      (Kang and McAuley 2018).
    - `gbce`: the same with `negatives` (256) shared by the step and the target's probability raised to a power that
      undoes the overconfidence of sampling (Petrov and Macdonald 2023); `calibration` is their t (0.75).
    - `bpr`: the log-probability that the target beats each of `negatives` uniform items (1) of its
      position (Rendle et al. 2009).
    """

    loss: Literal["auto", "ce", "bce", "gbce", "sampled-softmax", "bpr"] = "auto"
    negatives: int | None = Field(default=None, ge=1)
    calibration: float | None = Field(default=None, ge=0, le=1)

    @model_validator(mode="after")
    def no_idle_options(self) -> Self:
        """Refuse options that the chosen loss does not read."""
        if self.loss == "auto" and self.negatives is not None:
            raise ValueError("negatives applies only to a loss that samples: add one, such as loss=sampled-softmax")
        if self.loss == "ce" and self.negatives is not None:
            raise ValueError("loss=ce uses all items, so negatives has no effect")
        if self.loss != "gbce" and self.calibration is not None:
            raise ValueError(f"loss={self.loss} does not read calibration, only gbce does")
        return self

    def chosen(self, items: int) -> str:
        """Return the name of the loss over so many items."""
        if self.loss != "auto":
            return self.loss
        return "ce" if items <= _MOST_ITEMS else "sampled-softmax"


def make_loss(options: LossOptions, items: int) -> Loss:
    """Return the loss over so many items that `options` name.

    Negatives are never the target; they come from torch's global generator.
    """
    name = options.chosen(items)
    count = options.negatives or _NEGATIVES.get(name, 0)
    made: dict[str, Loss] = {
        "ce": cross_entropy,
        "bce": lambda states, weights, targets: binary(states, weights, targets, _own(weights, targets, count)),
        "bpr": lambda states, weights, targets: pairwise(states, weights, targets, _own(weights, targets, count)),
        "gbce": lambda states, weights, targets: binary(
            states,
            weights,
            targets,
            _shared(weights, count),
            power=calibrated_power(
                count, len(weights), _CALIBRATION if options.calibration is None else options.calibration
            ),
        ),
        "sampled-softmax": lambda states, weights, targets: sampled_softmax(
            states, weights, targets, _shared(weights, count)
        ),
    }
    return made[name]


def binary(states: Tensor, weights: Tensor, targets: Tensor, negatives: Tensor, power: float = 1.0) -> Tensor:
    """Return binary cross-entropy, summed over a target and its negatives and divided by their number.

    Args:
        states: (position, dim).
        weights: (item, dim).
        targets: (position,).
        negatives: Items, (position, count), or (count,) for all positions alike; one that is the target is left out.
        power: What the target's probability is raised to.
    """
    positive, negative = _logits(states, weights, targets, negatives)
    losses = F.softplus(negative).sum(1) - power * F.logsigmoid(positive)
    return losses.mean() / (1 + negatives.shape[-1])


def pairwise(states: Tensor, weights: Tensor, targets: Tensor, negatives: Tensor) -> Tensor:
    """Return the mean of -log sigmoid(target - negative), arguments as those of `binary`."""
    positive, negative = _logits(states, weights, targets, negatives)
    return -F.logsigmoid(positive[:, None] - negative).mean()


def sampled_softmax(states: Tensor, weights: Tensor, targets: Tensor, negatives: Tensor) -> Tensor:
    """Return softmax cross-entropy over the target and its negatives, arguments as those of `binary`.

    Uniform negatives need no correction for how they were drawn: it would be the same for all.
    """
    positive, negative = _logits(states, weights, targets, negatives)
    return (torch.logaddexp(positive, negative.logsumexp(1)) - positive).mean()


def calibrated_power(negatives: int, items: int, calibration: float) -> float:
    """Return beta of gBCE (Petrov and Macdonald, RecSys 2023, equation 13) for a sampling rate of negatives / items."""
    rate = min(negatives / (items - 1), 1.0)
    return rate * (calibration * (1 - 1 / rate) + 1 / rate)


def _logits(states: Tensor, weights: Tensor, targets: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits of targets (position,) and negatives (position, count), -inf where a negative is the target."""
    positive = (states * F.embedding(targets, weights)).sum(1)
    if negatives.dim() == 1:
        negative = states @ F.embedding(negatives, weights).T
    else:
        negative = torch.einsum("pd,pnd->pn", states, F.embedding(negatives, weights))
    return positive.float(), negative.float().masked_fill(negatives == targets[:, None], -torch.inf)


def _own(weights: Tensor, targets: Tensor, count: int) -> Tensor:
    """Draw `count` items for each target, uniformly among the others: (position, count)."""
    drawn = torch.randint(len(weights) - 1, (len(targets), count), device=weights.device)
    return drawn + (drawn >= targets[:, None])


def _shared(weights: Tensor, count: int) -> Tensor:
    """Draw `count` items uniformly: (count,)."""
    return torch.randint(len(weights), (count,), device=weights.device)


def cross_entropy(states: Tensor, weights: Tensor, targets: Tensor) -> Tensor:
    """Return the mean softmax cross-entropy of the targets over all items, in nats.

    Logits are `states @ weights.T`, in float32 even under autocast, whose precision is that of the two products
    which carry the error back to states and weights. Positions are taken in chunks and the gradients are made along
    with the loss, so that the full matrix (position, item) never exists; the loss can be differentiated once.
    """
    kind = states.device.type
    low = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    with torch.autocast(kind, enabled=False):
        loss: Tensor = _ChunkedCrossEntropy.apply(
            states.float() if states.dtype == torch.bfloat16 else states, weights, targets, low
        )  # type: ignore[no-untyped-call]
    return loss


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, weights: Tensor, targets: Tensor, low: torch.dtype | None) -> Tensor:
        count, items = len(states), len(weights)
        budget = _GPU_LOGITS if states.is_cuda else _CPU_LOGITS
        rows = max(1, min(count, budget // items))
        buffer = states.new_empty(rows, items)
        state_grad, weight_grad = torch.empty_like(states), torch.zeros_like(weights)
        low_states, low_weights = (states, weights) if low is None else (states.to(low), weights.to(low))
        total = states.new_zeros((), dtype=torch.float64)
        for start in range(0, count, rows):
            part = slice(start, start + rows)
            logits = torch.mm(states[part], weights.T, out=buffer[: len(states[part])])  # (rows, item)
            total += _softmax_error(logits, targets[part, None])
            if low is None:
                torch.mm(logits, weights, out=state_grad[part])
                weight_grad.addmm_(logits.T, states[part])
            else:
                error = logits.to(low)
                state_grad[part] = error @ low_weights
                weight_grad += error.T @ low_states[part]
        ctx.save_for_backward(state_grad.div_(count), weight_grad.div_(count))
        return (total / count).to(states.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        state_grad, weight_grad = ctx.saved_tensors
        return state_grad * grad, weight_grad * grad, None, None


def _softmax_error(logits: Tensor, wanted: Tensor) -> Tensor:
    """Return the summed loss, and turn `logits` into its gradient: softmax minus one at the target."""
    positive, highest = logits.gather(1, wanted)[:, 0], logits.amax(1)
    torch.softmax(logits, 1, out=logits)
    losses = highest - logits.amax(1).log() - positive
    logits.scatter_add_(1, wanted, torch.full_like(wanted, -1, dtype=logits.dtype))
    return losses.sum(dtype=torch.float64)

"""The training loop of neural recommenders: seeded, with early stopping, keeping the best weights."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from time import perf_counter

import torch
from pydantic import Field
from torch import Tensor, nn

from llmrs_bench.config import Options
from llmrs_bench.errors import ModelError, OptionError
from llmrs_bench.types import Json, Step


class TrainingOptions(Options):
    """How long and how fast to train; `batch` counts users, `patience` counts epochs without a better validation."""

    lr: float = Field(default=1e-3, gt=0)
    batch: int = Field(default=128, ge=1)
    epochs: int = Field(default=100, ge=1)
    patience: int = Field(default=10, ge=1)


def resolve_device(name: str) -> torch.device:
    """Return the device called `auto`, `cpu` or `cuda`; `auto` takes a GPU if there is one.

    Raises:
        OptionError: If the name is none of these.
        ModelError: If there is no GPU to use.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise OptionError(f"unknown device {name!r}", hint="Known: auto, cpu, cuda.")
    if name == "cuda" and not torch.cuda.is_available():
        raise ModelError("device 'cuda' was asked for, but torch sees no GPU", hint="Use device 'auto' or 'cpu'.")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[torch.Generator]:
    """Seed torch's global generators for initialisation and dropout, and restore them afterwards.

    Yields a CPU generator of its own for the order of the data.
    """
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if on_gpu else []):
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            torch.cuda.manual_seed(seed)
        yield torch.Generator().manual_seed(seed)


def train(
    net: nn.Module,
    losses: Callable[[], Iterator[Tensor]],
    validate: Callable[[], float],
    options: TrainingOptions,
    progress: AbstractContextManager[Step],
) -> dict[str, Json]:
    """Train `net` in place with Adam, and leave it with the weights of the epoch that validated best.

    Args:
        net: The network; in training mode while `losses` runs, in evaluation mode while `validate` does.
        losses: Starts an epoch and yields the loss of each step, to be differentiated before the next.
        validate: Returns NDCG@10 on the validation events, higher is better.
        options: Steps are `options.batch` users each only if `losses` makes them so.
        progress: The display to open for `options.epochs` units, told of each epoch's loss and validation.

    Raises:
        ModelError: If a loss is not finite.
    """
    optimizer = torch.optim.Adam(net.parameters(), lr=options.lr)
    curve: list[float] = []
    best: dict[str, Tensor] = {}
    best_epoch, seconds = 0, 0.0
    with progress as step:
        for epoch in range(1, options.epochs + 1):
            start = perf_counter()
            net.train()
            loss = _run_epoch(optimizer, losses())
            seconds += perf_counter() - start
            net.eval()
            with torch.inference_mode():
                curve.append(validate())
            if not best or curve[-1] > curve[best_epoch - 1]:
                best_epoch, best = epoch, {name: value.clone() for name, value in net.state_dict().items()}
            step(epoch, f"loss {loss:.3f} ndcg@10 {curve[-1]:.4f}")
            if epoch - best_epoch >= options.patience:
                break
    net.load_state_dict(best)
    return {
        "epochs": len(curve),
        "best_epoch": best_epoch,
        "valid_ndcg@10": curve[best_epoch - 1],
        "valid_curve": list[Json](curve),
        "seconds_per_epoch": seconds / len(curve),
        "parameters": sum(weight.numel() for weight in net.parameters()),
        "device": next(net.parameters()).device.type,
    }


def _run_epoch(optimizer: torch.optim.Optimizer, losses: Iterator[Tensor]) -> float:
    """Take one optimizer step per loss and return the mean loss."""
    total, steps = 0.0, 0
    for loss in losses:
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total, steps = total + loss.item(), steps + 1
        if not math.isfinite(total):
            raise ModelError(f"the training diverged: loss {loss.item()} at step {steps}", hint="Lower the option lr.")
    return total / max(steps, 1)

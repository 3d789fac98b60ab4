"""The training loop of neural recommenders: seeded, with early stopping, keeping the best weights, resumable."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from llmrs_bench.config import Options
from llmrs_bench.errors import ModelError, OptionError
from llmrs_bench.recommenders.resume import Resume
from llmrs_bench.types import Json, Step


class TrainingOptions(Options):
    """How long and how fast to train.

    `batch` counts users (events for models without sequences), `patience` counts epochs without a better validation.
    `precision` is that of the network's matrix products, `auto` is bf16 on a GPU and fp32 on a CPU.
    """

    lr: float = Field(default=1e-3, gt=0)
    batch: int = Field(default=128, ge=1)
    epochs: int = Field(default=100, ge=1)
    patience: int = Field(default=10, ge=1)
    precision: Literal["auto", "fp32", "bf16"] = "auto"


@dataclass
class State:
    """Where a training stands: validations so far, the best weights, seconds spent on steps."""

    curve: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    best_epoch: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0


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
    """Seed torch's global generators for initialisation, dropout and negatives, and restore them afterwards.

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
    validate: Callable[[], float] | None,
    options: TrainingOptions,
    progress: AbstractContextManager[Step],
    resume: Resume,
) -> dict[str, Json]:
    """Train `net` in place with Adam, and leave it with the weights of the epoch that validated best.

    Args:
        net: The network; in training mode while `losses` runs, in evaluation mode while `validate` does.
        losses: Starts an epoch and yields the loss of each step, to be differentiated before the next.
        validate: Returns NDCG@10 on the validation events, higher is better; None trains all epochs.
        options: Steps are `options.batch` users each only if `losses` makes them so.
        progress: The display to open for `options.epochs` units, told of each epoch's loss and validation.
        resume: Keeps the training after each epoch, and holds an earlier one that was interrupted.

    Raises:
        ModelError: If a loss is not finite, or what was kept belongs to another training.
    """
    device = next(net.parameters()).device
    low = options.precision == "bf16" or (options.precision == "auto" and device.type == "cuda")
    optimizer = torch.optim.Adam(net.parameters(), lr=options.lr)
    state = State()
    resumed = resume.load(net, optimizer, state)
    with progress as step:
        while len(state.losses) < options.epochs and len(state.losses) - state.best_epoch < _limit(options, validate):
            start = perf_counter()
            net.train()
            loss = _run_epoch(optimizer, losses(), torch.autocast(device.type, torch.bfloat16, enabled=low))
            state.losses.append(loss)
            state.seconds += perf_counter() - start
            note = f"loss {loss:.3f}"
            if validate is not None:
                note += f" ndcg@10 {_validated(net, validate, state):.4f}"
            resume.save(net, optimizer, state)
            step(len(state.losses), note)
    if validate is not None:
        net.load_state_dict(state.best)
    return {
        "epochs": len(state.losses),
        **({"resumed_after": resumed} if resumed else {}),
        **({"best_epoch": state.best_epoch, "valid_ndcg@10": max(state.curve)} if validate is not None else {}),
        "valid_curve": list[Json](state.curve),
        "seconds_per_epoch": state.seconds / len(state.losses),
        "parameters": sum(weight.numel() for weight in net.parameters()),
        "device": device.type,
        "precision": "bf16" if low else "fp32",
    }


def _limit(options: TrainingOptions, validate: Callable[[], float] | None) -> int:
    """Return how many epochs may pass after the best one."""
    return options.epochs if validate is None else options.patience


def _validated(net: nn.Module, validate: Callable[[], float], state: State) -> float:
    """Validate, keep the weights if they are the best so far, and return the value."""
    net.eval()
    with torch.inference_mode():
        value = validate()
    state.curve.append(value)
    if not state.best or value > state.curve[state.best_epoch - 1]:
        state.best_epoch = len(state.curve)
        state.best = {name: weight.clone() for name, weight in net.state_dict().items()}
    return value


def _run_epoch(
    optimizer: torch.optim.Optimizer, losses: Iterator[Tensor], autocast: AbstractContextManager[None]
) -> float:
    """Take one optimizer step per loss and return the mean loss."""
    total, steps = 0.0, 0
    while True:
        with autocast:
            loss = next(losses, None)
        if loss is None:
            return total / max(steps, 1)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total, steps = total + loss.item(), steps + 1
        if not math.isfinite(total):
            raise ModelError(f"the training diverged: loss {loss.item()} at step {steps}", hint="Lower the option lr.")

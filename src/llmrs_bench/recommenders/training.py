"""Training by epochs: validation, early stopping, and resuming after a kill."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from time import perf_counter
from typing import ClassVar, Literal, Self

import numpy as np
import polars as pl
import torch
from pydantic import Field
from torch import Tensor, nn

from llmrs_bench.core.config import Options
from llmrs_bench.core.errors import ModelError
from llmrs_bench.core.training_checkpoint import Resume
from llmrs_bench.core.types import Json, Step
from llmrs_bench.recommenders.base import score_blocks
from llmrs_bench.recommenders.sequences import PADDING, Histories, Ints, Vocabulary, user_histories


def as_validated(interactions: pl.DataFrame) -> pl.DataFrame:
    """Return the events of users who say when to stop, in the parts that they have then.

    These are the users of the part `valid` with training events. Where users are held out, and none has both, each has
    his last event in the part `valid`, and those before it in the part `train`: nobody learns from them.
    """
    train, valid = (interactions.filter(pl.col("part") == part) for part in ("train", "valid"))
    if valid.join(train, on="user_id", how="semi").height:
        return interactions
    last = pl.int_range(pl.len()).over("user_id") == pl.len().over("user_id") - 1
    return valid.with_columns(part=pl.when(last).then(pl.lit("valid")).otherwise(pl.lit("train")))


@dataclass(frozen=True, slots=True)
class Holdout:
    """Training histories of users and the validation event of each; a target of 0 is an item never trained on."""

    histories: Histories
    targets: Ints

    @classmethod
    def of(cls, interactions: pl.DataFrame, users: Vocabulary, items: Vocabulary) -> Self:
        """Return the first validation event of every user who has training events as well, as `as_validated` has them.

        Raises:
            ModelError: If no user has two events of which one is for validation.
        """
        events = as_validated(interactions)
        train, valid = (events.filter(pl.col("part") == part) for part in ("train", "valid"))
        first = valid.unique("user_id", keep="first", maintain_order=True)
        names, histories = user_histories(train, users, items)
        rows = names.to_frame().with_row_index("row").join(first, on="user_id", maintain_order="left")
        if rows.is_empty():
            raise ModelError(
                "no user has both training and validation events, so nothing says when to stop training",
                hint="Users need at least three events: lower the filters, or take a larger data set.",
            )
        return cls(histories.take(rows["row"].to_numpy().astype(np.int64)), items.encode(rows["item_id"]))

    def ndcg(self, logits: Callable[[Histories], Tensor], k: int = 10) -> float:
        """Return the mean NDCG@k over users with one relevant item each: 1 / log2(1 + rank), 0 below rank k.

        Ties count against the target. Items of the history are not ranked; a target among them, or one
        never trained on, counts 0.

        Args:
            logits: Returns a new tensor (history, item) of scores on any device.
            k: Depth of the list.
        """
        # Long histories together: less padding.
        order = np.argsort(self.histories.items.lengths, kind="stable")
        total = 0.0
        for rows in score_blocks(len(order)):
            part = self.histories.take(order[rows])
            ranks = _target_ranks(logits(part), part, self.targets[order[rows]])
            known = torch.from_numpy(self.targets[order[rows]] != PADDING) & (ranks <= k)
            total += (known / torch.log2(1 + ranks.double())).sum().item()
        return total / len(order)


def _target_ranks(logits: Tensor, histories: Histories, targets: Ints) -> Tensor:
    """Return the rank of each target (user,) from 1, with unseen items only; overwrites `logits`."""
    users, seen = (torch.from_numpy(column).to(logits.device) for column in histories.items.flat())
    logits[users, seen - 1] = -torch.inf
    wanted = torch.from_numpy(np.maximum(targets - 1, 0)).to(logits.device)
    own = logits.gather(1, wanted[:, None])
    # "Not lower" instead of "higher", so that equal scores, and nan, are never an advantage.
    return (~(logits < own)).sum(1).cpu()


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
    """Where a training stands: validations so far, the best weights, seconds spent on steps, and in all."""

    kept: ClassVar[tuple[str, ...]] = ("curve", "losses", "best_epoch", "seconds", "elapsed")

    curve: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    best_epoch: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0
    elapsed: float = 0.0


def train(
    net: nn.Module,
    losses: Callable[[], Iterator[Tensor]],
    validate: Callable[[], float] | None,
    options: TrainingOptions,
    progress: AbstractContextManager[Step],
    resume: Resume,
    metric: str = "ndcg@10",
) -> dict[str, Json]:
    """Train `net` in place with Adam, and leave it with the weights of the epoch that validated best.

    Args:
        net: The network; in training mode while `losses` runs, in evaluation mode while `validate` does.
        losses: Starts an epoch and yields the loss of each step, to be differentiated before the next.
        validate: Returns `metric` on the validation events, higher is better; None trains all epochs.
        options: Steps are `options.batch` users each only if `losses` makes them so.
        progress: The display to open for `options.epochs` units, which shows each epoch's loss and validation.
        resume: Keeps the training after each epoch, and holds an earlier one that was interrupted.
        metric: What `validate` returns, for progress and facts.

    Raises:
        ModelError: If a loss is not finite, or what was kept belongs to another training.
    """
    device = next(net.parameters()).device
    low = options.precision == "bf16" or (options.precision == "auto" and device.type == "cuda")
    optimizer = torch.optim.Adam(net.parameters(), lr=options.lr)
    state = State()
    resumed = resume.load(net, optimizer, state)
    before, begun = state.elapsed, perf_counter()
    with progress as step:
        while len(state.losses) < options.epochs and len(state.losses) - state.best_epoch < _limit(options, validate):
            start = perf_counter()
            net.train()
            loss = _run_epoch(optimizer, losses(), torch.autocast(device.type, torch.bfloat16, enabled=low))
            state.losses.append(loss)
            state.seconds += perf_counter() - start
            note = f"loss {loss:.3f}"
            if validate is not None:
                note += f" {metric} {_validated(net, validate, state):.4f}"
            state.elapsed = before + perf_counter() - begun
            resume.save(net, optimizer, state)
            step(len(state.losses), note)
    if validate is not None:
        net.load_state_dict(state.best)
    return {
        "epochs": len(state.losses),
        **({"resumed_after": resumed, "seconds_before": before} if resumed else {}),
        **({"best_epoch": state.best_epoch, f"valid_{metric}": max(state.curve)} if validate is not None else {}),
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

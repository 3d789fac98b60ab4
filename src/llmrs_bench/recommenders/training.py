"""Training by epochs: validation, early stopping, and resuming after a kill."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import ClassVar, Literal, Self

import numpy as np
import polars as pl
import torch
from pydantic import Field
from torch import Tensor, nn

from llmrs_bench.core.config import Options
from llmrs_bench.core.errors import ModelError, TooLittleError
from llmrs_bench.core.training_checkpoint import Resume
from llmrs_bench.core.types import Json, Step
from llmrs_bench.recommenders.base import score_blocks
from llmrs_bench.recommenders.sequences import PADDING, Histories, Ints, Vocabulary, user_histories

# A slow training still rises where so many rare validations in a row are by chance no better.
_FEWEST_VALIDATIONS = 4
# What validation may take of a training.
_SHARE = 0.15
# With a standard deviation of NDCG@10 over users of at most 0.5, so many give its mean to a standard error of 0.005.
# The epochs of a training are compared on the same users, so their differences are known better still.
_ENOUGH_USERS = 10_000
# Below this, noise would choose the epoch: then validation takes longer.
_FEWEST_USERS = 1_000


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
    """Training histories of users and the validation event of each; a target of 0 is an item never trained on.

    `items` is the number of known items.
    """

    histories: Histories
    targets: Ints
    items: int

    @classmethod
    def of(cls, interactions: pl.DataFrame, users: Vocabulary, items: Vocabulary) -> Self:
        """Return the first validation event of every user who has training events as well, as `as_validated` has them.

        Raises:
            TooLittleError: If no user has two events of which one is for validation.
        """
        events = as_validated(interactions)
        train, valid = (events.filter(pl.col("part") == part) for part in ("train", "valid"))
        first = valid.unique("user_id", keep="first", maintain_order=True)
        names, histories = user_histories(train, users, items)
        rows = names.to_frame().with_row_index("row").join(first, on="user_id", maintain_order="left")
        if rows.is_empty():
            raise TooLittleError(
                "no user has both training and validation events, so it is unknown when to stop training",
                hint="Users need at least three events: relax the filters, or use a larger data set.",
            )
        found = histories.take(rows["row"].to_numpy().astype(np.int64))
        return cls(found, items.encode(rows["item_id"]), len(items))

    def __len__(self) -> int:
        return len(self.targets)

    def sample(self, count: int, seed: int) -> Self:
        """Return `count` of the users at random; the same seed draws the same ones."""
        rows = np.sort(np.random.default_rng(seed).permutation(len(self))[:count])
        return type(self)(self.histories.take(rows), self.targets[rows], self.items)

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
        for rows in score_blocks(len(order), self.items):
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
    # "Not lower" instead of "higher", so that equal scores, and nan, are never an advantage. Ones in place of the
    # logits are summed ten times as fast as booleans, and exactly: float32 holds every count up to 2**24.
    lower = logits.lt_(own).sum(1, dtype=torch.float32)
    return (logits.shape[1] - lower.long()).cpu()


@dataclass(frozen=True, slots=True)
class ValidationPlan:
    """Validate on `users` of `of_users` users drawn at random, after every `every` epochs.

    A plan follows from the sizes of the data alone, never from a clock: a training is the same on every machine.
    """

    users: int
    of_users: int
    every: int

    @classmethod
    def of(cls, of_users: int, user_cost: float, epoch_cost: float, patience: int) -> Self:
        """Return the plan that validates on as many users and as often as 15 % of the time of a training allow.

        First users are left out, down to 10,000. Then epochs are, up to half of `patience` from one validation to the
        next. Then more users are, down to 1,000. At the same cost, many users after every few epochs choose better
        than few users after every epoch.

        Args:
            of_users: Users with a validation event.
            user_cost: Of validating on one of them, in scores of one item.
            epoch_cost: Of training for an epoch, in the same unit.
            patience: Epochs without a better validation that end a training.
        """
        allowed = epoch_cost * _SHARE / (1 - _SHARE)
        affordable = int(allowed / user_cost)
        if affordable >= min(of_users, _ENOUGH_USERS):
            return cls(min(of_users, affordable), of_users, 1)
        wanted = min(of_users, _ENOUGH_USERS)
        every = min(math.ceil(wanted * user_cost / allowed), max(patience // 2, 1))
        return cls(min(wanted, max(int(allowed * every / user_cost), _FEWEST_USERS)), of_users, every)

    def facts(self) -> dict[str, Json]:
        """Return the plan for the manifest."""
        return {"users": self.users, "of_users": self.of_users, "every_epochs": self.every}


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
    every: int = 1,
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
        every: Epochs from one validation to the next; the last epoch that `options` allow is always validated. Above
            one, at least four validations in a row are no better before the training ends.

    Raises:
        ModelError: If a loss is not finite, or what was kept belongs to another training.
    """
    device = next(net.parameters()).device
    low = options.precision == "bf16" or (options.precision == "auto" and device.type == "cuda")
    optimizer = torch.optim.Adam(net.parameters(), lr=options.lr)
    state = State()
    resumed = resume.load(net, optimizer, state)
    before, begun = state.elapsed, perf_counter()
    limit = _limit(options, validate, every)
    with progress as step:
        while len(state.losses) < options.epochs and len(state.losses) - state.best_epoch < limit:
            start = perf_counter()
            net.train()
            loss = _run_epoch(optimizer, losses(), torch.autocast(device.type, torch.bfloat16, enabled=low))
            state.losses.append(loss)
            state.seconds += perf_counter() - start
            note = f"loss {loss:.3f}"
            if validate is not None and (len(state.losses) % every == 0 or len(state.losses) == options.epochs):
                note += f" {metric} {_validated(net, validate, state, every):.4f}"
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


def _limit(options: TrainingOptions, validate: Callable[[], float] | None, every: int) -> int:
    """Return how many epochs may pass after the best one."""
    if validate is None:
        return options.epochs
    return options.patience if every == 1 else max(options.patience, _FEWEST_VALIDATIONS * every)


def _validated(net: nn.Module, validate: Callable[[], float], state: State, every: int) -> float:
    """Validate, keep the weights if they are the best so far, and return the value."""
    net.eval()
    with torch.inference_mode():
        value = validate()
    state.curve.append(value)
    if not state.best or value > state.curve[math.ceil(state.best_epoch / every) - 1]:
        state.best_epoch = len(state.losses)
        state.best = {name: weight.clone() for name, weight in net.state_dict().items()}
    return value


@contextmanager
def with_threads(threads: int | None) -> Iterator[None]:
    """Let PyTorch have so many threads on a CPU; None: as many as it has."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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

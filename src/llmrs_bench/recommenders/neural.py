"""What the networks share: weights, scores, and the next item as training target."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from llmrs_bench.core import config
from llmrs_bench.core.device import pick_device
from llmrs_bench.core.errors import ModelError, OptionError, TooLittleError
from llmrs_bench.core.hashing import fingerprint
from llmrs_bench.core.training_checkpoint import Resume, seeded
from llmrs_bench.core.types import Json
from llmrs_bench.recommenders.base import Corpus, FitOptions, ScoreBlock, TrainContext, fitted_events, score_blocks
from llmrs_bench.recommenders.losses import Loss, LossOptions
from llmrs_bench.recommenders.model_store import damaged, read_checkpoint, write_checkpoint
from llmrs_bench.recommenders.sequences import PADDING, Histories, Sequences, Vocabulary, user_histories
from llmrs_bench.recommenders.training import Holdout, TrainingOptions, ValidationPlan, train, with_threads

# The score of an item that was not in training: below every trained item, finite, the same everywhere.
UNKNOWN_SCORE = -1e9
# Histories in one forward pass at scoring, sorted by length first, against padding.
_GROUP = 32

# Phases of a training, as progress calls them; checkpoints have the names of the phases.
_SAID = {"tuning": "validated training", "fitting": "training on all events"}


class NeuralOptions(TrainingOptions, FitOptions):
    """Every network is tuned on the part train: the part valid says after how many epochs to stop.

    With `fit_on` train+valid it is then trained again on both parts for as many epochs. `dim` is the width of
    embeddings.
    """

    dim: int = Field(default=64, ge=1)


class SequenceOptions(NeuralOptions):
    """`max_history` is the number of newest items of a user that training and scoring look at."""

    max_history: int = Field(default=200, ge=1)


class Net(nn.Module, ABC):
    """A network whose logits are states times item weights."""

    @abstractmethod
    def item_weights(self) -> Tensor:
        """Return the output weights (item, dim): row i belongs to the integer i + 1."""


@dataclass(frozen=True)
class _Fit:
    """Vocabularies, log shares of training events (item,), and the network trained on them."""

    users: Vocabulary
    items: Vocabulary
    shares: Tensor
    net: Net


class NeuralRecommender(ABC):
    """Scores an item by the dot product of its weights with a state of the user.

    At scoring the history is all the request holds, cut to its newest `history_size` known items. An item that was
    not in training scores `UNKNOWN_SCORE`; for a request the model knows nothing about (`knows`), an item scores
    the log of its share of training events.
    """

    name: ClassVar[str]
    Options: ClassVar[type[config.Options]]
    learns: ClassVar[bool] = True
    # Whether users have weights of their own: their ids are then part of the model.
    learns_users: ClassVar[bool] = False
    fallback: ClassVar[str] = "by popularity"
    # What training on an event costs, but for a softmax over all items, and what a state costs for each event of its
    # history: both in scores of one item (measured at the default options on a CPU).
    event_cost: ClassVar[int] = 5000
    state_cost: ClassVar[int] = 750
    # Of a step of training on a CPU; None: as many as PyTorch has.
    step_threads: ClassVar[int | None] = None

    def __init__(self, options: Any, *, seed: int, device: str) -> None:
        self.options = options
        self.seed = seed
        self.device = pick_device(device)
        self._fit: _Fit | None = None

    @property
    def history_size(self) -> int:
        """How many of a user's newest items a state looks at."""
        return int(self.options.max_history)

    @abstractmethod
    def build(self, users: int, items: int) -> Net:
        """Return an untrained network for so many known users and items."""

    def examples(self, histories: Histories, items: int) -> Any:
        """Return what `losses` goes through in every epoch, made from training histories over so many known items."""
        return histories

    @abstractmethod
    def losses(self, net: Any, examples: Any, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield the loss of each step of one epoch over `examples`, in the order that `generator` draws."""

    @abstractmethod
    def states(self, net: Any, histories: Histories) -> Tensor:
        """Return the state from which the next item is scored: (history, dim); any value for unknown ones."""

    def knows(self, histories: Histories) -> NDArray[np.bool_]:
        """Return for each of `histories` whether its state means anything."""
        return histories.items.lengths > 0

    def fit(self, corpus: Corpus, work: TrainContext) -> dict[str, Json]:
        """Train on the table `interactions`, and return epochs, validation, seconds, parameters and device.

        On a CPU the same seed gives the same weights for one number of threads, interrupted or not.

        Raises:
            ModelError: If fewer than two items, no sequence of two, or no validation event is there, the
                training diverges, or an interrupted one was of something else.
        """
        interactions = corpus.interactions
        events = interactions.filter(pl.col("part") == "train")
        facts, self._fit = self._train(events, interactions, self.options, work, "tuning")
        if self.options.fit_on == "train+valid":
            options = self.options.model_copy(update={"epochs": facts["best_epoch"]})
            again, self._fit = self._train(fitted_events(interactions, options), None, options, work, "fitting")
            before = facts.get("seconds_before", 0.0) + again.get("seconds_before", 0.0)
            facts = {
                **again,
                **{key: facts[key] for key in ("best_epoch", "valid_ndcg@10", "valid_curve", "validation")},
            }
            facts |= {"seconds_before": before} if before else {}
        return facts

    def _train(
        self, events: pl.DataFrame, validation: pl.DataFrame | None, options: Any, work: TrainContext, phase: str
    ) -> tuple[dict[str, Any], _Fit]:
        """Train a new network on `events`; `validation` holds the events that say when to stop, None: never early."""
        items, users = Vocabulary.of(events["item_id"]), Vocabulary.of(events["user_id"])
        histories = self._histories(events, users, items)
        examples = self.examples(histories, len(items))
        holdout = None if validation is None else Holdout.of(validation, users, items)
        plan = None if holdout is None else self._plan(holdout, histories, options)
        if holdout is not None and plan is not None and plan.users < len(holdout):
            holdout = holdout.sample(plan.users, self.seed)
        told = options.model_dump(mode="json")
        if plan is not None and plan.every > 1:
            told["validated_every"] = plan.every
        identity = _identity(self.name, told, self.seed, items, users, histories, holdout)
        path = work.checkpoint and work.checkpoint.with_name(f"{work.checkpoint.name}.{phase}")
        all_threads = torch.get_num_threads()
        with seeded(self.seed, self.device) as generator, with_threads(self.step_threads):
            net = self.build(len(users), len(items)).to(self.device)

            def validate(held: Holdout) -> float:
                with with_threads(all_threads):
                    return held.ndcg(lambda asked: self._logits(net, asked))

            facts = train(
                net,
                lambda: self.losses(net, examples, generator),
                None if holdout is None else lambda: validate(holdout),
                options,
                work.progress(f"{self.name}, {_SAID[phase]}", options.epochs),
                Resume(path, identity, generator),
                every=1 if plan is None else plan.every,
            )
        counts = np.bincount(items.encode(events["item_id"]) - 1, minlength=len(items))
        made = _Fit(users, items, torch.from_numpy(np.log(counts / counts.sum())), net)
        facts |= {} if plan is None else {"validation": plan.facts()}
        loss = _loss(options, len(items))
        facts |= {} if loss is None else {"loss": loss}
        return {**facts, "items": len(items), "sequences": len(histories)}, made

    def _plan(self, holdout: Holdout, histories: Histories, options: Any) -> ValidationPlan:
        softmax = holdout.items if _loss(options, holdout.items) == "ce" else 0
        epoch_cost = float(histories.items.lengths.sum()) * (self.event_cost + softmax)
        length = float(holdout.histories.last(self.history_size).items.lengths.mean())
        user_cost = holdout.items + length * self.state_cost
        return ValidationPlan.of(len(holdout), user_cost, epoch_cost, options.patience)

    def _histories(self, events: pl.DataFrame, users: Vocabulary, items: Vocabulary) -> Histories:
        if len(items) < 2:
            raise TooLittleError(
                f"{self.name} needs at least two items to choose from, the training part has {len(items)}",
                hint="Relax the filters of the data set, or use a larger one.",
            )
        histories = user_histories(events, users, items)[1]
        if self.learns_users:
            return histories
        # One more than the network sees: the newest is a target only.
        histories = histories.last(self.history_size + 1)
        histories = histories.take(np.flatnonzero(histories.items.lengths > 1))
        if not len(histories):
            raise TooLittleError(
                "no user has two training events", hint="Prepare a data set with more events per user."
            )
        return histories

    def _logits(self, net: Net, histories: Histories) -> Tensor:
        return self.states(net, histories.last(self.history_size)) @ net.item_weights().T

    def score(self, requests: pl.DataFrame, items: pl.Series) -> Iterator[ScoreBlock]:
        """Yield scores of all `items`, requests sorted by the length of their histories.

        Computed in float64 and rounded to float32, so that the noise of another batch is rounded away.

        Raises:
            ModelError: If the model is not trained.
        """
        fit = self._trained()
        net = deepcopy(fit.net).double().eval()
        codes = torch.from_numpy(fit.items.encode(items))
        known = (codes - 1).clamp(min=0)
        with torch.inference_mode():
            weights, shares = net.item_weights()[known.to(self.device)], fit.shares[known].float()
        histories = self._asked(requests)
        order = np.argsort(histories.items.lengths, kind="stable")
        for block in score_blocks(len(order), len(items)):
            rows = order[block]
            asked = histories.take(rows)
            with torch.inference_mode():
                groups = [
                    self.states(net, asked.take(np.arange(first, min(first + _GROUP, len(asked)))))
                    for first in range(0, len(asked), _GROUP)
                ]
                scores = (torch.cat(groups) @ weights.T).cpu().float()
                scores[torch.from_numpy(~self.knows(asked))] = shares
                scores[:, codes == PADDING] = UNKNOWN_SCORE
            yield ScoreBlock(rows, scores.numpy())

    def unknown(self, requests: pl.DataFrame) -> int:
        """Return how many rows of `requests` are scored by popularity.

        Raises:
            ModelError: If the model is not trained.
        """
        return int((~self.knows(self._asked(requests))).sum())

    def _asked(self, requests: pl.DataFrame) -> Histories:
        fit = self._trained()
        histories = Histories(fit.users.encode(requests["user_id"]), Sequences.of(requests["history"], fit.items))
        return histories.last(self.history_size)

    def save(self, folder: Path) -> None:
        """Write weights, options, seed and vocabularies into the existing `folder`.

        Raises:
            ModelError: If the model is not trained.
        """
        fit = self._trained()
        facts: dict[str, Json] = {
            "options": self.options.model_dump(mode="json"),
            "seed": self.seed,
            "users": list(fit.users.ids) if self.learns_users else [],
            "items": list(fit.items.ids),
        }
        write_checkpoint(folder, self.name, facts, {**fit.net.state_dict(), "shares": fit.shares})

    @classmethod
    def load(cls, folder: Path, *, device: str) -> Self:
        """Return the model that `save` wrote; its scores are the same.

        Raises:
            ModelError: If the folder is damaged, incomplete or another recommender's.
        """
        facts, weights = read_checkpoint(folder, cls.name)
        place = pick_device(device).type
        try:
            model = cls(cls.Options.parse(facts["options"], owner=cls.name), seed=int(facts["seed"]), device=place)
            users, items = Vocabulary(tuple(facts["users"])), Vocabulary(tuple(facts["items"]))
            shares = weights.pop("shares")
            net = model.build(len(users), len(items)).to(model.device)
            net.load_state_dict(weights)
        except (KeyError, TypeError, ValueError, RuntimeError, OptionError) as error:
            raise damaged(folder, cls.name, str(error)) from error
        model._fit = _Fit(users, items, shares, net)
        return model

    def _trained(self) -> _Fit:
        if self._fit is None:
            raise ModelError(f"{self.name} is not trained yet", hint="Call fit, or load a trained model.")
        return self._fit


def _loss(options: Any, items: int) -> str | None:
    """Return the name of the loss that `options` choose over so many items, None where there is no choice."""
    return options.chosen(items) if isinstance(options, LossOptions) else None


def _identity(
    name: str,
    options: dict[str, Any],
    seed: int,
    items: Vocabulary,
    users: Vocabulary,
    histories: Histories,
    holdout: Holdout | None,
) -> str:
    """Return what a training must share with an interrupted one to go on from it."""
    digest = sha256()
    validation = () if holdout is None else (*holdout.histories.items.flat(), holdout.targets)
    for column in (*histories.items.flat(), *validation):
        digest.update(np.ascontiguousarray(column).tobytes())
    told = {"name": name, "options": options, "seed": seed, "items": list(items.ids), "users": list(users.ids)}
    return fingerprint({**told, "events": digest.hexdigest()})


# Sequences in one forward pass. Those of a training step are sorted by length first, against padding.
GROUP = 32


def epoch_batches(sequences: Sequences, size: int, generator: torch.Generator) -> Iterator[list[Tensor]]:
    """Yield steps of `size` sequences in random order, each as padded groups (sequence, time) of like length."""
    order = torch.randperm(len(sequences), generator=generator).numpy()
    for start in range(0, len(order), size):
        batch = sequences.take(order[start : start + size])
        batch = batch.take(np.argsort(batch.lengths, kind="stable"))
        yield [
            batch.take(np.arange(first, min(first + GROUP, len(batch)))).padded()
            for first in range(0, len(batch), GROUP)
        ]


def next_item_losses(
    net: Net, sequences: Sequences, size: int, loss: Loss, generator: torch.Generator
) -> Iterator[Tensor]:
    """Yield the loss of each step of one epoch: every item but the first is a target.

    Args:
        net: Maps items (sequence, time) to states (sequence, time, dim), each of what comes up to it.
        sequences: Each one item longer than the network is to see.
        size: Sequences in a step.
        loss: Of all positions of a step.
        generator: Draws the order of sequences.
    """
    device = net.item_weights().device
    for groups in epoch_batches(sequences, size, generator):
        states, targets = [], []
        for group in groups:
            items = group.to(device)
            real = items[:, 1:] != PADDING  # (sequence, time)
            states.append(net(items[:, :-1])[real])
            targets.append(items[:, 1:][real] - 1)
        yield loss(torch.cat(states), net.item_weights(), torch.cat(targets))


def newest_states(net: Net, sequences: Sequences) -> Tensor:
    """Return the state after the newest item of each sequence (sequence, dim); an empty one gets that of padding."""
    device = net.item_weights().device
    items = sequences.padded().to(device)
    if not items.shape[1]:
        return net.item_weights().new_zeros(len(sequences), net.item_weights().shape[1])
    newest = torch.from_numpy(np.maximum(sequences.lengths - 1, 0)).to(device)
    states: Tensor = net(items)[torch.arange(len(items), device=device), newest]
    return states

"""What the networks for clicks share: the features of a row, the loss, weights and scores."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from llmrs_bench.clicks.base import ClickCorpus
from llmrs_bench.core import config
from llmrs_bench.core.device import pick_device
from llmrs_bench.core.errors import ModelError, OptionError
from llmrs_bench.core.hashing import fingerprint
from llmrs_bench.core.training_checkpoint import Resume, seeded
from llmrs_bench.core.types import Json
from llmrs_bench.metrics.clicks import ClickRows
from llmrs_bench.metrics.labelled import value
from llmrs_bench.recommenders.attention import Dropout
from llmrs_bench.recommenders.base import TrainContext, score_blocks
from llmrs_bench.recommenders.model_store import damaged, read_checkpoint, write_checkpoint
from llmrs_bench.recommenders.sequences import PADDING, Ints, Sequences, Vocabulary
from llmrs_bench.recommenders.training import TrainingOptions, train


class ClickOptions(TrainingOptions):
    """Training stops `patience` epochs after the best AUC on the part `valid`; `batch` counts rows.

    `dim` is the width of embeddings, `l2` weighs the squares of those that a step looks up. `unseen` is the probability
    that a user or an item is hidden from a step: so the embedding of all that are unseen in training is learned.
    """

    lr: float = Field(default=1e-3, gt=0)
    batch: int = Field(default=256, ge=1)
    patience: int = Field(default=3, ge=1)
    dim: int = Field(default=16, ge=1)
    l2: float = Field(default=1e-4, ge=0)
    unseen: float = Field(default=0.03, ge=0, lt=1)


class DeepOptions(ClickOptions):
    """`hidden` is the width of the hidden layers, `layers` their number, `dropout` a probability after each."""

    hidden: int = Field(default=64, ge=1)
    layers: int = Field(default=2, ge=0)
    dropout: float = Field(default=0.2, ge=0, lt=1)


# Columns of an item's features before its categories: the item itself, and its year.
_ITEM, _YEAR, _CATEGORIES = 0, 1, 2
FIELDS = 4  # user, item, year, categories


@dataclass(frozen=True)
class Features:
    """The ids that a model knows; everything else is 0."""

    users: Vocabulary
    items: Vocabulary
    years: Vocabulary
    categories: Vocabulary

    @classmethod
    def of(cls, corpus: ClickCorpus) -> Self:
        """Return users and items of the training rows, and years and categories of those items."""
        train = corpus.samples.filter(pl.col("part") == "train")
        known = corpus.items.join(train, on="item_id", how="semi")
        return cls(
            Vocabulary.of(train["user_id"]),
            Vocabulary.of(train["item_id"]),
            Vocabulary.of(known["year"].drop_nulls().cast(pl.String)),
            Vocabulary.of(known["categories"].explode(empty_as_null=True).drop_nulls()),
        )

    def items_of(self, items: pl.DataFrame) -> Ints:
        """Return the features of the table `items` (item, 2 + the most categories); the last row is of no item."""
        categories = Sequences.of(items["categories"], self.categories).padded().numpy()
        columns = [self.items.encode(items["item_id"]), self.years.encode(items["year"].cast(pl.String))]
        table = np.concatenate([np.stack(columns, axis=1), categories], axis=1)
        return np.concatenate([table, np.zeros((1, table.shape[1]), np.int64)])


@dataclass(frozen=True, slots=True)
class Rows:
    """What a network is shown of rows.

    Args:
        users: Known users (row,).
        items: Features of the items (row, feature): item, year, categories.
        history: Those of the items of the history that are looked at, oldest first (row, time, feature).
        liked: Whether the user liked them (row, time).
        real: Where `history` holds an item (row, time).
    """

    users: Tensor
    items: Tensor
    history: Tensor
    liked: Tensor
    real: Tensor


class Embeddings(nn.Module):
    """Vectors of users, items, years and categories."""

    def __init__(self, features: Features, dim: int) -> None:
        super().__init__()
        self.user, self.item, self.year, self.category = (
            nn.Embedding(len(known) + 1, dim)
            for known in (features.users, features.items, features.years, features.categories)
        )
        for table in self.parameters():
            nn.init.normal_(table, std=0.05)

    def items(self, features: Tensor) -> Tensor:
        """Return the vectors of item, year, and mean category: (..., feature) -> (..., 3, dim)."""
        categories = features[..., _CATEGORIES:]
        real = (categories != PADDING).unsqueeze(-1)
        mean = (self.category(categories) * real).sum(-2) / real.sum(-2).clamp(min=1)
        return torch.stack([self.item(features[..., _ITEM]), self.year(features[..., _YEAR]), mean], -2)

    def forward(self, rows: Rows) -> Tensor:
        """Return the vectors of all fields (row, FIELDS, dim)."""
        return torch.cat([self.user(rows.users)[:, None], self.items(rows.items)], 1)


def tower(width: int, options: Any) -> nn.Sequential:
    """Return hidden layers from `width` values to one."""
    layers: list[nn.Module] = []
    for _ in range(options.layers):
        layers += [nn.Linear(width, options.hidden), nn.ReLU(), Dropout(options.dropout)]
        width = options.hidden
    return nn.Sequential(*layers, nn.Linear(width, 1))


class ClickNet(nn.Module, ABC):
    """A network whose output is the log-odds of a like."""

    def __init__(self, features: Features, dim: int) -> None:
        super().__init__()
        self.embeddings = Embeddings(features, dim)

    @abstractmethod
    def forward(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """Return log-odds (row,) and the vectors that were looked up, whose squares are penalised."""


@dataclass(frozen=True)
class _Fit:
    features: Features
    net: ClickNet


class ClickNetwork(ABC):
    """Trains a network on the log-loss of the training rows; a score is computed in float64, rounded to float32."""

    name: ClassVar[str]
    Options: ClassVar[type[config.Options]]
    learns: ClassVar[bool] = True
    # Whether the network looks at the history: it then has the options `max_history` and `dislikes`.
    reads_history: ClassVar[bool] = False

    def __init__(self, options: Any, *, seed: int, device: str) -> None:
        self.options = options
        self.seed = seed
        self.device = pick_device(device)
        self._fit: _Fit | None = None

    @abstractmethod
    def build(self, features: Features) -> ClickNet:
        """Return an untrained network."""

    def fit(self, corpus: ClickCorpus, work: TrainContext) -> dict[str, Json]:
        """Train on the rows of the part `train`; those of `valid` say when to stop.

        Raises:
            ModelError: If a part has no rows or one label alone, the training diverges, or an interrupted one was of
                something else.
        """
        parts = {part: corpus.samples.filter(pl.col("part") == part) for part in ("train", "valid")}
        for part, samples in parts.items():
            if samples["label"].n_unique() < 2:
                raise ModelError(
                    f"{self.name} needs likes and dislikes in the part {part!r}, which has {samples.height:,} rows, "
                    f"{samples['label'].sum():,.0f} of them likes",
                    hint="Prepare a data set with more events, or another threshold for a like.",
                )
        features = Features.of(corpus)
        taught, held = (self._encoded(samples, corpus.items, features) for samples in parts.values())
        labels = {part: samples["label"].to_numpy() == 1 for part, samples in parts.items()}
        alone = np.zeros(len(held), dtype=np.intp)  # AUC of all rows: users do not matter
        told = {
            "name": self.name,
            "options": self.options.model_dump(mode="json"),
            "seed": self.seed,
            "rows": [
                *taught.digests(),
                *held.digests(),
                *(sha256(column.tobytes()).hexdigest() for column in labels.values()),
            ],
        }
        kept = work.checkpoint and work.checkpoint.with_name(f"{work.checkpoint.name}.tuning")
        with seeded(self.seed, self.device) as generator:
            net = self.build(features).to(self.device)
            facts = train(
                net,
                lambda: self._losses(net, taught, torch.from_numpy(labels["train"]).float(), generator),
                lambda: value(ClickRows(alone, 1, labels["valid"], self._logits(net, held)), "auc"),
                self.options,
                work.progress(f"{self.name}, validated training", self.options.epochs),
                Resume(kept, fingerprint(told), generator),
                metric="auc",
            )
        self._fit = _Fit(features, net)
        return {**facts, "rows": parts["train"].height, "users": len(features.users), "items": len(features.items)}

    def _encoded(self, rows: pl.DataFrame, items: pl.DataFrame, features: Features) -> "_Encoded":
        size, dislikes = (self.options.max_history, self.options.dislikes) if self.reads_history else (0, False)
        return _Encoded.of(rows, items, features, size, dislikes)

    def _losses(
        self, net: ClickNet, taught: "_Encoded", labels: Tensor, generator: torch.Generator
    ) -> Iterator[Tensor]:
        order = torch.randperm(len(labels), generator=generator)
        for start in range(0, len(order), self.options.batch):
            chosen = order[start : start + self.options.batch]
            rows = self._hidden(taught.rows(chosen.numpy(), self.device))
            logits, vectors = net(rows)
            loss = F.binary_cross_entropy_with_logits(logits, labels[chosen].to(self.device))
            yield loss + self.options.l2 * vectors.square().sum() / len(chosen)

    def _hidden(self, rows: Rows) -> Rows:
        """Return `rows` in which some users and some items are unknown."""
        shown = torch.rand(2, len(rows.users), device=self.device) >= self.options.unseen
        items = rows.items.clone()
        items[:, _ITEM] *= shown[1]
        return replace(rows, users=rows.users * shown[0], items=items)

    def _logits(self, net: ClickNet, asked: "_Encoded") -> NDArray[np.float64]:
        parts = [net(asked.rows(block, self.device))[0].cpu().double().numpy() for block in score_blocks(len(asked))]
        return np.concatenate([np.empty(0), *parts])

    def score(self, asked: pl.DataFrame, items: pl.DataFrame) -> NDArray[np.float64]:
        """Return the log-odds of a like for each row of `asked`; each depends on its own row alone."""
        fit = self._trained()
        net = deepcopy(fit.net).double().eval()
        with torch.inference_mode():
            scores = self._logits(net, self._encoded(asked, items, fit.features))
        return scores.astype(np.float32).astype(np.float64)

    def save(self, folder: Path) -> None:
        """Write weights, options, seed and vocabularies into the existing `folder`.

        Raises:
            ModelError: If the model is not trained.
        """
        fit = self._trained()
        ids = {name: list[Json](vocabulary.ids) for name, vocabulary in vars(fit.features).items()}
        facts: dict[str, Json] = {"options": self.options.model_dump(mode="json"), "seed": self.seed, **ids}
        write_checkpoint(folder, self.name, facts, fit.net.state_dict())

    @classmethod
    def load(cls, folder: Path, *, device: str) -> Self:
        """Return the model that `save` wrote; its scores are the same.

        Raises:
            ModelError: If the folder is damaged, incomplete or another model's.
        """
        facts, weights = read_checkpoint(folder, cls.name)
        place = pick_device(device).type
        try:
            model = cls(cls.Options.parse(facts["options"], owner=cls.name), seed=int(facts["seed"]), device=place)
            ids = (facts[name] for name in ("users", "items", "years", "categories"))
            features = Features(*(Vocabulary(tuple(known)) for known in ids))
            net = model.build(features).to(model.device)
            net.load_state_dict(weights)
        except (KeyError, TypeError, ValueError, RuntimeError, OptionError) as error:
            raise damaged(folder, cls.name, str(error)) from error
        model._fit = _Fit(features, net)
        return model

    def _trained(self) -> _Fit:
        if self._fit is None:
            raise ModelError(f"{self.name} is not trained yet", hint="Call fit, or load a trained model.")
        return self._fit


@dataclass(frozen=True, slots=True)
class _Encoded:
    """Rows as integers.

    Args:
        users: Known users (row,).
        items: The place of each item in `features` (row,).
        history: Twice the place of each item of a history in `features`, and one more where it was liked.
        features: Features of all items, and of none in the last row (item, feature).
    """

    users: Ints
    items: Ints
    history: Sequences
    features: Ints

    @classmethod
    def of(cls, rows: pl.DataFrame, items: pl.DataFrame, known: Features, size: int, dislikes: bool) -> Self:
        """Encode rows; of a history the newest `size` events, or the newest `size` likes."""
        places = Vocabulary(tuple(items["item_id"]))
        lists = rows.select(pl.int_range(pl.len()).alias("row"), "history", "liked")
        events = lists.filter(size > 0, pl.col("history").list.len() > 0).explode("history", "liked")
        events = events.filter(pl.col("liked") | dislikes).group_by("row", maintain_order=True).tail(size)
        lengths = np.bincount(events["row"].to_numpy(), minlength=rows.height).astype(np.int64)
        codes = 2 * (places.encode(events["history"]) - 1) + events["liked"].to_numpy()
        return cls(
            known.users.encode(rows["user_id"]),
            places.encode(rows["item_id"]) - 1,
            Sequences(codes, np.cumsum(lengths) - lengths, lengths),
            known.items_of(items),
        )

    def __len__(self) -> int:
        return len(self.users)

    def rows(self, chosen: Ints, device: torch.device) -> Rows:
        """Return the `chosen` rows, histories padded to the longest of them."""
        history = self.history.take(chosen)
        events = history.padded()
        real = torch.arange(events.shape[1]) < torch.from_numpy(history.lengths)[:, None]
        table = torch.from_numpy(self.features)
        shown = (torch.from_numpy(self.users[chosen]), table[torch.from_numpy(self.items[chosen])], table[events >> 1])
        return Rows(*(part.to(device) for part in (*shown, (events & 1).bool(), real)))

    def digests(self) -> list[str]:
        """Return digests of all that a training learns from, but for the labels."""
        columns = (self.users, self.items, self.history.lengths, self.history.flat()[1], self.features)
        return [sha256(np.ascontiguousarray(column).tobytes()).hexdigest() for column in columns]

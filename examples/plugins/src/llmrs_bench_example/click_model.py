"""A model of clicks: `infer --model agreement`, on data of `prepare --task click`."""

from collections import Counter
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pydantic import Field

from llmrs_bench.clicks.base import ClickCorpus
from llmrs_bench.core import config
from llmrs_bench.core.types import Json
from llmrs_bench.recommenders.base import TrainContext
from llmrs_bench.recommenders.model_store import read_checkpoint, write_checkpoint


class AgreementOptions(config.Options):
    """`newest` items of a history are read, each as if it had agreed and disagreed `doubt` times before."""

    newest: int = Field(default=20, ge=1)
    doubt: float = Field(default=2.0, gt=0)


class Agreement:
    """Adds up, over a user's history, the log-odds that users like or dislike two items alike."""

    Options: ClassVar[type[config.Options]] = AgreementOptions  # given as -O KEY=VALUE
    learns: ClassVar[bool] = True  # fewer samples make another model

    def __init__(self, options: AgreementOptions, *, seed: int, device: str) -> None:
        self.options = options

    def fit(self, corpus: ClickCorpus, work: TrainContext) -> dict[str, Json]:
        """Count how often the label of an item was that of one in the history, and how often not."""
        self.counts: Counter[tuple[str, str, bool]] = Counter()
        train = corpus.samples.filter(pl.col("part") == "train")
        for item, history, liked, label in train.select("item_id", "history", "liked", "label").iter_rows():
            self.counts.update((seen, item, like == (label > 0)) for seen, like in self._newest(history, liked))
        return {"rows": train.height, "pairs": self.counts.total()}

    def score(self, asked: pl.DataFrame, items: pl.DataFrame) -> NDArray[np.float64]:
        """Return the log-odds of a like for each row; 0 where the history says nothing."""
        rows = asked.select("item_id", "history", "liked").iter_rows()
        return np.array([sum(self._odds(item, *seen) for seen in self._newest(*told)) for item, *told in rows], float)

    def _newest(self, history: list[str], liked: list[bool]) -> list[tuple[str, bool]]:
        return list(zip(history, liked, strict=True))[-self.options.newest :]

    def _odds(self, item: str, seen: str, liked: bool) -> float:
        alike, other = (self.counts[seen, item, agreed] + self.options.doubt for agreed in (liked, not liked))
        return float(np.log(alike / other))

    def save(self, folder: Path) -> None:
        """Write counts and options into the existing `folder`."""
        facts: dict[str, Json] = {
            "options": self.options.model_dump(mode="json"),
            "pairs": [list(pair) for pair in self.counts],
        }
        write_checkpoint(folder, "agreement", facts, {"counts": torch.tensor([*self.counts.values()])})

    @classmethod
    def load(cls, folder: Path, *, device: str) -> Self:
        """Return the model that `save` wrote."""
        facts, weights = read_checkpoint(folder, "agreement")
        model = cls(AgreementOptions(**facts["options"]), seed=0, device=device)
        model.counts = Counter(dict(zip(map(tuple, facts["pairs"]), weights["counts"].tolist(), strict=True)))
        return model

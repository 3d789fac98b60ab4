"""Are our networks for clicks as good as those of torch-rechub? Both on CoLLM's split of ML-1M, with the same features.

torch-rechub is no dependency. Installed into a folder of its own, without what it requires, it finds the torch, pandas
and scikit-learn that are here:

    pip install --no-deps --target rechub torch-rechub==0.9.0
    PYTHONPATH=rechub python benchmarks/rechub.py ml-1m.zip

Each of its networks is trained by its own trainer. Its weight decay, which is its only regularisation, and the form of
DCNv2 are those with the best AUC on the part valid with the first seed; ours has its defaults. Both see the user, the
item, its year and its categories, have embeddings of 16 numbers and two hidden layers of 64, take 256 rows at a time,
and stop after three epochs without a better AUC on the part valid.
"""

import argparse
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from llmrs_bench.cli.progress import lines
from llmrs_bench.clicks.base import ClickCorpus
from llmrs_bench.core.config import PrepareConfig
from llmrs_bench.core.registry import CLICK_MODELS
from llmrs_bench.metrics.clicks import ClickRows
from llmrs_bench.metrics.labelled import value
from llmrs_bench.recommenders.base import TrainContext
from llmrs_bench.recommenders.sequences import Vocabulary
from llmrs_bench.stages.prepare import prepare
from llmrs_bench.stages.source import Origin
from llmrs_bench.stages.workspace import open_data

DIM, HIDDEN, BATCH, EPOCHS, PATIENCE, EVENTS = 16, [64, 64], 256, 50, 3, 20
DECAYS = (1e-5, 1e-4, 1e-3)  # the first is what its trainer has by itself


class Batches:
    """Features and labels of rows, cut into batches; those to learn from in a new order each time."""

    def __init__(self, columns: Mapping[str, NDArray[np.int64]], labels: NDArray[np.bool_], shuffled: bool) -> None:
        self.columns = {name: torch.from_numpy(column) for name, column in columns.items()}
        self.labels = torch.from_numpy(labels.astype(np.float32))
        self.shuffled = shuffled

    def __len__(self) -> int:
        return math.ceil(len(self.labels) / BATCH)

    def __iter__(self) -> Iterator[tuple[dict[str, torch.Tensor], torch.Tensor]]:
        size = len(self.labels)
        for chosen in torch.split(torch.randperm(size) if self.shuffled else torch.arange(size), BATCH):
            yield {name: column[chosen] for name, column in self.columns.items()}, self.labels[chosen]


class Features:
    """The features of rows as torch-rechub takes them; what was not in training is 0."""

    def __init__(self, train: pl.DataFrame, items: pl.DataFrame) -> None:
        known = items.join(train, on="item_id", how="semi")
        self.items = items.with_columns(pl.col("year").cast(pl.String))
        self.known = {
            "user": Vocabulary.of(train["user_id"]),
            "item": Vocabulary.of(train["item_id"]),
            "year": Vocabulary.of(known["year"].drop_nulls().cast(pl.String)),
            "categories": Vocabulary.of(known["categories"].explode(empty_as_null=True).drop_nulls()),
        }

    def of(self, rows: pl.DataFrame) -> dict[str, NDArray[np.int64]]:
        """Return the columns of rows."""
        told = rows.join(self.items, on="item_id", how="left", maintain_order="left")
        liked = rows.select(pl.col("history").list.gather(pl.col("liked").list.eval(pl.element().arg_true())))
        return {
            "user": self.known["user"].encode(rows["user_id"]),
            "item": self.known["item"].encode(rows["item_id"]),
            "year": self.known["year"].encode(told["year"]),
            "categories": self._padded("categories", told["categories"]),
            "history": self._padded("item", liked["history"].list.tail(EVENTS)),
        }

    def _padded(self, name: str, lists: pl.Series) -> NDArray[np.int64]:
        width = max(1, int(lists.list.len().max() or 0))  # type: ignore[arg-type]
        made = np.zeros((len(lists), width), np.int64)
        for at, some in enumerate(lists):
            made[at, : len(some)] = self.known[name].encode(some)
        return made

    def build(self, network: str, mixture: bool) -> Any:
        """Return an untrained network of torch-rechub."""
        from torch_rechub.basic.features import SequenceFeature, SparseFeature
        from torch_rechub.models.ranking import DIN, DCNv2, DeepFM

        sizes = {name: len(vocabulary) + 1 for name, vocabulary in self.known.items()}
        single = {name: SparseFeature(name, sizes[name], DIM, padding_idx=0) for name in ("user", "item", "year")}
        several = SequenceFeature("categories", sizes["categories"], DIM, pooling="mean", padding_idx=0)
        fields, hidden = [*single.values(), several], {"dims": HIDDEN, "dropout": 0.2}
        if network == "din":
            past = SequenceFeature("history", sizes["item"], DIM, pooling="concat", shared_with="item", padding_idx=0)
            rest = [single["user"], single["year"], several]
            return DIN(rest, [past], [single["item"]], mlp_params=hidden, attention_mlp_params={"dims": [36]})
        if network == "deepfm":
            return DeepFM(fields, fields, mlp_params=hidden | {"activation": "relu"})
        return DCNv2(fields, 2, mlp_params=hidden | {"activation": "relu"}, use_low_rank_mixture=mixture)


class Bench:
    """The split, and both makers of networks."""

    def __init__(self, home: Path, source: Path) -> None:
        config = PrepareConfig.parse({"dataset": "ml1m", "task": "click", "protocol": "collm"}, owner="prepare")
        data = open_data(home, prepare(home, "ml1m@collm", config, Origin(source), lines).name)
        self.corpus = ClickCorpus(data.artifact.table("samples"), data.artifact.table("items"))
        self.parts = {part: self.corpus.samples.filter(pl.col("part") == part) for part in ("train", "valid")}
        truth = data.artifact.table("truth").select("request_id", "label")
        test = data.labelled_rows().filter(pl.col("part") == "test")
        self.parts["test"] = test.join(truth, on="request_id", maintain_order="left")
        self.features = Features(self.parts["train"], self.corpus.items)

    def measured(self, part: str, scores: NDArray[np.float64]) -> dict[str, float]:
        """Return AUC and UAUC of a part."""
        rows = self.parts[part]
        users = rows["user_id"].rank("dense").to_numpy().astype(np.intp) - 1
        told = ClickRows(users, int(users.max()) + 1, rows["label"].to_numpy() > 0, scores)
        return {metric: value(told, metric) for metric in ("auc", "uauc")}

    def theirs(self, network: str, seed: int, decay: float, mixture: bool) -> dict[str, dict[str, float]]:
        """Train a network of torch-rechub, and return what `measured` returns of valid and test."""
        from torch_rechub.trainers import CTRTrainer

        torch.manual_seed(seed)
        asked = {
            part: Batches(self.features.of(rows), rows["label"].to_numpy() > 0, part == "train")
            for part, rows in self.parts.items()
        }
        with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
            trainer = CTRTrainer(
                self.features.build(network, mixture),
                optimizer_params={"lr": 1e-3, "weight_decay": decay},
                n_epoch=EPOCHS,
                earlystop_patience=PATIENCE,
                model_path=folder,
            )
            trainer.fit(asked["train"], asked["valid"])
            return {
                part: self.measured(part, np.array(trainer.predict(trainer.model, asked[part])))
                for part in ("valid", "test")
            }

    def ours(self, network: str, seed: int) -> dict[str, dict[str, float]]:
        """Train a network of ours, and return what `measured` returns of valid and test."""
        kind: Any = CLICK_MODELS.load(network)
        model = kind(kind.Options.parse({}, owner=network), seed=seed, device="cpu")
        model.fit(self.corpus, TrainContext())
        return {
            part: self.measured(part, model.score(self.parts[part], self.corpus.items)) for part in ("valid", "test")
        }


def spread(values: list[float]) -> str:
    """Return the mean and the standard deviation of some values."""
    return f"{mean(values):.4f}" + (f" ±{stdev(values):.4f}" if len(values) > 1 else "")


def show(name: str, options: str, found: list[dict[str, dict[str, float]]], seconds: float) -> None:
    """Print a row of the table."""
    cells = [spread([one[part][metric] for one in found]) for part, metric in (("valid", "auc"), ("test", "auc"))]
    cells += [spread([one["test"]["uauc"] for one in found]), f"{seconds / len(found):.0f}"]
    print(f"| {name} | {options} | {' | '.join(cells)} |", flush=True)


def main() -> int:
    """Train both, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ml1m", type=Path, help="ml-1m.zip")
    parser.add_argument("--networks", nargs="+", default=["deepfm", "dcnv2", "din"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--home", type=Path, default=Path("benchmark-rechub"))
    asked = parser.parse_args()
    os.environ["TQDM_DISABLE"] = "1"
    bench = Bench(asked.home, asked.ml1m)
    print("| network | options | valid AUC | test AUC | test UAUC | s |")
    print("| --- | --- | ---: | ---: | ---: | ---: |", flush=True)
    for network in asked.networks:
        started = time.perf_counter()
        found = [bench.ours(network, seed) for seed in range(asked.seeds)]
        show(f"{network}, ours", "defaults", found, time.perf_counter() - started)
        tried = {}
        for decay in DECAYS:
            for mixture in (True, False) if network == "dcnv2" else (True,):
                tried[decay, mixture] = bench.theirs(network, 0, decay, mixture)
        decay, mixture = max(tried, key=lambda options: tried[options]["valid"]["auc"])
        plain = DECAYS[0], True
        for options in dict.fromkeys([plain, (decay, mixture)]):
            started = time.perf_counter()
            found = [bench.theirs(network, seed, *options) for seed in range(asked.seeds)]
            words = f"weight decay {options[0]:g}" + ("" if options[1] else ", full matrices")
            show(f"{network}, torch-rechub", words, found, time.perf_counter() - started)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Is a recommender as good here as in another library? BPR beside implicit, EASE and SASRec beside RecTools.

python benchmarks/peer_quality.py ml-1m.zip

Epochs of two libraries cannot be compared where they draw negatives differently: this compares what a training is
worth after so many seconds. MovieLens-1M (5-core, leave-one-out), the whole catalogue without what a user has seen, 64
dimensions, two threads. Ours are trained with their defaults (`bprmf` stops by validation); implicit for so many
iterations with its defaults, and with each of other rates and regularisations; EASE of both with the same weight;
SASRec of both for the same number of epochs, with the options of `peers.py`. What the other library ranks is imported,
so the same code measures both.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peer_trainings import BATCH, BLOCKS, DIM, DROPOUT, LENGTH, LR, RECTOOLS

if TYPE_CHECKING:
    from llmrs_bench.results import Prepared, Run

TOP = 50
L2 = 200.0  # of EASE: our default
# Learning rate and regularisation: the defaults of implicit first.
TRIED = [(0.01, 0.01), *((rate, weight) for rate, weight in product((0.03, 0.1), (0.001, 0.003, 0.01)))]


def implicit_bpr(train: Any, seen: Any, iterations: int, rate: float, weight: float) -> tuple[float, Any]:
    """Return the seconds of a training, and a frame (user_id, item_id, score) of the best unseen items of each user."""
    import numpy as np
    import pandas as pd
    from implicit.bpr import BayesianPersonalizedRanking
    from scipy.sparse import csr_matrix

    users, items = pd.Index(train["user_id"].unique()), pd.Index(train["item_id"].unique())

    def matrix(frame: Any) -> Any:
        known = frame[frame["item_id"].isin(items)]
        places = (users.get_indexer(known["user_id"]), items.get_indexer(known["item_id"]))
        return csr_matrix((np.ones(len(known), dtype=np.float32), places), shape=(len(users), len(items)))

    made = BayesianPersonalizedRanking(
        factors=DIM, iterations=iterations, learning_rate=rate, regularization=weight, num_threads=2, random_state=0
    )
    learned = matrix(train)
    start = time.perf_counter()
    made.fit(learned, show_progress=False)
    seconds = time.perf_counter() - start
    found, scores = made.recommend(np.arange(len(users)), matrix(seen), N=TOP, filter_already_liked_items=True)
    lists = {"user_id": users.repeat(TOP), "item_id": items[found.ravel()], "score": scores.ravel()}
    return seconds, pd.DataFrame(lists)


def rectools_ease(_: Any, seen: Any, weight: float) -> tuple[float, Any]:
    """Return what `implicit_bpr` does, of EASE; it learns from the validation events, too, as its users are those."""
    from rectools import Columns
    from rectools.dataset import Dataset
    from rectools.models import EASEModel

    names = {"user_id": Columns.User, "item_id": Columns.Item}
    events = seen.rename(columns=names)[list(names.values())]
    dataset = Dataset.construct(events.assign(**{Columns.Weight: 1.0, Columns.Datetime: "2000-01-01"}))
    made = EASEModel(regularization=weight)
    start = time.perf_counter()
    made.fit(dataset)
    seconds = time.perf_counter() - start
    lists = made.recommend(seen["user_id"].unique(), dataset, k=TOP, filter_viewed=True)
    return seconds, lists.rename(columns={new: old for old, new in names.items()} | {Columns.Score: "score"})


def rectools_sasrec(train: Any, seen: Any, epochs: float) -> tuple[float, Any]:
    """Return what `implicit_bpr` does, of SASRec, which reads what is in `seen` when it ranks."""
    import pandas as pd
    from rectools import Columns
    from rectools.dataset import Dataset
    from rectools.models import SASRecModel

    names = {"user_id": Columns.User, "item_id": Columns.Item}

    def dataset(frame: Any) -> Any:
        events = frame.rename(columns=names)[list(names.values())]
        # Seconds are the lines, so that events of equal time have the same order in both libraries.
        times = pd.to_datetime(range(len(events)), unit="s")
        return Dataset.construct(events.assign(**{Columns.Weight: 1.0, Columns.Datetime: times}))

    made = SASRecModel(epochs=int(epochs), verbose=0, **RECTOOLS)
    start = time.perf_counter()
    made.fit(dataset(train))
    seconds = time.perf_counter() - start
    lists = made.recommend(seen["user_id"].unique(), dataset(seen), k=TOP, filter_viewed=True)
    return seconds, lists.rename(columns={new: old for old, new in names.items()} | {Columns.Score: "score"})


# By model: the library, and what trains it there.
PEERS: dict[str, tuple[str, Any]] = {
    "bprmf": ("implicit", implicit_bpr),
    "ease": ("rectools", rectools_ease),
    "sasrec": ("rectools", rectools_sasrec),
}


def child(model: str, folder: Path, settings: list[float]) -> None:
    """Train on train.csv, write the best items that are not in seen.csv for each user, and print the seconds."""
    import pandas as pd

    train, seen = (pd.read_csv(folder / f"{name}.csv", dtype=str) for name in ("train", "seen"))
    seconds, lists = PEERS[model][1](train, seen, *settings)
    lists.to_csv(folder / "ranked.csv", index=False)
    print(json.dumps({"seconds": seconds}))


def theirs(python: Path, model: str, home: Path, data: "Prepared", settings: list[float]) -> "tuple[float, Run]":
    """Train in the environment of a library, and import what it ranks."""
    from llmrs_bench.results import Run
    from llmrs_bench.stages.import_run import import_run

    done = subprocess.run(
        [str(python), __file__, "--child", model, str(home), *map(str, settings)],
        capture_output=True,
        text=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "2" if model == "ease" else "1"},
        cwd=home,  # Lightning writes logs where it runs
        check=False,
    )
    if done.returncode:
        sys.exit(f"{model} failed:\n{done.stderr[-2000:]}")
    name = "-".join([PEERS[model][0], model, *map(str, settings)])
    run = import_run(data.data, home / "ranked.csv", {"name": name}).artifact
    return json.loads(done.stdout.splitlines()[-1])["seconds"], Run(data.data, run)


def show(model: str, library: str, training: str, seconds: float, run: "Run") -> None:
    """Print a row of the table: the mean of users, and its 95 % interval."""
    values = run.metrics("ndcg@10").filter(metric="ndcg@10")["value"].to_numpy()
    mean, margin = values.mean(), 1.96 * values.std(ddof=1) / len(values) ** 0.5
    found = f"{mean:.4f} [{mean - margin:.4f}, {mean + margin:.4f}]"
    print(f"| {model} | {library} | {training} | {seconds:.1f} | {found} |", flush=True)


def main() -> None:
    """Train, measure and print a table."""
    import polars as pl

    import llmrs_bench as lb
    from peers import environment

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path, help="ml-1m.zip")
    parser.add_argument("--models", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--environments", type=Path, default=Path(".peers"))
    parser.add_argument("--epochs", type=int, nargs="+", default=[5, 10, 20], help="of bprmf, beside its defaults")
    parser.add_argument("--sasrec-epochs", type=int, nargs="+", default=[5], help="of SASRec in both libraries")
    parser.add_argument("--iterations", type=int, nargs="+", default=[30, 100, 300], help="of the defaults of implicit")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        data = lb.prepare("ml1m", source=asked.archive, home=home, users="all", k_core=5, candidates="all")
        events = data.interactions().sort("user_id", "timestamp", maintain_order=True)
        events = events.select("user_id", "item_id", "part")
        events.filter(pl.col("part") == "train").write_csv(home / "train.csv")
        events.filter(pl.col("part") != "test").write_csv(home / "seen.csv")

        def ours(model: str, training: str, **options: object) -> None:
            run = lb.infer(model, data, options=options, home=home)
            show(model, "ours", training, run.facts["seconds"] - run.facts["scoring_seconds"], run)

        print("| model | library | training | s of training | NDCG@10, 95 % |\n| --- | --- | --- | ---: | ---: |")
        if "ease" in asked.models:
            ours("ease", f"l2 {L2:g}", l2=L2, fit_on="train+valid", max_history=5000)
            show(
                "ease",
                "RecTools",
                f"l2 {L2:g}",
                *theirs(environment("rectools", asked.environments), "ease", home, data, [L2]),
            )
        for epochs in asked.sasrec_epochs if "sasrec" in asked.models else ():
            told = f"{epochs} epochs"
            # Never stopped early, so that the last epoch is the one that is kept, unless an earlier one was better.
            shape = {"dim": DIM, "blocks": BLOCKS, "heads": 1, "max_history": LENGTH, "dropout": DROPOUT}
            ours("sasrec", told, epochs=epochs, patience=epochs, batch=BATCH, lr=LR, precision="fp32", **shape)
            python = environment("rectools", asked.environments)
            show("sasrec", "RecTools", told, *theirs(python, "sasrec", home, data, [epochs]))
        if "bprmf" in asked.models:
            python = environment("implicit", asked.environments)
            for epochs in asked.epochs:
                ours("bprmf", f"{epochs} epochs", epochs=epochs)
            ours("bprmf", "defaults")
            settings = [(count, *TRIED[0]) for count in asked.iterations] + [(100, *pair) for pair in TRIED[1:]]
            for count, rate, weight in settings:
                told = f"{count} iterations, lr {rate}, reg {weight}"
                show("bprmf", "implicit", told, *theirs(python, "bprmf", home, data, [count, rate, weight]))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        name, place, *numbers = sys.argv[2:]
        child(name, Path(place), [float(number) if "." in number else int(number) for number in numbers])
    else:
        main()

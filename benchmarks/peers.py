"""How long does an epoch of a recommender take here, and in other libraries? All in turn, on the same events.

    python benchmarks/peers.py ml-1m.zip

Makes an environment for each library below `--environments`, unless it is there. Prepares MovieLens-1M (5-core,
leave-one-out), and gives every library the events of the part train: 64 dimensions, 2 blocks, 200 items of history,
128 users or rows a step, softmax over all items, fp32. An epoch learns every event once. Ours is timed with its
validation and without, and again in bf16 where the CPU has instructions for it, the others without. Where an epoch of
a library takes hours, `--steps` of it are timed and scaled to the whole. Epochs are compared, not models: how many a
model needs is another question.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import polars as pl
import torch

import llmrs_bench as lb
from llmrs_bench.core.registry import RECOMMENDERS
from llmrs_bench.recommenders.base import Corpus, TrainContext
from peer_trainings import BATCH, TAKES

TORCH = f"torch=={torch.__version__.partition('+')[0]}"
NEEDS = {
    "rectools": (TORCH, "rectools[torch]==0.19.0"),
    # The last release is of 2025; it asks for what later NumPy, pandas and SciPy have removed.
    "recbole": (TORCH, "recbole==1.2.1", "numpy<2", "pandas<2.3", "scipy<1.14", "setuptools<80"),
    "implicit": ("implicit==0.7.2", "pandas<2.3"),
    "irspack": ("irspack==0.5.2",),
}
OURS: dict[str, dict[str, str]] = {
    "sasrec": {"batch": str(BATCH), "precision": "fp32"},
    "bert4rec": {"batch": str(BATCH), "precision": "fp32"},
    "gru4rec": {"batch": str(BATCH), "precision": "fp32", "hidden": "64"},
    "bprmf": {},
}


def environment(library: str, folder: Path) -> Path:
    """Return the interpreter of an environment that holds the library, made if it is not there."""
    place = folder.resolve() / library
    python = place / "bin" / "python"
    if not (place / "complete").exists():
        print(f"installing {', '.join(NEEDS[library])} into {place}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *NEEDS[library]], check=True)
        (place / "complete").touch()
    return python


def has_bf16() -> bool:
    """Return whether the CPU has instructions that multiply bfloat16."""
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def own(model: str, known: Corpus, epochs: int, precision: dict[str, str]) -> dict[str, Any]:
    """Return the seconds an epoch of our recommender takes, and those with validation."""
    kind: Any = RECOMMENDERS.load(model)
    options = kind.Options.parse({**OURS[model], **precision, "epochs": str(epochs)}, owner=model)
    started = time.perf_counter()
    facts = kind(options, seed=0, device="cpu").fit(known, TrainContext())
    whole = (time.perf_counter() - started) / epochs
    return {"seconds": [facts["seconds_per_epoch"]], "validated": whole, "share": 1.0, "version": lb.__version__}


def theirs(library: str, model: str, events: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Return what a library says of its training; its output goes to a file beside its environment if it fails."""
    python = environment(library, asked.environments)
    child = Path(__file__).resolve().with_name("peer_trainings.py")
    threads = {name: str(asked.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    done = subprocess.run(
        [str(python), str(child), library, model, str(events), str(asked.epochs), str(asked.steps)],
        capture_output=True,
        text=True,
        env={**os.environ, **threads, "OPENBLAS_NUM_THREADS": "1"},
        cwd=events.parent,  # RecBole writes logs where it runs
        check=False,
    )
    if done.returncode:
        sys.exit(f"{library} failed at {model}:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> int:
    """Measure in rounds, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path, help="ml-1m.zip")
    parser.add_argument("--environments", type=Path, default=Path(".peers"))
    parser.add_argument("--models", nargs="+", choices=list(OURS), default=list(OURS))
    parser.add_argument("--libraries", nargs="+", choices=list(TAKES), default=list(TAKES))
    parser.add_argument("--epochs", type=int, default=2, help="epochs of each training")
    parser.add_argument("--rounds", type=int, default=2, help="trainings of each, in turn")
    parser.add_argument("--steps", type=int, default=20, help="of an epoch of RecBole; of others all are run")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    for library in asked.libraries:
        environment(library, asked.environments)
    with tempfile.TemporaryDirectory() as home:
        data = lb.prepare("ml1m", source=asked.archive, home=home, users="all", k_core=5, candidates="all")
        known = Corpus(data.interactions(), data.items())
        events = Path(home, "train.inter")
        train = known.interactions.filter(pl.col("part") == "train").sort("timestamp", maintain_order=True)
        columns = {"user_id": "user_id:token", "item_id": "item_id:token", "timestamp": "timestamp:float"}
        train.select(list(columns)).rename(columns).write_csv(events, separator="\t")
        print(f"{train.height:,} events of {train['user_id'].n_unique():,} users; {asked.threads} threads\n")
        print("| model | library | s an epoch: least, median, most | share run | times ours | load |")
        print("| --- | --- | --- | ---: | ---: | ---: |")
        for model in asked.models:
            kinds = [library for library in asked.libraries if model in TAKES[library]]
            own_kinds: dict[str, dict[str, str]] = {"ours": {}}
            if has_bf16() and "precision" in OURS[model]:
                own_kinds["ours, bf16"] = {"precision": "bf16"}
            found: dict[str, list[dict[str, Any]]] = {library: [] for library in (*own_kinds, *kinds)}
            for _ in range(asked.rounds):
                for library, done in found.items():
                    load = os.getloadavg()[0]
                    one = (
                        own(model, known, asked.epochs, own_kinds[library])
                        if library in own_kinds
                        else theirs(library, model, events, asked)
                    )
                    done.append({**one, "load": load})
            report(model, found)
    return 0


def report(model: str, found: dict[str, list[dict[str, Any]]]) -> None:
    """Print the rows of a model; the ratio is that of medians."""
    ours = median(second for one in found["ours"] for second in one["seconds"])
    for library, done in found.items():
        seconds = sorted(second for one in done for second in one["seconds"])
        told = f"{library} {done[0]['version']}"
        loads = f"{min(one['load'] for one in done):.1f} to {max(one['load'] for one in done):.1f}"
        spread = f"{seconds[0]:.1f}, {median(seconds):.1f}, {seconds[-1]:.1f}"
        print(
            f"| {model} | {told} | {spread} | {done[0]['share']:.2%} | {median(seconds) / ours:.1f} | {loads} |",
            flush=True,
        )
        if "validated" in done[0]:
            whole = sorted(one["validated"] for one in done)
            print(
                f"| {model} | {told}, with validation | {whole[0]:.1f}, {median(whole):.1f}, {whole[-1]:.1f} "
                f"| 100.00% | {median(whole) / ours:.1f} | {loads} |",
                flush=True,
            )


if __name__ == "__main__":
    sys.exit(main())

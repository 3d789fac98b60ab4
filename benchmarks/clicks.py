"""Which rows must a model of clicks beat? Trivial rows and trained networks on the splits of three papers.

Prepares each protocol, trains the networks with several seeds, and prints a Markdown table of each board. Intervals are
over users, `null` is what UAUC is where labels are permuted within users (least to most). With `paper-ctr` the rows are
split at random once a seed: mean and standard deviation over the splits. Nothing is made twice in one home.

    python benchmarks/clicks.py ml-1m.zip ml-100k
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import polars as pl

from llmrs_bench.clicks.baselines import BASELINES, baseline
from llmrs_bench.core.config import PrepareConfig
from llmrs_bench.core.types import no_progress
from llmrs_bench.data.labelled import labelled_events, labelled_tables
from llmrs_bench.metrics.clicks import ClickRows
from llmrs_bench.metrics.labelled import value
from llmrs_bench.stages.source import Origin, find, kept_events, load

NETWORKS = ("fm", "deepfm", "dcnv2", "din", "din -O dislikes=true")
METRICS = ("auc", "uauc", "accuracy", "log-loss", "ece")


class Bench:
    """The command in a home."""

    def __init__(self, command: str, home: str) -> None:
        self.command, self.home = command, home

    def run(self, *words: str) -> str:
        """Return what a command writes to stdout; its progress is not shown."""
        done = subprocess.run([self.command, *words, "--home", self.home], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stderr}")
        return done.stdout

    def board(self, dataset: str, source: Path, options: Sequence[str], *compared: str) -> dict[str, Any]:
        """Prepare a data set unless it is there, evaluate all its runs, and return the board."""
        if not (Path(self.home) / dataset.replace("@", "/") / "data").exists():
            self.run("prepare", "-d", dataset, "--source", str(source), "--task", "click", *options)
        self.run("evaluate", "-d", dataset)
        found: dict[str, Any] = json.loads(self.run("compare", "-d", dataset, "--format", "json", *compared))
        return found


def cell(measured: dict[str, Any] | None, *, spread: bool = False) -> str:
    """Return a value with its interval, and the standard deviation over seeds where it is asked for."""
    if measured is None or measured["mean"] is None:
        return ""
    seeds = f" ±{measured['spread']:.4f}" if spread and measured["spread"] else ""
    return f"{measured['mean']:.4f}{seeds} [{measured['low']:.3f}, {measured['high']:.3f}]"


def null_of(row: dict[str, Any]) -> str:
    """Return the least and the most UAUC of permuted labels."""
    null = row.get("uauc_null")
    return f"{null['low']:.3f} to {null['high']:.3f}, {null['histories']}" if null else ""


def print_board(board: dict[str, Any]) -> None:
    """Print the protocol and the rows of one board."""
    print(f"\n**{board['title']}**: {'; '.join(board['protocol'])}\n")
    print("| row | AUC | UAUC | null of UAUC | accuracy | log-loss | ECE |")
    print(f"| --- |{' ---: |' * 6}")
    for row in board["rows"]:
        measured = row["metrics"]
        cells = [cell(measured.get(name), spread=name in ("auc", "uauc")) for name in METRICS]
        name = f"{row['model']} {row['setting']}".strip()
        print(f"| {name} | {' | '.join([*cells[:2], null_of(row), *cells[2:]])} |")
    for note in board["notes"]:
        print(f"\n{note}")


def print_splits(source: Path, splits: int) -> None:
    """Print mean and standard deviation of each trivial row over random splits of `paper-ctr`."""
    origin, config = Origin(source), PrepareConfig(dataset="ml1m", task="click", protocol="paper-ctr", split="random")
    dataset = origin.dataset("ml1m")
    with tempfile.TemporaryDirectory() as home:
        raw = load(dataset, find(Path(home), dataset, origin, config, no_progress), config, no_progress).raw
    events = kept_events(replace(raw, events=labelled_events(raw, config)[0]), config).events
    found: dict[str, list[ClickRows]] = {name: [] for name in BASELINES}
    for seed in range(splits):
        made = labelled_tables(events, config.model_copy(update={"seed": seed}))
        test = made.requests.filter(pl.col("part") == "test").join(made.outcomes, on="request_id")
        asked = test.with_columns(item_id=pl.col("candidates").list.first())
        labels = asked.join(made.truth, on="request_id", maintain_order="left")["label"].to_numpy() > 0
        users = asked["user_id"].rank("dense").to_numpy().astype(np.intp) - 1
        samples = pl.concat([block for part in made.learned for block in part.blocks()])
        for name, rows in found.items():
            scored = baseline(name, samples, asked)
            raw_chance = scored["probability"].to_numpy()
            rows.append(ClickRows(users, int(users.max()) + 1, labels, scored["score"].to_numpy(), raw_chance))
    print(
        f"\n**paper-ctr, {splits} random splits**\n\n| row | {' | '.join(METRICS)} |\n| --- |{' ---: |' * len(METRICS)}"
    )
    for name, rows in found.items():
        values = [[value(each, metric) for each in rows] for metric in METRICS]
        cells = [f"{mean(each):.3f} ±{stdev(each) if splits > 1 else 0:.3f}" for each in values]
        print(f"| {name} | {' | '.join(cells)} |")


def main() -> int:
    """Make and print all boards."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ml1m", type=Path, help="ml-1m.zip")
    parser.add_argument("ml100k", type=Path, help="ml-100k.zip, or its folder")
    parser.add_argument("--seeds", type=int, default=5, help="of each network")
    parser.add_argument("--splits", type=int, default=20, help="of paper-ctr at random")
    parser.add_argument("--null", type=int, default=20, help="permutations of labels")
    parser.add_argument("--home", help="keep everything here, and go on from there")
    parser.add_argument("--command", default="llmrs-bench")
    asked = parser.parse_args()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(asked.command, asked.home or folder)
        null = ["--null", str(asked.null)]
        for dataset, source in (("ml1m@collm", asked.ml1m), ("ml100k@tallrec", asked.ml100k)):
            protocol = ["--protocol", dataset.partition("@")[2]]
            bench.board(dataset, source, protocol)
            for network in NETWORKS:
                bench.run("infer", "-d", dataset, "--seeds", str(asked.seeds), "-m", *network.split())
            print_board(bench.board(dataset, source, protocol, *null))
        paper = ["--protocol", "paper-ctr"]
        print_board(bench.board("ml1m@paper-time", asked.ml1m, [*paper, "--split", "time"], *null))
    print_splits(asked.ml1m, asked.splits)
    print(f"\n{time.perf_counter() - started:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Runs, truth and prepared data, written for other tools. It reads artifacts, and makes none."""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import polars as pl

from llmrs_bench.core.artifacts import Artifact, is_complete
from llmrs_bench.core.config import CLICK
from llmrs_bench.core.errors import OptionError
from llmrs_bench.exchange.writing import (
    Prepared,
    write_ranx_qrels,
    write_ranx_run,
    write_recbole,
    write_trec_qrels,
    write_trec_run,
)
from llmrs_bench.stages.workspace import Data, open_runs, pick_runs, ranks

Form: TypeAlias = Literal["trec", "recbole", "ranx", "csv"]
FORMS: tuple[Form, ...] = get_args(Form)
TRUTH = "truth"


def export(data: Data, names: Sequence[str], form: Form, folder: Path) -> list[Path]:
    """Write a new folder for another tool, complete or not at all, and return the files in it.

    `trec`: `qrels.trec` and RUN.trec. `ranx`: `qrels.json` and RUN.json. `csv`: RUN.csv with the model's own scores,
    `truth.csv` and, where there are lists, `candidates.csv`. `recbole`: the prepared data in their split.

    Args:
        data: The prepared data set.
        names: Names of runs, or their first characters; none means all that rank.
        form: For which tool.
        folder: A folder that does not exist, or is empty.

    Raises:
        OptionError: If the folder holds something, a name fits no run, the format takes no runs, or it holds orders and
            the data set is one of clicks.
        DataError: If an id cannot be written in the format.
        ArtifactError: If a table is damaged.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OptionError(f"{folder} exists already", hint="Export to a new folder.")
    if data.task == CLICK and form != "csv":
        raise OptionError(
            f"--format {form} holds orders, and {data.place.reference} has one item a request",
            hint="Add --format csv: it holds the scores of each run, and the labels.",
        )
    if form == "recbole" and names:
        raise OptionError("--run applies only to formats of rankings; recbole is one of data", hint="Leave out --run.")
    runs = [] if form == "recbole" else _runs(data, names)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        _WRITERS[form](data, runs, partial)
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _runs(data: Data, names: Sequence[str]) -> list[Artifact]:
    """Return the runs to write; a data set without any may be exported for others to rank."""
    folder = data.place.runs
    if not names and not (folder.is_dir() and any(is_complete(path) for path in folder.iterdir())):
        return []
    runs = pick_runs(open_runs(data), names) if names else [run for run in open_runs(data) if ranks(run)]
    if idle := [run.path.name for run in runs if not ranks(run)]:
        raise OptionError(f"run {idle[0]} holds texts and ranks nothing", hint="Name runs that rank.")
    return runs


def _write_trec(data: Data, runs: Sequence[Artifact], folder: Path) -> None:
    write_trec_qrels(data.artifact.table(TRUTH), folder / "qrels.trec")
    for run in runs:
        write_trec_run(run.table("rankings"), folder / f"{run.path.name}.trec", tag=run.path.name)


def _write_ranx(data: Data, runs: Sequence[Artifact], folder: Path) -> None:
    write_ranx_qrels(data.artifact.table(TRUTH), folder / "qrels.json")
    for run in runs:
        write_ranx_run(run.table("rankings"), folder / f"{run.path.name}.json")


def _write_csv(data: Data, runs: Sequence[Artifact], folder: Path) -> None:
    requests = data.artifact.table("requests")
    users = requests.select("request_id", "user_id")
    _with_users(data.artifact.table(TRUTH), users).write_csv(folder / "truth.csv")
    if not data.whole_catalogue:
        lists = requests.select("request_id", "user_id", item_id="candidates").explode("item_id")
        lists.write_csv(folder / "candidates.csv")
    for run in runs:
        _with_users(run.table("rankings"), users).write_csv(folder / f"{run.path.name}.csv")


def _with_users(rows: pl.DataFrame, users: pl.DataFrame) -> pl.DataFrame:
    named = rows.join(users, on="request_id", how="left", maintain_order="left")
    return named.select("request_id", "user_id", pl.exclude("request_id", "user_id"))


def _write_recbole(data: Data, runs: Sequence[Artifact], folder: Path) -> None:
    tables = {name: data.artifact.table(name) for name in ("items", "interactions", "requests", TRUTH)}
    write_recbole(Prepared(**tables), folder, name=data.place.root.parent.name)


_WRITERS: dict[Form, Callable[[Data, Sequence[Artifact], Path], None]] = {
    "trec": _write_trec,
    "ranx": _write_ranx,
    "csv": _write_csv,
    "recbole": _write_recbole,
}

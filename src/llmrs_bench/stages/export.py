"""Runs, truth, prepared data and tuned models, written for other tools. It reads artifacts, and makes none."""

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeAlias

import polars as pl

from llmrs_bench.core.artifacts import MANIFEST, Artifact, is_complete
from llmrs_bench.core.config import LanguageModelConfig
from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.hashing import file_digest
from llmrs_bench.exchange.writing import (
    Prepared,
    write_ranx_qrels,
    write_ranx_run,
    write_recbole,
    write_trec_qrels,
    write_trec_run,
)
from llmrs_bench.llm.adapters import CARD, TunedModel, read_tuned
from llmrs_bench.llm.identity import is_adapter
from llmrs_bench.llm.model_aliases import ModelSpec
from llmrs_bench.stages.serving import locate
from llmrs_bench.stages.workspace import Data, open_runs, pick_runs, ranks

Form: TypeAlias = Literal["trec", "recbole", "ranx", "csv"]
ModelForm: TypeAlias = Literal["adapter", "weights"]
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
            the data set has one item a request.
        DataError: If an id cannot be written in the format.
        ArtifactError: If a table is damaged.
    """
    _check_new(folder)
    if data.labelled and form != "csv":
        raise OptionError(
            f"--format {form} holds rankings, but {data.place.reference} has one item per request",
            hint="Add --format csv: it holds the scores of each run, and the labels.",
        )
    if form == "recbole" and names:
        raise OptionError(
            "--run applies only to formats of rankings; recbole holds the data set", hint="Leave out --run."
        )
    runs = [] if form == "recbole" else _runs(data, names)
    return _written(folder, lambda draft: _WRITERS[form](data, runs, draft))


def export_model(data: Data, name: str, form: ModelForm, folder: Path) -> list[Path]:
    """Write a tuned model as a folder that transformers, PEFT and vLLM load, and return the files in it.

    `adapter` is as PEFT writes it, beside the name of its base; `weights` are those of the whole model in float32, with
    an adapter added to them. `tuning.json` and `manifest.json` say how it was tuned.

    Args:
        data: The prepared data set.
        name: The model as `infer --model` takes it.
        form: What to write.
        folder: A folder that does not exist, or is empty.

    Raises:
        OptionError: If the folder holds something, or there is no such model in this form.
        ModelError: If the model's files are damaged, or its base cannot be loaded.
    """
    _check_new(folder)
    place = Path(locate(data, LanguageModelConfig(model=name)).model)
    tuned = read_tuned(place) if place.is_dir() else None
    if tuned is None or not tuned.samples:
        raise OptionError(
            f"{name} is {'its base, unchanged' if tuned else 'not a model that was tuned here'}: there is nothing "
            "to export",
            hint="Give the name of a folder tuned-... among the models of the data set.",
        )
    if form == "adapter" and not is_adapter(place):
        raise OptionError(f"all weights of {name} were tuned, so it has no adapter", hint="Add --format weights.")
    tuned.check(place, None)
    if form == "weights" and is_adapter(place):
        return _written(folder, lambda draft: _write_merged(tuned, place, draft))
    return _written(folder, lambda draft: _copy(place.iterdir(), draft))


def _write_merged(tuned: TunedModel, place: Path, folder: Path) -> None:
    """Write the sum of a base and its adapter, and what is known of it, with digests of its own files."""
    from torch import device, float32

    from llmrs_bench.llm.base import ModelOptions
    from llmrs_bench.llm.loading import Checkpoint

    spec = replace(ModelSpec(**tuned.spec), name=tuned.label, source=str(place), revision=None)
    trusted = tuned.typed.get("trust_remote_code") == "true"
    checkpoint = Checkpoint(spec, ModelOptions(trust_remote_code=trusted))
    checkpoint.weights(checkpoint.config(), dtype=float32, device=device("cpu")).save_pretrained(str(folder))
    checkpoint.tokenizer().save_pretrained(str(folder))
    deciding = [folder / "config.json", *sorted(folder.glob("model*.safetensors"))]
    card = tuned.model_copy(update={"files": {path.name: file_digest(path) for path in deciding}})
    (folder / CARD).write_text(card.model_dump_json(indent=1) + "\n", "utf-8")
    _copy([path for path in (place / MANIFEST,) if path.is_file()], folder)


def _copy(files: Iterable[Path], folder: Path) -> None:
    for path in files:
        shutil.copyfile(path, folder / path.name)


def _check_new(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OptionError(f"{folder} exists already", hint="Export to a new folder.")


def _written(folder: Path, write: Callable[[Path], None]) -> list[Path]:
    """Make a folder, complete or not at all, and return the files in it."""
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        write(partial)
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

"""Trained recommenders that are exported and taken by path."""

import json
from pathlib import Path
from typing import Any

import pytest

from llmrs_bench.core.errors import ModelError, OptionError
from llmrs_bench.core.registry import RECOMMENDERS
from llmrs_bench.stages.workspace import Data
from stage_runs import OPTIONS, kept_models, prepared, retriever_options, run


@pytest.mark.parametrize("name", list(OPTIONS))
def test_an_exported_model_gives_the_same_rankings(data: Data, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "exported" / "mine"
    trained = run(data, name, export_to=folder)
    again = run(data, str(folder))
    assert again.path.name.startswith("mine-")
    assert again.table("rankings").equals(trained.table("rankings"))
    assert again.facts["training"]["loaded_from"] == str(folder)
    assert again.facts["history"] == trained.facts["history"]
    assert kept_models(data) == [path.name for path in data.place.models.glob(f"{name}-*")]


def test_an_exported_model_ranks_other_lists_of_its_data(tmp_path: Path, raw: Path) -> None:
    folder = tmp_path / "mine"
    first = prepared(tmp_path / "home", raw, "first", n_candidates=10)
    run(first, "sasrec", export_to=folder)
    other = prepared(tmp_path / "home", raw, "other", n_candidates=5, seed=1)
    assert run(other, str(folder)).table("rankings").equals(run(other, "sasrec").table("rankings"))


def test_an_exported_model_finds_candidates(tmp_path: Path, raw: Path) -> None:
    folder = tmp_path / "mine"
    run(prepared(tmp_path / "home", raw, "first"), "sasrec", export_to=folder)
    by_path = prepared(tmp_path / "home", raw, "path", candidates=f"model:{folder}", n_candidates=5)
    by_name = prepared(
        tmp_path / "home",
        raw,
        "name",
        candidates="model:sasrec",
        n_candidates=5,
        retriever_options=retriever_options("sasrec"),
    )
    assert by_path.artifact.table("requests").equals(by_name.artifact.table("requests"))


def test_an_exported_model_finds_candidates_of_any_seed(tmp_path: Path, raw: Path) -> None:
    folder = tmp_path / "mine"
    run(prepared(tmp_path / "home", raw, "first"), "itemknn", export_to=folder)
    seeded = prepared(tmp_path / "home", raw, "seeded", candidates=f"model:{folder}", n_candidates=5, seed=1)
    assert seeded.artifact.facts["sampling"]["requests"] == 12


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"options": {"dim": "8"}}, "options has no effect"),
        ({"seed": 1}, "seed has no effect"),
        ({"train_fraction": 0.5}, "train-fraction has no effect"),
        ({"max_users": 3}, "max-users has no effect"),
        ({"train_samples": 3}, "train-samples has no effect"),
    ],
)
def test_options_beside_a_path_are_refused(data: Data, tmp_path: Path, options: dict[str, Any], words: str) -> None:
    folder = tmp_path / "mine"
    run(data, "itemknn", export_to=folder)
    with pytest.raises(OptionError, match=f"{words} on the model in .*: it is trained already"):
        run(data, str(folder), **options)


def other_source(folder: Path, raw: Path) -> Path:
    """Write the raw data again with one more event of the last user."""
    folder.mkdir()
    for path in raw.iterdir():
        (folder / path.name).write_text(path.read_text())
    with (folder / "x.inter").open("a") as file:
        file.write("\nu11\ti0\t99")
    return folder


@pytest.mark.parametrize("change", ["source", "filter"])
def test_a_model_of_other_data_or_another_split_is_refused(tmp_path: Path, raw: Path, change: str) -> None:
    folder = tmp_path / "mine"
    run(prepared(tmp_path / "home", raw, "first"), "itemknn", export_to=folder)
    if change == "source":
        other = prepared(tmp_path / "home", other_source(tmp_path / "other", raw), "other")
    else:
        other = prepared(tmp_path / "home", raw, "other", k_core=2)
    with pytest.raises(ModelError, match="was trained on other data, or on another split") as caught:
        run(other, str(folder))
    assert "--model itemknn" in caught.value.hint
    assert not list(other.place.runs.glob("mine-*"))


@pytest.mark.parametrize(
    ("name", "text", "error", "words"),
    [
        ("corpus.json", None, ModelError, "does not say what it was trained on"),
        ("corpus.json", "{", ModelError, "does not say what it was trained on"),
        ("model.json", "{", ModelError, "no readable checkpoint"),
        ("model.json", '{"kind": "word2vec", "sha256": "0"}', OptionError, "unknown recommender 'word2vec'"),
        ("model.json", '{"sha256": "0"}', OptionError, "unknown recommender 'None'"),
        ("weights.safetensors", None, ModelError, "no readable itemknn checkpoint"),
        ("model.json", '{"kind": "itemknn"}', ModelError, "damaged"),
    ],
)
def test_a_damaged_export_is_named(
    data: Data, tmp_path: Path, name: str, text: str | None, error: type[Exception], words: str
) -> None:
    folder = tmp_path / "mine"
    run(data, "itemknn", export_to=folder)
    (folder / name).unlink()
    if text is not None:
        (folder / name).write_text(text)
    with pytest.raises(error, match=words):
        run(data, str(folder))


def test_exports_are_never_written_over_and_need_something_to_keep(data: Data, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    with pytest.raises(OptionError, match="exists already"):
        run(data, "itemknn", export_to=folder)
    assert not list(folder.iterdir())
    with pytest.raises(OptionError, match="has no trained state to export"):
        run(data, "popularity", export_to=tmp_path / "other")


def test_what_is_exported_is_what_was_kept(data: Data, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    run(data, "itemknn", export_to=folder)
    (kept,) = data.place.models.glob("itemknn-*/model")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        path.name: path.read_bytes() for path in kept.iterdir()
    }
    digests = {name: data.artifact.digest(name) for name in ("interactions", "items")}
    assert json.loads((folder / "corpus.json").read_text()) == digests
    assert RECOMMENDERS.load("itemknn").load(folder, device="cpu").options.neighbours == 5

"""Trained networks on disk: the same scores come back, and damage is named."""

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from llmrs_bench.core.errors import ModelError
from llmrs_bench.core.registry import RECOMMENDERS
from llmrs_bench.recommenders.model_store import read_checkpoint
from recommender_cases import FACTORS, NEURAL, RING, ring, ring_requests, scores_of, trained


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    return {name: trained(name, ring(), 3, epochs="1") for name in NEURAL}


def saved(model: Any, folder: Path) -> type[Any]:
    model.save(folder)
    return type(model)


@pytest.mark.parametrize("name", NEURAL)
def test_a_saved_model_scores_the_same(name: str, models: dict[str, Any], tmp_path: Path) -> None:
    loaded = saved(models[name], tmp_path).load(tmp_path, device="cpu")
    assert loaded.options == models[name].options
    assert loaded.seed == models[name].seed == 3
    assert scores_of(loaded, ring_requests()) == scores_of(models[name], ring_requests())


@pytest.mark.parametrize("name", NEURAL)
def test_a_loaded_model_can_be_saved_again(name: str, models: dict[str, Any], tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    saved(models[name], first).load(first, device="cpu").save(second)
    for path in first.iterdir():
        assert (second / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", NEURAL)
def test_users_are_kept_only_where_they_have_weights(name: str, models: dict[str, Any], tmp_path: Path) -> None:
    models[name].save(tmp_path)
    facts, _ = read_checkpoint(tmp_path, name)
    assert facts["users"] == ([f"u{user}" for user in range(8)] if name in FACTORS else [])
    assert facts["items"] == RING


@pytest.mark.parametrize("name", NEURAL)
def test_a_checkpoint_of_another_kind_is_refused(name: str, models: dict[str, Any], tmp_path: Path) -> None:
    models[name].save(tmp_path)
    for other in NEURAL:
        if other != name:
            with pytest.raises(ModelError, match=f"is of kind {name!r}, not {other!r}"):
                RECOMMENDERS.load(other).load(tmp_path, device="cpu")


@pytest.mark.parametrize(
    "facts",
    [
        {"items": RING[:-1]},
        {"items": None},
        {"users": None},
        {"options": {"dim": 9}},
        {"options": {"unheard": 8}},
        {"options": []},
        {"seed": None},
        {"sha256": "0"},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", NEURAL)
def test_a_damaged_description_is_an_error(
    name: str, models: dict[str, Any], tmp_path: Path, facts: dict[str, object]
) -> None:
    kind, file = saved(models[name], tmp_path), tmp_path / "model.json"
    described = {**json.loads(file.read_text()), **facts}
    del described["digest"]  # as an earlier version wrote it
    file.write_text(json.dumps(described))
    with pytest.raises(ModelError, match=f"the {name} checkpoint in .* is damaged") as caught:
        kind.load(tmp_path, device="cpu")
    assert "train the model again" in caught.value.hint


def test_a_description_that_names_items_in_another_order_is_found(models: dict[str, Any], tmp_path: Path) -> None:
    kind, file = saved(models["sasrec"], tmp_path), tmp_path / "model.json"
    facts = json.loads(file.read_text())
    file.write_text(json.dumps({**facts, "items": [*facts["items"][1:], facts["items"][0]]}))
    with pytest.raises(ModelError, match="was changed after it was written"):
        kind.load(tmp_path, device="cpu")


def test_a_limit_of_the_machine_is_no_damage(
    models: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = saved(models["sasrec"], tmp_path)

    def refuse(path: Path) -> bytes:
        raise OSError(errno.EMFILE, "Too many open files", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(OSError, match="Too many open files"):
        kind.load(tmp_path, device="cpu")


@pytest.mark.parametrize("name", FACTORS)
def test_a_user_too_few_is_an_error(name: str, models: dict[str, Any], tmp_path: Path) -> None:
    kind, file = saved(models[name], tmp_path), tmp_path / "model.json"
    facts = json.loads(file.read_text())
    del facts["digest"]
    file.write_text(json.dumps({**facts, "users": facts["users"][:-1]}))
    with pytest.raises(ModelError, match="damaged"):
        kind.load(tmp_path, device="cpu")


@pytest.mark.parametrize("name", NEURAL)
def test_broken_and_missing_files_are_errors(name: str, models: dict[str, Any], tmp_path: Path) -> None:
    kind = saved(models[name], tmp_path)
    file = tmp_path / "weights.safetensors"
    whole = file.read_bytes()
    for part in (whole[:-1], whole[:100], b"\xff\x00", b"", bytes([*whole[:-1], whole[-1] ^ 1])):
        file.write_bytes(part)
        with pytest.raises(ModelError, match="damaged"):
            kind.load(tmp_path, device="cpu")
    file.unlink()
    with pytest.raises(ModelError, match=f"no readable {name} checkpoint"):
        kind.load(tmp_path, device="cpu")
    (tmp_path / "model.json").write_bytes(b"\xff\x00")
    with pytest.raises(ModelError, match="no readable checkpoint"):
        kind.load(tmp_path, device="cpu")

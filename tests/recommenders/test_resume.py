"""An interrupted training goes on as if it had never stopped, or not at all."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from llmrs_bench.core.errors import ModelError
from llmrs_bench.recommenders.base import TrainContext
from llmrs_bench.recommenders.model_store import read_facts
from recommender_cases import RING, Interrupt, corpus_of, ring, ring_requests, scores_of, untrained

NAMES = ["sasrec", "bert4rec", "bprmf"]
BOTH = {"fit_on": "train+valid"}


def fit(name: str, work: TrainContext, seed: int = 0, **options: str) -> tuple[Any, dict[str, Any]]:
    model = untrained(name, seed, **options)
    return model, model.fit(corpus_of(ring()), work)


def interrupted(name: str, folder: Path, at: int = 2, phase: str = "validated", **options: str) -> Path:
    """Train until the `at`-th epoch of `phase`, and return where it was to be kept."""
    checkpoint = folder / "models" / "x.training"
    with pytest.raises(KeyboardInterrupt):
        fit(name, TrainContext(Interrupt(at, phase), checkpoint), 0, **options)
    return checkpoint


def digest(model: Any, folder: Path) -> str:
    folder.mkdir()
    model.save(folder)
    return str(read_facts(folder)["sha256"])


def same(facts: dict[str, Any]) -> dict[str, Any]:
    """Return what must not depend on an interruption."""
    return {
        key: value
        for key, value in facts.items()
        if key not in ("seconds_per_epoch", "resumed_after", "seconds_before")
    }


@pytest.fixture(scope="module")
def whole() -> dict[str, tuple[Any, dict[str, Any]]]:
    return {name: fit(name, TrainContext()) for name in NAMES}


@pytest.mark.parametrize("at", [1, 2, 3, 4])
@pytest.mark.parametrize("name", NAMES)
def test_a_training_goes_on_bit_for_bit(
    name: str, at: int, whole: dict[str, tuple[Any, dict[str, Any]]], tmp_path: Path
) -> None:
    checkpoint = interrupted(name, tmp_path, at)
    progress = Interrupt()
    model, facts = fit(name, TrainContext(progress, checkpoint))
    assert [done for *_, done, _ in progress.told] == list(range(at + 1, 5))
    straight, expected = whole[name]
    assert facts["resumed_after"] == at
    assert facts["seconds_before"] > 0
    assert same(facts) == same(expected)
    assert facts["seconds_per_epoch"] > 0
    assert digest(model, tmp_path / "resumed") == digest(straight, tmp_path / "straight")
    assert scores_of(model, ring_requests()) == scores_of(straight, ring_requests())


@pytest.mark.parametrize("name", ["fpmc", "gru4rec"])
def test_a_training_may_be_interrupted_again_and_again(name: str, tmp_path: Path) -> None:
    for at in (1, 2, 4):
        checkpoint = interrupted(name, tmp_path, at)
    model, facts = fit(name, TrainContext(checkpoint=checkpoint))
    straight, expected = fit(name, TrainContext())
    assert same(facts) == same(expected)
    assert digest(model, tmp_path / "resumed") == digest(straight, tmp_path / "straight")


def test_patience_runs_on_over_an_interruption(tmp_path: Path) -> None:
    options = {"epochs": "30", "patience": "2", "lr": "1e-9"}
    straight, expected = fit("sasrec", TrainContext(), 0, **options)
    assert expected["epochs"] < 30
    checkpoint = interrupted("sasrec", tmp_path, expected["epochs"] - 1, **options)
    model, facts = fit("sasrec", TrainContext(checkpoint=checkpoint), 0, **options)
    assert same(facts) == same(expected)
    assert digest(model, tmp_path / "resumed") == digest(straight, tmp_path / "straight")


@pytest.mark.slow
@pytest.mark.parametrize(("at", "phase"), [(2, "validated"), (1, "all events"), (3, "all events")])
@pytest.mark.parametrize("name", NAMES)
def test_a_training_on_both_parts_goes_on_in_either_phase(name: str, at: int, phase: str, tmp_path: Path) -> None:
    straight, expected = fit(name, TrainContext(), 0, **BOTH)
    at = min(at, expected["best_epoch"]) if phase == "all events" else at
    checkpoint = interrupted(name, tmp_path, at, phase, **BOTH)
    progress = Interrupt()
    model, facts = fit(name, TrainContext(progress, checkpoint), 0, **BOTH)
    resumed = [(label, done) for label, _, done, _ in progress.told]
    again = [(f"{name}, training on all events", epoch) for epoch in range(1, expected["best_epoch"] + 1)]
    assert resumed == (
        [(f"{name}, validated training", 3), (f"{name}, validated training", 4), *again]
        if phase == "validated"
        else again[at:]
    )
    assert same(facts) == same(expected)
    assert digest(model, tmp_path / "resumed") == digest(straight, tmp_path / "straight")


def test_a_fit_leaves_nothing_where_nothing_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        fit("sasrec", TrainContext(Interrupt(2)))
    assert list(tmp_path.iterdir()) == []


def test_only_whole_files_are_left(tmp_path: Path) -> None:
    checkpoint = interrupted("sasrec", tmp_path)
    assert [path.name for path in checkpoint.parent.iterdir()] == ["x.training.tuning"]


@pytest.mark.parametrize(
    ("seed", "options", "events"),
    [
        (1, {}, ring()),
        (0, {"lr": "0.01"}, ring()),
        (0, {"epochs": "5"}, ring()),
        (0, BOTH, ring()),
        (0, {}, ring(7)),
        (0, {}, ring().with_columns(item_id=pl.col("item_id").replace({RING[3]: "another"}))),
        (0, {}, ring().with_columns(user_id=pl.col("user_id").replace({"u3": "another"}))),
        (0, {}, ring().reverse()),
    ],
    ids=["seed", "option", "epochs", "parts", "users", "vocabulary", "names", "order"],
)
def test_the_training_of_something_else_is_refused(
    seed: int, options: dict[str, str], events: pl.DataFrame, tmp_path: Path
) -> None:
    checkpoint = interrupted("sasrec", tmp_path)
    kept = checkpoint.with_name("x.training.tuning").read_bytes()
    with pytest.raises(ModelError, match="was made with another data set, vocabulary, seed or options") as caught:
        untrained("sasrec", seed, **options).fit(corpus_of(events), TrainContext(checkpoint=checkpoint))
    assert "Delete the file" in caught.value.hint
    assert checkpoint.with_name("x.training.tuning").read_bytes() == kept


def test_the_training_of_another_model_is_refused(tmp_path: Path) -> None:
    checkpoint = interrupted("fpmc", tmp_path)
    with pytest.raises(ModelError, match="another data set"):
        fit("bprmf", TrainContext(checkpoint=checkpoint))


@pytest.mark.parametrize("size", [0, 5, 200, -1], ids=["empty", "head", "header", "tail"])
def test_a_truncated_file_is_refused(size: int, tmp_path: Path) -> None:
    checkpoint = interrupted("sasrec", tmp_path)
    file = checkpoint.with_name("x.training.tuning")
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(ModelError, match="is damaged") as caught:
        fit("sasrec", TrainContext(checkpoint=checkpoint))
    assert "Delete the file" in caught.value.hint


def test_garbage_is_refused(tmp_path: Path) -> None:
    checkpoint = tmp_path / "x.training"
    checkpoint.with_name("x.training.tuning").write_bytes(b"no tensors at all" * 99)
    with pytest.raises(ModelError, match="is damaged"):
        fit("sasrec", TrainContext(checkpoint=checkpoint))


def test_a_flipped_byte_anywhere_in_what_was_kept_is_found(tmp_path: Path) -> None:
    kept = interrupted("bprmf", tmp_path).with_name("x.training.tuning")
    whole = kept.read_bytes()
    for place in range(len(whole) - 1, 0, -len(whole) // 23):
        kept.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(ModelError, match=r"is damaged|was made with another"):
            fit("bprmf", TrainContext(checkpoint=kept.with_name("x.training")))
    kept.write_bytes(whole)
    assert fit("bprmf", TrainContext(checkpoint=kept.with_name("x.training")))[1]["resumed_after"] == 2


def test_a_full_disk_ends_a_training_in_the_words_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        fit("bprmf", TrainContext(checkpoint=tmp_path / "x.training"))
    assert list(tmp_path.iterdir()) == []

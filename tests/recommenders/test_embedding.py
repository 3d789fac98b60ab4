"""Embedding against cosines of what sentence-transformers returns."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

pytest.importorskip("sentence_transformers")

from sentence_transformers import SentenceTransformer

from llmrs_bench.core.errors import ModelError
from llmrs_bench.core.schemas import INTERACTIONS, ITEMS
from llmrs_bench.core.types import Json
from llmrs_bench.recommenders.base import Corpus, TrainContext
from llmrs_bench.recommenders.embedding import Embedding, EmbeddingOptions, folder_digest
from recommender_cases import Interrupt, request_of, scores_of
from tiny_embeddings import tiny_encoder

TEXTS = {
    "a": "Alien\nHorror, Science Fiction\nIn space no one can hear you scream",
    "b": "Aliens\nAction, Science Fiction\nThis time it is war",
    "c": "Toy Story\nAnimation",
    "d": "Star Wars\nA war among the stars",
    "e": "Amélie",
    "twin": "Amélie",
}
FILMS = [
    ("a", "Alien", "In space no one can hear you scream", 1979, ["Horror", "Science Fiction"]),
    ("b", "Aliens", "This time it is war", 1986, ["Action", "Science Fiction"]),
    ("c", "Toy Story", "", 1995, ["Animation"]),
    ("d", "Star Wars", "A war among the stars", 1977, []),
    ("e", "Amélie", "", 2001, []),
    ("twin", "Amélie", " ", None, None),
    ("mute", "", "", None, []),
]
ALL = [*TEXTS, "mute", "unknown"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder(tmp_path_factory.mktemp("embedding"))


def corpus(films: list[Any] = FILMS) -> Corpus:
    return Corpus(pl.DataFrame(schema=INTERACTIONS), pl.DataFrame(films, schema=ITEMS, orient="row"))


def unfitted(model: Path | str, **options: str) -> Embedding:
    return Embedding(EmbeddingOptions.parse({"model": str(model), **options}, owner="embedding"), seed=0, device="cpu")


def fitted(model: Path | str, films: list[Any] = FILMS, **options: str) -> Embedding:
    made = unfitted(model, **options)
    made.fit(corpus(films), TrainContext())
    return made


def by_hand(encoder: Path, history: list[str]) -> dict[str, float]:
    """Return the cosine of every item with the mean of the normalised vectors of `history`."""
    vectors = SentenceTransformer(str(encoder), device="cpu").encode(list(TEXTS.values())).astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    mean = np.mean([vectors[list(TEXTS).index(item)] for item in history], axis=0)
    cosines = vectors @ mean / np.linalg.norm(mean)
    return {**dict(zip(TEXTS, cosines.tolist(), strict=True)), "mute": 0.0, "unknown": 0.0}


@pytest.mark.parametrize("history", [["a"], ["b", "d"], ["d", "d", "c"], list("abcde")])
def test_scores_are_cosines_of_embeddings(encoder: Path, history: list[str]) -> None:
    scores = scores_of(fitted(encoder), request_of(history, ALL))["r"]
    assert scores == pytest.approx(by_hand(encoder, history), abs=1e-6)
    assert scores["e"] == scores["twin"]
    assert len(set(scores.values())) > 4


def test_the_newest_known_items_alone_count(encoder: Path) -> None:
    long = request_of(["c", "a", "unknown", "mute", "b", "unknown"], ALL)
    model = fitted(encoder, max_history="2")
    assert scores_of(model, long)["r"] == pytest.approx(by_hand(encoder, ["a", "b"]), abs=1e-6)
    assert scores_of(model, long) == scores_of(model, request_of(["a", "b"], ALL))


def test_a_text_counts_as_one_more_item(encoder: Path, tmp_path: Path) -> None:
    model = fitted(encoder)
    asked = request_of(["a"], ALL).with_columns(text=pl.lit(TEXTS["d"]))
    assert scores_of(model, asked)["r"] == pytest.approx(by_hand(encoder, ["a", "d"]), abs=1e-6)
    empty = request_of(["a"], ALL).with_columns(text=pl.lit(""))
    assert scores_of(model, empty)["r"] == pytest.approx(by_hand(encoder, ["a"]), abs=1e-6)
    model.save(tmp_path)
    with pytest.raises(ModelError, match="cannot read texts"):
        scores_of(Embedding.load(tmp_path, device="cpu"), asked)


@pytest.mark.parametrize("history", [[], ["unknown"], ["mute"]])
def test_without_a_known_item_all_scores_are_0(encoder: Path, history: list[str]) -> None:
    assert scores_of(fitted(encoder), request_of(history, ALL))["r"] == dict.fromkeys(ALL, 0.0)


def test_a_score_depends_on_its_request_and_item_alone(encoder: Path) -> None:
    model = fitted(encoder)
    requests = pl.concat([request_of(list("abcde")[: number % 6], ALL, name=f"r{number}") for number in range(300)])
    together = scores_of(model, requests)
    assert scores_of(model, requests.reverse().with_columns(pl.col("candidates").list.reverse())) == together
    assert scores_of(fitted(encoder, FILMS[::-1]), requests) == together
    assert scores_of(model, request_of(list("ab"), ["d", "c"]))["r"] == {item: together["r2"][item] for item in "dc"}


def test_the_size_of_a_batch_changes_nothing_but_noise(encoder: Path) -> None:
    asked, told = request_of(["a", "c"], ALL), Interrupt()
    single = unfitted(encoder, batch="1")
    single.fit(corpus(), TrainContext(told))
    assert scores_of(single, asked)["r"] == pytest.approx(scores_of(fitted(encoder), asked)["r"], abs=1e-6)
    assert told.told == [("embedding, encoding", 5, 5, "")]


def test_facts_identify_what_decides_the_vectors(encoder: Path, tmp_path: Path) -> None:
    facts = unfitted(encoder).fit(corpus(), TrainContext())
    expected: dict[str, Json] = {
        "items": 6,
        "model": str(encoder),
        "revision": None,
        "content": folder_digest(encoder),
        "dimension": 16,
        "device": "cpu",
    }
    assert {key: facts[key] for key in expected} == expected
    assert str(facts["library"]).startswith("sentence-transformers ")
    moved = shutil.copytree(encoder, tmp_path / "moved")
    (moved / ".cache").write_text("when it was downloaded")
    assert folder_digest(moved) == facts["content"]
    (moved / "config.json").write_text((moved / "config.json").read_text() + "\n")
    assert folder_digest(moved) != facts["content"]


def test_embedding_comes_back_from_disk_without_its_library(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, asked = fitted(encoder, max_history="2"), request_of(["c", "a", "b"], ALL)
    model.save(tmp_path)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    again = Embedding.load(tmp_path, device="cpu")
    assert again.options == model.options
    assert scores_of(again, asked) == scores_of(model, asked)


def test_damaged_checkpoints_are_refused(encoder: Path, tmp_path: Path) -> None:
    fitted(encoder).save(tmp_path)
    facts = json.loads((tmp_path / "model.json").read_text("utf-8"))
    del facts["digest"]  # as earlier versions wrote it
    (tmp_path / "model.json").write_text(json.dumps({**facts, "items": ["a"]}))
    with pytest.raises(ModelError, match="1 items, but 6 vectors"):
        Embedding.load(tmp_path, device="cpu")
    (tmp_path / "model.json").write_text(json.dumps({**facts, "options": {"batch": "0"}}))
    with pytest.raises(ModelError, match="damaged"):
        Embedding.load(tmp_path, device="cpu")


def test_models_that_cannot_be_loaded_are_errors_with_a_hint(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match="no folder") as missing:
        fitted(tmp_path / "missing")
    with pytest.raises(ModelError, match="cannot load the embedding model") as empty:
        fitted(tmp_path)
    with pytest.raises(ModelError, match="revision 'main' has no effect") as idle:
        fitted(encoder, revision="main")

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("We couldn't connect")

    monkeypatch.setattr("sentence_transformers.SentenceTransformer", unreachable)
    with pytest.raises(ModelError, match="all-MiniLM-L6-v2': We couldn't connect") as offline:
        fitted("sentence-transformers/all-MiniLM-L6-v2")
    assert all(caught.value.hint for caught in (missing, empty, idle, offline))


def test_embeddings_that_are_not_finite_are_refused(encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object, texts: list[str], **__: object) -> Any:
        return np.full((len(texts), 2), np.nan)

    monkeypatch.setattr(SentenceTransformer, "encode", broken)
    with pytest.raises(ModelError, match="not finite"):
        fitted(encoder)


def test_a_missing_library_is_an_error_with_a_hint(encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ModelError, match="cannot be imported") as caught:
        fitted(encoder)
    assert "llmrs-bench[embedding]" in caught.value.hint


def test_embedding_needs_texts_and_a_fit(encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no item has a title"):
        fitted(encoder, FILMS[-1:])
    with pytest.raises(ModelError, match="not fitted"):
        scores_of(unfitted(encoder), request_of(["a"], ALL))
    with pytest.raises(ModelError, match="not fitted"):
        unfitted(encoder).save(tmp_path)

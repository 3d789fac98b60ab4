"""The networks for clicks: learning, seeds, resuming, unseen ids, mistakes."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from click_cases import click_model, corpus, items_of, samples_of, trained_clicks
from llmrs_bench.clicks.base import ClickCorpus
from llmrs_bench.core.errors import ModelError, OptionError
from llmrs_bench.core.registry import CLICK_MODELS
from llmrs_bench.metrics.clicks import ClickRows
from llmrs_bench.metrics.labelled import value
from llmrs_bench.recommenders.base import TrainContext
from llmrs_bench.recommenders.model_store import read_facts
from recommender_cases import Interrupt

NAMES = CLICK_MODELS.names()
ONE_QUICK = [name if name == "din" else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
LONG: dict[str, Any] = {"epochs": "12", "lr": "0.03", "dim": "8", "patience": "12"}


def auc(model: Any, rows: pl.DataFrame) -> float:
    users = np.zeros(rows.height, dtype=np.intp)
    return value(ClickRows(users, 1, rows["label"].to_numpy() == 1, model.score(rows, items_of())), "auc")


def digest(model: Any, folder: Path) -> str:
    folder.mkdir()
    model.save(folder)
    return str(read_facts(folder)["sha256"])


@pytest.mark.parametrize("name", NAMES)
def test_a_planted_taste_is_learned(name: str) -> None:
    model = click_model(name, **LONG)
    facts = model.fit(corpus(), TrainContext())
    assert facts["valid_auc"] > 0.9
    assert (facts["rows"], facts["users"]) == (30 * 16, 30)
    held = samples_of(users=30, events=38, part="test").filter(pl.col("cutoff") >= 20)  # of known users, items known
    assert auc(model, held) > 0.9


@pytest.mark.parametrize(
    ("name", "options", "known"), [("fm", {}, False), ("din", {}, True), ("din", {"dislikes": "true"}, True)]
)
def test_a_history_tells_the_taste_of_users_who_were_not_in_training(
    name: str, options: dict[str, Any], known: bool
) -> None:
    model = trained_clicks(name, **LONG, **options, unseen="0.5")
    strangers = samples_of(users=10, first=100, part="test").filter(pl.col("cutoff") >= 8)
    assert (auc(model, strangers) > 0.85) == known


@pytest.mark.parametrize("name", ONE_QUICK)
def test_the_seed_makes_the_weights_of_clicks(name: str, tmp_path: Path) -> None:
    torch.rand(3)  # The state of the global generator is not to matter.
    digests = [digest(trained_clicks(name, seed=seed), tmp_path / str(at)) for at, seed in enumerate((0, 0, 1))]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("name", ONE_QUICK)
@pytest.mark.parametrize("at", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_a_training_on_clicks_goes_on_bit_for_bit(name: str, at: int, tmp_path: Path) -> None:
    checkpoint = tmp_path / "models" / "x.training"
    with pytest.raises(KeyboardInterrupt):
        click_model(name).fit(corpus(), TrainContext(Interrupt(at), checkpoint))
    progress = Interrupt()
    model = click_model(name)
    facts = model.fit(corpus(), TrainContext(progress, checkpoint))
    assert [done for *_, done, _ in progress.told] == list(range(at + 1, 5))
    assert facts["resumed_after"] == at
    straight = trained_clicks(name)
    assert digest(model, tmp_path / "resumed") == digest(straight, tmp_path / "straight")
    rows = samples_of(part="test")
    assert model.score(rows, items_of()).tolist() == straight.score(rows, items_of()).tolist()


@pytest.mark.parametrize(
    ("seed", "options", "learned"),
    [
        (1, {}, corpus()),
        (0, {"lr": "0.01"}, corpus()),
        (0, {}, ClickCorpus(samples_of(29), items_of())),
        (0, {}, ClickCorpus(samples_of().with_columns(label=1 - pl.col("label")), items_of())),
        (0, {}, ClickCorpus(samples_of().with_columns(liked=pl.col("liked").list.eval(~pl.element())), items_of())),
        (0, {}, ClickCorpus(samples_of(), items_of().with_columns(year=pl.lit(2000, pl.Int32())))),
    ],
    ids=["seed", "options", "rows", "labels", "histories", "items"],
)
def test_an_interrupted_training_of_something_else_is_refused(
    seed: int, options: dict[str, Any], learned: ClickCorpus, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "x.training"
    with pytest.raises(KeyboardInterrupt):
        click_model("din").fit(corpus(), TrainContext(Interrupt(1), checkpoint))
    with pytest.raises(ModelError, match="was made with another data set, vocabulary, seed or options"):
        click_model("din", seed, **options).fit(learned, TrainContext(checkpoint=checkpoint))


@pytest.mark.parametrize("name", NAMES)
def test_a_kept_model_of_clicks_scores_as_before(name: str, tmp_path: Path) -> None:
    model = trained_clicks(name)
    digest(model, tmp_path / "kept")
    loaded = CLICK_MODELS.load(name).load(tmp_path / "kept", device="cpu")
    rows = samples_of(users=3, first=28, part="test")  # one of them unknown
    scores = model.score(rows, items_of())
    assert np.isfinite(scores).all()
    assert loaded.score(rows, items_of()).tolist() == scores.tolist()
    for other in set(NAMES) - {name}:
        with pytest.raises(ModelError, match="is of kind"):
            CLICK_MODELS.load(other).load(tmp_path / "kept", device="cpu")
    (tmp_path / "kept" / "weights.safetensors").write_bytes(b"cut")
    with pytest.raises(ModelError, match="is not the file"):
        CLICK_MODELS.load(name).load(tmp_path / "kept", device="cpu")


@pytest.mark.parametrize("name", NAMES)
def test_a_score_depends_on_its_row_alone(name: str) -> None:
    model = trained_clicks(name)
    rows = samples_of(users=20, part="test")
    together = model.score(rows, items_of())
    chosen = [399, 0, 17, 200]
    assert model.score(rows[chosen], items_of()).tolist() == together[chosen].tolist()
    assert model.score(rows.clear(), items_of()).tolist() == []
    later = pl.concat([items_of(), items_of().with_columns(item_id="new" + pl.col("item_id"))])
    assert model.score(rows[chosen], later).tolist() == together[chosen].tolist()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_unseen_in_training_shares_one_embedding(name: str) -> None:
    model = trained_clicks(name)
    rows = samples_of(users=1, events=1, part="test")
    users = [model.score(rows.with_columns(user_id=pl.lit(user)), items_of())[0] for user in ("x", "y", "u1")]
    assert users[0] == users[1] != users[2]
    alike = pl.concat([items_of(), items_of()[[0, 0, 2]].with_columns(item_id=pl.Series(["a", "b", "c"]))])
    [one, other, another] = [model.score(rows.with_columns(item_id=pl.lit(item)), alike)[0] for item in "abc"]
    assert one == other != another  # of another year
    missing = model.score(rows.with_columns(item_id=pl.lit("in no table")), alike)
    assert np.isfinite(missing).all()


@pytest.mark.parametrize("name", NAMES)
def test_labels_of_validation_say_when_to_stop_and_nothing_else(name: str) -> None:
    turned = samples_of().with_columns(
        label=pl.when(part="valid").then(1 - pl.col("label")).otherwise("label").cast(pl.Float32())
    )
    rows = samples_of(users=3, part="test")
    scores = [
        trained_clicks(name, ClickCorpus(samples, items_of()), epochs="1").score(rows, items_of()).tolist()
        for samples in (samples_of(), turned)
    ]
    assert scores[0] == scores[1]


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (samples_of().filter(pl.col("part") == "valid"), "the part 'train', which has 0 rows, 0 of them likes"),
        (samples_of().filter(pl.col("part") == "train"), "the part 'valid', which has 0 rows, 0 of them likes"),
        (samples_of().filter((pl.col("part") == "valid") | (pl.col("label") == 1)), "'train', which has 238 rows, 238"),
    ],
    ids=["no-train", "no-valid", "one-label"],
)
def test_too_little_to_learn_from_is_said(samples: pl.DataFrame, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        click_model("fm").fit(ClickCorpus(samples, items_of()), TrainContext())


def test_an_untrained_model_of_clicks_scores_nothing() -> None:
    with pytest.raises(ModelError, match="din is not trained yet"):
        click_model("din").score(samples_of(), items_of())
    with pytest.raises(OptionError, match="unknown option 'max_histories'"):
        click_model("din", max_histories="3")

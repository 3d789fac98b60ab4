"""The trained networks: learning, seeds, parts of the data, mistakes."""

import math
from pathlib import Path

import polars as pl
import pytest
import torch

from llmrs_bench.core.errors import ModelError, OptionError
from llmrs_bench.recommenders.base import TrainContext
from llmrs_bench.recommenders.model_store import read_facts
from llmrs_bench.recommenders.neural import UNKNOWN_SCORE
from recommender_cases import (
    FACTORS,
    NEURAL,
    RING,
    SEQUENTIAL,
    Interrupt,
    corpus_of,
    interactions_of,
    request_of,
    ring,
    ring_requests,
    scores_of,
    trained,
    twins,
    untrained,
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("sasrec", {"dropout": "0", "lr": "0.01", "epochs": "30"}),
        ("sasrec", {"dropout": "0", "lr": "0.01", "epochs": "30", "loss": "bce"}),
        ("sasrec", {"dropout": "0", "lr": "0.01", "epochs": "70", "loss": "gbce", "negatives": "4"}),
        ("sasrec", {"dropout": "0", "lr": "0.01", "epochs": "30", "loss": "sampled-softmax", "negatives": "8"}),
        ("sasrec", {"dropout": "0", "lr": "0.01", "epochs": "30", "loss": "bpr"}),
        ("gru4rec", {"dropout": "0", "lr": "0.02", "epochs": "40"}),
        ("gru4rec", {"dropout": "0", "lr": "0.02", "epochs": "40", "loss": "bpr", "negatives": "4"}),
        ("bert4rec", {"dropout": "0", "lr": "0.005", "epochs": "90", "masked": "0.4"}),
        ("fpmc", {"reg": "0", "lr": "0.05", "epochs": "30"}),
        ("bprmf", {"reg": "0", "lr": "0.05", "epochs": "30"}),
    ],
    ids=lambda value: value if isinstance(value, str) else value.get("loss", "default"),
)
def test_eight_users_can_be_learned_by_heart(name: str, options: dict[str, str]) -> None:
    progress = Interrupt()
    model = untrained(name, 0, patience="99", **options)
    facts = model.fit(corpus_of(twins()), TrainContext(progress))
    assert facts["valid_ndcg@10"] > 0.9
    assert (facts["sequences"], facts["items"]) == (8, 24)
    first, last = (float(progress.told[epoch][3].split()[1]) for epoch in (0, -1))
    assert last < first / 2
    walk = [RING[5 * time % 24] for time in range(6)]
    values = scores_of(model, request_of(walk[:5], [item for item in RING if item not in walk[:5]], user="a0"))["r"]
    assert walk[5] in sorted(values, key=values.__getitem__, reverse=True)[:2]


@pytest.mark.parametrize("name", NEURAL)
def test_the_seed_makes_the_weights(name: str, tmp_path: Path) -> None:
    torch.rand(3)  # The state of the global generator is not to matter.
    digests = []
    for number, made in enumerate(trained(name, ring(), seed) for seed in (0, 0, 1)):
        folder = tmp_path / str(number)
        folder.mkdir()
        made.save(folder)
        digests.append(read_facts(folder)["sha256"])
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("name", NEURAL)
def test_progress_is_told_of_every_epoch_and_facts_of_the_training(name: str) -> None:
    progress = Interrupt()
    facts = untrained(name, 0, epochs="2").fit(corpus_of(ring()), TrainContext(progress))
    assert [entry[:3] for entry in progress.told] == [
        (f"{name}, validated training", 2, 1),
        (f"{name}, validated training", 2, 2),
    ]
    for _, _, done, note in progress.told:
        assert note.startswith("loss ")
        assert f"ndcg@10 {facts['valid_curve'][done - 1]:.4f}" in note
    assert (facts["epochs"], facts["device"], facts["precision"]) == (2, "cpu", "fp32")
    assert facts["valid_ndcg@10"] == max(facts["valid_curve"]) == facts["valid_curve"][facts["best_epoch"] - 1]
    assert facts["parameters"] > 24 * 8


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("sasrec", "ce"),
        ("sasrec", "gbce"),
        ("bert4rec", "ce"),
        ("bert4rec", "bpr"),
        ("gru4rec", "bce"),
        ("gru4rec", "ce"),
    ],
)
def test_networks_train_in_half_precision(name: str, loss: str) -> None:
    facts = untrained(name, 0, precision="bf16", loss=loss).fit(corpus_of(ring()), TrainContext())
    assert facts["precision"] == "bf16"
    assert len(facts["valid_curve"]) == 4


@pytest.mark.parametrize("name", NEURAL)
def test_fitted_on_both_parts_a_model_knows_what_was_only_validated(name: str) -> None:
    walks = ring().with_columns(
        item_id=pl.when(pl.col("user_id") == "u0", pl.col("part") == "valid")
        .then(pl.lit("late"))
        .otherwise(pl.col("item_id"))
    )
    tuned = untrained(name)
    facts = tuned.fit(corpus_of(walks), TrainContext())
    asked = request_of(RING[:6:2], ["late", RING[0]], user="u0")
    assert scores_of(tuned, asked)["r"]["late"] == UNKNOWN_SCORE

    progress = Interrupt()
    both = untrained(name, 0, fit_on="train+valid")
    again = both.fit(corpus_of(walks), TrainContext(progress))
    assert scores_of(both, asked)["r"]["late"] > UNKNOWN_SCORE
    assert again["epochs"] == again["best_epoch"] == facts["best_epoch"]
    assert again["valid_curve"] == facts["valid_curve"]
    assert again["valid_ndcg@10"] == facts["valid_ndcg@10"]
    assert again["items"] == facts["items"] + 1
    assert {label: total for label, total, *_ in progress.told} == {
        f"{name}, validated training": 4,
        f"{name}, training on all events": facts["best_epoch"],
    }
    unknown = request_of([], ["late", RING[0]], user="stranger")
    events = walks["item_id"].to_list()
    assert scores_of(both, unknown)["r"] == {
        item: pytest.approx(math.log(events.count(item) / len(events))) for item in ("late", RING[0])
    }


@pytest.mark.parametrize(
    ("events", "message"),
    [
        (ring().filter(part="train"), "validation"),
        (ring().filter(item_id="i00"), "at least two items"),
        (ring().filter(part="valid"), "at least two items"),
        (ring().filter(pl.col("timestamp").is_in([0, 8])), "no user has two"),
    ],
)
@pytest.mark.parametrize("name", SEQUENTIAL)
def test_too_little_data_is_an_error(name: str, events: pl.DataFrame, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        trained(name, events)
    assert caught.value.hint


@pytest.mark.parametrize("name", FACTORS)
def test_factors_learn_from_single_events_too(name: str) -> None:
    model = trained(name, ring().filter(pl.col("timestamp").is_in([0, 8])))
    assert scores_of(model, request_of([], RING[:1], user="u0"))["r"][RING[0]] > UNKNOWN_SCORE
    with pytest.raises(ModelError, match="at least two items"):
        trained(name, ring().filter(item_id="i00"))
    with pytest.raises(ModelError, match="validation"):
        trained(name, ring().filter(part="train"))


def test_options_are_checked() -> None:
    for name in ("sasrec", "bert4rec"):
        with pytest.raises(OptionError, match="not a multiple of heads"):
            untrained(name, 0, dim="10", heads="4")
    for name in NEURAL:
        with pytest.raises(OptionError, match="hidden_units"):
            untrained(name, 0, hidden_units="64")


def test_a_pair_of_users_and_items_is_learned_by_matrix_factorisation() -> None:
    likes = {"a": RING[:6], "b": RING[6:12]}
    events = [
        (f"{group}{user}", items[(user + time) % 6], time, "train" if time < 4 else "valid")
        for group, items in likes.items()
        for user in range(6)
        for time in range(5)
    ]
    model = trained("bprmf", interactions_of(events), 0, epochs="60", patience="60", lr="0.03")
    for group, items in likes.items():
        values = scores_of(model, request_of([], RING[:12], user=f"{group}0"))["r"]
        assert set(sorted(values, key=values.__getitem__)[6:]) == set(items)


@pytest.mark.parametrize("name", NEURAL)
def test_an_untrained_model_does_nothing(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not trained"):
        scores_of(untrained(name), ring_requests())
    with pytest.raises(ModelError, match="not trained"):
        untrained(name).save(tmp_path)

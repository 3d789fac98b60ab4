"""The trivial rows of the task rating: as fractions, and as the minimum that they are."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from llmrs_bench.clicks.baselines import RATING_BASELINES, rating_baseline
from llmrs_bench.core.errors import ModelError, OptionError

Row = tuple[str, str, str, float]


def rows(*told: Row) -> pl.DataFrame:
    """Return samples of (part, user, item, rating)."""
    lines: list[Any] = [(f"{part}-{at}", user, item, part, label) for at, (part, user, item, label) in enumerate(told)]
    return pl.DataFrame(
        lines,
        schema={**dict.fromkeys(("request_id", "user_id", "item_id", "part"), pl.String()), "label": pl.Float32()},
        orient="row",
    )


SAMPLES = rows(
    ("train", "ann", "tea", 5.0),
    ("train", "ann", "ale", 2.0),
    ("train", "bob", "tea", 4.0),
    ("train", "bob", "ale", 3.0),
    ("train", "bob", "rum", 1.0),
    ("valid", "ann", "rum", 5.0),
)
ASKED = rows(("test", "ann", "rum", 0.0), ("test", "cat", "tea", 0.0), ("test", "cat", "gin", 0.0)).drop("label")
M = 15 / 5  # of the five training rows; that of `valid` counts nowhere


@pytest.mark.parametrize(
    ("name", "scores"),
    [
        ("global-mean", [M, M, M]),
        ("user-mean", [(7 + 5 * M) / 7, M, M]),
        ("item-mean", [(1 + 5 * M) / 6, (9 + 5 * M) / 7, M]),
    ],
)
def test_means_are_smoothed_by_five_rows_of_the_overall_mean(name: str, scores: list[float]) -> None:
    found = rating_baseline(name, SAMPLES, ASKED)
    assert found.schema == {"request_id": pl.String(), "score": pl.Float64()}
    assert found["request_id"].to_list() == ASKED["request_id"].to_list()
    assert found["score"].to_list() == pytest.approx(scores)


def test_biases_are_at_the_minimum_of_their_sum() -> None:
    """The gradient is zero where the biases are; they are read from what unknown users and items are predicted."""
    users, items = ["ann", "bob"], ["ale", "rum", "tea"]
    asked = rows(*[("test", user, "new", 0.0) for user in users], *[("test", "new", item, 0.0) for item in items])
    found = rating_baseline("biased-mean", SAMPLES, asked.drop("label"))["score"].to_numpy() - M
    of_user, of_item = dict(zip(users, found[:2], strict=True)), dict(zip(items, found[2:], strict=True))
    train = [(row["user_id"], row["item_id"], row["label"]) for row in SAMPLES[:5].iter_rows(named=True)]
    for user, bias in of_user.items():
        left = sum(rating - M - of_user[who] - of_item[item] for who, item, rating in train if who == user)
        assert left - 15 * bias == pytest.approx(0, abs=1e-6)
    for item, bias in of_item.items():
        left = sum(rating - M - of_user[who] - of_item[what] for who, what, rating in train if what == item)
        assert left - 10 * bias == pytest.approx(0, abs=1e-6)
    both = rating_baseline("biased-mean", SAMPLES, ASKED)["score"]
    assert both.to_list() == pytest.approx([M + of_user["ann"] + of_item["rum"], M + of_item["tea"], M])


def test_planted_biases_are_found() -> None:
    generator = np.random.default_rng(3)
    users, items = generator.integers(0, 60, 20_000), generator.integers(0, 40, 20_000)
    of_user, of_item = generator.normal(0, 0.5, 60), generator.normal(0, 0.5, 40)
    of_user, of_item = of_user - of_user.mean(), of_item - of_item.mean()
    ratings = 3 + of_user[users] + of_item[items] + generator.normal(0, 0.5, 20_000)
    told: list[Row] = [("train", f"u{u}", f"i{i}", float(r)) for u, i, r in zip(users, items, ratings, strict=True)]
    pairs = [(user, item) for user in range(60) for item in range(0, 40, 7)]
    asked = rows(*[("test", f"u{user}", f"i{item}", 0.0) for user, item in pairs]).drop("label")
    truth = np.array([3 + of_user[user] + of_item[item] for user, item in pairs])
    found = rating_baseline("biased-mean", rows(*told), asked)["score"].to_numpy()
    assert np.abs(found - truth).max() < 0.15
    assert np.corrcoef(found, truth)[0, 1] > 0.995


def test_the_biased_mean_stays_within_the_scale_of_training_rows() -> None:
    told: list[Row] = [("train", f"u{at % 40}", f"i{at % 37}", 5.0 if at % 40 % 2 else 1.0) for at in range(1480)]
    told += [("train", f"u{at}", "loved", 5.0) for at in range(1, 40, 2)]
    asked = rows(("test", "u1", "loved", 0.0), ("test", "u2", "i0", 0.0)).drop("label")
    assert rating_baseline("biased-mean", rows(*told), asked)["score"].is_between(1, 5).all()


def test_labels_beyond_the_training_part_change_nothing() -> None:
    other = SAMPLES.with_columns(label=pl.when(part="valid").then(1.0).otherwise("label").cast(pl.Float32()))
    for name in RATING_BASELINES:
        assert rating_baseline(name, other, ASKED).equals(rating_baseline(name, SAMPLES, ASKED))


def test_what_cannot_be_predicted_is_said() -> None:
    with pytest.raises(OptionError, match="'majority'"):
        rating_baseline("majority", SAMPLES, ASKED)
    with pytest.raises(ModelError, match="no labelled training rows"):
        rating_baseline("global-mean", SAMPLES.filter(part="valid"), ASKED)

"""The trivial rows of the task click, as fractions."""

from math import exp, log

import numpy as np
import polars as pl
import pytest

from llmrs_bench.clicks.baselines import BASELINES, baseline
from llmrs_bench.core.errors import ModelError, OptionError

SCHEMA = {
    "request_id": pl.String(),
    "user_id": pl.String(),
    "item_id": pl.String(),
    "part": pl.String(),
    "cutoff": pl.Int64(),
    "history": pl.List(pl.String()),
    "liked": pl.List(pl.Boolean()),
    "label": pl.Float32(),
}


def rows(*told: tuple[str, str, str, list[bool], float]) -> pl.DataFrame:
    """Return samples of (part, user, item, labels of the history, label)."""
    return pl.DataFrame(
        [
            (f"{part}-{place}", user, item, part, place, [f"old{n}" for n in range(len(liked))], liked, label)
            for place, (part, user, item, liked, label) in enumerate(told)
        ],
        schema=SCHEMA,
        orient="row",
    )


SAMPLES = rows(
    ("train", "ann", "tea", [], 1.0),
    ("train", "ann", "ale", [True], 0.0),
    ("train", "bob", "tea", [], 1.0),
    ("train", "bob", "ale", [True], 1.0),
    ("valid", "ann", "tea", [True, False], 0.0),
    ("valid", "cat", "ale", [], 0.0),
)
ASKED = rows(
    ("test", "ann", "tea", [False] * 5 + [True] * 9 + [False], 0.0),
    ("test", "cat", "ale", [True], 0.0),
    ("test", "cat", "rum", [], 0.0),
).drop("label")
G = 3 / 4  # of the four training rows; those of `valid` count nowhere


@pytest.mark.parametrize(
    ("name", "scores", "excess"),
    [
        ("majority", [G, G, G], 0),
        ("item-mean", [(2 + 5 * G) / 7, (1 + 5 * G) / 7, G], 0),
        ("user-mean", [(1 + 5 * G) / 7, G, G], 0),
        ("item-user-mean", [(2 + 5 * G) / 7 + (1 + 5 * G) / 7, (1 + 5 * G) / 7 + G, 2 * G], G),
        ("liked-share", [(9 + 5 * G) / 15, (1 + 5 * G) / 6, G], 0),
    ],
)
def test_means_are_smoothed_by_five_rows_of_the_overall_share(name: str, scores: list[float], excess: float) -> None:
    found = baseline(name, SAMPLES, ASKED)
    assert found.schema == {"request_id": pl.String(), "score": pl.Float64(), "probability": pl.Float64()}
    assert found["request_id"].to_list() == ASKED["request_id"].to_list()
    assert found["score"].to_list() == pytest.approx(scores)
    assert found["probability"].to_list() == pytest.approx([score - excess for score in scores])


def test_the_regression_is_at_the_minimum_of_its_loss_with_own_labels_left_out() -> None:
    """The gradient is zero where the weights are: recomputed here from log-odds of fractions."""

    def log_odds(share: float) -> float:
        return log(share / (1 - share))

    def mean(likes: int, events: int) -> float:
        return log_odds((likes + 5 * G) / (events + 5))

    # item mean, user mean, share of each training row, without its own label
    own = np.array(
        [
            [1, mean(1, 1), mean(0, 1), mean(0, 0)],
            [1, mean(1, 1), mean(1, 1), mean(1, 1)],
            [1, mean(1, 1), mean(1, 1), mean(0, 0)],
            [1, mean(0, 1), mean(1, 1), mean(1, 1)],
        ]
    )
    labels = np.array([1, 0, 1, 1])
    probes = rows(*[("test", user, item, [], 0.0) for user in ("ann", "x") for item in ("tea", "y")])
    shares = rows(("test", "x", "y", [True], 0.0))
    asked = pl.concat([probes, shares.with_columns(request_id=pl.lit("share"))]).drop("label")
    design = np.array(
        [
            [1, mean(2, 2) if item == "tea" else log_odds(G), mean(1, 2) if user == "ann" else log_odds(G), log_odds(G)]
            for user in ("ann", "x")
            for item in ("tea", "y")
        ]
        + [[1, log_odds(G), log_odds(G), mean(1, 1)]]
    )
    scores = baseline("logistic", SAMPLES, asked)["score"].to_numpy()
    weights, *_ = np.linalg.lstsq(design, scores, rcond=None)
    assert design @ weights == pytest.approx(scores)
    chances = 1 / (1 + np.exp(-own @ weights))
    assert own.T @ (chances - labels) + weights - [log_odds(G), 0, 0, 0] == pytest.approx(np.zeros(4), abs=1e-8)


@pytest.mark.parametrize("label", [0.0, 1.0])
@pytest.mark.parametrize("name", BASELINES)
def test_training_rows_of_one_label_give_finite_scores(name: str, label: float) -> None:
    samples = SAMPLES.with_columns(label=pl.lit(label, pl.Float32()))
    found = baseline(name, samples, ASKED)
    assert found["score"].is_finite().all()
    assert found["probability"].is_between(0.001, 0.999).all()
    assert (found["probability"][2] > 0.5) == (label == 1)  # of a row without a history


def test_the_regression_learns_what_the_means_tell() -> None:
    drawn = np.random.default_rng(5)
    quality, users, items = drawn.normal(0, 2, 30), drawn.integers(0, 40, 3000), drawn.integers(0, 30, 3000)
    likes = drawn.random(3000) < 1 / (1 + np.exp(-quality[items]))
    samples = rows(*[("train", f"u{u}", f"i{i}", [], float(y)) for u, i, y in zip(users, items, likes, strict=True)])
    asked = rows(*[("test", "new", f"i{i}", [], 0.0) for i in range(30)]).drop("label")
    found = baseline("logistic", samples, asked)
    truth = [1 / (1 + exp(-value)) for value in quality]
    assert np.abs(found["probability"].to_numpy() - truth).mean() < 0.06
    assert baseline("logistic", samples.reverse(), asked)["score"].to_list() == pytest.approx(found["score"].to_list())


def test_labels_beyond_the_training_part_change_nothing() -> None:
    other = SAMPLES.with_columns(label=pl.when(part="valid").then(1.0).otherwise("label").cast(pl.Float32()))
    for name in BASELINES:
        assert baseline(name, other, ASKED).equals(baseline(name, SAMPLES, ASKED))


def test_what_cannot_be_made_is_said() -> None:
    with pytest.raises(OptionError, match="item-means") as unknown:
        baseline("item-means", SAMPLES, ASKED)
    assert "item-mean" in unknown.value.hint
    with pytest.raises(ModelError, match="no labelled training rows"):
        baseline("majority", SAMPLES.filter(part="valid"), ASKED)

"""Chance and popularity."""

import polars as pl
import pytest

from llmrs_bench.core.errors import ModelError, OptionError
from llmrs_bench.recommenders.base import FitOptions, TrainContext
from llmrs_bench.recommenders.popularity import Popularity
from llmrs_bench.recommenders.random import Random, RandomOptions
from recommender_cases import corpus_of, interactions_of, request_of, scores_of

EVENTS = interactions_of(
    [
        ("u", "a", 1, "train"),
        ("u", "b", 2, "train"),
        ("v", "a", 1, "train"),
        ("v", "b", 2, "valid"),
        ("w", "b", 2, "valid"),
    ]
)


def requests_of(*candidates: list[str]) -> pl.DataFrame:
    return pl.concat([request_of(["a"], items, name=f"r{number}") for number, items in enumerate(candidates)])


def random(seed: int) -> Random:
    return Random(RandomOptions(), seed=seed, device="cpu")


def popularity(fit_on: str) -> Popularity:
    model = Popularity(FitOptions.parse({"fit_on": fit_on}, owner="popularity"), seed=0, device="cpu")
    model.fit(corpus_of(EVENTS), TrainContext())
    return model


@pytest.mark.parametrize(
    ("fit_on", "expected"), [("train", {"a": 2, "b": 1, "x": 0}), ("train+valid", {"a": 2, "b": 3, "x": 0})]
)
def test_popularity_counts_the_parts_it_is_fitted_on(fit_on: str, expected: dict[str, int]) -> None:
    assert scores_of(popularity(fit_on), requests_of(["x", "b", "a"], [], ["a"])) == {
        "r0": expected,
        "r1": {},
        "r2": {"a": 2},
    }


def test_popularity_has_to_be_fitted_on_something() -> None:
    model = Popularity(FitOptions(), seed=0, device="cpu")
    with pytest.raises(ModelError, match="not fitted yet"):
        scores_of(model, requests_of(["a"]))
    with pytest.raises(ModelError, match="no interactions in part 'train'"):
        model.fit(corpus_of(EVENTS.filter(part="valid")), TrainContext())
    with pytest.raises(OptionError, match="fit_on"):
        FitOptions.parse({"fit_on": "test"}, owner="popularity")


def test_random_depends_on_seed_request_and_item_only() -> None:
    first = scores_of(random(1), requests_of(["a", "b", "c"], ["a", "b", "c"]))
    assert scores_of(random(1), requests_of(["c", "a"]))["r0"] == {k: first["r0"][k] for k in ("c", "a")}
    assert first["r0"] != first["r1"]
    assert scores_of(random(2), requests_of(["a", "b", "c"]))["r0"] != first["r0"]


def test_random_is_uniform() -> None:
    values = list(scores_of(random(0), requests_of([str(i) for i in range(4000)]))["r0"].values())
    assert 0 <= min(values) < 0.01
    assert 0.99 < max(values) < 1
    # The mean of n uniform values has standard deviation sqrt(1 / 12 / n), here 0.0046.
    assert sum(values) / len(values) == pytest.approx(0.5, abs=4 * 0.0046)

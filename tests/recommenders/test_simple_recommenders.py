"""Chance and popularity."""

import polars as pl
import pytest

from llmrs_bench.errors import ModelError, OptionError
from llmrs_bench.recommenders.fitting import FitOptions
from llmrs_bench.recommenders.popularity import Popularity
from llmrs_bench.recommenders.protocol import Recommender
from llmrs_bench.recommenders.random import Random, RandomOptions
from llmrs_bench.schemas import INTERACTIONS, REQUESTS
from llmrs_bench.types import silent

EVENTS = pl.DataFrame(
    [
        ("u", "a", 1, 5.0, "train"),
        ("u", "b", 2, 5.0, "train"),
        ("v", "a", 1, 5.0, "train"),
        ("v", "b", 2, 5.0, "valid"),
        ("w", "b", 2, 5.0, "valid"),
    ],
    schema=INTERACTIONS,
    orient="row",
)


def requests_of(*candidates: list[str] | None) -> pl.DataFrame:
    rows = [(f"r{i}", f"u{i}", "test", 9, ["a"], items) for i, items in enumerate(candidates)]
    return pl.DataFrame(rows, schema=REQUESTS, orient="row")


def scores_of(model: Recommender, requests: pl.DataFrame) -> dict[str, dict[str, float]]:
    return {scores.request_id: dict(scores.values) for scores in model.score(requests)}


def random(seed: int) -> Random:
    return Random(RandomOptions(), seed=seed, device="cpu")


def popularity(fit_on: str) -> Popularity:
    model = Popularity(FitOptions.parse({"fit_on": fit_on}, owner="popularity"), seed=0, device="cpu")
    model.fit(EVENTS, silent)
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
    with pytest.raises(ModelError, match="counted nothing"):
        list(model.score(requests_of(["a"])))
    with pytest.raises(ModelError, match="no interactions in part 'train'"):
        model.fit(EVENTS.filter(part="valid"), silent)
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


@pytest.mark.parametrize("model", [random(0), popularity("train")])
def test_candidates_have_to_be_there(model: Recommender) -> None:
    with pytest.raises(ModelError, match="'r1'") as caught:
        list(model.score(requests_of(["a"], None)))
    assert caught.value.hint

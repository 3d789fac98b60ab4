"""Recent popularity, item-kNN and EASE against sums done by hand."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from llmrs_bench.core.errors import ModelError
from llmrs_bench.recommenders.base import BLOCK, Corpus, Recommender, TrainContext
from llmrs_bench.recommenders.ease import Ease, EaseOptions
from llmrs_bench.recommenders.itemknn import ItemKNN, ItemKNNOptions
from llmrs_bench.recommenders.recent_popularity import RecentPopularity, RecentPopularityOptions
from recommender_cases import corpus_of, interactions_of, request_of, scores_of

DAY = 86_400


def corpus(events: list[tuple[str, str, int]]) -> Corpus:
    return corpus_of(interactions_of([(user, item, day * DAY, "train") for user, item, day in events]))


def asked(
    model: Recommender, candidates: list[str], *, history: list[str] | None = None, day: int = 0
) -> dict[str, float]:
    return scores_of(model, request_of(history or [], candidates, cutoff=day * DAY))["r"]


def recent(half_life: float, events: list[tuple[str, str, int]]) -> RecentPopularity:
    model = RecentPopularity(RecentPopularityOptions(half_life=half_life), seed=0, device="cpu")
    model.fit(corpus(events), TrainContext())
    return model


@pytest.mark.parametrize(
    ("day", "values"),
    [
        (0, {"a": 0, "b": 0, "c": 0}),
        (1, {"a": 1 / 2, "b": 0, "c": 0}),
        (3, {"a": 1 / 8 + 1 / 2, "b": 1 / 2, "c": 0}),
        (13, {"a": (1 / 8 + 1 / 2) / 1024, "b": 1 / 2048, "c": 0}),
    ],
)
def test_events_fade_by_half_and_those_of_the_future_do_not_count(day: int, values: dict[str, float]) -> None:
    model = recent(1.0, [("u", "a", 0), ("v", "a", 2), ("v", "b", 2), ("w", "a", 20), ("w", "c", 20)])
    assert asked(model, ["a", "b", "c"], day=day) == pytest.approx(values)


def test_an_endless_half_life_is_popularity() -> None:
    model = recent(1e9, [("u", "a", 0), ("v", "a", 2), ("w", "b", 3)])
    assert asked(model, ["a", "b"], day=9) == pytest.approx({"a": 2, "b": 1})


def test_many_requests_are_each_scored_at_their_own_time() -> None:
    rng = np.random.default_rng(0)
    events = [(f"u{user}", f"i{item}", day) for user, item, day in zip(*rng.integers(12, size=(3, 80)), strict=True)]
    days = [int(day) for day in rng.integers(14, size=2 * BLOCK + 3)]
    requests = pl.concat(
        [request_of([], ["i1", "i2", "none"], name=f"r{n}", cutoff=day * DAY) for n, day in enumerate(days)]
    )
    table = scores_of(recent(2.0, events), requests)
    for number, day in enumerate(days):
        want = dict.fromkeys(("i1", "i2", "none"), 0.0)
        for _, item, at in events:
            if item in want and at < day:
                want[item] += 0.5 ** ((day - at) / 2.0)
        assert table[f"r{number}"] == pytest.approx(want)


def test_recent_popularity_needs_events() -> None:
    with pytest.raises(ModelError, match="no interactions"):
        recent(1.0, [])


EVENTS = [(user, item, 0) for user, items in {"u": "ab", "v": "abc", "w": "bcd", "x": "ad"}.items() for item in items]


def cosines() -> dict[tuple[str, str], float]:
    """Return the cosine between the columns of the user-item matrix of EVENTS."""
    items, users = "abcd", "uvwx"
    matrix = np.array([[(user, item, 0) in EVENTS for item in items] for user in users], dtype=float)
    norms = np.linalg.norm(matrix, axis=0)
    table = matrix.T @ matrix / np.outer(norms, norms)
    return {(one, other): table[i, j] for i, one in enumerate(items) for j, other in enumerate(items)}


def knn(**options: object) -> ItemKNN:
    model = ItemKNN(ItemKNNOptions.model_validate(options), seed=0, device="cpu")
    model.fit(corpus(EVENTS), TrainContext())
    return model


def test_itemknn_sums_cosines_to_the_history() -> None:
    near = cosines()
    scores = asked(knn(), ["c", "d", "unknown"], history=["a", "b", "unknown"])
    want = {"c": near["a", "c"] + near["b", "c"], "d": near["a", "d"] + near["b", "d"], "unknown": 0.0}
    assert scores == pytest.approx(want)


def test_itemknn_looks_at_the_newest_items_alone() -> None:
    scores = asked(knn(max_history=1), ["d"], history=["a", "c"])
    assert scores == pytest.approx({"d": cosines()["c", "d"]})


def test_itemknn_keeps_the_nearest_neighbours_alone() -> None:
    model = knn(neighbours=2)  # each item itself, and one more
    near = cosines()
    best = max("acd", key=lambda item: near["b", item])
    scores = asked(model, list("acd"), history=["b"])
    assert scores == pytest.approx({item: near["b", item] if item == best else 0.0 for item in "acd"})


@pytest.mark.parametrize("similarity", ["cosine", "tfidf", "bm25"])
def test_itemknn_comes_back_from_disk(tmp_path: Path, similarity: str) -> None:
    model = knn(similarity=similarity)
    model.save(tmp_path)
    again = ItemKNN.load(tmp_path, device="cpu")
    one, other = (asked(either, list("abcd"), history=["a", "b"]) for either in (model, again))
    assert one == other
    (tmp_path / "weights.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="damaged"):
        ItemKNN.load(tmp_path, device="cpu")


def ease(**options: object) -> Ease:
    model = Ease(EaseOptions.model_validate({"l2": 0.5, **options}), seed=0, device="cpu")
    model.fit(corpus([*EVENTS, ("u", "a", 3)]), TrainContext())  # what is chosen twice counts once
    return model


def ridge_weights(l2: float) -> dict[tuple[str, str], float]:
    """Return the weights of one ridge regression for each item of EVENTS on the columns of all others."""
    items, users = "abcd", "uvwx"
    matrix = np.array([[(user, item, 0) in EVENTS for item in items] for user in users], dtype=float)
    found: dict[tuple[str, str], float] = {}
    for j, target in enumerate(items):
        others = [i for i in range(len(items)) if i != j]
        columns = matrix[:, others]
        solved = np.linalg.solve(columns.T @ columns + l2 * np.eye(len(others)), columns.T @ matrix[:, j])
        found |= {(items[i], target): weight for i, weight in zip(others, solved, strict=True)}
        found[target, target] = 0.0
    return found


def test_ease_is_a_ridge_regression_of_each_item_on_the_others() -> None:
    weights = ridge_weights(0.5)
    scores = asked(ease(), [*"abcd", "unknown"], history=["a", "b", "a", "unknown"])
    want = {item: weights["a", item] + weights["b", item] for item in "abcd"}
    assert scores == pytest.approx({**want, "unknown": 0.0}, abs=1e-6)


def test_ease_looks_at_the_newest_items_alone() -> None:
    scores = asked(ease(max_history=1), ["d"], history=["a", "c"])
    assert scores == pytest.approx({"d": ridge_weights(0.5)["c", "d"]}, abs=1e-6)


def test_ease_says_whom_it_knows_nothing_of() -> None:
    requests = pl.concat([request_of(["a"], ["b"], name="known"), request_of(["unknown"], ["b"], name="unknown")])
    assert ease().unknown(requests) == 1
    assert scores_of(ease(), requests)["unknown"] == {"b": 0.0}


def test_ease_refuses_a_catalogue_that_is_too_large() -> None:
    with pytest.raises(ModelError, match="a matrix of 4 x 4 items, and max_items is 3") as caught:
        ease(max_items=3)
    assert "-O max_items=4" in (caught.value.hint or "")


def test_ease_comes_back_from_disk(tmp_path: Path) -> None:
    model = ease()
    model.save(tmp_path)
    again = Ease.load(tmp_path, device="cpu")
    assert asked(again, list("abcd"), history=["a"]) == asked(model, list("abcd"), history=["a"])
    with pytest.raises(ModelError, match="ease is not fitted"):
        asked(Ease(EaseOptions(), seed=0, device="cpu"), ["a"])
    (tmp_path / "weights.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="damaged"):
        Ease.load(tmp_path, device="cpu")

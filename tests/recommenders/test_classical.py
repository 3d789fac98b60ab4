"""Recent popularity, item-kNN, RP3beta and EASE against sums done by hand."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from llmrs_bench.core.errors import ModelError
from llmrs_bench.recommenders.base import BLOCK, Corpus, Recommender, TrainContext
from llmrs_bench.recommenders.ease import Ease, EaseOptions
from llmrs_bench.recommenders.itemknn import ItemKNN, ItemKNNOptions
from llmrs_bench.recommenders.recent_popularity import RecentPopularity, RecentPopularityOptions
from llmrs_bench.recommenders.rp3beta import RP3beta, RP3betaOptions
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


def walks(events: list[tuple[str, str]], alpha: float, beta: float) -> NDArray[np.float64]:
    """Return the weights between all items, sorted, as products of transition matrices: row i to column j."""
    users, items = (sorted({event[side] for event in events}) for side in (0, 1))
    matrix = np.array([[(user, item) in events for item in items] for user in users], dtype=float)
    to_items = (matrix / matrix.sum(1, keepdims=True)) ** alpha
    to_users = (matrix.T / matrix.T.sum(1, keepdims=True)) ** alpha
    weights: NDArray[np.float64] = (to_users @ to_items) / matrix.sum(0) ** beta
    np.fill_diagonal(weights, 0)
    return weights


def walker(events: list[tuple[str, str]], **options: object) -> RP3beta:
    model = RP3beta(RP3betaOptions.model_validate(options), seed=0, device="cpu")
    model.fit(corpus([(user, item, 0) for user, item in events]), TrainContext())
    return model


PAIRS = [(user, item) for user, item, _ in EVENTS]


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.0), (1.0, 0.6), (0.5, 0.9), (0.2, 0.3)])
def test_rp3beta_sums_walks_from_the_history(alpha: float, beta: float) -> None:
    weights = walks(PAIRS, alpha, beta)
    model = walker([*PAIRS, ("u", "a")], alpha=alpha, beta=beta)  # what is chosen twice counts once
    scores = asked(model, [*"abcd", "unknown"], history=["a", "b", "unknown"])
    want = {item: weights[0, place] + weights[1, place] for place, item in enumerate("abcd")}
    assert scores == pytest.approx({**want, "unknown": 0.0})


@pytest.mark.parametrize("kept", [1, 3, 7, 30])
@pytest.mark.parametrize("beta", [0.3, 1.5])
def test_rp3beta_keeps_the_largest_weights_of_each_item(kept: int, beta: float) -> None:
    rng = np.random.default_rng(1)
    drawn = zip(rng.integers(60, size=400), (rng.beta(1, 3, size=400) * 25).astype(int), strict=True)
    events = sorted({(f"u{user:02}", f"i{item:02}") for user, item in drawn})
    weights = walks(events, 1.0, beta)
    items = sorted({item for _, item in events})
    model = walker(events, beta=beta, neighbours=kept)
    for place, item in enumerate(items):
        found = asked(model, items, history=[item])
        floor = np.sort(weights[place])[-min(kept, len(items))]
        assert sorted(found.values())[-kept:] == pytest.approx(np.sort(weights[place])[-kept:])
        assert sum(score > 0 for score in found.values()) <= kept
        above = {one: weights[place, at] for at, one in enumerate(items) if weights[place, at] > floor * (1 + 1e-9)}
        assert {one: found[one] for one in above} == pytest.approx(above)


def test_rp3beta_comes_back_from_disk(tmp_path: Path) -> None:
    model = walker(PAIRS)
    model.save(tmp_path)
    again = RP3beta.load(tmp_path, device="cpu")
    assert asked(again, list("abcd"), history=["a"]) == asked(model, list("abcd"), history=["a"])
    with pytest.raises(ModelError, match="rp3beta is not fitted"):
        asked(RP3beta(RP3betaOptions(), seed=0, device="cpu"), ["a"])
    with pytest.raises(ModelError, match="itemknn"):
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

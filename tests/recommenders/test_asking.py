"""Scores as tables: the best of a catalogue and those of candidate lists, against whole matrices ranked by hand."""

from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from llmrs_bench.core import config
from llmrs_bench.core.errors import ModelError
from llmrs_bench.core.hashing import hash64, uniform_hash
from llmrs_bench.core.types import Json
from llmrs_bench.ranking import rank_best, rank_candidates
from llmrs_bench.recommenders import base
from llmrs_bench.recommenders.base import Corpus, ScoreBlock, TrainContext, best_items, score_candidates
from recommender_cases import request_of, scores_of

CATALOGUE = [f"i{number:03}" for number in range(120)]
CANDIDATES = CATALOGUE[::7]


class Table:
    """Scores by a function of request and item, in blocks of three rows that come in no order."""

    Options: ClassVar[type[config.Options]] = config.Options
    learns: ClassVar[bool] = True

    def __init__(self, levels: int, seed: int = 0) -> None:
        self.levels, self.seed = levels, seed

    def fit(self, corpus: Corpus, work: TrainContext) -> dict[str, Json]:
        return {}

    def value(self, request: str, item: str) -> float:
        """Return one of a few values, so that most items tie with others."""
        return float(hash64(f"{self.seed} {request} {item}") % self.levels)

    def score(self, requests: pl.DataFrame, items: pl.Series) -> Iterator[ScoreBlock]:
        order = np.random.default_rng(1).permutation(len(requests))
        for start in range(0, len(order), 3):
            rows = order[start : start + 3]
            table = [[self.value(name, item) for item in items] for name in requests["request_id"].gather(rows)]
            yield ScoreBlock(rows, np.array(table, dtype=np.float32))


def requests(count: int = 10) -> pl.DataFrame:
    """Requests with histories of up to nine items, one of them in no catalogue, one twice."""
    rng = np.random.default_rng(0)
    frames = []
    for number in range(count):
        seen = [CATALOGUE[at] for at in rng.integers(len(CATALOGUE), size=number % 10)]
        frames.append(request_of([*seen, "unknown", *seen[:1]], CANDIDATES[number % 4 :], name=f"r{number:02}"))
    return pl.concat(frames)


def by_hand(
    model: Table, asked: pl.DataFrame, depth: int, seed: int, include_seen: bool
) -> dict[str, list[tuple[str, float]]]:
    """Return the first `depth` items of each request, by score and then by the hash of the tie rule."""
    orders = {}
    for name, history in asked.select("request_id", "history").iter_rows():
        items = [item for item in CATALOGUE if include_seen or item not in history]
        hashes = uniform_hash(seed, pl.Series([name] * len(items), dtype=pl.String), pl.Series(items, dtype=pl.String))
        order = sorted(
            zip(items, hashes.tolist(), strict=True), key=lambda pair: (-model.value(name, pair[0]), pair[1])
        )
        orders[name] = [(item, model.value(name, item)) for item, _ in order[:depth]]
    return orders


def best(
    model: Table, asked: pl.DataFrame, depth: int, seed: int, include_seen: bool, catalogue: list[str] = CATALOGUE
) -> dict[str, list[tuple[str, float]]]:
    found = best_items(model, asked, pl.Series(catalogue), depth=depth, include_seen=include_seen)
    ranked = pl.concat([rank_best(part, depth=depth, seed=seed) for part in found])
    orders: dict[str, list[tuple[str, float]]] = {}
    for name, item, rank, score in ranked.sort("request_id", "rank").iter_rows():
        orders.setdefault(name, []).append((item, score))
        assert rank == len(orders[name])
    return orders


def _by(found_by: Any, *given: Any, quick: bool, chosen: bool) -> Any:
    return found_by(*given, quick=chosen)


@pytest.mark.parametrize("include_seen", [False, True])
@pytest.mark.parametrize("depth", [1, 10, 100])
@pytest.mark.parametrize("levels", [2, 4, 10**6])
def test_the_best_items_are_the_first_of_the_whole_order(
    levels: int, depth: int, include_seen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, asked = Table(levels), requests()
    found_by = base._worst_of_best
    for seed, quick in ((0, True), (7, False)):  # by PyTorch, and by NumPy
        monkeypatch.setattr(base, "_worst_of_best", partial(_by, found_by, chosen=quick))
        assert best(model, asked, depth, seed, include_seen) == by_hand(model, asked, depth, seed, include_seen)


@pytest.mark.parametrize("include_seen", [False, True])
def test_a_depth_beyond_the_catalogue_ranks_all_there_is(include_seen: bool) -> None:
    model, asked = Table(3), requests()
    found = best(model, asked, 1000, 0, include_seen)
    assert found == by_hand(model, asked, 1000, 0, include_seen)
    for name, history in asked.select("request_id", "history").iter_rows():
        left_out = 0 if include_seen else len(set(history) & set(CATALOGUE))
        assert len(found[name]) == len(CATALOGUE) - left_out


def test_every_item_that_ties_with_the_last_is_handed_on() -> None:
    (part,) = best_items(Table(1), requests(3), pl.Series(CATALOGUE), depth=5, include_seen=True)
    assert part.height == 3 * len(CATALOGUE)
    assert set(part["score"]) == {0.0}


@pytest.mark.slow
def test_a_constant_scorer_is_not_ordered_by_id_or_catalogue() -> None:
    asked = pl.concat([request_of([], [], name=f"r{number}") for number in range(400)])
    found = best(Table(1), asked, 20, 0, True)
    assert found == best(Table(1), asked, 20, 0, True, CATALOGUE[::-1])
    counts = dict.fromkeys(CATALOGUE, 0)
    for order in found.values():
        for item, _ in order:
            counts[item] += 1
    expected = 400 * 20 / len(CATALOGUE)
    # Draws without replacement vary less than a chi-square with 119 degrees of freedom; 172 is its 0.999 quantile.
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < 172
    assert found["r0"] != found["r1"]


def test_a_user_who_has_seen_everything_is_ranked_nothing() -> None:
    asked = pl.concat([request_of(CATALOGUE, [], name="all"), request_of(CATALOGUE[1:], [], name="but one")])
    assert best(Table(5), asked, 10, 0, False).keys() == {"but one"}
    assert len(best(Table(5), asked, 10, 0, True)["all"]) == 10


def test_scores_handed_out_are_not_overwritten() -> None:
    """A model may hand out views of what it keeps."""
    kept: NDArray[np.float64] = np.arange(len(CATALOGUE), dtype=np.float64)

    class Keeper(Table):
        def score(self, requests: pl.DataFrame, items: pl.Series) -> Iterator[ScoreBlock]:
            yield ScoreBlock(np.arange(len(requests)), np.broadcast_to(kept, (len(requests), len(kept))))

    list(best_items(Keeper(1), requests(4), pl.Series(CATALOGUE), depth=5, include_seen=False))
    assert kept.tolist() == list(range(len(CATALOGUE)))


def test_nothing_is_asked_where_there_is_nothing_to_ask() -> None:
    nothing = pl.Series([], dtype=pl.String)
    assert list(best_items(Table(2), requests().clear(), pl.Series(CATALOGUE), depth=5, include_seen=True)) == []
    assert list(best_items(Table(2), requests(), nothing, depth=5, include_seen=True)) == []
    assert score_candidates(Table(2), requests().clear()).is_empty()


def test_candidates_get_the_scores_of_the_dense_blocks() -> None:
    model, asked = Table(50), requests()
    assert scores_of(model, asked) == {
        name: {item: model.value(name, item) for item in candidates}
        for name, candidates in asked.select("request_id", "candidates").iter_rows()
    }
    frame = score_candidates(model, asked)
    assert frame.schema == {"request_id": pl.String, "item_id": pl.String, "score": pl.Float64}
    assert rank_candidates(asked, frame, seed=0).height == asked["candidates"].list.len().sum()


def test_an_empty_list_gets_no_scores() -> None:
    asked = pl.concat([request_of([], ["i000"], name="r"), request_of([], [], name="s")])
    assert scores_of(Table(5), asked).keys() == {"r", "s"}
    assert scores_of(Table(5), asked)["s"] == {}
    assert scores_of(Table(5), request_of([], [])) == {"r": {}}


def test_a_request_without_a_list_is_an_error() -> None:
    asked = pl.concat([request_of([], ["i000"], name="r0"), request_of([], None, name="r1")])
    with pytest.raises(ModelError, match="1 requests have no candidates, the first is 'r1'") as caught:
        score_candidates(Table(5), asked)
    assert "candidate lists" in caught.value.hint

"""Scores of the trained networks: what they depend on, and what is unknown."""

import math
from typing import Any

import polars as pl
import pytest
import torch

from llmrs_bench.recommenders.neural import UNKNOWN_SCORE
from recommender_cases import FACTORS, NEURAL, RING, SEQUENTIAL, request_of, ring, ring_requests, scores_of, trained


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    return {name: trained(name, ring()) for name in NEURAL}


@pytest.fixture(params=NEURAL)
def model(request: pytest.FixtureRequest, models: dict[str, Any]) -> Any:
    """A model trained for four epochs on the ring."""
    return models[request.param]


def test_scores_do_not_depend_on_order_or_company(model: Any) -> None:
    asked = ring_requests()
    together = scores_of(model, asked)
    turned = asked.reverse().with_columns(pl.col("candidates").list.reverse())
    assert scores_of(model, turned) == together
    for row in asked.iter_slices(1):
        some = row["candidates"][0].to_list()[:2]
        alone = scores_of(model, row.with_columns(candidates=pl.Series([some])))
        assert alone == {row["request_id"][0]: {item: together[row["request_id"][0]][item] for item in some}}


def test_scoring_leaves_no_mode_behind_between_blocks(model: Any) -> None:
    many = pl.concat([ring_requests()] * 60)
    modes = [torch.is_inference_mode_enabled() for _ in model.score(many, pl.Series(RING))]
    assert modes == [False] * 3


@pytest.mark.parametrize(("name", "size"), [("sasrec", 6), ("gru4rec", 6), ("bert4rec", 5), ("fpmc", 1), ("bprmf", 0)])
def test_the_newest_items_of_the_history_alone_count(name: str, size: int, models: dict[str, Any]) -> None:
    recent = RING[4 : 4 + size]

    def asked(history: list[str]) -> dict[str, float]:
        return scores_of(models[name], request_of(history, RING, user="u0"))["r"]

    want = asked(RING[12:20] + recent)
    assert asked(RING[13:16] + recent) == want
    assert asked([*RING[12:20], "unknown", *recent, "nobody knows it"]) == want
    if size:
        assert asked([*RING[12:20], RING[20], *recent[1:]]) != want


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_who_asks_does_not_matter_to_models_of_histories(name: str, models: dict[str, Any]) -> None:
    one, other = (request_of(RING[:5], RING, user=user) for user in ("u0", "stranger"))
    assert scores_of(models[name], one) == scores_of(models[name], other)


@pytest.mark.parametrize("name", FACTORS)
def test_who_asks_matters_to_factors(name: str, models: dict[str, Any]) -> None:
    one, other = (request_of(RING[:5], RING, user=user) for user in ("u0", "u1"))
    assert scores_of(models[name], one) != scores_of(models[name], other)


def shares_of(interactions: pl.DataFrame) -> dict[str, Any]:
    train = interactions.filter(part="train")["item_id"].to_list()
    return {item: pytest.approx(math.log(train.count(item) / len(train))) for item in set(train)}


@pytest.mark.parametrize("history", [[], ["nobody", "knows"]])
def test_without_anything_known_an_item_scores_the_log_of_its_share(model: Any, history: list[str]) -> None:
    values = scores_of(model, request_of(history, [*RING, "new"], user="stranger"))["r"]
    assert values.pop("new") == UNKNOWN_SCORE
    assert values == shares_of(ring())


def test_a_known_user_or_a_known_newest_item_is_enough_for_factors(models: dict[str, Any]) -> None:
    shares = shares_of(ring())
    for name in FACTORS:
        assert scores_of(models[name], request_of([], RING, user="u0"))["r"] != shares
    stranger = request_of(RING[:3], RING, user="stranger")
    assert scores_of(models["fpmc"], stranger)["r"] != shares
    assert scores_of(models["bprmf"], stranger)["r"] == shares


def test_shares_and_states_stay_with_their_requests(model: Any) -> None:
    empty, full = (request_of(history, RING, name=name, user=name) for name, history in (("x", []), ("u0", RING[:3])))
    both = scores_of(model, pl.concat([empty, full, empty.with_columns(request_id=pl.lit("y"))]))
    assert both["x"] == both["y"] == shares_of(ring())
    assert both["u0"] == scores_of(model, full)["u0"] != both["x"]


def test_an_unknown_candidate_is_below_every_known_one(model: Any) -> None:
    values = scores_of(model, request_of(RING[:3], [*RING, "new"], user="u0"))["r"]
    assert values.pop("new") == UNKNOWN_SCORE < min(values.values())

"""New users with so many known events, and items that few had an event with."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from film_data import write_films
from llmrs_bench.core.config import PrepareConfig
from llmrs_bench.core.errors import DataError
from llmrs_bench.ranking import TIE_RULE, rank_candidates
from llmrs_bench.stages.groups import group_requests
from llmrs_bench.stages.ties import ranked, tie_parts
from llmrs_bench.stages.workspace import Data
from stage_runs import prepared, run


def made(folder: Path, **options: Any) -> Data:
    films = folder / "films"
    films.mkdir(exist_ok=True)
    return prepared(folder / "home", write_films(films), "cold", **{"n_candidates": 6, **options})


@pytest.mark.parametrize("split", [{}, {"split": "time", "cut": "0.8"}, {"split": "time", "cut": "0.6", "windows": 2}])
def test_the_same_is_asked_of_new_users_with_more_and_more_known(tmp_path: Path, split: dict[str, Any]) -> None:
    data = made(tmp_path, users=4, cold_users="3,0,1", **split)
    requests = data.artifact.table("requests")
    assert requests["user_id"].n_unique() == 4
    stems = requests.with_columns(known=pl.col("request_id").str.extract(r"-m(\d+)$").cast(pl.Int64))
    assert stems["known"].unique().sort().to_list() == [0, 1, 3]
    assert (stems["history"].list.len() == stems["known"]).all()
    for _, same in stems.group_by(pl.col("request_id").str.replace(r"-m\d+$", "")):
        assert same.height == 3
        assert same["candidates"].n_unique() == same["cutoff"].n_unique() == 1
        least, _, most = same.sort("known")["history"].to_list()
        assert same.sort("known")["history"].to_list()[1] == most[-1:]
        assert least == []
    truth = data.artifact.table("truth").join(requests, on="request_id")
    assert truth.height == requests.height
    assert truth.select(pl.col("candidates").list.contains(pl.col("item_id")).all()).item()


def test_models_learn_from_nothing_that_test_users_did(tmp_path: Path) -> None:
    data = made(tmp_path, users=4, cold_users="0,2")
    tested = set(data.artifact.table("requests")["user_id"])
    assert tested.isdisjoint(data.artifact.table("interactions")["user_id"])
    assert data.artifact.table("interactions")["user_id"].n_unique() == 8
    assert data.artifact.facts["sampling"]["requests"] == data.artifact.facts["requests"] == 8
    words = data.artifact.facts["split_words"]
    assert words == "leave-one-out; test users are new, with 0, 2 known events"


def test_what_is_known_is_a_group_and_what_a_model_cannot_know_is_counted(tmp_path: Path) -> None:
    data = made(tmp_path, users=4, cold_users="0,1,2")
    groups = group_requests(data, "known")
    assert groups.sort("order")["group"].unique(maintain_order=True).to_list() == ["0 events", "1 event", "2 events"]
    warnings = run(data, "itemknn").facts["warnings"]
    assert any("itemknn has no data on 4 of 12" in words for words in warnings)


def test_users_with_too_few_events_are_not_tested_and_counted(tmp_path: Path) -> None:
    data = made(tmp_path, users="all", cold_users="0,7", split="time", cut="0.4", target="random")
    few = data.artifact.facts["split"]["users_with_too_few_events"]
    assert few
    assert data.artifact.table("requests")["user_id"].n_unique() == 12 - few
    (rule,) = [rule for rule in data.artifact.facts["rules"] if rule.startswith("events that users have")]
    assert f"at least 0 for 12, at least 7 for {12 - few}; " in rule
    assert rule.endswith(f"so {12 - few} of 12 users can be tested")
    with pytest.raises(DataError, match="none of 12 test users has 9 events before the target") as caught:
        made(tmp_path / "home", users=4, cold_users="9")
    assert "up to 8" in caught.value.hint


def test_somebody_has_to_be_learned_from(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="all 12 users are test users") as caught:
        made(tmp_path, users="all", cold_users="0")
    assert caught.value.hint == "Test fewer: --users 2, for instance."


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cold_users": "1,1"}, "names a number twice"),
        ({"cold_users": "few"}, "cold_users"),
        ({"cold_users": "-1"}, "cold_users"),
        ({"cold_users": "0", "candidates": "impressions"}, "--cold-users has no effect"),
        ({"cold_items": 0}, "cold_items"),
        ({"cold_users": "0", "task": "click"}, "--cold-users would have no effect with --task click"),
    ],
)
def test_numbers_that_say_nothing_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PrepareConfig.model_validate({"dataset": "x", **options})


def test_cold_items_are_asked_for_among_such(tmp_path: Path) -> None:
    data = made(tmp_path, users="all", cold_items=2)
    counts = dict(data.artifact.table("interactions").group_by("item_id").len().iter_rows())
    targets = data.artifact.table("truth")["item_id"]
    assert len(targets)
    assert all(counts.get(item, 0) < 2 for item in targets)
    assert all(counts.get(item, 0) < 2 for item in data.artifact.table("requests")["candidates"].explode())
    assert data.artifact.facts["split"]["cold_targets"] == len(targets)
    with pytest.raises(DataError, match="no target has fewer than 1 training events"):
        made(tmp_path / "home", users="all", cold_items=1, k_core=3)


def test_ties_of_all_copies_of_a_request_are_those_of_the_request(tmp_path: Path) -> None:
    data = made(tmp_path, users=4, cold_users="0,1,2")
    requests = data.artifact.table("requests")
    once = requests.filter(pl.col("request_id").str.ends_with("-m2"))
    plain = once.with_columns(pl.col("request_id").str.strip_suffix("-m2"))
    orders = dict(by_request(rank_candidates(plain, tied(plain), seed=0)))
    assert len(orders) == 4
    found = by_request(ranked(data, tied(requests)))
    assert found == [(f"{name}-m{known}", order) for name, order in orders.items() for known in (0, 1, 2)]
    assert by_request(ranked(data, tied(once), once)) == [(f"{name}-m2", order) for name, order in orders.items()]
    assert tie_parts(data)["tie_rule"] == f"{TIE_RULE}; of copies of a request alike"


def tied(requests: pl.DataFrame) -> pl.DataFrame:
    return requests.select("request_id", item_id="candidates", score=pl.lit(0.5)).explode("item_id")


def by_request(rankings: pl.DataFrame) -> list[tuple[str, list[str]]]:
    ordered = rankings.sort("request_id", "rank")
    return list(ordered.group_by("request_id", maintain_order=True).agg("item_id").iter_rows())

"""Several draws of candidates: the same requests with other lists."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from film_data import write_films
from llmrs_bench.core.config import PrepareConfig
from llmrs_bench.core.errors import OptionError
from llmrs_bench.stages.compare import candidate_words, owners
from llmrs_bench.stages.workspace import Data
from stage_runs import prepared


def made(folder: Path, **options: Any) -> Data:
    films = folder / "films"
    films.mkdir(exist_ok=True)
    return prepared(folder / "home", write_films(films), "drawn", **{"n_candidates": 4, "users": 6, **options})


@pytest.mark.parametrize("split", [{}, {"split": "time", "cut": "0.6", "windows": 2}])
def test_only_the_candidates_differ_between_draws(tmp_path: Path, split: dict[str, Any]) -> None:
    data = made(tmp_path, draws=3, **split)
    requests, drawn = data.artifact.table("requests"), data.artifact.table("draws")
    assert drawn["request_id"].equals(requests["request_id"])
    assert (drawn["request_id"] == pl.select(pl.format("{}-c{}", drawn["asked"], drawn["draw"])).to_series()).all()
    for _, same in requests.with_columns(asked=drawn["asked"]).group_by("asked"):
        assert same.height == 3
        assert same["history"].n_unique() == same["cutoff"].n_unique() == same["user_id"].n_unique() == 1
        assert same["candidates"].list.sort().n_unique() > 1 or same["candidates"].n_unique() > 1
    truth = data.artifact.table("truth").join(requests, on="request_id")
    assert truth.height == requests.height == data.artifact.facts["requests"]
    assert truth.select(pl.col("candidates").list.contains(pl.col("item_id")).all()).item()
    if split:
        assert data.artifact.table("conditions")["request_id"].equals(requests["request_id"])


def test_the_first_lists_are_those_of_one_draw(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    one = made(tmp_path / "one").artifact
    three = made(tmp_path, draws=3)
    first = three.artifact.table("requests").filter(pl.col("request_id").str.ends_with("-c1"))
    assert first["candidates"].equals(one.table("requests")["candidates"])
    assert "draws" not in one.manifest.tables
    assert "drawn 3 times" in candidate_words(three)
    plan = owners(three)
    assert plan["unit"] == "requests"
    assert set(plan["draws"].values()) >= {(f"test-{user}", 2) for user in first["user_id"]}


@pytest.mark.parametrize("options", [{"candidates": "all"}, {"candidates": "model:itemknn"}, {"cold_users": "0,1"}])
def test_lists_that_are_not_drawn_are_not_drawn_again(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="--draws applies only to --candidates random and popularity"):
        PrepareConfig.parse({"dataset": "demo", "draws": 2, **options}, owner="prepare")

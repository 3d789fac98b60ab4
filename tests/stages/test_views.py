"""What prompts tell of a request beside its latest history, and in which orders: nothing that gives the target away."""

from contextlib import closing
from typing import Any

import polars as pl
import pytest

from llmrs_bench.core.config import PromptConfig
from llmrs_bench.core.errors import LeakError, OptionError
from llmrs_bench.core.schemas import VIEWS, from_rows
from llmrs_bench.core.view_options import ViewOptions
from llmrs_bench.prompts.leakage import check_views
from llmrs_bench.stages.prompt import prompt
from llmrs_bench.stages.prompt_variants import ViewBuilder
from llmrs_bench.stages.workspace import Data


def views(data: Data, *, history: int = 3, rated: bool = False, **options: Any) -> pl.DataFrame:
    viewer = ViewBuilder(data, ViewOptions(**options), history=history, rated=rated, interest={}, notes={})
    with closing(viewer):
        made = viewer.views(data.artifact.table("requests"))
    assert made.schema == VIEWS
    return made


def test_the_latest_history_is_told_and_each_request_once(data: Data) -> None:
    requests, made = data.artifact.table("requests"), views(data)
    assert made["view_id"].to_list() == made["request_id"].to_list() == requests["request_id"].to_list()
    assert made["history"].to_list() == [row[-3:] for row in requests["history"].to_list()]
    assert made["candidates"].equals(requests["candidates"].alias("candidates"))


def test_pasts(data: Data) -> None:
    own = views(data)["history"].to_list()
    assert set(map(tuple, views(data, past="none")["history"])) == {()}
    shuffled = views(data, past="shuffled")["history"].to_list()
    assert [sorted(row) for row in shuffled] == [sorted(row) for row in own]
    assert shuffled != own
    others = views(data, past="other")
    assert others["history"].to_list() != own
    for row in others.iter_rows(named=True):
        assert not set(row["history"]) & set(row["candidates"])
    assert views(data, history=0, past="other")["history"].to_list() == [[]] * len(own)
    assert views(data, past="shuffled")["history"].to_list() == shuffled


def test_ratings_stand_beside_their_items(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    events = data.artifact.table("interactions")
    stars = events.with_columns(rating=pl.col("item_id").str.slice(1).cast(pl.Float32, strict=False))
    monkeypatch.setattr(ViewBuilder, "_events", stars)
    made = views(data, rated=True)
    for row in made.iter_rows(named=True):
        assert row["ratings"] == [float(item[1:]) for item in row["history"]]
    assert views(data, history=0, rated=True)["ratings"].to_list() == [[]] * made.height


def test_each_order_is_a_new_permutation(data: Data) -> None:
    made = views(data, orders=4)
    requests = data.artifact.table("requests")
    seen = []
    for (request_id,), group in made.group_by("request_id", maintain_order=True):
        orders = [tuple(order) for order in group["candidates"]]
        assert len(set(orders)) == 4
        assert len({frozenset(order) for order in orders}) == 1
        assert group["view_id"].to_list() == [f"{request_id}~{number}" for number in range(4)]
        seen.append(orders)
    assert [list(orders[0]) for orders in seen] == requests["candidates"].to_list()
    moves = {tuple(orders[0].index(item) for item in orders[1]) for orders in seen}
    assert len(moves) == len(seen)  # drawn for each request, not once for all


def test_no_more_orders_than_there_are(data: Data) -> None:
    short = data.artifact.table("requests").with_columns(pl.col("candidates").list.head(3))
    viewer = ViewBuilder(data, ViewOptions(orders=10), history=1, rated=False, interest={}, notes={})
    made = viewer.views(short).group_by("request_id").len()["len"]
    assert set(made) == {6}


def test_slots_move_the_target_alone(data: Data) -> None:
    truth = dict(data.artifact.table("truth").select("request_id", "item_id").iter_rows())
    before = dict(data.artifact.table("requests").select("request_id", "candidates").iter_rows())
    made = views(data, slots=(0, 5, 9))
    for number, row in enumerate(made.iter_rows(named=True)):
        target, others = truth[row["request_id"]], list(before[row["request_id"]])
        assert row["candidates"].index(target) == (0, 5, 9)[number % 3]
        others.remove(target)
        assert [item for item in row["candidates"] if item != target] == others


def test_a_slot_behind_the_list_is_refused(data: Data) -> None:
    with pytest.raises(OptionError, match="slot 10") as caught:
        views(data, slots=(0, 10))
    assert "0 to 9" in caught.value.hint


def test_ratings_that_are_not_there_are_refused(data: Data) -> None:
    """Likes and dislikes of a data set without ratings would be an empty history."""
    with pytest.raises(OptionError, match="no ratings"):
        views(data, rated=True)


@pytest.mark.parametrize("query", ["candidates", "recent"])
def test_relevant_items_are_of_the_earlier_history(data: Data, query: str) -> None:
    made = views(data, history=2, relevant=2, query=query)
    histories = data.artifact.table("requests")["history"].to_list()
    assert any(made["relevant"].list.len() == 2)
    assert not any(set(row["relevant"]) & set(row["candidates"]) for row in made.iter_rows(named=True))
    for row, history in zip(made["relevant"], histories, strict=True):
        assert list(row) == [item for item in history[:-2] if item in set(row)]


def test_examples_hold_no_candidate(data: Data) -> None:
    for source in ("self", "similar"):
        made = views(data, shots=2, shots_from=source)
        assert any(made["examples"].list.len() > 0)
        for row in made.iter_rows(named=True):
            told = {item for example in row["examples"] for item in (*example["history"], example["next"])}
            assert not told & set(row["candidates"])


def test_examples_of_others_are_older_than_the_request(data: Data) -> None:
    events = data.artifact.table("interactions")
    times: dict[str, list[tuple[str, int]]] = {}
    for user, item, time in events.select("user_id", "item_id", "timestamp").iter_rows():
        times.setdefault(item, []).append((user, time))
    early = data.artifact.table("requests").with_columns(cutoff=pl.col("cutoff").min())
    viewer = ViewBuilder(
        data, ViewOptions(shots=2, shots_from="similar"), history=3, rated=False, interest={}, notes={}
    )
    first = early["cutoff"][0]
    for examples in viewer.views(early)["examples"]:
        for example in examples:
            assert min(time for _, time in times[example["next"]]) < first


def row(**changed: Any) -> pl.DataFrame:
    told = {
        "view_id": "r", "request_id": "r", "user_id": "u", "history": ["a"], "ratings": [], "liked": [],
        "candidates": ["t", "b"], "relevant": [], "examples": [], "interest": "", "notes": [], "sample": 0,
    }  # fmt: skip
    return from_rows("views", [{**told, **changed}])


TITLES = {"a": "Heat", "b": "Alien", "t": "The Matrix", "m": "Brazil"}


def truth(target: str, label: float = 1.0) -> pl.DataFrame:
    return from_rows("truth", [{"request_id": "r", "item_id": target, "label": label}])


@pytest.mark.parametrize(
    ("changed", "where"),
    [
        ({"relevant": ["b", "t"]}, "retrieved"),
        ({"examples": [{"history": ["t"], "next": "b"}]}, "examples"),
        ({"examples": [{"history": ["b"], "next": "t"}]}, "examples"),
        ({"interest": "They will love The Matrix."}, "interest"),
    ],
)
def test_a_target_told_outside_the_candidates_stops_the_stage(changed: dict[str, Any], where: str) -> None:
    with pytest.raises(LeakError, match=where) as caught:
        check_views(row(**changed), truth("t"), TITLES)
    assert "'r'" in str(caught.value)
    assert caught.value.hint


def test_an_item_that_is_asked_about_and_not_liked_is_looked_for_too() -> None:
    with pytest.raises(LeakError, match="retrieved"):
        check_views(row(candidates=["t"], relevant=["t"]), truth("t", 0.0), TITLES)


@pytest.mark.parametrize("target", ["t", "m"])
def test_each_of_several_targets_is_looked_for(target: str) -> None:
    both = pl.concat([truth("t"), truth("m")])
    for changed in ({"relevant": [target]}, {"interest": f"They will love '{TITLES[target]}'."}):
        with pytest.raises(LeakError, match=repr(target)):
            check_views(row(**changed), both, TITLES)
    assert check_views(row(history=["a", target]), both, TITLES) == 1


def test_what_is_no_leak() -> None:
    assert check_views(row(interest="They like The Matrixes and matrices."), truth("t"), TITLES) == 0
    assert check_views(row(interest="They take the heat in Brazil."), truth("m"), TITLES) == 0
    assert check_views(row(relevant=["a"], interest="Heat, said they: 'Heat'."), truth("a"), TITLES) == 1
    with pytest.raises(LeakError):
        check_views(row(interest='They like "Brazil".'), truth("m"), TITLES)


def test_the_stage_stops_at_a_leak(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    target = data.artifact.table("truth")["item_id"][0]
    made = ViewBuilder.views

    def leaky(self: ViewBuilder, requests: pl.DataFrame) -> pl.DataFrame:
        return made(self, requests).with_columns(relevant=pl.lit([target], dtype=pl.List(pl.String())))

    monkeypatch.setattr(ViewBuilder, "views", leaky)
    with pytest.raises(LeakError, match="request"):
        prompt(data, PromptConfig())
    assert not list(data.place.prompts.glob("listwise-*"))

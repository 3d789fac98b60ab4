"""Groups of requests: every request is in one, and known users, items and times are in the right one."""

import polars as pl
import pytest

from llmrs_bench.errors import OptionError
from llmrs_bench.stages.groups import GROUPS, group_requests
from llmrs_bench.stages.home import Data

NAMES = [name.replace("YYYY", "2000") for name in GROUPS]


@pytest.mark.parametrize("by", NAMES)
def test_every_request_is_in_a_group_and_groups_have_an_order(data: Data, by: str) -> None:
    found, requests = group_requests(data, by), data.artifact.table("requests")["request_id"].to_list()
    assert found["request_id"].to_list() == requests
    places = found.select("group", "order").unique()
    assert places.height == found["group"].n_unique()
    assert sorted(places["order"]) == list(range(places.height))


def test_slots_are_those_of_the_lists(data: Data) -> None:
    target = dict(data.artifact.table("truth").select("request_id", "item_id").iter_rows())
    lists = dict(data.artifact.table("requests").select("request_id", "candidates").iter_rows())
    for name, group, order in group_requests(data, "slot").iter_rows():
        assert group == str(lists[name].index(target[name]))
        assert order <= int(group)


def test_an_item_without_events_is_cold_and_in_the_tail(data: Data) -> None:
    request = data.artifact.table("truth").filter(pl.col("item_id") == "secret")["request_id"].item()
    for by, group in (("cold-item", "0 events"), ("popularity", "tail"), ("year", "unknown"), ("category", "unknown")):
        found = dict(group_requests(data, by).select("request_id", "group").iter_rows())
        assert found[request] == group


def test_users_are_grouped_by_their_events(data: Data) -> None:
    histories = dict(data.artifact.table("requests").select("request_id", pl.col("history").list.len()).iter_rows())
    for name, group, _ in group_requests(data, "history").iter_rows():
        first, _, last = group.removesuffix(" events").partition("-")
        assert int(first) <= histories[name] <= int(last or first)
    by_user = group_requests(data, "cold-user")
    assert set(by_user["group"]) == {"5-9 events"}


@pytest.mark.parametrize("by", ["users", "released:99", "released", "slot:3"])
def test_unknown_groups_are_refused(data: Data, by: str) -> None:
    with pytest.raises(OptionError, match="unknown group") as caught:
        group_requests(data, by)
    assert "history" in caught.value.hint

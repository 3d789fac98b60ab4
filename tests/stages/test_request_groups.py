"""Groups of requests, on a data set in which everybody's group is known."""

from pathlib import Path
from typing import Any

import pytest

from llmrs_bench.core.config import WHOLE
from llmrs_bench.core.errors import OptionError
from llmrs_bench.llm.model_aliases import MODEL_ALIASES, release_of
from llmrs_bench.stages.groups import GROUPS, group_requests
from llmrs_bench.stages.workspace import Data
from made_data import make_data

DAY = 86_400
WARM, COLD = "warm: user and item have 4 or more training events", "cold: one of them has fewer than 4"
# Events of each item: a 10, b 6, c 3, d 1, e 0; 20 in all.
EVENTS = [*("a" * 10), *("b" * 6), *("c" * 3), "d"]
USERS = {"u0": 0, "u1": 4, "u2": 4, "u3": 12}
TARGETS = {"u0": "a", "u1": "b", "u2": "d", "u3": "e"}
ITEMS: list[dict[str, Any]] = [
    {"item_id": "a", "year": 1989, "categories": ["Drama", "War"]},
    {"item_id": "b", "year": 1990, "categories": ["Drama"]},
    {"item_id": "c", "year": 1991},
    {"item_id": "d", "year": 1999, "categories": []},
    {"item_id": "e"},
]


def made(home: Path, **config: Any) -> Data:
    owners = [user for user, count in USERS.items() for _ in range(count)]
    requests = [
        {
            "request_id": f"test-{user}",
            "user_id": user,
            "cutoff": DAY * at,
            "history": ["c"] * count,
            "candidates": ["c", "d", "a"],
        }
        for at, (user, count) in enumerate(USERS.items())
    ]
    return make_data(
        home,
        items=ITEMS,
        events=[{"user_id": owner, "item_id": item} for owner, item in zip(owners, EVENTS, strict=True)],
        requests=requests,
        truth=[{"request_id": f"test-{user}", "item_id": item} for user, item in TARGETS.items()],
        **config,
    )


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        ("history", ["0 events", "1-4 events", "1-4 events", "10-19 events"]),
        ("activity", ["0 events", "4 events", "4 events", "12 events"]),
        ("popularity", ["head", "mid", "tail", "tail"]),
        ("cold-user", ["0 events", "1-4 events", "1-4 events", "10+ events"]),
        ("cold-item", ["10+ events", "5-9 events", "1-4 events", "0 events"]),
        ("window", ["1970-01-01", "1970-01-02", "1970-01-03", "1970-01-04"]),
        ("slot", ["2", "unknown", "1", "unknown"]),
        ("year", ["1980s", "1990s", "1990s", "unknown"]),
        ("released:1990", ["before 1990", "from 1990", "from 1990", "unknown"]),
        ("warm:4", [COLD, WARM, COLD, COLD]),  # u0 has no event, d and e have one and none
    ],
)
def test_every_request_is_in_its_group(tmp_path: Path, by: str, groups: list[str]) -> None:
    found = group_requests(made(tmp_path), by)
    assert found["request_id"].to_list() == [f"test-{user}" for user in USERS]
    assert found["group"].to_list() == groups
    assert str(found.schema["order"]) == "Int32"
    places = dict(zip(found["group"], found["order"], strict=True))
    assert sorted(places.values()) == list(range(len(places)))
    assert places.get("unknown", len(places) - 1) == len(places) - 1


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        ("history", ["0 events", "1-4 events", "10-19 events"]),
        ("popularity", ["head", "mid", "tail"]),
        ("cold-item", ["0 events", "1-4 events", "5-9 events", "10+ events"]),
        ("slot", ["1", "2", "unknown"]),
        ("released:1990", ["before 1990", "from 1990", "unknown"]),
    ],
)
def test_groups_have_an_order(tmp_path: Path, by: str, groups: list[str]) -> None:
    found = group_requests(made(tmp_path), by)
    assert found.sort("order")["group"].unique(maintain_order=True).to_list() == groups


def test_a_request_stands_in_every_category_of_its_target(tmp_path: Path) -> None:
    assert group_requests(made(tmp_path), "category").rows() == [
        ("test-u0", "Drama", 0),
        ("test-u0", "War", 1),
        ("test-u1", "Drama", 0),
        ("test-u2", "unknown", 2),
        ("test-u3", "unknown", 2),
    ]


def test_quarters_are_quarters_and_equal_values_stay_together(tmp_path: Path) -> None:
    requests = [
        {"request_id": f"r{number:02}", "user_id": "u", "cutoff": (3 if number < 10 else number) * 60}
        for number in range(20)
    ]
    truth = [{"request_id": "r00", "item_id": "a"}]
    events = [{"user_id": "v", "item_id": "a"}]
    data = make_data(tmp_path, items=ITEMS, events=events, requests=requests, truth=truth)
    found = group_requests(data, "window")
    assert found.group_by("group", maintain_order=True).len().rows() == [
        ("1970-01-01 00:03:00", 10),
        ("1970-01-01 00:10:00 to 1970-01-01 00:14:00", 5),
        ("1970-01-01 00:15:00 to 1970-01-01 00:19:00", 5),
    ]
    assert group_requests(data, "activity")["group"].unique().to_list() == ["0 events"]


def test_requests_without_a_target_are_unknown(tmp_path: Path) -> None:
    requests = [{"request_id": "r", "user_id": "u", "candidates": ["a"]}]
    events = [{"user_id": "v", "item_id": "a"}]
    data = make_data(tmp_path, items=ITEMS, events=events, requests=requests, truth=[])
    for by in ("popularity", "cold-item", "category", "slot", "year", "released:2000", "warm:1"):
        assert group_requests(data, by).rows() == [("r", "unknown", 0)]


@pytest.mark.parametrize(
    "by",
    ["popularty", "released", "released:19", "released:soon", "year:1990", "released:YYYY", "warm", "warm:few", ""],
)
def test_unknown_groups_are_answered_with_the_known_ones(tmp_path: Path, by: str) -> None:
    with pytest.raises(OptionError, match="unknown group") as caught:
        group_requests(made(tmp_path), by)
    assert all(name in caught.value.hint for name in GROUPS)


def test_a_model_of_the_catalogue_stands_for_the_year_after_its_data(tmp_path: Path) -> None:
    data = made(tmp_path)
    dates = {name: release_of(spec.source) for name, spec in MODEL_ALIASES.items()}
    stated = next(name for name, known in dates.items() if "cutoff" in known)
    silent = next(name for name, known in dates.items() if known and "cutoff" not in known)
    for model, day in ((stated, "cutoff"), (silent, "released")):
        year = int(dates[model][day][:4]) + 1
        assert group_requests(data, f"released:{model}").equals(group_requests(data, f"released:{year}"))
    undated = next((name for name, known in dates.items() if not known), None)
    if undated is not None:
        with pytest.raises(OptionError, match="release date is not known"):
            group_requests(data, f"released:{undated}")


def test_events_of_validation_warm_nobody(tmp_path: Path) -> None:
    events = [{"user_id": "u", "item_id": "a"}, {"user_id": "u", "item_id": "a", "part": "valid"}]
    requests = [{"request_id": "r", "user_id": "u"}]
    data = make_data(
        tmp_path, items=ITEMS, events=events, requests=requests, truth=[{"request_id": "r", "item_id": "a"}]
    )
    assert group_requests(data, "warm:1")["group"][0].startswith("warm")
    assert group_requests(data, "warm:2")["group"][0].startswith("cold")


def test_what_is_known_of_users_is_no_group_where_all_is(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="shows all known events of a user") as caught:
        group_requests(made(tmp_path), "known")
    assert "--cold-users" in caught.value.hint


def test_a_whole_catalogue_has_no_slots(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no candidate lists"):
        group_requests(made(tmp_path, candidates=WHOLE), "slot")

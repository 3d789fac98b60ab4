from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import polars as pl
import pytest

from llmrs_bench.data.requests import Requests, make_requests
from llmrs_bench.data.source import EVENTS
from llmrs_bench.data.split import Split, leave_one_out
from llmrs_bench.errors import DataError, OptionError
from llmrs_bench.schemas import check_schema

CATALOGUE = [f"i{at}" for at in range(40)]


def split_of(users: int) -> Split:
    """User n has seen items n to n+2 and is tested on item n+3."""
    rows = [
        (f"u{user}", CATALOGUE[(user + step) % 40], 10 * user + step, None)
        for user in range(users)
        for step in range(4)
    ]
    return leave_one_out(pl.DataFrame(rows, schema=EVENTS, orient="row"))


def make(
    split: Split,
    *,
    users: int | Literal["all"] = "all",
    candidates: str = "random",
    n: int = 5,
    include_seen: bool = False,
    seed: int = 0,
    catalogue: Sequence[str] = CATALOGUE,
) -> Requests:
    return make_requests(
        split,
        catalogue=catalogue,
        users=users,
        candidates=candidates,
        n_candidates=n,
        include_seen=include_seen,
        seed=seed,
    )


def lists(made: Requests) -> dict[str, list[str]]:
    return dict(made.requests.select("user_id", "candidates").iter_rows())


def test_one_request_per_user_with_all_earlier_events_as_history() -> None:
    made = make(split_of(3))
    check_schema("requests", made.requests)
    check_schema("truth", made.truth)
    assert made.requests.drop("candidates").rows() == [
        ("test-u0", "u0", "test", 3, ["i0", "i1", "i2"]),
        ("test-u1", "u1", "test", 13, ["i1", "i2", "i3"]),
        ("test-u2", "u2", "test", 23, ["i2", "i3", "i4"]),
    ]
    assert made.truth.rows() == [("test-u0", "i3", 1.0), ("test-u1", "i4", 1.0), ("test-u2", "i5", 1.0)]
    assert made.facts == {"users_available": 3, "requests": 3, "short_lists": 0}


@pytest.mark.parametrize("sampler", ["random", "popularity"])
@pytest.mark.parametrize("include_seen", [False, True])
def test_lists_are_distinct_hold_the_target_and_leave_out_the_history(sampler: str, include_seen: bool) -> None:
    made = make(split_of(40), candidates=sampler, n=6, include_seen=include_seen)
    targets = dict(made.truth.select("request_id", "item_id").iter_rows())
    met = 0
    for request, history, shown in made.requests.select("request_id", "history", "candidates").iter_rows():
        assert len(shown) == len(set(shown)) == 6
        assert targets[request] in shown
        met += len(set(shown) & set(history))
    assert (met > 0) == include_seen


def test_a_list_depends_on_seed_and_user_alone() -> None:
    split = split_of(30)
    whole = lists(make(split))
    some = lists(make(split, users=7))
    assert len(some) == 7
    assert all(whole[user] == shown for user, shown in some.items())
    backwards = Split(split.interactions, split.held.reverse(), split.facts, split.rules)
    assert lists(make(backwards, catalogue=CATALOGUE[::-1])) == whole
    assert lists(make(split, seed=1)) != whole


def test_users_are_sampled_by_seed_and_samples_nest() -> None:
    split = split_of(30)
    few, more = (set(lists(make(split, users=count))) for count in (5, 12))
    assert len(few) == 5
    assert few < more
    assert set(lists(make(split, users=5, seed=1))) != few
    assert few != {f"u{at}" for at in range(5)}


def test_more_users_than_there_are_is_recorded() -> None:
    made = make(split_of(3), users=10)
    assert made.requests.height == 3
    assert any("10 users were asked for, all 3" in rule for rule in made.rules)


def test_the_place_of_the_target_is_uniform() -> None:
    made = make(split_of(1000), n=5)
    targets = made.truth["item_id"].to_list()
    shown = made.requests["candidates"].to_list()
    places = Counter(row.index(target) for row, target in zip(shown, targets, strict=True))
    assert sum((places[place] - 200) ** 2 / 200 for place in range(5)) < 18.5  # 4 degrees of freedom, p = 0.001


def test_popular_items_are_drawn_more_and_those_never_seen_not_at_all() -> None:
    split = split_of(20)  # items i0 to i21 are in histories, i22 in a target alone, the rest nowhere
    made = make(split, candidates="popularity", n=4)
    targets = dict(made.truth.select("request_id", "item_id").iter_rows())
    rows = made.requests.select("request_id", "candidates").iter_rows()
    others = Counter(item for request, shown in rows for item in shown if item != targets[request])
    assert set(others) <= {f"i{at}" for at in range(22)}


def test_fewer_than_asked_are_counted() -> None:
    made = make(split_of(2), n=20, catalogue=CATALOGUE[:5])
    assert made.facts["short_lists"] == 2
    assert {user: sorted(shown) for user, shown in lists(made).items()} == {"u0": ["i3", "i4"], "u1": ["i0", "i4"]}


def test_lists_from_a_file_are_replayed(tmp_path: Path) -> None:
    path = tmp_path / "lists.tsv"
    # u0 is tested on i3 and has seen i0, i1, i2.
    path.write_text("u0\ti3 i9 i0 i9 nowhere i8 i7\nu9\ti1 i2\n")
    made = make(split_of(3), candidates=f"file:{path}", n=3)
    assert {user: set(shown) for user, shown in lists(made).items()} == {"u0": {"i3", "i9", "i8"}}
    assert made.facts == {
        "unknown_candidates_dropped": 1,
        "users_without_list": 2,
        "lists_without_user": 1,
        "users_available": 1,
        "requests": 1,
        "short_lists": 0,
    }
    with_seen = make(split_of(3), candidates=f"file:{path}", n=3, include_seen=True)
    assert set(lists(with_seen)["u0"]) == {"i3", "i9", "i0"}


def test_a_file_of_other_users_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lists.tsv"
    path.write_text("nobody\ti1 i2\n")
    with pytest.raises(DataError, match="has a held-out event") as caught:
        make(split_of(3), candidates=f"file:{path}")
    assert "user ids" in caught.value.hint


def test_nobody_to_ask_and_unknown_samplers_are_errors() -> None:
    short = leave_one_out(pl.DataFrame([("u", "i1", 1, None)], schema=EVENTS, orient="row"))
    with pytest.raises(DataError, match="no user has the three events"):
        make(short)
    with pytest.raises(OptionError, match="unknown candidate sampler 'uniform'"):
        make(split_of(3), candidates="uniform")

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest

from llmrs_bench.core.config import PrepareConfig
from llmrs_bench.core.errors import DataError, OptionError
from llmrs_bench.core.schemas import check_schema
from llmrs_bench.data.candidates import Requests, Retrieve, make_requests
from llmrs_bench.data.sources import EVENTS
from llmrs_bench.data.split import Split, leave_one_out

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
    catalogue: Sequence[str] = CATALOGUE,
    retrieve: Retrieve | None = None,
    **options: object,
) -> Requests:
    sizes = {} if options.get("candidates") == "all" else {"n_candidates": 5}
    config = PrepareConfig.model_validate({"dataset": "x", "users": "all", **sizes, **options})
    return make_requests(split, config, catalogue=catalogue, retrieve=retrieve)


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
    made = make(split_of(40), candidates=sampler, n_candidates=6, include_seen=include_seen)
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
    made = make(split_of(1000), n_candidates=5)
    targets = made.truth["item_id"].to_list()
    shown = made.requests["candidates"].to_list()
    places = Counter(row.index(target) for row, target in zip(shown, targets, strict=True))
    assert sum((places[place] - 200) ** 2 / 200 for place in range(5)) < 18.5  # 4 degrees of freedom, p = 0.001


def test_popular_items_are_drawn_more_and_those_never_seen_not_at_all() -> None:
    split = split_of(20)  # items i0 to i21 are in histories, i22 in a target alone, the rest nowhere
    made = make(split, candidates="popularity", n_candidates=4)
    targets = dict(made.truth.select("request_id", "item_id").iter_rows())
    rows = made.requests.select("request_id", "candidates").iter_rows()
    others = Counter(item for request, shown in rows for item in shown if item != targets[request])
    assert set(others) <= {f"i{at}" for at in range(22)}


def test_fewer_than_asked_are_counted() -> None:
    made = make(split_of(2), n_candidates=20, catalogue=CATALOGUE[:5])
    assert made.facts["short_lists"] == 2
    assert {user: sorted(shown) for user, shown in lists(made).items()} == {"u0": ["i3", "i4"], "u1": ["i0", "i4"]}


def test_lists_from_a_file_are_replayed(tmp_path: Path) -> None:
    path = tmp_path / "lists.tsv"
    # u0 is tested on i3 and has seen i0, i1, i2.
    path.write_text("u0\ti3 i9 i0 i9 nowhere i8 i7\nu9\ti1 i2\n")
    made = make(split_of(3), candidates=f"file:{path}", n_candidates=3)
    assert {user: set(shown) for user, shown in lists(made).items()} == {"u0": {"i3", "i9", "i8"}}
    assert made.facts == {
        "unknown_candidates_dropped": 1,
        "users_without_list": 2,
        "lists_without_user": 1,
        "users_available": 1,
        "requests": 1,
        "short_lists": 0,
    }
    with_seen = make(split_of(3), candidates=f"file:{path}", n_candidates=3, include_seen=True)
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


# ---------------------------------------------------------------- whole catalogues


def test_a_whole_catalogue_has_no_lists() -> None:
    split = split_of(3)
    made, listed = make(split, candidates="all"), make(split)
    check_schema("requests", made.requests)
    assert made.requests["candidates"].to_list() == [None] * 3
    assert made.requests.drop("candidates").equals(listed.requests.drop("candidates"))
    assert made.truth.equals(listed.truth)
    assert made.facts == {"users_available": 3, "requests": 3, "targets_seen_before": 0}
    assert any("whole catalogue" in rule for rule in made.rules)


def test_users_of_a_whole_catalogue_are_those_of_lists() -> None:
    split = split_of(30)
    whole, listed = (make(split, users=7, candidates=name).requests["user_id"] for name in ("all", "random"))
    assert whole.to_list() == listed.to_list()


def test_targets_that_cannot_be_ranked_are_counted() -> None:
    rows = [(f"u{user}", item, time, None) for user in range(3) for time, item in enumerate(["i0", "i1", "i2", "i3"])]
    rows[-1] = ("u2", "i0", 3, None)
    split = leave_one_out(pl.DataFrame(rows, schema=EVENTS, orient="row"))
    assert make(split, candidates="all").facts["targets_seen_before"] == 1
    assert "targets_seen_before" not in make(split, candidates="all", include_seen=True).facts


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"candidates": "all", "n_candidates": 20}, "n-candidates has no effect"),
        ({"candidates": "all", "force_target": True}, "force-target"),
        ({"candidates": "random", "force_target": True}, "force-target"),
        ({"candidates": "random", "retriever_options": {"sasrec.dim": "8"}}, "-O apply"),
    ],
)
def test_options_that_candidates_do_not_read_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        PrepareConfig.parse_flags({"dataset": "x", **options}, command="prepare")


# ---------------------------------------------------------------- lists of a model


class Finds:
    """Finds the ten items after the newest of the history, or only those after the target; keeps what it was shown."""

    def __init__(self, skip: int = 0, count: int = 10) -> None:
        self.skip, self.count = skip, count
        self.asked = pl.DataFrame()

    def __call__(self, requests: pl.DataFrame, depth: int) -> dict[str, list[str]]:
        self.asked = requests
        names = requests.select("request_id", pl.col("history").list.last()).iter_rows()
        return {name: self.after(newest) for name, newest in names}

    def after(self, newest: str) -> list[str]:
        start = int(newest.removeprefix("i")) + 1 + self.skip
        return [CATALOGUE[(start + step) % 40] for step in range(self.count)]


def targets_of(made: Requests) -> dict[str, str]:
    return {name.removeprefix("test-"): item for name, item in made.truth.select("request_id", "item_id").iter_rows()}


@pytest.mark.parametrize("force_target", [False, True])
def test_lists_of_a_model_that_finds_the_target_are_what_it_found(force_target: bool) -> None:
    finds = Finds()
    made = make(split_of(30), candidates="model:x", retrieve=finds, force_target=force_target)
    check_schema("requests", made.requests)
    assert finds.asked["candidates"].null_count() == 30
    assert "item_id" not in finds.asked.columns
    for _, history, shown in made.requests.select("user_id", "history", "candidates").iter_rows():
        assert set(shown) == set(finds.after(history[-1])[:5])
        assert len(shown) == 5
    assert made.facts == {
        "users_available": 30,
        "requests": 30,
        "targets_retrieved": 30,
        "targets_in_lists": 30,
        "short_lists": 0,
    }


def test_without_force_a_target_that_was_not_found_is_in_no_list() -> None:
    finds = Finds(skip=1)
    made = make(split_of(30), candidates="model:x", retrieve=finds)
    shown, targets = lists(made), targets_of(made)
    for user, history in made.requests.select("user_id", "history").iter_rows():
        assert set(shown[user]) == set(finds.after(history[-1])[:5])
        assert targets[user] not in shown[user]
    assert made.facts["targets_retrieved"] == made.facts["targets_in_lists"] == 0
    assert any("only where it was retrieved" in rule for rule in made.rules)


def test_with_force_the_target_replaces_the_last_that_was_found() -> None:
    finds = Finds(skip=1)
    made = make(split_of(30), candidates="model:x", retrieve=finds, force_target=True)
    shown, targets = lists(made), targets_of(made)
    for user, history in made.requests.select("user_id", "history").iter_rows():
        assert set(shown[user]) == {*finds.after(history[-1])[:4], targets[user]}
    assert made.facts["targets_retrieved"] == 0
    assert made.facts["targets_in_lists"] == 30
    assert any("takes the place" in rule for rule in made.rules)


def test_a_target_found_below_the_size_of_a_list_was_not_retrieved() -> None:
    """The target is the seventh of the ten that are found."""
    found = make(split_of(30), candidates="model:x", retrieve=Finds(skip=-6), include_seen=True)
    assert (found.facts["targets_retrieved"], found.facts["targets_in_lists"]) == (0, 0)
    longer = make(split_of(30), candidates="model:x", retrieve=Finds(skip=-6), include_seen=True, n_candidates=7)
    assert (longer.facts["targets_retrieved"], longer.facts["targets_in_lists"]) == (30, 30)


def test_what_some_users_find_is_counted_for_them_alone() -> None:
    def some(requests: pl.DataFrame, depth: int) -> dict[str, list[str]]:
        found = Finds()(requests, depth)
        return {name: items if name == "test-u3" else items[1:3] for name, items in found.items()}

    made = make(split_of(10), candidates="model:x", retrieve=some)
    assert (made.facts["targets_retrieved"], made.facts["targets_in_lists"], made.facts["short_lists"]) == (1, 1, 9)
    forced = make(split_of(10), candidates="model:x", retrieve=some, force_target=True)
    assert (forced.facts["targets_retrieved"], forced.facts["targets_in_lists"]) == (1, 10)
    assert {len(shown) for shown in lists(forced).values()} == {3, 5}


@pytest.mark.parametrize(("skip", "force_target"), [(0, False), (0, True), (1, True)])
def test_the_order_of_a_model_is_not_shown(skip: int, force_target: bool) -> None:
    finds = Finds(skip=skip)
    made = make(split_of(1000), candidates="model:x", retrieve=finds, force_target=force_target)
    shown, targets = lists(made), targets_of(made)
    firsts = {user: finds.after(history[-1])[0] for user, history in made.requests["user_id", "history"].iter_rows()}
    for marked in (targets, firsts):
        places = Counter(shown[user].index(marked[user]) for user in shown)
        assert sum((places[place] - 200) ** 2 / 200 for place in range(5)) < 18.5  # 4 degrees of freedom, p = 0.001


def test_lists_of_a_model_leave_out_the_history_and_the_unknown() -> None:
    def odd(requests: pl.DataFrame, depth: int) -> dict[str, list[str]]:
        histories = requests.select("request_id", "history").iter_rows()
        return {name: [history[0], "nowhere", *Finds().after(history[-1])] for name, history in histories}

    made = make(split_of(30), candidates="model:x", retrieve=odd)
    for history, shown in made.requests.select("history", "candidates").iter_rows():
        assert not {*history, "nowhere"} & set(shown)
        assert len(shown) == 5

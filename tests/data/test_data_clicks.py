"""Click prediction: which rows each protocol takes, what they tell, and what is refused."""

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from llmrs_bench.core.config import PrepareConfig
from llmrs_bench.core.errors import DataError, OptionError
from llmrs_bench.core.schemas import ITEMS, TABLES
from llmrs_bench.data.labelled import LabelledTables, labelled_events, labelled_tables
from llmrs_bench.data.sources import EVENTS, IMPRESSIONS, Raw


def seconds(year: int, month: int, day: int = 1) -> float:
    return datetime(year, month, day, tzinfo=UTC).timestamp()


def raw(rows: list[tuple[str, str, float, float | None]], **others: Any) -> Raw:
    return Raw(ITEMS.to_frame(), pl.DataFrame(rows, schema=EVENTS, orient="row"), **others)


def clicks(rows: list[tuple[str, str, float, float | None]], **options: Any) -> LabelledTables:
    config = PrepareConfig(dataset="films", task="click", **options)
    events, _, _ = labelled_events(raw(rows), config)
    return labelled_tables(events, config)


def samples(made: LabelledTables) -> pl.DataFrame:
    return pl.concat([block for rows in made.learned for block in rows.blocks()])


def diary(users: int, events: int) -> list[tuple[str, str, float, float | None]]:
    """Users take turns: every second one event, of ever other films, rated 5 and 2 in turn."""
    return [
        (f"u{at % users}", f"film{at}", float(at), 5.0 if (at // users + at) % 2 else 2.0)
        for at in range(users * events)
    ]


def test_rows_without_a_protocol_are_cut_in_time() -> None:
    made = clicks(diary(4, 25), like_from=4)
    assert {part: found["rows"] for part, found in made.parts.items()} == {"train": 80, "valid": 10, "test": 10}
    test = made.requests.filter(pl.col("part") == "test")
    assert test["candidates"].explode().sort().to_list() == sorted(f"film{at}" for at in range(90, 100))
    assert (
        samples(made)["item_id"].to_list() == made.interactions.sort("part", maintain_order=True)["item_id"].to_list()
    )
    assert set(samples(made)["item_id"]).isdisjoint(test["candidates"].explode())


def test_tables_have_their_schemas() -> None:
    made = clicks(diary(4, 25), like_from=4)
    assert samples(made).schema == TABLES["samples"]
    for name in ("requests", "outcomes", "ratings", "truth", "interactions"):
        assert getattr(made, name).schema == TABLES[name]
    assert made.requests["request_id"].to_list() == made.truth["request_id"].to_list()
    assert made.requests["request_id"].is_unique().all()
    valid = made.requests.filter(pl.col("part") == "valid")["request_id"]
    assert set(valid) <= set(samples(made)["request_id"])


@pytest.mark.parametrize("split", ["time", "random"])
def test_a_history_is_what_came_before_and_no_sample_tells_a_later_part(split: str) -> None:
    rows = diary(3, 40)
    made = clicks(rows, like_from=4, split=split)
    times = {film: at for _, film, at, _ in rows}
    likes = {film: rating == 5 for _, film, _, rating in rows}
    tested = set(made.requests.filter(pl.col("part") == "test")["candidates"].explode())
    valid = set(samples(made).filter(pl.col("part") == "valid")["item_id"])
    for row in samples(made).iter_rows(named=True):
        assert all(times[film] < times[row["item_id"]] for film in row["history"])
        assert row["history"] == sorted(row["history"], key=times.__getitem__)
        assert row["liked"] == [likes[film] for film in row["history"]]
        assert tested.isdisjoint(row["history"])
        assert row["part"] == "valid" or valid.isdisjoint(row["history"])
    told = made.requests.join(made.outcomes, on="request_id").filter(pl.col("part") == "test")
    for row in told.iter_rows(named=True):
        own = row["candidates"][0]
        user = [film for who, film, at, _ in rows if who == row["user_id"] and at < times[own]]
        assert row["history"] == user[-50:]
        assert row["liked"] == [likes[film] for film in row["history"]]


def test_events_of_one_second_keep_the_order_of_lines() -> None:
    rows: list[Any] = [("a", f"film{at}", float(at // 4), 5.0 if at % 3 else 1.0) for at in range(40)]
    made = clicks(rows, like_from=4)
    history = samples(made).filter(pl.col("item_id") == "film6")["history"].item().to_list()
    assert history == [f"film{at}" for at in range(6)]


def test_months_since_the_first_event() -> None:
    rows = [("early", "first", seconds(2000, 4, 25), 5.0), ("early", "unused", seconds(2001, 5, 31), 5.0)]
    for year, month in ((2001, 6), (2002, 3), (2002, 4), (2002, 8), (2002, 9), (2003, 1)):
        rows += [("early", f"a{year}-{month}", seconds(year, month), 4.0)]
        rows += [("early", f"b{year}-{month}", seconds(year, month, 28), 3.0)]
    made = clicks([*rows, ("early", "late", seconds(2003, 2), 5.0)], protocol="collm")
    assert {part: (found["rows"], found["liked"]) for part, found in made.parts.items()} == {
        "train": (4, 2),
        "valid": (4, 2),
        "test": (4, 2),
    }
    assert samples(made)["history"].to_list()[0] == []  # months 0 to 13 are not told, either
    last = made.requests.join(made.outcomes, on="request_id").row(-1, named=True)
    assert last["candidates"] == ["b2003-1"]
    assert len(last["history"]) == 11
    assert last["liked"] == [True, False] * 5 + [True]


def test_the_last_rows_of_a_list_of_users() -> None:
    rows = diary(4, 30)
    made = clicks(rows, protocol="tallrec")
    # users one after the other, 20 rows of each: those of the last user alone are tested
    assert {part: (found["rows"], found["users"]) for part, found in made.parts.items()} == {
        "train": (64, 4),
        "valid": (8, 1),
        "test": (8, 1),
    }
    assert set(samples(made)["history"].list.len()) == {10}
    assert set(made.requests.filter(pl.col("part") == "test")["user_id"]) == {"u3"}
    by_time = clicks(rows, protocol="tallrec", order="time")
    assert {part: found["users"] for part, found in by_time.parts.items()} == {"train": 4, "valid": 4, "test": 4}


def test_the_latest_ten_thousand() -> None:
    rows = diary(101, 100)
    made = clicks(rows, protocol="paper-ctr")
    assert {part: found["rows"] for part, found in made.parts.items()} == {"train": 8000, "valid": 1000, "test": 1000}
    times = {film: at for _, film, at, _ in rows}
    assert min(times[film] for film in samples(made)["item_id"]) == 100
    # the earliest rows tell of events that are no rows themselves
    assert samples(made).filter(pl.col("item_id") == "film102")["history"].to_list() == [["film1"]]
    one, other = (clicks(rows, protocol="paper-ctr", split="random", seed=seed) for seed in (0, 1))
    assert one.parts["test"]["rows"] == 1000
    assert set(one.truth["item_id"]) != set(other.truth["item_id"])


def test_choices_of_validation_rows_and_of_test_users() -> None:
    rows = diary(12, 100)
    few = clicks(rows, like_from=4, valid_requests=7, users=5)
    more = clicks(rows, like_from=4, valid_requests=20, users="all")
    assert few.requests.filter(pl.col("part") == "valid").height == 7
    test = few.requests.filter(pl.col("part") == "test")
    assert test["user_id"].n_unique() == 5
    assert test.height == 50  # all rows of these users
    assert set(few.requests["request_id"]) <= set(more.requests["request_id"])
    assert samples(few).equals(samples(more))


def test_few_and_unknown_users_are_warned_about() -> None:
    assert any("the test has 4 users" in words for words in clicks(diary(4, 25), like_from=4).warnings)
    assert not clicks(diary(120, 20), like_from=4).warnings
    late: list[Any] = [("new", f"late{at}", 1000.0 + at, float(at % 2 * 4 + 1)) for at in range(10)]
    assert any("in the part train" in words for words in clicks([*diary(3, 30), *late], like_from=4).warnings)


@pytest.mark.parametrize("first", [True, False])
def test_labels_of_the_source_keep_the_order_of_lines(first: bool) -> None:
    lines = [("a", "x", 1.0, first), ("a", "y", 1.0, False), ("a", "z", 1.0, True), ("b", "x", 2.0, False)]
    frame = pl.DataFrame(lines, schema=["user_id", "item_id", "timestamp", "liked"], orient="row")
    rated = frame.with_columns(rating=pl.lit(None, dtype=pl.Float32)).select(*EVENTS, "liked")
    chosen, others = (rated.filter(pl.col("liked") == value).drop("liked") for value in (True, False))
    source = Raw(ITEMS.to_frame(), chosen, unchosen=others, labels=rated["liked"])
    events, _, _ = labelled_events(source, PrepareConfig(dataset="films", task="click", protocol="paper-ctr"))
    assert events.select("user_id", "item_id", "timestamp", pl.col("label") > 0).rows() == lines


def test_labels_of_impressions() -> None:
    shown = pl.DataFrame([("i", "a", 5.0, ["x", "y"], ["y"])], schema=IMPRESSIONS, orient="row")
    source = raw([("a", "y", 5.0, None), ("a", "before", 1.0, None)], impressions=shown)
    events, _, facts = labelled_events(source, PrepareConfig(dataset="films", task="click"))
    assert events.select("item_id", pl.col("label") > 0, "row").rows() == [
        ("before", True, False),
        ("x", False, True),
        ("y", True, True),
    ]
    assert facts == {"events_without_impression": 1}


def test_clicks_of_no_impression_are_told_alone() -> None:
    seen = [(f"i{at}", "a", float(at), [f"x{at}", f"y{at}"], [f"x{at}"]) for at in range(10)]
    shown = pl.DataFrame(seen, schema=IMPRESSIONS, orient="row")
    config = PrepareConfig(dataset="films", task="click")
    events, _, _ = labelled_events(raw([("a", "before", -1.0, None)], impressions=shown), config)
    made = labelled_tables(events, config)
    assert sum(found["rows"] for found in made.parts.values()) == 20
    assert "before" not in set(made.interactions["item_id"])
    assert {told[0] for told in made.requests["history"].to_list()} == {"before"}


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (diary(2, 20), {}, "no labels"),
        ([("a", "x", 1.0, None)], {"like_from": 4}, "no ratings"),
        (diary(2, 20), {"like_from": 6}, "all 32 rows of the part train are not liked"),
        (diary(2, 20), {"like_from": 1}, "are liked"),
        (diary(2, 20), {"protocol": "collm"}, "the part train has no rows"),
        ([(*row[:2], 0.0, row[3]) for row in diary(2, 20)], {"protocol": "tallrec"}, "--protocol tallrec goes by time"),
        ([(*row[:2], 0.0, row[3]) for row in diary(2, 20)], {"like_from": 4}, "it is unknown which come last"),
        ([("a", f"film{at}", float(at), 5.0 - at) for at in range(4)], {"like_from": 4}, "the part valid has no rows"),
    ],
)
def test_what_cannot_be_told_is_refused(rows: list[Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as failure:
        clicks(rows, **options)
    assert failure.value.hint


def test_an_item_again_is_said() -> None:
    rows = [*diary(4, 25), *((user, film, 100 + at, rating) for user, film, at, rating in diary(4, 25)[:20])]
    assert any("20 requests" in words for words in clicks(rows, like_from=4).warnings)


def test_random_rows_need_no_times() -> None:
    rows: list[Any] = [(*row[:2], 0.0, row[3]) for row in diary(4, 25)]
    made = clicks(rows, like_from=4, split="random")
    assert made.parts["test"]["rows"] == 10
    assert any("later part" in rule for rule in made.rules)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protocol": "collm"}, "--protocol would have no effect without --task click"),
        ({"task": "click", "n_candidates": 5}, "--n-candidates would have no effect with --task click"),
        ({"task": "click", "protocol": "collm", "split": "random"}, "--split .* --protocol collm"),
        ({"task": "click", "protocol": "paper-ctr", "order": "time"}, "--order"),
        ({"task": "click", "like_from": 4, "order": "time"}, "--order"),
        ({"task": "click", "split": "leave-one-out"}, "--split leave-one-out does not fit --task click"),
        ({"task": "click", "cut": "0.5"}, "--cut would have no effect with --task click"),
        ({"task": "guess"}, "--task"),
    ],
)
def test_options_that_nothing_reads_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        PrepareConfig.parse_flags({"dataset": "films", **options}, command="prepare")


def test_options_of_ranking_are_as_they_were() -> None:
    assert not {"task", "protocol", "like_from", "valid_requests", "order"} & set(
        PrepareConfig(dataset="films").result_options
    )

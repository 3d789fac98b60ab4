"""Requests of what users were shown: which impression is tested, what is before it, and what is relevant."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrs_bench.core.config import PrepareConfig
from llmrs_bench.core.errors import DataError, OptionError
from llmrs_bench.data.candidates import Requests
from llmrs_bench.data.impressions import impression_requests, labelled_lists, rated_lists, shown_alone
from llmrs_bench.data.sources import EVENTS, IMPRESSIONS
from llmrs_bench.data.split import Split

Shown = tuple[str, float, str, str]  # user, time, what was shown, what was clicked


def lists(rows: list[Shown]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "impression_id": str(at),
                "user_id": user,
                "timestamp": time,
                "shown": shown.split(),
                "clicked": clicked.split(),
            }
            for at, (user, time, shown, clicked) in enumerate(rows)
        ],
        schema=IMPRESSIONS,
    )


def clicks(rows: list[Shown]) -> pl.DataFrame:
    every = [(user, item, time, None) for user, time, _, clicked in rows for item in clicked.split()]
    return pl.DataFrame(every, schema=EVENTS, orient="row")


def make(rows: list[Shown], *, tested_from: float | None = None, **options: object) -> tuple[Split, Requests]:
    config = PrepareConfig.model_validate({"dataset": "x", "candidates": "impressions", **options})
    return impression_requests(lists(rows), clicks(rows), config, tested_from=tested_from)


DAY: list[Shown] = [
    ("ann", 1.0, "a b", "a"),
    ("bob", 2.0, "a b", "b"),
    ("cat", 3.0, "a b c", "c"),
    ("ann", 10.0, "c d e", "e"),
    ("ann", 11.0, "a f g h", "f h"),
    ("ann", 12.0, "i j", ""),
    ("ann", 13.0, "k", "k"),
    ("bob", 14.0, "x y x", "x"),
    ("dan", 15.0, "a b", "a"),
]


def test_the_last_impression_with_a_choice_is_tested_and_all_its_clicks_are_relevant() -> None:
    split, made = make(DAY, tested_from=10.0)
    rows = {row["user_id"]: row for row in made.requests.iter_rows(named=True)}
    assert sorted(rows) == ["ann", "bob"]
    assert sorted(rows["ann"]["candidates"]) == ["a", "f", "g", "h"]
    assert (rows["ann"]["history"], rows["ann"]["cutoff"]) == (["a", "e"], 11)
    assert (sorted(rows["bob"]["candidates"]), rows["bob"]["history"]) == (["x", "y"], ["b"])
    assert made.truth.rows() == [("test-ann", "f", 1.0), ("test-ann", "h", 1.0), ("test-bob", "x", 1.0)]
    assert made.facts == {
        "impressions": 9,
        "impressions_nothing_chosen": 1,
        "impressions_all_chosen": 1,
        "shown_twice_dropped": 1,
        "impressions_tested": 4,
        "users_without_history_dropped": 1,
        "users_available": 2,
        "requests": 2,
        "candidates": 6,
        "targets": 3,
        "candidates_in_history": 1,
    }
    assert made.warnings == ("1 of 3 users with a list to test chose nothing before it: they are not tested",)
    assert split.interactions["item_id"].to_list() == ["a", "b", "c"]
    assert any("3 of 9 events (33.3 %)" in rule for rule in split.rules)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.sampled_from("uvw"), st.integers(0, 9), st.sets(st.sampled_from("abcdef"), min_size=1))))
def test_nothing_from_the_first_tested_impression_on_is_learned_from(drawn: list[tuple[str, int, set[str]]]) -> None:
    rows: list[Shown] = [
        (user, float(time), " ".join([*sorted(items), "z"]), " ".join(sorted(items)[: 1 + time % 2]))
        for user, time, items in drawn
    ]
    rows = [("u", -2.0, "p q", "p"), ("u", -1.0, "q r", "q"), ("v", -1.0, "p q", "q"), *rows, ("u", 10.0, "a b", "b")]
    split, made = make(rows, users="all")
    begin = made.requests["cutoff"].min()
    assert isinstance(begin, int)
    assert not split.interactions.filter(pl.col("timestamp") >= begin).height
    for row in made.requests.iter_rows(named=True):
        targets = made.truth.filter(request_id=row["request_id"])["item_id"].to_list()
        assert set(targets) < set(row["candidates"])
        assert len(set(row["candidates"])) == len(row["candidates"])
        last = [
            (shown, clicked) for user, time, shown, clicked in rows if (user, time) == (row["user_id"], row["cutoff"])
        ]
        assert (set(row["candidates"]), targets) in [(set(shown.split()), clicked.split()) for shown, clicked in last]
        past = [
            item
            for user, time, _, clicked in sorted(rows, key=lambda each: each[1])
            if user == row["user_id"] and time < row["cutoff"]
            for item in clicked.split()
        ]
        assert set(row["history"]) == set(past)


def test_without_a_word_of_the_source_the_last_tenth_is_tested() -> None:
    rows: list[Shown] = [(f"u{at % 10}", float(at), "a b", "b") for at in range(40)]
    split, made = make(rows)
    assert sorted(made.requests["cutoff"]) == [36, 37, 38, 39]
    assert split.interactions["timestamp"].max() == 35
    assert split.words == "events before 1970-01-01 00:00:36 UTC are learned from"


def test_for_validation_the_tests_are_put_away_and_the_last_tenth_before_them_is_asked_for() -> None:
    earlier = [(f"u{day}", float(day), "a b c", "abc"[day % 3]) for day in range(1, 21)]
    again = [(f"u{day}", 20.0 + day, "a b c", "c") for day in range(19, 21)]
    rows: list[Shown] = [("u19", 0.5, "d e", "d"), ("u20", 0.6, "d e", "d"), *earlier, *again]
    split, made = make(rows, tested_from=39.0, held_out="validation")
    assert dict(made.requests.select("user_id", "cutoff").iter_rows()) == {"u19": 19, "u20": 20}
    assert split.interactions["timestamp"].to_numpy().max() == 18
    tested = make(rows, tested_from=39.0)[1]
    assert dict(tested.requests.select("user_id", "cutoff").iter_rows()) == {"u19": 39, "u20": 40}


def test_a_sample_of_more_users_holds_that_of_fewer_with_the_same_lists() -> None:
    rows: list[Shown] = [(f"u{at % 20}", float(at), "a b c d e f", "c") for at in range(40)]
    few, many = (make(rows, users=users, tested_from=20.0)[1].requests for users in (5, 15))
    assert few.join(many, on=["request_id", "candidates", "history"], how="semi").height == 5
    assert many.height == 15


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "the source has none"),
        ([("u", 1.0, "a", "a"), ("u", 2.0, "a b", "")], "nothing was chosen in 1, everything in 1"),
        ([("u", 1.0, "a b", "a"), ("v", 1.0, "a b", "a")], "nothing to learn from"),
        ([("u", 1.0, "a b", "a"), ("v", 2.0, "a b", "a")], "have none"),
    ],
)
def test_data_without_a_choice_or_a_past_are_refused(rows: list[Shown], words: str) -> None:
    with pytest.raises(DataError, match=words):
        make(rows)


@pytest.mark.parametrize("option", ["n_candidates", "include_seen"])
def test_options_of_drawn_lists_have_no_effect_on_shown_ones(option: str) -> None:
    with pytest.raises(OptionError, match="lists as they were shown"):
        PrepareConfig.parse(
            {"dataset": "x", "candidates": "impressions", option: 5 if option[0] == "n" else True}, owner="x"
        )


def test_labelled_events_of_one_user_and_time_are_a_list() -> None:
    rows = [
        ("u", "a", 1.0, True, None),
        ("u", "b", 1.0, False, None),
        ("u", "a", 1.0, False, None),
        ("u", "c", 2.0, False, None),
        ("v", "a", 1.0, True, None),
        (None, "a", 1.0, True, None),
        ("u", "d", 5.0, True, "s"),
        ("u", "e", 4.0, False, "s"),
        ("v", "e", 4.0, False, "s"),
    ]
    schema = {"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Float64, "chosen": pl.Boolean}
    found = labelled_lists(pl.DataFrame(rows, schema={**schema, "impression_id": pl.String}, orient="row"))
    assert found.select("user_id", "timestamp", "shown", "clicked").rows() == [
        ("u", 1.0, ["a", "b"], ["a"]),
        ("u", 2.0, ["c"], []),
        ("v", 1.0, ["a"], ["a"]),
        ("u", 4.0, ["d", "e"], ["d"]),
        ("v", 4.0, ["e"], []),
    ]


def test_what_users_rated_late_is_a_list_whose_high_ratings_are_relevant() -> None:
    early = [(user, f"{user}{at}", float(at), 3.0) for at in range(13) for user in ("u", "v", "w")]
    late = [
        ("u", "x", 50.0, 5.0),
        ("v", "y", 50.5, 4.0),
        ("u", "y", 51.0, 3.5),
        ("u", "z", 52.0, 4.0),
        ("w", "z", 53.0, None),
    ]
    events = pl.DataFrame([*early, *late], schema=EVENTS, orient="row")
    found, start = rated_lists(events, 4.0)
    assert start == 50.0
    assert found.select("user_id", "timestamp", "shown", "clicked").rows() == [
        ("u", 50.0, ["x", "y", "z"], ["x", "z"]),
        ("v", 50.5, ["y"], ["y"]),
    ]
    config = PrepareConfig(dataset="x", candidates="impressions", relevant_rating=4.0)
    split, made = impression_requests(found, events, config, tested_from=start)
    assert made.truth["item_id"].to_list() == ["x", "z"]
    assert made.requests["history"].to_list() == [[f"u{at}" for at in range(13)]]
    assert split.interactions["timestamp"].max() == 12
    assert any("rated 4 or higher" in rule for rule in made.rules)
    with pytest.raises(OptionError, match="no ratings"):
        rated_lists(clicks(DAY), 4.0)


def test_what_was_shown_and_not_clicked_is_an_event_of_its_own() -> None:
    found = shown_alone(lists([("u", 1.0, "a b c", "b"), ("v", 2.0, "d", "d")]))
    assert sorted(found.select("user_id", "item_id", "timestamp").rows()) == [("u", "a", 1.0), ("u", "c", 1.0)]

"""The profile of a source: every number against a table small enough to count by hand."""

from dataclasses import asdict
from typing import Any

import polars as pl
import pytest

from llmrs_bench.core.schemas import ITEMS
from llmrs_bench.data.demo import Demo
from llmrs_bench.data.profile import EXAMPLES, MOST_VALUES, SPANS, Example, Profile, profile
from llmrs_bench.data.rows import NO_TIME
from llmrs_bench.data.sources import EVENTS, Raw

DAY = 86_400.0
Row = tuple[str | None, str | None, float, float | None]
ROWS: list[Row] = [
    ("ann", "b1", 10.0, 3.0),
    ("ann", "b2", 20.0, 4.5),
    ("ann", "b1", 20.0, 4.5),
    ("ben", "b1", 30.0, None),
    ("ben", "b1", 30.0, None),
    ("cat", "b3", 90.5, 3.0),
    (None, "b3", 5.0, 1.0),
]


def books(rows: list[Row], *titles: tuple[str, int | None, list[str]], **other: Any) -> Raw:
    listed = [(f"b{at}", title, "", year, kinds) for at, (title, year, kinds) in enumerate(titles, 1)]
    items = pl.DataFrame(listed, schema=ITEMS, orient="row")
    return Raw(items, pl.DataFrame(rows, schema=EVENTS, orient="row"), **other)


def made(rows: list[Row] = ROWS, **other: Any) -> Profile:
    titles = [("Emma", 1815, ["novel"]), ("Emma", None, ["novel", "play"]), ("b3", 1900, []), ("Hamlet", 1603, [])]
    return profile(books(rows, *titles, **other))


def test_users_items_and_events_are_counted_as_read() -> None:
    found = made()
    assert (found.users, found.items, found.listed, found.events, found.without_ids) == (3, 3, 4, 6, 1)
    assert found.sparsity == pytest.approx(1 - 4 / 9)
    assert (found.repeats, found.copies) == (2, 1)
    assert found.per_user is not None
    assert found.per_item is not None
    assert (found.per_user.least, found.per_user.median, found.per_user.most) == (1, 2, 3)
    assert found.per_user.mean == pytest.approx(6 / 3)
    assert found.per_user.bins == (1, 2)  # one of one event, two of two or three
    assert found.per_item.bins == (2, 0, 1)


def test_a_user_whose_last_events_are_of_one_time_is_tied() -> None:
    assert made().tied_users == 2
    assert made([("ann", "b1", 1.0, None), ("ann", "b2", 2.0, None), ("ben", "b2", 2.0, None)]).tied_users == 0


def test_ratings_are_counted_one_by_one_unless_they_are_many() -> None:
    found = made().ratings
    assert (found.rated, found.values) == (4, ((3.0, 2), (4.5, 2)))
    many: list[Row] = [("ann", f"b{at % 4 + 1}", float(at), at / 10) for at in range(MOST_VALUES + 1)]
    found = made(many).ratings
    assert (found.distinct, found.least, found.most, found.values) == (MOST_VALUES + 1, 0.0, 1.2, ())


def test_times_have_ends_a_unit_and_spans() -> None:
    found = made(rules=("times are milliseconds",)).times
    assert found is not None
    assert (found.first, found.last, found.unit) == ("1970-01-01 00:00:10", "1970-01-01 00:01:30", "milliseconds")
    assert len(found.bins) == SPANS
    assert sum(found.bins) == 6
    assert found.bins[0] == found.bins[-1] == 1
    assert not found.days_only


def test_days_without_a_time_of_day_are_told_apart_from_times() -> None:
    days = made([("ann", "b1", 0.0, None), ("ann", "b2", 3 * DAY, None)]).times
    assert days is not None
    assert days.days_only
    same = made([("ann", "b1", DAY, None), ("ann", "b2", DAY, None)]).times
    assert same is not None
    assert not same.days_only
    assert same.bins == ()


def test_a_source_without_times_has_none_and_no_ties() -> None:
    found = made([("ann", "b1", 0.0, None), ("ann", "b2", 0.0, None)], rules=(NO_TIME,))
    assert (found.times, found.tied_users, found.examples[0].time) == (None, 0, None)
    unordered = made([(user, item, 0.0, rating) for user, item, _, rating in ROWS], timeless=True)
    assert unordered.times is None
    assert unordered.tied_users == 0
    assert {example.time for example in unordered.examples} == {None}


def test_no_time_is_too_far_for_a_profile() -> None:
    found = made([("ann", "b1", 1e15, None), ("ann", "b2", 2e15, None)]).times
    assert found is not None
    assert found.first == "1e+15 s"


def test_titles_years_and_categories_are_of_all_listed_items() -> None:
    found = made().titles
    assert (found.untitled, found.equal, found.median, found.longest) == (1, 2, 4.0, 6)
    assert (found.years, found.without_year) == ((1603, 1900), 1)
    assert (found.categories, found.distinct_categories) == ((("novel", 2), ("play", 1)), 2)


def test_the_first_events_are_examples() -> None:
    found = made().examples
    assert len(found) == EXAMPLES
    assert found[1] == Example("ann", "b2", "Emma", "1970-01-01 00:00:20", 4.5)


def test_nothing_chosen_is_a_profile_too() -> None:
    shown = pl.DataFrame(ROWS[:2], schema=EVENTS, orient="row")
    found = made([], unchosen=shown)
    assert (found.users, found.events, found.not_chosen, found.sparsity, found.per_user) == (0, 0, 2, None, None)


def test_the_demo_is_what_it_says() -> None:
    found = asdict(profile(Demo().load(None)))
    assert (found["users"], found["items"], found["events"]) == (1000, 400, 32_789)

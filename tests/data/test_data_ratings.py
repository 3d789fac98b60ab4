"""Rating prediction: which rows are asked, what histories tell, and what is refused."""

from typing import Any

import polars as pl
import pytest

from llmrs_bench.core.config import PrepareConfig
from llmrs_bench.core.errors import DataError, OptionError
from llmrs_bench.core.schemas import ITEMS, TABLES
from llmrs_bench.data.labelled import MOST_VALUES, LabelledTables, labelled_events, labelled_tables
from llmrs_bench.data.sources import EVENTS, Raw

Event = tuple[str, str, float, float | None]


def ratings(rows: list[Event], **options: Any) -> LabelledTables:
    config = PrepareConfig(dataset="films", task="rating", **options)
    raw = Raw(ITEMS.to_frame(), pl.DataFrame(rows, schema=EVENTS, orient="row"))
    events, _, _ = labelled_events(raw, config)
    return labelled_tables(events, config)


def samples(made: LabelledTables) -> pl.DataFrame:
    return pl.concat([block for rows in made.learned for block in rows.blocks()])


def diary(users: int = 4, events: int = 25) -> list[Event]:
    """Users take turns: every second one event, of ever other films, rated 1 to 5."""
    return [(f"u{at % users}", f"film{at}", float(at), 1.0 + at * 7 // users % 5) for at in range(users * events)]


def test_the_label_of_a_request_is_the_rating() -> None:
    rows = diary()
    made = ratings(rows)
    rated = {film: rating for _, film, _, rating in rows}
    assert {row["item_id"]: row["label"] for row in made.truth.iter_rows(named=True)} == {
        film: rated[film] for film in made.truth["item_id"]
    }
    assert set(made.truth["item_id"]) == {f"film{at}" for at in range(80, 100)}
    for name in ("requests", "outcomes", "ratings", "truth", "interactions"):
        assert getattr(made, name).schema == TABLES[name]
    assert samples(made).schema == TABLES["samples"]
    train = [rating for _, _, at, rating in rows if at < 80]
    assert made.parts["train"]["mean"] == pytest.approx(sum(filter(None, train)) / 80)
    assert made.scale == {"count": 5, "least": 1.0, "greatest": 5.0, "values": [1.0, 2.0, 3.0, 4.0, 5.0]}


def test_events_without_a_rating_are_neither_asked_nor_shown() -> None:
    rows = diary()
    bare: list[Event] = [(user, f"{film}-bare", at + 0.5, None) for user, film, at, _ in rows]
    assert ratings(sorted([*rows, *bare], key=lambda row: row[2])).requests.equals(ratings(rows).requests)


@pytest.mark.parametrize("split", ["time", "random"])
def test_a_history_is_what_came_before_and_tells_nothing_of_a_later_part(split: str) -> None:
    rows = diary(3, 40)
    made = ratings(rows, split=split)
    times = {film: at for _, film, at, _ in rows}
    tested = set(made.requests.filter(pl.col("part") == "test")["candidates"].explode())
    assert len(tested) == 12
    mean = made.parts["train"]["mean"]
    rated = {film: rating for _, film, _, rating in rows}
    for row in samples(made).iter_rows(named=True):
        assert tested.isdisjoint([*row["history"], row["item_id"]])
        assert all(times[film] < times[row["item_id"]] for film in row["history"])
        assert row["liked"] == [(rated[film] or 0) > mean for film in row["history"]]
    assert tested.isdisjoint(made.interactions["item_id"])


@pytest.mark.parametrize("split", ["time", "random"])
def test_other_ratings_of_the_test_change_nothing_but_the_truth(split: str) -> None:
    rows = diary(3, 40)
    made = ratings(rows, split=split)
    tested = set(made.requests.filter(pl.col("part") == "test")["candidates"].explode())
    last = {user: film for user, film, _, _ in rows if film in tested}
    # Other test rows of a user may be in a history; the last one of each user is in none.
    others: list[Event] = []
    for user, film, at, rating in rows:
        others.append((user, film, at, 6.0 - (rating or 0) if film in last.values() else rating))
    changed = ratings(others, split=split)
    assert samples(changed).equals(samples(made))
    assert changed.scale == made.scale
    for name in ("requests", "outcomes", "interactions"):
        assert getattr(changed, name).equals(getattr(made, name))
    shown = set(made.requests["history"].explode())
    assert changed.ratings.filter(pl.col("item_id").is_in(shown)).equals(
        made.ratings.filter(pl.col("item_id").is_in(shown))
    )
    assert not changed.truth.equals(made.truth)


def test_a_scale_of_many_values_is_known_by_its_ends() -> None:
    rows: list[Event] = [(user, film, at, at / 10) for user, film, at, _ in diary()]
    assert ratings(rows).scale == {"count": 80, "least": 0.0, "greatest": 7.9}
    halves: list[Event] = [(user, film, at, at % MOST_VALUES / 2) for user, film, at, _ in diary()]
    assert ratings(halves).scale["values"] == [at / 2 for at in range(MOST_VALUES)]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([(*row[:3], None) for row in diary()], "asks for ratings, but the data has no ratings"),
        ([(*row[:3], 4.0) for row in diary()], "all 80 rows of the part train are rated 4"),
        (diary(1, 5), "the part valid has no rows"),
        ([(*row[:2], 7.0, row[3]) for row in diary()], "it is unknown which come last"),
    ],
)
def test_what_cannot_be_asked_is_refused(rows: list[Event], words: str) -> None:
    with pytest.raises(DataError, match=words) as refused:
        ratings(rows)
    assert refused.value.hint


def test_one_rating_is_too_few() -> None:
    with pytest.raises(DataError, match="the part train has no rows"):
        ratings([("u", "film", 1.0, 4.0)], split="random")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"like_from": 4}, "--like-from would have no effect with --task rating"),
        ({"protocol": "collm"}, "--protocol would have no effect with --task rating"),
        ({"n_candidates": 5}, "--n-candidates would have no effect with --task rating"),
        ({"repeats": "all"}, "--repeats all does not fit --task rating"),
        ({"split": "leave-one-out"}, "does not fit --task rating"),
    ],
)
def test_options_of_other_tasks_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        PrepareConfig.parse_flags({"dataset": "films", "task": "rating", **options}, command="prepare")


def test_rows_for_calibration_are_of_labelled_tasks_alone() -> None:
    with pytest.raises(OptionError, match="--valid-requests would have no effect without --task click or rating"):
        PrepareConfig.parse_flags({"dataset": "films", "valid_requests": 5}, command="prepare")

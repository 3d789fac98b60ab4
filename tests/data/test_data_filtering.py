import polars as pl
import pytest

from llmrs_bench.core.errors import DataError, OptionError
from llmrs_bench.data.sources import EVENTS
from llmrs_bench.data.split import filter_events

Row = tuple[str | None, str | None, int, float | None]


def events(*rows: Row) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=EVENTS, orient="row")


def test_without_options_clean_events_stay_as_they_are() -> None:
    frame = events(("u", "b", 2, None), ("u", "a", 1, None))
    done = filter_events(frame, min_rating=None, k_core=0)
    assert done.events.equals(frame)
    assert done.facts["events_kept"] == 2
    assert done.rules == ()


def test_of_repeats_the_first_in_time_stays_at_its_line() -> None:
    frame = events(("u", "a", 5, 1.0), ("u", "b", 1, 1.0), ("u", "a", 3, 2.0), ("u", "a", 3, 3.0), ("v", "a", 9, 1.0))
    done = filter_events(frame, min_rating=None, k_core=0)
    assert done.events.rows() == [("u", "b", 1, 1.0), ("u", "a", 3, 2.0), ("v", "a", 9, 1.0)]
    assert done.facts["repeats_dropped"] == 2
    assert len(done.rules) == 1


def test_null_ids_are_dropped_and_counted() -> None:
    frame = events((None, "a", 1, 1.0), ("u", None, 1, 1.0), ("u", "a", 1, 1.0))
    done = filter_events(frame, min_rating=None, k_core=0)
    assert done.events.rows() == [("u", "a", 1, 1.0)]
    assert done.facts["null_ids_dropped"] == 2


def test_low_and_missing_ratings_are_dropped_before_repeats() -> None:
    frame = events(("u", "a", 1, 2.0), ("u", "a", 2, 4.0), ("u", "b", 3, None), ("u", "c", 4, 5.0))
    done = filter_events(frame, min_rating=4, k_core=0)
    assert done.events.rows() == [("u", "a", 2, 4.0), ("u", "c", 4, 5.0)]
    assert (done.facts["low_ratings_dropped"], done.facts["repeats_dropped"]) == (2, 0)
    assert "rated below 4" in done.rules[0]


def test_the_core_is_iterated_until_it_holds() -> None:
    # Dropping w for its single event leaves c with one, then v with one, then b with one: {u, x} x {a, d} stay.
    pairs = ["ua", "ud", "xa", "xd", "ub", "vb", "vc", "wc"]
    frame = events(*[(pair[0], pair[1], at, None) for at, pair in enumerate(pairs)])
    done = filter_events(frame, min_rating=None, k_core=2)
    assert ["".join(row[:2]) for row in done.events.rows()] == ["ua", "ud", "xa", "xd"]
    assert done.facts["outside_core_dropped"] == 4
    assert done.facts["core_rounds"] > 1


@pytest.mark.parametrize("k", [0, 1])
def test_a_core_of_one_is_everything(k: int) -> None:
    frame = events(("u", "a", 1, None))
    assert filter_events(frame, min_rating=None, k_core=k).events.equals(frame)


def test_a_least_rating_needs_ratings() -> None:
    with pytest.raises(OptionError, match="min_rating is 4, but the data has no ratings"):
        filter_events(events(("u", "a", 1, None)), min_rating=4, k_core=0)


def test_an_empty_result_says_what_was_dropped() -> None:
    with pytest.raises(DataError, match="low_ratings_dropped 2") as caught:
        filter_events(events(("u", "a", 1, 1.0), ("u", "b", 1, 2.0)), min_rating=4, k_core=0)
    assert "--min-rating" in caught.value.hint
    with pytest.raises(DataError, match="no event is left of 0"):
        filter_events(events(), min_rating=None, k_core=0)

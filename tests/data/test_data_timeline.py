"""How much of what models learn from is later than the targets they are asked for."""

import polars as pl
import pytest

from llmrs_bench.core.schemas import REQUESTS
from llmrs_bench.data.sources import EVENTS
from llmrs_bench.data.split import leave_one_out, timeline

# Two users of the first week, two of the second; each sees four items of that week, one a day.
ROWS = [(f"u{week}{n}", f"w{week}i{day}", week * 10 + day, None) for week in (0, 1) for n in (0, 1) for day in range(4)]


def requests(lists: dict[str, list[str]]) -> pl.DataFrame:
    cutoffs = {"u00": 3, "u01": 3, "u10": 13, "u11": 13}
    history: list[str] = []
    rows = [(f"test-{user}", user, "test", cutoffs[user], history, shown) for user, shown in lists.items()]
    return pl.DataFrame(rows, schema=REQUESTS, orient="row")


def test_later_interactions_and_candidates_that_are_new_later_are_counted() -> None:
    events = pl.DataFrame(ROWS, schema=EVENTS, orient="row")
    asked = requests({user: ["w0i3", "w1i0", "w1i3"] for user in ("u00", "u01", "u10", "u11")})
    found = timeline(events, leave_one_out(events).interactions, asked)
    assert found is not None
    # Of the 12 interactions 6 are of the second week: all are later for the users of the first, none for the others.
    assert found.later == pytest.approx((6 / 12 + 6 / 12 + 0 + 0) / 4)
    assert (found.unborn, found.candidates) == (4, 12)
    assert found.early is not None
    assert (found.early.later, found.early.unborn, found.early.candidates) == (0.5, 2, 3)
    assert found.words == (
        "leaks: 25.0 % of the training interactions are later than a request (earliest tenth of the requests: 50.0 %), "
        "4 of 12 candidates have no interaction before it (earliest tenth: 2 of 3), 0 of 4 requests are tied in time "
        "with another event of the user"
    )


def test_candidates_that_nobody_ever_chose_have_no_interaction_before_a_request() -> None:
    events = pl.DataFrame(ROWS, schema=EVENTS, orient="row")
    asked = requests({user: ["w0i3", "shown-alone"] for user in ("u00", "u01", "u10", "u11")})
    found = timeline(events, leave_one_out(events).interactions, asked)
    assert found is not None
    assert (found.unborn, found.candidates) == (4, 8)


def test_a_whole_catalogue_counts_once_for_each_request() -> None:
    events = pl.DataFrame(ROWS, schema=EVENTS, orient="row")
    asked = requests({"u00": [], "u10": []}).with_columns(candidates=pl.lit(None, dtype=pl.List(pl.String)))
    found = timeline(events, leave_one_out(events).interactions, asked)
    assert found is not None
    assert (found.unborn, found.candidates) == (4, 16)  # the second week's items for the user of the first
    assert found.words.endswith(", 0 of 2 requests are tied in time with another event of the user")
    alone = timeline(events, leave_one_out(events).interactions, asked, lists=False, ties=False)
    assert alone is not None
    assert "candidates" not in alone.words
    assert "tied" not in alone.words


@pytest.mark.parametrize("whole", [False, True])
def test_a_target_that_nobody_else_had_before_is_new(whole: bool) -> None:
    rows = [*ROWS, ("u10", "alone", 13.2, None), ("u11", "shared", 13.0, None), ("u00", "shared", 13.9, None)]
    events = pl.DataFrame(rows, schema=EVENTS, orient="row")
    asked = requests({user: ["w0i3", "alone", "shared"] for user in ("u10", "u11")})
    if whole:
        asked = asked.with_columns(candidates=pl.lit(None, dtype=pl.List(pl.String)))
    found = timeline(events, leave_one_out(events).interactions, asked)
    assert found is not None
    # "alone" is known to u11, from u10; "shared" has two users at its first second.
    assert (found.unborn, found.candidates) == (1, 20 if whole else 6)


def test_targets_that_a_rule_chose_among_equal_times_are_counted() -> None:
    tied = pl.DataFrame([*ROWS, ("u00", "w1i0", 3.4, None)], schema=EVENTS, orient="row")  # in the second of the target
    found = timeline(tied, leave_one_out(tied).interactions, requests({"u00": ["w0i3"], "u10": ["w1i3"]}))
    assert found is not None
    assert (found.tied, found.requests) == (1, 2)


def test_events_of_one_time_have_no_later() -> None:
    events = pl.DataFrame(ROWS, schema=EVENTS, orient="row")
    asked = requests({"u00": [], "u10": []})
    at_once = events.with_columns(timestamp=pl.lit(0.0))
    assert timeline(at_once, leave_one_out(at_once).interactions, asked) is None

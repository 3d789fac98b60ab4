"""Several requests of a user after one cut: every event, all at once, in windows; and who says when training stops."""

import re
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from film_data import write_films
from llmrs_bench.core.config import PrepareConfig
from llmrs_bench.core.errors import DataError, OptionError
from llmrs_bench.data.candidates import Requests, make_requests
from llmrs_bench.data.sources import EVENTS
from llmrs_bench.data.split import Split
from llmrs_bench.data.time_split import time_split
from llmrs_bench.stages.compare import scope_words
from llmrs_bench.stages.groups import group_requests
from stage_runs import prepared


def events(*rows: tuple[str, str, float]) -> pl.DataFrame:
    return pl.DataFrame([(*row, None) for row in rows], schema=EVENTS, orient="row")


def config(**options: object) -> PrepareConfig:
    return PrepareConfig.model_validate({"dataset": "x", "users": "all", "split": "time", "cut": CUT, **options})


# Cut behind 10. Of u there are b, a before it and c, d, e after; of v there is a before it and b, f after; w is new.
CUT = "1970-01-01T00:00:10"
ROWS = events(
    *(("u", "b", 1), ("u", "a", 2), ("v", "a", 3), ("x", "g", 4), ("x", "h", 5), ("x", "i", 6)),
    *(("u", "c", 11), ("v", "b", 12), ("u", "d", 13), ("w", "a", 16), ("u", "e", 17), ("v", "f", 20)),
)
ALL = [chr(code) for code in range(ord("a"), ord("z"))]


def split(**options: object) -> Split:
    return time_split(ROWS, config(**options))


def asked(**options: object) -> Requests:
    chosen = config(**{"n_candidates": 4, **options})
    return make_requests(time_split(ROWS, chosen), chosen, catalogue=ALL)


def told(made: Requests) -> dict[str, tuple[str, str, int]]:
    """Return of each request its history, its targets and its time."""
    targets = dict(made.truth.group_by("request_id", maintain_order=True).agg("item_id").iter_rows())
    rows = made.requests.select("request_id", "history", "cutoff").iter_rows()
    return {name: ("".join(history), "".join(targets[name]), time) for name, history, time in rows}


def test_successive_asks_for_every_event_from_what_was_before_it() -> None:
    assert told(asked(target="successive")) == {
        "test-u-1": ("ba", "c", 11),
        "test-u-2": ("bac", "d", 13),
        "test-u-3": ("bacd", "e", 17),
        "test-v-1": ("a", "b", 12),
        "test-v-2": ("ab", "f", 20),
        "test-w-1": ("", "a", 16),
    }


def test_all_asks_for_every_event_at_once_at_the_cut() -> None:
    made = asked(target="all")
    assert told(made) == {"test-u-all": ("ba", "cde", 10), "test-v-all": ("a", "bf", 10), "test-w-all": ("", "a", 10)}
    for name, shown in made.requests.select("request_id", "candidates").iter_rows():
        targets = set(made.truth.filter(pl.col("request_id") == name)["item_id"])
        assert targets < set(shown)
        assert len(shown) == len(targets) + 3  # three others, as beside a single target
    assert "a list holds all targets of its request and 3 other items" in made.rules


@pytest.mark.parametrize("target", ["last", "first", "random", "successive", "all"])
def test_histories_can_end_at_the_cut(target: str) -> None:
    made = asked(target=target, history_until="cut")
    for name, (history, *_) in told(made).items():
        assert history == {"u": "ba", "v": "a", "w": ""}[name.split("-")[1]]


def test_targets_can_need_events_before_them() -> None:
    # Of w, who has no past and no second event, nothing is asked.
    assert told(asked(target="first", min_history=1)) == {"test-u": ("ba", "c", 11), "test-v": ("a", "b", 12)}
    second = asked(target="first", min_history=2)
    assert told(second) == {"test-u": ("ba", "c", 11), "test-v": ("ab", "f", 20)}
    rules = split(target="first", min_history=2).rules
    assert any(rule.endswith("a history has all the user did before, and at least 2 events") for rule in rules)
    assert set(told(asked(target="successive", min_history=2))) == {"test-u-1", "test-u-2", "test-u-3", "test-v-1"}
    # At the cut u has two events, v one.
    for options in ({"target": "all"}, {"target": "last", "history_until": "cut"}):
        assert [name.split("-")[1] for name in told(asked(**options, min_history=2))] == ["u"]
    with pytest.raises(DataError, match="no event after the cut has 9 events of its user before it"):
        asked(target="last", min_history=9)


def test_windows_have_targets_of_their_own() -> None:
    made = asked(target="first", windows=2)  # (10, 15] and (15, 20]
    assert told(made) == {
        "test-u-w1": ("ba", "c", 11),
        "test-u-w2": ("bacd", "e", 17),
        "test-v-w1": ("a", "b", 12),
        "test-v-w2": ("ab", "f", 20),
        "test-w-w2": ("", "a", 16),
    }
    assert made.conditions is not None
    assert dict(made.conditions.select("request_id", "window").iter_rows()) == {
        name: int(name[-1]) for name in told(made)
    }
    assert asked(target="first").conditions is None


def test_all_events_of_a_window_are_asked_for_when_it_begins() -> None:
    assert told(asked(target="all", windows=2)) == {
        "test-u-w1": ("ba", "cd", 10),
        "test-u-w2": ("bacd", "e", 15),
        "test-v-w1": ("a", "b", 10),
        "test-v-w2": ("ab", "f", 15),
        "test-w-w2": ("", "a", 15),
    }


def test_windows_can_be_of_as_many_events() -> None:
    walk = events(*(("u", f"i{at}", float(at)) for at in range(10)), *(("v", f"i{at}", 50.0 + at) for at in range(3)))
    cut = "1970-01-01T00:00:03"
    by_events = time_split(walk, config(cut=cut, target="successive", windows=3, window_by="events"))
    assert by_events.held["window"].value_counts(sort=True)["count"].to_list() == [3, 3, 3]
    by_time = time_split(walk, config(cut=cut, target="successive", windows=2))
    assert by_time.held.group_by("window").len().sort("window").rows() == [(1, 6), (2, 3)]
    with pytest.raises(DataError, match="1 of 3 windows of equal length hold no event: 6, 0, 3 events"):
        time_split(walk, config(cut=cut, windows=3))


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.sampled_from("uvw"), st.sampled_from("abcdef"), st.integers(0, 9)), min_size=2, max_size=30),
    st.lists(st.tuples(st.sampled_from("uvwz"), st.sampled_from("abcdefgh"), st.integers(10, 19)), min_size=1),
    st.lists(st.tuples(st.sampled_from("uvwz"), st.sampled_from("abcdefgh"), st.integers(10, 19)), min_size=1),
    st.sampled_from(["last", "first", "random", "successive", "all"]),
)
def test_what_comes_after_the_cut_changes_nothing_that_is_learned_from(
    before: list[tuple[str, str, int]],
    one: list[tuple[str, str, int]],
    other: list[tuple[str, str, int]],
    target: str,
) -> None:
    options = config(cut="1970-01-01T00:00:09", target=target)
    try:
        made = [time_split(events(*before, *later), options) for later in (one, other)]
    except DataError:  # nobody has two events
        return
    assert made[0].interactions.equals(made[1].interactions)


def test_drawn_candidates_are_items_that_were_there_at_the_cut(tmp_path: Path) -> None:
    films = tmp_path / "films"
    films.mkdir()
    options = {"split": "time", "cut": "0.5", "target": "successive", "n_candidates": 6, "candidates": "popularity"}
    data = prepared(tmp_path / "home", write_films(films), "time", **options)
    there = set(data.artifact.table("interactions")["item_id"])
    truth = data.artifact.table("truth")
    shown = data.artifact.table("requests").select("request_id", item_id="candidates").explode("item_id")
    others = shown.join(truth, on=["request_id", "item_id"], how="anti")
    assert set(others["item_id"]) <= there
    words = data.artifact.facts["timeline"]["words"]
    assert words.startswith("leaks: no training interaction is later than a request, ")
    assert words.endswith("requests are tied in time with another event of the user")


def test_a_scope_says_what_is_beside_all_targets(tmp_path: Path) -> None:
    films = tmp_path / "films"
    films.mkdir()
    options = {"split": "time", "cut": "0.5", "target": "all", "n_candidates": 5}
    data = prepared(tmp_path / "home", write_films(films), "every", **options)
    assert scope_words(data).endswith("users, all targets and 4 more candidates each")


def test_windows_are_groups_of_a_board(tmp_path: Path) -> None:
    films = tmp_path / "films"
    films.mkdir()
    options = {"split": "time", "cut": "0.5", "windows": 2, "window_by": "events", "n_candidates": 5}
    data = prepared(tmp_path / "home", write_films(films), "windows", **options)
    found = group_requests(data, "window")
    assert found["group"].unique().sort().to_list() == ["1: 1970-01-01", "2: 1970-01-01"]
    assert found["request_id"].str.tail(1).to_list() == found["group"].str.head(1).to_list()


def test_held_out_users_say_when_training_stops() -> None:
    walks = events(*((f"u{user}", f"i{(user + step) % 7}", float(step)) for user in range(9) for step in range(6)))
    made = time_split(walks, config(cut="1970-01-01T00:00:03", validation="users:3"))
    valid = made.interactions.filter(pl.col("part") == "valid")
    assert valid["user_id"].n_unique() == 3
    assert valid.height == 3 * 4  # all that they did up to the cut
    assert set(valid["user_id"]).isdisjoint(made.interactions.filter(pl.col("part") == "train")["user_id"])
    assert made.held["user_id"].n_unique() == 9  # they are tested as everybody
    with pytest.raises(OptionError, match="leaves nobody to learn from: 9 users have two events") as caught:
        time_split(walks, config(cut="1970-01-01T00:00:03", validation="users:9"))
    assert caught.value.hint == "Hold out fewer of them: --validation users:8 or less."
    assert time_split(walks, config(cut="1970-01-01T00:00:03", validation="users:8")).held.height


@pytest.mark.parametrize(
    ("cut", "words"),
    [("1970-01-01T00:00:00.5", "0 of 12 events"), ("1970-01-01T00:00:01", "1 of 12 events"), ("2000-01-01", "0 after")],
)
def test_a_cut_that_tests_nothing_is_answered_with_those_that_do(cut: str, words: str) -> None:
    with pytest.raises(DataError, match="tests need a user with two events up to the cut") as caught:
        time_split(ROWS, config(cut=cut))
    assert words in str(caught.value)
    assert "1970-01-01T00:00:02 to 1970-01-01T00:00:17 (UTC), or a share from 0.166667 to 0.916666" in caught.value.hint
    for works in ("1970-01-01T00:00:02", "1970-01-01T00:00:17", "0.166667", "0.916666"):
        assert time_split(ROWS, config(cut=works)).held.height


@pytest.mark.parametrize("history_until", ["target", "cut"])
@pytest.mark.parametrize("target", ["last", "first", "successive", "random", "all"])
def test_a_history_that_nobody_has_is_answered_with_the_longest_that_works(target: str, history_until: str) -> None:
    options = {"cut": "1970-01-01T00:00:05", "target": target, "history_until": history_until}
    with pytest.raises(DataError, match="no event after the cut has 100 events of its user before it") as caught:
        time_split(ROWS, config(min_history=100, **options))
    found = re.fullmatch(r"Lower --min-history to at most (\d+)\.", str(caught.value.hint))
    assert found is not None
    assert time_split(ROWS, config(min_history=int(found[1]), **options)).held.height
    with pytest.raises(DataError):
        time_split(ROWS, config(min_history=int(found[1]) + 1, **options))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"window_by": "events"}, "--window-by would have no effect without --windows"),
        ({"windows": 0}, "greater than or equal to 2"),
        ({"windows": 1}, "greater than or equal to 2"),
        ({"target": "all", "repeats": "all"}, "--repeats all does not fit several targets per user"),
        ({"validation": "users:0"}, "is not last-item, time or users:N"),
        ({"validation": "someone"}, "is not last-item, time or users:N"),
        ({"split": "random", "windows": 3}, "would have no effect without --split time"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PrepareConfig.model_validate({"dataset": "x", "split": "time", **options})


def test_options_at_their_default_leave_fingerprints_as_they_were() -> None:
    before = {"history_until", "min_history", "windows", "window_by", "cold_users", "cold_items"}
    assert before.isdisjoint(PrepareConfig.model_validate({"dataset": "x"}).result_options)


def test_of_many_windows_the_first_and_last_are_shown() -> None:
    with pytest.raises(DataError, match=r"994 of 1000 windows .*: (\S+, ){10}\.\.\., \S+") as caught:
        asked(target="first", windows=1000)
    assert len(caught.value.message) < 200

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from llmrs_bench.core.schemas import check_schema
from llmrs_bench.data.sources import EVENTS
from llmrs_bench.data.split import RANDOM_TIE_RULE, TIE_RULE, leave_one_out, random_holdout


def events(*rows: tuple[str, str, int]) -> pl.DataFrame:
    return pl.DataFrame([(*row, None) for row in rows], schema=EVENTS, orient="row")


def test_the_last_event_is_held_out_and_the_one_before_is_valid() -> None:
    split = leave_one_out(
        events(("v", "d", 9), ("u", "c", 3), ("u", "a", 1), ("v", "a", 7), ("u", "b", 2), ("v", "b", 8))
    )
    check_schema("interactions", split.interactions)
    assert split.interactions.select("user_id", "item_id", "part").rows() == [
        ("v", "a", "train"),
        ("v", "b", "valid"),
        ("u", "a", "train"),
        ("u", "b", "valid"),
    ]
    assert split.held.rows() == [("v", "d", 9), ("u", "c", 3)]


def test_ties_keep_the_order_of_lines_and_are_counted() -> None:
    split = leave_one_out(
        events(("u", "a", 1), ("u", "c", 2), ("u", "b", 2), ("v", "a", 5), ("v", "b", 5), ("v", "c", 6))
    )
    assert split.held.rows() == [("u", "b", 2), ("v", "c", 6)]
    assert split.facts["users_with_tied_target"] == 1
    assert TIE_RULE in split.rules


def test_users_with_fewer_than_three_events_are_trained_on_alone() -> None:
    split = leave_one_out(events(("u", "a", 2), ("u", "b", 2), ("v", "a", 1)))
    assert split.held.is_empty()
    assert split.interactions["part"].to_list() == ["train"] * 3
    assert split.facts == {"users": 2, "users_too_short": 2, "users_with_tied_target": 0}


def test_many_ties_are_stable() -> None:
    rows = [(f"u{at % 50}", f"i{at}", 0) for at in range(20_000)]
    split = leave_one_out(events(*rows))
    assert split.held["item_id"].to_list() == [f"i{at}" for at in range(20_000 - 50, 20_000)]


@given(
    st.lists(st.tuples(st.sampled_from("uvw"), st.sampled_from("abcdef"), st.integers(0, 3)), min_size=1, max_size=30)
)
def test_every_event_ends_in_one_place_and_nothing_seen_is_later_than_the_target(
    rows: list[tuple[str, str, int]],
) -> None:
    frame = events(*rows)
    split = leave_one_out(frame)
    seen = split.interactions.select("user_id", "item_id", "timestamp")
    assert pl.concat([seen, split.held]).sort(pl.all()).equals(frame.select(seen.columns).sort(pl.all()))
    late = seen.join(split.held, on="user_id", suffix="_held").filter(pl.col("timestamp") > pl.col("timestamp_held"))
    assert late.is_empty()
    assert split.interactions.filter(part="valid").height == split.held.height


def held_of(frame: pl.DataFrame, seed: int = 0) -> dict[str, str]:
    return dict(random_holdout(frame, seed=seed).held.select("user_id", "item_id").rows())


def timeless(users: int, items: int = 8) -> pl.DataFrame:
    return events(*((f"u{user}", f"i{item}", 0) for user in range(users) for item in range(items)))


def test_a_random_event_of_each_user_is_held_out_and_another_is_valid() -> None:
    split = random_holdout(pl.concat([timeless(50), events(("short", "i1", 0), ("short", "i2", 0))]), seed=0)
    check_schema("interactions", split.interactions)
    assert split.held["user_id"].to_list() == [f"u{user}" for user in range(50)]
    parts = split.interactions.group_by("user_id", "part").len()
    assert parts.filter(part="valid")["len"].to_list() == [1] * 50
    assert sorted(parts.filter(part="train")["len"].unique()) == [2, 6]
    assert split.held["item_id"].n_unique() == 8  # each place of a list is drawn for some user
    assert split.facts == {"users": 51, "users_too_short": 1}
    assert RANDOM_TIE_RULE in split.rules
    assert TIE_RULE not in split.rules


def test_a_random_draw_depends_on_the_seed_and_the_user_alone() -> None:
    whole = timeless(50)
    held = held_of(whole)
    assert held_of(whole.sample(fraction=1.0, shuffle=True, seed=1)) == held
    assert held_of(whole.filter(user_id="u7")) == {"u7": held["u7"]}
    assert held_of(whole, seed=1) != held


def test_histories_without_times_stand_in_a_random_order_and_others_in_time() -> None:
    histories = random_holdout(timeless(50), seed=0).interactions.group_by("user_id").agg("item_id")["item_id"]
    assert len({tuple(history) for history in histories.to_list()}) > 40
    timed = timeless(50).with_columns(timestamp=pl.col("item_id").str.slice(1).cast(pl.Float64))
    assert (
        random_holdout(timed, seed=0)
        .interactions.group_by("user_id")
        .agg(pl.col("timestamp").diff().drop_nulls().min())["timestamp"]
        .min()
        == 1
    )

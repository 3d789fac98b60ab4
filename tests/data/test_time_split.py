"""The split of all events at one time: nobody learns from the future, and nothing of the future is a candidate."""

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from film_data import write_films
from llmrs_bench.core.config import PrepareConfig
from llmrs_bench.core.errors import DataError, OptionError
from llmrs_bench.core.schemas import check_schema
from llmrs_bench.core.types import no_progress
from llmrs_bench.data.candidates import make_requests
from llmrs_bench.data.sources import EVENTS
from llmrs_bench.data.split import Split, without_targets
from llmrs_bench.data.time_split import read_cut, time_split
from llmrs_bench.stages.prepare import prepare
from llmrs_bench.stages.source import Origin
from llmrs_bench.stages.workspace import open_data
from stage_runs import run


def events(*rows: tuple[str, str, float]) -> pl.DataFrame:
    return pl.DataFrame([(*row, None) for row in rows], schema=EVENTS, orient="row")


def config(**options: object) -> PrepareConfig:
    return PrepareConfig.model_validate({"dataset": "x", "users": "all", "split": "time", **options})


# Cut behind 10: u and v have a past, w has none; the items n and e are not there before the cut.
ROWS = events(
    *(("v", "a", 1), ("u", "b", 2), ("u", "a", 3), ("v", "c", 4), ("v", "b", 5), ("u", "c", 10), ("z", "d", 10)),
    *(
        ("u", "d", 11),
        ("w", "a", 12),
        ("w", "n", 13),
        ("u", "n", 14),
        ("v", "d", 15),
        ("w", "c", 15),
        ("u", "e", 16),
    ),
    *(("z", "n", 20),),
)
CUT = "1970-01-01T00:00:10"


def split(**options: object) -> Split:
    return time_split(ROWS, config(cut=CUT, **options))


def test_all_learn_from_what_is_up_to_the_cut_alone() -> None:
    made = split()
    check_schema("interactions", made.interactions)
    assert made.interactions.select("user_id", "item_id", "part").rows() == [
        *(("v", "a", "train"), ("v", "c", "train"), ("v", "b", "valid")),
        *(("u", "b", "train"), ("u", "a", "train"), ("u", "c", "valid")),
        ("z", "d", "train"),
    ]
    assert made.facts == {
        "users": 4,
        "test_users": 4,
        "test_users_without_past": 1,
        "events_before": 7,
        "events_after": 8,
        "targets_new": 2,
    }
    assert (
        "2 of the 4 targets of all 4 users with later events are items without an event up to the cut: "
        "what learns ids knows none of them"
    ) in made.rules
    assert made.words == "split in time at 1970-01-01 00:00:10 UTC, target the last event after it"


@pytest.mark.parametrize(
    ("target", "held", "told"),
    [
        (
            "last",
            [("v", "d", 15), ("u", "e", 16), ("z", "n", 20), ("w", "c", 15)],
            {"v": "acb", "u": "bacdn", "z": "d", "w": "an"},
        ),
        (
            "first",
            [("v", "d", 15), ("u", "d", 11), ("z", "n", 20), ("w", "a", 12)],
            {"v": "acb", "u": "bac", "z": "d"},
        ),
    ],
)
def test_a_history_is_all_that_comes_before_the_target(
    target: str, held: list[tuple[str, str, int]], told: dict[str, str]
) -> None:
    made = split(target=target)
    assert made.held.rows() == held
    assert made.told is not None
    assert {user: "".join(items) for user, items in made.told.group_by("user_id").agg("item_id").rows()} == told


def test_lists_are_of_what_was_there_at_the_cut_and_of_the_target() -> None:
    options = config(cut=CUT, target="first", n_candidates=3)
    made = make_requests(time_split(ROWS, options), options, catalogue="abcd")
    lists = dict(made.requests.select("user_id", "candidates").iter_rows())
    assert {user: "n" in items for user, items in lists.items()} == {"z": True, "w": False}  # u and v know all others
    assert "e" not in {item for items in lists.values() for item in items}
    assert dict(made.requests.select("user_id", "history").iter_rows())["w"] == []  # no event before the target


def test_a_random_target_is_that_of_the_user_alone() -> None:
    walks = [(f"u{user}", f"i{(user + step) % 10}", float(step)) for user in range(9) for step in range(10)]
    whole = time_split(events(*walks), config(cut=_second(5), target="random"))
    others = time_split(events(*(walk for walk in walks if walk[0] != "u3")), config(cut=_second(5), target="random"))
    assert [row for row in whole.held.rows() if row[0] != "u3"] == others.held.rows()
    assert len(set(whole.held["timestamp"])) > 1
    again = time_split(events(*walks), config(cut=_second(5), target="random", seed=1))
    assert again.held.rows() != whole.held.rows()


def _second(second: int) -> str:
    return f"1970-01-01T00:00:0{second}"


@given(
    st.lists(st.tuples(st.sampled_from("uvw"), st.sampled_from("abcdef"), st.integers(0, 9)), min_size=2, max_size=30),
    st.sampled_from(["last", "first", "random"]),
)
def test_nothing_of_the_future_is_learned_from_or_told(rows: list[tuple[str, str, int]], target: str) -> None:
    frame = events(*rows)
    try:
        made = time_split(frame, config(cut="0.6", target=target))
    except DataError:
        return
    cut = float(frame["timestamp"].quantile(0.6, "linear") or 0)
    assert made.interactions["timestamp"].to_numpy().max() <= cut
    assert made.held["timestamp"].to_numpy().min() > cut
    assert made.held["user_id"].is_unique().all()
    assert made.told is not None
    for user, _, time in made.held.rows():
        told = made.told.filter(pl.col("user_id") == user).height
        own = frame.filter(pl.col("user_id") == user)["timestamp"]
        assert int((own < time).sum()) <= told < int((own <= time).sum())


def test_validation_can_be_all_behind_a_second_cut() -> None:
    made = time_split(ROWS, config(cut="0.5", validation="time"))
    valid = made.interactions.filter(pl.col("part") == "valid")
    train = made.interactions.filter(pl.col("part") == "train")
    assert valid.height
    assert valid["timestamp"].to_numpy().min() > train["timestamp"].to_numpy().max()
    with pytest.raises(OptionError, match="a second cut by the same share"):
        split(validation="time")


def test_targets_that_repeat_leave_the_history_too() -> None:
    made = without_targets(time_split(events(("u", "a", 1), ("u", "b", 2), ("u", "a", 9)), config(cut="0.5")))
    assert made.told is not None
    assert made.told.rows() == [("u", "b")]
    assert made.interactions["item_id"].to_list() == ["b"]


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("0.9", 0.9),
        ("2000-12-29", datetime(2000, 12, 29, 23, 59, 59, 999999, UTC)),
        ("2000-12-29T23:28:08", datetime(2000, 12, 29, 23, 28, 8, 0, UTC)),
        ("2000-12-29T23:28:08+01:00", datetime(2000, 12, 29, 22, 28, 8, 0, UTC)),
    ],
)
def test_a_cut_is_a_share_or_a_date(text: str, want: float | datetime) -> None:
    assert read_cut(text) == want


@pytest.mark.parametrize(("cut", "typed"), [(0.5, "0.5"), (date(2000, 12, 29), "2000-12-29"), ("0.5", "0.5")])
def test_a_recipe_may_have_a_number_or_a_date(cut: object, typed: str) -> None:
    assert config(cut=cut).cut == typed


@pytest.mark.parametrize("text", ["1.5", "0", "yesterday", ""])
def test_other_cuts_are_refused(text: str) -> None:
    with pytest.raises(OptionError, match="not a share between 0 and 1, or a date"):
        read_cut(text)


def test_a_cut_with_nothing_behind_it_is_refused() -> None:
    with pytest.raises(DataError, match="15 of 15 events are up to 2000-01-01 23:59:59 UTC, 0 after it"):
        time_split(ROWS, config(cut="2000-01-01"))


@pytest.mark.parametrize("option", [{"cut": "0.5"}, {"target": "first"}, {"validation": "time"}])
def test_options_of_the_cut_need_it(option: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="would have no effect without --split time"):
        PrepareConfig.model_validate({"dataset": "x", **option})


def test_from_a_file_to_a_run_without_a_future(tmp_path: Path) -> None:
    films = tmp_path / "films"
    films.mkdir()
    options = config(dataset="small", cut="0.6", target="first", n_candidates=5)
    prepare(tmp_path / "home", "small@time", options, Origin(write_films(films)), no_progress)
    data = open_data(tmp_path / "home", "small@time")
    facts = data.artifact.facts
    assert facts["timeline"]["later"] == 0
    shown = set(data.artifact.table("requests")["candidates"].explode())
    targets = set(data.artifact.table("truth")["item_id"])
    assert facts["timeline"]["unborn"] == len(targets - {*data.artifact.table("interactions")["item_id"]}) == 1
    assert shown <= {*data.artifact.table("interactions")["item_id"], *targets}
    assert (
        run(data, "itemknn").table("rankings").height == data.artifact.table("requests")["candidates"].list.len().sum()
    )

"""The prepared data as RecBole's files of a split that was made before."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from llmrs_bench.core.errors import DataError
from llmrs_bench.core.schemas import INTERACTIONS, ITEMS, REQUESTS, TRUTH
from llmrs_bench.exchange.writing import HISTORY, Prepared, write_recbole

LONG = HISTORY + 5


def prepared(*, user: str = "u", targets: tuple[str, ...] = ("target",), later: tuple[str, ...] = ()) -> Prepared:
    """Events of two users, of whom one is tested; `later` items are in the history, and nobody learns from them."""
    events = [(user, f"i{place}", 10 + place, 4.0, "valid" if place == LONG - 1 else "train") for place in range(LONG)]
    events.append(("v", "i0", 5, 1.0, "train"))
    history = [*(f"i{place}" for place in range(LONG)), *later]
    return Prepared(
        items=pl.DataFrame(
            [("i0", 'A "quoted"\ttitle ', "", 1990, ["Sci Fi", "Drama"]), ("i1", "B", "", None, [])],
            schema=ITEMS,
            orient="row",
        ),
        interactions=pl.DataFrame(events, schema=INTERACTIONS, orient="row"),
        requests=pl.DataFrame([(f"test-{user}", user, "test", 99, history, None)], schema=REQUESTS, orient="row"),
        truth=pl.DataFrame([(f"test-{user}", target, 1.0) for target in targets], schema=TRUTH, orient="row"),
    )


def table(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text("utf-8").splitlines()]


def test_every_event_is_in_the_file_of_its_part(tmp_path: Path) -> None:
    write_recbole(prepared(), tmp_path, name="x")
    train, valid, test = (table(tmp_path / "x" / f"x.{part}.inter") for part in ("train", "valid", "test"))
    assert train[0] == ["user_id:token", "item_id:token", "timestamp:float"]
    assert [row[1] for row in train[1:]] == [*(f"i{place}" for place in range(LONG - 1)), "i0"]
    assert valid[1:] == [["u", f"i{LONG - 1}", str(10 + LONG - 1)]]
    assert test[1:] == [["u", "target", "99"]]


def test_sequential_rows_carry_the_newest_items_before_them_and_never_none(tmp_path: Path) -> None:
    write_recbole(prepared(), tmp_path, name="x")
    place = tmp_path / "x-sequential"
    train, valid, test = (table(place / f"x-sequential.{part}.inter") for part in ("train", "valid", "test"))
    assert train[0] == ["user_id:token", "item_id_list:token_seq", "item_id:token", "timestamp:float"]
    assert train[1][1:3] == ["i0", "i1"]
    assert train[3][1:3] == ["i0 i1 i2", "i3"]
    assert {row[0] for row in train[1:]} == {"u"}
    assert valid[1][1].split() == [f"i{place}" for place in range(LONG - 1 - HISTORY, LONG - 1)]
    assert test[1][1].split() == [f"i{place}" for place in range(LONG - HISTORY, LONG)]
    assert test[1][2] == "target"


def test_all_targets_of_a_request_stand_behind_its_history_and_not_behind_each_other(tmp_path: Path) -> None:
    write_recbole(prepared(targets=("one", "two"), later=("late",)), tmp_path, name="x")
    test = table(tmp_path / "x-sequential" / "x-sequential.test.inter")[1:]
    history = " ".join([*(f"i{place}" for place in range(LONG - HISTORY + 1, LONG)), "late"])
    assert [row[1:3] for row in test] == [[history, "one"], [history, "two"]]
    assert [row[1] for row in table(tmp_path / "x" / "x.test.inter")[1:]] == ["one", "two"]


def test_items_are_plain_text_that_pandas_reads_as_it_stands(tmp_path: Path) -> None:
    write_recbole(prepared(), tmp_path, name="x")
    for name in ("x", "x-sequential"):
        assert table(tmp_path / name / f"{name}.item") == [
            ["item_id:token", "title:token_seq", "release_year:token", "class:token_seq"],
            ["i0", "A 'quoted' title", "1990", "Sci_Fi Drama"],
            ["i1", "B", "", ""],
        ]
        settings = (tmp_path / f"{name}.yaml").read_text("utf-8")
        assert "benchmark_filename: [train, valid, test]" in settings
        assert (f"MAX_ITEM_LIST_LENGTH: {HISTORY}" in settings) == (name == "x-sequential")


@pytest.mark.parametrize("user", ["a b", 'a"b', ""])
def test_ids_that_its_reader_would_take_apart_are_refused(tmp_path: Path, user: str) -> None:
    with pytest.raises(DataError, match="1 values of user_id hold blanks or quotation marks"):
        write_recbole(prepared(user=user), tmp_path, name="x")


def test_several_requests_of_a_user_have_no_place(tmp_path: Path) -> None:
    single = prepared()
    double = replace(single, requests=pl.concat([single.requests, single.requests]))
    with pytest.raises(DataError, match="some users have several requests"):
        write_recbole(double, tmp_path, name="x")


def test_files_do_not_depend_on_how_many_users_are_written_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    for users in (1, 2000):
        monkeypatch.setattr("llmrs_bench.exchange.writing._USERS", users)
        folder = tmp_path / str(users)
        folder.mkdir()
        write_recbole(prepared(), folder, name="x")
        written.append({path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()})
    assert written[0] == written[1]
    assert len(written[0]) == 10

"""A file whose last line has no line end and ends in a number that may be cut short."""

from collections.abc import Callable
from pathlib import Path

import pytest

from layout_files import load
from llmrs_bench.core.errors import DataError
from llmrs_bench.data.files import SourceFiles
from llmrs_bench.data.sources import Raw
from llmrs_bench.data.tables import Tables

ROWS = [(f"u{number % 7}", f"i{number}", number % 5 + 1, 978300000 + number) for number in range(20)]
ITEMS = {f"i{number}": f"Film {number}" for number in range(20)}


def lines(separator: str, *, last: str = "") -> str:
    """Return lines of events without a line end behind the last; `last` in place of its time."""
    rows = [separator.join(map(str, row)) for row in ROWS]
    if last:
        rows[-1] = separator.join([*map(str, ROWS[-1][:3]), last])
    return "\n".join(rows)


def read_1m(folder: Path, ratings: str) -> Raw:
    films = "".join(f"{item}::{title} (1995)::Drama\n" for item, title in ITEMS.items())
    return load("movielens-1m", folder, {"ratings.dat": ratings, "movies.dat": films})


def read_atomic(folder: Path, events: str) -> Raw:
    head = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    films = "item_id:token\ttitle:token_seq\n" + "".join(f"{item}\t{title}\n" for item, title in ITEMS.items())
    return load("atomic", folder, {"set.inter": head + events, "set.item": films})


def read_table(folder: Path, events: str) -> Raw:
    (folder / "events.csv").write_text("user,item,rating,timestamp\n" + events, "utf-8")
    return Tables().load(SourceFiles.open(folder / "events.csv"))


@pytest.mark.parametrize(
    ("read", "separator", "line"), [(read_1m, "::", 20), (read_atomic, "\t", 21), (read_table, ",", 21)]
)
def test_a_time_shorter_than_all_above_it_is_cut(
    tmp_path: Path, read: Callable[[Path, str], Raw], separator: str, line: int
) -> None:
    assert read(tmp_path, lines(separator)).events.height == 20  # whole, as many files without a line end are
    assert read(tmp_path, lines(separator, last="97830") + "\n").events.height == 20  # a line end says that it is
    with pytest.raises(DataError, match=f"line {line}: the file ends in it without a line end, and .*97830") as told:
        read(tmp_path, lines(separator, last="97830"))
    assert "complete copy" in told.value.hint


def test_the_end_of_the_last_field_may_be_missing_as_a_whole(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="timestamp is empty"):
        read_atomic(tmp_path, lines("\t").rpartition("\t")[0] + "\t")


@pytest.mark.parametrize(("last", "doubtful"), [("5", True), ("12.5", False), ("5\n", False)])
def test_a_last_number_shorter_than_some_is_a_doubt(tmp_path: Path, last: str, doubtful: bool) -> None:
    rows = [f"u{number % 7},{978300000 + number},i{number},{number % 5 + 8.5 * (number % 2):g}" for number in range(20)]
    text = "\n".join([*rows[:-1], f"u1,978300020,i19,{last}"])
    (tmp_path / "events.csv").write_text(f"user,timestamp,item,rating\n{text}", "utf-8")
    raw = Tables().load(SourceFiles.open(tmp_path / "events.csv"))
    said = "events.csv ends without a line end, in rating 5: if the file is truncated, this number may be, too"
    assert any(warning.startswith(said) for warning in raw.warnings) == doubtful

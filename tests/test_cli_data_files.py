"""What `prepare` says aloud about files of one's own, from the command line."""

import os
from pathlib import Path

import pytest

from command_line import Bench, table
from llmrs_bench.core.artifacts import open_artifact, restate

HEADER = "reader:token\tbook:token\tstars:float\tdate:token\tshelf:token\n"


def write_books(folder: Path) -> Path:
    """Write readers of five books each; the first rating of each is 0."""
    folder.mkdir()
    lines = [
        f"r{reader}\tb{(reader * 3 + step) % 12}\t{step and 5 + step}\t2019-03-0{step + 1}\ttop"
        for reader in range(4)
        for step in range(5)
    ]
    (folder / "books.inter").write_text(HEADER + "\n".join(lines))
    (folder / "books.item").write_text(
        "book:token\tbook_title:token\n" + "".join(f"b{at}\tBook {at}\n" for at in range(12))
    )
    return folder


def test_what_a_careful_person_would_look_at_is_a_warning(bench: Bench, tmp_path: Path) -> None:
    books = write_books(tmp_path / "books")
    asked = ("prepare", "--dataset", "books@all", "--source", str(books), "--n-candidates", "4")
    assert "--columns user=reader,item=book" in bench.run(*asked, code=1).stderr
    said = bench.run(*asked, "--columns", "user=reader,item=book").stderr
    assert "rule: columns of books.inter: user reader, item book, time date, rating stars" in said
    assert "rule: columns of books.item: item book, title book_title" in said
    assert "warning: columns of books.inter that are not read: shelf" in said
    assert "warning: 4 of 20 ratings are 0, the others 6 to 9" in said
    assert "--min-rating 1" in said
    unrated = bench.run(
        "prepare", "--dataset", "books@rated", *asked[3:], "--columns", "user=reader,item=book", "--unrated", "0"
    )
    assert "ratings are 0" not in unrated.stderr
    assert table(bench, "books/rated/data/interactions.parquet")["rating"].null_count() == 4
    assert table(bench, "books/all/data/interactions.parquet")["rating"].null_count() == 0


def test_a_pipe_is_refused_in_place_of_a_file(bench: Bench, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for arguments in (("--source", str(tmp_path / "pipe")), ("--candidates", f"file:{tmp_path / 'pipe'}")):
        said = bench.run("prepare", "--dataset", "demo", *arguments, code=1).stderr
        assert "is a pipe, a device or a socket" in said


def test_times_that_mean_none_are_counted(bench: Bench, tmp_path: Path) -> None:
    def said(*times: str) -> str:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        lines = "".join(f"u\ti{at}\t{time}\n" for at, time in enumerate(times))
        (folder / "x.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\n" + lines)
        return bench.run(
            "prepare",
            "--dataset",
            "x",
            "--source",
            str(folder),
            "--n-candidates",
            "2",
            "--include-seen",
            "--allow-untitled",
        ).stderr

    none = "of 5 events are of time {}, which often means none, and so come first"
    mixed = said("0", "-1", "1500000001000", "1500000002000", "0")
    assert f"warning: 2 {none.format(0)}" in mixed
    assert f"warning: 1 {none.format(-1)}" in mixed
    assert f"warning: 2 {none.format(0)}" in said("0", "0", "7", "1500000001", "1500000002")
    assert f"warning: 1 {none.format(-1)}" in said("-1", "1", "2", "3", "4")
    assert "often means none" not in said("0", "1", "2", "3", "4")


@pytest.mark.parametrize(
    ("times", "day"),
    [
        (("22032023", "23032023", "24032023"), "1970-09-24"),  # day, month, year
        (("45007.4", "45008.5", "45009.6"), "1970-01-01"),  # days of a spreadsheet
        (("27990000", "27990060", "27990120"), "1970-11-20"),  # minutes
        (("202303220958", "202303230958", "202303240958"), "1976-05-30"),
        (("2019", "2020", "2023"), "1970-01-01"),
    ],
)
def test_times_that_are_hardly_seconds_are_warned_about(
    bench: Bench, tmp_path: Path, times: tuple[str, ...], day: str
) -> None:
    lines = "".join(f"u\ti{at}\t{time}\n" for at, time in enumerate(times))
    (tmp_path / "x.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\n" + lines)
    typed = ("prepare", "--dataset", "x", "--source", str(tmp_path), "--allow-untitled", "--include-seen")
    said = bench.run(*typed, "--n-candidates", "2").stderr
    assert f"warning: times are about {day}" in " ".join(said.split())


def test_what_an_earlier_version_may_have_read_otherwise_is_said(bench: Bench) -> None:
    assert "earlier version" not in bench.prepare().stderr
    assert "earlier version" not in bench.prepare().stderr
    [place] = bench.home.glob("small/*/data")
    restate(open_artifact(place, hint=""), reading="1")
    said = " ".join(bench.prepare().stderr.split())
    assert "was prepared by an earlier version, which read fields in quotes of CSV" in said
    assert "as small@again" in said
    assert "already there" in said


def test_events_that_are_still_to_come_are_counted(bench: Bench, tmp_path: Path) -> None:
    days = ["2019-03-01", "2019-03-02", "2019-03-03", "2991-03-04"]
    lines = [f"u{user},i{user + at},{day}" for user in range(3) for at, day in enumerate(days[user % 2 :])]
    (tmp_path / "x.csv").write_text("user,item,date\n" + "\n".join(lines) + "\n")
    said = bench.run("prepare", "-d", "x", "--source", str(tmp_path / "x.csv"), "--describe").stdout
    assert "3 of 11 events are later than today" in " ".join(said.split())


def test_a_few_times_of_another_unit_are_counted(bench: Bench, tmp_path: Path) -> None:
    times = [1500000000, 1500000, 1500000002, 0]  # the second one lost its last digits, the last one means none
    lines = [f"u{user},i{user + at},{time}" for user in range(3) for at, time in enumerate(times)]
    (tmp_path / "x.csv").write_text("user,item,timestamp\n" + "\n".join([*lines, *lines[::4]]) + "\n")
    (tmp_path / "y.csv").write_text("user,item,timestamp\n" + "\n".join(lines[::2]) + "\n")
    said = bench.run("prepare", "-d", "x", "--source", str(tmp_path / "x.csv"), "--describe").stdout
    assert "3 of 15 events are before 1980, the others later, such as time 1.5e+06" in " ".join(said.split())
    said = bench.run("prepare", "-d", "y", "--source", str(tmp_path / "y.csv"), "--describe").stdout
    assert "before 1980" not in said

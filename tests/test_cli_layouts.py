"""Layouts of known data sets from the command line: from files to a board."""

from pathlib import Path

from command_line import Bench, table
from layout_files import write_files

PLAYS = "userID\tartistID\tweight\n" + "".join(
    f"{user}\t{(user * 7 + step * (1 + user % 3)) % 40}\t{1 + step * 100}\n" for user in range(30) for step in range(12)
)
ARTISTS = "id\tname\turl\tpictureURL\n" + "".join(f"{artist}\tBand {artist}\t\t\n" for artist in range(40))


def test_data_without_times_are_split_at_random_or_not_at_all(bench: Bench, tmp_path: Path) -> None:
    folder = write_files(tmp_path / "plays", {"user_artists.dat": PLAYS, "artists.dat": ARTISTS})
    asked = ("prepare", "--dataset", "plays@random", "--source", str(folder), "--format", "lastfm-hetrec")
    refused = bench.run(*asked, code=2).stderr
    assert "leave-one-out cannot find the last event of a user" in refused
    assert "--split random" in refused
    timed = bench.run(*asked, "--split", "time", code=2).stderr
    assert "has no times of events, so it cannot be split by time" in timed
    assert "--split random" in timed
    said = bench.run(*asked, "--split", "random", "--item-word", "artist").stderr
    assert "rule: there are no times of plays" in said
    assert "rule: a random event of each user is held out" in said
    assert "warning" not in said
    interactions = table(bench, "plays/random/data/interactions.parquet")
    assert interactions.group_by("part").len().sort("part")["len"].to_list() == [300, 30]
    bench.run("infer", "--model", "popularity", "--dataset", "plays@random")
    bench.run("evaluate", "--dataset", "plays@random")
    board = bench.run("compare", "--dataset", "plays@random").stdout
    assert "random hold-out of one event of each user" in " ".join(board.split())
    assert "leave-one-out" not in board


def test_the_split_of_today_has_the_name_of_today(bench: Bench) -> None:
    plain = bench.prepare().stdout
    assert bench.prepare("--split", "leave-one-out").stdout == plain
    assert bench.prepare("--split", "random").stdout != plain
    assert "--split" in bench.prepare("--split", "first", code=2).stderr

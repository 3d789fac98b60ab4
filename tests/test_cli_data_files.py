"""What `prepare` says aloud about files of one's own, from the command line."""

import os
from pathlib import Path

from command_line import Bench, table

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
    assert "--columns user=NAME" in bench.run(*asked, code=1).stderr
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

"""Tables in several parts, as programs and people write them: one table, or a message that names the part."""

import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from llmrs_bench.core.errors import DataError
from llmrs_bench.data.files import SourceFiles
from llmrs_bench.data.sources import Raw
from llmrs_bench.data.tables import Tables

UUID = "0b51a2de-77c1-4f0e-9d0a-3a2f64c1e8b7"
NAMES = ["user_id", "item_id", "timestamp", "rating"]
PER = 4  # events of a part
N = 11


def events(part: int) -> list[tuple[str, str, int, int]]:
    """Events whose times go on from part to part, so that they are sorted if parts stand in their order."""
    return [(f"u{at % 3}", f"i{at % 5}", 1_500_000_000 + at, 1 + at % 5) for at in range(PER * part, PER * (part + 1))]


def csv(part: int, *, header: bool = True) -> str:
    rows = [NAMES, *events(part)] if header else events(part)
    return "".join(",".join(map(str, row)) + "\n" for row in rows)


def spark(folder: Path) -> None:
    for part in range(N):
        name = f"part-{part:05d}-{UUID}-c000.csv.gz"
        (folder / name).write_bytes(gzip.compress(csv(part).encode()))
        (folder / f".{name}.crc").write_bytes(b"\0\1")
    (folder / f"part-{N:05d}-{UUID}-c000.csv").touch()
    (folder / "_SUCCESS").touch()


def people(folder: Path) -> None:
    for part in range(N):
        (folder / f"ratings_{part}.csv").write_text(csv(part))
    (folder / "books.csv").write_text("item_id,title\n" + "".join(f"i{at},Book {at}\n" for at in range(5)))


def warehouse(folder: Path) -> None:
    for part in range(N):  # a null is no field
        rows = [dict(zip(NAMES, row, strict=True)) for row in events(part)]
        lines = [{key: value for key, value in row.items() if key != "rating" or part % 2} for row in rows]
        (folder / f"export-{part:012d}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def dask(folder: Path) -> None:
    schema = {"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Int64, "rating": pl.Int64}
    for part in range(N):
        pl.DataFrame(events(part), schema=schema, orient="row").write_parquet(folder / f"part.{part}.parquet")
    pl.DataFrame(schema=schema).write_parquet(folder / f"part.{N}.parquet")


def hive(folder: Path) -> None:
    rows = [
        (user, item, rating, f"2024-05-{part + 1:02d}") for part in range(N) for user, item, _, rating in events(part)
    ]
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "rating", "date"], orient="row").to_arrow()
    ds.write_dataset(pa.table(table), folder, format="parquet", partitioning=["date"], partitioning_flavor="hive")


def sub_folders(folder: Path) -> None:
    (folder / "ratings").mkdir()
    spark(folder / "ratings")
    (folder / "books").mkdir()
    for at in range(5):
        (folder / "books" / f"part-{at}.csv").write_text(f"item_id,title\ni{at},Book {at}\n")


def load(path: Path, **options: Any) -> Raw:
    return Tables(**options).load(SourceFiles.open(path))


@pytest.mark.parametrize("write", [spark, people, warehouse, dask, hive, sub_folders], ids=lambda write: write.__name__)
def test_parts_are_one_table_in_the_order_of_their_names(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path)
    raw = load(tmp_path)
    assert raw.events["item_id"].to_list() == [f"i{at % 5}" for at in range(PER * N)]
    assert raw.events["timestamp"].is_sorted()
    assert raw.events["timestamp"][0] > 1.4e9
    parts = N + (write not in (people, warehouse, hive))  # of which the last has no rows
    said = [rule for rule in raw.rules if f": {parts} parts of one table, from " in rule]
    assert [rule.endswith("of which 1 has no rows") for rule in said] == [parts > N]
    assert sum("UTF-8" in rule or "Parquet" in rule for rule in raw.rules) <= 2  # once for each table
    if write in (people, sub_folders):
        assert sorted(raw.items["title"]) == [f"Book {at}" for at in range(5)]
    unrated = write is warehouse  # some of its parts have no column of ratings
    assert raw.warnings == (("the rating of 24 of 44 events is empty: they have no rating",) if unrated else ())


def test_a_zip_archive_may_hold_parts_in_named_folders(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "plays.zip", "w") as archive:
        for day in range(1, N):
            rows = "".join(f"{user},{item}\n" for user, item, *_ in events(day))
            archive.writestr(f"plays/date=2024-05-{day:02d}/part-0.csv", f"user_id,item_id\n{rows}")
        archive.writestr("plays/_SUCCESS", "")
    raw = load(tmp_path / "plays.zip")
    assert raw.events.height == PER * (N - 1)
    assert raw.events["timestamp"].is_sorted()
    assert raw.events["timestamp"].n_unique() == N - 1
    alone = tmp_path / "one" / "date=2024-05-01"
    alone.mkdir(parents=True)
    (alone / "part-0.csv").write_text("user_id,item_id\nu,a\n")
    assert load(tmp_path / "one").events["timestamp"].to_list() == [
        1714521600.0
    ]  # the folder does not go by its only one


def no_header(folder: Path) -> None:
    for part in range(3):
        (folder / f"ratings_{part}.csv").write_text(csv(part, header=not part))


def no_rating(folder: Path) -> None:
    (folder / "ratings_0.csv").write_text(csv(0))
    (folder / "ratings_1.csv").write_text("user_id,item_id,timestamp\nu,a,1500000000\n")


def other_names(folder: Path) -> None:
    people(folder)
    (folder / "ratings_3.csv").write_text(csv(3).replace("rating", "stars"))


def empty_first(folder: Path) -> None:
    other_names(folder)
    (folder / "ratings_0.csv").write_text("")


def no_events(folder: Path) -> None:
    people(folder)
    (folder / "ratings_3.csv").write_text("x,y\n1.5,2.5\n")


def damaged(folder: Path) -> None:
    spark(folder)
    path = folder / f"part-00003-{UUID}-c000.csv.gz"
    path.write_bytes(path.read_bytes()[:-20])


def unfinished(folder: Path) -> None:
    spark(folder)
    (folder / "_SUCCESS").unlink()
    (folder / "_temporary" / "0").mkdir(parents=True)


def nothing_yet(folder: Path) -> None:
    (folder / "_temporary" / "0").mkdir(parents=True)
    (folder / "_temporary" / "0" / "part-0.csv").write_text(csv(0))


def still_written(folder: Path) -> None:
    people(folder)
    (folder / ".ratings_11.csv.inprogress.0a1b").write_text(csv(11))


def zip_of_unfinished(folder: Path) -> None:
    with zipfile.ZipFile(folder / "plays.zip", "w") as archive:
        for name in ("part-0.csv", "part-1.csv", "_temporary/0/part-2.csv"):
            archive.writestr(f"plays/{name}", csv(0))


def encodings(folder: Path) -> None:
    (folder / "ratings_0.csv").write_text(csv(0))  # of which nothing says it
    for part, encoding in ((1, "utf-8"), (2, "latin-1")):
        (folder / f"ratings_{part}.csv").write_bytes(csv(part).replace("u1", "Zo\u00eb").encode(encoding))


def delta(folder: Path) -> None:
    dask(folder)
    (folder / "_delta_log").mkdir()


def iceberg(folder: Path) -> None:
    for name in ("data", "metadata"):
        (folder / name).mkdir()
    dask(folder / "data")
    (folder / "metadata" / "v1.metadata.json").write_text("{}")


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (no_header, r"ratings_1\.csv has other columns than .+/ratings_0\.csv: it has no header"),
        (no_rating, r"ratings_1\.csv has other columns than .+/ratings_0\.csv: it lacks rating"),
        (other_names, r"ratings_3\.csv has other columns than .+/ratings_0\.csv: it has stars, and lacks rating"),
        (empty_first, r"ratings_3\.csv has other columns than .+/ratings_1\.csv: it has stars, and lacks rating"),
        (no_events, r"ratings_3\.csv has other columns than .+/ratings_0\.csv: it has x, y, and lacks"),
        (damaged, "part-00003-.* cannot be read"),
        (unfinished, "is not complete: it holds _temporary, where the job"),
        (nothing_yet, "is not complete: it holds _temporary"),
        (still_written, r"it holds \.ratings_11\.csv\.inprogress\.0a1b"),
        (zip_of_unfinished, "it holds _temporary"),
        (encodings, r"different encodings: .+/ratings_1\.csv in UTF-8, .+/ratings_2\.csv in another one"),
        (delta, "is a table of Delta Lake"),
        (iceberg, "is a table of Iceberg"),
    ],
    ids=lambda case: getattr(case, "__name__", ""),
)
def test_what_is_no_part_is_named_and_never_left_out(tmp_path: Path, write: Callable[[Path], None], words: str) -> None:
    write(tmp_path)
    with pytest.raises(DataError, match=words) as caught:
        load(tmp_path / "plays.zip" if write is zip_of_unfinished else tmp_path)
    assert any(words in caught.value.hint for words in ("--source FILE", "export it", "run it again", "one encoding"))


def test_parts_in_two_encodings_are_refused_whichever_is_named(tmp_path: Path) -> None:
    encodings(tmp_path)
    with pytest.raises(DataError, match=r"ratings_1\.csv in UTF-8, .+/ratings_2\.csv in latin-1") as caught:
        load(tmp_path, encoding="latin-1")
    assert "one encoding" in caught.value.hint
    (tmp_path / "ratings_1.csv").unlink()
    raw = load(tmp_path, encoding="latin-1")
    assert "Zo\u00eb" in raw.events["user_id"].to_list()
    (tmp_path / "ratings_1.csv").write_bytes(csv(1).encode("utf-16"))  # its mark says what it is in
    rules = [rule for rule in load(tmp_path, encoding="latin-1").rules if "text in" in rule]
    assert [rule.split(": ")[1].split(",")[0] for rule in rules] == ["text in latin-1", "text in utf-16"]
    assert rules[1].startswith(f"{tmp_path.name}/ratings_1.csv: ")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["part-00000.csv", "part-00002.csv"], "part-*.csv has no part 00001: "),
        (["part-00001.csv", "part-00002.csv"], "part-*.csv has no part 00000: "),
        (["r_8.csv", "r_9.csv", "r_11.csv", "r_12.csv"], "r_*.csv has no part 10: "),
        (["t-00000-of-00003.csv", "t-00001-of-00003.csv"], "t-*-of-*.csv has no part 00002: "),
        (["t-1-of-4.csv", "t-2-of-4.csv", "t-4-of-4.csv"], "t-*-of-*.csv has no part 3: "),
        (["r_20240131.csv", "r_20240201.csv"], ""),
        (["2024-01-31.csv", "2024-02-01.csv"], ""),
        (["r_1.csv", "r_2.csv", "r_3.csv"], ""),
    ],
)
def test_numbers_that_are_missing_among_those_of_parts_are_said(tmp_path: Path, names: list[str], words: str) -> None:
    for part, name in enumerate(names):
        (tmp_path / name).write_text(csv(part))
    (tmp_path / "_SUCCESS").touch()
    raw = load(tmp_path)
    assert [said.split("/")[1][: len(words)] for said in raw.warnings] == ([words] if words else [])
    (tmp_path / "_SUCCESS").unlink()
    said = [warning for warning in load(tmp_path).warnings if warning not in raw.warnings]
    spark_like = f"there is no _SUCCESS beside {tmp_path.name}/{names[0]}, "
    assert [warning[: len(spark_like)] for warning in said] == ([spark_like] if "part-0" in names[0] else [])


def test_bad_rows_are_named_by_their_line_in_the_part(tmp_path: Path) -> None:
    people(tmp_path)
    path = tmp_path / "ratings_10.csv"
    path.write_text(path.read_text().replace(",1500000041,2", ",1500000041,two"))
    with pytest.raises(
        DataError, match=r"/ratings_\*\.csv, line 3 of .+/ratings_10\.csv: rating is 'two', not a number"
    ):
        load(tmp_path)
    (tmp_path / "ratings_2.csv").write_text(csv(2) + "u,i\n")
    with pytest.raises(
        DataError, match=r"2 of 45 rows cannot be read: .*\(line 6 of .+/ratings_2\.csv\); rating .*_10\.csv"
    ):
        load(tmp_path)
    assert load(tmp_path, drop_bad=True).events.height == PER * N - 1


def test_tables_whose_names_differ_in_more_than_numbers_are_no_parts(tmp_path: Path) -> None:
    for at, name in enumerate(("train", "test")):
        (tmp_path / f"{name}.csv").write_text(csv(at))
    with pytest.raises(DataError, match=r"holds 2 tables that could be the events: test\.csv, train\.csv") as caught:
        load(tmp_path)
    assert "differ in numbers alone" in caught.value.hint
    (tmp_path / "test.csv").write_text("item_id,title\ni0,A\n")
    (tmp_path / "test.csv").rename(tmp_path / "table2.csv")
    (tmp_path / "train.csv").rename(tmp_path / "table1.csv")
    assert load(tmp_path).events.height == PER  # one is of events, the other of items


def test_items_may_be_in_parts_that_are_called_like_those_of_the_events(tmp_path: Path) -> None:
    sub_folders(tmp_path)
    raw = load(tmp_path / "ratings", items=SourceFiles.open(tmp_path / "books"))
    assert raw.events.height == PER * N
    assert "Book 3" in raw.items["title"].to_list()


def test_the_first_parts_may_have_no_rows(tmp_path: Path) -> None:
    sub_folders(tmp_path)
    for name in ("ratings", "books"):
        (tmp_path / name / "part-0.csv").write_text("")
        for path in (tmp_path / name).glob("part-00000*"):
            path.unlink()
    raw = load(tmp_path)
    assert raw.items["title"].drop_nulls().to_list()[:4] == [f"Book {at}" for at in range(1, 5)]


@pytest.mark.parametrize("ending", ["csv.gz", "parquet"])
def test_a_part_without_any_bytes_is_damaged_where_its_kind_has_some(tmp_path: Path, ending: str) -> None:
    for part in range(2):
        frame = pl.DataFrame(events(part), schema=NAMES, orient="row")
        path = tmp_path / f"part-{part}.{ending}"
        path.write_bytes(gzip.compress(csv(part).encode())) if ending == "csv.gz" else frame.write_parquet(path)
    (tmp_path / f"part-2.{ending}").touch()
    with pytest.raises(DataError, match=f"part-2.{ending} has no bytes"):
        Tables().load(SourceFiles.open(tmp_path))


def test_a_folder_whose_tables_cannot_be_read_says_why(tmp_path: Path) -> None:
    for part in range(2):
        (tmp_path / f"part-{part}.csv").write_bytes(csv(part).replace("u1", "Zo\u00eb").encode("latin-1"))
    files, reader = SourceFiles.open(tmp_path), Tables()
    assert reader.accepts(files)
    with pytest.raises(DataError, match=r"no events that can be read: .+/part-0\.csv, line [0-9]+") as caught:
        reader.load(files)
    assert "--encoding" in caught.value.hint


def test_items_that_are_called_otherwise_are_asked_for_by_their_columns(tmp_path: Path) -> None:
    for name in ("events", "books"):
        (tmp_path / name).mkdir()
    for part in range(2):
        (tmp_path / "events" / f"part-{part}.csv").write_text(csv(part))
        (tmp_path / "books" / f"part-{part}.csv").write_text("item_id,title_en,title_de\ni1,A,B\ni2,C,D\n")
    items = SourceFiles.open(tmp_path / "books")
    with pytest.raises(DataError, match="no tables that could be the items") as caught:
        Tables(items=items).load(SourceFiles.open(tmp_path / "events"))
    assert "--item-columns" in caught.value.hint
    assert "title_en" in caught.value.hint

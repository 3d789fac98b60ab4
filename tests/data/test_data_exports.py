"""Tables as spreadsheets, databases and programs export them: read as they were meant, or not without a word."""

import bz2
import gzip
import io
import json
import lzma
import zipfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from llmrs_bench.core.errors import DataError, OptionError
from llmrs_bench.data.files import SourceFiles
from llmrs_bench.data.sources import Raw
from llmrs_bench.data.tables import Tables

EVENTS = "user_id,item_id,timestamp\nu1,a,1500000000\nu1,b,1500000001\nu2,c,1500000002\n"


def read(folder: Path, events: str | bytes, items: str | bytes | None = None, **options: Any) -> Raw:
    """Read one file of events, and one of items."""
    for name, data in (("events", events), ("things", items or "")):
        (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
    found = SourceFiles.open(folder / "things") if items is not None else None
    return Tables(items=found, **options).load(SourceFiles.open(folder / "events"))


def refused(folder: Path, events: str | bytes, items: str | bytes | None = None, **options: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        read(folder, events, items, **options)
    return caught.value


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("\"['Action', 'Drama']\"", "\"['Drama']\""),
        ('"[""Action"", ""Drama""]"', '"[""Drama""]"'),
        ("\"[{'id': 28, 'name': 'Action'}, {'id': 18, 'name': 'Drama'}]\"", "\"[{'id': 18, 'name': 'Drama'}]\""),
    ],
)
def test_lists_in_fields_of_csv_are_lists(tmp_path: Path, first: str, second: str) -> None:
    raw = read(tmp_path, EVENTS, f"item_id,title,genres\na,Ant,{first}\nb,Bee,{second}\nc,Cat,[]\n")
    assert raw.items["categories"].to_list() == [["Action", "Drama"], ["Drama"], []]
    assert raw.items["text"].to_list() == ["Genres: Action, Drama.", "Genres: Drama.", ""]
    assert "things: genres is written as lists, and read as such" in raw.rules


def test_titles_in_brackets_are_no_lists(tmp_path: Path) -> None:
    raw = read(tmp_path, EVENTS, "item_id,title\na,[REC]\nb,[Untitled]\nc,[REC] 2 [cut]\n")
    assert raw.items["title"].to_list() == ["[REC]", "[Untitled]", "[REC] 2 [cut]"]


def test_named_objects_in_lists_of_json_go_by_their_names(tmp_path: Path) -> None:
    things = [
        {"item_id": "a", "title": "Ant", "genres": [{"id": 28, "name": "Action"}]},
        {"item_id": "b", "title": "B"},
    ]
    raw = read(tmp_path, EVENTS, "".join(json.dumps(thing) + "\n" for thing in things))
    assert raw.items["categories"].to_list()[:2] == [["Action"], []]


@pytest.mark.parametrize(("name", "start"), [("", 0), ("Unnamed: 0", 0), ("index", 1), ("__index_level_0__", 0)])
def test_numbers_of_rows_are_no_text_of_items(tmp_path: Path, name: str, start: int) -> None:
    rows = "".join(f"{at},{item},Thing {item}\n" for at, item in enumerate("abc", start))
    raw = read(tmp_path, EVENTS, f"{name},item_id,title\n{rows}")
    assert raw.items["text"].to_list() == ["", "", ""]
    assert f"columns of things that number its rows are not text: {name or '0'}" in raw.rules


def test_other_numbers_are_text_of_items(tmp_path: Path) -> None:
    raw = read(tmp_path, EVENTS, "index,item_id,title\n7,a,Ant\n8,b,Bee\n3,c,Cat\n")
    assert raw.items["text"].to_list() == ["Index: 7.", "Index: 8.", "Index: 3."]


def test_a_backslash_before_a_quote_is_no_text(tmp_path: Path) -> None:
    things = 'item_id,title\na,"The \\"A\\", part 2"\nb,Bee\nc,"Cat"\n'
    raw = read(tmp_path, EVENTS, things)
    assert raw.items["title"].to_list() == ['The "A", part 2', "Bee", "Cat"]
    assert "things: a backslash stands before quotes inside of quotes" in raw.rules


@pytest.mark.parametrize("mark", ["\ufeff", "\u200b", "\u2060", "\xa0", "\t"])
def test_marks_around_ids_that_nobody_sees_are_cut_off(tmp_path: Path, mark: str) -> None:
    raw = read(tmp_path, EVENTS + f"{mark}u1,c{mark},1500000003\n")
    assert raw.events["user_id"].n_unique() == 2
    assert raw.events["item_id"].to_list() == ["a", "b", "c", "c"]
    assert "2 ids of events have blanks around them: they are cut off" in raw.warnings


def test_a_header_in_the_middle_is_no_event(tmp_path: Path) -> None:
    joined = "user_id,item_id\nu1,a\nu1,b\nuser_id,item_id\nu2,a\nu2,c\n"
    assert refused(tmp_path, joined, line_order=True).message == "events, line 4: the header again"
    raw = read(tmp_path, joined, line_order=True, drop_bad=True)
    assert raw.events["item_id"].to_list() == ["a", "b", "a", "c"]
    assert "events: 1 of 5 lines are left out: the header again (line 4)" in raw.warnings


def test_labels_that_are_none_are_left_out_on_request_if_they_are_few(tmp_path: Path) -> None:
    text = "user_id,item_id,click,timestamp\nu1,a,1,1500000000\nu1,b,0,1500000001\nu1,c,2,1500000002\n"
    error = refused(tmp_path, text)
    assert error.message == "events, line 4: click is '2', not 0 or 1"
    assert error.hint.endswith("--drop-bad leaves them out, and counts them.")
    raw = read(tmp_path, text, drop_bad=True)
    assert raw.events["item_id"].to_list() == ["a"]
    assert raw.unchosen["item_id"].to_list() == ["b"]
    assert raw.labels.to_list() == [True, False]
    assert "events: 1 of 3 lines are left out: click is '2', not 0 or 1 (line 4)" in raw.warnings
    most = text + "u1,d,3,1500000003\nu1,e,4,1500000004\n"
    assert "the labels in click are 0, 1, 2, 3, 4, not 0 and 1" in refused(tmp_path, most, drop_bad=True).message


def test_long_numbers_that_a_spreadsheet_has_shortened_are_said(tmp_path: Path) -> None:
    raw = read(tmp_path, "user_id,item_id,timestamp\n1.23457E+12,a,1.5E+09\n1.23457E+12,b,1.5E+09\n77,c,1.6E+09\n")
    said = " ".join(raw.warnings)
    assert "1 ids of users are written as 1.23457E+12, as spreadsheets shorten long numbers" in said
    assert "times of timestamp are written as 1.5E+09" in said
    assert "shorten" not in " ".join(read(tmp_path, EVENTS).warnings)


@pytest.mark.parametrize(
    ("titles", "words"),
    [
        (("AmÃ©lie", "Heat", "Alien"), "1 of 3 titles look as if they were read in another encoding"),
        (("Am\ufffdlie", "L\ufffdon", "Alien"), "2 of 3 titles look as if they were read in another encoding"),
        (("1", "2", "3.5"), "3 of 3 titles are numbers or links, such as '1'"),
        (("https://x.org/1", "https://x.org/2", "Heat"), "2 of 3 titles are numbers or links"),
    ],
)
def test_titles_that_nobody_wrote_so_are_said(tmp_path: Path, titles: tuple[str, ...], words: str) -> None:
    things = "item_id,title\n" + "".join(f"{item},{title}\n" for item, title in zip("abc", titles, strict=True))
    assert any(warning.startswith(words) for warning in read(tmp_path, EVENTS, things).warnings)


def test_the_named_encoding_is_doubted_where_titles_show_another(tmp_path: Path) -> None:
    things = "item_id,title\na,It’s\nb,Café\nc,Cat\n"
    for written, named in (("cp1252", "latin-1"), ("utf-8", "latin-1"), ("utf-8", "cp1252")):
        raw = read(tmp_path, EVENTS.encode(), things.encode(written), encoding=named)
        assert any("read in another encoding" in warning for warning in raw.warnings), (written, named)
    raw = read(tmp_path, EVENTS.encode(), things.encode("cp1252"), encoding="cp1252")
    assert raw.items["title"].to_list() == ["It’s", "Café", "Cat"]
    assert not raw.warnings


def test_quotes_that_are_not_those_of_csv_stay_and_are_said(tmp_path: Path) -> None:
    raw = read(tmp_path, EVENTS, "item_id,title\na,'Ant'\nb,'Bee'\nc,'Cat'\n")
    assert "things: the values of title are in quotes, which stay" in raw.warnings
    raw = read(tmp_path, EVENTS, "item_id,title\na,'Ant'\nb,Bee\nc,'Cat'\n")
    assert not raw.warnings


def test_utc_may_be_named(tmp_path: Path) -> None:
    raw = read(tmp_path, "user_id,item_id,date\nu1,a,2018-03-01 12:00:00 UTC\nu1,b,2018-03-01 12:00:01.5 UTC\n")
    assert raw.events["timestamp"].to_list() == [1519905600.0, 1519905601.5]
    assert not raw.warnings


@pytest.mark.parametrize(
    ("ratings", "wanted"),
    [
        (("4,5", "3", "1,234"), [4.5, 3.0, 1.234]),  # one of them parts no thousands
        (("0,234", "+2,0", ""), [0.234, 2.0, None]),
        (("1,234", "2", "12,000"), "'1,234', not a number"),
        (("4,5", "3.5", "2"), "'4,5', not a number"),
        (("1.234,5", "3", "2"), "'1.234,5', not a number"),
    ],
)
@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_decimal_commas_are_read_where_they_can_be_nothing_else(
    tmp_path: Path, delimiter: str, ratings: tuple[str, ...], wanted: list[float | None] | str
) -> None:
    rows = [("user", "item", "ts", "stars"), *(("u", f"i{at}", f"15{at}", text) for at, text in enumerate(ratings))]
    text = "".join(delimiter.join(row) + "\n" for row in rows)
    if isinstance(wanted, str):
        assert wanted in refused(tmp_path, text).message
        return
    raw = read(tmp_path, text)
    assert raw.events["rating"].to_list() == pytest.approx(wanted)
    assert f"events: commas in stars are decimal: {ratings[0]} is {ratings[0].replace(',', '.')}" in raw.rules


def test_commas_of_times_and_bad_rows_beside_them(tmp_path: Path) -> None:
    text = "user;item;ts;stars\nu;a;1500000000,5;4,5\nu;b;1500000000,25;x\nu;c;1500000000;1,0\n"
    assert refused(tmp_path, text).message == "events, line 3: stars is 'x', not a number"
    raw = read(tmp_path, text, drop_bad=True)
    assert raw.events["timestamp"].to_list() == [1500000000.5, 1500000000.0]
    hint = refused(tmp_path, 'user_id,item_id,rating\nu1,a,"1,234"\nu1,b,"12,000,000"\n', line_order=True).hint
    assert "thousands=','" in hint
    assert "decimal=','" in hint


def workbook() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("xl/workbook.xml", "<workbook/>")
        archive.writestr("xl/worksheets/sheet1.xml", "<worksheet/>")
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (workbook(), "is a workbook of a spreadsheet, not a table"),
        (b"SQLite format 3\0" + bytes(90), "is a database of SQLite, not a table"),
        (b"\xd0\xcf\x11\xe0" + bytes(90), "is a workbook of Excel, not a table"),
        (b"\x80\x04\x95" + bytes(90), "is a pickle of Python, which is never run, not a table"),
        (b"ORC\n\3\0\0" + bytes(90), "is a file of ORC, not a table"),
        (b"ARROW1\0\0" + bytes(90), "is a file of Arrow (Feather), not a table"),
        (gzip.compress(gzip.compress(EVENTS.encode(), mtime=0), mtime=0), "is packed twice"),
        (bz2.compress(EVENTS.encode()), "is packed with bzip2"),
        (lzma.compress(EVENTS.encode()), "is packed with xz"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(90), "is an archive of 7-Zip"),
        (b"\xff\xff\xff\xff" + bytes(90), "is a stream of Arrow, as Hugging Face saves data sets, not a table"),
        (b"-- MySQL dump 10.13\n--\nDROP TABLE IF EXISTS `r`;\n", "is a dump of SQL, not a table"),
        (
            b"--\n-- dump\n--\n\nSET statement_timeout = 0;\nCOPY r (u, i) FROM stdin;\n",
            "is a dump of SQL, not a table",
        ),
        (b"PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n", "is a dump of SQL, not a table"),
    ],
)
@pytest.mark.parametrize("beside", [False, True])
def test_files_of_other_programs_are_called_what_they_are(
    tmp_path: Path, data: bytes, words: str, beside: bool
) -> None:
    if beside:  # of a file that is no table either; the folder is passed
        (tmp_path / "export").write_bytes(data)
        (tmp_path / "README.md").write_text("Orders, of May\n")
        assert Tables().accepts(SourceFiles.open(tmp_path))
        with pytest.raises(DataError, match="holds no events that can be read: export is ") as caught:
            Tables().load(SourceFiles.open(tmp_path))
        error = caught.value
    else:
        error = refused(tmp_path, data)
    assert words in error.message
    assert ("export the table" if "not a table" in error.message else "Unpack it") in error.hint


def test_tables_that_are_no_events_say_which_columns_they_have(tmp_path: Path) -> None:
    (tmp_path / "games.csv").write_text("id,title\n1,Chess\n2,Go\n")
    (tmp_path / "log_2019-2020_0.json").write_text('[{"ts": "2019", "username": "u", "track_uri": "a"}]')
    assert Tables().accepts(SourceFiles.open(tmp_path))
    with pytest.raises(
        DataError, match=r"no table of events: log_2019-2020_0\.json has no columns .* it has ts"
    ) as caught:
        Tables().load(SourceFiles.open(tmp_path))
    assert "--columns user=username,item=track_uri" in caught.value.hint
    assert caught.value.hint.endswith("Other tables there: games.csv.")
    (tmp_path / "log_2019-2020_0.json").write_text('[{"Zeit": "2019", "Nutzer": "u", "Film": "a"}]')
    (tmp_path / "games.csv").write_text("item_id,title\n1,Chess\n2,Go\n")  # it lacks less, and is that of the items
    with pytest.raises(DataError, match=r"log_2019-2020_0\.json has no columns .* it has Zeit, Nutzer, Film"):
        Tables().load(SourceFiles.open(tmp_path))
    (tmp_path / "log_2019-2020_0.json").unlink()
    (tmp_path / "log.csv").write_text("Book Id,ISBN,user\n1,2,3\n")
    with pytest.raises(DataError, match="each of the columns Book Id, ISBN could be that of the item") as caught:
        Tables().load(SourceFiles.open(tmp_path))
    assert "--columns 'item=Book Id'" in caught.value.hint
    (tmp_path / "log.csv").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4665\nsize 12345\n")
    with pytest.raises(DataError, match="is a pointer of Git LFS") as caught:
        Tables().load(SourceFiles.open(tmp_path))
    assert "git lfs pull" in caught.value.hint


def test_users_in_another_table_than_the_items_are_to_be_joined(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text("order_id,user_id,date\n1,u1,2018-03-01\n")
    (tmp_path / "lines.csv").write_text("order_id,product_id\n1,a\n1,b\n")
    with pytest.raises(DataError, match=r"no table of events: lines\.csv has no column user_id") as caught:
        Tables().load(SourceFiles.open(tmp_path))
    assert caught.value.hint.startswith("The users are in orders.csv, column user_id: make one table of both")
    assert "on='order_id'" in caught.value.hint


def test_a_table_beside_the_events_with_two_titles_is_that_of_the_items(tmp_path: Path) -> None:
    (tmp_path / "sales.csv").write_text(EVENTS)
    (tmp_path / "articles.csv").write_text("item_id,prod_name,type_name\na,Vest,Top\nb,Hat,Hats\nc,Sock,Socks\n")
    with pytest.raises(DataError, match="each of the columns prod_name, type_name could be that of the title"):
        Tables().load(SourceFiles.open(tmp_path))
    raw = Tables(item_columns={"title": "prod_name"}).load(SourceFiles.open(tmp_path))
    assert raw.items["title"].to_list() == ["Vest", "Hat", "Sock"]
    (tmp_path / "things.csv").write_text("item_id,title\na,Warm vest\nb,Red hat\nc,Sock\n")
    raw = Tables().load(SourceFiles.open(tmp_path))  # this one is surer
    assert raw.items["title"].to_list() == ["Warm vest", "Red hat", "Sock"]


def test_a_header_may_begin_as_files_of_other_programs_do(tmp_path: Path) -> None:
    raw = read(tmp_path, EVENTS.replace("user_id", "ORCID"), columns={"user": "ORCID"})
    assert raw.events["user_id"].to_list() == ["u1", "u1", "u2"]


def test_the_rest_of_a_table_without_its_header_is_warned_about(tmp_path: Path) -> None:
    (tmp_path / "xaa").write_text(EVENTS)
    (tmp_path / "xab").write_text("u2,d,1500000003\n")
    (tmp_path / "notes.txt").write_text("1 2\n")
    raw = Tables().load(SourceFiles.open(tmp_path))
    assert raw.warnings[0].startswith("xab has no header, and as many columns as xaa: if that is the rest of it")


def test_users_that_stand_on_the_first_line_of_an_order_alone_are_to_be_filled_in(tmp_path: Path) -> None:
    raw = read(tmp_path, "user_id,item_id,date\nu1,a,2018-03-01\n,b,2018-03-01\nu2,c,2018-03-01\n")
    assert [said for said in raw.warnings if said.endswith("fill it in (in pandas, ffill)")]


def as_parquet(frame: pl.DataFrame) -> bytes:
    file = io.BytesIO()
    frame.write_parquet(file)
    return file.getvalue()


WANTED = [("u1", "007"), ("u1", "b"), ("u2", "007")]
ROWS = pl.DataFrame({"user_id": ["u1", "u1", "u2"], "item_id": ["007", "b", "007"], "timestamp": [1500000000] * 3})


@pytest.mark.parametrize(
    "data",
    [
        ",user_id,item_id,timestamp\n0,u1,007,1500000000\n1,u1,b,1500000000\n2,u2,007,1500000000\n",
        "user_id,item_id,timestamp,\nu1,007,1500000000,\nu1,b,1500000000,\nu2,007,1500000000,\n",
        '\ufeff"user_id";"item_id";"timestamp"\r\n"u1";"007";"1500000000"\r\n"u1";"b";"1500000000"\r\n"u2";"007";"1500000000"\r\n',
        "user_id, item_id, timestamp\nu1, 007, 1500000000\nu1, b, 1500000000\nu2, 007, 1500000000\n",
        "\nuser_id\titem_id\ttimestamp\n\nu1\t007\t1500000000\nu1\tb\t1500000000\n\nu2\t007\t1500000000\n",
        "user_id item_id timestamp\nu1 007 1500000000\nu1 b 1500000000\nu2 007 1500000000\n",
        "user_id,item_id,timestamp\ru1,007,1500000000\ru1,b,1500000000\ru2,007,1500000000\r",
        "session_id,item_id,timestamp\nu1,007,1500000000\nu1,b,1500000000\nu2,007,1500000000\n",
        json.dumps([{"user_id": u, "item_id": i, "timestamp": 1500000000} for u, i in WANTED], indent=2),
        as_parquet(ROWS.with_columns(pl.col("timestamp").mul(10**6).cast(pl.Duration("us")))),
        as_parquet(ROWS.with_columns(pl.col("user_id").cast(pl.Categorical), __index_level_0__=pl.int_range(3))),
    ],
)
def test_what_people_export_is_read_as_they_mean_it(tmp_path: Path, data: str | bytes) -> None:
    raw = read(tmp_path, data)
    assert raw.events.select("user_id", "item_id").rows() == WANTED
    assert raw.events["timestamp"].to_list() == [1500000000.0] * 3


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("user;item;rating;date\nu1;a;4,5;01.03.2018\nu1;b;3,5;13.03.2018\n", "date is '01.03.2018', not a time"),
        ("user,item,date\nu1,a,3/1/18\nu1,b,3/13/18\n", "date is '3/1/18', not a time"),
        ("user_id,item_id,date\nu1,a,2018-03-01\nu1,b,NaT\nu2,c,2018-03-02\n", "line 3: date is 'NaT', not a time"),
        ("user_id,item_id,rating,rating\nu1,a,4,4\n", "column 'rating' appears twice"),
        ("user_id,item_id,rating\nu1,a,4,\nu1,b,5,\n", "4 fields, expected 3"),
        ("user_id,item_id,rating\nu1,a,NULL\nu1,b,5\n", "rating is 'NULL', not a number"),
        ("user_id,item_id,rating\nu1,a,4/5\nu1,b,5/5\n", "rating is '4/5', not a number"),
        ("user_id,item_id,rating\n-------,-------,------\nu1,a,4\nu1,b,5\n", "rating is '------', not a number"),
        ("user_id,item_id,timestamp\nu1,a,1500000000\nu1,b,1500000001\nu1,c,1500000002\nTotal,3,\n", "is empty"),
        (
            "Export of May,,\nuser_id,item_id,rating\nu1,a,4\nu1,b,5\n",
            "the header seems to be line 2, 'user_id,item_id,rating'",
        ),
        ("Export of May\n\nuser_id,item_id,rating\nu1,a,4\nu1,b,5\n", "the header seems to be line 3"),
        ("user  item\nu1    a\nu1    b\n", "there is no delimiter in its first line"),
        ("user,film1,film2,film3\nu1,4,,5\nu2,,3,\n", "has no column item_id"),
        ('{"user": {"id": "u1"}, "item": {"id": "a"}}\n', "the user ids in user are lists or objects"),
        ('{"user_id": {"0": "u1"}, "item_id": {"0": "a"}}', "the user ids in user_id are lists or objects"),
        (
            '{\n "data": [{"user_id": "u1", "item_id": "a"}]\n}',
            "is one object of JSON, not a table; it has the fields data",
        ),
        ('{"data": [{"user_id": "u1", "item_id": "a"}]}', "has no columns user_id and item_id; it has data"),
        ("user_id,items\nu1,\"['a', 'b']\"\nu2,\"['c']\"\n", "has no column item_id"),
        ("user_id,item_id\nu1,\"['a', 'b']\"\nu2,\"['c']\"\n", "the item ids in item_id are lists or objects"),
        ("1:\n1488844,3,2005-09-06\n", "has the layout of the Netflix Prize: a line such as '1:' says"),
        (
            "u1,2018-03-01T12:00:00Z,a\nu1,2018-03-02T12:00:00Z,b\n",
            "has no header, and 3 columns: u1, 2018-03-01T12:00:00Z, a",
        ),
        (
            "Heat,LP,13 Sep 2020 12:26\nUp,LP,13 Sep 2020 12:30\n",
            "has no header, and 3 columns: Heat, LP, 13 Sep 2020 12:26",
        ),
        (EVENTS.encode("utf-16-le"), "it holds bytes of 0"),
    ],
)
def test_what_is_not_read_is_refused_with_what_it_is(tmp_path: Path, data: str | bytes, words: str) -> None:
    error = refused(tmp_path, data)
    assert words in error.message
    assert error.hint


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (EVENTS.encode("utf-16-le"), "--encoding utf-16-le"),
        (EVENTS.encode("utf-16-be"), "--encoding utf-16-be"),
        (EVENTS.encode() + b"\xe9,a,1\n", "name it: --encoding latin-1"),
        (EVENTS.encode() + "\u00e9,a,1\n".encode() + b"\xe9,a,1\n", "it is in two encodings: write this line in UTF-8"),
        ("\u043a\u043e\u0442,\u0401\u0436".encode("cp1251") + b",1\n", "name it: --encoding latin-1"),
        ('{"user_id": "u1", "bought": [{"item_id": "a"}]}\n', "explode('bought')"),
        ('{"user_id": "u1", "item": {"id": "a"}}\n', "objects in item: give their fields columns of their own"),
    ],
)
def test_the_hint_says_how_to_write_a_table(tmp_path: Path, data: str | bytes, hint: str) -> None:
    assert hint in refused(tmp_path, data).hint


@pytest.mark.parametrize(
    ("ids", "listed", "words"),
    [
        (("007", "010"), ("7", "10"), "zeros in front"),
        (("7.0", "10.0"), ("7", "10"), "a .0 at the end"),
        (("a1", "b2"), ("A1", "B2"), "upper and lower case"),
        (("e\u0301a", "b"), ("\u00e9a", "c"), "how accents are written"),
    ],
)
def test_two_tables_that_do_not_join_say_in_what_their_ids_differ(
    tmp_path: Path, ids: tuple[str, str], listed: tuple[str, str], words: str
) -> None:
    events = "user_id,item_id,timestamp\n" + "".join(f"u,{item},15{at}\n" for at, item in enumerate(ids))
    things = "item_id,title\n" + "".join(f"{item},Thing {at}\n" for at, item in enumerate(listed))
    hint = refused(tmp_path, events, things).hint
    assert f"They differ in {words}" in hint
    assert f": but for that, {1 + (ids[1] != 'b')} of them are there" in hint
    things += f"{ids[1]},One\n"
    [said] = [said for said in read(tmp_path, events, things).warnings if "differ from listed ones in" in said]
    assert said.startswith(f"1 of the 1 items that things does not list differ from listed ones in {words}")
    assert f"such as {ids[0]!r} in events and {listed[0]!r} there" in said
    assert "differ from listed" not in " ".join(read(tmp_path, events, f"{things}{ids[0]},Two\n").warnings)


@pytest.mark.parametrize(
    ("name", "values", "last", "words"),
    [
        ("timestamp", "1500000000", "15000", "timestamp is 15000, shorter than all above it"),
        ("timestamp", "2018-03-01T10:00:00Z", "2018-03-01T10:0", "timestamp is 2018-03-01T10:0, shorter than"),
        ("rating", "4.5", "4", "rating is 4, shorter than all above it"),
        ("rating", "4", "", "rating is empty, shorter than all above it"),
        ("rating", "4", "5", ""),
        ("rating", "10", "9", ""),  # which others may have
        ("timestamp", "1500000000", "1500000001", ""),
        ("title", "Heat", "Up", ""),
    ],
)
def test_a_file_that_was_cut_in_its_last_field_is_said(
    tmp_path: Path, name: str, values: str, last: str, words: str
) -> None:
    rows = [f"user_id,item_id,{name}", *(f"u,i{at},{values}" for at in range(11)), f"u,i,{last}"]
    text = "\n".join(rows)
    options: dict[str, Any] = {"line_order": name != "timestamp"}
    if words:
        error = refused(tmp_path, text, **options)
        assert error.message.startswith(f"events, line 13: the file ends in it without a line end, and {words}")
        assert "--drop-bad" in error.hint
        assert read(tmp_path, text, drop_bad=True, **options).events.height == 11
    else:
        assert read(tmp_path, text, **options).events.height == 12
    if name == "rating":
        assert read(tmp_path, text + "\n", **options).events.height == 12


def test_a_row_that_was_cut_before_its_last_field_is_counted_as_others(tmp_path: Path) -> None:
    text = "user_id,item_id,timestamp\n" + "".join(f"u,i{at},15000000{at}\n" for at in range(10, 30)) + "u,i"
    assert refused(tmp_path, text).message == "events, line 22: 2 fields, expected 3: 'u,i'"
    raw = read(tmp_path, text, drop_bad=True)
    assert raw.events.height == 20
    assert any("1 of 21 lines are left out" in warning for warning in raw.warnings)


def test_ids_that_differ_in_accents_alone_are_warned_about(tmp_path: Path) -> None:
    raw = read(tmp_path, "user_id,item_id,timestamp\nu,e\u0301,15\nu,\u00e9,16\nu,b,17\n")
    assert any("1 ids of items differ from others in how accents are written alone" in said for said in raw.warnings)


def test_each_table_may_have_an_encoding_of_its_own(tmp_path: Path) -> None:
    events, things = (
        "user_id,item_id\nJ\u00f6rg,a\nJ\u00f6rg,b\n",
        "item_id,title\na,\u0401\u0436\nb,\u041a\u043e\u0442\n",
    )
    for folder in (False, True):
        place = tmp_path / "both"
        place.mkdir(exist_ok=True)
        if folder:
            (place / "events").write_bytes(events.encode())
            (place / "things").write_bytes(things.encode("cp1251"))
            raw = Tables(encoding="items=cp1251").load(SourceFiles.open(place))
        else:
            raw = read(tmp_path, events, things.encode("cp1251"), encoding="items=cp1251")
        assert raw.events["user_id"][0] == "J\u00f6rg"
        assert raw.items["title"].to_list() == ["\u0401\u0436", "\u041a\u043e\u0442"]
    both = read(tmp_path, events, things.encode("cp1251"), encoding="cp1251")
    assert any(said.startswith("events is read as cp1251, as named. It is UTF-8") for said in both.warnings)
    assert "--encoding items=utf-16-le" in refused(tmp_path, events, things, encoding="utf-16-le").hint
    with pytest.raises(OptionError, match="names an encoding for no table"):
        Tables(encoding="titles=cp1251")


def test_archives_in_archives_are_said(tmp_path: Path) -> None:
    for name, inner in (("book.zip", workbook()), ("nested.zip", None)):
        path = tmp_path / name
        path.write_bytes(inner or b"")
        if inner is None:
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("inner.zip", workbook())
        assert Tables().accepts(SourceFiles.open(path))
        with pytest.raises(DataError, match="is a workbook" if inner else "holds no table, but archives: inner.zip"):
            Tables().load(SourceFiles.open(path))
    with pytest.raises(DataError, match=r"holds no table, but archives: book\.zip, nested\.zip") as caught:
        Tables().load(SourceFiles.open(tmp_path))
    assert f"--source {tmp_path / 'book.zip'}" in caught.value.hint

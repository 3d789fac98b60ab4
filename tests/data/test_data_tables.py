"""Tables of one's own: what they are is told by their content, and said; what cannot be read is refused."""

import gzip
import io
import json
import zipfile
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from llmrs_bench.core.errors import BenchError, DataError, OptionError
from llmrs_bench.data.fields import python_literal
from llmrs_bench.data.files import SourceFiles
from llmrs_bench.data.sources import Raw
from llmrs_bench.data.tables import Tables

EVENTS = "userId,sku,stars,ts\nu1,007,4.5,1500000000\nu1,7,3,1500000001\n"


def read(folder: Path, events: str | bytes, items: str | bytes | None = None, **options: Any) -> Raw:
    """Read one file of events, and one of items."""
    for name, data in (("events", events), ("things", items or "")):
        (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
    named: dict[str, Any] = {
        key: dict(pair.split("=") for pair in options.pop(key, "").split(",") if pair) for key in COLUMN_OPTIONS
    }
    found = SourceFiles.open(folder / "things") if items is not None else None
    return Tables(**named, items=found, **options).load(SourceFiles.open(folder / "events"))


COLUMN_OPTIONS = ("columns", "item_columns")


def rows(raw: Raw) -> list[tuple[Any, ...]]:
    return raw.events.rows()


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


def parquet(**columns: Any) -> bytes:
    sink = io.BytesIO()
    pl.DataFrame(columns).write_parquet(sink)
    return sink.getvalue()


def lines(*objects: Any) -> str:
    return "".join(json.dumps(one) + "\n" for one in objects)


WANTED = [("u1", "007", 1500000000.0, 4.5), ("u1", "7", 1500000001.0, 3.0)]


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|", "::"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_delimiter_and_header_are_found_and_said(tmp_path: Path, delimiter: str, end: str) -> None:
    raw = read(tmp_path, EVENTS.replace(",", delimiter).replace("\n", end))
    assert rows(raw) == WANTED
    words = {",": "commas", "\t": "tabs", ";": "semicolons"}.get(delimiter, delimiter)
    assert raw.rules[0] == f"events: text in UTF-8, {words} between fields, a header of 4 columns"
    assert raw.rules[1] == "columns of events: user userId, item sku, time ts, rating stars"


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd])
def test_packed_files_are_told_by_their_first_bytes(tmp_path: Path, pack: Any) -> None:
    assert rows(read(tmp_path, pack(EVENTS.encode()))) == WANTED
    (tmp_path / "all.csv.zst").write_bytes(zstd(EVENTS.encode()))
    assert SourceFiles.open(tmp_path / "all.csv.zst").names == ("all.csv",)


def test_json_lines_arrays_and_literals_keep_ids_and_numbers_as_written(tmp_path: Path) -> None:
    objects = [
        {"userId": "u1", "sku": "007", "stars": 4.5, "ts": 1500000000},
        {"userId": "u1", "sku": 7, "ts": 1500000001, "stars": 3},
    ]
    for text in (lines(*objects), json.dumps(objects), "".join(f"{one}\n" for one in objects)):
        raw = read(tmp_path, text)
        assert rows(raw) == WANTED
    assert "lines of Python literals" in raw.rules[0]
    long = read(tmp_path, '{"user": 123456789012345678901, "item": 1.10, "x": NaN}\n{"user": "2", "item": "b"}\n')
    assert rows(long)[0][:2] == ("123456789012345678901", "1.10")


def test_parquet_is_read_with_its_moments_and_whole_numbers(tmp_path: Path) -> None:
    moments = [datetime(2017, 7, 14, 2, 40, tzinfo=UTC), datetime(2017, 7, 14, 2, 40, 1, 500000, tzinfo=UTC)]
    raw = read(tmp_path, parquet(user_id=[1, 2], product_id=["007", "7"], created_at=moments, stars=[4.5, None]))
    assert rows(raw) == [("1", "007", 1500000000.0, 4.5), ("2", "7", 1500000001.5, None)]
    days = read(tmp_path, parquet(user_id=[1], item_id=[2], date=[date(1970, 1, 2)]))
    assert rows(days) == [("1", "2", 86400.0, None)]
    assert any("events of one day are in the order of their lines" in rule for rule in days.rules)
    with pytest.raises(DataError, match=r"the item ids in item_id are numbers with fractions, such as 5\.0") as caught:
        read(tmp_path, parquet(user_id=[1, 2], item_id=[5.0, None]))
    assert 'astype("Int64")' in caught.value.hint


def test_quotes_of_csv_hold_delimiters_quotes_and_ends_of_lines(tmp_path: Path) -> None:
    items = 'sku,name,genres\n007,"A ""big"",\nwide Lamp",Home|Light\n7,12" Mix,\n'
    raw = read(tmp_path, EVENTS, items)
    assert raw.items["title"].to_list() == ['A "big", wide Lamp', '12" Mix']
    assert raw.items["categories"].to_list() == [["Home", "Light"], []]
    tabs = read(tmp_path, EVENTS, items.replace(",\nw", "\tw").replace(",", "\t"))
    assert tabs.items["title"][0] == 'A "big" wide Lamp'
    artist = read(tmp_path, EVENTS, 'sku,name\n007,"Weird Al" Yankovic\n7,Low\n')
    assert artist.items["title"][0] == '"Weird Al" Yankovic'
    assert "things: quotes are not those of CSV: they are read as text" in artist.rules


def test_without_a_header_columns_are_numbered(tmp_path: Path) -> None:
    data = EVENTS.split("\n", 1)[1]
    raw = read(tmp_path, data, columns="user=0,item=1,rating=2,time=3")
    assert rows(raw) == WANTED
    assert "no header, 4 columns" in raw.rules[0]
    assert rows(read(tmp_path, EVENTS, columns="user=0,item=1,rating=2,time=3")) == WANTED
    names = read(tmp_path, "anna,Blue Monday\nbert,Low\n", columns="user=0,item=1")
    assert names.events["user_id"].to_list() == ["anna", "bert"]
    with pytest.raises(DataError, match=r"has no header, and 4 columns: u1, 007, 4\.5, 1500000000") as caught:
        read(tmp_path, data)
    assert "--columns user=0,item=1,time=2" in caught.value.hint
    with pytest.raises(OptionError, match="unknown column '9'"):
        read(tmp_path, data, columns="user=0,item=9")


def test_names_of_many_sources_are_found_exact_ones_first(tmp_path: Path) -> None:
    for user in ("reviewerID", "uid", "customer_id", "USER_ID", "user"):
        for item in ("asin", "movieId", "product_id", "isbn", "itemid"):
            raw = read(tmp_path, f"{user},{item},overall,unixReviewTime,x\na,b,5,1400000000,c\n")
            assert rows(raw) == [("a", "b", 1400000000.0, 5.0)]
    assert raw.warnings[0] == "columns of events that are not read: x"
    assert rows(read(tmp_path, "user_id,asin,parent_asin,title\nu,a,b,Great!\n"))[0][:2] == ("u", "b")
    with pytest.raises(DataError, match="each of the columns sku, product_id could be that of the item") as caught:
        read(tmp_path, "user,sku,product_id\nu,1,2\n")
    assert "--columns item=sku" in caught.value.hint
    with pytest.raises(DataError, match="each of the columns track_id, album_id") as caught:
        read(tmp_path, "user,item\nu,1\n", "track_id,album_id,name\n1,2,Low\n")
    assert "--item-columns item=track_id" in caught.value.hint


def test_columns_of_each_table_are_named_by_their_option(tmp_path: Path) -> None:
    items = lines(
        {"id": 7, "label": "Low", "tags": ["Art, Rock", "Berlin"], "made": {"in": 1977}, "text": "x", "note": "Good"},
        {"id": "007", "label": None, "tags": None, "made": None, "text": "y", "note": "Bad"},
    )
    raw = read(tmp_path, EVENTS, items, item_columns="title=label,categories=tags,text=note")
    assert raw.items.rows()[0] == ("7", "Low", "Tags: Art, Rock, Berlin. Note: Good.", None, ["Art, Rock", "Berlin"])
    assert raw.facts["items_without_title"] == 1
    assert "columns of things that are not read: text" in raw.rules
    assert raw.columns["item_columns"] == {"item": "id", "title": "label", "categories": "tags", "text": "note"}
    with pytest.raises(OptionError, match="unknown column 'labl'"):
        read(tmp_path, EVENTS, items, item_columns="title=labl")
    with pytest.raises(OptionError, match="there is none"):
        read(tmp_path, EVENTS, item_columns="title=label")


def test_titles_may_stand_in_the_events_where_that_is_said(tmp_path: Path) -> None:
    events = lines({"user": 1, "track_id": 5, "track_name": "Low"}, {"user": 2, "track_id": 5, "track_name": "Low"})
    assert read(tmp_path, events).items["title"].to_list() == ["5"]
    raw = read(tmp_path, events, columns="title=track_name")
    assert raw.items["title"].to_list() == ["Low"]
    assert not raw.warnings


def test_the_unit_of_times_can_be_named(tmp_path: Path) -> None:
    small = "user,item,ts\nu,a,5000\nu,b,6500\n"
    assert read(tmp_path, small, time_unit="ms").events["timestamp"].to_list() == [5.0, 6.5]
    with pytest.raises(DataError, match="line 2: ts is '5000', not a time"):
        read(tmp_path, small, time_unit="iso")


def test_folders_and_archives_hold_both_tables(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    items = 'sku,title\n007,Bond\n7,"Seven, or so"\n'
    tags = "userId,sku,tag,ts\nu1,007,spy,1500000000\n"
    files = {"ratings.csv": EVENTS, "tags.csv": tags, "films.csv": items, "README": "Films, and who\nrated them.\n"}
    for name, text in files.items():
        (folder / name).write_text(text)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name, text in files.items():
            archive.writestr(f"set/{name}", text)
    for place in (folder, tmp_path / "set.zip"):
        found, source = SourceFiles.open(place), Tables()
        assert source.accepts(found)
        assert source.uses(found) == ("ratings.csv", "films.csv")
        raw = source.load(found)
        assert rows(raw) == WANTED
        assert raw.items["title"].to_list() == ["Bond", "Seven, or so"]
        assert raw.rules[0] == "files that are not read: README, tags.csv"
    (folder / "ratings.csv").unlink()
    (folder / "more.csv").write_text(tags)
    with pytest.raises(DataError, match=r"holds 2 tables that could be the events: more\.csv, tags\.csv"):
        Tables().load(SourceFiles.open(folder))


def test_text_is_utf_8_or_what_is_said(tmp_path: Path) -> None:
    events = "user,item\nu,Caf\u00e9\nu,b\n"
    assert read(tmp_path, b"\xef\xbb\xbf" + events.encode()).events["item_id"][0] == "Caf\u00e9"
    with pytest.raises(DataError, match="events, line 2: the byte 0xe9 is not UTF-8") as caught:
        read(tmp_path, events.encode("latin-1"))
    assert "--encoding latin-1" in caught.value.hint
    raw = read(tmp_path, events.encode("latin-1"), encoding="latin-1")
    assert raw.events["item_id"][0] == "Caf\u00e9"
    assert "text in latin-1" in raw.rules[0]
    for marked in ("utf-16", "utf-32", "utf-8-sig"):  # a mark says it, whatever other tables are in
        for named in (None, "utf-16", "latin-1"):
            raw = read(tmp_path, events.encode(marked), encoding=named)
            assert raw.events["item_id"][0] == "Caf\u00e9"
            assert f"text in {marked.upper() if marked == 'utf-8-sig' else marked}".removesuffix("-SIG") in raw.rules[0]
    with pytest.raises(DataError, match="is not UTF-16") as caught:
        read(tmp_path, (events + "u,cc\n").encode(), encoding="utf-16")
    assert "It is UTF-8: leave --encoding out" in caught.value.hint
    assert read(tmp_path, events.encode("utf-16-le"), encoding="utf-16-le").events["item_id"][0] == "Caf\u00e9"
    with pytest.raises(DataError, match="line 3: the byte 0xe9 is not UTF-8"):
        read(tmp_path, "user,item\nu,\u00e9\n".encode() + b"u,\xe9\n")
    with pytest.raises(DataError, match="unknown encoding 'utf-9'"):
        read(tmp_path, events, encoding="utf-9")


MANY = [f"c{at}" for at in range(1_000_000)]
BAD: Sequence[tuple[str, bytes | str, str]] = (
    ("empty", "", "holds no data"),
    ("blank", " \n\n", "holds no data"),
    ("header", "user,item\n", "holds a header, and no rows"),
    ("one column", "user\nu\n", "no delimiter in its first line 'user'"),
    ("wide text", ",".join(MANY), "more than 10,000 columns"),
    ("wide JSON", json.dumps(dict.fromkeys(MANY[:20_000], 1)), "line 1: 20,000 fields, at most 10,000"),
    ("ragged", "user,item\nu,a\nu,b,c\n", "row 3: 3 fields, expected 2: 'u,b,c'"),
    ("short", "user,item,rating\nu,a,1\nu,b\n", "row 3: 2 fields, expected 3"),
    ("open quote", 'user,item\nu,"a\nu,b\nu,c,d\n', "line 2: the quotes are not those of CSV"),
    ("twice", "user,user,item\nu,u,a\n", "column 'user' appears twice"),
    ("page", "<!doctype html><html>", "is a page of HTML or XML"),
    ("cut JSON", '{"user": 1, "item": 2}\n{"user": 1, "it', "line 2: not JSON"),
    ("cut array", '[{"user": 1, "item": 2}, {"us', "is not JSON"),
    ("numbers", '{"user": 1, "item": 2}\n[1, 2]\n', "line 2: no object"),
    ("code", "{'user': __import__('os').getcwd(), 'item': 1}\n", "line 1: not JSON"),
    ("deep", '{"user": ' + "[" * 100_000 + "\n", "line 1: not JSON"),
    ("frame", '{"user": {"0": 1}, "item": {"0": 2}}\n', "the user ids in user are lists or objects"),
    ("binary", b"\x00\x01\x02,\x03\n", "bytes of 0"),
    ("cut Parquet", parquet(user=[1], item=[2])[:-9], "not a complete Parquet file"),
    ("no rows", parquet(user=[], item=[]), "holds no rows"),
    ("cut gz", gzip.compress(EVENTS.encode() * 99, mtime=0)[:-20], "cannot be read"),
    ("cut zst", zstd(EVENTS.encode() * 99)[:-5], "cannot be read"),
    ("no time", "user,item,ts\nu,a,yesterday\n", "line 2: ts is 'yesterday', not a time"),
    ("no number", "user,item,rating\nu,a,good\n", "line 2: rating is 'good', not a number"),
    ("many lines", 'user,item,rating\nu,"a\nb",1\nu,c,good\n', "row 2: rating is 'good'"),
)


@pytest.mark.parametrize(("data", "words"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_what_is_no_table_is_refused_with_what_to_do(tmp_path: Path, data: bytes | str, words: str) -> None:
    with pytest.raises(BenchError) as caught:
        read(tmp_path, data)
    assert words in caught.value.message
    assert len(caught.value.message) < 400
    assert caught.value.hint


def test_tables_that_share_no_item_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of the 2 items in events is in things"):
        read(tmp_path, EVENTS, "sku,title\n1,One\n")


def test_literals_of_python_are_values_and_never_code() -> None:
    assert python_literal("{'a': [1, 2.5], 'b': None, 'c': u'x'}\n") == {"a": [1, 2.5], "b": None, "c": "x"}
    for line in ("__import__('os')", "{'a': f()}", "[" * 10_000, "'" + "x" * 2_000_000 + "'", "{", "{[]: 1}"):
        with pytest.raises(ValueError, match="literal of Python"):
            python_literal(line)


@pytest.mark.parametrize("columns", ["time=stars", "item=stars", "user=sku"])
def test_a_column_has_one_role(tmp_path: Path, columns: str) -> None:
    column = columns.partition("=")[2]
    with pytest.raises(DataError, match=f"the column {column} is used for the .* and the "):
        read(tmp_path, EVENTS, columns=columns)


def test_ids_that_are_one_number_in_two_ways_are_warned_about(tmp_path: Path) -> None:
    said = " ".join(read(tmp_path, EVENTS).warnings)
    assert "1 ids of items are numbers that others write in another way, such as '007' and '7'" in said
    rows = lines({"user_id": "u", "item_id": 38.0, "ts": 1}, {"user_id": "v", "item_id": 38, "ts": 2})
    assert "such as '38' and '38.0'" in " ".join(read(tmp_path, rows).warnings)
    long = "user,item,ts\nu,9007199254740993,1\nu,9007199254740992,2\n"  # one number, if rounded
    assert "in another way" not in " ".join(read(tmp_path, long).warnings)


def test_events_without_an_item_are_counted(tmp_path: Path) -> None:
    rows = lines({"user_id": "u", "item_id": None, "ts": 1}, {"user_id": "u", "item_id": "a", "ts": 2})
    assert "the item of 1 of 2 events is empty: they are dropped" in read(tmp_path, rows).warnings


def test_the_line_of_spreadsheets_that_names_the_delimiter_is_no_header(tmp_path: Path) -> None:
    raw = read(tmp_path, "sep=;\nuser;item;ts\nu;a;1500000000\nu;b;1500000001\n")
    assert [row[:2] for row in rows(raw)] == [("u", "a"), ("u", "b")]
    assert "events: the line sep= is left out" in raw.rules
    with pytest.raises(DataError, match="line 4: ts is 'x'"):
        read(tmp_path, "sep=;\nuser;item;ts\nu;a;1500000000\nu;b;x\n")


def test_hints_say_how_gaps_are_mended(tmp_path: Path) -> None:
    gaps = lines({"user": "u", "item": "a", "ts": 5}, {"user": "u", "item": "b"}, {"user": "u", "item": "c"})
    with pytest.raises(DataError, match="2: ts is empty, and in 1 more") as gap:
        read(tmp_path, gaps)
    assert "dropna(subset=['ts'])" in gap.value.hint


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('user,item,ts\nu,="007",1500000000\nv,7,1500000001\n', '1 values of item are written as ="..."'),
        ('user,item,ts\nu,"=""007""",1500000000\n"v",7,1500000001\n', '1 values of item are written as ="..."'),
        ('user\titem\tts\nu\t="007"\t1500000000\nv\t7\t1500000001\n', '1 values of item are written as ="..."'),
        (
            "# of the shop, May\n#\nuser,item,ts\nu,007,1500000000\nv,7,1500000001\n",
            "2 lines of comment above the table",
        ),
        ("# of the shop\n#user,item,ts\nu,007,1500000000\nv,7,1500000001\n", "1 lines of comment above the table"),
    ],
)
def test_what_spreadsheets_and_exports_put_around_the_fields_is_said(tmp_path: Path, text: str, words: str) -> None:
    raw = read(tmp_path, text)
    assert [row[:3] for row in rows(raw)] == [("u", "007", 1500000000.0), ("v", "7", 1500000001.0)]
    assert any(words in rule for rule in raw.rules)


def test_lines_are_counted_with_the_comments_above_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 4: ts is 'x'"):
        read(tmp_path, "# a shop\nuser,item,ts\nu,a,1500000000\nu,b,x\n")
    for second in ("#2", "2"):
        text = f"#1,a,1500000000\n{second},b,1500000001\n"
        assert [row[0] for row in rows(read(tmp_path, text, columns="user=0,item=1,time=2"))] == ["#1", second]


@pytest.mark.parametrize(
    ("head", "columns"),
    [
        ("user,item,date,time\n", ""),
        ("user,item,order_date,order_time\n", ""),
        ("user,item,day,hour\n", "time=day+hour"),
        ("", "user=0,item=1,time=2+3"),
    ],
)
def test_a_date_and_a_time_of_day_are_one_time(tmp_path: Path, head: str, columns: str) -> None:
    raw = read(tmp_path, f"{head}u,a,2024-05-01,9:30\nv,b,2024-05-02,09:30:05.5\n", columns=columns)
    assert raw.events["timestamp"].to_list() == [
        datetime(2024, 5, 1, 9, 30, tzinfo=UTC).timestamp(),
        datetime(2024, 5, 2, 9, 30, 5, 500_000, tzinfo=UTC).timestamp(),
    ]
    assert not any("not read" in warning for warning in raw.warnings)
    assert raw.columns["columns"]["time"] in {"date+time", "order_date+order_time", "day+hour", "2+3"}
    moments = parquet(user=["u"], item=["a"], date=[date(2024, 5, 1)], time=[datetime(2024, 5, 1, 9, 30).time()])
    assert rows(read(tmp_path, moments))[0][2] == raw.events["timestamp"][0]
    with pytest.raises(DataError, match="'2024-05-01T25:61', not a time"):
        read(tmp_path, f"{head}u,a,2024-05-01,25:61\nv,b,2024-05-02,10:00\n", columns=columns)


def test_columns_that_do_not_belong_together_stay_two(tmp_path: Path) -> None:
    for times in ("date,time\nu,a,2024-05-01,1500000000", "date,time,timestamp\nu,a,2024-05-01,9:30,1500000000"):
        raw = read(tmp_path, f"user,item,{times}\n")
        assert raw.events["timestamp"].to_list() == [1500000000.0]
        assert any("not read: date" in warning for warning in raw.warnings)
    with pytest.raises(OptionError, match=r"unknown column 'day\+hours'"):
        read(tmp_path, "user,item,day,hour\nu,a,2024-05-01,9:30\n", columns="time=day+hours")


def test_labels_are_yes_and_no_and_dates_without_a_zone_are_counted(tmp_path: Path) -> None:
    days = ["2024-05-01T09:00", "2024-05-02T09:00Z", "2024-05-03T09:00+02:00", "2024-05-04"]
    text = "\n".join(f"u,{at},{day},{word}" for at, (day, word) in enumerate(zip(days, YES_AND_NO, strict=True)))
    raw = read(tmp_path, f"user,item,date,clicked\n{text}\n")
    assert raw.events["item_id"].to_list() == ["0", "2"]
    assert raw.unchosen["item_id"].to_list() == ["1", "3"]
    assert any("1 of 3 times name no zone, such as '2024-05-01T09:00'" in warning for warning in raw.warnings)
    raw = read(tmp_path, f"user,item,date,clicked\n{text.replace('T09:00,', 'T09:00Z,')}\n")
    assert not any("zone" in warning for warning in raw.warnings)


YES_AND_NO = ("yes", "No", "TRUE", "f")


BAD_ROWS = (
    "user,item,ts,stars,click\nu,a,1500000000,4,1\nu,b,,4,1\nu,c,soon,x,1\nu,d,1500000003,high,maybe\nu,e,,3,\nu,f\n"
    + "u,g,1500000009,3,yes\n" * 7
)
BAD_WORDS = (
    "u,f' (line 7); ts is empty (line 3, and in 1 more); click is empty (line 6); ts is 'soon', not a time (line 4); "
    "stars is 'x', not a number (line 4, and in 1 more); click is 'maybe', not 0 or 1 (line 5)"
)


def test_all_that_cannot_be_read_is_told_at_once_and_left_out_on_request(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, BAD_ROWS)
    assert caught.value.message.startswith("events: 5 of 13 lines cannot be read: 2 fields, expected 5: '")
    assert caught.value.message.endswith(BAD_WORDS)
    assert caught.value.hint.endswith("--drop-bad leaves them out, and counts them.")
    raw = read(tmp_path, BAD_ROWS, drop_bad=True)
    assert raw.events["item_id"].to_list() == ["a", *"ggggggg"]
    [said] = [warning for warning in raw.warnings if "left out" in warning]
    assert said.startswith("events: 5 of 13 lines are left out: ")
    assert said.endswith(BAD_WORDS)
    assert rows(read(tmp_path, EVENTS, drop_bad=True)) == rows(read(tmp_path, EVENTS)) == WANTED


def test_what_is_wrong_with_the_whole_column_is_told_beside_the_rows(tmp_path: Path) -> None:
    units = "ts is '1500000000' in line 2 and '1500000009000' in line 14: these are not of one unit"
    text = BAD_ROWS.replace("u,f\n", "") + "u,h,1500000009000,3,yes\n"
    with pytest.raises(DataError, match="^events: 4 of 13 lines cannot be read: .*; " + units):
        read(tmp_path, text)
    with pytest.raises(DataError, match=f"^events: {units}"):
        read(tmp_path, text, drop_bad=True)


def test_fewer_than_half_of_the_rows_are_left_out(tmp_path: Path) -> None:
    head = "user,item,ts\nu,a,1500000000\n"
    for text in (head + "u,b,then\n", head + "u,b\n", lines({"user": "u", "item": "a"}) + "{\n"):
        with pytest.raises(DataError, match=r"(line|row) [23]: "):
            read(tmp_path, text, drop_bad=True)
    with pytest.raises(DataError) as caught:
        read(tmp_path, head + "u,b,then\n", drop_bad=True)
    assert "fewer than half" in caught.value.hint


def test_a_cut_line_of_json_and_of_the_items_can_be_left_out(tmp_path: Path) -> None:
    events = lines(*({"user": "u", "item": item, "ts": 1500000000} for item in "abc")) + '{"user": "u", "it'
    things = "item,title\na,Lamp\nb,Desk, white\nc,Chair\n"
    with pytest.raises(DataError, match="line 4: not JSON"):
        read(tmp_path, events, things)
    with pytest.raises(DataError, match="things, line 3: 3 fields, expected 2: 'b,Desk, white'") as caught:
        read(tmp_path, events.rpartition("{")[0], things)
    assert "quote fields that hold a delimiter" in caught.value.hint
    raw = read(tmp_path, events, things, drop_bad=True)
    assert raw.items["title"].to_list() == ["Lamp", "Chair", "b"]
    assert sum("left out" in warning for warning in raw.warnings) == 2


def test_times_of_single_precision_are_said(tmp_path: Path) -> None:
    for kind, said in ((pl.Float32, True), (pl.Float64, False)):
        times = pl.Series([1600000000.0, 1600000128.0], dtype=kind)
        (tmp_path / "x.parquet").write_bytes(parquet(user_id=["u", "v"], item_id=["a", "b"], timestamp=times))
        raw = Tables().load(SourceFiles.open(tmp_path / "x.parquet"))
        assert any("float32), between which 128 lie" in warning for warning in raw.warnings) is said

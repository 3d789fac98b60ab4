"""The bytes of rankings in three formats, and bytes that are none of them."""

import gzip
import io
from typing import Any

import polars as pl
import pytest

from llmrs_bench.core.errors import DataError
from llmrs_bench.exchange import reading
from llmrs_bench.exchange.reading import read_rankings

ROWS = {"key": ["r1", "r1"], "item_id": ["a", "b"], "rank": [1.0, 2.0], "score": [0.5, 0.25]}
CSV = b"request_id,item_id,rank,score\nr1,a,1,0.5\nr1,b,2,0.25\n"
TREC = b"r1 Q0 a 1 0.5 mine\nr1 Q0 b 2 0.25 mine\n"


def parquet(**columns: list[Any]) -> bytes:
    buffer = io.BytesIO()
    pl.DataFrame(columns).write_parquet(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (CSV, "x.csv"),
        (CSV.replace(b"\n", b"\r\n"), "x"),
        (b"\xef\xbb\xbf" + CSV, "x.csv"),
        (CSV.replace(b",", b"\t"), "x.tsv"),
        (CSV.replace(b",", b"\t"), "x.csv"),
        (CSV.replace(b",", b";"), "x.csv"),
        (CSV.replace(b",", b";").replace(b"0.", b"0,"), "x.csv"),
        (CSV.replace(b",item_id,rank", b", item_id , rank").replace(b",0.", b", 0."), "x"),
        (gzip.compress(CSV, mtime=0), "x.csv.gz"),
        (TREC, "x.trec"),
        (TREC, "anything.csv"),
        (b"\n" + TREC.replace(b" ", b"\t  "), "x.txt"),
        (parquet(request_id=["r1", "r1"], item_id=["a", "b"], rank=[1, 2], score=[0.5, 0.25]), "x.csv"),
        (parquet(request_id=["r1", "r1"], item_id=["a", "b"], rank=["1", "2"], score=[0.5, 0.25]), "x.parquet"),
    ],
)
def test_one_ranking_in_every_format_gives_the_same_rows(content: bytes, name: str) -> None:
    rows = read_rankings(content, name=name).rows
    assert rows.select("key", "item_id", "rank", "score").to_dict(as_series=False) == ROWS
    assert rows.select(pl.col("bad_rank", "bad_score").is_null().all()).row(0) == (True, True)


def test_what_names_the_ranking_is_known_but_for_trec() -> None:
    assert read_rankings(CSV, name="x").key == "request_id"
    assert read_rankings(CSV.replace(b"request_id", b"user_id"), name="x").key == "user_id"
    assert read_rankings(TREC, name="x").key is None


def test_numbers_are_ids_and_empty_fields_are_null() -> None:
    read = read_rankings(parquet(user_id=[1, 2], item_id=[10, 20], score=[None, 1]), name="x")
    assert read.rows.select("key", "item_id", "score").rows() == [("1", "10", None), ("2", "20", 1.0)]
    rows = read_rankings(b"user_id,item_id,score\n1,2,\n,2,3\n1,,3\n", name="x").rows
    assert rows.select("key", "item_id", "score").rows() == [("1", "2", None), (None, "2", 3.0), ("1", None, 3.0)]


def test_text_that_is_no_number_is_kept_beside() -> None:
    rows = read_rankings(b"user_id,item_id,score\n1,2,high\n1,3, 4 \n1,4,nan\n", name="x").rows
    assert rows["bad_score"].to_list() == ["high", None, None]
    assert rows["score"][1] == 4.0
    assert rows["score"].is_nan().to_list() == [None, False, True]


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        (b"", "x.csv", "x.csv is empty"),
        (b"\n \n", "x.trec", "x.trec is empty"),
        (b"request_id,item_id,rank\n", "x.csv", "no rows"),
        (parquet(request_id=[], item_id=[], rank=[]), "x", "no rows"),
        (b"user,item_id,rank\n1,2,3\n", "x.csv", "lacks the column request_id or user_id; it has: user, item_id"),
        (b"a" * 9000 + b",b\n1,2\n", "x.csv", f"it has: {'a' * 40}, b"),
        (b"user_id,movie,place\n1,2,3\n", "x.csv", "item_id, and rank or score"),
        (b"user_id,item_id,rank\n1,2,3,4\n", "x.csv", "cannot be read as CSV"),
        (b"PAR1 and nothing more", "x", "cannot be read as Parquet"),
        (parquet(user_id=["1"] * 999, item_id=["a" * 99] * 999, rank=[1] * 999), "x", "more than 0.0 GB"),
        (gzip.compress(b"a" * 5000, mtime=0), "x", "more than 0.0 GB"),
        (CSV, "x.parquet", "not a Parquet file"),
        (b"r1 Q0 a 1 0.5 mine\nr1 Q0 the item 2 0.4 mine\n", "x", "line 2: 7 fields"),
        (b"r1 a 1\n", "x.run", "line 1: 3 fields"),
        (b"user_id,item_id,rank\n\xff,2,3\n", "x.csv", "line 2: not UTF-8"),
        (gzip.compress(CSV, mtime=0)[:-12], "x.csv.gz", "cannot be unpacked"),
        (parquet(user_id=["1"], item_id=[["a", "b"]], score=[1.0]), "x", "item_id is List"),
    ],
)
def test_every_other_file_is_refused_with_its_fault(
    content: bytes, name: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_FREE", 1000)
    monkeypatch.setattr(reading, "_PACKED", 1)
    with pytest.raises(DataError) as caught:
        read_rankings(content, name=name)
    assert words in caught.value.message
    assert caught.value.hint


def test_whole_numbers_that_would_be_rounded_are_refused() -> None:
    many = 2**53 + 1
    for content in (
        f"user_id,item_id,score\n1,a,{many}\n1,b,{many - 1}\n".encode(),
        f"1 Q0 a 1 {many} t\n1 Q0 b 2 {many - 1} t\n".encode(),
        parquet(user_id=["1", "1"], item_id=["a", "b"], score=[many, many - 1]),
    ):
        with pytest.raises(DataError, match=r"above 2\^53 that would be rounded.*: 1 \('9007199254740993'\)") as caught:
            read_rankings(content, name="x")
        assert "ranks" in caught.value.hint
    assert read_rankings(b"user_id,item_id,score\n1,a,1152921504606846976\n", name="x").rows["score"][0] == 2.0**60


def test_commas_that_may_part_thousands_are_no_points() -> None:
    rows = read_rankings(b"user_id;item_id;score\n1;a;1,234\n1;b;2,345\n", name="x").rows
    assert rows["bad_score"].to_list() == ["1,234", "2,345"]

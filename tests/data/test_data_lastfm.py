import io
import tarfile
from pathlib import Path

import pytest

from layout_files import LASTFM_1K, LASTFM_HETREC, load
from llmrs_bench.core.errors import DataError
from llmrs_bench.core.registry import SOURCES
from llmrs_bench.data.files import SourceFiles

PLAYS = "userid-timestamp-artid-artname-traid-traname.tsv"


def test_hetrec_counts_plays_without_times(tmp_path: Path) -> None:
    raw = load("lastfm-hetrec", tmp_path, LASTFM_HETREC)
    assert raw.timeless
    assert raw.events.rows() == [("2", "51", 0, 13883), ("2", "52", 0, 1), ("3", "51", 0, 352698), ("3", "53", 0, 7)]
    assert raw.items.rows() == [
        ("51", "311", "Tags: rock, m\u00e9tal.", None, ["rock", "m\u00e9tal"]),
        ("52", "Sigur R\u00f3s", "", None, []),
        ("54", "Nobody's", "", None, []),
        ("53", '"Quoted', "", None, []),
    ]
    assert raw.rules[:2] == ("there are no times of plays", "ratings are counts of plays")


def test_hetrec_without_tags_has_artists_alone(tmp_path: Path) -> None:
    raw = load("lastfm-hetrec", tmp_path, {name: LASTFM_HETREC[name] for name in ("user_artists.dat", "artists.dat")})
    assert raw.items["title"].to_list()[0] == "311"
    assert raw.items["text"].unique().to_list() == [""]


def test_1k_is_read_from_its_end(tmp_path: Path) -> None:
    raw = load("lastfm-1k", tmp_path, LASTFM_1K)
    assert not raw.timeless
    assert raw.events.rows() == [
        ("user_000002", "a7f7", 1155477560, None),
        ("user_000001", "a7f7", 1241445250, None),
        ("user_000001", "\u5742\u672c", 1241445250, None),
        ("user_000001", "f1b1", 1241478537, None),
    ]
    titles = [("f1b1", "Deep Dish"), ("\u5742\u672c", "\u5742\u672c"), ("a7f7", "311")]
    assert raw.items.select("item_id", "title").rows() == titles
    assert raw.facts["events_of_artists_without_id"] == 1
    assert raw.facts["fields_too_many_dropped"] == 1


def test_1k_is_read_from_its_archive(tmp_path: Path) -> None:
    data = str(LASTFM_1K[PLAYS]).encode()
    with tarfile.open(tmp_path / "lastfm-dataset-1K.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo(f"lastfm-dataset-1K/{PLAYS}")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    files = SourceFiles.open(tmp_path / "lastfm-dataset-1K.tar.gz")
    (tmp_path / "folder").mkdir()
    folder = load("lastfm-1k", tmp_path / "folder", LASTFM_1K)
    assert SOURCES.load("lastfm-1k")().load(files).events.equals(folder.events)


@pytest.mark.parametrize(
    ("layout", "name", "content", "message"),
    [
        ("lastfm-hetrec", "user_artists.dat", "userID\tartistID\n", r"user_artists\.dat, line 1: the header is"),
        ("lastfm-hetrec", "user_artists.dat", "userID\tartistID\tweight\n1\t51\t\n", "line 2: weight is empty"),
        ("lastfm-hetrec", "user_artists.dat", "userID\tartistID\tweight\n1\t51\tmany\n", "line 2: weight is 'many'"),
        ("lastfm-hetrec", "artists.dat", "id\tname\turl\tpictureURL\n51\tx\n", r"artists\.dat, line 2: 2 fields"),
        ("lastfm-hetrec", "artists.dat", "id\tname\turl\tpictureURL\n" + "51\tx\t\t\n" * 2, "'51' more than once"),
        ("lastfm-hetrec", "artists.dat", b"id\tname\turl\tpictureURL\n51\t\xe9\t\t\n", "line 2: not UTF-8"),
        (
            "lastfm-hetrec",
            "tags.dat",
            "tagID\ttagValue\n1 rock\n",
            r"tags\.dat, line 2: '1 rock' is not an id and a tag",
        ),
        ("lastfm-1k", PLAYS, "", "holds no data"),
        ("lastfm-1k", PLAYS, "u\t2009-05-04T23:08:57Z\ta\tA\tt\tT\nu\t2009\n", r"\.tsv, line 2: 2 fields, expected 6"),
        ("lastfm-1k", PLAYS, "u\t2009-05-04\ta\tA\tt\tT\n", r"\.tsv, line 1: time is '2009-05-04', not as 2009-05"),
        ("lastfm-1k", PLAYS, "\t2009-05-04T23:08:57Z\ta\tA\tt\tT\n", r"\.tsv, line 1: user_id is empty"),
    ],
)
def test_malformed_plays_are_named(layout: str, name: str, content: str | bytes, message: str, tmp_path: Path) -> None:
    whole = {"lastfm-hetrec": LASTFM_HETREC, "lastfm-1k": LASTFM_1K}[layout]
    with pytest.raises(DataError, match=message) as caught:
        load(layout, tmp_path, {**whole, name: content})
    assert caught.value.hint

"""MIND: tables without headers, times of America, histories without times, parts side by side."""

import zipfile
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from llmrs_bench.core.errors import DataError
from llmrs_bench.data.files import SourceFiles
from llmrs_bench.data.mind import Mind
from llmrs_bench.data.sources import Raw, check_raw
from news_data import DEV, TRAIN, write_news, write_part


def read(path: Path) -> Raw:
    files = SourceFiles.open(path)
    assert Mind().accepts(files)
    return check_raw(Mind().load(files), "mind")


def seconds(day: int, hour: int, minute: int = 0, second: int = 0) -> float:
    return datetime(2019, 11, day, hour, minute, second, tzinfo=UTC).timestamp()


def test_impressions_hold_what_was_shown_and_what_was_clicked(tmp_path: Path) -> None:
    raw = read(write_news(tmp_path))
    assert raw.impressions.height == len(TRAIN) + len(DEV)
    row = raw.impressions.row(len(TRAIN), named=True)
    assert (row["user_id"], row["timestamp"]) == ("ann", seconds(15, 8, 55, 22))
    assert (row["shown"], row["clicked"]) == (["N4", "N5", "N0", "N6"], ["N4", "N6"])
    assert raw.impressions["timestamp"][1] == seconds(13, 12, 30)
    assert raw.impressions["timestamp"][5] == seconds(15, 22)
    assert raw.tested_from == seconds(15, 8, 55, 22)
    assert any("made_train, made_dev" in rule for rule in raw.rules)


def test_clicks_of_histories_come_before_all_impressions(tmp_path: Path) -> None:
    raw = read(write_news(tmp_path))
    ann = raw.events.filter(user_id="ann").sort("timestamp", maintain_order=True)
    assert ann["item_id"].to_list() == ["N0", "N1", "N2", "N4", "N6"]
    assert ann["timestamp"].to_list()[:3] == [seconds(13, 9) - 1, seconds(13, 9) - 1, seconds(13, 9)]
    assert raw.events.filter(user_id="dan")["timestamp"].to_list() == [*[seconds(13, 9) - 1] * 2, seconds(15, 23)]
    assert raw.events.filter(pl.col("user_id") == "eve")["item_id"].to_list() == ["N5"]


def test_what_a_later_history_adds_comes_right_before_its_impression(tmp_path: Path) -> None:
    lines = [("ann", "13/2019 9:00:00 AM", "N1", "N2-1 N3-0"), ("ann", "14/2019 9:00:00 AM", "N1 N2 N9", "N4-1 N5-0")]
    raw = read(write_part(tmp_path, lines))
    ann = dict(raw.events.sort("timestamp", descending=True).select("item_id", "timestamp").iter_rows())
    assert ann == {
        "N1": seconds(13, 9) - 1,
        "N2": seconds(13, 9),
        "N9": seconds(14, 9) - 0.5,
        "N4": seconds(14, 9),
    }
    assert raw.tested_from is None


def test_articles_have_titles_topics_and_abstracts(tmp_path: Path) -> None:
    raw = read(write_news(tmp_path))
    assert raw.items.height == 12
    first = raw.items.row(0, named=True)
    assert first["title"] == '"Round 0" & other rounds'
    assert first["categories"] == ["sports", "golf"]
    assert first["text"] == "Categories: sports, golf. Who won round 0."


def test_an_article_that_is_not_listed_is_called_by_its_id_and_counted(tmp_path: Path) -> None:
    raw = read(write_part(tmp_path, [("ann", "13/2019 9:00:00 AM", "N1", "N2-1 N99-0")]))
    assert raw.items.filter(item_id="N99")["title"].to_list() == ["N99"]
    assert raw.facts["items_not_listed"] == 1


def test_archives_side_by_side_are_read_as_folders_are(tmp_path: Path) -> None:
    folders, zips = write_news(tmp_path / "folders"), tmp_path / "zips"
    zips.mkdir()
    for part in folders.iterdir():
        with zipfile.ZipFile(zips / f"{part.name}.zip", "w") as archive:
            for file in part.iterdir():
                archive.write(file, file.name)
    with zipfile.ZipFile(tmp_path / "both.zip", "w") as archive:
        for file in folders.rglob("*.tsv"):
            archive.write(file, file.relative_to(folders))
    plain = read(folders)
    for other in (read(zips), read(tmp_path / "both.zip")):
        assert other.impressions.equals(plain.impressions)
        assert other.events.equals(plain.events)
        assert other.items.equals(plain.items)
        assert other.tested_from == plain.tested_from
    files = SourceFiles.open(zips)
    assert Mind().uses(files) == ("made_dev.zip", "made_train.zip")
    assert files.digest(Mind().uses(files))
    used = Mind().uses(SourceFiles.open(folders))
    assert set(used) == {f"made_{part}/{name}.tsv" for part in ("train", "dev") for name in ("behaviors", "news")}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (("ann", "13/2019 9:00:00 AM", "N1", "N2 N3"), "line 2: 'N2' does not end in -0"),
        (("ann", "13/2019 9:00:00 AM", "N1", "N2-1 N3-2"), "line 2: 'N3-2' does not end in -0"),
        (("ann", "13/2019 9:00:00 AM", "N1", "-1 N3-0"), "line 2: '-1' does not end in -0"),
        (("ann", "2019-11-13T09:00:00", "N1", "N2-1"), "line 2: the time is '11/2019-11-13T09:00:00'"),
        (("ann", "13/2019 9:00:00 AM", "N1", ""), "line 2: impressions is empty"),
    ],
)
def test_a_line_that_is_none_is_named(tmp_path: Path, line: tuple[str, str, str, str], words: str) -> None:
    folder = write_part(tmp_path, [("ann", "13/2019 9:00:00 AM", "N1", "N2-1 N3-0"), line])
    with pytest.raises(DataError) as found:
        read(folder)
    assert words in str(found.value)
    assert "behaviors.tsv" in str(found.value)


def test_tables_of_different_articles_are_refused(tmp_path: Path) -> None:
    folder = write_part(tmp_path, [("ann", "13/2019 9:00:00 AM", "M1", "M2-1 M3-0")])
    with pytest.raises(DataError, match="such as 'M2' there, and 'N0' here"):
        read(folder)


def test_the_test_part_is_refused_with_the_reason(tmp_path: Path) -> None:
    write_news(tmp_path)
    write_part(tmp_path / "made_test", [("ann", "16/2019 9:00:00 AM", "N1", "N2 N3")])
    with pytest.raises(DataError, match=r"made_test/behaviors\.tsv, line 1") as found:
        read(tmp_path)
    assert "test part has no labels" in str(found.value.hint)

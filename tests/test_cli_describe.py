"""`prepare --describe`: a profile of the data as read, and nothing written."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from command_line import Bench, table
from llmrs_bench.cli.main import app


def test_a_profile_is_printed_and_nothing_is_written(bench: Bench) -> None:
    said = bench.prepare("--describe").stdout
    assert "users        30\n" in said
    assert "items        60 with events, 60 listed\n" in said
    assert "ratings      3 (120), 4 (120), 5 (120)\n" in said
    assert "users by their number of events\n8-15  30  █" in said
    assert "item item_id, title title" in said
    assert bench.files() == {}


def test_wrong_columns_are_seen_before_anything_is_prepared(bench: Bench) -> None:
    said = bench.prepare("--describe", "--columns", "time=rating,rating=timestamp").stdout
    assert "times        1970-01-01 00:00:03 to 1970-01-01 00:00:05 UTC\n" in said
    assert "ties         30 (100.0 %) of users" in said
    assert "ratings      1000 (30), 1001 (30)" in said


def test_the_options_that_drop_events_are_told_also_where_nothing_is_left(bench: Bench) -> None:
    words = " ".join(bench.prepare("--describe", "--min-rating", "4").stdout.split())
    assert "events rated below 4, or not rated, are dropped" in words
    assert "240 events of 30 users" in words
    words = " ".join(bench.prepare("--describe", "--min-rating", "9").stdout.split())
    assert "users 30" in words
    assert "warning no event is left of 360" in words


def test_plain_signs_where_stdout_is_not_utf8(bench: Bench, tmp_path: Path) -> None:
    source = Path(shutil.copytree(bench.source, tmp_path / "source"))
    listed = "item_id:token\ttitle:token\ni0\t\u00c9t\u00e9\ni7\tNo\u00ebl"
    (source / "small.item").write_text(listed, "utf-8")
    typed = ["prepare", "-d", "small", "--source", str(source), "--describe", "--home", str(bench.home)]
    said = CliRunner(charset="ascii").invoke(app, typed)
    assert said.exit_code == 0, said.stderr
    assert "item i0 (?t?)" in said.stdout
    assert "8-15  30  ###" in said.stdout


def test_a_prepared_data_set_keeps_its_profile(bench: Bench) -> None:
    bench.prepare("--n-candidates", "5")
    [manifest] = bench.home.glob("small/*/data/manifest.json")
    assert '"profile": {\n      "users": 30' in manifest.read_text("utf-8")
    assert table(bench, "small/*/data/requests.parquet").height == 30


def test_a_broken_source_is_an_error_as_ever(bench: Bench, tmp_path: Path) -> None:
    said = bench.run("prepare", "--dataset", "x", "--source", str(tmp_path / "no"), "--describe", code=1)
    assert f"there is no {tmp_path / 'no'}" in said.stderr
    assert said.stdout == ""


def test_reading_is_shown_of_a_large_source_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "read: " not in bench.prepare("--describe").stderr
    monkeypatch.setattr("llmrs_bench.stages.source.LARGE", 100)
    assert "read: 3 of 3" in bench.prepare("--describe").stderr

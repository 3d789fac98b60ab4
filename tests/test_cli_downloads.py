"""From the command line: data sets of several files that are downloaded, listed and asked for."""

import hashlib
import json
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from command_line import Bench, write_small
from llmrs_bench.data.datasets import DATASETS, Counts, Dataset, RemoteFile
from llmrs_bench.stages import listing

PARTS = ("small.inter", "small.item")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Serve two files as the data set `tiny`; yield the folder they are in."""
    monkeypatch.setenv("no_proxy", "*")
    folder = tmp_path / "site"
    folder.mkdir()
    write_small(folder)
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0),
        lambda *arguments: Quiet(*arguments, directory=str(folder)),
    )
    url = f"http://127.0.0.1:{server.server_port}"
    tiny = Dataset(
        "tiny",
        ("atomic",),
        files=tuple(RemoteFile(name, (f"{url}/{name}",)) for name in PARTS),
        homepage="https://example.org/tiny",
        licence="friends only: ask first",
        domain="films",
        published=Counts(users=30, interactions=360),
    )
    for name in [*DATASETS]:
        monkeypatch.delitem(DATASETS, name)
    monkeypatch.setitem(DATASETS, "tiny", tiny)
    monkeypatch.setattr(listing, "AMAZON", {})
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield folder
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "home", tmp_path)


def publish(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Publish the checksums of what is served."""
    files = [
        replace(file, md5=hashlib.md5((folder / file.name).read_bytes()).hexdigest()) for file in DATASETS["tiny"].files
    ]
    monkeypatch.setitem(DATASETS, "tiny", replace(DATASETS["tiny"], files=tuple(files)))


def facts(bench: Bench, variant: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bench.home / "tiny" / variant / "data" / "manifest.json").read_text())["facts"]
    return found


def test_licence_and_checksums_of_what_was_downloaded_are_kept(bench: Bench, site: Path) -> None:
    said = bench.run("prepare", "--dataset", "tiny@one").stderr
    assert said.count("licence of tiny: friends only: ask first") == 1
    assert "users and interactions are as many as published" in said
    made = facts(bench, "one")
    assert made["licence"] == "friends only: ask first"
    assert made["verified"] is False
    assert [(entry["name"], entry["checksum"]) for entry in made["downloads"]] == [
        (name, f"sha256:{hashlib.sha256((site / name).read_bytes()).hexdigest()}") for name in PARTS
    ]
    assert "friends only" not in bench.run("prepare", "--dataset", "tiny@two", "--seed", "1").stderr


def test_a_replaced_file_is_taken_only_if_that_is_said(bench: Bench, site: Path) -> None:
    bench.run("prepare", "--dataset", "tiny@one")
    shutil.rmtree(bench.home / "tiny" / "source")
    titles = site / "small.item"
    titles.write_text(titles.read_text().replace("Film", "Movie"))
    said = bench.run("prepare", "--dataset", "tiny@two", code=1).stderr
    assert "when it was first downloaded" in said
    assert said.count("error:") == 1
    bench.run("prepare", "--dataset", "tiny@two", "--accept-new")
    assert facts(bench, "two")["downloads"] != facts(bench, "one")["downloads"]
    bench.run("prepare", "--dataset", "tiny@three", "--seed", "3")


def test_several_files_are_verified_one_by_one(bench: Bench, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, site)
    bench.run("prepare", "--dataset", "tiny@loaded")
    bench.run("prepare", "--dataset", "tiny@given", "--source", str(site))
    assert facts(bench, "loaded")["verified"] is facts(bench, "given")["verified"] is True
    titles = site / "small.item"
    titles.write_text(titles.read_text().replace("Film", "Movie"))
    said = bench.run("prepare", "--dataset", "tiny@changed", "--source", str(site)).stderr
    assert f"{titles} is not the published file" in said.replace("\n", "")
    assert facts(bench, "changed")["verified"] is False
    titles.unlink()
    assert (
        "holds no small.item"
        in bench.run("prepare", "-d", "tiny@half", "--source", str(site), "--allow-untitled").stderr
    )


CATEGORIES = "CATEGORY as its owner writes it: amazon-2023:Books; amazon-2023: lists all"


def test_the_table_of_data_sets_fits_its_lines(
    bench: Bench, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = replace(DATASETS["tiny"], name="a-data-set-with-a-long-name", published=Counts(12_345_678, 9, 1_234_567_890))
    monkeypatch.setitem(DATASETS, long.name, long)
    bench.run("prepare", "--dataset", "tiny@one", "--seed", "7")
    (tmp_path / "own").mkdir()
    bench.run("prepare", "--dataset", "own@one", "--source", str(write_small(tmp_path / "own")))
    monkeypatch.setenv("COLUMNS", "80")
    narrow = bench.run("list", "data").stdout.splitlines()
    assert max(map(len, narrow)) <= 80
    size = sum((site / name).stat().st_size for name in PARTS) / 1000
    assert [line.split() for line in narrow[: narrow.index(CATEGORIES)]] == [
        ["name", "domain", "users", "items", "events", "size", "titles", "licence"],
        ["tiny", "films", "30", "-", "360", f"{size:.2f}", "kB", "yes", "friends", "only"],
        ["tiny@one", "seed=7"],
        ["a-data-set-with-a-long-name"],
        ["films", "12.3", "M", "9", "1.23", "G", "-", "yes", "friends", "only"],
        ["own", "-", "30", "60", "360", "-", "yes", "-"],
        ["own@one", "format", "atomic,", "defaults"],
    ]
    monkeypatch.setenv("COLUMNS", "120")
    wide = bench.run("list", "data").stdout.splitlines()
    assert "interactions" in wide[0]
    assert re.match(r"a-data-set-with-a-long-name +films +12,345,678 +9 +1,234,567,890 ", wide[3])
    other = write_small(tmp_path / "own")
    (other / "small.inter").write_text((other / "small.inter").read_text().replace("u1\ti7\t4", "u1\ti7\t5", 1))
    monkeypatch.setattr(sys, "argv", ["llmrs-bench", "prepare", "--source", "my files/other"])
    bench.run("prepare", "--dataset", "own@two", "--source", str(other), "--item-word", "film")
    own = bench.run("list", "data", "--dataset", "own").stdout.splitlines()
    assert own[1].startswith("own ")
    assert [re.sub(" md5 .{8}", "", line.partition(", prepared ")[0]) for line in own[2:]] == [
        "  own@one\tformat atomic, defaults; source, item_word=item",
        "  own@two\tformat atomic, defaults; --source my files/other, source, item_word=film",
    ]
    (bench.home / "tiny" / "downloads.json").write_text("[1]")
    said = bench.run("list", "data")
    assert "left out:" in said.stderr
    assert re.search(r"^tiny +films +30 +- +360 +- ", said.stdout, re.MULTILINE)
    assert "unknown data set 'owm'" in bench.run("list", "data", "--dataset", "owm", code=2).stderr


def test_addresses_that_are_gone_fail_the_check(bench: Bench, site: Path) -> None:
    said = bench.run("list", "data", "--check")
    assert len(re.findall(r"^  ok  http\S+/small.\w+\t[\d,]+ bytes$", said.stdout, re.MULTILINE)) == 2
    (site / "small.item").unlink()
    said = bench.run("list", "data", "--check", "--dataset", "tiny", code=1)
    assert "--  http" in said.stdout
    assert "404" in said.stdout
    assert "no server has the files of tiny" in said.stderr
    assert list(bench.home.rglob("*")) == []
    bench.run("list", "data", "--check", "--dataset", "mine", code=2)
    bench.run("list", "models", "--check", code=2)

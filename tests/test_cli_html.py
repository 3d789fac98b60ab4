"""`compare --html` as a person types it."""

import json
import re
import zlib
from base64 import b64decode
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from command_line import Bench
from llmrs_bench.core.schemas import TABLES

HOSTILE = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, atomic: Path) -> Bench:
    """A home with a language model in three orders, over films one of which has a hostile title."""
    source = tmp_path_factory.mktemp("hostile")
    for file in atomic.iterdir():
        (source / file.name).write_text(file.read_text().replace("The Film of 7 Days", f"The Film {HOSTILE}"))
    made = Bench(tmp_path_factory.mktemp("measured"), source)
    made.prepared()
    made.run("infer", "-d", "small", "-m", "mock", "--candidate-orders", "3")
    made.run("infer", "-d", "small", "-m", "itemknn")
    made.run("evaluate", "-d", "small")
    return made


def values(page: str, name: str) -> Any:
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.S)
    assert found
    return found[1]


def test_one_file_holds_board_groups_bias_and_a_sample(measured: Bench, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    said = measured.run("compare", "-d", "small", "--by", "history", "--html", str(path), "--html-requests", "4")
    assert f"wrote: {path}" in said.stderr.replace("\n", "")
    assert "itemknn" in said.stdout  # the board is printed all the same
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    page = path.read_text("utf-8")
    board = json.loads(values(page, "board-data"))
    assert {row["model"] for row in board["rows"]} == {"chance", "popularity", "mock", "itemknn"}
    assert board["groups"]
    (bias,) = board["biases"]
    assert bias["views"] == 3 * bias["requests"]
    sample = json.loads(zlib.decompress(b64decode(values(page, "requests-data"))))
    assert len(sample["requests"]) == 4
    mock = str(next(at for at, run in enumerate(sample["runs"]) if run.startswith("mock")))
    assert [len(calls[mock]) for calls, _ in sample["calls"]] == [3] * 4
    assert HOSTILE not in page


def test_the_same_command_writes_the_same_page(measured: Bench, tmp_path: Path) -> None:
    pages = []
    for name in ("one.html", "two.html"):
        measured.run("compare", "-d", "small", "--html", str(tmp_path / name))
        pages.append((tmp_path / name).read_bytes())
    assert pages[0] == pages[1]
    assert len(pages[0]) < 1_000_000


def test_prompts_of_another_version_are_missing_on_the_page_and_block_nothing(
    measured: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TABLES, "views", pl.Schema([*TABLES["views"].items(), ("later", pl.String)]))
    said = measured.run("compare", "-d", "small", "--html", str(tmp_path / "page.html"))
    words = " ".join(said.stderr.split())
    assert "warning: left out: " in words
    assert "table 'views'" in words
    assert "column 'later' is missing, expected String" in words
    sample = json.loads(
        zlib.decompress(b64decode(values((tmp_path / "page.html").read_text("utf-8"), "requests-data")))
    )
    assert any("prompts" in note for note in sample["notes"].values())


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["-d", "small", "--html-requests", "3"], 2, "ask for --html FILE"),
        (["--history", "--html", "x.html", "y.parquet"], 2, "--html has no effect"),
        (["-d", "small", "--html", "missing/x.html"], 2, "there is no folder missing"),
    ],
)
def test_mistakes_leave_no_file(
    measured: Bench,
    arguments: list[str],
    code: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    said = " ".join(measured.run("compare", *arguments, code=code).stderr.split())
    assert words in said
    assert not list(tmp_path.iterdir())


def test_a_link_that_leads_in_circles_is_refused_at_once(measured: Bench, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.symlink_to(page)
    said = measured.run("compare", "-d", "small", "--html", str(page), code=2).stderr
    assert "leads in circles" in said

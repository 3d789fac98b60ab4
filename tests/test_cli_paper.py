"""What `compare` writes for a paper: LaTeX, and a methods paragraph whose numbers are those of manifests."""

import json
import re
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from command_line import Bench


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory, atomic: Path) -> Bench:
    made = Bench(tmp_path_factory.mktemp("paper"), atomic)
    made.prepared()
    for arguments in (("itemknn",), ("mock",), ("random", "--seed", "3")):
        made.run("infer", "-d", "small", "-m", *arguments)
    return made


def value_of(manifest: Any, key: str) -> Any:
    return reduce(lambda found, name: found[name], key.split("."), manifest)


def test_each_number_of_the_methods_is_found_where_it_is_said_to_be(studied: Bench) -> None:
    text = studied.run("compare", "-d", "small", "--text").stdout
    board = json.loads(studied.run("compare", "-d", "small", "--format", "json").stdout)
    prose, _, listed = text.partition("Where the numbers are from")
    sources = dict(re.findall(r"^\[(\d+)\] (.*)$", listed, re.MULTILINE))
    cited = re.findall(r"(\S+) \[(\d+)\]", prose)
    assert {number for _, number in cited} == sources.keys()
    checked = 0
    for value, number in cited:
        place, key = sources[number].split(": ")
        if place == "board":
            found = {"--samples": 2000, "--seed": 0}.get(key) if key.startswith("--") else value_of(board, key)
        else:
            paths = [path for path in studied.home.rglob("manifest.json") if place.split("/")[-1] == path.parent.name]
            found = value_of(json.loads(paths[0].read_text()), key)
        plain = value.replace(",", "")
        if isinstance(found, float):
            assert float(plain) == pytest.approx(found, abs=0.05)
        else:
            assert str(found).startswith(plain.strip("("))
        checked += 1
    assert checked > 15
    assert "llmrs-bench" in prose
    assert "Holm over" in prose


def test_a_paper_has_the_columns_and_rows_it_wants(studied: Bench) -> None:
    chosen = ("--columns", "ndcg@10, seconds", "--rows", "itemknn", "--rows", "chance")
    text = studied.run("compare", "-d", "small", "--format", "latex", *chosen).stdout
    assert r"model & ndcg@10 & seconds \\" in text
    assert "mock" not in "".join(line for line in text.splitlines() if line.endswith(r"\\"))


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("--columns", "mrr"), "--columns has no effect without --format latex"),
        (("--rows", "itemknn"), "--rows has no effect without --format latex or --figure"),
        (("--chart", "means"), "--chart has no effect without --figure FILE"),
        (("--figure", "x.svg", "--chart", "groups"), "--chart groups has no effect without --by GROUPS"),
        (("--figure", "x.svg", "--chart", "reliability"), "no row has click probabilities"),
        (("--text", "--format", "csv"), "--text has no effect without a board in the terminal"),
        (("--figure", "x.gif"), "a figure ends in .pdf, .svg, .png"),
    ],
)
def test_options_that_do_nothing_are_refused(studied: Bench, typed: tuple[str, ...], said: str) -> None:
    assert said in " ".join(studied.run("compare", "-d", "small", *typed, code=2).stderr.split())


@pytest.mark.parametrize(
    ("chart", "more", "drawn"),
    [
        ("slots", (), ("slot, from 0", "mock")),
        ("answers", (), ("share of the responses", "mock")),
        ("groups", ("--by", "history", "--rows", "itemknn"), ("history", "itemknn")),
    ],
)
def test_charts_of_what_is_behind_the_means(
    studied: Bench, tmp_path: Path, chart: str, more: tuple[str, ...], drawn: tuple[str, ...]
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'llmrs-bench[figures]'")
    path = tmp_path / "chart.svg"
    done = studied.run("compare", "-d", "small", "--figure", str(path), "--chart", chart, *more)
    assert f"wrote: {path}" in "".join(done.stderr.splitlines())
    text = path.read_text("utf-8")
    assert all(words in text for words in drawn)

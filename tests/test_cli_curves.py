"""`compare --over` as it is typed: runs that differ in a number, in every form, and what is refused."""

import csv
import json
from io import StringIO
from pathlib import Path

import pytest

from command_line import Bench

FAST = ("--samples", "100", "--permutations", "200")
COMPARE = ("compare", "--dataset", "small@curves", *FAST)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, atomic: Path) -> Bench:
    """A home with runs that differ in a number of neighbours, and a language model by the length of the history."""
    made = Bench(tmp_path_factory.mktemp("curves"), atomic)
    made.prepare(dataset="small@curves")
    for neighbours in ("2", "5", "20"):
        made.run("infer", "--dataset", "small@curves", "--model", "itemknn", "-O", f"neighbours={neighbours}")
    for history in ("2", "10"):
        made.run("infer", "--dataset", "small@curves", "--model", "mock", "--history", history)
    made.run("evaluate", "--dataset", "small@curves")
    return made


def test_the_curve_has_the_values_of_the_board(bench: Bench) -> None:
    rows = {row["run"]: row for row in json.loads(bench.run(*COMPARE, "--format", "json").stdout)["rows"]}
    made = json.loads(bench.run(*COMPARE, "--over", "neighbours", "--format", "json").stdout)
    assert made["over"] == "neighbours"
    assert set(made["metrics"]) == {"hit@1", "ndcg@10", "hit@10", "mrr"}
    for curve in made["curves"]:
        assert curve["curve"] == "itemknn"
        assert [point["x"] for point in curve["points"]] == [2, 5, 20]
        for point in curve["points"]:
            cell = rows[point["runs"][0]]["metrics"][curve["metric"]]
            assert [point[name] for name in ("mean", "low", "high")] == pytest.approx(
                [cell[name] for name in ("mean", "low", "high")]
            )
    lines = {each["row"] for each in made["levels"]}
    assert lines == {"chance", "popularity", "mock (listwise)", "mock (listwise, history 2)"}
    assert {each["other"] for each in made["crossings"]} == {"mock (listwise)", "mock (listwise, history 2)"}


def test_the_history_of_a_language_model_is_a_number(bench: Bench) -> None:
    text = bench.run(*COMPARE, "--over", "history").stdout
    assert "ndcg@10 over history" in text
    assert "A mock (listwise)" in text
    assert "hit@1" not in text
    assert max(map(len, text.splitlines())) <= 80
    shown = bench.run(*COMPARE, "--over", "history", "--metrics", "hit@1,mrr").stdout
    assert "hit@1 over history" in shown
    assert "mrr over history" in shown
    rows = csv.DictReader(StringIO(bench.run(*COMPARE, "--over", "history", "--format", "csv").stdout))
    assert {row["x"] for row in rows if row["curve"] == "mock (listwise)"} == {"2.0", "10.0"}


def test_the_page_holds_board_and_curves(bench: Bench, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    bench.run(*COMPARE, "--over", "neighbours", "--html", str(page), "--html-requests", "0", "--format", "markdown")
    text = page.read_text("utf-8")
    assert '"over":"neighbours"' in text
    assert '"label":"itemknn (neighbours=20)"' in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--over", "neighbors"), "Did you mean 'neighbours'? Rows differ in: history, neighbours."),
        (("--over", "epochs"), "Rows differ in: history, neighbours."),
        (("--over", "known"), "Write --over cold-users."),
        (("--over", "cold_users"), "Write --over cold-users."),
        (("--over", "windows"), "Write --over-time."),
        (("--over", "neighbours", "--by", "history"), "Leave one of them out."),
        (("--over", "neighbours", "--published"), "--published has no effect"),
    ],
)
def test_what_shows_nothing_is_refused(bench: Bench, arguments: tuple[str, ...], said: str) -> None:
    assert said in " ".join(bench.run(*COMPARE, *arguments, code=2).stderr.split())


def test_saved_boards_have_no_curves(bench: Bench, tmp_path: Path) -> None:
    said = bench.run("compare", "--history", str(tmp_path / "board.parquet"), "--over", "rank", code=2).stderr
    assert "so --over has no effect" in " ".join(said.split())

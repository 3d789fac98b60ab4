"""Boards of click data from the command line: what is always on them, what they say, and what never meets."""

import json
import re
import shutil
from pathlib import Path

import polars as pl
import pytest

from command_line import Bench, table
from llmrs_bench.clicks.baselines import BASELINES
from llmrs_bench.stages.compare import asked_words
from llmrs_bench.stages.printed import published_tables
from llmrs_bench.stages.workspace import open_data

USERS, ITEMS, EVENTS = 24, 30, 720
FAST = ("--samples", "100", "--permutations", "400")
BOARD = ("compare", "--dataset", "small@clicks", *FAST)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Users of whom some like most books, and books of which the lower numbers are liked by most."""
    rows = []
    for at in range(EVENTS):
        user, item = at % USERS, (at * 7 + at // USERS) % ITEMS
        rating = 1 + (at * 13 + 5 * item + 3 * user) % 5
        if item < 12 and rating < 4 and at % 3:
            rating = 5
        rows.append(f"u{user},i{item},{1_500_000_000 + at},{rating}")
    folder = tmp_path_factory.mktemp("books")
    (folder / "events.csv").write_text("user_id,item_id,time,rating\n" + "\n".join(rows) + "\n")
    (folder / "items.csv").write_text("item_id,title\n" + "\n".join(f"i{n},Book {n}" for n in range(ITEMS)) + "\n")
    return folder


@pytest.fixture(scope="module")
def measured(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Click data with a language model and a recommender, evaluated."""
    bench = Bench(tmp_path_factory.mktemp("home"), source)
    bench.prepare("--task", "click", "--like-from", "4", "--repeats", "all", dataset="small@clicks")
    bench.run("infer", "--model", "mock", "--dataset", "small@clicks", "--template", "like")
    bench.run("infer", "--model", "popularity", "--dataset", "small@clicks")
    bench.run("evaluate", "--dataset", "small@clicks")
    return bench


def as_json(bench: Bench, *more: str) -> dict[str, dict[str, object]]:
    found = json.loads(bench.run(*BOARD, "--format", "json", *more).stdout)
    return {row["model"]: row for row in found["rows"]}


def test_the_trivial_rows_are_on_every_board(measured: Bench) -> None:
    rows = as_json(measured)
    assert {*BASELINES, "mock", "popularity"} == rows.keys()
    metrics = rows["majority"]["metrics"]
    assert metrics["auc"]["mean"] == metrics["uauc"]["mean"] == 0.5  # type: ignore[index]
    assert rows["user-mean"]["metrics"]["uauc"]["mean"] == 0.5  # type: ignore[index]
    # Scores of a recommender are no log-odds: what is calibrated is all the probability they have.
    assert "log-loss" not in rows["popularity"]["metrics"]  # type: ignore[operator]
    assert "log-loss-calibrated" in rows["popularity"]["metrics"]  # type: ignore[operator]
    assert rows["mock"]["reliability"].keys() == {"raw", "calibrated"}  # type: ignore[attr-defined]
    alone = as_json(measured, "--run", "mock")
    assert alone.keys() == {*BASELINES, "mock"}


def test_rows_of_the_test_are_counted_without_those_for_validation(measured: Bench) -> None:
    data = open_data(measured.home, "small@clicks")
    tested = data.artifact.table("requests").filter(pl.col("part") == "test")
    assert tested.height < data.artifact.facts["requests"]
    assert asked_words(data) == f"{tested.height} rows of {tested['user_id'].n_unique()} users"


def test_curves_of_clicks_have_the_values_of_their_board(measured: Bench, tmp_path: Path) -> None:
    bench = Bench(tmp_path / "home", measured.source)
    shutil.copytree(measured.home, bench.home)
    bench.run("infer", "--model", "mock", "--dataset", "small@clicks", "--template", "like", "--history", "2")
    bench.run("evaluate", "--dataset", "small@clicks")
    rows = {row["run"]: row for row in json.loads(bench.run(*BOARD, "--format", "json").stdout)["rows"]}
    made = json.loads(bench.run(*BOARD, "--over", "history", "--format", "json").stdout)
    (curve,) = (each for each in made["curves"] if each["metric"] == "auc")
    assert (curve["curve"], [point["x"] for point in curve["points"]]) == ("mock (like)", [2, 10])
    for point in curve["points"]:
        cell = rows[point["runs"][0]]["metrics"]["auc"]
        assert [point[name] for name in ("mean", "low", "high")] == pytest.approx(
            [cell[name] for name in ("mean", "low", "high")]
        )
    assert {each["row"] for each in made["levels"]} >= set(BASELINES) - {"logistic"}


def test_trivial_rows_need_no_run(source: Path, tmp_path: Path) -> None:
    bench = Bench(tmp_path / "home", source)
    bench.prepare("--task", "click", "--like-from", "4", dataset="small@clicks")
    page = tmp_path / "page.html"
    text = bench.run(*BOARD, "--html", str(page)).stdout
    assert all(name in text for name in BASELINES)
    assert '"reliability"' in page.read_text("utf-8")


def test_the_protocol_says_rows_users_and_shares(measured: Bench) -> None:
    text = " ".join(measured.run(*BOARD).stdout.split())
    rows = table(measured, "small/clicks/evals/majority-*/clicks.parquet")
    test = rows.filter(pl.col("part") == "test")
    assert f"test: {test.height:,} rows of {test['user_id'].n_unique()} users" in text
    assert f"{100 * float(test['label'].sum()) / test.height:.1f} % liked" in text
    assert "cut 8:1:1 in time" in text
    assert "below 100 users no more than a sketch" in text
    assert "has no chance level of .5" in text
    lines = measured.run(*BOARD).stdout.splitlines()
    assert max(map(len, lines)) <= 80


def test_labels_permuted_within_users_show_what_uauc_is_by_chance(measured: Bench) -> None:
    nulls = {name: row["uauc_null"] for name, row in as_json(measured, "--null", "4").items()}
    assert all(null["permutations"] == 4 for null in nulls.values())  # type: ignore[index]
    assert nulls["liked-share"]["histories"] == "anew"  # type: ignore[index]
    assert nulls["mock"]["histories"] == "fixed"  # type: ignore[index]
    assert nulls["majority"]["mean"] == 0.5  # type: ignore[index]
    assert "by chance: labels permuted within users, 4 times" in measured.run(*BOARD, "--null", "4").stdout


@pytest.mark.parametrize("output", ["markdown", "latex", "csv"])
def test_every_format_holds_every_row(measured: Bench, output: str) -> None:
    text = measured.run(*BOARD, "--format", output).stdout
    assert all(name in text for name in (*BASELINES, "mock", "popularity"))
    assert "log-loss-calibrated" in text


def test_groups_are_of_rows(measured: Bench) -> None:
    text = measured.run(*BOARD, "--by", "cold-item", "--metrics", "auc").stdout
    assert re.search(r"\(\d+ rows of \d+ users\), by cold-item", text)
    groups = json.loads(measured.run(*BOARD, "--by", "warm:1", "--format", "json").stdout)["groups"]
    assert sum(group["requests"] for group in groups) == EVENTS // 10
    assert "have no slots" in measured.run(*BOARD, "--by", "slot", code=2).stderr


def test_a_saved_board_is_a_baseline_and_a_history(measured: Bench, tmp_path: Path) -> None:
    saved = str(tmp_path / "board.parquet")
    measured.run(*BOARD, "--save", saved)
    rule = ("--fail-if", "auc drops > 0.001 at p < 0.05")
    said = measured.run(*BOARD, "--baseline", saved, *rule).stderr
    assert "pass  mock (like): auc drops" in said
    assert "no request in common" not in said
    # Half of the books in order of their means are better than a mock that reads nothing.
    said = measured.run(*BOARD, "--baseline", "item-mean", "--fail-if", "auc < 0.99", code=3).stderr
    assert "FAIL  mock (like): auc < 0.99" in said
    assert "mock" in measured.run("compare", "--history", saved, saved).stdout


def test_rankings_and_clicks_never_meet(measured: Bench, tmp_path: Path) -> None:
    clicks, rankings = str(tmp_path / "clicks.parquet"), str(tmp_path / "rankings.parquet")
    measured.prepare("--include-seen", "--n-candidates", "5", dataset="small@lists")
    measured.run("evaluate", "--dataset", "small@lists")
    measured.run("compare", "--dataset", "small@lists", *FAST, "--save", rankings)
    measured.run(*BOARD, "--save", clicks)
    allowed = [word for name in ("data", "split", "users", "candidates") for word in ("--allow-different", name)]
    for board, baseline in ((BOARD, rankings), (("compare", "--dataset", "small@lists", *FAST), clicks)):
        said = measured.run(*board, "--baseline", baseline, *allowed, code=4).stderr
        assert "They differ in task" in said
        assert "--allow-different" not in said
    assert "differ in task" in measured.run("compare", "--history", clicks, rankings, code=4).stderr
    said = measured.run("compare", "--dataset", "small@lists", "--null", "3", code=2).stderr
    assert "holds rankings" in said


def test_a_run_on_other_requests_is_refused(source: Path, tmp_path: Path) -> None:
    bench = Bench(tmp_path / "home", source)
    for variant, more in (("clicks", ()), ("random", ("--split", "random"))):
        bench.prepare("--task", "click", "--like-from", "4", *more, dataset=f"small@{variant}")
    name = bench.name("infer", "--model", "mock", "--dataset", "small@random", "--template", "like").splitlines()[-1]
    bench.run("evaluate", "--dataset", "small@clicks")
    (tmp_path / "home/small/clicks/runs").mkdir(exist_ok=True)
    (tmp_path / f"home/small/random/runs/{name}").rename(tmp_path / f"home/small/clicks/runs/{name}")
    said = bench.run(*BOARD, "--allow-different", "users", "--allow-different", "data", code=4).stderr
    assert "They differ in users: requests " in said


def test_metrics_of_rankings_are_none_of_clicks(measured: Bench) -> None:
    assert "'ndcg@10'" in measured.run(*BOARD, "--metrics", "ndcg@10", code=2).stderr
    assert "'hit@1'" in measured.run("evaluate", "-d", "small@clicks", "--metrics", "hit@1", code=2).stderr
    assert "Yes and No" in measured.run("evaluate", "-d", "small@clicks", "--normalize", "token", code=2).stderr
    assert "no printed table is known for clicks" in measured.run(*BOARD, "--published").stdout.replace("\n", " ")


def test_what_joins_or_writes_orders_is_refused_and_scores_come_back(source: Path, tmp_path: Path) -> None:
    bench = Bench(tmp_path / "home", source)
    bench.prepare("--task", "click", "--like-from", "4", dataset="small@clicks")
    run = bench.name("infer", "--model", "mock", "--dataset", "small@clicks", "--template", "like").splitlines()[-1]
    bench.run("infer", "--model", "popularity", "--dataset", "small@clicks")
    named = ("--run", "mock", "--run", "popularity")
    assert "one item per request" in bench.run("fuse", "--dataset", "small@clicks", *named, code=2).stderr
    folder = tmp_path / "exported"
    export = ("export", "--dataset", "small@clicks", "--run", "mock", "--to", str(folder))
    assert "--format csv" in bench.run(*export, "--format", "trec", code=2).stderr
    bench.run(*export, "--format", "csv")
    bench.run("import", str(folder / f"{run}.csv"), "--dataset", "small@clicks", "--name", "theirs")
    bench.run("evaluate", "--dataset", "small@clicks")
    rows = as_json(bench)
    assert rows["theirs"]["metrics"]["auc"]["mean"] == rows["mock"]["metrics"]["auc"]["mean"]  # type: ignore[index]
    assert "log-loss" not in rows["theirs"]["metrics"]  # type: ignore[operator]


def test_printed_rows_are_of_the_same_task_and_protocol() -> None:
    tables = published_tables("ml1m", "collm")
    assert [table.metrics for table in tables] == [("auc", "uauc"), ("auc", "uauc")]
    assert {row.model for table in tables for row in table.rows} >= {"DIN", "TALLRec", "BinLLM"}
    assert not {"auc", "uauc"} & {name for table in published_tables("ml1m") for name in table.metrics}
    [table] = published_tables("ml100k", "tallrec")
    assert {row.setting: row.values for row in table.rows if row.model == "TALLRec"}["256 samples"] == (0.7198,)


@pytest.mark.parametrize(
    "invalid", ["expected", *(pytest.param(name, marks=pytest.mark.slow) for name in ("worst", "drop"))]
)
def test_rows_without_a_score_are_counted_under_every_policy(source: Path, tmp_path: Path, invalid: str) -> None:
    bench = Bench(tmp_path / "home", source)
    bench.prepare("--task", "click", "--like-from", "4", "--repeats", "all", dataset="small@clicks")
    requests = table(bench, "small/clicks/data/requests.parquet").sample(fraction=1.0, shuffle=True, seed=0)
    given = requests.select("request_id", item_id=pl.col("candidates").list.first(), score=pl.int_range(pl.len()))
    given.head(requests.height - 9).write_csv(tmp_path / "theirs.csv")
    bench.run("import", str(tmp_path / "theirs.csv"), "--dataset", "small@clicks")
    bench.run("evaluate", "--dataset", "small@clicks", "--invalid", invalid)
    test = requests.filter(pl.col("part") == "test").height
    silent = requests.tail(9).filter(pl.col("part") == "test").height
    assert 0 < silent < 9
    text = " ".join(bench.run(*BOARD, "--invalid", invalid).stdout.split())
    assert f"theirs (file=theirs.csv): {silent} of {test} rows have no score" in text
    made = as_json(bench, "--invalid", invalid)["theirs"]
    assert made["answered"] == pytest.approx(1 - silent / test)

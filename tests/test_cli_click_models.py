"""Models of clicks from the command line: trained, kept, exported, on the board, and what is refused."""

import json
from pathlib import Path

import polars as pl
import pytest

from command_line import Bench, table
from llmrs_bench.clicks.baselines import BASELINES, baseline
from llmrs_bench.core.schemas import SAMPLES

USERS, EVENTS, ITEMS = 12, 30, 40
QUICK = ("-O", "epochs=12", "-O", "lr=0.03", "-O", "batch=32", "-O", "dim=8")


def write_log(folder: Path, *, turned: int = 0) -> Path:
    """Write events of users who like the songs of their own kind; the labels of the last `turned` events are wrong."""
    folder.mkdir(parents=True)
    rows = []
    for at in range(USERS * EVENTS):
        user, song = at % USERS, (at % USERS + 7 * (at // USERS)) % ITEMS
        likes = (user % 2 == song % 2) != (at >= USERS * EVENTS - turned)
        rows.append(f"u{user},i{song},{1_600_000_000 + at},{int(likes)}")
    (folder / "events.csv").write_text("user_id,item_id,time,label\n" + "\n".join(rows) + "\n")
    titles = [f"i{song},Song of {song} Bells,{('waltz', 'march')[song % 2]}" for song in range(ITEMS)]
    (folder / "items.csv").write_text("item_id,title,categories\n" + "\n".join(titles) + "\n")
    return folder


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path / "home", write_log(tmp_path / "log"))
    made.prepare("--task", "click")
    return made


def manifest(bench: Bench, pattern: str) -> dict[str, object]:
    [path] = bench.home.glob(pattern)
    made: dict[str, object] = json.loads(path.read_text())
    return made


def test_a_model_of_clicks_is_trained_once_and_stands_on_the_board(bench: Bench) -> None:
    said = bench.run("infer", "-m", "din", "-d", "small", *QUICK).stderr
    assert "valid auc" in said
    runs = table(bench, "small/*/runs/din-*/rankings.parquet")
    asked = table(bench, "small/*/data/requests.parquet")
    assert runs["request_id"].to_list() == asked["request_id"].to_list()
    assert set(runs["rank"]) == {1}
    assert runs["score"].is_finite().all()
    assert not list(bench.home.glob("small/models/*.training*"))
    assert "already there" in bench.run("infer", "-m", "din", "-d", "small", *QUICK).stderr
    bench.run("evaluate", "-d", "small")
    board = json.loads(bench.run("compare", "-d", "small", "--format", "json").stdout)
    rows = {row["model"]: row["metrics"] for row in board["rows"]}
    assert rows["din"]["auc"]["mean"] > 0.9 > rows["logistic"]["auc"]["mean"]
    assert rows["din"]["log-loss"]["mean"] < rows["majority"]["log-loss"]["mean"]  # scores are log-odds
    assert rows.keys() == {"din", *BASELINES}


def test_what_no_row_tells_of_is_counted(bench: Bench) -> None:
    few = bench.run("infer", "-m", "fm", "-d", "small", "--max-users", "3", *QUICK).stderr
    assert "test rows, 27 have a user and" in " ".join(few.split())
    training = manifest(bench, "small/*/runs/fm-*/manifest.json")["facts"]["training"]  # type: ignore[index]
    assert training["users"] == 3
    assert training["rows"] == 72


@pytest.mark.slow
def test_a_trivial_row_of_few_samples_stands_beside_that_of_all(bench: Bench) -> None:
    for typed in (("--train-samples", "8", "--seed", "2"), ()):
        bench.run("infer", "-m", "item-mean", "-d", "small", *typed)
    bench.run("infer", "-m", "fm", "-d", "small", "-O", "epochs=1", "--train-fraction", "0.2", "--train-by", "time")
    bench.run("evaluate", "-d", "small")
    board = json.loads(bench.run("compare", "-d", "small", "--format", "json").stdout)
    rows = {(row["model"], row["setting"]): row for row in board["rows"]}
    assert {(name, "") for name in BASELINES} | {
        ("item-mean", "train_samples=8, seed 2"),
        ("fm", "epochs=1, train_fraction=0.2, train_by=time"),
    } == rows.keys()
    assert rows["item-mean", "train_samples=8, seed 2"]["kind"] == "baseline"
    aucs = [rows["item-mean", setting]["metrics"]["auc"]["mean"] for setting in ("train_samples=8, seed 2", "")]
    assert aucs[0] != aucs[1]
    part = manifest(bench, "small/*/runs/fm-*/manifest.json")["facts"]["train_part"]  # type: ignore[index]
    samples = table(bench, "small/*/data/samples.parquet").filter(part="train").sort("cutoff")
    assert part["of_events"] == samples.height
    assert part["until"] == samples["cutoff"][part["events"] - 1]


def test_an_exported_model_of_clicks_scores_as_before(bench: Bench, tmp_path: Path) -> None:
    bench.run("infer", "-m", "fm", "-d", "small", *QUICK, "--export", str(tmp_path / "kept"))
    bench.run("infer", "-m", str(tmp_path / "kept"), "-d", "small")
    scores = [table(bench, f"small/*/runs/{name}-*/rankings.parquet") for name in ("fm", "kept")]
    assert scores[0].equals(scores[1])
    said = bench.prepare("--candidates", f"model:{tmp_path / 'kept'}", code=2).stderr
    assert "unknown recommender" in said


@pytest.mark.parametrize("name", BASELINES)
def test_a_trivial_row_can_be_a_run(name: str, bench: Bench) -> None:
    bench.run("infer", "-m", name, "-d", "small")
    samples, requests, outcomes = (
        table(bench, f"small/*/data/{part}.parquet") for part in ("samples", "requests", "outcomes")
    )
    asked = requests.join(outcomes, on="request_id").with_columns(item_id=pl.col("candidates").list.first())
    expected = baseline(name, samples, asked.select(column for column in SAMPLES if column != "label"))
    assert table(bench, f"small/*/runs/{name}-*/rankings.parquet")["score"].equals(expected["score"])


def test_labels_of_the_test_reach_no_model(bench: Bench, tmp_path: Path) -> None:
    other = Bench(tmp_path / "other", write_log(tmp_path / "turned", turned=USERS * EVENTS // 10))
    other.prepare("--task", "click")
    weights, labels = [], []
    for each in (bench, other):
        each.run("infer", "-m", "fm", "-d", "small", "-O", "epochs=2")
        weights.append(manifest(each, "small/models/fm-*/model/model.json")["sha256"])
        labels.append(table(each, "small/*/data/truth.parquet")["label"].to_list())
    assert weights[0] == weights[1]
    assert labels[0] != labels[1]


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (("din", "--template", "like"), "--template applies only to language models; 'din' is one of the click models"),
        (("din", "-O", "hiden=3"), "unknown option 'hiden'"),
        (("item-mean", "--seed", "3"), "--seed has no effect on item-mean"),
        (("item-mean", "-O", "k=3"), "--option has no effect on item-mean"),
        (("dcnv3",), "Did you mean 'dcnv2'?"),
    ],
)
def test_what_a_model_of_clicks_does_not_read_is_refused(typed: tuple[str, ...], words: str, bench: Bench) -> None:
    model, *rest = typed
    assert words in " ".join(bench.run("infer", "-m", model, "-d", "small", *rest, code=2).stderr.split())


@pytest.mark.parametrize("model", ["din", "item-mean"])
def test_lists_to_be_ranked_are_no_clicks(model: str, tmp_path: Path) -> None:
    lists = Bench(tmp_path / "home", write_log(tmp_path / "log"))
    lists.prepare("--n-candidates", "5")
    said = " ".join(lists.run("infer", "-m", model, "-d", "small", code=2).stderr.split())
    assert f"{model} says whether a user will like an item, and small@" in said
    assert "llmrs-bench prepare --task click" in said


def test_models_of_clicks_are_listed(bench: Bench) -> None:
    listed = bench.run("list", "models").stdout
    assert [line for line in listed.splitlines() if line.split() == ["din", "click", "model"]]

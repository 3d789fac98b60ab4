"""From what users were shown to a board: lists, several targets, words, files."""

import json
from pathlib import Path

import pytest

from command_line import Bench, table
from news_data import TRAIN, write_paper, write_part


@pytest.fixture
def paper(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path / "home", write_paper(tmp_path / "paper"))
    bench.prepare("--format", "mind", "--candidates", "impressions", dataset="news")
    return bench


@pytest.mark.slow
def test_real_impressions_go_from_the_files_to_the_board(paper: Bench, tmp_path: Path) -> None:
    truth, requests = table(paper, "news/*/data/truth.parquet"), table(paper, "news/*/data/requests.parquet")
    assert (truth.height, requests.height) == (24, 12)
    assert set(requests["candidates"].list.len()) == {6}
    mock = ("infer", "--model", "mock", "--dataset", "news")
    runs = [
        paper.name("infer", "--model", "popularity", "--dataset", "news"),
        paper.name(*mock, "--template", "listwise"),
        paper.name(*mock, "--template", "yes-no"),
    ]
    paper.run(*mock, "--template", "listwise", "--target-positions", "0,5")
    parts = [word for run in runs for word in ("--run", run)]
    paper.run("fuse", *parts, "--dataset", "news", "--method", "oracle")
    paper.run("fuse", *parts, "--dataset", "news", "--method", "rrf")
    paper.run("evaluate", "--dataset", "news", "--metrics", "recall@2,map,auc,log-loss")
    page = tmp_path / "board.html"
    said = paper.run(
        "compare", "--dataset", "news", "--format", "markdown", "--html", str(page), "--metrics", "recall@2"
    ).stdout
    assert "real impressions, 6.0 candidates and 2.0 clicks on average" in said
    assert "events before 2019-11-15 12:00:00 UTC are learned from" in said
    assert "leaks: no training interaction is later than a request, " in said
    assert "leave-one-out" not in said
    chance = next(line for line in said.splitlines() if line.startswith("| chance"))
    assert "0.3333" in chance  # two of six
    assert "real impressions" in page.read_text("utf-8")
    paper.run("compare", "--dataset", "news", "--by", "category")
    paper.run("export", "--dataset", "news", "--format", "trec", "--to", str(tmp_path / "trec"))
    qrels = [line.split() for line in (tmp_path / "trec" / "qrels.trec").read_text().splitlines()]
    assert sorted((query, item) for query, _, item, _ in qrels) == sorted(truth.select("request_id", "item_id").rows())


def test_prompts_show_the_list_and_call_items_articles(paper: Bench) -> None:
    said = paper.run("prompt", "--dataset", "news", "--show", "1").stderr
    assert "Here are 6 candidate news articles" in said
    assert "[6]" in said
    assert "[7]" not in said


def test_other_candidates_of_such_data_leave_out_what_was_shown(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "home", write_paper(tmp_path / "paper"))
    bench.prepare("--format", "mind", "--n-candidates", "4", dataset="news")
    requests, truth = table(bench, "news/*/data/requests.parquet"), table(bench, "news/*/data/truth.parquet")
    assert truth.height == requests.height == 12
    [first] = requests.filter(user_id="r0")["candidates"].to_list()
    target = truth.filter(request_id="test-r0")["item_id"].item()
    shown = {f"N{(step * 7 + day) % 40}" for step in range(6) for day in (13, 15)}
    assert not (set(first) - {target}) & shown


EVENTS = [("a", 1, 1), ("b", 1, 0), ("c", 2, 1), ("d", 2, 0), ("a", 3, 0), ("e", 3, 1), ("f", 3, 1)]


def write_labels(folder: Path, head: str, rows: list[str]) -> Path:
    folder.mkdir()
    (folder / "shop.inter").write_text("\n".join([head, *rows]) + "\n")
    return folder


def test_labelled_events_of_one_time_are_real_lists(tmp_path: Path) -> None:
    rows = [f"u{user}\t{item}\t{100 * time + user}\t{label}" for user in range(9) for item, time, label in EVENTS]
    head = "user_id:token\titem_id:token\ttimestamp:float\tlabel:float"
    bench = Bench(tmp_path / "home", write_labels(tmp_path / "shop", head, rows))
    said = bench.prepare("--allow-untitled", "--candidates", "impressions", dataset="shop").stderr
    assert "what a user was shown at one time is one impression" in said
    requests = table(bench, "shop/*/data/requests.parquet")
    assert {frozenset(items) for items in requests["candidates"].to_list()} == {frozenset("aef")}
    assert table(bench, "shop/*/data/truth.parquet")["item_id"].unique().sort().to_list() == ["e", "f"]
    assert table(bench, "shop/*/data/interactions.parquet")["timestamp"].max() < requests["cutoff"].min()  # type: ignore[operator]


def test_a_column_says_what_was_shown_together(tmp_path: Path) -> None:
    rows = [
        f"u{user}\t{item}\t{100 * time + user + at / 10}\t{label}\t{user}-{time}"
        for user in range(9)
        for at, (item, time, label) in enumerate(EVENTS)
    ]
    head = "user_id:token\titem_id:token\ttimestamp:float\tlabel:float\tpage:token"
    bench = Bench(tmp_path / "home", write_labels(tmp_path / "shop", head, rows))
    said = bench.prepare("--allow-untitled", "--candidates", "impressions", dataset="shop", code=1).stderr
    assert "none of 63 impressions leaves a choice" in said
    assert "--columns impression=NAME" in said
    said = bench.prepare(
        "--allow-untitled", "--candidates", "impressions", "--columns", "impression=page", dataset="shop"
    ).stderr
    assert "what a user was shown under one page is one impression" in said
    requests = table(bench, "shop/*/data/requests.parquet")
    assert {frozenset(items) for items in requests["candidates"].to_list()} == {frozenset("aef")}


def test_lists_of_data_without_labels_are_refused_with_the_way_out(bench: Bench) -> None:
    said = bench.prepare("--allow-untitled", "--candidates", "impressions", code=1).stderr
    assert "needs lists of what users were shown, but the source has none" in said
    said = bench.prepare("--columns", "impression=rating", code=1).stderr
    assert "no labels that say what was clicked" in " ".join(said.split())
    said = bench.prepare("--allow-untitled", "--candidates", "impressions", "--n-candidates", "5", code=2).stderr
    assert "--n-candidates has no effect" in said


def test_what_users_rated_is_a_list_to_rank_again(bench: Bench, tmp_path: Path) -> None:
    name = bench.prepare("--allow-untitled", "--candidates", "impressions", "--relevant-rating", "4").stdout.strip()
    truth, requests = table(bench, "small/*/data/truth.parquet"), table(bench, "small/*/data/requests.parquet")
    assert truth.height == requests.height == 20
    assert set(requests["candidates"].list.len()) == {2}
    bench.run("infer", "--model", "popularity", "--dataset", name)
    bench.run("evaluate", "--dataset", name)
    said = bench.run("compare", "--dataset", name, "--format", "markdown").stdout
    assert "what users rated, " in said
    assert " rated 4 or higher on average" in said
    said = bench.prepare("--relevant-rating", "4", code=2).stderr
    assert "applies only to --candidates impressions" in said


def test_data_with_single_targets_keep_their_name_and_tables(tmp_path: Path) -> None:
    """What was prepared before lists of impressions were known is found again."""
    bench = Bench(tmp_path / "home", tmp_path)
    assert bench.run("prepare", "--dataset", "demo", "--users", "50").stdout.strip() == "demo@f290a5bf"
    made = json.loads((tmp_path / "home/demo/f290a5bf/data/manifest.json").read_text("utf-8"))
    assert {name: table["digest"][:8] for name, table in made["tables"].items()} == {
        "items": "68c54e52",
        "interactions": "8d6eea7d",
        "requests": "d2392392",
        "truth": "926aeb7b",
    }


def test_files_called_as_those_of_a_known_layout_are_told_of_it(tmp_path: Path) -> None:
    write_part(tmp_path / "paper", TRAIN)
    said = Bench(tmp_path / "home", tmp_path / "paper").prepare(dataset="paper", code=1).stderr
    assert "--format mind" in " ".join(said.split())

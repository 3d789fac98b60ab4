"""Click prediction from the command line: prepared, asked of language models and recommenders, and what is refused."""

from contextlib import closing
from pathlib import Path

import polars as pl
import pytest

from command_line import Bench, table
from llmrs_bench.core.schemas import REQUESTS
from llmrs_bench.core.view_options import ViewOptions
from llmrs_bench.stages.prompt_variants import ViewBuilder
from llmrs_bench.stages.workspace import open_data

USERS, EVENTS = 12, 30


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Users who like every item whose number is even, in a table with a column of labels."""
    rows = [
        f"u{at % USERS},i{(at * 7) % 53},{1_600_000_000 + at},{1 - (at * 7) % 53 % 2}" for at in range(USERS * EVENTS)
    ]
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "events.csv").write_text("user_id,item_id,time,label\n" + "\n".join(rows) + "\n")
    titles = [f"i{number},Song of {number} Bells" for number in range(53)]
    (tmp_path / "log" / "items.csv").write_text("item_id,title\n" + "\n".join(titles) + "\n")
    return Bench(tmp_path / "home", tmp_path / "log")


def test_prepare_says_what_was_made(bench: Bench) -> None:
    said = bench.prepare("--task", "click", "--item-word", "song").stderr
    assert "cut 8:1:1 in time" in said
    assert "test: 36 rows of 12 users" in said
    assert "the test has 12 users" in said
    samples, requests = table(bench, "small/*/data/samples.parquet"), table(bench, "small/*/data/requests.parquet")
    assert samples.height == 324
    assert requests["part"].value_counts().sort("part").rows() == [("test", 36), ("valid", 36)]


def test_a_language_model_is_asked_about_one_item(bench: Bench) -> None:
    bench.prepare("--task", "click", "--item-word", "song")
    shown = bench.run("prompt", "--dataset", "small", "--template", "like", "--show", "1").stderr
    assert "A user liked these songs, the latest one last:" in shown
    assert "The user did not like these songs, the latest one last:" in shown
    assert "Will the user like this song? Answer Yes or No.\nSong of" in shown
    made = bench.run("infer", "--model", "mock", "--dataset", "small", "--template", "like")
    assert "says yes" in made.stderr
    ranked = table(bench, "small/*/runs/mock-like-*/rankings.parquet")
    requests = table(bench, "small/*/data/requests.parquet")
    assert ranked["request_id"].sort().equals(requests["request_id"].sort())
    assert set(ranked["rank"]) == {1}
    assert ranked["score"].null_count() == 0


def test_liked_items_are_those_with_the_label(bench: Bench) -> None:
    bench.prepare("--task", "click")
    bench.run("prompt", "--dataset", "small", "--template", "like")
    views = table(bench, "small/*/prompts/like-*/views.parquet")
    prompts = table(bench, "small/*/prompts/like-*/prompts.parquet")
    for row in views.iter_rows(named=True):
        assert row["liked"] == [int(item[1:]) % 2 == 0 for item in row["history"]]
    for text in prompts["messages"].list.first().struct.field("content"):
        liked, _, rest = text.partition("did not like")
        others, _, _ = rest.partition("Will the user")
        assert all(int(words.split()[0]) % 2 == 0 for words in liked.split("Song of ")[1:])
        assert all(int(words.split()[0]) % 2 == 1 for words in others.split("Song of ")[1:])


def test_recommenders_learn_from_what_was_liked(bench: Bench) -> None:
    bench.prepare("--task", "click")
    bench.run("infer", "--model", "popularity", "--dataset", "small")
    scores = table(bench, "small/*/runs/popularity-*/rankings.parquet")
    odd = scores.filter(pl.col("item_id").str.slice(1).cast(pl.Int32) % 2 == 1)["score"]
    even = scores.filter(pl.col("item_id").str.slice(1).cast(pl.Int32) % 2 == 0)["score"]
    assert set(odd) == {0.0}
    assert min(even) > 0
    bench.run("infer", "--model", "itemknn", "--dataset", "small")
    assert table(bench, "small/*/runs/itemknn-*/rankings.parquet").height == scores.height


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (("listwise",), "template listwise ranks candidates"),
        (("likelihood",), "--template like"),
        (("like", "-T", "shots=2"), "shots has no effect"),
        (("like", "--candidate-orders", "2"), "orders has no effect"),
        (("like", "-T", "interest=rated"), "has no ratings"),
    ],
)
def test_what_ranks_is_refused(bench: Bench, template: tuple[str, ...], words: str) -> None:
    bench.prepare("--task", "click")
    refused = bench.run("infer", "--model", "mock", "--dataset", "small", "--template", *template, code=2)
    assert words in refused.stderr
    assert "hint: " in refused.stderr


def test_the_template_is_refused_where_candidates_are_ranked(bench: Bench) -> None:
    bench.prepared()
    refused = bench.run("prompt", "--dataset", "small", "--template", "like", code=2)
    assert "prepared with --task ranking" in refused.stderr


def test_ratings_stand_beside_liked_items(bench: Bench) -> None:
    path = bench.source / "events.csv"
    head, *lines = path.read_text().splitlines()
    path.write_text(
        "\n".join([head.replace("label", "rating"), *(f"{line[:-1]}{4 * int(line[-1]) + 1}" for line in lines)])
    )
    bench.prepare("--task", "click", "--protocol", "tallrec")
    shown = bench.run("prompt", "--dataset", "small", "-t", "like", "-T", "interest=likes-rated", "--show", "1").stderr
    liked, _, others = shown.partition("did not like")
    assert "(rated 5)" in liked
    assert "(rated 1)" not in liked
    assert "(rated 1)" in others
    assert "(rated 5)" not in others


def test_the_protocols_of_rankings_are_refused(bench: Bench) -> None:
    assert "paper-ctr" in bench.prepare("--task", "click", "--protocol", "paper", code=2).stderr
    assert "without --task click" in bench.prepare("--protocol", "collm", code=2).stderr


def test_samples_are_told_as_requests_are(bench: Bench) -> None:
    """What tuning learns from has the words of what is asked: rows of both tables make the same views."""
    bench.prepare("--task", "click")
    data = open_data(bench.home, "small")
    samples = data.artifact.table("samples").with_columns(candidates=pl.concat_list("item_id"))
    with closing(
        ViewBuilder(data, ViewOptions(past="shuffled"), history=4, rated=False, interest={}, notes={})
    ) as viewer:
        learned = viewer.views(samples.select(*REQUESTS, "liked"))
        asked = viewer.views(data.artifact.table("requests").filter(pl.col("part") == "valid"))
    assert asked.height == 36
    assert (
        learned.join(asked, on="view_id", how="semi", maintain_order="left")
        .sort("view_id")
        .equals(asked.sort("view_id"))
    )
    for row in learned.iter_rows(named=True):
        assert row["liked"] == [int(item[1:]) % 2 == 0 for item in row["history"]]

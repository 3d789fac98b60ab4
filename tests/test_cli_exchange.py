"""Rankings that leave for other tools and come back, and rankings that were made elsewhere, as a person types them."""

import json
import os
from pathlib import Path
from typing import Any

import ir_measures
import polars as pl
import pytest

from command_line import ITEMS, USERS, Bench
from llmrs_bench.core.config import DEPTH

AGREE = {"ndcg@10": "nDCG@10", "hit@10": "Success@10", "mrr": "RR"}


@pytest.fixture
def small(bench: Bench) -> Bench:
    """A home with the small data set."""
    bench.prepared()
    return bench


def manifest(bench: Bench, run: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(next(bench.home.glob(f"small/*/runs/{run}/manifest.json")).read_text("utf-8"))
    return found


def rankings(bench: Bench, run: str) -> pl.DataFrame:
    return pl.read_parquet(next(bench.home.glob(f"small/*/runs/{run}/rankings.parquet")))


def data(bench: Bench, name: str, variant: str = "*") -> pl.DataFrame:
    return pl.read_parquet(next(bench.home.glob(f"small/{variant}/data/{name}.parquet")))


def infer(bench: Bench, *arguments: str, dataset: str = "small") -> str:
    return bench.name("infer", "--dataset", dataset, *arguments)


def export(bench: Bench, to: Path, form: str, *arguments: str, dataset: str = "small") -> list[Path]:
    done = bench.run("export", "--dataset", dataset, "--to", str(to), "--format", form, *arguments)
    return [Path(line) for line in done.stdout.splitlines()]


def some_lists(bench: Bench, path: Path, *, known: int = 4, users: int = 20) -> Path:
    """Write a ranking of a few candidates of some users: the rest is silence."""
    lists = data(bench, "requests").head(users).select("user_id", item_id=pl.col("candidates").list.head(known))
    rows = lists.explode("item_id").with_columns(rank=pl.int_range(1, pl.len() + 1).over("user_id"))
    rows.write_csv(path)
    return path


def test_other_tools_measure_what_we_measure_on_whole_rankings(small: Bench, tmp_path: Path) -> None:
    """Silent items stand in a file where the tie rule put them, and count by their expectation here: so once around."""
    partly = infer(small, "--model", f"file:{some_lists(small, tmp_path / 'partly.csv')}")
    runs = {infer(small, "--model", "popularity"): tmp_path / "out", infer(small, "--model", "mock"): tmp_path / "out"}
    export(small, tmp_path / "out", "trec")
    runs[infer(small, "--model", f"file:{tmp_path / 'out' / partly}.trec")] = tmp_path / "again"
    export(small, tmp_path / "again", "trec")
    small.run("evaluate", "--dataset", "small")
    qrels = list(ir_measures.read_trec_qrels(str(tmp_path / "out" / "qrels.trec")))
    assert len(qrels) == USERS
    for run, folder in runs.items():
        theirs = ir_measures.calc_aggregate(
            [ir_measures.parse_measure(name) for name in AGREE.values()],
            qrels,
            list(ir_measures.read_trec_run(str(folder / f"{run}.trec"))),
        )
        ours = next(small.home.glob(f"small/*/evals/{run}-*/manifest.json"))
        means = json.loads(ours.read_text("utf-8"))["facts"]["means"]
        assert 0 < means["ndcg@10"] < 1
        for name, theirs_is in AGREE.items():
            assert theirs[ir_measures.parse_measure(theirs_is)] == pytest.approx(means[name]), (run, name)


@pytest.mark.parametrize("form", ["trec", "csv"])
def test_what_was_exported_and_comes_back_ranks_the_same(small: Bench, tmp_path: Path, form: str) -> None:
    made = [
        infer(small, "--model", f"file:{some_lists(small, tmp_path / 'partly.csv')}"),
        infer(small, "--model", "popularity"),
    ]
    export(small, tmp_path / "out", form)
    for run in made:
        back = infer(small, "--model", f"file:{tmp_path / 'out' / run}.{form}")
        assert back.startswith(f"{run}-")
        same = ["request_id", "item_id", "rank"] + (["score"] if form == "csv" else [])
        assert rankings(small, back).select(same).equals(rankings(small, run).select(same))


def test_csv_holds_scores_truth_and_candidates(small: Bench, tmp_path: Path) -> None:
    run = infer(small, "--model", "popularity")
    files = export(small, tmp_path / "out", "csv", "--run", "popularity")
    assert sorted(file.name for file in files) == ["candidates.csv", f"{run}.csv", "truth.csv"]
    truth = pl.read_csv(tmp_path / "out" / "truth.csv")
    assert truth.columns == ["request_id", "user_id", "item_id", "label"]
    assert truth["item_id"].to_list() == data(small, "truth")["item_id"].to_list()
    candidates = pl.read_csv(tmp_path / "out" / "candidates.csv").group_by("request_id", maintain_order=True)
    lists = candidates.agg("item_id")["item_id"].to_list()
    assert lists == data(small, "requests")["candidates"].to_list()
    assert pl.read_csv(tmp_path / "out" / f"{run}.csv")["score"].n_unique() > 1


def test_ranx_files_hold_every_request_in_our_order(small: Bench, tmp_path: Path) -> None:
    run = infer(small, "--model", "popularity")
    export(small, tmp_path / "out", "ranx")
    found = json.loads((tmp_path / "out" / f"{run}.json").read_text("utf-8"))
    ours = rankings(small, run).group_by("request_id").agg(pl.col("item_id").sort_by("rank"))
    assert {name: sorted(items, key=lambda item: -items[item]) for name, items in found.items()} == dict(
        ours.iter_rows()
    )
    assert all(len(set(items.values())) == len(items) for items in found.values())
    qrels = json.loads((tmp_path / "out" / "qrels.json").read_text("utf-8"))
    assert qrels == {row["request_id"]: {row["item_id"]: 1} for row in data(small, "truth").iter_rows(named=True)}


def test_recbole_gets_the_split_of_the_data(small: Bench, tmp_path: Path) -> None:
    export(small, tmp_path / "out", "recbole")
    place = tmp_path / "out" / "small"
    parts = {part: pl.read_csv(place / f"small.{part}.inter", separator="\t") for part in ("train", "valid", "test")}
    seen = data(small, "interactions")
    assert {part: rows.height for part, rows in parts.items()} == {"train": USERS * 10, "valid": USERS, "test": USERS}
    truth = data(small, "truth").join(data(small, "requests"), on="request_id")
    assert set(parts["test"].select("user_id:token", "item_id:token").rows()) == set(
        truth.select("user_id", "item_id").rows()
    )
    assert parts["train"]["item_id:token"].to_list() == seen.filter(pl.col("part") == "train")["item_id"].to_list()
    assert pl.read_csv(place / "small.item", separator="\t").height == data(small, "items").height


def test_exports_are_whole_or_not_there(small: Bench, tmp_path: Path) -> None:
    infer(small, "--model", "popularity")
    export(small, tmp_path / "out", "trec")
    again = small.run("export", "-d", "small", "--to", str(tmp_path / "out"), "--format", "trec", code=2)
    assert "exists already" in again.stderr
    (tmp_path / "empty").mkdir()
    assert len(export(small, tmp_path / "empty", "trec")) == 2
    odd = tmp_path / "odd"
    odd.mkdir()
    (odd / "odd.inter").write_text(
        "user_id:token\titem_id:token\n" + "\n".join(f"user {n}\ti{(n + m) % 9}" for n in range(4) for m in range(4))
    )
    small.run("prepare", "--dataset", "odd", "--source", str(odd), "--allow-untitled")
    failed = small.run("export", "-d", "odd", "--to", str(tmp_path / "no"), "--format", "trec", code=1)
    assert "request_id hold blanks, the first is 'test-user" in failed.stderr
    assert sorted(path.name for path in tmp_path.iterdir() if "no" in path.name) == []


def test_export_without_runs_gives_what_others_need_to_rank(small: Bench, tmp_path: Path) -> None:
    assert {file.name for file in export(small, tmp_path / "out", "csv")} == {"truth.csv", "candidates.csv"}
    unknown = small.run("export", "-d", "small", "--to", "x", "--format", "csv", "--run", "sasrec", code=1)
    assert "has no runs" in unknown.stderr
    idle = small.run("export", "-d", "small", "--to", "x", "--format", "recbole", "--run", "sasrec", code=2)
    assert "--run applies only to formats of rankings" in idle.stderr


def test_a_ranking_from_elsewhere_stands_on_the_board(small: Bench, tmp_path: Path) -> None:
    perfect = data(small, "truth").select("request_id", "item_id", score=pl.lit(1.0))
    perfect.write_parquet(tmp_path / "our own system.parquet")
    done = small.run("import", str(tmp_path / "our own system.parquet"), "-d", "small")
    assert done.stdout.startswith("our-own-system-")
    small.run("evaluate", "--dataset", "small")
    rows = json.loads(small.run("compare", "-d", "small", "--format", "json").stdout)["rows"]
    row = next(row for row in rows if row["model"] == "our-own-system")
    assert row["kind"] == "import"
    assert row["setting"] == "file=our own system.parquet"
    assert row["metrics"]["hit@1"]["mean"] == row["coverage"] == row["answered"] == 1
    assert row["seconds"] is None
    assert {"our-own-system"} < {row["model"] for row in rows}
    assert "our-own-system" in small.run("compare", "-d", "small").stdout


def test_silence_is_counted_said_and_ranked_by_the_tie_rule(small: Bench, tmp_path: Path) -> None:
    path = some_lists(small, tmp_path / "few.csv", known=1, users=1)
    done = small.run("infer", "-d", "small", "--model", f"file:{path}")
    assert f"warning: few.csv has no ranking for {USERS - 1} of {USERS} requests" in done.stderr
    assert "not all candidates: the others come last" in done.stderr
    run = done.stdout.strip()
    assert manifest(small, run)["facts"]["requests_silent"] == USERS - 1
    found = rankings(small, run)
    assert found.height == USERS * 20
    assert found["score"].is_not_null().sum() == 1
    again = small.run("infer", "-d", "small", "--model", f"file:{path}")
    assert "already there" in again.stderr
    assert f"has no ranking for {USERS - 1}" in again.stderr


def test_the_content_decides_and_the_name_can_be_chosen(small: Bench, tmp_path: Path) -> None:
    path = some_lists(small, tmp_path / "a.csv")
    first = infer(small, "--model", f"file:{path}")
    (tmp_path / "there").mkdir()
    moved = path.rename(tmp_path / "there" / "a.csv")
    assert infer(small, "--model", f"file:{moved}") == first
    named = infer(small, "--model", f"file:{moved}", "-O", "name=mine")
    assert named.split("-") == ["mine", first.split("-")[1]]
    moved.write_text(moved.read_text("utf-8").replace(",4", ",5"), "utf-8")
    assert infer(small, "--model", f"file:{moved}") != first


@pytest.mark.parametrize("name", ["../../x", ".hidden", "a b", "x\n"])
def test_a_name_that_is_no_name_is_one_plain_line(small: Bench, tmp_path: Path, name: str) -> None:
    path = some_lists(small, tmp_path / "a.csv")
    said = small.run("import", str(path), "-d", "small", "--name", name, code=2).stderr
    assert f"a run cannot be called {name!r}: use letters, digits and" in said
    assert "pattern" not in said


def test_a_whole_catalogue_is_ranked_as_far_as_the_file_goes(small: Bench, tmp_path: Path) -> None:
    small.prepare("--candidates", "all", dataset="small@all")
    requests, items = data(small, "requests", "all"), data(small, "items", "all")["item_id"].sort().to_list()
    left = [[item for item in items if item not in set(history)] for history in requests["history"]]
    rows = requests.select("user_id", item_id=pl.Series(left)).explode("item_id")
    rows = rows.with_columns(rank=pl.int_range(1, pl.len() + 1).over("user_id"))
    rows.write_csv(tmp_path / "whole.csv")
    done = small.run("import", str(tmp_path / "whole.csv"), "-d", "small@all")
    assert "warning" not in done.stderr
    found = rankings(small, done.stdout.strip())
    ranked = dict(found.group_by("request_id").agg(pl.col("item_id").sort_by("rank")).iter_rows())
    assert ranked == {name: unseen[:DEPTH] for name, unseen in zip(requests["request_id"], left, strict=True)}
    rows.filter(pl.col("rank") <= 10).write_csv(tmp_path / "ten.csv")
    short = small.run("infer", "-d", "small@all", "--model", f"file:{tmp_path / 'ten.csv'}")
    assert f"in {USERS} of {USERS} requests, ten.csv ranks fewer than the {DEPTH} items" in short.stderr
    assert rankings(small, short.stdout.strip()).height == USERS * 10
    small.run("evaluate", "--dataset", "small@all")
    board = json.loads(small.run("compare", "-d", "small@all", "--format", "json").stdout)["rows"]
    values = {row["model"]: row["metrics"]["ndcg@10"]["mean"] for row in board}
    assert values["whole"] == values["ten"] > 0
    seen = requests.select("user_id", item_id=pl.col("history").list.first(), rank=pl.lit(1))
    seen.write_csv(tmp_path / "seen.csv")
    refused = small.run("infer", "-d", "small@all", "--model", f"file:{tmp_path / 'seen.csv'}", code=1)
    assert f"not candidates of their request: {USERS} (" in refused.stderr
    assert len(items) == ITEMS


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--model", "file:nowhere.csv"), 1, "nowhere.csv cannot be read: No such file"),
        (("--model", "file:"), 1, "is a folder, not a file"),
        (("--model", "file:{path}", "-O", "name=popularity"), 2, "cannot be called 'popularity'"),
        (("--model", "file:{path}", "-O", "name=a/b"), 2, "name"),
        (("--model", "file:{path}", "-O", "nome=a"), 2, "nome"),
        (("--model", "file:{path}", "--template", "label"), 2, "--template applies only to language models"),
        (("--model", "file:{path}", "-T", "a=b"), 2, "--template-option applies only to language models"),
        (("--model", "file:{path}", "--seed", "1"), 2, "--seed applies only to"),
        (("--model", "file:{path}", "--seeds", "2"), 2, "--seeds applies only to"),
        (
            ("--model", "file:{path}", "--check-determinism", "2"),
            2,
            "--check-determinism applies only to language models",
        ),
        (("--model", "file:{path}", "--from-cache"), 2, "--from-cache applies only to language models"),
        (("--model", "file:{path}", "--export", "x"), 2, "--export applies only to recommenders"),
        (("--model", "file:{path}", "--runs", "a,b"), 2, "runs"),
    ],
)
def test_what_cannot_be_is_said_and_leaves_nothing(
    small: Bench, tmp_path: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    path = some_lists(small, tmp_path / "a.csv")
    typed = [argument.format(path=path) for argument in arguments]
    failed = small.run("infer", "-d", "small", *typed, code=code)
    assert words in failed.stderr
    assert "hint:" in failed.stderr
    assert not list(small.home.glob("small/*/runs/*"))


def test_a_pipe_is_no_ranking(small: Bench, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    assert (
        "a pipe, a device or a socket" in small.run("import", str(tmp_path / "pipe.csv"), "-d", "small", code=1).stderr
    )


def test_faults_of_the_rows_end_the_command_with_all_their_counts(small: Bench, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("user_id,item_id,score\nnobody,i1,1\nu0,none,nan\n")
    failed = small.run("infer", "-d", "small", "--model", f"file:{path}", code=1)
    for words in ("rows of unknown users: 1 ('nobody'", "not in the data set: 1 ('none')", "NaN or infinite: 1"):
        assert words in failed.stderr
    assert failed.stderr.count("error:") == 1
    assert not list(small.home.glob("small/*/runs/*"))


def test_exports_of_models_and_of_runs_are_kept_apart(bench: Bench, tmp_path: Path) -> None:
    bench.prepared()
    to = ("export", "--dataset", "small", "--to", str(tmp_path / "out"))
    assert "Add --model tuned-NAME" in bench.run(*to, "--format", "adapter", code=2).stderr
    assert "--format csv exports no model" in bench.run(*to, "--format", "csv", "--model", "tuned-x", code=2).stderr
    said = bench.run(*to, "--format", "weights", "--model", "tuned-x", code=2).stderr
    assert "0 tuned models of small have a name that begins with 'tuned-x'" in said
    assert not (tmp_path / "out").exists()

"""The commands as a person types them, on small data of their own."""

import json
import re
import shutil
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from command_line import USERS, Bench, table
from llmrs_bench.cli.main import app


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, atomic: Path) -> Bench:
    """A home in which every stage has run."""
    made = Bench(tmp_path_factory.mktemp("finished"), atomic)
    made.prepared()
    for arguments in EVERY_MODEL:
        made.run("infer", "--dataset", "small", *arguments)
    made.run("evaluate", "--dataset", "small")
    return made


EVERY_MODEL = (
    ("--model", "random"),
    ("--model", "sasrec", "-O", "epochs=1", "-O", "dim=8"),
    ("--model", "mock"),
    ("--model", "mock", "--template", "label"),
    ("--model", "mock", "--template", "yes-no"),
)


def test_the_whole_path_ends_in_a_board_with_chance_and_popularity(finished: Bench) -> None:
    board = json.loads(finished.run("compare", "--dataset", "small", "--format", "json").stdout)
    rows = {row["model"] + row["setting"]: row for row in board["rows"]}
    assert set(rows) == {
        "chance",
        "popularity",
        "random",
        "sasrecepochs=1, dim=8",
        "mocklistwise",
        "mocklabel",
        "mockyes-no",
    }
    cell = rows["chance"]["metrics"]["hit@1"]
    assert [cell["mean"], cell["low"], cell["high"]] == pytest.approx([0.05] * 3)
    assert cell["spread"] is None
    for row in rows.values():
        ends = row["metrics"]["ndcg@10"]
        assert 0 <= ends["low"] <= ends["mean"] <= ends["high"] <= 1
        assert row["coverage"] == row["answered"] == 1
    assert rows["mocklistwise"]["history"] == 10
    assert rows["mocklistwise"]["engine"] == "mock"
    assert rows["mocklistwise"]["prefill_tokens"] > 0


@pytest.mark.parametrize("form", ["table", "markdown", "csv"])
def test_every_format_shows_every_row_and_metric(finished: Bench, form: str) -> None:
    text = finished.run("compare", "--dataset", "small", "--format", form, "--metrics", "ndcg@5,mrr").stdout
    for word in ("chance", "popularity", "random", "sasrec", "mock", "ndcg@5", "mrr", "30"):
        assert word in text
    assert "hit@1 " not in text


def test_the_board_fits_eighty_columns(finished: Bench) -> None:
    text = finished.run("compare", "--dataset", "small").stdout
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text


def test_a_second_run_of_every_command_changes_no_file(finished: Bench) -> None:
    before = finished.files()
    assert "already there" in finished.prepare().stderr
    for arguments in EVERY_MODEL:
        assert "already there" in finished.run("infer", "--dataset", "small", *arguments).stderr
    finished.run("evaluate", "--dataset", "small")
    assert finished.files() == before


def test_a_changed_option_makes_another_artifact_and_keeps_the_first(bench: Bench) -> None:
    first = bench.prepare().stdout.strip()
    before = bench.files()
    second = bench.prepare("--seed", "1").stdout.strip()
    assert first != second
    assert before.items() <= bench.files().items()
    result = bench.run("infer", "--model", "random", "--dataset", "small", code=1)
    assert first in result.stderr
    assert second in result.stderr
    assert bench.name("infer", "--model", "random", "--dataset", second) != ""
    assert "seed=1" in bench.run("list", "data").stdout


def test_a_name_of_a_variant_is_typed_whole(bench: Bench) -> None:
    bench.run("prepare", "--dataset", "small@1000", "--source", str(bench.source))
    refused = bench.run("infer", "-m", "random", "-d", "small@100", code=1)
    assert "small@100 is not a variant" in refused.stderr
    assert "small@1000" in refused.stderr
    assert not list(bench.home.glob("small/*/runs"))


def test_a_fingerprint_may_be_cut(bench: Bench) -> None:
    made = bench.run("prepare", "--dataset", "small", "--source", str(bench.source)).stdout.strip()
    bench.run("infer", "-m", "random", "-d", made[:-4])
    assert list(bench.home.glob(f"small/{made.partition('@')[2]}/runs/random-*"))


def test_variants_may_be_named_and_are_never_overwritten(bench: Bench) -> None:
    assert bench.prepare(dataset="small@mine").stdout.strip() == "small@mine"
    result = bench.prepare("--seed", "1", dataset="small@mine", code=1)
    assert "seed: 0 there, 1 now" in result.stderr


def test_lists_are_fair_and_the_target_is_in_truth_alone(bench: Bench) -> None:
    bench.prepared()
    requests = table(bench, "small/*/data/requests.parquet")
    truth = table(bench, "small/*/data/truth.parquet")
    seen = table(bench, "small/*/data/interactions.parquet").group_by("user_id").agg(seen="item_id")
    joined = requests.join(truth, on="request_id").join(seen, on="user_id")
    assert joined.height == USERS
    for row in joined.iter_rows(named=True):
        assert row["candidates"].count(row["item_id"]) == 1
        assert len(set(row["candidates"])) == 20
        assert not set(row["candidates"]) & set(row["history"])
        assert row["item_id"] not in row["seen"]
        assert sorted(row["history"]) == sorted(row["seen"])


def test_the_paper_protocol_is_two_hundred_users_and_may_be_overridden(bench: Bench) -> None:
    bench.prepare("--protocol", "paper", "--n-candidates", "5", dataset="small@paper")
    manifest = json.loads(next(bench.home.glob("small/paper/data/manifest.json")).read_text())
    assert {key: manifest["config"][key] for key in ("users", "n_candidates", "history", "include_seen")} == {
        "users": 200,
        "n_candidates": 5,
        "history": 10,
        "include_seen": True,
    }


def test_prompts_can_be_looked_at(bench: Bench) -> None:
    bench.prepare("--item-word", "film")
    result = bench.run("prompt", "--dataset", "small", "--show", "1", "--history", "3")
    assert result.stderr.count("- The Film of") == 3
    assert "Here are 20 candidate films" in result.stderr
    assert re.fullmatch(r"listwise-[0-9a-f]{8}\n", result.stdout)


def test_responses_are_kept_and_read_again_without_the_model(bench: Bench) -> None:
    bench.prepared()
    first = bench.name("infer", "--model", "mock", "--dataset", "small", "-t", "likelihood")
    responses = {path: stat for path, stat in bench.files().items() if "answers" in path}
    found = bench.run("evaluate", "--dataset", "small", "--normalize", "token").stdout
    assert f"{first.rpartition('-')[0]}-token-" in found
    assert {path: stat for path, stat in bench.files().items() if "answers" in path} == responses


def test_histories_are_clipped_to_the_context_oldest_first_and_counted(bench: Bench) -> None:
    bench.prepared()
    bench.run("infer", "--model", "mock", "--dataset", "small", "-O", "context=190")
    responses = table(bench, "small/*/runs/*/responses.parquet")
    assert responses["n_truncated"].min() > 0  # type: ignore[operator]
    assert responses["prompt_tokens"].max() <= 190  # type: ignore[operator]
    manifest = json.loads(next(bench.home.glob("small/*/runs/mock-*/manifest.json")).read_text())
    assert manifest["facts"]["truncated_prompts"] == USERS
    assert manifest["facts"]["truncated_items"] == responses["n_truncated"].sum()


def test_a_prompt_that_cannot_fit_is_an_error(bench: Bench) -> None:
    bench.prepared()
    result = bench.run("infer", "--model", "mock", "--dataset", "small", "-O", "context=20", code=1)
    assert "does not fit" in result.stderr
    assert not list(bench.home.glob("small/*/answers/*"))


def test_a_board_measures_what_was_not_measured(bench: Bench) -> None:
    bench.prepared()
    bench.run("evaluate", "--dataset", "small")
    late = bench.name("infer", "--model", "random", "--dataset", "small")
    board = ("compare", "--dataset", "small", "--format", "json")
    first = bench.run(*board)
    assert f"not evaluated yet, so evaluated now: {late}" in first.stderr
    assert {"chance", "popularity", "random"} == {row["model"] for row in json.loads(first.stdout)["rows"]}
    again = bench.run(*board)
    assert "evaluated" not in again.stderr
    assert again.stdout == first.stdout
    other = bench.run(*board, "--metrics", "recall@3", "--invalid", "worst")
    assert all(row["metrics"]["recall@3"]["mean"] >= 0 for row in json.loads(other.stdout)["rows"])
    assert (
        bench.run("evaluate", "--dataset", "small", "--invalid", "worst", "--metrics", "recall@3").stderr.count(
            "made: "
        )
        == 0
    )


def test_a_board_needs_no_run(bench: Bench) -> None:
    name = bench.prepare().stdout.strip()
    said = " ".join(bench.run("compare", "--dataset", "small").stdout.split())
    assert "popularity" in said
    assert f"this board has only baselines so far: llmrs-bench infer --model NAME --dataset {name}" in said
    bench.run("infer", "--model", "itemknn", "--dataset", "small")
    assert "only baselines so far" not in bench.run("compare", "--dataset", "small").stdout


def test_a_run_of_other_lists_may_not_stand_on_the_board(bench: Bench) -> None:
    first, second = bench.prepare().stdout.strip(), bench.prepare("--seed", "1").stdout.strip()
    for name in (first, second):
        bench.run("infer", "--model", "random", "--dataset", name)
        bench.run("evaluate", "--dataset", name)
    here, there = (bench.home / "small" / name.split("@")[1] / "runs" for name in (first, second))
    stranger = next(here.glob("random-*"))
    shutil.rmtree(next(there.glob("random-*")))
    shutil.copytree(stranger, there / stranger.name)
    result = bench.run("compare", "--dataset", second, code=4)
    assert "differ in candidates: 20 candidates: target and random" in result.stderr


def test_half_written_and_damaged_data_are_named(bench: Bench) -> None:
    bench.prepared()
    folder = next(bench.home.glob("small/*/data"))
    whole = (folder / "requests.parquet").read_bytes()
    (folder / "requests.parquet").write_bytes(whole[:100])
    assert "cannot be read" in bench.run("infer", "--model", "random", "--dataset", "small", code=1).stderr
    (folder / "manifest.json").unlink()
    assert "incomplete" in bench.run("infer", "--model", "random", "--dataset", "small", code=1).stderr


def test_a_short_list_is_counted_and_said_aloud(bench: Bench) -> None:
    result = bench.prepare("--n-candidates", "55")
    assert "30 of 30 requests have fewer than the 55 candidates asked for" in " ".join(result.stderr.split())
    bench.run("infer", "--model", "mock", "--dataset", "small")
    bench.run("evaluate", "--dataset", "small")


def test_an_unverified_archive_is_used_and_recorded(bench: Bench, tmp_path: Path) -> None:
    archive = tmp_path / "ml-1m.zip"
    ratings = "".join(f"{user}::{(user + step) % 40}::4::{step}\n" for user in range(8) for step in range(6))
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("ml-1m/ratings.dat", ratings)
        made.writestr("ml-1m/movies.dat", "".join(f"{n}::Film {n}, The (1990)::Drama\n" for n in range(40)))
    result = bench.run("prepare", "--dataset", "ml1m", "--source", str(archive), "--n-candidates", "5")
    said = " ".join(result.stderr.split())
    assert "is not the published archive" in said
    assert "8 users in the source, 6,040 published" in said
    manifest = json.loads(next(bench.home.glob("ml1m/*/data/manifest.json")).read_text())
    assert manifest["facts"]["verified"] is False
    assert table(bench, "ml1m/*/data/items.parquet")["title"][3] == "The Film 3"


def test_an_interrupt_ends_with_130_and_leaves_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.prepared()

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("llmrs_bench.recommenders.popularity.Popularity.fit", interrupt)
    bench.run("infer", "--model", "popularity", "--dataset", "small", code=130)
    assert not list(bench.home.glob("small/*/runs/*"))


def test_lists_name_what_there_is(finished: Bench) -> None:
    models = finished.run("list", "models").stdout.splitlines()
    assert "  llama-2-7b-chat                 7B meta-llama/Llama-2-7b-chat-hf" in models
    assert "LLaMA 2: 4096 tokens, causal, chat; released 2023-07-18, data to 2023-07" in models
    assert max(len(line.expandtabs()) for line in models) <= 80
    assert "listwise\t" in finished.run("list", "templates").stdout
    assert "popularity-" in finished.run("list", "runs", "--dataset", "small").stdout
    assert "popularity-" in finished.run("list", "runs").stdout


def test_help_and_version() -> None:
    assert "prepare" in CliRunner().invoke(app, ["--help"]).stdout
    assert CliRunner().invoke(app, ["--version"]).stdout.strip()

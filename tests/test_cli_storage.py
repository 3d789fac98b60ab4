"""Runs are listed, shown and removed; what is in use, worked on or costly stays."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from command_line import Bench, write_small
from llmrs_bench.cli.main import app
from llmrs_bench.core.locks import locked, machine

Values = dict[str, dict[str, object]]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A home with two variants, runs of three kinds, and a fusion of two."""
    bench = Bench(tmp_path_factory.mktemp("home"), write_small(tmp_path_factory.mktemp("source")))
    for variant, seed in (("one", "0"), ("two", "1")):
        bench.prepare("--seed", seed, "--n-candidates", "5", dataset=f"small@{variant}")
        bench.run("infer", "-d", f"small@{variant}", "-m", "itemknn", "-O", "neighbours=5")
    bench.run("infer", "-d", "small@one", "-m", "mock")
    bench.run("fuse", "-d", "small@one", "--run", "itemknn", "--run", "mock")
    bench.run("compare", "-d", "small@one", "--run", "itemknn")
    return bench


@pytest.fixture
def bench(stored: Bench, tmp_path: Path) -> Bench:
    shutil.copytree(stored.home, tmp_path / "home")
    return Bench(tmp_path / "home", stored.source)


def listed(bench: Bench, *arguments: str) -> Values:
    return {
        f"{run['run']} {run['dataset']}": run
        for run in json.loads(bench.run("list", "runs", "--json", *arguments).stdout)
    }


def folder(bench: Bench, name: str, variant: str = "one") -> Path:
    [found] = bench.home.glob(f"small/{variant}/runs/{name}-*")
    return found


def test_runs_of_all_data_sets_are_listed_and_chosen(bench: Bench) -> None:
    found = listed(bench)
    kinds = sorted((str(run["dataset"]), str(run["model"]), str(run["state"])) for run in found.values())
    assert kinds == [
        ("small@one", "fusion-rrf", "not evaluated"),
        ("small@one", "itemknn", "evaluated"),
        ("small@one", "mock", "not evaluated"),
        ("small@one", "popularity", "evaluated"),
        ("small@two", "itemknn", "not evaluated"),
    ]
    mock = next(run for run in found.values() if run["model"] == "mock")
    assert mock["requests"] == 30
    assert mock["bytes"] == sum(file.stat().st_size for file in Path(str(mock["path"])).iterdir())
    assert len(listed(bench, "-d", "small@two")) == 1
    assert len(listed(bench, "-d", "small")) == 5
    assert len(listed(bench, "--run", "itemknn", "--run", "mock")) == 3
    assert len(listed(bench, "--state", "evaluated")) == 2
    assert len(listed(bench, "--older-than", "0s")) == 5
    assert listed(bench, "--older-than", "1d") == {}
    text = bench.run("list", "runs").stdout
    assert text.index("small@one") < text.index("mock-listwise") < text.index("small@two")
    for wrong in (["--state", "eager"], ["--run", "nobody"], ["--older-than", "soon"], ["-d", "smal"]):
        assert bench.run("list", "runs", *wrong, code=2).stderr.count("error:") == 1
    assert "selects runs" in bench.run("list", "models", "--json", code=2).stderr


def test_a_run_in_the_making_and_a_damaged_one_are_called_so(bench: Bench) -> None:
    damaged = folder(bench, "mock-listwise")
    (damaged / "manifest.json").write_text("{}")
    with locked(bench.home / "small/two/runs/.sasrec-12345678.lock", "sasrec"):
        states = {name.partition(" ")[0]: run["state"] for name, run in listed(bench).items()}
        assert states[damaged.name] == "damaged"
        assert states["sasrec-12345678"] == "in the making"
        assert "is in the making" in bench.run("rm", "sasrec", "--yes", code=1).stderr
    assert "sasrec-12345678" not in bench.run("list", "runs").stdout
    assert "cannot be read" in " ".join(bench.run("show", damaged.name, code=1).stderr.split())
    # Whatever was made of it is not known to be, and goes as it is.
    assert bench.run("rm", damaged.name, "--yes").stdout == f"{damaged.name}\n"
    assert not damaged.exists()


def test_a_run_is_shown_with_its_files(bench: Bench) -> None:
    run = folder(bench, "mock-listwise")
    text = bench.run("show", "mock").stdout
    for words in (run.name, "template=listwise", "leave-one-out", "5 candidates", "prompt_tokens", "complete"):
        assert words in text
    assert "rankings.parquet" in text
    assert "request_id, item_id, rank, score" in text
    found = json.loads(bench.run("show", "mock", "--json").stdout)
    assert found["kinds"] == {"complete": 30}
    assert found["costs"]["prompts"] == 30
    assert all(Path(file).is_file() for file in found["files"])
    assert {Path(file).name for file in found["files"]} >= {"rankings.parquet", "responses.parquet", "prompts.parquet"}
    assert json.loads(bench.run("show", "itemknn", "-d", "small@one", "--json").stdout)["metrics"]["mrr"] > 0
    assert "means 2 runs" in bench.run("show", "itemknn", code=2).stderr


def test_a_removed_run_takes_its_evaluations_along_and_nothing_else(bench: Bench) -> None:
    run = folder(bench, "itemknn", "two")
    bench.run("evaluate", "-d", "small@two")
    before = bench.files()
    [size] = [found["bytes"] for found in listed(bench, "-d", "small@two", "--run", "itemknn").values()]
    done = bench.run("rm", "itemknn", "-d", "small@two", "--yes")
    assert done.stdout == f"{run.name}\n"
    gone = before.keys() - bench.files().keys()
    assert {Path(path).parent.name for path in gone} == {
        run.name,
        next(Path(path).parent.name for path in gone if "/evals/" in path),
    }
    assert sum(before[path][1] for path in gone) == size
    assert "itemknn" not in bench.run("list", "runs", "-d", "small@two").stdout
    # The trained model is still there, so the run comes back without training.
    assert bench.run("infer", "-d", "small@two", "-m", "itemknn", "-O", "neighbours=5").stdout == f"{run.name}\n"


def test_what_another_run_was_made_of_stays(bench: Bench) -> None:
    said = " ".join(bench.run("rm", "mock", "--yes", code=1).stderr.split())
    assert "is in use: fusion-rrf-" in said
    assert folder(bench, "mock-listwise").is_dir()
    bench.run("rm", "mock", "fusion", "--yes")
    assert len(listed(bench)) == 3


def test_nothing_goes_before_somebody_says_yes(bench: Bench) -> None:
    before = bench.files()
    assert "Add --yes" in bench.run("rm", "itemknn", "-d", "small@two", code=1).stderr
    assert "itemknn means 2 runs" in bench.run("rm", "itemknn", "--yes", code=2).stderr
    home = ["--home", str(bench.home)]
    said = CliRunner().invoke(app, ["rm", "itemknn", "-d", "small@two", *home], input="n\n")
    assert said.exit_code == 1  # no option is wrong
    assert "Delete this and free" in said.stderr.partition("error:")[0]  # while it can still be answered
    assert "in all" in said.stderr
    assert bench.files() == before
    assert CliRunner().invoke(app, ["rm", "itemknn", "-d", "small@two", *home], input="y\n").exit_code == 0
    assert len(listed(bench)) == 4
    for wrong in ([], ["mock", "--unused"], ["nobody"], ["../two"]):
        bench.run("rm", *wrong, "--yes", code=2)
    assert "nothing to delete" in bench.run("rm", "--older-than", "1d").stderr
    assert len(bench.run("rm", "--older-than", "0s", "--yes").stdout.split()) == 4


def test_what_no_run_needs_may_go(bench: Bench) -> None:
    assert "nothing to delete" in bench.run("rm", "--unused").stderr
    bench.run("prompt", "-d", "small@two", "-t", "likelihood")
    bench.run("infer", "-d", "small@two", "-m", "mock")
    [answers] = bench.home.glob("small/answers/mock-*")
    model = next(path for path in bench.home.glob("small/models/itemknn-*") if "two" not in path.name)
    shutil.rmtree(folder(bench, "mock-listwise", "two"))
    draft = bench.home / f"small/two/runs/.sasrec-12345678.{machine()}-0123abcd.partial"
    draft.mkdir()
    kept = bench.home / f"small/two/runs/.sasrec-12345678.{'0' * 8}-0123abcd.partial"  # of another machine, and new
    kept.mkdir()
    done = bench.run("rm", "--unused", "--yes")
    reasons = {line.split("  ")[-1] for line in done.stderr.splitlines() if "  " in line}
    assert reasons == {"prompts that no run answers", "draft of a killed process"}
    assert [path.is_dir() for path in (answers, model, draft, kept)] == [True, True, False, True]
    bench.run("rm", "itemknn", "fusion", "mock", "-d", "small@one", "--yes")
    bench.run("rm", "itemknn", "--yes")
    with locked(bench.home / "small/two/runs/.sasrec-12345678.lock", "sasrec"):
        assert "recommender without a run" not in bench.run("rm", "--unused", "--yes").stderr
    assert "recommender without a run" in bench.run("rm", "--unused", "--yes").stderr
    assert not list(bench.home.glob("small/models/itemknn-*"))
    assert answers.is_dir()


def test_links_are_not_followed_out_of_the_home(bench: Bench, tmp_path: Path) -> None:
    run = folder(bench, "itemknn", "two")
    run.rename(tmp_path / run.name)
    run.symlink_to(tmp_path / run.name)
    assert "is a link to a place outside" in " ".join(
        bench.run("rm", "itemknn", "-d", "small@two", "--yes", code=2).stderr.split()
    )
    assert (tmp_path / run.name / "rankings.parquet").is_file()


def test_what_a_process_works_on_is_left(bench: Bench) -> None:
    run = folder(bench, "itemknn", "two")
    with locked(run.with_name(f".{run.name}.lock"), run.name):
        done = bench.run("rm", "itemknn", "-d", "small@two", "--yes")
    assert "another process is using it" in done.stderr
    assert done.stdout == ""
    assert run.is_dir()


def test_sizes_add_up_to_what_is_there(bench: Bench) -> None:
    found = json.loads(bench.run("du", "--json").stdout)
    assert sum(part["bytes"] for part in found) == sum(size for _, size in bench.files().values())
    assert {part["part"] for part in found} >= {"data", "runs", "evals", "prompts", "models", "answers"}
    text = bench.run("du", "-d", "small").stdout
    assert "small@one" in text
    assert "runs (4)" in text
    bench.run("du", "-d", "smal", code=2)

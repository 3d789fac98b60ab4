"""The Python interface: docs/python.md as it stands, and what it does not show."""

import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import llmrs_bench as lb
from command_line import Bench, write_small
from doc_blocks import ROOT, write_own_files
from tiny_models import tiny_llama

BLOCKS = re.findall(
    r"^```python\n(.*?)^```$", (ROOT / "docs" / "python.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMRS_BENCH_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def small(place: Path) -> lb.Prepared:
    return lb.prepare("small", source=write_small(place), n_candidates=5)


def test_the_page_runs_as_it_stands(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_own_files(place)
    names: dict[str, Any] = {}
    for block in BLOCKS:
        exec(compile(block, "docs/python.md", "exec"), names)
    assert len(BLOCKS) == 7
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "| itemknn" in printed.out
    assert "Did you mean 'itemknn'" in printed.out
    assert names["llm"].rankings()["request_id"].n_unique() == 5
    assert set(names["knn"].metrics("recall@3")["metric"]) > {"recall@3", "ndcg@10"}
    assert (place / "board.html").is_file()
    assert names["board"].board.rows[0].model == "itemknn"
    assert names["held"].gate.failures == ()
    assert names["both"].facts["kind"] == "fusion"
    assert (place / "theirs" / "truth.csv").is_file()
    assert {row.model for row in names["study"].boards[0].board.rows} == {"chance", "popularity", "itemknn", "mock"}


def test_functions_do_what_commands_do(small: lb.Prepared, place: Path) -> None:
    bench = Bench(place / "home", place)
    assert "already there" in bench.prepare("--n-candidates", "5").stderr
    run = lb.infer("mock", "small", template_options={"candidates": "titles", "answer": "titles"}, seed=1)
    typed = ("-T", "candidates=titles", "-T", "answer=titles", "--seed", "1")
    assert bench.name("infer", "-d", "small", "-m", "mock", *typed) == run.name
    means = lb.evaluate(small, runs=["mock"], metrics=["recall@3"], invalid="worst")
    assert means.columns == ["evaluation", "metric", "mean"]
    measure = ("evaluate", "-d", "small", "--run", "mock", "--metrics", "recall@3", "--invalid", "worst")
    assert "made: " not in bench.run(*measure).stderr
    board = lb.board("small", invalid="worst")
    assert board.text("csv") == bench.run("compare", "-d", "small", "--format", "csv", "--invalid", "worst").stdout[:-1]
    assert board.rows()["model"].to_list() == [row.model for row in board.board.rows]
    assert set(lb.runs()["run"]) == {run.name, next((place / "home").glob("small/*/runs/popularity-*")).name}


def test_a_probe_says_what_a_model_knows(small: lb.Prepared) -> None:
    found = lb.probe("mock", small, items=12, users=5, seed=3)
    assert not found.significant
    assert found.sentence.startswith("No sign that mock knows small by heart: item titles")
    assert set(found.verdicts()["probe"]) == set(found.trials()["probe"])
    assert found.trials().filter(probe="item", reading="pmi", control=False).height == 12
    with pytest.raises(lb.BenchError, match="itemkn"):
        lb.probe("itemkn", small)


@pytest.mark.slow
def test_what_is_stated_is_compared_as_the_command_does_it(small: lb.Prepared, place: Path) -> None:
    stated = {name: {"stated": f"a {name}"} for name in ("woman", "man", "child")}
    runs = {name: lb.infer("mock", small, template_options=options, name=name) for name, options in stated.items()}
    neutral = lb.infer("mock", small)
    found = lb.fairness(small, neutral, [runs["woman"], "man"], control=runs["child"], samples=100, permutations=100)
    typed = ("--neutral", neutral.name, "--run", "woman", "--run", "man", "--control", "child")
    bench = Bench(place / "home", place)
    said = bench.run("fairness", "-d", "small", *typed, "--samples", "100", "--permutations", "100").stdout
    assert f"{found}\n" == said
    assert found.rows()["stated"].to_list() == ["a woman", "a man", "a child"]
    assert found.spreads()["measure"].to_list() == ["jaccard", "serp", "prag", "ndcg@10"]
    assert found.sentences[0] in " ".join(said.split())
    assert "| a woman |" in found.text("markdown")
    assert repr(found) == f"<Fairness of {small.name}>"
    with pytest.raises(lb.BenchError, match="one --run leaves nothing to compare"):
        lb.fairness(small, neutral, ["woman"])


def test_explanations_are_judged_as_the_command_does_it(small: lb.Prepared, place: Path) -> None:
    knn = lb.infer("itemknn", small)
    written = lb.infer("mock", small, template="explanation", template_options={"explained_run": knn.name}, name="why")
    found = lb.judge("mock", small, [written], options={"context": 9000}, limit=9, samples=100, permutations=100)
    typed = ("-m", "mock", "-O", "context=9000", "-n", "9", "--samples", "100", "--permutations", "100")
    assert f"{found}\n" == Bench(place / "home", place).run("judge", "-d", "small", *typed).stdout
    assert found.contests()["against"].to_list() == ["template", "shuffled"]
    assert found.verdicts().height == 2 * 2 * 9
    assert len(found.sentences) == 3
    assert "| why | template |" in found.text("markdown")
    assert repr(found) == f"<Judgement {found.artifact.path.name}>"
    with pytest.raises(lb.BenchError, match="holds no explanations"):
        lb.judge("mock", small, [knn])


def test_no_module_hides_a_function() -> None:
    """An imported module `llmrs_bench.NAME` would take the place of the function of that name."""
    modules = {path.stem for path in Path(str(lb.__file__)).parent.iterdir()}
    assert not modules & set(lb.__all__)


def test_what_is_returned_is_called_by_its_name(small: lb.Prepared) -> None:
    run = lb.infer("itemknn", small)
    assert (repr(small), repr(run)) == (f"<Prepared {small.name}>", f"<Run {run.name} of {small.name}>")
    assert repr(lb.board(small)) == f"<Leaderboard of {small.name}>"


def test_a_board_is_shown_in_a_notebook(small: lb.Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    board = lb.board(small)
    shown = board._repr_html_()
    assert shown.startswith("<pre")
    assert "popularity" in shown
    assert str(board) == board.text("table")
    assert max(map(len, board.text(width=80).splitlines())) <= 80
    monkeypatch.setattr(lb.Leaderboard, "text", lambda *_, **__: "p <.001 & more")
    assert board._repr_html_().endswith(">p &lt;.001 &amp; more</pre>")


def test_mistakes_are_errors_with_a_hint(small: lb.Prepared) -> None:
    for wrong in (
        lambda: lb.prepare("small", source="nowhere.csv"),
        lambda: lb.prepare("small", protocol="papers"),
        lambda: lb.prepare("small", user=20),
        lambda: lb.infer("itemknn", small, template="listwise"),
        lambda: lb.infer("itemknn", small, train_fractoin=0.3),
        lambda: lb.infer("itemknn", "smal"),
        lambda: lb.infer("random", small).responses(),
        lambda: lb.board(small, metrics=["ndgc@10"]),
        lambda: lb.board(small, runs=["nobody"]),
        lambda: lb.evaluate(small, metrics=["recall"]),
    ):
        with pytest.raises(lb.BenchError) as caught:
            wrong()
        assert caught.value.message
        assert caught.value.hint
    with pytest.raises(lb.BenchError, match="unknown option of infer 'train_fractoin'") as caught:
        lb.infer("itemknn", small, train_fractoin=0.3)
    assert "Did you mean 'train_fraction'" in caught.value.hint
    with pytest.raises(AttributeError, match="no attribute 'boards'"):
        lb.boards  # noqa: B018


@pytest.mark.parametrize(
    ("wrong", "name", "right"),
    [
        (lambda data: lb.board(data, run=["itemknn"]), "board 'run'", "runs"),
        (lambda data: lb.board(data, metric=["mrr"]), "board 'metric'", "metrics"),
        (lambda data: lb.prepare("small", user=20), "prepare 'user'", "users"),
        (lambda data: lb.tune("mock", data, template="label", sample=3), "tune 'sample'", "samples"),
        (lambda data: lb.judge("mock", data, run=["mock"]), "judge 'run'", "runs"),
    ],
)
def test_an_argument_that_a_function_lacks_is_answered_with_one_that_it_has(
    small: lb.Prepared, wrong: Callable[[lb.Prepared], object], name: str, right: str
) -> None:
    with pytest.raises(lb.BenchError, match=f"^unknown argument of {name}$") as caught:
        wrong(small)
    assert caught.value.hint.startswith(f"Did you mean '{right}'?")


def test_values_of_other_kinds_are_errors_with_a_hint(small: lb.Prepared, tmp_path: Path) -> None:
    run, board = lb.infer("itemknn", small), lb.board(small)
    wrong: Any = None
    for call, words in (
        (lambda: run.metrics(invalid="foo"), "--invalid=?.?foo"),  # type: ignore[arg-type]
        (lambda: run.metrics("gini@10"), "gini@10: a figure of the whole run"),
        (lambda: run.metrics(3), "metrics"),  # type: ignore[arg-type]
        (lambda: lb.infer("mock", small, limit=True), "--limit"),
        (lambda: board.save("x.txt"), "not as 'x.txt'"),
        (lambda: board.save(tmp_path / "missing" / "x.html"), "there is no folder"),
        (lambda: board.text("foo"), "unknown format 'foo'"),  # type: ignore[arg-type]
        (lambda: lb.board(small, runs=[]), "runs is an empty list"),
        (lambda: lb.board(small, runs=[3]), "a run is 3"),  # type: ignore[list-item]
        (lambda: lb.infer("mock", wrong), "dataset is None"),
        (lambda: lb.infer("mock", Path("x")), "dataset is PosixPath"),  # type: ignore[arg-type]
        (lambda: lb.infer(wrong, small), "model is None"),
        (lambda: lb.infer("mock", small, options=["a"]), "options are a list"),  # type: ignore[arg-type]
        (lambda: lb.run(wrong), "recipe is None"),
        (lambda: lb.prepare("df", source=pl.DataFrame()), "source is a DataFrame, not a path"),  # type: ignore[arg-type]
        (lambda: lb.prepare(wrong), "dataset is None"),
    ):
        with pytest.raises(lb.BenchError, match=words) as caught:
            call()
        assert caught.value.hint, words


def test_runs_and_lists_of_metrics_are_taken_as_they_are(small: lb.Prepared) -> None:
    run = lb.infer("itemknn", small)
    lb.infer("random", small)
    assert "random" not in lb.board(small, runs=[run]).rows()["model"].to_list()
    assert lb.board(small, runs=run).rows().equals(lb.board(small, runs=run.name).rows())  # type: ignore[arg-type]
    assert run.metrics(["recall@3"]).equals(run.metrics("recall@3"))


def test_warnings_are_logged_and_bars_are_shown_when_asked_for(
    place: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO, "llmrs_bench"):
        lb.prepare("small", source=write_small(place), n_candidates=60)
    assert "fewer than the 60 candidates" in caplog.text
    lb.infer("random", "small")
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_click_data_have_boards_too(place: Path) -> None:
    data = lb.prepare("small", source=write_small(place), task="click", like_from=4.0)
    run = lb.infer("popularity", data)
    assert set(run.metrics().columns) >= {"request_id", "label", "score"}
    assert "majority" in lb.board(data).rows()["model"].to_list()
    assert isinstance(data.items(), pl.DataFrame)


def test_the_package_is_imported_at_once_and_is_a_program(place: Path) -> None:
    code = (
        "import sys, llmrs_bench as lb; print(*sorted({'polars', 'numpy', 'typer', 'torch'} & {*sys.modules}), dir(lb))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("['BenchError'")
    program = [sys.executable, "-m", "llmrs_bench"]
    done = subprocess.run(
        [*program, "prepare", "-d", "small", "--source", str(write_small(place))],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ},
    )
    [manifest] = place.glob("home/small/*/data/manifest.json")
    assert done.stdout.strip() == f"small@{manifest.parents[1].name}"
    assert '"command": "llmrs-bench prepare -d small' in manifest.read_text("utf-8")


def test_a_board_names_runs_that_it_lacks(small: lb.Prepared, caplog: pytest.LogCaptureFixture) -> None:
    limited = lb.infer("mock", small, limit=4)
    with caplog.at_level(logging.WARNING, "llmrs_bench"):
        lb.board(small)
    assert f"{limited.name} has a limit" in caplog.text


@pytest.mark.slow
def test_a_study_in_python_is_that_of_the_file(place: Path) -> None:
    tables = {"data": {"dataset": "small", "source": str(write_small(place))}, "rows": [{"model": "mock"}]}
    (place / "study.toml").write_text(f'[data]\ndataset = "small"\nsource = "{place}"\n[[rows]]\nmodel = "mock"\n')
    one, other = lb.run(tables), lb.run("study.toml")
    assert one.runs["mock"].name == other.runs["mock"].name
    assert repr(one) == "<Study of 1 runs>"
    cheap = lb.run("study.toml", changes={"rows": {"template": ["likelihood", "yes-no"]}}, max_seconds=0)
    assert (len(cheap.runs), type(cheap.stopped).__name__) == (0, "BudgetError")
    wrong = {**tables, "rows": [{"model": "mock", "options": {"context": 1}}, {"model": "random"}]}
    tried = lb.run(wrong, continue_on_error=True)
    assert "does not fit" in str(tried.failed["mock"])
    assert list(tried.runs) == ["random"]


@pytest.mark.slow
def test_a_model_is_tuned_and_answers_by_its_name(small: lb.Prepared, tmp_path: Path) -> None:
    base = tiny_llama(tmp_path / "tiny-model", chat=True, context=512)
    quick = {"epochs": 2, "batch": 8, "lr": 0.01, "rank": 2, "valid": 4, "dtype": "float32"}
    tuned = lb.tune(str(base), small, template="label", samples=8, options=quick, device="cpu")
    again = lb.tune(str(base), "small", template="label", samples=8, options=quick, device="cpu")
    assert tuned.name == again.name
    assert tuned.name.startswith("tuned-")
    assert tuned.facts["valid_before"] > 0
    run = lb.infer(tuned.name, small, template="label", device="cpu")
    assert run.facts["training"]["seconds"] > 0
    assert run.facts["seconds"] > run.facts["scoring_seconds"]
    [row] = [row for row in lb.board(small, runs=[run.name]).board.rows if row.model == "tiny-model+lora-8"]
    assert row.cost.seconds_per_1000 == pytest.approx(1000 * run.facts["scoring_seconds"] / run.facts["requests"])
    with pytest.raises(lb.BenchError, match="mock"):
        lb.tune("mock", small, template="label")

"""Commands that compute nothing with a model start without the libraries that do."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from command_line import Bench, write_small

MODELS = ("torch", "transformers", "huggingface_hub", "vllm", "ray", "scipy")
NUMBERS = (*MODELS, "numpy", "polars", "pyarrow")
CODE = """
import sys
from llmrs_bench.cli.main import app
for command in {commands}:
    try:
        app(args=command)
    except SystemExit as stop:
        assert (stop.code or 0) == {code}, (command, stop.code)
print("\\nIMPORTED", *(name for name in {heavy} if name in sys.modules))
"""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A home with a run of a recommender and two of a language model."""
    made = Bench(tmp_path_factory.mktemp("home"), write_small(tmp_path_factory.mktemp("source")))
    made.prepare("--candidates", "random", "--n-candidates", "5", "--users", "10")
    for model in (("random",), ("mock", "-t", "listwise"), ("mock", "-t", "likelihood")):
        made.run("infer", "--dataset", "small", "--model", *model)
    return made


def imported(heavy: tuple[str, ...], bench: Bench, *commands: tuple[str, ...], code: int = 0) -> list[str]:
    """Return which of some libraries a process has imported when it has run these commands, which end with a code."""
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(heavy=heavy, commands=commands, code=code)],
        capture_output=True,
        check=False,
        text=True,
        env={**os.environ, "LLMRS_BENCH_HOME": str(bench.home)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.rpartition("IMPORTED")[2].split()


@pytest.mark.slow
def test_evaluate_compare_export_and_list_start_without_torch(bench: Bench, tmp_path: Path) -> None:
    small = ("--dataset", "small")
    commands = [
        ("evaluate", *small),  # makes the run of popularity, too
        ("evaluate", *small, "--normalize", "token"),
        ("compare", *small, "--by", "history", "--save", str(tmp_path / "board.parquet")),
        ("compare", *small, "--baseline", str(tmp_path / "board.parquet"), "--html", str(tmp_path / "board.html")),
        ("export", *small, "--format", "trec", "--to", str(tmp_path / "exported")),
        ("list", "models"),
        ("list", "runs", *small),
        ("show", "random", *small),
        ("run", "paper/figure-3", "--model", "mock", "--dry-run"),
        ("du",),
        ("rm", "random", *small, "--yes"),
    ]
    assert imported(MODELS, bench, *commands) == []
    # What it does not need costs time: whole tables are read without PyArrow, and no gate judges rows of rankings.
    others = ("pyarrow", "numpy.ma", "filelock", "llmrs_bench.leaderboard.gate", "llmrs_bench.metrics.clicks")
    assert imported((*MODELS, *others), bench, ("compare", *small)) == []


@pytest.mark.parametrize("command", [(), ("prepare",), ("prompt",), ("infer",), ("compare",), ("run",)])
def test_help_imports_no_library_of_numbers(bench: Bench, command: tuple[str, ...]) -> None:
    assert imported(NUMBERS, bench, (*command, "--help")) == []


@pytest.mark.slow
def test_a_look_at_a_language_model_imports_no_library_of_models(bench: Bench, tmp_path: Path) -> None:
    made = "import sys; from tiny_models import train_tokenizer; train_tokenizer().save_pretrained(sys.argv[1])"
    tests = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", made, str(tmp_path)], check=True, env=tests)
    recipe = tmp_path / "study.toml"
    recipe.write_text(
        f"[data]\ndataset = 'small'\n[[rows]]\nmodel = 'mock'\n"
        f"[[rows]]\nmodel = {str(tmp_path)!r}\ntemplate = ['listwise', 'likelihood']\n"
    )
    look = ("infer", "--dataset", "small", "--model", str(tmp_path), "--dry-run", "--engine")
    commands = [(*look, "transformers"), (*look, "vllm"), ("run", str(recipe), "--dry-run")]
    assert imported((*MODELS[:2], "vllm", "ray", "scipy"), bench, *commands) == []


def test_what_tune_refuses_is_refused_before_pytorch_is_imported(bench: Bench) -> None:
    tune = ("tune", "--dataset", "small", "--model", "demo-lm")
    wrong = [tune, (*tune, "-t", "label", "--show", "1", "--dry-run"), (*tune, "-t", "label", "--name", "mine")]
    assert imported(("torch",), bench, *wrong, code=2) == []


def test_a_command_waits_for_no_other_one(bench: Bench) -> None:
    others = ("llmrs_bench.cli.compare", "llmrs_bench.cli.prepare", "rich.progress")
    assert imported(others, bench, ("infer", "--help")) == []
    assert imported(others, bench, ("list", "recipes")) == []


@pytest.mark.slow
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_stream_that_is_closed_is_no_fault(tmp_path: Path, closed: str) -> None:
    command = shlex.join([sys.executable, "-m", "llmrs_bench", "list", "runs", "-d", "demo", "--home", str(tmp_path)])
    ended = subprocess.run(["sh", "-c", f"{command} {closed}"], check=False, capture_output=True, text=True)
    assert ended.returncode == 1  # nothing is prepared
    assert "fault" not in ended.stderr
    assert ("hint" in ended.stderr) == (closed == ">&-")

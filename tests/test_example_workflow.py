"""The commands of the example workflow do what they say."""

import json
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmrs_bench.cli.main import app

WORKFLOW = Path(__file__).parents[1] / "examples" / "github-workflow.yml"


def commands() -> list[list[str]]:
    """Return the commands in their order; folded lines are joined."""
    text = re.sub(r"\n +(?=--)", " ", WORKFLOW.read_text("utf-8"))
    found = re.findall(r"^ +(llmrs-bench .*)$", text, re.MULTILINE)
    return [shlex.split(os.path.expandvars(line))[1:] for line in found]


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, f"{result.output}{result.stderr}"
    return result.stderr


def test_the_example_makes_a_board_and_gates_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    *make, gate = commands()
    assert [words[0] for words in (*make, gate)] == ["prepare", "infer", "infer", "evaluate", "compare"]
    for words in make:
        run(*words)
    (tmp_path / "benchmarks").mkdir()
    run("compare", "--dataset", "demo", "--save", "benchmarks/baseline.parquet")
    run(*gate)
    assert json.loads((tmp_path / "gate.json").read_text())["passed"] is True
    assert (tmp_path / "summary.md").read_text().startswith("## llmrs-bench: gate passed")
    assert (tmp_path / "gate.xml").is_file()
    shutil.copyfile("board.parquet", "benchmarks/baseline.parquet")
    run(*gate)
    worse = [words.replace("ndcg@10 < 0.3", "ndcg@10 < 0.6") for words in gate]
    assert "FAIL  bm25: ndcg@10 < 0.6" in run(*worse, code=3)

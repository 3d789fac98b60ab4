"""The example workflow, run step by step: a local server is its endpoint, and a script takes its comment."""

import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from typer.testing import CliRunner

import llmrs_bench
from fault_server import Script, serve
from llmrs_bench.cli.main import app

WORKFLOW = Path(__file__).parents[1] / "examples" / "github-workflow.yml"
PACKAGE = Path(llmrs_bench.__file__).parent
GIVEN = {
    "secrets.API_KEY": "a-key",
    "vars.MODEL": "served-7b",
    "github.token": "a-token",
    "github.event.pull_request.number": "7",
}
GH = """#!/bin/sh
printf '%s\\n' "$*" > said.txt
cp summary.md comment.md
"""


class Job:
    """The steps of the workflow, run in a folder as GitHub runs them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
        self.monkeypatch, self.given = monkeypatch, {**GIVEN, "vars.ENDPOINT": endpoint}
        self.workflow = yaml.safe_load(WORKFLOW.read_text("utf-8"))
        self.steps = [step for step in self.workflow["jobs"]["benchmark"]["steps"] if "run" in step]
        self.set(self.workflow["env"])

    def set(self, variables: dict[str, Any]) -> None:
        for name, value in variables.items():
            text = re.sub(r"\$\{\{ (\S+) \}\}", lambda found: self.given[found[1]], str(value))
            self.monkeypatch.setenv(name, os.environ["WHEEL"] if name == "LLMRS_BENCH" else text)

    def run(self, *names: str) -> list[str]:
        """Run all steps, or those of these names, and return those that failed; after one, those that always run."""
        failed: list[str] = []
        for step in self.steps:
            if names and step["name"] not in names:
                continue
            if "if" in step:
                assert step["if"].startswith("always() && hashFiles('summary.md') != ''")
            if (failed and "if" not in step) or ("if" in step and not Path("summary.md").exists()):
                continue
            self.set(step.get("env", {}))
            if not all(map(self.succeeds, step["run"].splitlines())):
                failed.append(step["name"])
        return failed

    @staticmethod
    def succeeds(command: str) -> bool:
        words = [os.path.expandvars(word) for word in shlex.split(command)]
        if words[0] == "llmrs-bench":  # in this process, which has imported it
            result = CliRunner().invoke(app, words[1:])
            assert result.exit_code in (0, 3), f"{command}\n{result.output}{result.stderr}{result.exception!r}"
            return result.exit_code == 0
        return subprocess.run(["bash", "-eo", "pipefail", "-c", command], check=False).returncode == 0


@pytest.fixture
def script() -> Script:
    return Script(content=", ".join(map(str, range(1, 21))))


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: Script) -> Iterator[Job]:
    """A checkout with a baseline folder; pip installs into a folder of its own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "gh").write_text(GH)
    (tmp_path / "bin" / "gh").chmod(0o755)
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    settings = {"NO_DEPS": "1", "NO_INDEX": "1", "NO_COMPILE": "1", "TARGET": "installed"}
    for name, value in {**{f"PIP_{name}": value for name, value in settings.items()}, "WHEEL": str(wheel())}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "step.md")
    monkeypatch.setenv("LLMRS_BENCH_HOME", "bench")
    with serve(script) as url:
        yield Job(monkeypatch, url)


def wheel() -> Path:
    """Pack the package as the build would, without its files of data."""
    path, info = Path("llmrs_bench-0.1.0-py3-none-any.whl"), "llmrs_bench-0.1.0.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        for module in PACKAGE.rglob("*.py"):
            file.write(module, module.relative_to(PACKAGE.parent))
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llmrs-bench\nVersion: 0.1.0\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/entry_points.txt", "[console_scripts]\nllmrs-bench = llmrs_bench.cli.main:main\n")
        file.writestr(f"{info}/RECORD", "")
    return path


@pytest.mark.slow
def test_the_example_installs_from_an_address_or_a_wheel(job: Job) -> None:
    assert job.workflow["env"]["LLMRS_BENCH"].startswith("git+https://")
    assert job.run("Install") == []
    assert Path("installed/bin/llmrs-bench").is_file()
    assert Path("installed/llmrs_bench/cli/main.py").is_file()


@pytest.mark.slow
def test_the_example_gates_on_a_board_and_comments(job: Job, script: Script) -> None:
    (save,) = re.findall(r"^# +(llmrs-bench compare .*--save.*)$", WORKFLOW.read_text("utf-8"), re.MULTILINE)
    job.run("Run the benchmark")
    assert job.succeeds(save)
    asked = len(script.requests)
    assert asked >= 100
    gate = ("Hold it against the baseline", "Show the table", "Post the table")
    assert job.run(*gate) == []
    assert json.loads(Path("gate.json").read_text())["passed"] is True
    assert Path("said.txt").read_text() == "pr comment 7 --edit-last --create-if-none --body-file summary.md\n"
    assert Path("comment.md").read_text() == Path("step.md").read_text()
    assert Path("comment.md").read_text().startswith("## llmrs-bench: gate passed")
    # The next job starts without answers, and the server has nothing to say.
    script.content = "I would rather not."
    job.monkeypatch.setenv("LLMRS_BENCH_HOME", "next")
    Path("summary.md").unlink()
    assert job.run("Run the benchmark", *gate) == ["Hold it against the baseline"]
    assert len(script.requests) == 2 * asked
    assert script.keys == {"Bearer a-key"}
    assert "| **fail** | served-7b" in Path("comment.md").read_text()
    assert Path("gate.xml").is_file()

"""The script that measures on a GPU runs through without one, on a model of some thousand weights."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu.sh"
MODES = ("likelihood", "label", "yes-no", "generate", "grammar")


def rehearse(folder: Path, *steps: str) -> subprocess.CompletedProcess[str]:
    command = Path(sys.executable).with_name("llmrs-bench")
    variables = {"DEVICE": "cpu", "LARGE": "tiny", "QWEN3": "tiny", "USERS": "2", "PYTHON": sys.executable}
    variables |= {"VLLM_OPTIONS": "-O enforce_eager=true"}  # compiling takes a compiler, and a minute
    return subprocess.run(
        ["sh", str(SCRIPT), "no-model", "no-data", str(command), str(folder), *steps],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **variables, "HF_HUB_OFFLINE": "1"},
    )


def measured(output: str) -> dict[tuple[str, str], float]:
    """Return the users a second of each mode and length of the history."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in output.splitlines() if line[:2] == "| "]
    return {(row[0], row[1]): float(row[5].partition(" ")[0]) for row in rows if row[1].isdigit()}


@pytest.mark.slow
def test_every_mode_is_measured_on_transformers(tmp_path: Path) -> None:
    done = rehearse(tmp_path, "7b-transformers")
    assert done.returncode == 0, done.stdout + done.stderr
    found = measured(done.stdout)
    plain = {("likelihood, one prompt per choice", length) for length in ("128", "512")}
    assert found.keys() == {(mode, length) for mode in MODES for length in ("128", "512")} | plain
    assert min(found.values()) > 0


@pytest.mark.slow
def test_a_step_that_fails_is_said_and_the_next_is_run(tmp_path: Path) -> None:
    done = rehearse(tmp_path, "nothing", "real")
    assert done.returncode == 1
    assert "unknown step nothing" in done.stdout
    assert "failed: " in done.stdout.partition("compare")[0]
    assert "no-data" in done.stderr


@pytest.mark.slow
@pytest.mark.vllm
def test_every_mode_is_measured_on_vllm(tmp_path: Path) -> None:
    pytest.importorskip("vllm")
    done = rehearse(tmp_path, "7b-vllm")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {mode for mode, _ in measured(done.stdout)} >= {*MODES}

"""What `make demo` runs ends in a board on which a language model works, in writing, too."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from command_line import Bench

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "demo.sh"


@pytest.mark.slow
def test_the_first_board_of_a_user_shows_a_language_model_above_chance(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("llmrs-bench")
    home = tmp_path / "home"
    done = subprocess.run(
        ["sh", str(SCRIPT), str(command), str(home)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert not any(word in done.stderr for word in ("shards", "Traceback", "Warning"))
    board = json.loads(Bench(home, tmp_path).run("compare", "--dataset", "demo", "--format", "json").stdout)
    found = {(row["model"], row["setting"]): row["metrics"]["ndcg@10"] for row in board["rows"]}
    for setting in ("listwise, answer=titles", "likelihood"):
        assert found["demo-lm (demo)", setting]["low"] > found["chance", ""]["mean"]

"""A process killed at any moment loses nothing: the same command finishes the rest, and ends in the same bytes."""

import json
import os
import random
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from safetensors import safe_open

from command_line import Bench
from tiny_models import tiny_llama

# With a line of progress for every answer.
CODE = "from llmrs_bench.cli import main, progress; progress.FIRST_AFTER = progress.EVERY = 0.0; main.main()"
COMMAND = [sys.executable, "-c", CODE]


def run_and_kill(
    bench: Bench, arguments: list[str], *, share: float, by: signal.Signals = signal.SIGKILL
) -> tuple[int, list[dict[str, Any]]]:
    """Run `infer`, and stop it as soon as it says that it has that share of the answers; it may end before.

    Returns:
        The exit code, and all that was said.
    """
    command = [*COMMAND, *arguments, "--home", str(bench.home), "--log", "json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    told: list[dict[str, Any]] = []
    stopped = False
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment) as process:
        assert process.stderr is not None
        for line in process.stderr:
            told.append(json.loads(line))
            said = told[-1]
            if not stopped and said["level"] == "progress" and said["done"] >= share * said["total"]:
                process.send_signal(by)
                stopped = True
    return process.returncode, told


def kept_keys(bench: Bench) -> list[str]:
    shards = sorted(bench.home.glob("small/answers/*/shards/*.parquet"))
    return [key for path in shards for key in pl.read_parquet(path)["key"]]


def results(bench: Bench) -> dict[str, bytes]:
    """Return the bytes of the rankings and of the metrics of the one language model's run."""
    bench.run("evaluate", "--dataset", "small")
    run = next(path for path in bench.home.glob("small/*/runs/*") if (path / "responses.parquet").exists())
    evaluated = next(bench.home.glob(f"small/*/evals/{run.name}-*"))
    return {
        "rankings": (run / "rankings.parquet").read_bytes(),
        "metrics": (evaluated / "metrics.parquet").read_bytes(),
    }


def finish(bench: Bench, arguments: list[str]) -> dict[str, bytes]:
    """Run `infer` to its end, and check that no question was answered twice."""
    before = kept_keys(bench)
    bench.run(*arguments)
    after = kept_keys(bench)
    assert after[: len(before)] == before
    assert len(after) == len(set(after))
    return results(bench)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_killed_at_random_moments_it_ends_as_if_it_had_not_been(bench: Bench, atomic: Path, seed: int) -> None:
    rng = random.Random(seed)
    arguments = ["infer", "--model", "mock", "--dataset", "small", "-t", "yes-no", "-O", "pause=0.003"]
    bench.prepared()
    for _ in range(3):
        run_and_kill(bench, arguments, share=rng.uniform(0.05, 0.9))
    killed = finish(bench, arguments)
    whole = Bench(bench.home / "whole", atomic)
    whole.prepare()
    assert killed == finish(whole, arguments[:-2])
    assert len(kept_keys(bench)) == len(kept_keys(whole)) == 30 * 20


@pytest.mark.slow
def test_killed_while_a_model_computes_it_ends_in_the_same_scores(bench: Bench, atomic: Path) -> None:
    model = tiny_llama(bench.home / "llama", context=512)
    arguments = ["infer", "--model", str(model), "--engine", "transformers", "--dataset", "small", "-t", "label"]
    bench.prepare("--history", "3")
    run_and_kill(bench, arguments, share=0.5)
    killed = finish(bench, arguments)
    whole = Bench(bench.home / "whole", atomic)
    whole.prepare("--history", "3")
    assert killed == finish(whole, arguments)


@pytest.mark.slow
@pytest.mark.parametrize(("by", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_whoever_is_told_to_stop_keeps_what_it_has_and_says_so_once(
    bench: Bench, by: signal.Signals, code: int
) -> None:
    arguments = ["infer", "--model", "mock", "--dataset", "small", "-t", "yes-no", "-O", "pause=0.005"]
    bench.prepared()
    ended, told = run_and_kill(bench, arguments, share=0.1, by=by)
    assert ended == code
    assert [said["level"] for said in told].count("error") == 1
    assert "Run the same command to resume" in told[-1]["hint"]
    assert len(kept_keys(bench)) >= max(said["done"] for said in told if said["level"] == "progress") > 0
    finish(bench, arguments)


@pytest.mark.slow
def test_a_tuning_killed_after_its_first_checkpoint_ends_in_the_same_weights(bench: Bench, atomic: Path) -> None:
    model = tiny_llama(bench.home / "llama", context=512)
    tuning = ["epochs=6", "evaluate_every=2", "batch=8", "patience=9", "valid=8", "lr=0.01", "dropout=0.2"]
    arguments = ["tune", "--model", str(model), "--dataset", "small", "--template", "label", "--samples", "24"]
    arguments += [text for option in tuning for text in ("-O", option)]
    bench.prepare("--history", "3")
    command = [*COMMAND, *arguments, "--home", str(bench.home), "--log", "json"]
    before: dict[str, Any] = {}
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"}
    ) as process:
        assert process.stderr is not None
        for _ in process.stderr:
            if not before and (kept := next(bench.home.glob("small/models/*.training"), None)):
                process.kill()
                with safe_open(kept, framework="pt") as file:
                    before = json.loads(file.metadata()["told"])
    assert process.returncode == -signal.SIGKILL
    assert len(before["losses"]) < 9
    whole = Bench(bench.home / "whole", atomic)
    whole.prepare("--history", "3")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        folders = [one.home / "small/models" / one.name(*arguments) for one in (bench, whole)]
    finally:
        torch.set_num_threads(threads)
    first, second = ((folder / "adapter_model.safetensors").read_bytes() for folder in folders)
    assert first == second
    facts = [json.loads((folder / "manifest.json").read_text())["facts"] for folder in folders]
    assert facts[0]["resumed_after"] == len(before["losses"])
    assert facts[0]["valid_curve"] == facts[1]["valid_curve"]
    assert facts[0]["seconds"] > before["seconds"] + before["evaluating"] > 0


def test_answers_of_a_failing_engine_are_kept(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmrs_bench.core.errors import EngineError
    from llmrs_bench.llm.backends.mock import MockEngine

    answer, answered = MockEngine.answer, count()

    def fail(self: MockEngine, prompts: object) -> object:
        for response in answer(self, prompts):  # type: ignore[arg-type]
            if next(answered) == 7:
                raise EngineError("the server is gone")
            yield response

    bench.prepared()
    with monkeypatch.context() as patched:
        patched.setattr(MockEngine, "answer", fail)
        result = bench.run("infer", "--model", "mock", "--dataset", "small", code=1)
    assert "the server is gone" in result.stderr
    assert len(kept_keys(bench)) == 7
    finish(bench, ["infer", "--model", "mock", "--dataset", "small"])
    assert len(kept_keys(bench)) == 30

"""`tune` in several processes, as launchers start it."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from safetensors.torch import load_file

from command_line import Bench
from doc_blocks import ROOT, blocks, recorded
from tiny_models import tiny_llama

OPTIONS = ("epochs=6", "batch=3", "lr=0.01", "rank=2", "valid=8", "dropout=0", "evaluate_every=2", "patience=99")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def documented(option: str, folder: Path) -> tuple[str, ...]:
    """Return the launcher with that option as docs/tuning.md has it, with a port of its own."""
    found = next(block for block in blocks(ROOT / "docs/tuning.md") if block.section == "Several GPUs")
    words = next(words for words in recorded(found, folder) if option in words)
    launcher = words[2 : words.index("-m")]
    assert words[:2] == ["accelerate", "launch"]
    return ("-m", "accelerate.commands.launch", *launcher, "--main_process_port", "0")


@pytest.fixture
def fsdp(tmp_path: Path) -> tuple[str, ...]:
    return documented("--use_fsdp", tmp_path / "commands")


def start(bench: Bench, model: Path, launcher: tuple[str, ...], *more: str) -> "subprocess.Popen[str]":
    asked = ["tune", "-m", str(model), "-d", "small", "-t", "label", "--samples", "9", "--device", "cpu", *more]
    command = [sys.executable, *launcher, "-m", "llmrs_bench", *asked, "--home", str(bench.home)]
    known = {name: value for name, value in os.environ.items() if not name.startswith(("ACCELERATE", "FSDP"))}
    return subprocess.Popen(
        command, env={**known, "OMP_NUM_THREADS": "1"}, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def tuned(bench: Bench, model: Path, launcher: tuple[str, ...], *more: str) -> tuple[Path, str]:
    """Tune, and return the folder whose name is all of stdout, and what stands on stderr."""
    with start(bench, model, launcher, *more) as process:
        told, said = process.communicate(timeout=300)
    assert process.returncode == 0, said[-3000:]
    assert re.fullmatch(r"tuned-\S+\n", told)
    assert said.count("made: ") == 1
    return bench.home / "small/models" / told.strip(), said


def options(*chosen: str) -> list[str]:
    return [text for option in chosen for text in ("-O", option)]


def change(one: Path, other: Path) -> float:
    """Return the largest difference between the weights of two models."""
    names = [path.name for path in one.glob("*.safetensors")]
    assert len(names) == 1
    weights, others = (load_file(folder / names[0]) for folder in (one, other))
    assert weights.keys() == others.keys()
    return max(float((weight - others[name]).abs().max()) for name, weight in weights.items())


@pytest.fixture
def prepared(bench: Bench) -> Bench:
    bench.prepare("--candidates", "random", "--n-candidates", "5")
    return bench


@pytest.mark.slow
def test_a_launch_that_was_killed_goes_on_and_ends_in_the_weights_of_one_process(
    prepared: Bench, tmp_path: Path, fsdp: tuple[str, ...]
) -> None:
    model = tiny_llama(tmp_path / "model", context=512)
    alone, _ = tuned(prepared, model, (), *options(*OPTIONS))
    with start(prepared, model, fsdp, *options(*OPTIONS)) as process:
        while process.poll() is None and not list(prepared.home.glob("small/models/*.training")):
            time.sleep(0.02)
        children = psutil.Process(process.pid).children(recursive=True)
        next(child for child in children if child.environ().get("RANK") == "1").kill()
        told, said = process.communicate(timeout=120)
    assert process.returncode != 0
    assert told == ""
    assert said.lower().count("run the same command") == 1
    assert len(list(prepared.home.glob("small/models/tuned-*/manifest.json"))) == 1
    resumed, _ = tuned(prepared, model, fsdp, *options(*OPTIONS))
    assert '"resumed_after"' in (resumed / "manifest.json").read_text()
    assert not list(prepared.home.glob("small/models/*.training"))
    assert change(resumed, alone) <= 1e-5


@pytest.mark.slow
def test_all_weights_divided_among_processes_are_saved_whole(
    prepared: Bench, tmp_path: Path, fsdp: tuple[str, ...]
) -> None:
    model = tiny_llama(tmp_path / "model", context=512)
    full = options(*(option for option in OPTIONS if not option.startswith(("rank", "dropout"))))
    alone, _ = tuned(prepared, model, (), "--method", "full", *full)
    parallel, _ = tuned(prepared, model, TORCHRUN, "--method", "full", *full)
    divided, _ = tuned(prepared, model, fsdp, "--method", "full", *full)
    facts = [json.loads((folder / "manifest.json").read_text())["facts"] for folder in (alone, parallel, divided)]
    for folder, found in zip((parallel, divided), facts[1:], strict=True):
        # After 18 steps of .01; probably because AdamW makes a whole step of a gradient that is 0 but for rounding.
        assert change(folder, alone) <= 1e-3
        assert found["loss_curve"] == pytest.approx(facts[0]["loss_curve"], rel=1e-2)
        assert found["valid_curve"] == pytest.approx(facts[0]["valid_curve"], abs=1e-6)
        assert (folder / "config.json").read_text() == (alone / "config.json").read_text()
    assert [found.get("sharded") for found in facts] == [None, None, True]


@pytest.mark.slow
def test_what_cannot_be_had_together_is_refused_once(prepared: Bench, tmp_path: Path, fsdp: tuple[str, ...]) -> None:
    model = tiny_llama(tmp_path / "model", context=512)
    with start(prepared, model, fsdp, *options("quantization=nf4")) as process:
        told, said = process.communicate(timeout=120)
    assert process.returncode != 0
    assert told == ""
    assert said.count("packed weights cannot be divided among processes") == 1

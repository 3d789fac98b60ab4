"""Weights in Python's own format: tensors are read, code is not run, and the process stays as it was."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers.utils.logging import is_progress_bar_enabled

from llmrs_bench.core.environment import no_progress_bars
from llmrs_bench.core.errors import ModelError
from llmrs_bench.llm.base import ModelOptions
from llmrs_bench.llm.loading import Checkpoint
from llmrs_bench.llm.model_aliases import ModelSpec
from tiny_models import tiny_llama


class Trap:
    """Makes a folder when it is read, if it is read as code."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


def test_weights_that_hold_code_are_refused_in_a_line_and_nothing_is_run(tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path / "m")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save({**weights, "trap": Trap(tmp_path / "run")}, folder / "pytorch_model.bin")
    checkpoint = Checkpoint(ModelSpec("m", str(folder)), ModelOptions())
    with pytest.raises(ModelError, match=r"holds more than tensors: it names [a-z]+\.mkdir$") as caught:
        checkpoint.weights(checkpoint.config(), dtype=torch.float32, device=torch.device("cpu"))
    assert "Nothing in it was run" in caught.value.hint
    assert not (tmp_path / "run").exists()
    assert is_progress_bar_enabled()


def test_bars_are_drawn_again_after_a_model_was_loaded_or_not() -> None:
    with no_progress_bars():
        assert not is_progress_bar_enabled()
        with no_progress_bars():
            pass
        assert not is_progress_bar_enabled()
    assert is_progress_bar_enabled()

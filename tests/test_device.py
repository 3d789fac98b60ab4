"""The device that models compute on."""

import os

import pytest
import torch

from llmrs_bench.core.device import has_gpu, pick_device
from llmrs_bench.core.errors import OptionError


@pytest.mark.parametrize("gpus", [0, 1])
def test_looking_for_a_gpu_does_not_start_cuda(monkeypatch: pytest.MonkeyPatch, gpus: int) -> None:
    """A process forked after CUDA was started cannot use it: vLLM's engine would not start."""
    started: list[str] = []

    def start() -> int:
        started.append("cuda")
        return gpus

    monkeypatch.delenv("PYTORCH_NVML_BASED_CUDA_CHECK", raising=False)
    monkeypatch.setattr(torch.cuda, "_is_compiled", lambda: True)
    monkeypatch.setattr(torch.cuda, "_device_count_nvml", lambda: gpus)
    monkeypatch.setattr(torch._C, "_cuda_getDeviceCount", start, raising=False)
    assert has_gpu() is bool(gpus)
    assert pick_device("auto").type == ("cuda" if gpus else "cpu")
    assert started == []
    assert "PYTORCH_NVML_BASED_CUDA_CHECK" not in os.environ


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(OptionError, match="PyTorch sees no GPU"):
        pick_device("cuda")
    with pytest.raises(OptionError, match="unknown device 'tpu'"):
        pick_device("tpu")

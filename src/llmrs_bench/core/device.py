"""The device that models compute on."""

from typing import TYPE_CHECKING

from llmrs_bench.core.environment import environment
from llmrs_bench.core.errors import OptionError

if TYPE_CHECKING:
    import torch


# Asked in the ordinary way, PyTorch starts CUDA, and a process forked after that, as vLLM's, cannot use it.
_WITHOUT_STARTING_CUDA = {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}


def has_gpu() -> bool:
    """Return whether PyTorch sees a GPU; CUDA is not started for it."""
    import torch

    with environment(_WITHOUT_STARTING_CUDA):
        return torch.cuda.is_available()


def pick_device(name: str) -> "torch.device":
    """Return the device called `auto`, `cpu` or `cuda`; `auto` is a GPU if there is one.

    Raises:
        OptionError: If the name is none of these, or a GPU is asked for and there is none.
    """
    import torch

    if name not in ("auto", "cpu", "cuda"):
        raise OptionError(f"unknown device {name!r}", hint="Known: auto, cpu, cuda.")
    if name == "cuda" and not has_gpu():
        raise OptionError("device 'cuda': PyTorch sees no GPU", hint="Use --device cpu, or install PyTorch for CUDA.")
    return torch.device("cuda" if name != "cpu" and has_gpu() else "cpu")

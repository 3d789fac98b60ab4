"""Several processes that tune one model together, started by `accelerate launch` or `torchrun`."""

import atexit
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from llmrs_bench.core.errors import ModelError, OptionError
from llmrs_bench.core.hashing import generator

T = TypeVar("T")
# A process waits while the first one validates, writes and checks what was tuned.
_PATIENCE = timedelta(days=1)
_RANKS = (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))
# What `accelerate launch` sets where weights are to be divided among processes.
_DIVIDING = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism config",
}


@dataclass(frozen=True, slots=True)
class Group:
    """One of `size` processes, each with the whole model and a share of every batch; that of rank 0 writes."""

    rank: int = 0
    size: int = 1

    def first(self, work: Callable[[], T]) -> T:
        """Return to every process what the first one, and no other, computes."""
        if self.size == 1:
            return work()
        told = [work() if self.rank == 0 else None]
        with _together():
            dist.broadcast_object_list(told, src=0)
        return told[0]  # type: ignore[return-value]  # that of the first process

    def start_alike(self, weights: Iterable[Tensor], step: int) -> None:
        """Give all processes the weights of the first one.

        Raises:
            ModelError: If they would go on after different steps.
        """
        if self.first(lambda: step) != step:
            raise ModelError(
                "the processes do not find the same interrupted training",
                hint="Give all of them the same --home, on a disk that they share.",
            )
        if self.size > 1:
            with _together(), torch.no_grad():
                for weight in weights:
                    dist.broadcast(weight, src=0)

    def seed(self, seed: int, step: int) -> None:
        """Let each process leave out other inputs in a step, whatever came before it."""
        if self.size > 1:
            torch.manual_seed(int(generator("tune", seed, step, self.rank).integers(2**63)))

    def add_gradients(self, weights: Iterable[Tensor], loss: float) -> float:
        """Add up the gradients, and a loss, of all processes; each has the sums afterwards."""
        if self.size == 1:
            return loss
        with _together():
            for weight in weights:
                if weight.grad is None:  # a batch with fewer samples than processes
                    weight.grad = torch.zeros_like(weight)
                dist.all_reduce(weight.grad)
            total = torch.tensor(loss, dtype=torch.float64)
            if dist.get_backend() == "nccl":
                total = total.cuda()
            dist.all_reduce(total)
        return float(total)


@contextmanager
def _together() -> Iterator[None]:
    """Say what it means where another process has ended."""
    try:
        yield
    except RuntimeError as error:
        raise ModelError(
            f"another process of this training has ended, or cannot be reached: {str(error).splitlines()[0]}",
            hint="See what it said; the same command goes on.",
        ) from error


def join_processes(device: str) -> Group:
    """Return this process as one of those that a launcher has started together, or as the only one.

    Args:
        device: `auto`, `cpu` or `cuda`; each process takes the GPU of its local rank.

    Raises:
        OptionError: If weights are to be divided among processes, or a variable of the launcher is no number.
    """
    try:
        rank, size, local = (int(os.environ.get(name, other)) for name, other in _RANKS)
    except ValueError as error:
        raise OptionError(
            f"RANK, WORLD_SIZE and LOCAL_RANK are numbers: {error}", hint="Unset them, or use `accelerate launch`."
        ) from error
    if size <= 1:
        return Group()
    if found := next((what for name, what in _DIVIDING.items() if os.environ.get(name, "").lower() == "true"), None):
        raise OptionError(
            f"the launcher divides weights among {size} processes ({found}), and each process of `tune` holds them all",
            hint="Run `accelerate launch --multi_gpu`; -O quantization=nf4, checkpointing=true and a smaller "
            "batch_tokens save memory.",
        )
    gpu = device != "cpu" and torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(local)
    if not dist.is_initialized():
        with _together():
            dist.init_process_group("nccl" if gpu else "gloo", timeout=_PATIENCE)
        atexit.register(dist.destroy_process_group)
    return Group(rank, size)

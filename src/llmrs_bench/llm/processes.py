"""Several processes that tune one model together, started by `accelerate launch` or `torchrun`."""

import atexit
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.rendezvous import rendezvous
from torch.distributed.tensor import DTensor, distribute_tensor

from llmrs_bench.core.errors import ModelError, OptionError
from llmrs_bench.core.hashing import generator
from llmrs_bench.llm.tune_options import TuneOptions

T = TypeVar("T")
# A process waits while the first one validates, writes and checks what was tuned.
_PATIENCE = timedelta(days=1)
_RANKS = (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"), ("LOCAL_WORLD_SIZE", "0"))
_SHARDING = "ACCELERATE_USE_FSDP"
# What else `accelerate launch` sets where weights are to be divided among processes.
_OTHERS = {
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism config",
}
# Settings of FSDP that are not followed, with what to do instead.
_NOT_FOLLOWED = {
    "FSDP_OFFLOAD_PARAMS": ("--fsdp_offload_params true", "Start more processes, or take a smaller -O batch_tokens."),
    "FSDP_ACTIVATION_CHECKPOINTING": ("--fsdp_activation_checkpointing true", "Use -O checkpointing=true."),
    "FSDP_IGNORED_MODULES": ("--fsdp_ignored_modules", "Leave it out."),
}
_PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class Group:
    """One of `size` processes with a share of every batch; that of rank 0 writes.

    Args:
        rank: Of this process.
        size: How many there are.
        turn: Which of the processes of its machine this one is.
        turns: How many there are on its machine.
        mesh: All processes, where each holds a part of every weight (FSDP); None where each holds the whole model.
        reshard: Whether a layer lets go of gathered weights between its forward and its backward pass.
    """

    rank: int = 0
    size: int = 1
    turn: int = 0
    turns: int = 1
    mesh: DeviceMesh | None = None
    reshard: bool = True

    @property
    def sharded(self) -> bool:
        """Whether each process holds a part of every weight."""
        return self.mesh is not None

    @property
    def facts(self) -> dict[str, Any]:
        """What there is to say of it: nothing of a process alone."""
        return {} if self.size == 1 else {"processes": self.size, **({"sharded": True} if self.sharded else {})}

    def first(self, work: Callable[[], T]) -> T:
        """Return to every process what the first one, and no other, computes."""
        if self.size == 1:
            return work()
        told = [work() if self.rank == 0 else None]
        with _together():
            dist.broadcast_object_list(told, src=0)
        return told[0]  # type: ignore[return-value]  # that of the first process

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Let the processes of a machine do one after another what takes the memory of whole weights."""
        turns = self.turns if self.sharded else 0
        self._wait(min(self.turn, turns))
        yield
        self._wait(turns - min(self.turn, turns))

    def _wait(self, times: int) -> None:
        with _together():
            for _ in range(times):
                dist.barrier()

    def shard(self, model: nn.Module) -> None:
        """Keep this process's part of every weight of `model`, on its device; do nothing where each holds all.

        Each layer is gathered for its own passes alone, and what is in none of them, such as embeddings, with the
        model. Gradients are added up over processes.
        """
        if self.mesh is None:
            return
        for layer in layers(model):
            fully_shard(layer, mesh=self.mesh, reshard_after_forward=self.reshard)
        fully_shard(model, mesh=self.mesh, reshard_after_forward=False)
        for module in model.modules():
            if isinstance(module, FSDPModule):  # the sum, not the mean, and by the one operation that gloo has, too
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)

    def measure(self, model: nn.Module, work: Callable[[], float]) -> float:
        """Return what the first process measures of a model; where weights are divided, all compute it in step.

        A model with divided weights must have run once before.
        """
        if not isinstance(model, FSDPModule):
            return self.first(work)
        model.unshard()  # for passes that begin inside of it, as those of an encoder alone
        found = work()
        let_go(model)
        return self.first(lambda: found)

    def whole(self, weight: Tensor) -> Tensor:
        """Return a weight with the parts of all processes, each of which has to ask for it."""
        if not isinstance(weight, DTensor):
            return weight
        with _together():
            return weight.full_tensor()

    def part(self, weight: Tensor, like: Tensor) -> Tensor:
        """Return this process's part of a weight that each has whole, divided as `like` is."""
        if not isinstance(like, DTensor) or weight.shape != like.shape:
            return weight
        return distribute_tensor(weight.to(like.device), like.device_mesh, like.placements, src_data_rank=None)

    def weights(self, model: nn.Module) -> dict[str, Tensor] | None:
        """Return what was trained of a model with divided weights, and its buffers, whole and on the CPU.

        Every process has to ask; the others than the first get nothing. None where weights are not divided.
        """
        if not self.sharded:
            return None
        trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        named, found = model.state_dict(), {}
        kept = {name: value for name, value in model.named_buffers() if name in named}
        for name, value in (trained | kept).items():
            whole = self.whole(value.detach())
            if self.rank == 0:
                found[name] = whole.cpu()
        return found

    def start_alike(self, weights: Iterable[Tensor], step: int) -> None:
        """Give all processes the weights of the first one; parts of weights are alike by their seed.

        Raises:
            ModelError: If they would go on after different steps.
        """
        if self.first(lambda: step) != step:
            raise ModelError(
                "the processes do not all see the same interrupted training",
                hint="Give all of them the same --home, on a disk that they share.",
            )
        if self.size > 1 and not self.sharded:
            with _together(), torch.no_grad():
                for weight in weights:
                    dist.broadcast(weight, src=0)

    def seed(self, seed: int, step: int) -> None:
        """Let each process leave out other inputs in a step, whatever came before it."""
        if self.size > 1:
            torch.manual_seed(int(generator("tune", seed, step, self.rank).integers(2**63)))

    def add_gradients(self, weights: Iterable[Tensor], loss: float) -> float:
        """Add up the gradients, and a loss, of all processes; each has the sums afterwards.

        Those of divided weights were added up in the backward pass.
        """
        if self.size == 1:
            return loss
        with _together():
            for weight in () if self.sharded else weights:
                if weight.grad is None:  # a batch with fewer samples than processes
                    weight.grad = torch.zeros_like(weight)
                dist.all_reduce(weight.grad)
            total = torch.tensor(loss, dtype=torch.float64)
            if dist.get_backend() == "nccl":
                total = total.cuda()
            dist.all_reduce(total)
        return float(total)


def let_go(model: nn.Module) -> None:
    """Leave a model with its parts of weights alone: after a forward pass, some are still gathered as they were."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def layers(model: nn.Module) -> list[nn.Module]:
    """Return the members of the outermost lists of a model: its layers, whatever its architecture calls them."""
    found: list[nn.Module] = []
    for child in model.children():
        found += list(child) if isinstance(child, nn.ModuleList) else layers(child)
    return found


@contextmanager
def _together() -> Iterator[None]:
    """Say what it means where another process has ended.

    Raises:
        ModelError: Then.
    """
    try:
        yield
    except RuntimeError as error:
        raise lost(error) from error


def is_lost(error: RuntimeError) -> bool:
    """Return whether an error says that another process has gone."""
    return isinstance(error, dist.DistError) or any(
        words in str(error) for words in ("closed by peer", "reset by peer", "Broken pipe", "Connection refused")
    )


def lost(error: RuntimeError) -> ModelError:
    """Return the error of a process that cannot go on without another one."""
    return ModelError(
        f"another process of this training has ended, or cannot be reached: {str(error).splitlines()[0]}",
        hint="See what it, or the launcher, printed; run the same command to resume.",
    )


def join_processes(device: str) -> Group:
    """Return this process as one of those that a launcher has started together, or as the only one.

    Args:
        device: `auto`, `cpu` or `cuda`; each process takes the GPU of its local rank.

    Raises:
        OptionError: If the launcher asks for what is not done here, started one process where it was asked for several,
            or set a variable that is no number.
    """
    try:
        rank, size, local, locals_ = (int(os.environ.get(name, other)) for name, other in _RANKS)
    except ValueError as error:
        raise OptionError(
            f"RANK, WORLD_SIZE and LOCAL_RANK are numbers: {error}", hint="Unset them, or use `accelerate launch`."
        ) from error
    if size <= 1:
        _refuse_alone(os.environ)
        return Group()
    if found := next((what for name, what in _OTHERS.items() if _is_set(os.environ, name)), None):
        raise OptionError(
            f"the launcher divides weights among {size} processes by {found}, but `tune` supports only FSDP",
            hint="Run `accelerate launch --use_fsdp`, or `--multi_gpu` for the whole model in each process.",
        )
    sharded = _is_set(os.environ, _SHARDING)
    reshard = sharded and _reshard(os.environ)
    gpu = device != "cpu" and torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(local)
    if not dist.is_initialized():
        with _together():
            dist.init_process_group("nccl" if gpu else "gloo", timeout=_PATIENCE)
        atexit.register(dist.destroy_process_group)
    if not sharded:
        return Group(rank, size, local, locals_ or size)
    # Or transformers would read weights in the first process alone, and leave them unset in the others.
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    mesh = init_device_mesh("cuda" if gpu else "cpu", (size,))
    return Group(rank, size, local, locals_ or size, mesh, reshard)


def _is_set(environment: Mapping[str, str], name: str) -> bool:
    return environment.get(name, "").lower() in ("true", "1", "yes")


def _refuse_alone(environment: Mapping[str, str]) -> None:
    """Refuse to train alone where `accelerate launch` was asked for several processes, and found no GPUs for them.

    It says where they would meet, starts one process, and leaves it to MPI to start the others.
    """
    if "ACCELERATE_DYNAMO_BACKEND" in environment and "MASTER_PORT" in environment and "RANK" not in environment:
        raise OptionError(
            "accelerate launch was asked for several processes, and has started one: it sees fewer than two GPUs",
            hint="On CPUs add --multi_gpu or --use_fsdp, or start them with torchrun; for one: --num_processes 1.",
        )


def _reshard(environment: Mapping[str, str]) -> bool:
    """Return whether weights are let go of between the two passes of a layer, as the launcher asks.

    Raises:
        OptionError: If it asks for what is not done here.
    """
    for name, (option, hint) in _NOT_FOLLOWED.items():
        if environment.get(name, "false").lower() not in ("", "false", "0", "none"):
            raise OptionError(f"the launcher asks for {option}, which `tune` does not support", hint=hint)
    strategy = environment.get("FSDP_SHARDING_STRATEGY", "FULL_SHARD")
    wanted = environment.get("FSDP_RESHARD_AFTER_FORWARD", "true").lower()
    if strategy in ("3", "NO_SHARD"):
        raise OptionError(
            "the launcher asks for --fsdp_sharding_strategy NO_SHARD: every process holds the whole model",
            hint="Run `accelerate launch --multi_gpu`, which does that.",
        )
    if strategy not in ("1", "FULL_SHARD", "2", "SHARD_GRAD_OP") or wanted not in ("true", "false"):
        raise OptionError(
            f"the launcher asks for FSDP with sharding_strategy={strategy}, reshard_after_forward={wanted}",
            hint="Use --fsdp_sharding_strategy FULL_SHARD or SHARD_GRAD_OP, and true or false for the other.",
        )
    return wanted == "true" and strategy in ("1", "FULL_SHARD")


def check_launch(group: Group, options: TuneOptions, device: torch.device) -> None:
    """Refuse what the launcher and the options of `tune` ask for together and cannot have.

    Raises:
        OptionError: Naming both.
    """
    if group.sharded and options.quantization != "none":
        raise OptionError(
            f"-O quantization={options.quantization} and FSDP: packed weights cannot be divided among processes",
            hint="Leave the option out, or run `accelerate launch --multi_gpu`: the whole model in each process.",
        )
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no").lower()
    if precision not in ("", "no") and _PRECISIONS.get(precision) != options.low(device):
        able = precision == "bf16"
        raise OptionError(
            f"the launcher asks for --mixed_precision {precision}, but here -O dtype={options.dtype} sets the "
            "precision",
            hint=f"Use {'-O dtype=bfloat16, or ' if able else ''}--mixed_precision no for the launcher.",
        )
    if (compiler := os.environ.get("ACCELERATE_DYNAMO_BACKEND", "NO").upper()) not in ("", "NO"):
        raise OptionError(
            f"the launcher asks for --dynamo_backend {compiler.lower()}, but `tune` does not compile models",
            hint="Use --dynamo_backend no.",
        )


def fails_first() -> bool:
    """Return whether no other process of the launch has asked this before, as far as the launcher can be reached."""
    try:
        store, _, _ = next(rendezvous("env://", timeout=timedelta(seconds=10)))
        return bool(store.add("llmrs-bench/failed", 1) == 1)
    except (RuntimeError, ValueError, OSError):
        return True

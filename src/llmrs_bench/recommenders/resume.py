"""A training in the making on disk: one safetensors file per epoch's end, from which an interrupted one goes on."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from llmrs_bench.errors import ModelError


class Progressed(Protocol):
    """What a training has come to, beside the network and the optimizer."""

    curve: list[float]
    losses: list[float]
    best_epoch: int
    best: dict[str, Tensor]
    seconds: float


@dataclass(frozen=True)
class Resume:
    """Keeps weights, optimizer, random generators and history of a training, so that it can go on as if never stopped.

    Args:
        path: The file, or None to keep nothing.
        identity: Names data, options and seed: a file of another identity is refused.
        generator: The generator of the data's order, beside torch's global ones.
    """

    path: Path | None
    identity: str
    generator: torch.Generator

    def save(self, net: nn.Module, optimizer: torch.optim.Optimizer, state: Progressed) -> None:
        """Replace the file, at once and whole."""
        if self.path is None:
            return
        tensors = {f"net.{name}": value for name, value in net.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in state.best.items()}
        for number, slots in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": value for name, value in slots.items()}
        tensors |= {"random.data": self.generator.get_state(), "random.torch": torch.get_rng_state()}
        if torch.cuda.is_available():
            tensors["random.cuda"] = torch.cuda.get_rng_state()
        told = {
            "curve": state.curve,
            "losses": state.losses,
            "best_epoch": state.best_epoch,
            "seconds": state.seconds,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_name(f"{self.path.name}.{os.getpid()}.partial")
        whole = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
        save_file(whole, part, {"identity": self.identity, "told": json.dumps(told)})
        os.replace(part, self.path)

    def load(self, net: nn.Module, optimizer: torch.optim.Optimizer, state: Progressed) -> int:
        """Fill `net`, `optimizer`, `state` and the random generators; return the epochs done, 0 without a file.

        Raises:
            ModelError: If the file is damaged, or of another data set, vocabulary, seed or set of options.
        """
        if self.path is None or not self.path.exists():
            return 0
        try:
            with safe_open(self.path, framework="pt") as file:
                facts = file.metadata() or {}
                if facts.get("identity") != self.identity:
                    raise _unusable(self.path, "is of another data set, vocabulary, seed or set of options")
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            self._fill(net, optimizer, state, tensors, json.loads(facts["told"]))
        except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
            raise _unusable(self.path, f"is damaged: {error}") from error
        return len(state.losses)

    def _fill(
        self,
        net: nn.Module,
        optimizer: torch.optim.Optimizer,
        state: Progressed,
        tensors: dict[str, Tensor],
        told: dict[str, object],
    ) -> None:
        net.load_state_dict(_under("net.", tensors))
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in _under("optimizer.", tensors).items():
            number, _, slot = name.partition(".")
            slots.setdefault(int(number), {})[slot] = value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": slots})
        for name, fact in told.items():
            setattr(state, name, fact)
        state.best = _under("best.", tensors)
        self.generator.set_state(tensors["random.data"])
        torch.set_rng_state(tensors["random.torch"])
        if torch.cuda.is_available() and "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"])


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _unusable(path: Path, fault: str) -> ModelError:
    return ModelError(f"the interrupted training {path} {fault}", hint="Delete the file to train from the beginning.")

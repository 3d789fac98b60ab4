"""The state of a training, kept after each validation so that a killed one goes on as if never stopped."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import ClassVar, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from llmrs_bench.core.errors import ModelError, is_damage
from llmrs_bench.core.tables import atomic_write


class Progressed(Protocol):
    """What a training has come to, beside the network and the optimizer."""

    kept: ClassVar[tuple[str, ...]]  # the names of its plain values, which are kept as JSON
    losses: list[float]  # one for each epoch, or other stretch, that was kept
    best: dict[str, Tensor]


def _as_it_is(value: Tensor, like: Tensor | None = None) -> Tensor:
    return value


@dataclass(frozen=True)
class Resume:
    """Keeps weights, optimizer, random generators and history of a training, so that it can go on as if never stopped.

    Args:
        path: The file, or None to keep nothing.
        identity: Names data, options and seed: a file of another identity is refused.
        generator: The generator of the data's order, beside torch's global ones.
        whole: Returns a tensor of which several processes hold a part each, whole; all of them save then.
        part: Returns this process's part of a whole tensor, as it has one of the tensor that comes second.
        writes: Whether this process is the one that writes.
    """

    path: Path | None
    identity: str
    generator: torch.Generator
    whole: Callable[[Tensor], Tensor] = _as_it_is
    part: Callable[[Tensor, Tensor], Tensor] = _as_it_is
    writes: bool = True

    def save(self, net: nn.Module, optimizer: torch.optim.Optimizer, state: Progressed) -> None:
        """Replace the file, at once and whole.

        Raises:
            OSError: If there is no room for it; what was kept before stays.
        """
        if self.path is None:
            return
        tensors = {f"net.{name}": value for name, value in net.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in state.best.items()}
        for number, slots in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": value for name, value in slots.items()}
        tensors |= {"random.data": self.generator.get_state(), "random.torch": torch.get_rng_state()}
        if torch.cuda.is_available():
            tensors["random.cuda"] = torch.cuda.get_rng_state()
        told = {name: getattr(state, name) for name in state.kept}
        whole = {}
        for name, value in tensors.items():
            gathered = self.whole(value.detach())
            if self.writes:
                whole[name] = gathered.cpu().clone().contiguous()
        if not self.writes:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        about = {"identity": self.identity, "told": json.dumps(told)}
        atomic_write(self.path, save(whole, {**about, "sha256": _digest(whole, about)}))

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
                    raise _unusable(self.path, "was made with another data set, vocabulary, seed or options")
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            # Files of earlier versions have no digest.
            if facts.pop("sha256", None) not in (None, _digest(tensors, facts)):
                raise _unusable(self.path, "is damaged: its contents do not match its digest")
            self._fill(net, optimizer, state, tensors, json.loads(facts["told"]))
        except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
            if isinstance(error, OSError) and not is_damage(error):
                raise
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
        own = net.state_dict()
        net.load_state_dict({name: self.part(value, own[name]) for name, value in _under("net.", tensors).items()})
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in _under("optimizer.", tensors).items():
            number, _, slot = name.partition(".")
            slots.setdefault(int(number), {})[slot] = self.part(value, weights[int(number)])
        optimizer.load_state_dict({**optimizer.state_dict(), "state": slots})
        for name, fact in told.items():
            setattr(state, name, fact)
        state.best = {name: self.part(value, own[name]) for name, value in _under("best.", tensors).items()}
        self.generator.set_state(tensors["random.data"])
        torch.set_rng_state(tensors["random.torch"])
        if torch.cuda.is_available() and "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"])


def kept_steps(path: Path, identity: str) -> int:
    """Return after how many steps a training of that identity was kept; 0 where there is none that can be read."""
    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
        return int(json.loads(facts["told"])["steps"]) if facts.get("identity") == identity else 0
    except (OSError, SafetensorError, KeyError, ValueError):
        return 0


def _digest(tensors: dict[str, Tensor], about: dict[str, str]) -> str:
    """Return the digest of tensors and of what is said beside them."""
    total = sha256(json.dumps(about, sort_keys=True).encode())
    for name, value in sorted(tensors.items()):
        total.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _unusable(path: Path, fault: str) -> ModelError:
    return ModelError(f"the interrupted training {path} {fault}", hint="Delete the file to train from the beginning.")


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[torch.Generator]:
    """Seed torch's global generators for initialisation, dropout and negatives, and restore them afterwards.

    Yields a CPU generator of its own for the order of the data.
    """
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if on_gpu else []):
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            torch.cuda.manual_seed(seed)
        yield torch.Generator().manual_seed(seed)

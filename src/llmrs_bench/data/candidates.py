"""Which items stand beside the target of a request: seeded samplers, and published lists replayed from a file."""

import gzip
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from llmrs_bench.errors import DataError, OptionError
from llmrs_bench.registry import unknown_name

SAMPLERS = ("random", "popularity", "all", "file:PATH", "model:NAME")
ROUNDS = 8
LAYOUT = "A line is a user id, a tab, and item ids with spaces between them."


class Negatives(Protocol):
    """Names the items that stand beside a target."""

    def draw(self, user_id: str, count: int, banned: Collection[str], rng: np.random.Generator) -> list[str]:
        """Return at most `count` distinct items of the catalogue, none of them in `banned`."""
        ...


class Pool:
    """Draws from a catalogue without replacement, each next item in proportion to its weight.

    Items of weight zero are never drawn. Draws of whole numbers with rejection keep this exact and make
    its cost independent of the size of the catalogue, unless most of it is needed.

    Args:
        ids: The catalogue; its order does not matter.
        weights: Whole numbers by id, an absent one is 0; None is the same weight for all.
    """

    def __init__(self, ids: Iterable[str], weights: Mapping[str, int] | None = None) -> None:
        self.ids = sorted(name for name in set(ids) if weights is None or weights.get(name, 0) > 0)
        self.index = {name: at for at, name in enumerate(self.ids)}
        counts = [1 if weights is None else weights[name] for name in self.ids]
        self.weights: npt.NDArray[np.int64] = np.array(counts, dtype=np.int64)
        self.ends = np.cumsum(self.weights)

    def draw(self, user_id: str, count: int, banned: Collection[str], rng: np.random.Generator) -> list[str]:
        """Return `count` items, or all that are not banned where there are fewer, in the order drawn."""
        out = {self.index[name] for name in banned if name in self.index}
        free = len(self.ids) - len(out)
        chosen = self._rejection(count, out, rng) if 0 < 4 * count <= free else []
        if len(chosen) < count:
            chosen += self._rest(count - len(chosen), out.union(chosen), rng)
        return [self.ids[at] for at in chosen]

    def _rejection(self, count: int, out: set[int], rng: np.random.Generator) -> list[int]:
        chosen: dict[int, None] = {}
        for _ in range(ROUNDS):
            draws = rng.integers(int(self.ends[-1]), size=2 * (count - len(chosen)) + 8)
            for at in np.searchsorted(self.ends, draws, side="right").tolist():
                if at not in out and len(chosen) < count:
                    chosen[at] = None
            if len(chosen) == count:
                break
        return list(chosen)

    def _rest(self, count: int, out: set[int], rng: np.random.Generator) -> list[int]:
        """Draw from what is left at once: the smallest of exponential times with rates `weights`."""
        left = np.delete(np.arange(len(self.ids)), sorted(out))
        times = rng.exponential(size=left.size) / self.weights[left]
        first: list[int] = left[np.argsort(times, kind="stable")[:count]].tolist()
        return first


class Replay:
    """Takes a user's list from a file in its order, without items that are unknown, banned or repeated.

    Args:
        lists: Item ids by user.
        catalogue: The known items.
    """

    def __init__(self, lists: Mapping[str, Sequence[str]], catalogue: Collection[str]) -> None:
        known = frozenset(catalogue)
        self.lists = {user: [item for item in items if item in known] for user, items in lists.items()}
        self.unknown_dropped = sum(map(len, lists.values())) - sum(map(len, self.lists.values()))

    def draw(self, user_id: str, count: int, banned: Collection[str], rng: np.random.Generator) -> list[str]:
        """Return the first `count` usable items of the user's list."""
        usable = dict.fromkeys(item for item in self.lists.get(user_id, ()) if item not in banned)
        return list(usable)[:count]


def sampler_file(name: str) -> Path | None:
    """Return the path of a sampler `file:PATH`, None for the other samplers.

    Raises:
        OptionError: If there is no such sampler, or the path is empty.
    """
    kind, colon, path = name.partition(":")
    if kind == "file" and colon:
        if not path:
            raise OptionError(f"candidates {name!r} names no file", hint=f"Write file:PATH. {LAYOUT}")
        return Path(path).expanduser()
    if name not in SAMPLERS[:3] and not (kind == "model" and path):
        raise unknown_name("candidate sampler", name, list(SAMPLERS))
    return None


def read_lists(path: Path) -> dict[str, list[str]]:
    """Return item ids by user from lines `user<TAB>id id id`, plain or `.gz`.

    Raises:
        DataError: If the file cannot be read, a line has another form, or a user has two lines.
    """
    try:
        data = path.read_bytes()
        lines = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8").splitlines()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"candidate lists {path} cannot be read: {error}", hint=f"Check the path. {LAYOUT}") from error
    lists: dict[str, list[str]] = {}
    for number, line in enumerate(lines, 1):
        user, tab, items = line.partition("\t")
        if not line.strip():
            continue
        if not user or not tab or "\t" in items:
            raise DataError(f"{path}, line {number}: not a list of candidates: {line[:60]!r}", hint=LAYOUT)
        if user in lists:
            raise DataError(f"{path}, line {number}: a second list of user {user!r}", hint="Keep one line per user.")
        lists[user] = items.split()
    return lists

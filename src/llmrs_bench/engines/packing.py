"""Many continuations of one prompt as one sequence: which token goes where, and what it may see."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from llmrs_bench.engines.tokens import Ids


@dataclass(frozen=True, slots=True)
class Packed:
    """S tokens of several suffixes behind a cached prefix of P tokens.

    Each suffix but its last token is an input; row i of the logits scores `targets[i]`, the token after it.
    """

    inputs: Tensor  # (S,)
    targets: Tensor  # (S,)
    positions: Tensor  # (S,), beginning again at P for each suffix
    mask: Tensor  # (S, P + S), true where a token may look


def pack(suffixes: Sequence[Ids], prefix: int) -> Packed:
    """Pack suffixes of two tokens or more behind a prefix of `prefix` tokens.

    A token sees the whole prefix and its own suffix up to itself, as if the other suffixes were not there.
    """
    lengths = [len(suffix) - 1 for suffix in suffixes]
    offsets = torch.cat([torch.arange(length) for length in lengths])
    owner = torch.repeat_interleave(torch.arange(len(suffixes)), torch.tensor(lengths))
    own = (owner[:, None] == owner[None, :]) & (offsets[:, None] >= offsets[None, :])
    return Packed(
        inputs=torch.tensor([token for suffix in suffixes for token in suffix[:-1]]),
        targets=torch.tensor([token for suffix in suffixes for token in suffix[1:]]),
        positions=offsets + prefix,
        mask=torch.cat([torch.ones(len(owner), prefix, dtype=torch.bool), own], dim=1),
    )


def packs(suffixes: Sequence[Ids], rows: int) -> Iterator[list[Ids]]:
    """Cut suffixes into groups that take at most `rows` rows once packed, or of one suffix that takes more.

    Suffixes of one token take no row: the prefix alone scores them, and they are left out.
    """
    group: list[Ids] = []
    used = 0
    for suffix in suffixes:
        size = len(suffix) - 1
        if size == 0:
            continue
        if group and used + size > rows:
            yield group
            group, used = [], 0
        group.append(suffix)
        used += size
    if group:
        yield group


def additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a boolean mask (S, K) as the numbers added to attention scores, (1, 1, S, K), for any attention code."""
    zeros = torch.zeros(mask.shape, dtype=dtype, device=mask.device)
    return zeros.masked_fill(~mask, torch.finfo(dtype).min)[None, None]


def pad_right(rows: Sequence[Ids], fill: int) -> Tensor:
    """Return rows of ids as one tensor (rows, longest), filled up at their ends."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows])

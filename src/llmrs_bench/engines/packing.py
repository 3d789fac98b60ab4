"""Many continuations of one prefix as one sequence: a tree of tokens, and what each of them may see."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from llmrs_bench.engines.tokens import Ids

_ROWS_TOGETHER = 64  # rows of (vocabulary,) that are summed at a time; few of them stay in a CPU's cache
_PREFIX = -1  # the row of the prefix' last token


@dataclass(frozen=True, slots=True, order=True)
class Branch:
    """One continuation of a prefix: `tokens`, of which those from index `scored` on are scored."""

    tokens: Ids
    scored: int = 0


@dataclass(frozen=True, slots=True)
class Pack:
    """Branches as a tree in which equal beginnings are one: R rows, each of which reads one token.

    A row sees the prefix, the rows above it in the tree and itself. `places` number the rows as they are met on a
    walk that goes down before it goes on, so all that is below a row has the places up to its `ends`. Rows whose
    logits nobody needs come first. An edge is a token and the row above it, whose logits score it; those out of the
    prefix' last row are called `firsts`.

    Args:
        inputs: The token of each row.
        depths: How many rows are above each row.
        places: The number of each row on the walk.
        ends: The place behind the last row below each row.
        scored: How many rows, the last ones, have edges.
        firsts: The tokens that the prefix scores.
        edges: The row and the token of each other edge.
        paths: For each branch the edges of its scored tokens, counted through `firsts`, then `edges`.
        reused: For each branch how many of its tokens were rows already.
    """

    inputs: Ids
    depths: Ids
    places: Ids
    ends: Ids
    scored: int
    firsts: Ids
    edges: tuple[tuple[int, int], ...]
    paths: tuple[tuple[int, ...], ...]
    reused: tuple[int, ...]


def packs(branches: Sequence[Branch], *, rows: int, share: bool = True) -> Iterator[Pack]:
    """Cut branches into packs of at most `rows` rows, or of one branch that takes more.

    Args:
        branches: In sorted order, so that those that begin alike are neighbours.
        rows: The bound on rows.
        share: Whether equal beginnings become one; if not, each branch is a chain of rows that follow each other.
    """
    tree = _Tree(share)
    for branch in branches:
        if tree.inputs and len(tree.inputs) + tree.cost(branch) > rows:
            yield tree.finish()
            tree = _Tree(share)
        tree.add(branch)
    if tree.paths:
        yield tree.finish()


@dataclass(slots=True)
class _Tree:
    """A pack in the making; rows are numbered by their places."""

    share: bool
    inputs: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    edges: dict[tuple[int, int], None] = field(default_factory=dict)
    paths: list[list[tuple[int, int]]] = field(default_factory=list)
    reused: list[int] = field(default_factory=list)
    open_rows: list[int] = field(default_factory=list)  # from the top to the row that was added last

    def cost(self, branch: Branch) -> int:
        """Return how many rows a branch adds."""
        return len(branch.tokens) - 1 - self._common(branch)

    def add(self, branch: Branch) -> None:
        """Add a branch; its last token is no row, for nothing comes after it."""
        common = self._common(branch)
        self._close(common)
        for depth in range(common, len(branch.tokens) - 1):
            self.open_rows.append(len(self.inputs))
            self.inputs.append(branch.tokens[depth])
            self.depths.append(depth)
            self.ends.append(0)
        above = [_PREFIX, *self.open_rows]
        path = [(above[index], branch.tokens[index]) for index in range(branch.scored, len(branch.tokens))]
        self.edges.update(dict.fromkeys(path))
        self.paths.append(path)
        self.reused.append(common)

    def finish(self) -> Pack:
        """Return the pack."""
        self._close(0)
        with_edges = {row for row, _ in self.edges}
        order = sorted(range(len(self.inputs)), key=lambda row: (row in with_edges, row))
        moved = {row: index for index, row in enumerate(order)}
        edges = sorted(self.edges, key=lambda edge: edge[0] != _PREFIX)
        number = {edge: index for index, edge in enumerate(edges)}
        return Pack(
            inputs=tuple(self.inputs[row] for row in order),
            depths=tuple(self.depths[row] for row in order),
            places=tuple(order),
            ends=tuple(self.ends[row] for row in order),
            scored=len(with_edges - {_PREFIX}),
            firsts=tuple(token for row, token in edges if row == _PREFIX),
            edges=tuple((moved[row], token) for row, token in edges if row != _PREFIX),
            paths=tuple(tuple(number[edge] for edge in path) for path in self.paths),
            reused=tuple(self.reused),
        )

    def _common(self, branch: Branch) -> int:
        """Return how many of the rows from the top the branch shares."""
        if not self.share:
            return 0
        rows = self.open_rows[: len(branch.tokens) - 1]
        for depth, row in enumerate(rows):
            if self.inputs[row] != branch.tokens[depth]:
                return depth
        return len(rows)

    def _close(self, kept: int) -> None:
        for row in self.open_rows[kept:]:
            self.ends[row] = len(self.inputs)
        del self.open_rows[kept:]


class PackBatch:
    """Packs behind prefixes of their own as tensors, each a sequence that is padded at its beginning.

    Args:
        packs: B packs; `rows` is the number of rows of the largest.
        device: Where the tensors are.
    """

    def __init__(self, packs: Sequence[Pack], device: torch.device) -> None:
        self.packs = packs
        self.rows = max(len(pack.inputs) for pack in packs)
        columns = [[pack.inputs, pack.depths, pack.places, pack.ends] for pack in packs]
        padded = [[[0] * (self.rows - len(column)) + list(column) for column in pack] for pack in columns]
        # Padding ends at place 0, so no row is below it.
        self.inputs, self.depths, self.places, self.ends = torch.tensor(padded, device=device).unbind(1)  # (B, rows)

    @property
    def scored(self) -> Tensor:
        """Return the rows that have edges, those of each pack in turn, counted through all the (B, rows)."""
        found = [
            (number + 1) * self.rows - back
            for number, pack in enumerate(self.packs)
            for back in range(pack.scored, 0, -1)
        ]
        return torch.tensor(found, dtype=torch.long, device=self.inputs.device)

    def mask(self, prefixes: Tensor, width: int, dtype: torch.dtype) -> Tensor:
        """Return the numbers added to attention scores, (B, 1, rows, width + rows), for any attention code.

        Args:
            prefixes: The lengths (B,) of the prefixes.
            width: Columns that the prefixes take, padding at their ends counted.
            dtype: That of the model.
        """
        place = self.places[:, :, None]
        below = (self.places[:, None, :] <= place) & (place < self.ends[:, None, :])  # (B, rows, rows)
        before = torch.arange(width, device=prefixes.device)[None, :] < prefixes[:, None]  # (B, width)
        seen = torch.cat([before[:, None, :].expand(-1, self.rows, -1), below], dim=2)[:, None]
        return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min)

    def read(self, last: Tensor | None, logits: Tensor | None) -> list[list[list[float]]]:
        """Return for each pack the log-probabilities of the scored tokens of each of its branches.

        Args:
            last: The logits (B, vocabulary) of the last token of each prefix, if a pack has firsts.
            logits: The logits (n, vocabulary) of the n rows of `scored`, if a pack has edges.
        """
        firsts = [(number, token) for number, pack in enumerate(self.packs) for token in pack.firsts]
        edges, before = [], 0
        for pack in self.packs:
            start = before - len(pack.inputs) + pack.scored
            edges += [(start + row, token) for row, token in pack.edges]
            before += pack.scored
        first, rest = iter(edge_logprobs(last, firsts)), iter(edge_logprobs(logits, edges))
        found = []
        for pack in self.packs:
            values = [next(first) for _ in pack.firsts] + [next(rest) for _ in pack.edges]
            found.append([[values[edge] for edge in path] for path in pack.paths])
        return found


def edge_logprobs(logits: Tensor | None, edges: Sequence[tuple[int, int]]) -> list[float]:
    """Return the natural-log probability of each (row, token) under float32 logits (rows, vocabulary)."""
    if logits is None or not edges:
        return []
    totals = torch.cat([part.logsumexp(1) for part in torch.split(logits, _ROWS_TOGETHER)])
    rows, tokens = torch.tensor(edges, device=logits.device).unbind(1)
    values: list[float] = (logits[rows, tokens] - totals[rows]).tolist()
    return values


def pad_right(rows: Sequence[Ids], fill: int) -> Tensor:
    """Return rows of ids as one tensor (rows, longest), filled up at their ends."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows])

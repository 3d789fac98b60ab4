"""Prompts that begin alike, and the tree of tokens behind them: what one pass computes of many titles."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from llmrs_bench.llm.tokenization import Ids, Job

_PREFIX = -1  # the row of the prefix' last token
# Prompts that share less than this part of the longest of them are read each by itself.
_WORTH_SHARING = 0.25
# A pass of its own over the beginning of several prompts has to save so many tokens.
_WORTH_A_PASS = 64


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


@dataclass(frozen=True, slots=True)
class Group:
    """Prompts that share the tokens of `prefix`.

    Args:
        jobs: The prompts, each with choices.
        prefix: The tokens that are read once.
        owners: For each branch of the packs, in their order, the number of its job and its suffix.
        packs: The rest of the prompts and their choices.
    """

    jobs: tuple[Job, ...]
    prefix: Ids
    owners: tuple[tuple[int, Ids], ...]
    packs: tuple[Pack, ...]

    @property
    def rows(self) -> int:
        """Return the number of rows of the largest pack."""
        return max(len(pack.inputs) for pack in self.packs)

    def assign(self, scored: Sequence[list[float]]) -> list[list[list[float]]]:
        """Return for each job the log-probabilities of its distinct suffixes.

        Args:
            scored: Those of each branch of the packs, in their order.
        """
        found = dict(zip(self.owners, scored, strict=True))
        return [[found[number, suffix] for suffix in job.tokens.distinct] for number, job in enumerate(self.jobs)]

    def cached(self) -> list[int]:
        """Return for each job how many tokens of its prompt were not computed again for it."""
        behind = [len(job.tokens.prefix) - len(self.prefix) for job in self.jobs]
        kept = list(behind)
        reused = [count for pack in self.packs for count in pack.reused]
        for (number, _), count in zip(self.owners, reused, strict=True):
            kept[number] = min(kept[number], count)
        # The first prompt of all is the one for which the prefix was read.
        return [len(self.prefix) * (number > 0) + count for number, count in enumerate(kept)]


def group_jobs(jobs: Sequence[Job], *, rows: int, least: int = 1) -> list[Group]:
    """Return the jobs in groups, those of one request together if they begin alike, longest prefix first.

    Args:
        jobs: Each with choices, in an order of their own.
        rows: The most rows of a pack.
        least: The least number of tokens that the prompts of a group share.
    """
    requests: dict[str, list[Job]] = {}
    for job in jobs:
        requests.setdefault(job.prompt.request_id, []).append(job)
    groups = [group for members in requests.values() for group in _request_groups(members, rows, least)]
    return sorted(groups, key=lambda group: (-len(group.prefix), -group.rows, group.jobs[0].prompt.prompt_id))


def chain_group(job: Job, *, start: int, rows: int) -> Group:
    """Return the group of one job whose choices each begin a text, with the token `start` before them."""
    distinct = job.tokens.distinct
    branches = [Branch((start, *suffix), 1) for suffix in distinct]
    owners = tuple((0, suffix) for suffix in distinct)
    return Group((job,), job.tokens.prefix, owners, tuple(packs(branches, rows=rows, share=False)))


def fits(batch: Sequence[Group], *, tokens: int, padding: float = 0.125) -> bool:
    """Return whether groups may be computed beside each other.

    Groups of several packs stand alone. The others are padded to the longest prefix and the largest pack; that may
    take `tokens` in all and add a share of `padding` to what is needed.
    """
    if any(len(group.packs) > 1 for group in batch):
        return len(batch) == 1
    padded = len(batch) * (max(len(group.prefix) for group in batch) + max(group.rows for group in batch))
    needed = sum(len(group.prefix) + group.rows for group in batch)
    return padded <= tokens and padded <= (1 + padding) * needed


def shared_head(prefixes: Sequence[Ids], *, switch: int = 0) -> int:
    """Return how many tokens that all prefixes begin with are worth a pass of their own, which reads them once.

    At least the last token of each prefix is left. What is counted as read once of a group does not hold this: how
    many groups are computed together depends on the memory.

    Args:
        prefixes: Those of the groups of a batch.
        switch: The length at which rotary positions change, 0 if they do not: a head that is shorter than that is
            none of prefixes that are longer.
    """
    head = min(_shared(prefixes), min(map(len, prefixes)) - 1)
    if head * (len(prefixes) - 1) < _WORTH_A_PASS or head <= switch < max(map(len, prefixes)):
        return 0
    return head


def _request_groups(members: list[Job], rows: int, least: int) -> Iterator[Group]:
    shared = _shared([job.tokens.prefix for job in members])
    if shared >= max(least, _WORTH_SHARING * max(len(job.tokens.prefix) for job in members)):
        yield _group(members, shared, rows)
        return
    for job in members:
        yield _group([job], len(job.tokens.prefix), rows)


def _group(jobs: list[Job], shared: int, rows: int) -> Group:
    branches = sorted(
        (Branch(job.tokens.prefix[shared:] + suffix, len(job.tokens.prefix) - shared), number, suffix)
        for number, job in enumerate(jobs)
        for suffix in job.tokens.distinct
    )
    owners = tuple((number, suffix) for _, number, suffix in branches)
    made = tuple(packs([branch for branch, _, _ in branches], rows=rows))
    return Group(tuple(jobs), jobs[0].tokens.prefix[:shared], owners, made)


def _shared(prefixes: Sequence[Ids]) -> int:
    """Return how many tokens all the prefixes begin with."""
    least, most = min(prefixes), max(prefixes)
    pairs = zip(least, most, strict=False)
    return next((index for index, (one, other) in enumerate(pairs) if one != other), min(len(least), len(most)))

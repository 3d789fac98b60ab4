"""Prompts that begin alike as one group: what they share is read once, the rest is packed behind it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmrs_bench.engines.jobs import Job
from llmrs_bench.engines.packing import Branch, Pack, packs
from llmrs_bench.engines.tokens import Ids

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Prompts that share less than this part of the longest of them are read each by itself.
_WORTH_SHARING = 0.25
# Rows packed together compare each with each, though most pairs are masked. This share of the layers' other
# arithmetic may be lost to that; a few rows are packed in any case, for a pass over few rows wastes more.
_LOST = 0.1
_FEW_ROWS = 512


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


def worthwhile_rows(model: "PreTrainedModel") -> int:
    """Return how many rows to pack together, by the shape of the model."""
    config = model.config.get_text_config()
    embedding = model.get_input_embeddings().weight.numel()
    weights = model.num_parameters() - embedding * (1 if config.tie_word_embeddings else 2)
    pair = 4 * config.num_hidden_layers * config.hidden_size  # operations for a row and one that it sees
    return max(_FEW_ROWS, int(_LOST * 2 * weights / pair))


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

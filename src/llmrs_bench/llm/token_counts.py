"""Tokens of prompts that an engine would read, before it is started."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from llmrs_bench.core.types import Prompt
from llmrs_bench.llm.backends.token_tree import group_jobs
from llmrs_bench.llm.tokenization import Ids, Job, Tokenized, shared

_ROWS = 512  # of a pack, as a small model has them
_BLOCK = 16  # tokens that vLLM keeps together, unless it is told otherwise


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Tokens of some prompts, named as in the cost of a run.

    Args:
        prompt: Of all prompts.
        cached: Of these, what the engine has from another prompt already.
        choices: Of the distinct choices of each prompt.
    """

    prompt: int
    cached: int
    choices: int


def token_counts(prompts: Sequence[Prompt], tokens: Sequence[Tokenized], *, engine: str) -> TokenCounts:
    """Count what an engine computes of prompts that it is asked together.

    Args:
        prompts: All prompts of some requests.
        tokens: Their tokens.
        engine: `transformers`, which reads what choices of one request share once; `vllm`, whose cache holds whole
            blocks of all it has read; others keep nothing that is known here.
    """
    jobs = [Job(prompt, each) for prompt, each in zip(prompts, tokens, strict=True)]
    cached = 0
    if engine == "transformers":
        groups = group_jobs([job for job in jobs if job.tokens.suffixes], rows=_ROWS)
        cached = sum(sum(group.cached()) for group in groups)
    elif engine == "vllm":
        cached = _blocks_read_before([job.tokens.prefix for job in jobs])
    return TokenCounts(
        prompt=sum(len(job.tokens.prefix) for job in jobs),
        cached=cached,
        choices=sum(sum(map(len, job.tokens.distinct)) for job in jobs),
    )


def _blocks_read_before(prefixes: Sequence[Ids]) -> int:
    """Return how many tokens lie in whole blocks that another prompt begins with, too; the last one is always read."""
    ordered = sorted(prefixes)
    return sum(min(shared(one, other), len(other) - 1) // _BLOCK * _BLOCK for one, other in pairwise(ordered))

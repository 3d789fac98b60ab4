"""Seeds of sampled answers: they depend on what is asked, not on what is asked beside it."""

from llmrs_bench.engines.tokens import Ids
from llmrs_bench.hashing import hash64


def sample_seed(seed: int, sample: int, asked: str | Ids) -> int:
    """Return the seed of one sampled text, below 2**31, which every server takes.

    Args:
        seed: Of the engine.
        sample: Tells apart the answers to one prompt.
        asked: The prompt, as text or as tokens.
    """
    text = asked if isinstance(asked, str) else ",".join(map(str, asked))
    return hash64(f"sample\0{seed}\0{sample}\0{text}") >> 33

"""Seeds of sampled answers: they depend on what is asked, not on what is asked beside it."""

import json

from llmrs_bench.engines.tokens import Ids
from llmrs_bench.hashing import hash64
from llmrs_bench.types import Prompt


def sample_seed(seed: int, sample: int, asked: str | Ids) -> int:
    """Return the seed of one sampled text, below 2**31, which every server takes.

    Args:
        seed: Of the engine.
        sample: Tells apart the answers to one prompt.
        asked: The prompt, as text or as tokens.
    """
    text = asked if isinstance(asked, str) else ",".join(map(str, asked))
    return hash64(f"sample\0{seed}\0{sample}\0{text}") >> 33


def asked_text(prompt: Prompt) -> str:
    """Return all that is asked as one text: two prompts that read alike have the same, whatever their ids."""
    return json.dumps([[message.role, message.content] for message in prompt.messages], ensure_ascii=False)

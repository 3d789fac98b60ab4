"""The second pass against a server that answers by the book: which rows it asks for, and which answers it believes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from llmrs_bench.llm.tokenization import Ids, Job, Tokenized
from tiny_models import choice_prompt

pytest.importorskip("vllm")
pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

PREFIX = (1, 2, 3, 4)
SUFFIXES = ((5,), (5, 6), (5, 6, 7), (8, 9), (8, 9, 9))


def truth(text: Ids, index: int) -> float:
    """Return the log-probability of the token at `index`, which depends on all before it."""
    return -sum((position + 1) * token for position, token in enumerate(text[: index + 1])) / 100


@dataclass
class Server:
    """Answers as the second runner does: rows from `prompt_logprob_start` on, or none if the cache holds more."""

    cached: int = 0
    asked: list[tuple[Ids, Any]] = field(default_factory=list)

    def __call__(self, prompts: Sequence[Ids], params: Sequence[Any]) -> list[Any]:
        self.asked += zip(prompts, params, strict=True)
        return [self.answer(text, asked) for text, asked in zip(prompts, params, strict=True)]

    def answer(self, text: Ids, asked: Any) -> Any:
        cached = 0 if asked.skip_reading_prefix_cache else self.cached
        output = SimpleNamespace(num_cached_tokens=cached, prompt_logprobs=None, prompt_token_id_logprobs=None)
        following = {
            token: SimpleNamespace(logprob=truth((*text, token), len(text))) for token in asked.logprob_token_ids or ()
        }
        output.outputs = [SimpleNamespace(logprobs=[following])]
        if asked.prompt_logprobs is not None:
            rows = [{token: SimpleNamespace(logprob=truth(text, i))} for i, token in enumerate(text)]
            output.prompt_logprobs = [None, *rows[1:]]
        if asked.prompt_logprob_token_ids is not None and cached <= asked.prompt_logprob_start:
            start = asked.prompt_logprob_start + 1
            assert [row[0] for row in asked.prompt_logprob_token_ids] == list(text[start:])
            output.prompt_token_id_logprobs = np.array([[truth(text, i)] for i in range(start, len(text))])
        return output


@pytest.mark.parametrize("way", ["rows", "ids", "steps"])
@pytest.mark.parametrize("cached", [0, 4, 5, 6, 7])
def test_scores_are_right_however_much_the_cache_holds(way: Any, cached: int) -> None:
    from llmrs_bench.llm.backends.vllm_likelihood import VllmScorer

    server = Server(cached)
    scorer = VllmScorer(server, way=way)
    job = Job(choice_prompt(), Tokenized(PREFIX, SUFFIXES))
    scored, _ = scorer.score([job])[0]
    for suffix, values in zip(job.tokens.distinct, scored, strict=True):
        text = PREFIX + suffix
        assert values == pytest.approx([truth(text, len(PREFIX) + i) for i in range(len(suffix))])
    assert scorer.score_plain(job) == [pytest.approx(values) for values in scored]
    if way == "steps":
        assert scorer.reruns == 0
    else:
        # (5, 6, 7) and (8, 9, 9) are asked from their second token on, which needs the row of index 4.
        assert scorer.reruns == (2 if cached > len(PREFIX) else 0)


def test_only_rows_that_are_wanted_are_asked_for() -> None:
    from llmrs_bench.llm.backends.vllm_likelihood import VllmScorer

    server = Server()
    VllmScorer(server, way="ids").score([Job(choice_prompt(), Tokenized(PREFIX, ((5, 6, 7), (5, 6, 8, 9))))])
    asked = {text: params.prompt_logprob_start for text, params in server.asked if params.prompt_logprob_token_ids}
    assert asked == {(*PREFIX, 5, 6, 8, 9): 4, (*PREFIX, 5, 6, 7): 5}

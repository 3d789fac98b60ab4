"""Exact log-probabilities of continuations on vLLM, in two waves of requests that share the cache of the prompt."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from vllm import SamplingParams

from llmrs_bench.engines.jobs import Job
from llmrs_bench.engines.tokens import Ids
from llmrs_bench.errors import EngineError

if TYPE_CHECKING:
    from vllm import LLM, RequestOutput

_MOST_IDS = 128  # vllm.sampling_params.MAX_LOGPROB_TOKEN_IDS

Scored = list[list[float]]  # for each of a job's distinct suffixes the log-probabilities of its tokens


class Waves:
    """Scores the choices of several prompts together.

    The first wave asks for the log-probabilities of the first token of each choice, which also puts the prompt
    into the prefix cache. The second sends prompt and choice, reads that cache, and takes the log-probabilities
    of the other tokens. vLLM leaves the rows of cached tokens uncomputed and may show values of earlier requests
    there, so an answer counts only if its number of cached tokens says that all the rows were computed; the
    others are asked again without the cache, and counted in `reruns`.

    Args:
        llm: With prefix caching on.
    """

    def __init__(self, llm: "LLM") -> None:
        self.llm = llm
        self.reruns = 0
        self.requests = 0

    def score(self, jobs: Sequence[Job]) -> list[tuple[Scored, int]]:
        """Return for each job its scores, and how many tokens of its prompt had been in the cache before."""
        firsts = self._first_tokens(jobs)
        rest = self._other_tokens(jobs)
        return [
            ([[first[suffix[0]], *rest.get((number, suffix), [])] for suffix in job.tokens.distinct], cached)
            for number, (job, (first, cached)) in enumerate(zip(jobs, firsts, strict=True))
        ]

    def score_plain(self, job: Job) -> Scored:
        """Score each distinct suffix of one job by a request of its own that reads no cache."""
        prefix, distinct = job.tokens.prefix, job.tokens.distinct
        outputs = self._ask([prefix + suffix for suffix in distinct], [_prompt_rows(cache=False)] * len(distinct))
        return [_all_rows(out, prefix + suffix, len(prefix)) for out, suffix in zip(outputs, distinct, strict=True)]

    def _first_tokens(self, jobs: Sequence[Job]) -> list[tuple[dict[int, float], int]]:
        prompts, params, owners = [], [], []
        for number, job in enumerate(jobs):
            for ids in _chunks(sorted({suffix[0] for suffix in job.tokens.distinct})):
                prompts.append(job.tokens.prefix)
                params.append(SamplingParams(temperature=0.0, max_tokens=1, logprob_token_ids=ids, detokenize=False))
                owners.append(number)
        found: list[dict[int, float]] = [{} for _ in jobs]
        cached: list[int | None] = [None] * len(jobs)
        for owner, output in zip(owners, self._ask(prompts, params), strict=True):
            rows = output.outputs[0].logprobs or [{}]
            found[owner] |= {token: entry.logprob for token, entry in rows[0].items()}
            before = cached[owner]
            cached[owner] = (output.num_cached_tokens or 0) if before is None else before
        return [(values, count or 0) for values, count in zip(found, cached, strict=True)]

    def _other_tokens(self, jobs: Sequence[Job]) -> dict[tuple[int, Ids], list[float]]:
        wanted = [(n, suffix) for n, job in enumerate(jobs) for suffix in job.tokens.distinct if len(suffix) > 1]
        starts = [len(jobs[n].tokens.prefix) for n, _ in wanted]
        texts = [jobs[n].tokens.prefix + suffix for n, suffix in wanted]
        found: dict[tuple[int, Ids], list[float]] = {}
        again = []
        outputs = self._ask(texts, [_prompt_rows(cache=True)] * len(texts))
        for index, (text, start, output) in enumerate(zip(texts, starts, outputs, strict=True)):
            # The row of position `start` scores the first token asked for here: it has to be computed.
            computed = output.num_cached_tokens is not None and output.num_cached_tokens <= start
            rows = _rows(output, text, start + 1) if computed else None
            if rows is None:
                again.append(index)
            else:
                found[wanted[index]] = rows
        self.reruns += len(again)
        outputs = self._ask([texts[index] for index in again], [_prompt_rows(cache=False)] * len(again))
        for index, output in zip(again, outputs, strict=True):
            found[wanted[index]] = _all_rows(output, texts[index], starts[index] + 1)
        return found

    def _ask(self, prompts: Sequence[Ids], params: Sequence[SamplingParams]) -> "list[RequestOutput]":
        if not prompts:
            return []
        self.requests += len(prompts)
        texts = [{"prompt_token_ids": list(ids)} for ids in prompts]
        outputs: list[Any] = self.llm.generate(texts, list(params), use_tqdm=False)
        return outputs


def _prompt_rows(*, cache: bool) -> SamplingParams:
    """Ask for the log-probability of each prompt token; vLLM reads no prefix cache for these unless told to."""
    return SamplingParams(
        temperature=0.0,
        max_tokens=1,
        prompt_logprobs=0,
        skip_reading_prefix_cache=not cache,
        flat_logprobs=True,
        detokenize=False,
    )


def _rows(output: "RequestOutput", text: Ids, start: int) -> list[float] | None:
    """Return the log-probabilities of the tokens of `text` from index `start` on, or None if one is missing."""
    rows = output.prompt_logprobs
    if rows is None or len(rows) < len(text):
        return None
    entries = [(rows[index] or {}).get(text[index]) for index in range(start, len(text))]
    found = [float(entry.logprob) for entry in entries if entry is not None]
    return found if len(found) == len(entries) else None


def _all_rows(output: "RequestOutput", text: Ids, start: int) -> list[float]:
    """Return what `_rows` does.

    Raises:
        EngineError: If vLLM left one out.
    """
    rows = _rows(output, text, start)
    if rows is None:
        raise EngineError("vLLM left out log-probabilities of a prompt", hint="Use --engine transformers.")
    return rows


def _chunks(ids: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(ids), _MOST_IDS):
        yield ids[start : start + _MOST_IDS]

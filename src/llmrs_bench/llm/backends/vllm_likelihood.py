"""Exact log-probabilities of continuations on vLLM, in two steps of requests that share the cache of the prompt."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from vllm import SamplingParams

from llmrs_bench.core.errors import EngineError
from llmrs_bench.llm.tokenization import Ids, Job, shared

if TYPE_CHECKING:
    from vllm import RequestOutput

_MOST_IDS = 128  # vllm.sampling_params.MAX_LOGPROB_TOKEN_IDS

Scored: TypeAlias = list[list[float]]  # for each of a job's distinct suffixes the log-probabilities of its tokens
Way: TypeAlias = Literal["rows", "ids", "steps"]
Send: TypeAlias = "Callable[[Sequence[Ids], Sequence[SamplingParams]], list[RequestOutput]]"


@dataclass(frozen=True, slots=True)
class Tail:
    """The tokens of a suffix, from index `start` on, that no suffix before it has scored."""

    job: int
    suffix: Ids
    start: int


class VllmScorer:
    """Scores the choices of several prompts together.

    The first pass asks for the log-probabilities of the first token of each choice, which also puts the prompt
    into the prefix cache. The second sends prompt and choice, reads that cache, and takes the log-probabilities
    of the tokens that no other choice of the prompt begins with. vLLM leaves the rows of cached tokens uncomputed and
    may show values of earlier requests there, so an answer counts only if its number of cached tokens says that all
    the rows were computed; the others are asked again without the cache, and counted in `reruns`.

    Args:
        send: Has vLLM answer prompts of token ids.
        way: How the second pass asks. `rows`: for the log-probability of each prompt token. `ids`: for those of the
            wanted tokens alone, as the second model runner can (`prompt_logprob_token_ids`), so that only their rows
            meet the output matrix. `steps`: by a request for each token, as if it were the next to write, which needs
            no rows of a prompt: vLLM fails on those, or takes those of another request, where there is an adapter.
    """

    def __init__(self, send: Send, *, way: Way) -> None:
        self.send = send
        self.way = way
        self.reruns = 0

    def score(self, jobs: Sequence[Job]) -> list[tuple[Scored, int]]:
        """Return for each job its scores, and how many tokens of its prompt had been in the cache before."""
        firsts = self._first_tokens(jobs, cache=True)
        tails = [tail for number, job in enumerate(jobs) for tail in tails_of(number, job.tokens.distinct)]
        found = dict(zip(((tail.job, tail.suffix) for tail in tails), self._rows_of(jobs, tails), strict=True))
        return [
            (_assemble(number, job.tokens.distinct, first, found), cached)
            for number, (job, (first, cached)) in enumerate(zip(jobs, firsts, strict=True))
        ]

    def score_plain(self, job: Job) -> Scored:
        """Score each distinct suffix of one job by a request of its own that reads no cache."""
        prefix, distinct = job.tokens.prefix, job.tokens.distinct
        if self.way == "steps":
            return self._plain_steps(job)
        outputs = self.send([prefix + suffix for suffix in distinct], [_prompt_rows(cache=False)] * len(distinct))
        return [_all_rows(out, prefix + suffix, len(prefix)) for out, suffix in zip(outputs, distinct, strict=True)]

    def _plain_steps(self, job: Job) -> Scored:
        distinct = job.tokens.distinct
        first, _ = self._first_tokens([job], cache=False)[0]
        tails = [Tail(0, suffix, 1) for suffix in distinct]
        rest = self._steps([job], tails, cache=False)
        return [[first[suffix[0]], *values] for suffix, values in zip(distinct, rest, strict=True)]

    def _first_tokens(self, jobs: Sequence[Job], *, cache: bool) -> list[tuple[dict[int, float], int]]:
        prompts, params, owners = [], [], []
        for number, job in enumerate(jobs):
            for ids in _chunks(sorted({suffix[0] for suffix in job.tokens.distinct})):
                prompts.append(job.tokens.prefix)
                params.append(_next_token(ids, cache=cache))
                owners.append(number)
        found: list[dict[int, float]] = [{} for _ in jobs]
        cached: list[int | None] = [None] * len(jobs)
        for owner, output in zip(owners, self.send(prompts, params), strict=True):
            rows = output.outputs[0].logprobs or [{}]
            found[owner] |= {token: entry.logprob for token, entry in rows[0].items()}
            before = cached[owner]
            cached[owner] = (output.num_cached_tokens or 0) if before is None else before
        return [(values, count or 0) for values, count in zip(found, cached, strict=True)]

    def _rows_of(self, jobs: Sequence[Job], tails: Sequence[Tail]) -> list[list[float]]:
        """Return the log-probabilities of the tokens of each tail."""
        if self.way == "steps":
            return self._steps(jobs, tails, cache=True)
        texts = [jobs[tail.job].tokens.prefix + tail.suffix for tail in tails]
        # The index in its text of the first token that a tail wants; the row before it has to be computed.
        wanted = [len(jobs[tail.job].tokens.prefix) + tail.start for tail in tails]
        ask = _wanted_rows if self.way == "ids" else _cached_rows
        outputs = self.send(texts, [ask(text, start) for text, start in zip(texts, wanted, strict=True)])
        rows = [_computed(*found) for found in zip(outputs, texts, wanted, strict=True)]
        again = [index for index, found in enumerate(rows) if found is None]
        self.reruns += len(again)
        outputs = self.send([texts[index] for index in again], [_prompt_rows(cache=False)] * len(again))
        redone = {i: _all_rows(output, texts[i], wanted[i]) for i, output in zip(again, outputs, strict=True)}
        return [redone[index] if found is None else found for index, found in enumerate(rows)]

    def _steps(self, jobs: Sequence[Job], tails: Sequence[Tail], *, cache: bool) -> list[list[float]]:
        """Return the log-probabilities of the tokens of each tail, by a request for each."""
        wanted = [(number, index) for number, tail in enumerate(tails) for index in range(tail.start, len(tail.suffix))]
        texts = [jobs[tails[n].job].tokens.prefix + tails[n].suffix[:index] for n, index in wanted]
        tokens = [tails[number].suffix[index] for number, index in wanted]
        outputs = self.send(texts, [_next_token([token], cache=cache) for token in tokens])
        found: list[list[float]] = [[] for _ in tails]
        for (number, _), token, output in zip(wanted, tokens, outputs, strict=True):
            rows: Any = output.outputs[0].logprobs
            found[number].append(float(rows[0][token].logprob))
        return found


def tails_of(number: int, distinct: Sequence[Ids]) -> Iterator[Tail]:
    """Yield what has to be asked beyond the first tokens so that every token of every suffix is scored once.

    In reverse order every suffix comes behind those that it begins, and shares most with the one just before it.
    """
    before: Ids = ()
    for suffix in reversed(distinct):
        start = max(shared(before, suffix), 1)
        if start < len(suffix):
            yield Tail(number, suffix, start)
        before = suffix


def _assemble(
    number: int, distinct: Sequence[Ids], first: dict[int, float], found: dict[tuple[int, Ids], list[float]]
) -> Scored:
    scored: Scored = []
    before: Ids = ()
    for suffix in reversed(distinct):
        known = shared(before, suffix)
        head = scored[-1][:known] if known else [first[suffix[0]]]
        scored.append([*head, *found.get((number, suffix), [])])
        before = suffix
    return scored[::-1]


def _prompt_rows(*, cache: bool) -> SamplingParams:
    """Ask for the log-probability of each prompt token; vLLM reads no prefix cache for these unless asked to."""
    return SamplingParams(
        temperature=0.0,
        max_tokens=1,
        prompt_logprobs=0,
        skip_reading_prefix_cache=not cache,
        flat_logprobs=True,
        detokenize=False,
    )


def _next_token(ids: list[int], *, cache: bool) -> SamplingParams:
    """Ask for the log-probabilities of some tokens as the one that comes next."""
    return SamplingParams(
        temperature=0.0, max_tokens=1, logprob_token_ids=ids, skip_reading_prefix_cache=not cache, detokenize=False
    )


def _cached_rows(text: Ids, start: int) -> SamplingParams:
    return _prompt_rows(cache=True)


def _wanted_rows(text: Ids, start: int) -> SamplingParams:
    """Ask for the log-probabilities of the tokens of `text` from index `start` on alone."""
    return SamplingParams(
        temperature=0.0,
        max_tokens=1,
        prompt_logprob_token_ids=[[token] for token in text[start:]],
        prompt_logprob_start=start - 1,
        skip_reading_prefix_cache=False,
        detokenize=False,
    )


def _computed(output: "RequestOutput", text: Ids, start: int) -> list[float] | None:
    """Return the log-probabilities of the tokens from index `start` on, or None if they were not all computed."""
    if output.num_cached_tokens is None or output.num_cached_tokens > start - 1:
        return None
    by_ids: Any = getattr(output, "prompt_token_id_logprobs", None)
    if by_ids is not None:
        return [float(value) for value in by_ids[:, 0]] if len(by_ids) == len(text) - start else None
    return _rows(output, text, start)


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

"""Template `pairwise`: show two candidates at a time, in both orders, read which of them is the likelier answer."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from math import fsum, inf, tanh
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from llmrs_bench.core import config
from llmrs_bench.core.types import Mode, Prompt, Request, Response, Scores
from llmrs_bench.prompts.context import PromptContext, need_letters
from llmrs_bench.prompts.strategies.base import Exchange, ItemCatalog, Normalization
from llmrs_bench.prompts.strategies.comparison import (
    Group,
    Sort,
    all_pairs,
    comparison_kinds,
    comparison_notes,
    drawn,
    finish,
    label_logprobs,
    lots,
    played,
    top_scores,
    tournament,
    unanswered,
    write_comparisons,
)
from llmrs_bench.prompts.template import PromptTemplate

_TOP = 10


class PairwiseOptions(config.Options):
    """Which pairs are compared.

    Args:
        method: `all` pairs, N(N-1) calls in one round for N candidates; or `heapsort`, those that find the best `top`,
            about 2(N + top log2 N) calls of which most wait for others.
        top: How many of the best `heapsort` finds; the candidates behind them share one score.
    """

    method: Literal["all", "heapsort"] = "all"
    top: int = Field(default=_TOP, ge=1)

    @model_validator(mode="after")
    def no_idle_top(self) -> Self:
        """Refuse a `top` that nothing reads."""
        if self.method == "all" and self.top != _TOP:
            raise ValueError("method=all orders all candidates, so top has no effect; add method=heapsort")
        return self


class Pairwise:
    """The model says which of two candidates comes next (pairwise ranking prompting, Qin et al., arXiv 2306.17563).

    Each pair is shown in both orders, and the difference of the letters' log-probabilities is averaged over the two, so
    that the order carries no weight. With `all` pairs a candidate's score is the number of others it beats, where
    a win counts as its probability, the logistic function of that difference; the paper counts 1, or 1/2
    where the two orders disagree. A pair without both answers counts as 1/2. `label_mass` is the probability that
    the model answers with one of the two letters at all, `calls` the number of prompts of a request.
    """

    Options: ClassVar[type[config.Options]] = PairwiseOptions
    mode: ClassVar[Mode] = "label"
    rounds: ClassVar[bool] = True

    def __init__(self, options: PairwiseOptions, prompt_template: PromptTemplate) -> None:
        self.prompt_template = need_letters(prompt_template, "pairwise")
        self.method = options.method
        self.top = options.top

    def render(
        self, request: Request, catalog: ItemCatalog, *, history: int, asked: Sequence[Exchange] = ()
    ) -> list[Prompt]:
        """Write two calls for each pair that is to be compared next."""
        judge = _Pairs(request.request_id, _by_shown(asked))
        shown = unanswered(self._sort(lots(request.request_id, request.candidates)), judge)
        return write_comparisons(PromptContext(self.prompt_template, request, catalog, history), shown)

    def parse(self, prompts: Sequence[Prompt], responses: Sequence[Response], reading: Normalization) -> Scores:
        """Score each candidate by its wins, or by its place among the best; none where no pair was decided."""
        request_id = prompts[0].request_id
        judge = _Pairs(request_id, _by_shown(zip(prompts, responses, strict=True)))
        items = lots(request_id, (item_id for prompt in prompts for item_id in prompt.shown))
        values: dict[str, float] = {}
        if any(judge.margin(shown) is not None for shown in judge.answers):
            all_of_them = self.method == "all"
            values = judge.wins(items) if all_of_them else top_scores(finish(self._sort(items), judge), items)
        return Scores(request_id, values, comparison_notes(responses), comparison_kinds(prompts, responses))

    def calls(self, candidates: int) -> int:
        """Return the prompts of a request: two for each pair."""
        if self.method == "all":
            return candidates * (candidates - 1) or candidates
        return sum(len(pair) for pair in played(self._sort(list(map(str, range(candidates))))))

    def _sort(self, items: Sequence[str]) -> Sort:
        return all_pairs(items) if self.method == "all" else tournament(items, size=2, top=self.top)


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Judges pairs by the mean of both orders."""

    request_id: str
    answers: Mapping[Group, Response]

    def orders(self, group: Group) -> list[Group]:
        return list(permutations(group))

    def unanswered(self, group: Group) -> list[Group]:
        return [shown for shown in permutations(group) if shown not in self.answers]

    def winner(self, group: Group) -> str:
        margin = self.margin(group)
        if not margin:
            return min(group, key=lambda item_id: drawn(self.request_id, item_id))
        return group[0] if margin > 0 else group[1]

    def margin(self, group: Group) -> float | None:
        """Return the mean log-odds of the first item against the last, None unless both orders were answered."""
        sums = dict.fromkeys(group, 0.0)
        for shown in permutations(group):
            response = self.answers.get(shown)
            logprobs = label_logprobs(response, len(shown)) if response else [-inf]
            if -inf in logprobs:
                return None
            for item_id, logprob in zip(shown, logprobs, strict=True):
                sums[item_id] += logprob
        return (sums[group[0]] - sums[group[-1]]) / 2

    def wins(self, items: Sequence[str]) -> dict[str, float]:
        """Return for each item the sum over the others of the probability that it beats them."""
        shares: dict[str, list[float]] = {item_id: [] for item_id in items}
        for one, other in combinations(items, 2):
            share = tanh((self.margin((one, other)) or 0.0) / 2) / 2  # the logistic function, less 1/2
            shares[one].append(0.5 + share)
            shares[other].append(0.5 - share)
        return {item_id: fsum(parts) for item_id, parts in shares.items()}


def _by_shown(exchanges: Iterable[Exchange]) -> dict[Group, Response]:
    return {prompt.shown: response for prompt, response in exchanges}

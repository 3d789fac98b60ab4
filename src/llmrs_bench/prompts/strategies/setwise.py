"""Template `setwise`: show a few candidates at a time with letters, the likeliest letter names the best of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import ClassVar

from pydantic import Field

from llmrs_bench.core import config
from llmrs_bench.core.types import Mode, Prompt, Request, Response, Scores
from llmrs_bench.prompts.context import PromptContext, need_letters
from llmrs_bench.prompts.strategies.base import Exchange, ItemCatalog, Normalization
from llmrs_bench.prompts.strategies.comparison import (
    Group,
    Sort,
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


class SetwiseOptions(config.Options):
    """How many candidates are compared at a time, and how far down they are sorted.

    Args:
        size: How many candidates a call shows.
        top: How many of the best are found, in order; the candidates behind them share one score.
    """

    size: int = Field(default=4, ge=2, le=26)
    top: int = Field(default=10, ge=1)


class Setwise:
    """The model says which of a few candidates comes next (setwise prompting, Zhuang et al., arXiv 2310.09497).

    The paper sorts with a heap whose parents are compared with their `size`-1 children; here the heap is a tree of
    winners of `size` children each, which asks for about as many comparisons of 20 candidates and for fewer of more,
    and lets more of them be made at once. A comparison is shown once, in a drawn order: it does not hide which letters
    a model likes, but no candidate gains by it on average. A letter that a server did not show is less likely than
    all those it did show. `label_mass` is the probability that the model answers with one of the letters at all,
    `calls` the number of prompts of a request.
    """

    Options: ClassVar[type[config.Options]] = SetwiseOptions
    mode: ClassVar[Mode] = "label"
    rounds: ClassVar[bool] = True

    def __init__(self, options: SetwiseOptions, prompt_template: PromptTemplate) -> None:
        self.prompt_template = need_letters(prompt_template, "setwise")
        self.size = options.size
        self.top = options.top

    def render(
        self, request: Request, catalog: ItemCatalog, *, history: int, asked: Sequence[Exchange] = ()
    ) -> list[Prompt]:
        """Write one call for each comparison that is to be made next."""
        judge = _Sets(request.request_id, _by_members(asked))
        shown = unanswered(self._sort(lots(request.request_id, request.candidates)), judge)
        return write_comparisons(PromptContext(self.prompt_template, request, catalog, history), shown)

    def parse(self, prompts: Sequence[Prompt], responses: Sequence[Response], reading: Normalization) -> Scores:
        """Score each candidate by its place among the best; none where no comparison was decided."""
        request_id = prompts[0].request_id
        judge = _Sets(request_id, _by_members(zip(prompts, responses, strict=True)))
        items = lots(request_id, (item_id for prompt in prompts for item_id in prompt.shown))
        usable = any(judge.likeliest(members) for members in judge.answers)
        values = top_scores(finish(self._sort(items), judge), items) if usable else {}
        return Scores(request_id, values, comparison_notes(responses), comparison_kinds(prompts, responses))

    def calls(self, candidates: int) -> int:
        """Return the prompts of a request: one for each comparison."""
        return len(played(self._sort(list(map(str, range(candidates))))))

    def _sort(self, items: Sequence[str]) -> Sort:
        return tournament(items, size=self.size, top=self.top)


@dataclass(frozen=True, slots=True)
class _Sets:
    """Judges sets by their likeliest letter."""

    request_id: str
    answers: Mapping[frozenset[str], Exchange]

    def orders(self, group: Group) -> list[Group]:
        members = sorted(group)
        return [tuple(sorted(members, key=lambda item_id: drawn(self.request_id, *members, item_id)))]

    def unanswered(self, group: Group) -> list[Group]:
        return [] if frozenset(group) in self.answers else self.orders(group)

    def winner(self, group: Group) -> str:
        tied = self.likeliest(group) or group
        return tied[0] if len(tied) == 1 else min(tied, key=lambda item_id: drawn(self.request_id, item_id))

    def likeliest(self, group: Iterable[str]) -> list[str]:
        """Return the items whose letters are the likeliest, none unless there is a usable answer."""
        exchange = self.answers.get(frozenset(group))
        if exchange is None:
            return []
        shown, response = exchange[0].shown, exchange[1]
        logprobs = label_logprobs(response, len(shown))
        best = max(logprobs)
        tied = [item_id for item_id, logprob in zip(shown, logprobs, strict=True) if logprob == best]
        return tied if best > -inf else []


def _by_members(exchanges: Iterable[Exchange]) -> dict[frozenset[str], Exchange]:
    return {frozenset(exchange[0].shown): exchange for exchange in exchanges}

"""Template `sliding-window`: rank a window of candidates by text, slide it from the end of the list to its start."""

from collections.abc import Iterable, Sequence
from math import ceil
from typing import ClassVar, Self

from pydantic import Field, model_validator

from llmrs_bench.core import config
from llmrs_bench.core.types import Mode, Prompt, Request, Response, Scores
from llmrs_bench.prompts.context import PromptContext
from llmrs_bench.prompts.strategies.base import Exchange, ItemCatalog, Normalization
from llmrs_bench.prompts.strategies.listwise import permutations, ranking_of
from llmrs_bench.prompts.template import PromptTemplate


class SlidingWindowOptions(config.Options):
    """How many candidates the model ranks at a time, and how its text is bound.

    Args:
        window: How many candidates a call shows.
        stride: How far the window moves; the best `window` - `stride` of a window are ranked again in the next.
        grammar: Let the engine admit nothing but a permutation of the candidates' numbers.
    """

    window: int = Field(default=10, ge=2)
    stride: int = Field(default=5, ge=1)
    grammar: bool = False

    @model_validator(mode="after")
    def windows_overlap(self) -> Self:
        """Refuse windows that carry nothing to the next."""
        if self.stride >= self.window:
            raise ValueError(f"stride={self.stride} must be less than window={self.window}, so that windows overlap")
        return self


class SlidingWindow:
    """The model ranks the last `window` candidates, then those `stride` before, to the start of the list.

    This is one pass of RankGPT (Sun et al., arXiv 2304.09542), with a last window that always reaches the start. The
    best `window` - `stride` candidates travel to the front; the order of those behind them is only partly known. In a
    window the candidates that the model leaves out keep their order behind those it names; one that it never names
    is not ranked. A candidate at the end of the list must be among the best of every window to come first, so
    where a model is unsure the initial order counts, which is random (see `requests`). `calls` is the number of
    prompts of a request.
    """

    Options: ClassVar[type[config.Options]] = SlidingWindowOptions
    mode: ClassVar[Mode] = "generate"
    rounds: ClassVar[bool] = True

    def __init__(self, options: SlidingWindowOptions, prompt_template: PromptTemplate) -> None:
        self.prompt_template = prompt_template
        self.window = options.window
        self.stride = options.stride
        self.grammar = permutations(prompt_template, wanted=options.grammar)

    def render(
        self, request: Request, catalog: ItemCatalog, *, history: int, asked: Sequence[Exchange] = ()
    ) -> list[Prompt]:
        """Write the call for the next window, none when the last one reached the start of the list."""
        shown = self._next_window(request.candidates, asked)
        if not shown:
            return []
        context = PromptContext(self.prompt_template, request, catalog, history)
        return [
            Prompt(
                prompt_id=f"{request.request_id}/{len(asked)}/0",
                request_id=request.request_id,
                messages=context.messages(shown),
                shown=shown,
                grammar=self.grammar,
                listed=context.listed(shown),
            )
        ]

    def parse(self, prompts: Sequence[Prompt], responses: Sequence[Response], reading: Normalization) -> Scores:
        """Score the candidates that any window named by their places after the last one."""
        exchanges = list(zip(prompts, responses, strict=True))
        order = _ranked(exchanges)
        named = {item_id for exchange in exchanges for item_id in _named(exchange)}
        values = {item_id: float(len(order) - place) for place, item_id in enumerate(order) if item_id in named}
        kinds = tuple(ranking_of(*exchange).kind for exchange in exchanges)
        return Scores(prompts[0].request_id, values, {"calls": float(len(prompts))}, kinds)

    def calls(self, candidates: int) -> int:
        """Return the prompts of a request: one for each window."""
        return 1 + ceil(max(0, candidates - self.window) / self.stride)

    def _next_window(self, candidates: Sequence[str], asked: Sequence[Exchange]) -> tuple[str, ...]:
        ranked = _ranked(asked)
        if len(ranked) == len(candidates):
            return ()
        order = [*candidates[: len(candidates) - len(ranked)], *ranked]
        stop = len(order) - len(asked) * self.stride
        return tuple(order[max(0, stop - self.window) : stop])


def _ranked(exchanges: Iterable[Exchange]) -> list[str]:
    """Return the end of the list that windows have reached, in the order they left it in.

    A window shows the candidates before that end, and with them the first ones of it.
    """
    order: list[str] = []
    for exchange in exchanges:
        shown, named = exchange[0].shown, _named(exchange)
        left_out = [item_id for item_id in shown if item_id not in named]
        order = [*named, *left_out, *(item_id for item_id in order if item_id not in shown)]
    return order


def _named(exchange: Exchange) -> list[str]:
    return [exchange[0].shown[number] for number in ranking_of(*exchange).order]

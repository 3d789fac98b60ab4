"""Templates `yes-no` and `like`: ask about one item at a time, read the probabilities of Yes and No."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import chain
from math import exp, fsum, isfinite, log
from typing import ClassVar

from llmrs_bench.core import config
from llmrs_bench.core.types import Kind, Mode, Prompt, Request, Response, Scores
from llmrs_bench.prompts.context import PromptContext
from llmrs_bench.prompts.strategies.base import Exchange, ItemCatalog, Normalization
from llmrs_bench.prompts.strategies.label import label_mass
from llmrs_bench.prompts.template import PromptTemplate


class YesNo:
    """One prompt for each candidate; log P(Yes) - log P(No) is its score, which no other candidate changes.

    The candidate comes last, so that all prompts of a request share what stands before it. `label_mass` is the
    probability that the model answers Yes or No at all. Where a server shows one of both and not the other, the other
    counts with the most that it can have, the probability of the least likely token shown; `bounded_labels` is the
    share of such items. `label_mass` is without these bounds. Where it shows neither, the item has no score.
    """

    Options: ClassVar[type[config.Options]] = config.Options
    mode: ClassVar[Mode] = "label"
    rounds: ClassVar[bool] = False
    spellings: ClassVar[tuple[tuple[str, ...], tuple[str, ...]]] = ((" Yes",), (" No",))

    def __init__(self, options: config.Options, prompt_template: PromptTemplate) -> None:
        self.prompt_template = prompt_template

    def render(
        self, request: Request, catalog: ItemCatalog, *, history: int, asked: Sequence[Exchange] = ()
    ) -> list[Prompt]:
        """Write one call for each candidate."""
        context = PromptContext(self.prompt_template, request, catalog, history)
        return [
            Prompt(
                prompt_id=f"{request.request_id}/{number}",
                request_id=request.request_id,
                messages=context.messages((item_id,)),
                shown=(item_id,),
                choices=tuple(chain(*self.spellings)),
                labels=True,
            )
            for number, item_id in enumerate(request.candidates)
        ]

    def calls(self, candidates: int) -> int:
        """Return the prompts of a request: one for each candidate."""
        return candidates

    def answer_of(self, prompt: Prompt, relevant: Collection[str]) -> str | None:
        """Return Yes for a relevant item, No for any other, in the first of their spellings."""
        return self.spellings[0 if prompt.shown[0] in relevant else 1][0]

    def parse(self, prompts: Sequence[Prompt], responses: Sequence[Response], reading: Normalization) -> Scores:
        """Score each candidate by how much more probable Yes is than No."""
        values: dict[str, float] = {}
        bounded = 0
        for prompt, response in zip(prompts, responses, strict=True):
            known = self._answers(response)
            yes, no = (response.least_shown if value is None else value for value in known)
            if known == (None, None) or yes is None or no is None:
                continue
            values[prompt.shown[0]] = yes - no
            bounded += None in known
        notes = {"label_mass": label_mass(responses)}
        if any(response.least_shown is not None for response in responses):
            notes["bounded_labels"] = bounded / len(responses)
        return Scores(prompts[0].request_id, values, notes, tuple(map(self._kind, responses)))

    def _answers(self, response: Response) -> tuple[float | None, float | None]:
        """Return the log-probabilities of Yes and of No, of all spellings together; None where none is known."""
        found = response.choice_logprobs or ()
        yes, no = self.spellings
        if len(found) != len(yes) + len(no):
            return None, None
        return together(found[: len(yes)]), together(found[len(yes) :])

    def _kind(self, response: Response) -> Kind:
        known = sum(value is not None for value in self._answers(response))
        return ("empty", "partial", "complete")[known]


def together(logprobs: Sequence[Sequence[float]]) -> float | None:
    """Return the log of the summed probabilities of those choices that are known."""
    values = [fsum(tokens) for tokens in logprobs if tokens]
    best = max(values, default=None)
    if best is None or not isfinite(best) or len(values) == 1:
        return best if best is None or isfinite(best) else None
    return best + log(fsum(exp(value - best) for value in values))


class Like(YesNo):
    """Asks whether a user will like one item, of the task `click`; sums Yes and No over their spellings.

    Spellings that are the same tokens to a model count once, as `llm.tokenization` sees to. `says_yes` is the share of
    answers in which Yes is more probable than No.
    """

    tasks: ClassVar[tuple[str, ...]] = (config.CLICK,)
    spellings = ((" Yes", "Yes", " yes", "yes"), (" No", "No", " no", "no"))

    def parse(self, prompts: Sequence[Prompt], responses: Sequence[Response], reading: Normalization) -> Scores:
        """Score the item by how much more probable Yes is than No."""
        scores = super().parse(prompts, responses, reading)
        if not scores.values:
            return scores
        says = fsum(value > 0 for value in scores.values.values()) / len(scores.values)
        return replace(scores, notes={**scores.notes, "says_yes": says})

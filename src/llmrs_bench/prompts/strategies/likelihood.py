"""Template `likelihood`: how probable is each candidate's title as the next words of the prompt?"""

from collections.abc import Collection, Sequence
from math import fsum
from typing import ClassVar

from llmrs_bench.core import config
from llmrs_bench.core.types import Mode, Prompt, Request, Response, Scores
from llmrs_bench.prompts.context import PromptContext
from llmrs_bench.prompts.strategies.base import Exchange, ItemCatalog, Normalization, first_relevant
from llmrs_bench.prompts.strategies.label import kind_of
from llmrs_bench.prompts.template import PromptTemplate

_PRIORS = 100  # choices of one prompt without history


class Likelihood:
    """Each candidate title is a continuation; its exact log-likelihood under the prompt is its score.

    The candidates are not in the prompt, so nothing depends on their order.
    """

    Options: ClassVar[type[config.Options]] = config.Options
    mode: ClassVar[Mode] = "likelihood"
    rounds: ClassVar[bool] = False

    def __init__(self, options: config.Options, prompt_template: PromptTemplate) -> None:
        self.prompt_template = prompt_template

    def render(
        self, request: Request, catalog: ItemCatalog, *, history: int, asked: Sequence[Exchange] = ()
    ) -> list[Prompt]:
        """Write one call, with one choice for each candidate."""
        context = PromptContext(self.prompt_template, request, catalog, history)
        return [
            Prompt(
                prompt_id=request.request_id,
                request_id=request.request_id,
                messages=context.messages(request.candidates),
                shown=request.candidates,
                choices=tuple(f" {context.titles[item_id]}" for item_id in request.candidates),
            )
        ]

    def priors(self, choices: Sequence[str], catalog: ItemCatalog) -> list[Prompt]:
        """Write the prompts that score titles without a history."""
        parts = [tuple(choices[start : start + _PRIORS]) for start in range(0, len(choices), _PRIORS)]
        messages = PromptContext(self.prompt_template, Request("prior", "prior", (), ()), catalog, 0).messages(())
        return [Prompt(f"prior-{number}", "prior", messages, part, part) for number, part in enumerate(parts)]

    def answer_of(self, prompt: Prompt, relevant: Collection[str]) -> str | None:
        """Return the title of the first relevant candidate."""
        return first_relevant(prompt, relevant)

    def parse(self, prompts: Sequence[Prompt], responses: Sequence[Response], reading: Normalization) -> Scores:
        """Score each candidate by the log-probabilities of its title's tokens, as `reading` says."""
        values: dict[str, float] = {}
        for prompt, response in zip(prompts, responses, strict=True):
            asked = zip(prompt.shown, prompt.choices or (), response.choice_logprobs or (), strict=False)
            values |= {item_id: _score(choice, logprobs, reading) for item_id, choice, logprobs in asked if logprobs}
        kinds = tuple(kind_of(answer, len(asked.shown)) for asked, answer in zip(prompts, responses, strict=True))
        return Scores(prompts[0].request_id, values, kinds=kinds)


def _score(choice: str, logprobs: Sequence[float], reading: Normalization) -> float:
    total = fsum(logprobs)
    if reading.normalize == "token":
        return total / len(logprobs)
    if reading.normalize == "byte":
        return total / len(choice.strip().encode())
    return total - reading.prior[choice] if reading.normalize == "pmi" else total

"""Template `yes-no`: ask about one candidate at a time, read the probabilities of Yes and No."""

from collections.abc import Sequence
from math import fsum
from typing import ClassVar

from llmrs_bench.core import config
from llmrs_bench.core.types import Mode, Prompt, Request, Response, Scores
from llmrs_bench.prompts.context import PromptContext
from llmrs_bench.prompts.strategies.base import Exchange, ItemCatalog, Normalization
from llmrs_bench.prompts.strategies.label import kind_of, label_mass
from llmrs_bench.prompts.template import PromptTemplate


class YesNo:
    """One prompt for each candidate; log P(Yes) - log P(No) is its score, which no other candidate changes.

    The candidate comes last, so that all prompts of a request share what stands before it. `label_mass` is the
    probability that the model answers Yes or No at all.
    """

    Options: ClassVar[type[config.Options]] = config.Options
    mode: ClassVar[Mode] = "label"
    rounds: ClassVar[bool] = False

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
                choices=(" Yes", " No"),
                labels=True,
            )
            for number, item_id in enumerate(request.candidates)
        ]

    def parse(self, prompts: Sequence[Prompt], responses: Sequence[Response], reading: Normalization) -> Scores:
        """Score each candidate by how much more probable Yes is than No."""
        values: dict[str, float] = {}
        for prompt, response in zip(prompts, responses, strict=True):
            if response.choice_logprobs and len(response.choice_logprobs) == 2 and all(response.choice_logprobs):
                yes, no = map(fsum, response.choice_logprobs)
                values[prompt.shown[0]] = yes - no
        kinds = tuple(kind_of(answer, 2) for answer in responses)
        return Scores(prompts[0].request_id, values, {"label_mass": label_mass(responses)}, kinds)

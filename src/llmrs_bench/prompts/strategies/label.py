"""Template `label`: show all candidates with letters, read the probability of each letter as the answer."""

from collections.abc import Collection, Sequence
from math import exp, fsum
from typing import ClassVar

from llmrs_bench.core import config
from llmrs_bench.core.types import Kind, Mode, Prompt, Request, Response, Scores
from llmrs_bench.prompts.context import PromptContext, labels, need_letters
from llmrs_bench.prompts.strategies.base import Exchange, ItemCatalog, Normalization, first_relevant
from llmrs_bench.prompts.template import PromptTemplate


class Label:
    """The model reads the lettered candidates; the log-probability of each letter as its answer is a score.

    One reading of one prompt ranks all candidates. `label_mass` is the probability that the model answers with a
    letter at all: where it is small, the letters say little about what the model would have written.
    """

    Options: ClassVar[type[config.Options]] = config.Options
    mode: ClassVar[Mode] = "label"
    rounds: ClassVar[bool] = False

    def __init__(self, options: config.Options, prompt_template: PromptTemplate) -> None:
        self.prompt_template = need_letters(prompt_template, "label")

    def render(
        self, request: Request, catalog: ItemCatalog, *, history: int, asked: Sequence[Exchange] = ()
    ) -> list[Prompt]:
        """Write one call, with one choice for each letter."""
        shown = request.candidates
        return [
            Prompt(
                prompt_id=request.request_id,
                request_id=request.request_id,
                messages=PromptContext(self.prompt_template, request, catalog, history).messages(shown),
                shown=shown,
                choices=tuple(f" {letter}" for letter in labels(len(shown))),
                labels=True,
            )
        ]

    def answer_of(self, prompt: Prompt, relevant: Collection[str]) -> str | None:
        """Return the letter of the first relevant candidate."""
        return first_relevant(prompt, relevant)

    def parse(self, prompts: Sequence[Prompt], responses: Sequence[Response], reading: Normalization) -> Scores:
        """Score each candidate by the log-probability of its letter."""
        values: dict[str, float] = {}
        for prompt, response in zip(prompts, responses, strict=True):
            read = zip(prompt.shown, response.choice_logprobs or (), strict=False)
            values |= {item_id: fsum(logprobs) for item_id, logprobs in read if logprobs}
        kinds = tuple(kind_of(answer, len(asked.shown)) for asked, answer in zip(prompts, responses, strict=True))
        return Scores(prompts[0].request_id, values, {"label_mass": label_mass(responses)}, kinds)


def kind_of(response: Response, count: int) -> Kind:
    """Return what a response to `count` choices is: all of them known, some, or none."""
    known = sum(bool(values) for values in response.choice_logprobs or ())
    return "empty" if not known else "complete" if known == count else "partial"


def label_mass(responses: Sequence[Response]) -> float:
    """Return the mean over responses of the probability that the answer is one of the labels."""
    masses = [
        fsum(exp(fsum(logprobs)) for logprobs in response.choice_logprobs or () if logprobs) for response in responses
    ]
    return fsum(masses) / len(masses) if masses else 0.0

"""Template `stars`: ask how a user will rate one item, read the probability of each rating of the scale."""

from collections.abc import Sequence
from math import exp, fsum
from typing import ClassVar

from llmrs_bench.core import config
from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.types import Kind, Mode, Prompt, Request, Response, Scores
from llmrs_bench.prompts.context import PromptContext
from llmrs_bench.prompts.strategies.base import Exchange, ItemCatalog, Normalization, rating_words
from llmrs_bench.prompts.strategies.label import label_mass
from llmrs_bench.prompts.strategies.yes_no import together
from llmrs_bench.prompts.template import PromptTemplate

_SPELLINGS = (" {}", "{}")  # as Yes and No have them, but for capitals


class Stars:
    """One prompt for each candidate; its score is the expected rating, the sum of r P(r) over the ratings r of a scale.

    P is renormalised over those ratings that are known, each summed over its spellings with and without a space.
    Spellings that are the same tokens to a model count once, as `llm.tokenization` sees to. `label_mass` is the
    probability that the model answers with a rating at all; `certainty` the mean probability of the likeliest rating,
    renormalised. No written answer is read.
    """

    Options: ClassVar[type[config.Options]] = config.Options
    mode: ClassVar[Mode] = "label"
    rounds: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = (config.RATING,)

    def __init__(self, options: config.Options, prompt_template: PromptTemplate) -> None:
        self.prompt_template = prompt_template

    def render(
        self, request: Request, catalog: ItemCatalog, *, history: int, asked: Sequence[Exchange] = ()
    ) -> list[Prompt]:
        """Write one call for each candidate, with all ratings of the scale as its choices.

        Raises:
            OptionError: If the scale has too many ratings to ask about each of them.
        """
        if not catalog.scale:
            raise OptionError(
                "the template stars reads the probability of each rating, and these data have too many different ones",
                hint="Round the ratings of the source, for instance to 1 to 5, and prepare it again.",
            )
        context = PromptContext(self.prompt_template, request, catalog, history)
        choices = tuple(spelling.format(word) for word in rating_words(catalog.scale) for spelling in _SPELLINGS)
        return [
            Prompt(
                prompt_id=f"{request.request_id}/{number}",
                request_id=request.request_id,
                messages=context.messages((item_id,)),
                shown=(item_id,),
                choices=choices,
                labels=True,
            )
            for number, item_id in enumerate(request.candidates)
        ]

    def parse(self, prompts: Sequence[Prompt], responses: Sequence[Response], reading: Normalization) -> Scores:
        """Score each candidate by its expected rating."""
        values: dict[str, float] = {}
        certain: list[float] = []
        for prompt, response in zip(prompts, responses, strict=True):
            known = _known(prompt, response)
            if not known:
                continue
            best = max(known.values())
            weights = {rating: exp(logprob - best) for rating, logprob in known.items()}
            total = fsum(weights.values())
            values[prompt.shown[0]] = fsum(rating * weight for rating, weight in weights.items()) / total
            certain.append(1.0 / total)
        kinds = tuple(map(_kind, prompts, responses))
        notes = {"label_mass": label_mass(responses)}
        if certain:
            notes["certainty"] = fsum(certain) / len(certain)
        return Scores(prompts[0].request_id, values, notes, kinds)


def _known(prompt: Prompt, response: Response) -> dict[float, float]:
    """Return the log-probability of each rating that is known, of its spellings together."""
    choices, found = prompt.choices or (), response.choice_logprobs or ()
    if len(choices) != len(found):
        return {}
    size = len(_SPELLINGS)
    read = ((choices[at], together(found[at : at + size])) for at in range(0, len(choices), size))
    return {float(choice): logprob for choice, logprob in read if logprob is not None}


def _kind(prompt: Prompt, response: Response) -> Kind:
    known = len(_known(prompt, response))
    return "empty" if not known else "complete" if known == len(prompt.choices or ()) // len(_SPELLINGS) else "partial"

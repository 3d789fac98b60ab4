"""A prompt strategy: `infer --template both-ways`; its words are in templates/both-ways.toml."""

from collections.abc import Sequence
from math import isfinite
from typing import ClassVar

from llmrs_bench.core import config
from llmrs_bench.core.types import Mode, Prompt, Request, Response, Scores
from llmrs_bench.prompts.context import PromptContext, need_letters
from llmrs_bench.prompts.strategies.base import Exchange, ItemCatalog, Normalization
from llmrs_bench.prompts.strategies.comparison import comparison_kinds, label_logprobs, write_comparisons
from llmrs_bench.prompts.template import PromptTemplate


class BothWays:
    """Shows lettered candidates as they come and in reverse; a score is the sum of both log-probabilities."""

    Options: ClassVar[type[config.Options]] = config.Options  # of the template, given as -T KEY=VALUE: none
    mode: ClassVar[Mode] = "label"  # the engine is asked for the probability of letters, not for a text
    rounds: ClassVar[bool] = False  # no later prompt depends on earlier answers

    def __init__(self, options: config.Options, prompt_template: PromptTemplate) -> None:
        self.prompt_template = need_letters(prompt_template, "both-ways")

    def render(
        self, request: Request, catalog: ItemCatalog, *, history: int, asked: Sequence[Exchange] = ()
    ) -> list[Prompt]:
        """Write two calls for a request."""
        context = PromptContext(self.prompt_template, request, catalog, history)
        return write_comparisons(context, {"forward": request.candidates, "backward": request.candidates[::-1]})

    def parse(self, prompts: Sequence[Prompt], responses: Sequence[Response], reading: Normalization) -> Scores:
        """Score the candidates whose letter both answers know; the others stay unranked."""
        sums = dict.fromkeys(prompts[0].shown, 0.0)
        for prompt, response in zip(prompts, responses, strict=True):
            for item_id, logprob in zip(prompt.shown, label_logprobs(response, len(prompt.shown)), strict=True):
                sums[item_id] += logprob
        values = {item_id: total for item_id, total in sums.items() if isfinite(total)}
        return Scores(prompts[0].request_id, values, kinds=comparison_kinds(prompts, responses))

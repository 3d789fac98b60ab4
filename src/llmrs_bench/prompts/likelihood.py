"""Template `likelihood`: how probable is each candidate's title as the next words of the prompt?"""

from collections.abc import Sequence
from math import fsum

from llmrs_bench.prompts.protocol import Shop, bullets, distinct_titles, recent
from llmrs_bench.types import Message, Prompt, Request, Response, Scores


class Likelihood:
    """Each candidate title is a continuation; its exact log-likelihood under the prompt is its score.

    The candidates are not in the prompt, so nothing depends on their order.
    """

    has_choices = True

    def render(self, request: Request, shop: Shop, *, history: int) -> list[Prompt]:
        """Write one call, with one choice for each candidate."""
        word = shop.item_word
        shown = distinct_titles(recent(request.history, history), shop)
        told = f"A user chose these {word}s, one after the other:\n{bullets(shown)}\n\n" if shown else ""
        return [
            Prompt(
                prompt_id=request.request_id,
                request_id=request.request_id,
                messages=(
                    Message("user", f"{told}Which {word} does the user choose next?"),
                    Message("assistant", f"The next {word} is:"),
                ),
                shown=request.candidates,
                choices=tuple(f" {title}" for title in distinct_titles(request.candidates, shop)),
            )
        ]

    def parse(self, prompts: Sequence[Prompt], responses: Sequence[Response], *, normalize: str) -> Scores:
        """Score each candidate by the sum, or the mean, of the log-probabilities of its title's tokens."""
        values: dict[str, float] = {}
        for prompt, response in zip(prompts, responses, strict=True):
            for item_id, logprobs in zip(prompt.shown, response.choice_logprobs or (), strict=False):
                if logprobs:
                    values[item_id] = fsum(logprobs) / (len(logprobs) if normalize == "mean" else 1)
        return Scores(prompts[0].request_id, values)

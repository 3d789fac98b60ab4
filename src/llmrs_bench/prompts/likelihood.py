"""Template `likelihood`: how probable is each candidate's title as the next words of the prompt?"""

from collections.abc import Sequence
from math import fsum
from typing import ClassVar

from llmrs_bench import config
from llmrs_bench.prompts.protocol import Exchange, Reading, Shop, distinct_titles, recent, told
from llmrs_bench.types import Message, Mode, Prompt, Request, Response, Scores

_PRIORS = 100  # choices of one prompt without history


class Likelihood:
    """Each candidate title is a continuation; its exact log-likelihood under the prompt is its score.

    The candidates are not in the prompt, so nothing depends on their order.
    """

    Options: ClassVar[type[config.Options]] = config.Options
    mode: ClassVar[Mode] = "likelihood"
    rounds: ClassVar[bool] = False

    def __init__(self, options: config.Options) -> None:
        """Take no options."""

    def render(self, request: Request, shop: Shop, *, history: int, asked: Sequence[Exchange] = ()) -> list[Prompt]:
        """Write one call, with one choice for each candidate."""
        return [
            Prompt(
                prompt_id=request.request_id,
                request_id=request.request_id,
                messages=_ask(told(recent(request.history, history), shop), shop.item_word),
                shown=request.candidates,
                choices=tuple(f" {title}" for title in distinct_titles(request.candidates, shop)),
            )
        ]

    def priors(self, choices: Sequence[str], shop: Shop) -> list[Prompt]:
        """Write the calls that ask for titles where no history is told."""
        parts = [tuple(choices[start : start + _PRIORS]) for start in range(0, len(choices), _PRIORS)]
        messages = _ask("", shop.item_word)
        return [Prompt(f"prior-{number}", "prior", messages, part, part) for number, part in enumerate(parts)]

    def parse(self, prompts: Sequence[Prompt], responses: Sequence[Response], reading: Reading) -> Scores:
        """Score each candidate by the log-probabilities of its title's tokens, as `reading` says."""
        values: dict[str, float] = {}
        for prompt, response in zip(prompts, responses, strict=True):
            asked = zip(prompt.shown, prompt.choices or (), response.choice_logprobs or (), strict=False)
            values |= {item_id: _score(choice, logprobs, reading) for item_id, choice, logprobs in asked if logprobs}
        return Scores(prompts[0].request_id, values)


def _ask(history: str, word: str) -> tuple[Message, ...]:
    return (
        Message("user", f"{history}Which {word} does the user choose next?"),
        Message("assistant", f"The next {word} is:"),
    )


def _score(choice: str, logprobs: Sequence[float], reading: Reading) -> float:
    total = fsum(logprobs)
    if reading.normalize == "token":
        return total / len(logprobs)
    if reading.normalize == "byte":
        return total / len(choice.strip().encode())
    return total - reading.prior[choice] if reading.normalize == "pmi" else total

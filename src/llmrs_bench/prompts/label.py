"""Template `label`: show all candidates with letters, read the probability of each letter as the answer."""

from collections.abc import Sequence
from itertools import product
from math import exp, fsum
from string import ascii_uppercase
from typing import ClassVar

from llmrs_bench import config
from llmrs_bench.errors import OptionError
from llmrs_bench.prompts.protocol import Exchange, Reading, Shop, distinct_titles, recent, told
from llmrs_bench.types import Message, Mode, Prompt, Request, Response, Scores


class Label:
    """The model reads the lettered candidates; the log-probability of each letter as its answer is a score.

    One reading of one prompt ranks all candidates. `label_mass` is the probability that the model answers with a
    letter at all: where it is small, the letters say little about what the model would have written.
    """

    Options: ClassVar[type[config.Options]] = config.Options
    mode: ClassVar[Mode] = "label"
    rounds: ClassVar[bool] = False

    def __init__(self, options: config.Options) -> None:
        """Take no options."""

    def render(self, request: Request, shop: Shop, *, history: int, asked: Sequence[Exchange] = ()) -> list[Prompt]:
        """Write one call, with one choice for each letter."""
        word = shop.item_word
        letters = labels(len(request.candidates))
        lines = zip(letters, distinct_titles(request.candidates, shop), strict=True)
        listed = "\n".join(f"{letter}. {title}" for letter, title in lines)
        return [
            Prompt(
                prompt_id=request.request_id,
                request_id=request.request_id,
                messages=(
                    Message(
                        "user",
                        f"{told(recent(request.history, history), shop)}Here are {len(letters)} candidate {word}s:\n"
                        f"{listed}\n\nWhich of them does the user choose next? Answer with its letter.",
                    ),
                    Message("assistant", "Answer:"),
                ),
                shown=request.candidates,
                choices=tuple(f" {letter}" for letter in letters),
                labels=True,
            )
        ]

    def priors(self, choices: Sequence[str], shop: Shop) -> list[Prompt]:
        """Write nothing: letters are no titles."""
        return []

    def parse(self, prompts: Sequence[Prompt], responses: Sequence[Response], reading: Reading) -> Scores:
        """Score each candidate by the log-probability of its letter."""
        values: dict[str, float] = {}
        for prompt, response in zip(prompts, responses, strict=True):
            read = zip(prompt.shown, response.choice_logprobs or (), strict=False)
            values |= {item_id: fsum(logprobs) for item_id, logprobs in read if logprobs}
        return Scores(prompts[0].request_id, values, {"label_mass": label_mass(responses)})


def labels(count: int) -> list[str]:
    """Return `count` labels of the same length, so that none begins another: A to Z, or AA to ZZ.

    Raises:
        OptionError: If there are more than 676.
    """
    length = 1 if count <= len(ascii_uppercase) else 2
    names = ["".join(letters) for letters in product(ascii_uppercase, repeat=length)]
    if count > len(names):
        raise OptionError(
            f"{count} candidates are more than there are labels ({len(names)})",
            hint="Use --template likelihood, or fewer candidates (prepare --n-candidates).",
        )
    return names[:count]


def label_mass(responses: Sequence[Response]) -> float:
    """Return the mean over responses of the probability that the answer is one of the labels."""
    masses = [
        fsum(exp(fsum(logprobs)) for logprobs in response.choice_logprobs or () if logprobs) for response in responses
    ]
    return fsum(masses) / len(masses) if masses else 0.0

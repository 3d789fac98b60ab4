"""Comparisons of a few lettered candidates: how they are written, and what their answers say."""

from collections.abc import Mapping, Sequence
from math import fsum, inf, isfinite

from llmrs_bench.prompts.label import label_mass, labels
from llmrs_bench.prompts.protocol import Shop, distinct_titles, recent, told
from llmrs_bench.prompts.sorting import Group
from llmrs_bench.types import Message, Prompt, Request, Response


def write_comparisons(request: Request, shop: Shop, *, history: int, shown: Mapping[str, Group]) -> list[Prompt]:
    """Write a prompt for each group of candidates, in the order in which they are to be shown.

    History and question come first, so that all prompts of a request share them. A title is told apart from those of
    all candidates of the request: an item is called the same in each of its comparisons.

    Args:
        request: The request whose candidates are compared.
        shop: The items and what one is called.
        history: How many of the latest history items are told.
        shown: Candidates by "round/number", which follows the request's id in that of the prompt.
    """
    titles = dict(zip(request.candidates, distinct_titles(request.candidates, shop), strict=True))
    question = (
        f"{told(recent(request.history, history), shop)}"
        f"Which of these {shop.item_word}s does the user choose next? Answer with its letter."
    )
    return [
        _prompt(f"{request.request_id}/{name}", request.request_id, question, group, titles)
        for name, group in shown.items()
    ]


def _prompt(prompt_id: str, request_id: str, question: str, group: Group, titles: Mapping[str, str]) -> Prompt:
    letters = labels(len(group))
    listed = "\n".join(f"{letter}. {titles[item_id]}" for letter, item_id in zip(letters, group, strict=True))
    return Prompt(
        prompt_id=prompt_id,
        request_id=request_id,
        messages=(Message("user", f"{question}\n{listed}"), Message("assistant", "Answer:")),
        shown=group,
        choices=tuple(f" {letter}" for letter in letters),
        labels=True,
    )


def label_logprobs(response: Response, count: int) -> list[float]:
    """Return the log-probability of each of `count` labels.

    It is -inf for a label that the response does not know, and for all of them where it knows none or another number.
    """
    found = response.choice_logprobs
    if found is None or len(found) != count:
        return [-inf] * count
    return [fsum(values) if values and all(map(isfinite, values)) else -inf for values in found]


def comparison_notes(responses: Sequence[Response]) -> dict[str, float]:
    """Return `label_mass`, the mean probability that an answer is one of the letters, and the number of `calls`."""
    return {"label_mass": label_mass(responses), "calls": float(len(responses))}

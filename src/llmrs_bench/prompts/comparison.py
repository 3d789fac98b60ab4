"""Comparisons of a few lettered candidates: how they are written, and what their answers say."""

from collections.abc import Mapping, Sequence
from math import fsum, inf, isfinite

from llmrs_bench.prompts.label import kind_of, label_mass
from llmrs_bench.prompts.labels import labels
from llmrs_bench.prompts.sorting import Group
from llmrs_bench.prompts.story import Story
from llmrs_bench.types import Kind, Prompt, Response


def write_comparisons(story: Story, shown: Mapping[str, Group]) -> list[Prompt]:
    """Write a prompt for each group of candidates, in the order in which they are to be shown.

    A title is told apart from those of all candidates of the request: an item is called the same in each comparison.

    Args:
        story: The request.
        shown: Candidates by "round/number", which follows the request's id in that of the prompt.
    """
    request_id = story.request.request_id
    return [
        Prompt(
            prompt_id=f"{request_id}/{name}",
            request_id=request_id,
            messages=story.messages(group),
            shown=group,
            choices=tuple(f" {letter}" for letter in labels(len(group))),
            labels=True,
        )
        for name, group in shown.items()
    ]


def comparison_kinds(prompts: Sequence[Prompt], responses: Sequence[Response]) -> tuple[Kind, ...]:
    """Return for each answer whether it knows all letters, some, or none."""
    return tuple(kind_of(answer, len(asked.shown)) for asked, answer in zip(prompts, responses, strict=True))


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

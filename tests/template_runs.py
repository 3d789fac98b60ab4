"""Templates driven to their end by answers that are made up: by an order, by a constant, or by anything."""

from collections.abc import Callable, Sequence
from typing import Any

from llmrs_bench.core.config import PromptConfig
from llmrs_bench.core.types import Example, Item, Prompt, Request, Response, Scores
from llmrs_bench.prompts.strategies.base import Exchange, ItemCatalog, Normalization, PromptStrategy
from llmrs_bench.stages.prompt import open_template

NUMBERS = tuple(str(number) for number in range(1, 101))
Answer = Callable[[Prompt], Response]
# What a part needs so that something reads it.
NEEDS = {
    "interest=relevant": {"relevant": "1"},
    "interest=recent-relevant": {"relevant": "1"},
    "interest=written": {"interest_run": "x"},
    "interest=recent-written": {"interest_run": "x"},
    "interest=notes": {"notes_run": "x"},
    "interest=recent-noted": {"notes_run": "x"},
    "interest=relevant-noted": {"relevant": "1", "notes_run": "x"},
    "examples=next": {"shots": "1"},
    "examples=domain": {"shots": "1", "shots_from": "x"},
    "candidates=scored": {"scores_run": "x"},
    "role=stated": {"stated": "a woman"},
    "candidates=letters-scored": {"scores_run": "x"},
}

# A request with everything that a part may tell of it.
ITEMS = [f"i{number}" for number in range(30)]
REQUEST = Request(
    "r", "u", tuple(ITEMS[10:20]), tuple(ITEMS[:6]), (4.0, 2.0) * 5, tuple(ITEMS[20:23]),
    (Example((ITEMS[24],), ITEMS[25]),),
    "Long stories.", {ITEMS[19]: "Its end.", ITEMS[1]: "rank 2"},
)  # fmt: skip


def make(name: str, **options: Any) -> PromptStrategy:
    return open_template(PromptConfig(template=name, options={key: str(value) for key, value in options.items()}))


def template_for(part: str, labels: str) -> str:
    """Return a template that takes a part."""
    if part in ("answer", "task", "goal", "strategy", "role", "interest", "examples"):
        return "listwise"
    if part == "start":
        return "likelihood"
    return "label" if labels == "letters" else "listwise"


def catalog(*item_ids: str) -> ItemCatalog:
    return ItemCatalog({name: Item(name, f"Film {name.upper()}", year=1990) for name in item_ids}, "movie")


def play(
    template: PromptStrategy, request: Request, goods: ItemCatalog, answer: Answer, *, history: int = 3
) -> list[list[Exchange]]:
    """Ask round after round until nothing is left to ask; far more rounds than any sort needs are a failure."""
    rounds: list[list[Exchange]] = []
    while prompts := template.render(request, goods, history=history, asked=flat(rounds)):
        rounds.append([(prompt, answer(prompt)) for prompt in prompts])
        assert len(rounds) <= 20 * len(request.candidates), "the template does not come to an end"
        if not template.rounds:
            break
    return rounds


def flat(rounds: Sequence[Sequence[Exchange]]) -> list[Exchange]:
    return [exchange for asked in rounds for exchange in asked]


def read(template: PromptStrategy, exchanges: Sequence[Exchange], reading: Normalization | None = None) -> Scores:
    return template.parse(
        [prompt for prompt, _ in exchanges], [given for _, given in exchanges], reading or Normalization()
    )


def score(template: PromptStrategy, request: Request, goods: ItemCatalog, answer: Answer) -> dict[str, float]:
    return dict(read(template, flat(play(template, request, goods, answer))).values)


def best(values: dict[str, float], count: int) -> list[str]:
    return sorted(values, key=lambda item_id: -values[item_id])[:count]


def text(prompt: Prompt, answer: str | None) -> Response:
    return Response(prompt.prompt_id, answer, None, 1, 0, 1, "stop")


def chosen(prompt: Prompt, logprobs: Any) -> Response:
    return Response(prompt.prompt_id, None, logprobs, 1, 0, 1, "choices")


def oracle(order: Sequence[str]) -> Answer:
    """Answer as a model would that knows `order`: a choice for each item, Yes or a rating of one item, or labels."""

    def answer(prompt: Prompt) -> Response:
        places = [order.index(item_id) for item_id in prompt.shown]
        if prompt.choices is None:
            listed = prompt.listed
            names = (listed.labels if all(listed.labels) else listed.titles) if listed else NUMBERS
            return text(prompt, "\n".join(names[places.index(place)] for place in sorted(places)))
        logprobs = [(-1.0 - place,) for place in places]
        if prompt.choices[0].strip().isdigit():  # spellings of ratings: the highest, the likelier the earlier
            logprobs = [(-99.0,) for _ in prompt.choices]
            logprobs[0], logprobs[-1] = (-9.0,), (-9.0 - places[0],)
        elif len(prompt.choices) > len(prompt.shown):  # spellings of Yes, and as many of No
            logprobs = [logprobs[0], (-1.0,)]
            logprobs = [found for found in logprobs for _ in range(len(prompt.choices) // 2)]
        return chosen(prompt, tuple(logprobs))

    return answer


def first_shown(prompt: Prompt) -> Response:
    """Answer as a model would that likes the first label, or the numbers as they come, whatever they stand for."""
    if prompt.choices is None:
        return text(prompt, ", ".join(str(number) for number in range(1, len(prompt.shown) + 1)))
    return chosen(prompt, tuple((-1.0 - place,) for place in range(len(prompt.choices))))

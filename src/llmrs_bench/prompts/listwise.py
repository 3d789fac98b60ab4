"""Template `listwise`: show all candidates with numbers, ask for the numbers in order of preference."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import ClassVar

from llmrs_bench import config
from llmrs_bench.prompts.protocol import Exchange, Reading, Shop, distinct_titles, recent, spoken, told
from llmrs_bench.types import Grammar, Message, Mode, Prompt, Request, Response, Scores

# A line that starts with a number, maybe in brackets, and what follows it.
_NUMBERED = re.compile(r"^[\s>*\-–•]*[\[(#]*\s*(\d{1,4})\s*[\])]*\s*[.:)\-–]?\s*(.*)$")
# A line of nothing but numbers and what separates them, perhaps behind a label such as "Ranking:".
_NUMBERS_ONLY = re.compile(r"^(?:[A-Za-z' ]{1,40}:)?[\s\d,;.>|\[\]()#&:\-–*`]*\d[\s\d,;.>|\[\]()#&:\-–*`]*$")
# A rank and the number it is given to, such as "1. [7]".
_RANK_AND_NUMBER = re.compile(r"^[\s*#]*(\d{1,4})\s*[.:)]\s*[\[(#*]*(\d{1,4})[\])*]*[.,;]?$")
_CANDIDATE = re.compile(r"^\[(\d+)\] (.+)$", re.MULTILINE)


class ListwiseOptions(config.Options):
    """How the model's text is bound.

    Args:
        grammar: Let the engine admit nothing but a permutation of the candidates' numbers.
    """

    grammar: bool = False


class Listwise:
    """The model reads the numbered candidates and writes their numbers, best first."""

    Options: ClassVar[type[config.Options]] = ListwiseOptions
    mode: ClassVar[Mode] = "generate"
    rounds: ClassVar[bool] = False

    def __init__(self, options: ListwiseOptions) -> None:
        self.grammar: Grammar | None = "permutation" if options.grammar else None

    def render(self, request: Request, shop: Shop, *, history: int, asked: Sequence[Exchange] = ()) -> list[Prompt]:
        """Write one call that asks for text."""
        word, count = shop.item_word, len(request.candidates)
        titles = distinct_titles(request.candidates, shop)
        listed = "\n".join(f"[{number}] {title}" for number, title in enumerate(titles, 1))
        question = (
            f"Here are {count} candidate {word}s:\n{listed}\n\n"
            f"Rank all {count} candidates by how likely the user is to choose each of them next, most likely first. "
            f"Answer with the candidates' numbers alone, separated by commas, each number exactly once.\nRanking:"
        )
        return [
            Prompt(
                prompt_id=request.request_id,
                request_id=request.request_id,
                messages=(Message("user", told(recent(request.history, history), shop) + question),),
                shown=request.candidates,
                grammar=self.grammar,
            )
        ]

    def priors(self, choices: Sequence[str], shop: Shop) -> list[Prompt]:
        """Write nothing: there are no choices."""
        return []

    def parse(self, prompts: Sequence[Prompt], responses: Sequence[Response], reading: Reading) -> Scores:
        """Score the candidates that the text names n, n-1, ... in the order of their first mention."""
        values: dict[str, float] = {}
        for prompt, response in zip(prompts, responses, strict=True):
            order = read_order(spoken(response.text or ""), shown_titles(prompt))
            count = len(prompt.shown)
            values.update({prompt.shown[number - 1]: float(count - place) for place, number in enumerate(order)})
        return Scores(prompts[0].request_id, values)


def shown_titles(prompt: Prompt) -> dict[int, str]:
    """Return number to title as the prompt showed them, from the last list of the prompt."""
    found = [(int(number), title) for number, title in _CANDIDATE.findall(prompt.messages[-1].content)]
    return dict(found[-len(prompt.shown) :])


def read_order(text: str, titles: Mapping[int, str]) -> list[int]:
    """Read the candidates' numbers from a model's text, in order, each once.

    Numbers come first: a line of numbers alone is taken as it stands, unless all such lines are "rank. number" with
    the ranks 1, 2, 3. A line "3. Title" means the candidate whose whole title (up to case, punctuation and spaces)
    stands there, because the 3 may be a rank; where no title matches, it counts only if the title of candidate 3
    begins it. A line that is a whole title counts; any other line is ignored, so that prose such as "the 20
    candidates" is not an answer. Nothing matches by substring.

    Args:
        text: What the model wrote.
        titles: Number to title, as shown; titles are distinct.
    """
    folded = {number: _fold(title) for number, title in titles.items()}
    times = Counter(folded.values())
    by_title = {title: number for number, title in folded.items() if title and times[title] == 1}
    order: dict[int, None] = {}
    for line in _without_ranks([line.strip() for line in text.splitlines()]):
        for number in _read_line(line, titles, by_title):
            order[number] = None
    return list(order)


def _without_ranks(lines: list[str]) -> list[str]:
    numbers = [line for line in lines if _NUMBERS_ONLY.match(line)]
    pairs = [_RANK_AND_NUMBER.match(line) for line in numbers]
    ranks = [int(pair[1]) for pair in pairs if pair]
    if len(pairs) < 2 or ranks != list(range(1, len(pairs) + 1)):
        return lines
    return [pair[2] for pair in pairs if pair]


def _read_line(line: str, titles: Mapping[int, str], by_title: Mapping[str, int]) -> list[int]:
    if _NUMBERS_ONLY.match(line):
        numbers = [int(digits) for digits in re.findall(r"\d+", line) if len(digits) <= 4]
        if known := [number for number in numbers if number in titles]:
            return known
    if (whole := _fold(line)) in by_title:
        return [by_title[whole]]
    numbered = _NUMBERED.match(line)
    if not numbered:
        return []
    number, rest = int(numbered[1]), _fold(numbered[2])
    if rest in by_title:
        return [by_title[rest]]
    title = _fold(titles.get(number, ""))
    return [number] if title and f"{rest} ".startswith(f"{title} ") else []


@lru_cache(1 << 16)  # the titles of a catalogue come again and again
def _fold(text: str) -> str:
    """Return the letters and digits of a text, in lower case, words parted by one space."""
    return " ".join(re.findall(r"\w+", text.casefold()))

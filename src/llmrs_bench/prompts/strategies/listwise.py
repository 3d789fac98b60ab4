"""Answer form `listwise`: the model writes the candidates in order of preference."""

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import ClassVar

from llmrs_bench.core import config
from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.types import Grammar, Listed, Mode, Prompt, Request, Response, Scores
from llmrs_bench.prompts.context import PromptContext
from llmrs_bench.prompts.parsing.answer import Ranking, parse_ranking
from llmrs_bench.prompts.strategies.base import Exchange, ItemCatalog, Normalization
from llmrs_bench.prompts.template import PromptTemplate


class ListwiseOptions(config.Options):
    """How the model's text is bound.

    Args:
        grammar: Let the engine admit nothing but a permutation of the candidates' numbers.
    """

    grammar: bool = False


class Listwise:
    """The model reads the candidates and writes them in order, best first."""

    Options: ClassVar[type[config.Options]] = ListwiseOptions
    mode: ClassVar[Mode] = "generate"
    rounds: ClassVar[bool] = False

    def __init__(self, options: ListwiseOptions, prompt_template: PromptTemplate) -> None:
        self.prompt_template = prompt_template
        self.grammar = permutations(prompt_template, wanted=options.grammar)

    def render(
        self, request: Request, catalog: ItemCatalog, *, history: int, asked: Sequence[Exchange] = ()
    ) -> list[Prompt]:
        """Write one call that asks for text."""
        context = PromptContext(self.prompt_template, request, catalog, history)
        return [
            Prompt(
                prompt_id=request.request_id,
                request_id=request.request_id,
                messages=context.messages(request.candidates),
                shown=request.candidates,
                grammar=self.grammar,
                listed=context.listed(request.candidates),
            )
        ]

    def answer_of(self, prompt: Prompt, relevant: Collection[str]) -> str | None:
        """Return the relevant candidates and then the others, each as they were shown, in the form that is asked for.

        None if the answer is to be a list among other words, which nobody has written.
        """
        if prompt.listed is None or not set(relevant) & set(prompt.shown):
            return None
        part = self.prompt_template.parts.get("answer")
        form = "" if part is None else part.where.partition("answer=")[2]
        order = sorted(range(len(prompt.shown)), key=lambda place: prompt.shown[place] not in relevant)
        labels = [prompt.listed.labels[place] for place in order]
        if form == "titles" or self.prompt_template.labels == "none":
            return "\n".join(prompt.listed.titles[place] for place in order)
        if form == "lines":
            return "\n".join(f"{number}. [{label}]" for number, label in enumerate(labels, 1))
        return None if form == "reasoned" else f"[{', '.join(labels)}]" if form == "json" else ", ".join(labels)

    def parse(self, prompts: Sequence[Prompt], responses: Sequence[Response], reading: Normalization) -> Scores:
        """Score the candidates that the text names n, n-1, ... in the order of their first mention."""
        values: dict[str, float] = {}
        kinds = []
        for prompt, response in zip(prompts, responses, strict=True):
            found, count = ranking_of(prompt, response), len(prompt.shown)
            kinds.append(found.kind)
            values.update({prompt.shown[number]: float(count - place) for place, number in enumerate(found.order)})
        return Scores(prompts[0].request_id, values, kinds=tuple(kinds))


def ranking_of(prompt: Prompt, response: Response) -> Ranking:
    """Return the order that a text names, and what kind of answer it is."""
    return _read(response.text or "", prompt.listed or Listed((), ()), response.finish_reason == "length")


@lru_cache(maxsize=4096)  # the scores of a block of requests and its first choices are read from the same texts
def _read(text: str, listed: Listed, cut: bool) -> Ranking:
    return parse_ranking(text, listed, cut=cut)


def permutations(prompt_template: PromptTemplate, *, wanted: bool) -> Grammar | None:
    """Return the grammar of the candidates' numbers, if it is wanted.

    Raises:
        OptionError: If candidates have other labels than numbers.
    """
    if wanted and prompt_template.labels != "numbers":
        raise OptionError(
            f"grammar=true admits numbers alone, and the candidates have {prompt_template.labels}",
            hint="Leave it out, or choose candidates with numbers (-T candidates=numbers).",
        )
    return "permutation" if wanted else None

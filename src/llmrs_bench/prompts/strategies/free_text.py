"""Strategy `note`: the model writes free text about a user; it ranks nothing, and other prompts quote the text."""

from collections.abc import Sequence
from typing import ClassVar

from llmrs_bench.core import config
from llmrs_bench.core.types import Kind, Mode, Prompt, Request, Response, Scores
from llmrs_bench.prompts.context import PromptContext
from llmrs_bench.prompts.parsing.thoughts import spoken
from llmrs_bench.prompts.strategies.base import Exchange, ItemCatalog, Normalization
from llmrs_bench.prompts.template import PromptTemplate


class FreeText:
    """One call for a text about the user; the candidates are not in it."""

    Options: ClassVar[type[config.Options]] = config.Options
    mode: ClassVar[Mode] = "generate"
    rounds: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("ranking", *config.LABELLED)

    def __init__(self, options: config.Options, prompt_template: PromptTemplate) -> None:
        self.prompt_template = prompt_template

    def render(
        self, request: Request, catalog: ItemCatalog, *, history: int, asked: Sequence[Exchange] = ()
    ) -> list[Prompt]:
        """Write one call that asks for text."""
        messages = PromptContext(self.prompt_template, request, catalog, history).messages(())
        return [Prompt(request.request_id, request.request_id, messages, ())]

    def parse(self, prompts: Sequence[Prompt], responses: Sequence[Response], reading: Normalization) -> Scores:
        """Score nothing, and say whether there is a text."""
        return Scores(prompts[0].request_id, {}, kinds=tuple(map(_kind, responses)))


def _kind(response: Response) -> Kind:
    if response.finish_reason == "length":
        return "truncated"
    return "complete" if spoken(response.text or "").strip() else "empty"

"""Strategy `explanation`: the model writes why an item was recommended to a user; it ranks nothing, and is judged."""

from collections.abc import Sequence

from llmrs_bench.core.types import Prompt, Request, Response, Scores
from llmrs_bench.prompts.context import PromptContext
from llmrs_bench.prompts.strategies.base import Exchange, ItemCatalog, Normalization
from llmrs_bench.prompts.strategies.free_text import FreeText


class Explanation(FreeText):
    """One call for a text about the first candidate, which is the only one of its views; no call where there is none.

    In the rankings of its run that item alone has a score: they say which one each text is about.
    """

    tasks = ("ranking",)

    def render(
        self, request: Request, catalog: ItemCatalog, *, history: int, asked: Sequence[Exchange] = ()
    ) -> list[Prompt]:
        """Write one call that asks for text."""
        context = PromptContext(self.prompt_template, request, catalog, history)
        explained = request.candidates[:1]
        return [Prompt(request.request_id, request.request_id, context.messages(explained), explained)] * len(explained)

    def parse(self, prompts: Sequence[Prompt], responses: Sequence[Response], reading: Normalization) -> Scores:
        """Score the item that is explained alone, and say whether there is a text."""
        written = super().parse(prompts, responses, reading)
        return Scores(written.request_id, dict.fromkeys(prompts[0].shown, 1.0), kinds=written.kinds)

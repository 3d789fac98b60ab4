"""Prompts that are too long for a model: the oldest history goes, candidates and instructions never."""

from dataclasses import dataclass

from llmrs_bench.artifacts import Artifact
from llmrs_bench.engines.protocol import Engine
from llmrs_bench.errors import EngineError
from llmrs_bench.prompts.frames import read_prompts, read_requests
from llmrs_bench.prompts.protocol import Template
from llmrs_bench.stages.home import Data
from llmrs_bench.stages.prompt import open_shop
from llmrs_bench.types import Prompt


@dataclass(frozen=True, slots=True)
class Clipped:
    """A prompt that fits, and how many history items it had to lose."""

    prompt: Prompt
    clipped: int


def clip_prompts(data: Data, prompts: Artifact, template: Template, engine: Engine) -> list[Clipped]:
    """Return all prompts such that each fits the engine's context.

    A prompt that does not fit is rendered again with fewer history items, the oldest left out first.

    Raises:
        EngineError: If a prompt does not fit even without history.
    """
    history = int(prompts.manifest.config["history"])
    asked = list(read_prompts(prompts.table("prompts")))
    long = {prompt.request_id for prompt in asked if engine.needs(prompt) > engine.context}
    ready = [Clipped(prompt, 0) for prompt in asked if prompt.request_id not in long]
    if not long:
        return ready
    shop = open_shop(data)
    for request in read_requests(data.artifact.table("requests")):
        if request.request_id not in long:
            continue
        shown = min(history, len(request.history))
        # The fewest items fit best, so bisect for the most that still fit.
        fits, low, high = None, 0, shown - 1
        while low <= high:
            middle = (low + high) // 2
            written = template.render(request, shop, history=middle)
            if all(engine.needs(prompt) <= engine.context for prompt in written):
                fits, low = (written, middle), middle + 1
            else:
                high = middle - 1
        if fits is None:
            raise EngineError(
                f"the prompt of request {request.request_id!r} does not fit the model's {engine.context} tokens "
                "even without any history",
                hint="Use fewer candidates (prepare --n-candidates), a smaller answer budget (-O answer_tokens=N) "
                "or a model with a longer context.",
            )
        ready.extend(Clipped(prompt, shown - fits[1]) for prompt in fits[0])
    return ready

"""An engine on the fault-injecting server, for the tests of both its halves."""

from threading import Event
from typing import Any

from llmrs_bench.core.types import Prompt, Response
from llmrs_bench.llm.backends.openai import OpenAIEngine
from llmrs_bench.llm.backends.openai_options import OpenAIOptions
from llmrs_bench.llm.model_aliases import ModelSpec

KEY = "sk-very-secret"


def engine(url: str, pauses: list[float] | None = None, **options: Any) -> OpenAIEngine:
    made = OpenAIEngine(ModelSpec("gpt", "gpt-x"), OpenAIOptions(base_url=url, **options), device="auto", seed=3)
    waited = [] if pauses is None else pauses

    def pause(seconds: float, stopped: Event) -> None:
        waited.append(seconds)

    made.client.pause = pause
    return made


def answers(made: OpenAIEngine, *prompts: Prompt) -> dict[str, Response]:
    try:
        found = list(made.answer(prompts))
    finally:
        made.close()
    assert len(found) == len(prompts)
    return {response.prompt_id: response for response in found}

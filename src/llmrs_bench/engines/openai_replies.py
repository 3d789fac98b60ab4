"""What an OpenAI-compatible server says, read from its JSON: texts, likeliest tokens, usage."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from llmrs_bench.errors import EngineError
from llmrs_bench.types import Prompt

NO_LOGPROBS = "Use a template that generates text, such as listwise, or a server that returns log-probabilities."
_BROKEN = ("error", "abort")  # the server gave up in the middle: what it wrote is no answer
_TOKEN_ID = "token_id:"
NOTHING = {"prompt_tokens": 0, "cached_tokens": 0, "completion_tokens": 0, "thinking_tokens": 0}


@contextmanager
def reading(prompt: Prompt) -> Iterator[None]:
    """Turn a reply of another shape than the API's into an EngineError."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise EngineError(
            f"the server's answer to prompt {prompt.prompt_id!r} is not as the API says: {error!r}",
            hint="Check that `-O base_url` is an OpenAI-compatible API, and `-O api`.",
        ) from error


def first_choice(reply: dict[str, Any], prompt: Prompt) -> dict[str, Any]:
    """Return the only answer in a reply.

    Raises:
        EngineError: If there is none, or the server broke off in it.
    """
    choices = reply.get("choices")
    if not choices:
        raise EngineError(
            f"the server answered prompt {prompt.prompt_id!r} without a choice: {str(reply)[:200]}",
            hint="It may not be OpenAI-compatible: check `-O base_url` and `-O api`.",
        )
    found: dict[str, Any] = choices[0]
    if (reason := found.get("finish_reason")) in _BROKEN:
        raise EngineError(
            f"the server broke off its answer to prompt {prompt.prompt_id!r} with {reason!r}",
            hint="See the server's log. Answers so far are kept: the same command goes on with the rest.",
        )
    return found


def text_of(choice: dict[str, Any]) -> str:
    """Return what was written, thoughts in front; a refusal is an answer, too."""
    if "message" not in choice:
        return str(choice.get("text") or "")
    message = choice["message"]
    thought = message.get("reasoning_content") or message.get("reasoning")
    said = message.get("content") or message.get("refusal") or ""
    return f"<think>{thought}</think>{said}" if thought else str(said)


def likeliest(choice: dict[str, Any], prompt: Prompt) -> list[tuple[str, float]]:
    """Return the likeliest first tokens as texts with their log-probabilities; none if the model ends at once.

    Raises:
        EngineError: If the server returned none.
    """
    logprobs = choice.get("logprobs") or {}
    rows = logprobs.get("content") if "content" in logprobs else logprobs.get("top_logprobs")
    if rows:
        top = rows[0]
        if "content" not in logprobs:
            return [(token, float(value)) for token, value in (top or {}).items()]
        return [(entry["token"], float(entry["logprob"])) for entry in top.get("top_logprobs") or []]
    if rows == [] and choice.get("finish_reason") == "stop" and not text_of(choice):
        return []
    raise EngineError(f"the server answered prompt {prompt.prompt_id!r} without log-probabilities", hint=NO_LOGPROBS)


def by_token_id(choice: dict[str, Any]) -> dict[int, float]:
    """Return the log-probabilities of the first token by its id, as far as the server names tokens by their ids."""
    rows = (choice.get("logprobs") or {}).get("top_logprobs") or [{}]
    named = (rows[0] or {}).items()
    return {int(token.removeprefix(_TOKEN_ID)): float(x) for token, x in named if token.startswith(_TOKEN_ID)}


def logprob_of(found: Sequence[tuple[str, float]], label: str) -> tuple[float, ...]:
    """Return the log-probability of a label: of all tokens that are it up to spaces; nothing if there is none."""
    values = [value for token, value in found if token.strip() == label.strip()]
    return (min(0.0, float(np.logaddexp.reduce(values))),) if values else ()


def usage(reply: dict[str, Any]) -> dict[str, int]:
    """Return the tokens that the server counted, under the names of a response."""
    said = reply.get("usage") or {}
    return {
        "prompt_tokens": int(said.get("prompt_tokens") or 0),
        "cached_tokens": int((said.get("prompt_tokens_details") or {}).get("cached_tokens") or 0),
        "completion_tokens": int(said.get("completion_tokens") or 0),
        "thinking_tokens": int((said.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0),
    }

"""What an OpenAI-compatible server says, read from its JSON: texts, likeliest tokens, usage, and what went wrong."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import isnan, nan
from typing import Any

import numpy as np

from llmrs_bench.core.errors import EngineError
from llmrs_bench.core.types import Prompt, Response

NO_LOGPROBS = "Use a template that generates text, such as listwise, or a server that returns log-probabilities."
FILTERED = "content_filter"
_BROKEN = ("error", "abort")  # the server gave up in the middle: what it wrote is no answer
_OURS = (FILTERED, "context_length_exceeded", "invalid_request_error", "exceed_context_size_error")
_UPSTREAM = 502  # a failure that a reply with status 200 tells without a status of its own
_TOKEN_ID = "token_id:"
_MOST_TOKENS = 10**7  # no prompt and no answer has more: a greater count is a mistake
NOTHING = {"prompt_tokens": 0, "cached_tokens": 0, "completion_tokens": 0, "thinking_tokens": 0}


@dataclass(frozen=True, slots=True)
class Failure:
    """What a server says went wrong.

    Args:
        status: That of HTTP or, in a reply with status 200, the one that this has or stands for.
        message: The server's words.
        code: A code of its own.
        inside: Whether a reply with status 200 reports it.
    """

    status: int
    message: str
    code: str
    inside: bool = False

    @property
    def sent(self) -> str:
        """What was sent, in words: a status that is only stood for was not."""
        if not self.inside:
            return str(self.status)
        return "200 and an error" + (f" {self.code}" if self.code else "")


class NoAnswerError(EngineError):
    """A reply without an answer to this prompt."""


@contextmanager
def reading(prompt: Prompt) -> Iterator[None]:
    """Turn a reply of another shape than the API's into a NoAnswerError."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise NoAnswerError(
            f"the server's answer to prompt {prompt.prompt_id!r} is not as the API says: {_shape(error)}",
            hint="Check that `-O base_url` is an OpenAI-compatible API, and `-O api`.",
        ) from error


def _shape(error: Exception) -> str:
    """Return what is wrong with a reply, in words."""
    if isinstance(error, KeyError):
        return f"it has no field {error}"
    return str(error) if isinstance(error, ValueError) else "one of its fields has another type"


def failure_in(status: int, found: Any, text: str) -> Failure | None:
    """Return the failure that a reply reports, also one with status 200 and one inside its only choice; else None.

    Args:
        status: That of HTTP.
        found: The JSON of the reply, None if it is none.
        text: The reply as it is.
    """
    said = found if isinstance(found, dict) else {}
    if not 200 <= status < 300:
        return Failure(status, *_words(said.get("error") or said or found or text))
    if said.get("error"):
        return _told(said["error"])
    choice = next(iter(said["choices"]), None) if isinstance(said.get("choices"), list) else None
    if not isinstance(choice, dict):
        return None
    if choice.get("error"):
        return _told(choice["error"])
    if (reason := choice.get("finish_reason")) in _BROKEN:
        return Failure(_UPSTREAM, f"it broke off with {reason!r}", "", inside=True)
    return None


def _told(error: Any) -> Failure:
    message, code = _words(error)
    status = int(code) if code.isdecimal() and len(code) == 3 and code[0] in "45" else None
    kinds = (code, error.get("type")) if isinstance(error, dict) else ()
    return Failure(status or (400 if any(kind in _OURS for kind in kinds) else _UPSTREAM), message, code, inside=True)


def _words(error: Any) -> tuple[str, str]:
    if not isinstance(error, dict):
        return str(error), ""
    return str(error.get("message") or error), str(error.get("code") or "")


def said_wrong(message: str, *, max_tokens_field: str) -> str:
    """Return the hint for a request that a server refuses in these words."""
    fields = ("max_tokens", "max_completion_tokens")
    other = fields[max_tokens_field == fields[0]]
    if "nsupported" in message and max_tokens_field in message:
        return f"Add `-O max_tokens_field={other}`."
    if refused := [name for name in ("temperature", "seed") if f"'{name}'" in message]:
        return f"If the server does not take {' or '.join(refused)}, add `-O omit={','.join(refused)}`."
    return (
        "If the prompt is too long, show less history with --history, or start the server with a longer context; if it "
        "does not take temperature or seed, use `-O omit=temperature,seed`; otherwise see its message."
    )


def first_choice(reply: dict[str, Any], prompt: Prompt) -> dict[str, Any]:
    """Return the only answer in a reply.

    Raises:
        NoAnswerError: If there is none.
        ValueError: If it is something else.
    """
    choices = reply.get("choices")
    if not choices:
        raise NoAnswerError(
            f"the server answered prompt {prompt.prompt_id!r} without a choice: {str(reply)[:200]}",
            hint="It may not be OpenAI-compatible: check `-O base_url` and `-O api`.",
        )
    found = choices[0] if isinstance(choices, list) else None
    if not isinstance(found, dict):
        raise ValueError(f"choices holds no object: {str(choices)[:100]}")
    return found


def text_of(choice: dict[str, Any]) -> str:
    """Return what was written, thoughts in front; a refusal is an answer, too.

    Thoughts that took all there was to write stay open, as a model leaves them that writes them itself.
    """
    if "message" not in choice:
        return _text(choice.get("text"), "text")
    message = choice["message"]
    if not isinstance(message, dict):
        raise ValueError(f"message is no object: {str(message)[:100]}")
    thought = _text(message.get("reasoning_content") or message.get("reasoning"), "message.reasoning_content")
    said = _text(message.get("content"), "message.content") or _text(message.get("refusal"), "message.refusal")
    if not thought:
        return said
    return f"<think>{thought}" + ("" if not said and choice.get("finish_reason") == "length" else f"</think>{said}")


def _text(value: Any, field: str) -> str:
    """Return a field of text, which may come in parts.

    Raises:
        ValueError: If it is something else.
    """
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, list) and all(isinstance(part, dict) and "type" in part for part in value):
        return "".join(_text(part.get("text"), f"{field}.text") for part in value if part["type"] == "text")
    raise ValueError(f"{field} is no text: {str(value)[:80]}")


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
            return [(token, logprob(value, "logprobs.top_logprobs")) for token, value in (top or {}).items()]
        field = "logprobs.content.top_logprobs"
        return [(entry["token"], logprob(entry["logprob"], field)) for entry in top.get("top_logprobs") or []]
    if rows == [] and choice.get("finish_reason") == "stop" and not text_of(choice):
        return []
    raise EngineError(f"the server answered prompt {prompt.prompt_id!r} without log-probabilities", hint=NO_LOGPROBS)


def logprob(value: Any, field: str) -> float:
    """Return a log-probability; some servers round that of a sure token to a little above 0.

    Raises:
        ValueError: If it cannot be one.
    """
    number = float(value) if isinstance(value, int | float) else nan
    if isnan(number) or number > 0.01:
        raise ValueError(f"{field} holds {value!r}, which is no log-probability")
    return min(0.0, number)


def by_token_id(choice: dict[str, Any]) -> dict[int, float]:
    """Return the log-probabilities of the first token by its id, as far as the server names tokens by their ids."""
    found = (choice.get("logprobs") or {}).get("top_logprobs") or [{}]
    named = (found[0] or {}).items()
    return {
        int(token.removeprefix(_TOKEN_ID)): logprob(value, "logprobs.top_logprobs")
        for token, value in named
        if token.startswith(_TOKEN_ID)
    }


def label_logprobs(found: Sequence[tuple[str, float]], labels: Sequence[str]) -> tuple[tuple[float, ...], ...]:
    """Return the log-probability of each label, as `logprob_of` does; nothing for one that an earlier one is."""
    texts = [label.strip() for label in labels]
    return tuple(() if text in texts[:place] else logprob_of(found, text) for place, text in enumerate(texts))


def logprob_of(found: Sequence[tuple[str, float]], label: str) -> tuple[float, ...]:
    """Return the log-probability of a label: of all tokens that are it up to spaces; nothing if there is none."""
    values = [value for token, value in found if token.strip() == label.strip()]
    total = float(np.logaddexp.reduce(values)) if values else -np.inf
    return (min(0.0, total),) if np.isfinite(total) else ()


def usage(reply: dict[str, Any]) -> dict[str, int]:
    """Return the tokens that the server counted, under the names of a response; 0 where it says nothing of use."""
    return {
        "prompt_tokens": _count(reply, "usage", "prompt_tokens"),
        "cached_tokens": _count(reply, "usage", "prompt_tokens_details", "cached_tokens"),
        "completion_tokens": _count(reply, "usage", "completion_tokens"),
        "thinking_tokens": _count(reply, "usage", "completion_tokens_details", "reasoning_tokens"),
    }


def _count(value: Any, *fields: str) -> int:
    """Return the count in a field of a field; 0 where a server writes something else there: its answer stays one."""
    for field in fields:
        value = value.get(field) if isinstance(value, dict) else None
    if isinstance(value, str) and value.isdecimal() and len(value) < len(str(_MOST_TOKENS)):
        return int(value)
    return int(value) if isinstance(value, int | float) and 0 <= value <= _MOST_TOKENS else 0


def response_of(prompt: Prompt, said: dict[str, Any]) -> Response:
    """Return the response to a prompt from what is known of it."""
    fields = {"text": None, "choice_logprobs": None, "finish_reason": "stop", **said}
    return Response(prompt_id=prompt.prompt_id, **fields)


def billed(response: Response, replies: Sequence[dict[str, Any]]) -> Response:
    """Return the response with the tokens that the server counted for all it was asked, if it counts any."""
    counted = [usage(reply) for reply in replies]
    total: dict[str, Any] = {name: sum(tokens[name] for tokens in counted) for name in NOTHING}
    return replace(response, **total) if total["prompt_tokens"] else response


def unanswered_response(prompt: Prompt, reason: str) -> Response:
    """Return the response to a prompt that got no answer for a reason, `filtered` or `unanswered`."""
    said = {"text": ""} if prompt.choices is None else {"choice_logprobs": tuple(() for _ in prompt.choices)}
    return response_of(prompt, {**NOTHING, **said, "finish_reason": reason})

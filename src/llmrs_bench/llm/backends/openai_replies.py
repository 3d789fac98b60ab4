"""What an OpenAI-compatible server says, read from its JSON: texts, likeliest tokens, usage, and what went wrong."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from math import exp, isfinite, isnan, nan
from typing import Any

import numpy as np

from llmrs_bench.core.errors import EngineError
from llmrs_bench.core.types import Prompt, Response

NO_LOGPROBS = "Use a template that generates text, such as listwise, or a server that returns log-probabilities."
FILTERED = "content_filter"
# Why a server stopped, in the words of several: it gave up in the middle, so that what it wrote is no answer; all there
# was to write was written; a filter took the rest.
_BROKEN = ("error", "abort", "cancelled", "canceled", "timeout", "network_error", "insufficient_system_resource")
_CUT = ("length", "max_tokens", "model_length")
_FILTERED = (
    *(FILTERED, "content-filter", "safety", "recitation", "prohibited_content", "blocklist", "spii", "sensitive"),
    *("guardrail_intervened", "refusal"),
)
# Codes of refusals by a filter, in small letters.
_FILTER_CODES = (
    *(FILTERED, "content_policy_violation", "responsibleaipolicyviolation", "data_inspection_failed"),
    *("datainspectionfailed", "moderation_blocked"),
)
_OURS = (FILTERED, "context_length_exceeded", "invalid_request_error", "exceed_context_size_error")
_SPENT = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
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

    @property
    def spent(self) -> bool:
        """Whether the account has nothing left to pay with: no pause changes that."""
        return self.status == HTTPStatus.PAYMENT_REQUIRED or self.code in _SPENT


class NoAnswerError(EngineError):
    """A reply without an answer to this prompt."""


@contextmanager
def reading(prompt: Prompt) -> Iterator[None]:
    """Turn a reply of another shape than the API's into a NoAnswerError."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise NoAnswerError(
            f"the server's answer to prompt {prompt.prompt_id!r} does not follow the API: {_shape(error)}",
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
    said = found[0] if isinstance(found, list) and len(found) == 1 else found  # Google sends its errors in a list
    said = said if isinstance(said, dict) else {}
    if not 200 <= status < 300:
        return Failure(status, *_words(said.get("error") or said or found or text))
    if said.get("error") or said.get("object") == "error":
        return _told(said.get("error") or said)
    choice = _first(said.get("choices"))
    if not isinstance(choice, dict):
        return None
    if choice.get("error"):
        return _told(choice["error"])
    if _reason(choice) in _BROKEN:
        return Failure(_UPSTREAM, f"it broke off with {choice['finish_reason']!r}", "", inside=True)
    return None


def _first(choices: Any) -> Any:
    """Return the choice of the lowest index, whatever their order; None if there is none."""
    if not isinstance(choices, list) or not choices:
        return None
    return min(choices, key=lambda choice: _count({"": choice}, "", "index"))


def _reason(choice: dict[str, Any]) -> str:
    reason = choice.get("finish_reason")
    return str(reason.get("type") if isinstance(reason, dict) else reason).lower()


def finish_of(choice: dict[str, Any]) -> str:
    """Return why an answer ended: `filtered`, `length` or `stop`."""
    reason = _reason(choice)
    return "filtered" if reason in _FILTERED else "length" if reason in _CUT else "stop"


def _told(error: Any) -> Failure:
    message, code = _words(error)
    # A status, or one of five digits that begins with the digit of a status.
    status = int(code) if len(code) == 3 else 400 if code[:1] == "4" else _UPSTREAM
    status = status if code.isdecimal() and len(code) in (3, 5) and code[0] in "45" else 0
    kinds = (code, error.get("type")) if isinstance(error, dict) else ()
    return Failure(status or (400 if any(kind in _OURS for kind in kinds) else _UPSTREAM), message, code, inside=True)


def _words(error: Any) -> tuple[str, str]:
    if not isinstance(error, dict):
        return str(error), ""
    message, inner, more = str(error.get("message") or error), error.get("innererror"), error.get("metadata")
    codes = [error.get("code"), error.get("type"), inner.get("code") if isinstance(inner, dict) else None]
    flagged = "ContentPolicyViolation" in message or (isinstance(more, dict) and "flagged_input" in more)
    if flagged or any(str(code).lower() in _FILTER_CODES for code in codes):
        return message, FILTERED
    code = error.get("type") if error.get("type") in _SPENT else error.get("code")
    return message, str(code or "")


ABOUT_THE_PROMPT = (400, 413, 422)  # statuses of refusals that another prompt would not meet
# Those of refusals that it may meet or not: the key may use nothing, or a proxy blocks a text.
PERHAPS_ABOUT_THE_PROMPT = (403, 406, 451)


def said_wrong(status: int, message: str, *, max_tokens_field: str) -> str:
    """Return the hint for a request that a server refuses with a status and these words."""
    fields = ("max_tokens", "max_completion_tokens")
    other = fields[max_tokens_field == fields[0]]
    if "nsupported" in message and max_tokens_field in message:
        return f"Add `-O max_tokens_field={other}`."
    if refused := [name for name in ("temperature", "seed") if f"'{name}'" in message]:
        return f"If the server does not take {' or '.join(refused)}, add `-O omit={','.join(refused)}`."
    if status not in ABOUT_THE_PROMPT:
        return "See its message, the log of the server, and that of a proxy before it."
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
    found = _first(choices)
    if not isinstance(found, dict):
        raise ValueError(f"choices holds no object: {str(choices)[:100]}")
    return found


def text_of(choice: dict[str, Any]) -> str:
    """Return what was written, thoughts in front; a refusal is an answer, too.

    Thoughts that took all there was to write stay open, as a model leaves them that writes them itself; so do those
    that a server does not show.

    Raises:
        ValueError: If the fields of text hold something else, or there are none.
    """
    finish = finish_of(choice)
    if "message" not in choice:
        if "text" not in choice and finish != "filtered":
            raise ValueError(f"a choice has neither message nor text: {str(choice)[:100]}")
        return _text(choice.get("text"), "text")
    message = choice["message"]
    if not isinstance(message, dict):
        raise ValueError(f"message is not an object: {str(message)[:100]}")
    thought = _text(message.get("reasoning_content") or message.get("reasoning"), "message.reasoning_content")
    said = _text(message.get("content"), "message.content") or _text(message.get("refusal"), "message.refusal")
    if finish == "length" and not said:
        return f"<think>{thought}"
    return f"<think>{thought}</think>{said}" if thought else said


_TEXTS = ("text", "output_text")
_THOUGHTS = ("thinking", "redacted_thinking", "reasoning")


def _text(value: Any, field: str) -> str:
    """Return a field of text, which may come in parts, those of thoughts left out.

    Raises:
        ValueError: If it is something else.
    """
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, list):
        return "".join(_part(part, field) for part in value)
    raise ValueError(f"{field} is not text: {str(value)[:80]}")


def _part(part: Any, field: str) -> str:
    kind = part.get("type", "text") if isinstance(part, dict) else None
    if kind in _THOUGHTS:
        return ""
    if kind in _TEXTS and "text" in part:
        return _text(part["text"], f"{field}.text")
    if isinstance(part, str):
        return part
    raise ValueError(f"{field} is not text: {str(part)[:80]}")


def likeliest(choice: dict[str, Any], prompt: Prompt) -> list[tuple[str, float]]:
    """Return the likeliest first tokens as texts with their log-probabilities; none if the model ends at once.

    Raises:
        NoAnswerError: If the server returned none.
        ValueError: If they are none: no numbers, or more probable together than anything can be.
    """
    logprobs = choice.get("logprobs") or {}
    rows = logprobs.get("content") if "content" in logprobs else logprobs.get("top_logprobs")
    if rows:
        top, field = rows[0], "logprobs.top_logprobs"
        if "content" in logprobs:
            field = "logprobs.content.top_logprobs"
            pairs = [(entry["token"], entry["logprob"]) for entry in top.get("top_logprobs") or []]
        else:
            pairs = list((top or {}).items())
        # A server may show the token that it wrote twice.
        found = list(dict.fromkeys((_text(token, f"{field}.token"), logprob(value, field)) for token, value in pairs))
        if (mass := sum(exp(value) for _, value in found)) > _MOST_MASS:
            raise ValueError(f"the tokens of {field} are {100 * mass:.0f} % probable together")
        return found
    if rows == [] and choice.get("finish_reason") == "stop" and not text_of(choice):
        return []
    raise NoAnswerError(f"the server answered prompt {prompt.prompt_id!r} without log-probabilities", hint=NO_LOGPROBS)


_MOST_MASS = 1.05  # probability; a little above 1, since servers round and compute in halves
_LEAST = -1e6  # a log-probability below it stands for one that is not known


def logprob(value: Any, field: str) -> float:
    """Return a log-probability; some servers round that of a sure token to a little above 0, or write -1e308 for none.

    Raises:
        ValueError: If it cannot be one.
    """
    number = float(value) if isinstance(value, int | float) else nan
    if isnan(number) or number > 0.01:
        raise ValueError(f"{field} holds {value!r}, which is not a log-probability")
    return min(0.0, number) if number > _LEAST else -np.inf


def known_logprob(value: Any, field: str) -> float:
    """Return a log-probability that is finite.

    Raises:
        ValueError: If it is not.
    """
    if not isfinite(number := logprob(value, field)):
        raise ValueError(f"{field} holds {value!r}, which no token of a prompt has")
    return number


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


def least_of(found: Sequence[tuple[str, float]], count: int) -> float | None:
    """Return the least log-probability among the `count` likeliest tokens: what a token not shown has at most.

    Some servers also show the token that they drew, which may be less likely than others that they do not show.
    """
    known = sorted((value for _, value in found if np.isfinite(value)), reverse=True)[:count]
    return known[-1] if known else None


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

"""Options of an OpenAI-compatible server: where it is, how it is asked, and what it costs."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from datetime import date
from ipaddress import ip_address
from math import ceil
from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias
from urllib.parse import urlsplit

import httpx
from pydantic import BeforeValidator, Field, field_validator, model_validator

from llmrs_bench.core.config import Options
from llmrs_bench.core.errors import OptionError

PUBLIC = "https://api.openai.com/v1"
_DEEPEST_FIELDS = 32
_SECRET = re.compile(r"(?i)(?:^|[_-])(?:api[_-]?key|(?:access|auth)[_-]?token|secret|password|authorization)$")
_OWN = frozenset(
    [
        "model",
        "messages",
        "prompt",
        "temperature",
        "seed",
        "max_tokens",
        "max_completion_tokens",
        "reasoning_effort",
        "logprobs",
        "top_logprobs",
        "echo",
        "n",
        "stream",
        "continue_final_message",
        "add_generation_prompt",
        "logprob_token_ids",
        "allowed_token_ids",
        "return_token_ids",
        "return_tokens_as_token_ids",
    ]
)


def _listed(value: Any) -> Any:
    return [part for part in value.replace(" ", "").split(",") if part] if isinstance(value, str) else value


def _parsed(value: Any) -> Any:
    """Return what a text of JSON holds.

    Raises:
        ValueError: If a request cannot hold it: it is no JSON, has numbers or texts that JSON lacks, or is too deep.
    """
    try:
        found = json.loads(value) if isinstance(value, str) else value
        json.dumps(found, allow_nan=False, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError("it holds half of a surrogate pair, which UTF-8 cannot hold") from error
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    except (ValueError, TypeError) as error:
        raise ValueError(f"it is not JSON: {error}") from error
    if _depth(found) > _DEEPEST_FIELDS:
        raise ValueError(f"it is nested deeper than {_DEEPEST_FIELDS}")
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")
    return found


def _names(value: Any) -> Iterator[str]:
    """Yield the names of all fields, those of fields among them."""
    if isinstance(value, dict):
        yield from value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _names(part)


def _depth(value: Any) -> int:
    """Return how deep lists and objects are nested, level by level."""
    level, depth = [value], 0
    while level := [part for part in level if isinstance(part, dict | list)]:
        depth += 1
        level = [inner for part in level for inner in (part.values() if isinstance(part, dict) else part)]
    return depth


Omitted: TypeAlias = Annotated[tuple[Literal["temperature", "seed"], ...], BeforeValidator(_listed)]
Fields: TypeAlias = Annotated[dict[str, Any], BeforeValidator(_parsed)]


class OpenAIOptions(Options):
    """How the server is reached and asked.

    Args:
        base_url: Base address of the API, such as `http://localhost:8000/v1`; None: OPENAI_BASE_URL, or else OpenAI.
        known_as: Name of the server in the cache key, instead of its address: its former address, or any name. Servers
            with the same name share their answers.
        key_env: Environment variable that holds the key; your own server may need none.
        model: The server's name for the model, if it differs from the name or id here.
        api: `chat` sends messages, `completions` sends a text that the model continues.
        concurrency: Maximum number of requests in flight.
        timeout: Seconds that a reply may take, and the longest wait for a part of it. A request that takes longer is
            sent again, and from then on half as many are in flight.
        retries: How often a request is sent again after a temporary failure, such as 429, 5xx, a time-out, or a broken
            connection.
        unanswered: How many prompts may stay unanswered while the server answers others, as a number or as a share of
            the prompts, rounded up; they count as empty answers.
        answer_tokens: Maximum length of an answer in tokens; longer ones are truncated.
        temperature: Sampling temperature; 0 is greedy decoding.
        max_tokens_field: The field of a chat request that limits the length of the answer.
        reasoning_effort: How long a reasoning model thinks, in the server's words.
        omit: Fields that the server refuses: `temperature`, `seed`, or both separated by a comma. Answers may then
            vary.
        fields: Additional fields of each request as JSON, such as `{"repetition_penalty": 1}` if a server has another
            default.
        top_logprobs: Number of most probable tokens in which labels are looked up; servers limit it.
        continue_assistant: The server continues a last message of the assistant, as vLLM and SGLang do. Otherwise the
            beginning of the answer is put at the end of the user's last message.
        tokenizer: Folder or Hugging Face id of the served model. With `api=completions`, prompts are then sent as token
            ids, and choices are scored exactly by servers that return the log-probabilities of prompts, as vLLM's does.
        context: Maximum number of tokens; None: the server's limit applies, and no prompt is shortened.
        price_in: USD per million input tokens.
        price_out: USD per million output tokens.
        released: Release date of the model, for curves over time.
    """

    cost_only: ClassVar[frozenset[str]] = frozenset(
        {"key_env", "concurrency", "timeout", "retries", "unanswered", "price_in", "price_out", "released"}
    )
    identifying: ClassVar[frozenset[str]] = frozenset({"base_url", "known_as", "model"})

    base_url: str | None = None
    known_as: str | None = Field(default=None, min_length=1)
    key_env: str = Field(default="OPENAI_API_KEY", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    model: str | None = None
    api: Literal["chat", "completions"] = "chat"
    concurrency: int = Field(default=16, ge=1, le=1000)
    timeout: float = Field(default=120.0, gt=0, le=1_000_000)
    retries: int = Field(default=6, ge=0, le=1000)
    unanswered: str = "1%"
    answer_tokens: int = Field(default=512, ge=1)
    temperature: float = Field(default=0.0, ge=0)
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    reasoning_effort: str | None = None
    omit: Omitted = ()
    fields: Fields = Field(default={})
    top_logprobs: int = Field(default=20, ge=1)
    continue_assistant: bool = False
    tokenizer: str | None = None
    context: int | None = Field(default=None, ge=2)
    price_in: float | None = Field(default=None, ge=0)
    price_out: float | None = Field(default=None, ge=0)
    released: date | None = None

    @field_validator("fields")
    @classmethod
    def no_own_fields(cls, fields: dict[str, Any]) -> dict[str, Any]:
        """Refuse fields that the engine writes, and those that hold secrets, which would be kept beside answers."""
        if secret := next((name for name in _names(fields) if _SECRET.search(name)), None):
            raise ValueError(f"{secret} is the field of a secret; a key goes into the variable that key_env names")
        if taken := sorted(_OWN & set(fields)):
            raise ValueError(f"the engine itself sets {', '.join(taken)}")
        return fields

    @field_validator("unanswered")
    @classmethod
    def is_a_number_or_a_share(cls, unanswered: str) -> str:
        """Refuse what says no number of prompts."""
        if re.fullmatch(r"(100|[0-9]{1,2}(\.[0-9]{1,9})?)%|[0-9]{1,9}", unanswered):
            return unanswered
        raise ValueError(f"{unanswered!r} is neither a number of prompts, such as 5, nor a share, such as 1%")

    @model_validator(mode="after")
    def no_idle_options(self) -> Self:
        """Refuse options that the chosen API does not read."""
        idle = {
            "chat": {"tokenizer": "completions", "context": "completions"},
            "completions": {"continue_assistant": "chat", "max_tokens_field": "chat", "reasoning_effort": "chat"},
        }
        for name, other in idle[self.api].items():
            if name in self.model_fields_set:
                raise ValueError(f"{name} applies only to api={other}, not to api={self.api}")
        if "temperature" in self.omit and self.temperature:
            raise ValueError("temperature is left out of requests by omit, so it has no effect")
        if self.context is not None and self.tokenizer is None:
            raise ValueError("context has no effect without tokenizer, which counts the tokens")
        return self

    def allowed(self, prompts: int) -> int:
        """Return how many of so many prompts may stay without an answer."""
        number, share, _ = self.unanswered.partition("%")
        return ceil(float(number) / 100 * prompts) if share else int(number)

    @classmethod
    def naming(cls, typed: Mapping[str, str]) -> dict[str, str]:
        """Return the typed options that may change an answer; an address may not where the server has a name."""
        found = super().naming(typed)
        return {name: value for name, value in found.items() if name != "base_url" or "known_as" not in found}

    @property
    def server(self) -> str:
        """Return what the server is called in the identity of its answers."""
        return self.address if self.known_as is None else self.known_as.strip().rstrip("/")

    @property
    def address(self) -> str:
        """Return the URL that the API begins at.

        Raises:
            OptionError: If it is no such URL, or holds a password or a query.
        """
        url = (self.base_url or os.environ.get("OPENAI_BASE_URL") or PUBLIC).strip().rstrip("/")
        hint = "Give it as `-O base_url=http://localhost:8000/v1` or in OPENAI_BASE_URL; the key goes into a variable."
        try:
            parts, sent = urlsplit(url), httpx.URL(url)
            sent.raw_host.decode().encode("idna")
            if parts.port == 0 or not url.isprintable() or " " in url:
                raise ValueError("it holds a blank, a control character or the port 0")
        except (ValueError, httpx.InvalidURL) as error:
            raise OptionError(f"{url!r} is not the base URL of an API: {error}", hint=hint) from error
        if parts.username or parts.password or parts.query or parts.fragment:
            raise OptionError("the base URL holds more than host and path", hint=hint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise OptionError(f"{url!r} is not the base URL of an API", hint=hint)
        return url

    @property
    def is_public(self) -> bool:
        """Return whether the server is one of the Internet, judged by its name: none of this machine or its network."""
        host = (urlsplit(self.address).hostname or "").rstrip(".")
        try:
            return ip_address(host.partition("%")[0]).is_global
        except ValueError:
            return "." in host and not host.endswith(_PRIVATE)


# Names that no server of the Internet has (RFC 6761, 6762, 8375).
_PRIVATE = (
    ".localhost",
    ".test",
    ".local",
    ".internal",
    ".intranet",
    ".private",
    ".corp",
    ".home",
    ".lan",
    ".home.arpa",
)

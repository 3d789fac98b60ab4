"""Options of a server, and one request to it: sent once, read to its end, its failures classified."""

import json
import os
import re
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from ipaddress import ip_address
from math import ceil
from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias
from urllib.parse import urlsplit
from urllib.request import proxy_bypass

import httpx
from pydantic import BeforeValidator, Field, field_validator, model_validator

from llmrs_bench.core.config import Options
from llmrs_bench.core.errors import EngineError, OptionError
from llmrs_bench.core.masking import MASK, is_secret
from llmrs_bench.llm.backends.openai_replies import NoAnswerError

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
        raise ValueError(f"no JSON: {error}") from error
    if _depth(found) > _DEEPEST_FIELDS:
        raise ValueError(f"it is nested deeper than {_DEEPEST_FIELDS}")
    if not isinstance(found, dict):
        raise ValueError("it is no object of JSON")
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
        base_url: Where the API begins, such as `http://localhost:8000/v1`; without it OPENAI_BASE_URL, else OpenAI.
        known_as: What the server is called in the identity of its answers in place of its address: the address it had
            before it moved, or any name. Servers that are known as one share their answers.
        key_env: The variable that holds the key; a server of one's own may need none.
        model: What the server calls the model, if that is not its name or id here.
        api: `chat` sends messages, `completions` the text that the model continues.
        concurrency: The most requests in flight.
        timeout: Seconds that a reply may take, and the longest wait for a part of it. A request that takes longer is
            sent again, and from then on half as many as were under way are sent at a time.
        retries: How often a request is sent again that met trouble which passes: 408, 425, 429, 5xx, a time-out, or a
            connection that broke off.
        unanswered: How many prompts may stay without an answer while the server answers others, as a number or as a
            share of the prompts, rounded up; they count as empty answers.
        answer_tokens: The longest answer, in tokens; more is cut off.
        temperature: Of texts that are sampled; 0 asks for the likeliest tokens.
        max_tokens_field: The field of a chat request that bounds the answer.
        reasoning_effort: How long a reasoning model thinks, in the server's words.
        omit: Fields that the server refuses: `temperature`, `seed`, or both with a comma. Answers may then vary.
        fields: More fields of each request as JSON, such as `{"repetition_penalty": 1}` where a server has another
            default.
        top_logprobs: How many of the likeliest tokens a label is looked up among; servers bound it.
        continue_assistant: The server continues a last message of the assistant, as vLLM and SGLang do. Otherwise
            such a prefix ends the user's last message.
        tokenizer: Folder or Hugging Face id of the served model; with `api=completions` prompts are then sent as token
            ids and choices read exactly, from servers that echo log-probabilities, as vLLM does.
        context: How many tokens the model takes; without it the server's word counts, and nothing is clipped.
        price_in: USD for a million tokens read.
        price_out: USD for a million tokens written.
        released: The day on which the model came out, for curves over time.
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
            raise ValueError(f"the engine itself writes {', '.join(taken)}")
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
            raise OptionError(f"{url!r} is no base URL of an API: {error}", hint=hint) from error
        if parts.username or parts.password or parts.query or parts.fragment:
            raise OptionError("the base URL holds more than host and path", hint=hint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise OptionError(f"{url!r} is no base URL of an API", hint=hint)
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
_CONNECT = 10.0  # seconds
_IDLE = 2.0  # seconds, less than servers keep an idle connection, so that none is used just as it is closed
_GREATEST_REPLY = 16 * 2**20  # bytes; an echo of 128,000 tokens with log-probabilities takes less
_REDIRECTS = (301, 302, 303, 307, 308)
_POST_AGAIN = (307, 308)  # the other redirects turn a POST into a GET
_MOST_REDIRECTS = 5
_DEEPEST_REPLY = 100  # lists and objects within each other


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server sent: the status of HTTP, the header Retry-After if there is one, and the body."""

    status: int
    retry_after: str | None
    content: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.content.decode("utf-8", "replace")

    def json(self, key: str = "") -> Any:
        """Return the body as JSON, None if it is none or nested deeper than any reply is.

        In its texts half of a surrogate pair becomes U+FFFD, as UTF-8 demands, and the key is masked.

        Args:
            key: That of the request.
        """
        try:
            return _cleaned(json.loads(self.content), key if is_secret(key) else "")
        except (ValueError, RecursionError):
            return None


class TimedOutError(Exception):
    """A reply was not complete within the time-out."""


class BrokenOffError(Exception):
    """A connection failed, or ended in the middle; `reached` says whether the server took it."""

    def __init__(self, message: str, *, reached: bool) -> None:
        super().__init__(message)
        self.reached = reached


class UndecodableError(Exception):
    """A reply is not in the encoding that its headers name."""


class Transport:
    """Sends requests to one server.

    Args:
        options: Time-out and number of connections.
        key: Sent as a bearer token, unless it is empty.

    Raises:
        OptionError: If the environment names a proxy or certificates that cannot be used.
    """

    def __init__(self, options: OpenAIOptions, *, key: str) -> None:
        self.timeout = options.timeout
        settings: dict[str, Any] = {
            "headers": {"Authorization": f"Bearer {key}"} if key else {},
            "timeout": httpx.Timeout(options.timeout, connect=min(_CONNECT, options.timeout)),
            "limits": httpx.Limits(
                max_connections=options.concurrency,
                max_keepalive_connections=options.concurrency,
                keepalive_expiry=_IDLE,
            ),
        }
        self._http = _client(settings, urlsplit(options.address).hostname or "")

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def post(self, url: str, body: dict[str, Any]) -> Reply:
        """Return the reply to a body sent as JSON; a redirect is followed on the same host and port.

        Raises:
            TimedOutError: If the whole reply takes longer than the time-out.
            BrokenOffError: If the connection fails or ends early, or what comes is no HTTP.
            UndecodableError: If the body is not encoded as its headers say.
            EngineError: If the reply is too large, or points to another server.
        """
        try:
            content = json.dumps(body, allow_nan=False).encode()
            for _ in range(_MOST_REDIRECTS):
                reply, target = self._exchange(url, content)
                if target is None:
                    return reply
                url = target
        except httpx.TimeoutException as error:
            if isinstance(error, httpx.ConnectTimeout):
                raise BrokenOffError(_name(error), reached=False) from error
            raise TimedOutError(_name(error)) from error
        except httpx.DecodingError as error:
            raise UndecodableError(_name(error)) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise BrokenOffError(_name(error), reached=not isinstance(error, httpx.ConnectError)) from error
        raise EngineError(f"{url} leads in circles: {_MOST_REDIRECTS} redirects", hint="Check `-O base_url`.")

    def _exchange(self, url: str, content: bytes) -> tuple[Reply, str | None]:
        """Return a reply, and where it points if it is a redirect to follow."""
        ends, body = time.monotonic() + self.timeout, bytearray()
        with self._http.stream("POST", url, content=content, headers={"Content-Type": "application/json"}) as got:
            if got.status_code in _REDIRECTS and "location" in got.headers:
                return Reply(got.status_code, None, b""), _target(url, got)
            for part in got.iter_bytes():
                body += part
                if len(body) > _GREATEST_REPLY:
                    raise NoAnswerError(
                        f"a reply of {url} is larger than {_GREATEST_REPLY / 2**20:.0f} MiB, which no answer is",
                        hint="Check `-O base_url` and what the server writes; lower `-O answer_tokens`.",
                    )
                if time.monotonic() > ends:
                    raise TimedOutError(f"the reply had begun, {len(body):,} bytes")
        return Reply(got.status_code, got.headers.get("retry-after"), bytes(body)), None


_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def _client(settings: dict[str, Any], host: str) -> httpx.Client:
    try:
        verify = _certificates(*(os.environ.get(name) for name in _CERTIFICATES))
        try:
            return httpx.Client(**settings, verify=verify)
        except ImportError:
            if not proxy_bypass(host):
                raise
            return httpx.Client(
                **settings, verify=verify, trust_env=False
            )  # NO_PROXY: the proxy is not for this server
    except OSError as error:
        named = {name: os.environ[name] for name in _CERTIFICATES if name in os.environ}
        shown = ", ".join(f"{name}={path}" for name, path in named.items()) or "those of this system"
        raise OptionError(
            f"the certificates of authorities cannot be read ({shown}): {error}",
            hint="Correct or unset SSL_CERT_FILE and SSL_CERT_DIR.",
        ) from error
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise OptionError(
            f"the proxy that ALL_PROXY, HTTPS_PROXY or HTTP_PROXY names cannot be used: {str(error).rstrip('.')}",
            hint=f"For a SOCKS proxy install the package socksio; for none, set NO_PROXY={host} or unset the variable.",
        ) from error


@cache
def _certificates(file: str | None, folder: str | None) -> ssl.SSLContext:
    """Return the authorities that SSL_CERT_FILE or SSL_CERT_DIR names, or the usual ones.

    Raises:
        OSError: If they cannot be read.
    """
    return httpx.create_ssl_context()


def _target(url: str, reply: httpx.Response) -> str:
    """Return where a redirect points.

    Raises:
        EngineError: If that is another server, which must not get the key, or no place to post to.
    """
    asked, target = httpx.URL(url), httpx.URL(url).join(reply.headers["location"])
    if reply.status_code in _POST_AGAIN and (asked.scheme, asked.netloc) == (target.scheme, target.netloc):
        return str(target)
    raise EngineError(
        f"{url} points to {target.copy_with(username=None, password=None, query=None)} with {reply.status_code}, "
        "which is not followed",
        hint="If that is the right server, give its address with `-O base_url`, which usually ends in /v1.",
    )


def _name(error: Exception) -> str:
    return f"{type(error).__name__} {error}".strip()


def _cleaned(value: Any, key: str, deeper: int = _DEEPEST_REPLY) -> Any:
    if isinstance(value, str):
        if not value.isascii():
            value = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return value.replace(key, MASK) if key else value
    if not isinstance(value, list | dict):
        return value
    if not deeper:
        raise ValueError("nested too deep")
    if isinstance(value, list):
        return [_cleaned(part, key, deeper - 1) for part in value]
    return {_cleaned(name, key): _cleaned(part, key, deeper - 1) for name, part in value.items()}

"""One exchange with an OpenAI-compatible server: bounded in time and size, on one host, with text that UTF-8 holds."""

import json
import os
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from urllib.request import proxy_bypass

import httpx

from llmrs_bench.engines.openai_options import OpenAIOptions
from llmrs_bench.errors import EngineError, OptionError

_CONNECT = 10.0  # seconds
_IDLE = 2.0  # seconds, less than servers keep an idle connection, so that none is used just as it is closed
_GREATEST_REPLY = 16 * 2**20  # bytes; an echo of 128,000 tokens with log-probabilities takes less
_REDIRECTS = (301, 302, 303, 307, 308)
_POST_AGAIN = (307, 308)  # the other redirects turn a POST into a GET
_MOST_REDIRECTS = 5


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

    def json(self) -> Any:
        """Return the body as JSON, None if it is none; half of a surrogate pair becomes U+FFFD, as UTF-8 demands."""
        try:
            found = json.loads(self.content)
        except (ValueError, RecursionError):
            return None
        # No other text has one: in UTF-8 itself a surrogate is an error.
        return _without_surrogates(found) if b"\\ud" in self.content.lower() else found


class TimedOutError(Exception):
    """A reply was not complete within the time-out."""


class BrokenOffError(Exception):
    """A connection failed, or ended in the middle; `reached` says whether the server took it."""

    def __init__(self, message: str, *, reached: bool) -> None:
        super().__init__(message)
        self.reached = reached


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
            BrokenOffError: If the connection fails or ends early.
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
                    raise EngineError(
                        f"a reply of {url} is larger than {_GREATEST_REPLY / 2**20:.0f} MiB, which no answer is",
                        hint="Check `-O base_url` and what the server writes; lower `-O answer_tokens`.",
                    )
                if time.monotonic() > ends:
                    raise TimedOutError(f"the reply had begun, {len(body):,} bytes")
        return Reply(got.status_code, got.headers.get("retry-after"), bytes(body)), None


def _client(settings: dict[str, Any], host: str) -> httpx.Client:
    try:
        try:
            return httpx.Client(**settings)
        except ImportError:
            if not proxy_bypass(host):
                raise
            return httpx.Client(**settings, trust_env=False)  # NO_PROXY: the proxy is not for this server
    except OSError as error:
        named = {name: os.environ[name] for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if name in os.environ}
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


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_without_surrogates(part) for part in value]
    if isinstance(value, dict):
        return {_without_surrogates(name): _without_surrogates(part) for name, part in value.items()}
    return value

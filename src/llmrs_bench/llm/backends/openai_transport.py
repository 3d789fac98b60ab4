"""One request to a server: sent once, read to its end, its failures classified."""

import json
import os
import ssl
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import inf
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from llmrs_bench.core.errors import EngineError, OptionError
from llmrs_bench.core.masking import MASK, is_secret
from llmrs_bench.llm.backends.openai_options import OpenAIOptions
from llmrs_bench.llm.backends.openai_replies import NoAnswerError

_CONNECT = 10.0  # seconds
_IDLE = 2.0  # seconds, less than servers keep an idle connection, so that none is used just as it is closed
_GREATEST_REPLY = 16 * 2**20  # bytes; an echo of 128,000 tokens with log-probabilities takes less
_REDIRECTS = (301, 302, 303, 307, 308)
_POST_AGAIN = (307, 308)  # the other redirects turn a POST into a GET
_MOST_REDIRECTS = 5
_DEEPEST_REPLY = 100  # lists and objects within each other
_LONGEST_NUMBER = 400  # digits
_UNPACKED = 2**20  # bytes that are unpacked at once, however few they were packed


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

        Bytes that are no text and halves of surrogate pairs become U+FFFD, and the key is masked. A number of more
        digits than any count has is infinite.

        Args:
            key: That of the request.
        """
        try:
            return _cleaned(self._parsed(), key if is_secret(key) else "")
        except (ValueError, RecursionError):
            return None

    @property
    def cut_short(self) -> bool:
        """Whether the body is JSON up to its end, where more would have to come."""
        try:
            self._parsed()
        except json.JSONDecodeError as error:
            more = error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated string")
            return more and bool(error.doc.strip())
        except (ValueError, RecursionError):
            pass
        return False

    def _parsed(self) -> Any:
        text = self.content.decode(json.detect_encoding(self.content), "replace")
        return json.loads(text.lstrip("\ufeff"), parse_int=_integer)


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < _LONGEST_NUMBER else float(digits)


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
            "headers": {"Accept-Encoding": "gzip", **({"Authorization": f"Bearer {key}"} if key else {})},
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
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise BrokenOffError(_name(error), reached=not isinstance(error, httpx.ConnectError)) from error
        raise EngineError(f"{url} leads in circles: {_MOST_REDIRECTS} redirects", hint="Check `-O base_url`.")

    def _exchange(self, url: str, content: bytes) -> tuple[Reply, str | None]:
        """Return a reply, and where it points if it is a redirect to follow."""
        _WAITING.ends, body = time.monotonic() + self.timeout, bytearray()
        with self._http.stream("POST", url, content=content, headers={"Content-Type": "application/json"}) as got:
            if got.status_code in _REDIRECTS and "location" in got.headers:
                return Reply(got.status_code, None, b""), _target(url, got)
            for part in _unpacked(got.iter_raw(), got.headers.get("content-encoding", "")):
                body += part
                if len(body) > _GREATEST_REPLY:
                    raise NoAnswerError(
                        f"a reply of {url} is larger than {_GREATEST_REPLY / 2**20:.0f} MiB, which no answer is",
                        hint="Check `-O base_url` and what the server writes; lower `-O answer_tokens`.",
                    )
        return Reply(got.status_code, got.headers.get("retry-after"), bytes(body)), None


_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def _client(settings: dict[str, Any], host: str) -> httpx.Client:
    try:
        verify = _certificates(*(os.environ.get(name) for name in _CERTIFICATES))
        try:
            return _bounded(httpx.Client(**settings, verify=verify))
        except ImportError:
            if not proxy_bypass(host):
                raise
            # NO_PROXY: the proxy is not for this server.
            return _bounded(httpx.Client(**settings, verify=verify, trust_env=False))
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


_WAITING = threading.local()  # `ends`: until when this thread waits for the reply that it asked for


class _Bounded:
    """The network, or a connection, which is read from until the time of a whole reply is over.

    httpx has a limit for each read alone: a server that sends a byte now and then, of its headers or of what it
    announces before them, would hold a thread for ever.
    """

    def __init__(self, network: Any) -> None:
        self._network = network

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    def connect_tcp(self, *given: Any, **named: Any) -> "_Bounded":
        return _Bounded(self._network.connect_tcp(*given, **named))

    def start_tls(self, *given: Any, **named: Any) -> "_Bounded":
        return _Bounded(self._network.start_tls(*given, **named))

    def read(self, most: int, timeout: float | None = None) -> bytes:
        """Return up to `most` bytes.

        Raises:
            TimedOutError: If the time of the reply is over.
        """
        left = getattr(_WAITING, "ends", inf) - time.monotonic()
        if left <= 0:
            raise TimedOutError("the reply is not complete")
        return bytes(self._network.read(most, min(left, inf if timeout is None else timeout)))


def _bounded(client: httpx.Client) -> httpx.Client:
    for transport in (client._transport, *client._mounts.values()):
        if isinstance(transport, httpx.HTTPTransport):
            pool: Any = transport._pool
            pool._network_backend = _Bounded(pool._network_backend)
    return client


def _unpacked(parts: Iterator[bytes], coding: str) -> Iterator[bytes]:
    """Yield a body unpacked, a bounded number of bytes at once: httpx unpacks as much as a few packed bytes hold.

    Raises:
        UndecodableError: If it is not in the encoding that its headers name, ends too early, or is in another encoding
            than was asked for.
    """
    if coding.strip().lower() in ("", "identity"):
        yield from parts
        return
    if coding.strip().lower() not in ("gzip", "x-gzip"):
        raise UndecodableError(f"it is encoded as {coding!r}, which was not requested")
    packed, begun = zlib.decompressobj(wbits=31), False
    try:
        for part in parts:
            left, begun = part, True
            while left and not packed.eof:
                yield packed.decompress(left, _UNPACKED)
                left = packed.unconsumed_tail
        yield packed.flush()
    except zlib.error as error:
        raise UndecodableError(str(error)) from error
    if begun and not packed.eof:
        raise UndecodableError("its packed bytes end too early")


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


def proxy_hint(url: str) -> str:
    """Return what to do where the environment sends requests to `url` through a proxy; else nothing.

    Neither user nor password of the proxy is shown.
    """
    place, proxies = urlsplit(url), getproxies()
    proxy = proxies.get(place.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(place.hostname or ""):
        return ""
    name = proxy.rpartition("@")[2].rpartition("://")[2]
    return f" The environment sends it through the proxy {name}: if it should not, set NO_PROXY={place.hostname}."

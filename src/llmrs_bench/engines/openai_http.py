"""Requests to an OpenAI-compatible server: retried where it is busy or broken, refused clearly where we are wrong."""

import logging
import os
import random
import threading
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Event
from typing import Any

import httpx

from llmrs_bench.engines.openai_options import OpenAIOptions
from llmrs_bench.errors import EngineError, OptionError
from llmrs_bench.types import Json

log = logging.getLogger(__name__)
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds
_LONGEST_ASKED = 600.0  # seconds; a server that asks for more has no quota left for today
_CONNECT = 10.0  # seconds
_IDLE = 2.0  # seconds, less than servers keep an idle connection, so that none is used just as it is closed
_SHOWN = 300  # characters of a server's message
_GOES_ON = "Answers so far are kept: the same command goes on with the rest."


class RefusedError(EngineError):
    """The server refused a request with a `status` of HTTP and a `code` of its own, such as `content_filter`."""

    def __init__(self, message: str, *, hint: str, status: int, code: str) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.code = code


class Client:
    """Posts JSON to a server, and never shows the key.

    Only 429 and 5xx are tried again, after a pause that doubles each time, with jitter, or as long as the server asks
    for (`Retry-After`). None of them ever becomes an answer. A server that cannot be reached, or breaks off, ends
    the run.

    Args:
        options: Where the server is, the variable that holds the key, and how often to try.
        seed: Seed of the jitter, so that requests refused together do not come back together.

    Raises:
        OptionError: If the base URL is wrong, or the variable holds what cannot be a key.
    """

    def __init__(self, options: OpenAIOptions, *, seed: int) -> None:
        self.base_url = options.address
        self.options = options
        self.pause = _pause
        self._key = _key(options.key_env)
        self._jitter = random.Random(seed)
        self._lock = threading.Lock()
        self._counts = {"requests": 0, "retries": 0, "rate_limited": 0}
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of every single request
        self._http = httpx.Client(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=httpx.Timeout(options.timeout, connect=min(_CONNECT, options.timeout)),
            limits=httpx.Limits(
                max_connections=options.concurrency,
                max_keepalive_connections=options.concurrency,
                keepalive_expiry=_IDLE,
            ),
        )

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def counts(self) -> dict[str, Json]:
        """Return how many requests were sent, how many of them again, and how many were refused with 429."""
        with self._lock:
            return {**self._counts}

    def post(self, path: str, body: dict[str, Any], *, about: str, stopped: Event) -> dict[str, Any]:
        """Return the server's answer.

        Args:
            path: Below the base URL.
            body: Sent as JSON.
            about: The prompt, for messages.
            stopped: Ends a pause early, and with it the tries.

        Raises:
            EngineError: If the server cannot be reached, stays busy, refuses the request, or answers no JSON.
        """
        retries = self.options.retries
        for attempt in range(retries + 1):
            reply = self._send(path, body, again=attempt > 0)
            if reply.status_code != 429 and reply.status_code < 500:
                return self._read(reply, about)
            if attempt < retries:
                self._rest(reply, attempt, about, stopped)
        raise EngineError(
            f"{self.base_url} answered {reply.status_code} {retries + 1} times: {self._message(reply)}",
            hint=f"{_GOES_ON} Lower `-O concurrency`, or raise `-O retries`.",
        )

    def _send(self, path: str, body: dict[str, Any], *, again: bool) -> httpx.Response:
        try:
            reply = self._http.post(f"{self.base_url}/{path}", json=body)
        except httpx.HTTPError as error:
            raise EngineError(
                f"{self.base_url} does not answer: {self._hide(f'{type(error).__name__} {error}')}",
                hint=f"Check that the server runs, and `-O base_url` and `-O timeout`. {_GOES_ON}",
            ) from error
        with self._lock:
            self._counts["requests"] += 1
            self._counts["retries"] += again
            self._counts["rate_limited"] += reply.status_code == 429
        return reply

    def _rest(self, reply: httpx.Response, attempt: int, about: str, stopped: Event) -> None:
        """Wait before the next try.

        Raises:
            EngineError: If the server asks for more patience than anybody has, or the run ends.
        """
        asked = retry_after(reply.headers.get("retry-after"), now=datetime.now(UTC))
        if asked is not None and asked > _LONGEST_ASKED:
            raise EngineError(
                f"{self.base_url} asks to wait {asked:.0f} s: {self._message(reply)}", hint=f"{_GOES_ON} Run it later."
            )
        with self._lock:
            jitter = self._jitter.uniform(0.5, 1.0)
        seconds = min(_FIRST_PAUSE * 2.0**attempt, _LONGEST_PAUSE) * jitter if asked is None else asked
        log.debug("%d for %s, next try in %.1f s", reply.status_code, about, seconds)
        if not stopped.is_set():
            self.pause(seconds, stopped)
        if stopped.is_set():
            raise EngineError(f"{about} was not asked again, since the run ends", hint=_GOES_ON)

    def _read(self, reply: httpx.Response, about: str) -> dict[str, Any]:
        if not reply.is_success:
            raise self._refusal(reply, about)
        try:
            found = reply.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise EngineError(
                f"{self.base_url} answered {about} with no JSON object: {self._hide(reply.text[:_SHOWN])!r}",
                hint="Check `-O base_url`: it usually ends in /v1.",
            )
        if found.get("error"):  # some gateways report the failure of a server behind them with status 200
            raise EngineError(f"{self.base_url} failed at {about}: {self._message(reply)}", hint=_GOES_ON)
        return found

    def _refusal(self, reply: httpx.Response, about: str) -> RefusedError:
        hints = {
            401: f"Set {self.options.key_env} to a key of this server, or name another variable with `-O key_env`.",
            403: f"Set {self.options.key_env} to a key that may use this model.",
            404: "Check `-O base_url`, which usually ends in /v1, and the model's name on the server, `-O model`.",
        }
        other = (
            "If the prompt is too long, show less history with --history; if the server does not take temperature or "
            "seed, use `-O omit=temperature,seed`; otherwise see its message."
        )
        return RefusedError(
            f"{self.base_url} refuses {about} with {reply.status_code}: {self._message(reply)}",
            hint=hints.get(reply.status_code, other),
            status=reply.status_code,
            code=_error(reply)[1],
        )

    def _message(self, reply: httpx.Response) -> str:
        return self._hide(_error(reply)[0])[:_SHOWN]

    def _hide(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


def retry_after(value: str | None, *, now: datetime) -> float | None:
    """Return the seconds that a Retry-After header asks for, as a number or a date; None if it says nothing."""
    try:
        return max(0.0, float(value or ""))
    except ValueError:
        pass  # a date, or nothing
    try:
        then = parsedate_to_datetime(value or "")
    except ValueError:
        return None
    return max(0.0, (then.replace(tzinfo=then.tzinfo or UTC) - now).total_seconds())


def _key(variable: str) -> str:
    key = os.environ.get(variable, "").strip()
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        raise OptionError(
            f"the variable {variable} holds no key: no HTTP header can hold these characters",
            hint=f"Set {variable} to the key alone.",
        )
    return key


def _error(reply: httpx.Response) -> tuple[str, str]:
    """Return what the server says went wrong, and the code that it gives it."""
    try:
        said = reply.json()
    except ValueError:
        return reply.text, ""
    error = said.get("error", said) if isinstance(said, dict) else said
    if not isinstance(error, dict):
        return str(error), ""
    return str(error.get("message", error)), str(error.get("code") or "")


def _pause(seconds: float, stopped: Event) -> None:
    stopped.wait(seconds)

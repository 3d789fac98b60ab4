"""Requests to an OpenAI-compatible server: retried where it is busy or broken, refused clearly where we are wrong."""

import random
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx

from llmrs_bench.errors import EngineError

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds
_GOES_ON = "Answers so far are kept: the same command goes on with the rest."


class Client:
    """Posts JSON to a server.

    Only 429 and 5xx are tried again, after a pause that doubles each time, with jitter, or as long as the server asks
    for (`Retry-After`). None of them ever becomes an answer.

    Args:
        base_url: Where the API begins.
        key: Sent as a bearer token, if there is one.
        key_env: The variable it came from, for messages.
        timeout: Seconds without a word from the server after which it counts as gone.
        retries: How often a request is sent again.
        connections: The most requests at a time.
        sleep: Waits so many seconds.
    """

    def __init__(
        self,
        base_url: str,
        *,
        key: str | None,
        key_env: str,
        timeout: float,
        retries: int,
        connections: int,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.base_url = base_url
        self.key_env = key_env
        self.retries = retries
        self.retried = 0
        self.rate_limited = 0
        self._sleep = sleep
        self._jitter = random.Random(0)
        self._lock = threading.Lock()
        self._http = httpx.Client(
            base_url=base_url,
            headers={} if key is None else {"Authorization": f"Bearer {key}"},
            timeout=timeout,
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
        )

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def post(self, path: str, body: dict[str, Any], *, about: str) -> dict[str, Any]:
        """Return the server's answer.

        Args:
            path: Below the base URL.
            body: Sent as JSON.
            about: The prompt, for messages.

        Raises:
            EngineError: If the server cannot be reached, stays busy, refuses the request, or answers no JSON.
        """
        for attempt in range(self.retries + 1):
            reply = self._send(path, body)
            if reply.status_code != 429 and reply.status_code < 500:
                return self._read(reply, about)
            with self._lock:
                self.rate_limited += reply.status_code == 429
                self.retried += attempt < self.retries
            if attempt < self.retries:
                self._sleep(self._pause(attempt, reply))
        raise EngineError(
            f"{self.base_url} answered {reply.status_code} {self.retries + 1} times: {_message(reply)}",
            hint=f"{_GOES_ON} Lower `-O concurrency`, or raise `-O retries`.",
        )

    def _send(self, path: str, body: dict[str, Any]) -> httpx.Response:
        try:
            return self._http.post(path, json=body)
        except httpx.HTTPError as error:
            raise EngineError(
                f"{self.base_url} does not answer: {type(error).__name__} {error}",
                hint=f"Check that the server runs, and `-O base_url` and `-O timeout`. {_GOES_ON}",
            ) from error

    def _pause(self, attempt: int, reply: httpx.Response) -> float:
        try:
            return min(float(reply.headers["retry-after"]), 10 * _LONGEST_PAUSE)
        except (KeyError, ValueError):  # none, or a date
            with self._lock:
                jitter = self._jitter.uniform(0.5, 1.0)
            return min(_FIRST_PAUSE * 2.0**attempt, _LONGEST_PAUSE) * jitter

    def _read(self, reply: httpx.Response, about: str) -> dict[str, Any]:
        if reply.is_success:
            try:
                found: dict[str, Any] = reply.json()
            except ValueError as error:
                raise EngineError(
                    f"{self.base_url} answered {about} with no JSON: {reply.text[:200]!r}",
                    hint="Check `-O base_url`: it usually ends in /v1.",
                ) from error
            return found
        hints = {
            401: f"Set {self.key_env} to a key of this server.",
            403: f"Set {self.key_env} to a key that may use this model.",
            404: "Check `-O base_url`, which usually ends in /v1, and the model's name on the server, `-O model`.",
        }
        raise EngineError(
            f"{self.base_url} refuses {about} with {reply.status_code}: {_message(reply)}",
            hint=hints.get(
                reply.status_code,
                "If the prompt is too long, show less history with --history; otherwise see the server's message.",
            ),
        )


def _message(reply: httpx.Response) -> str:
    """Return what the server says went wrong."""
    try:
        said = reply.json()
    except ValueError:
        return reply.text[:300]
    error = said.get("error", said) if isinstance(said, dict) else said
    return str(error.get("message", error) if isinstance(error, dict) else error)[:300]

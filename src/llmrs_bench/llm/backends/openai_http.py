"""Requests to a server, several at a time: what is tried again, how long, and what goes on without an answer."""

import logging
import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from math import isfinite
from queue import SimpleQueue
from threading import Condition, Event, Thread
from typing import Any, Generic, TypeVar

from llmrs_bench.core.errors import EngineError, OptionError
from llmrs_bench.core.masking import MASK, mask
from llmrs_bench.core.types import Json
from llmrs_bench.llm.backends.openai_options import OpenAIOptions
from llmrs_bench.llm.backends.openai_replies import Failure, NoAnswerError, failure_in, said_wrong
from llmrs_bench.llm.backends.openai_transport import (
    BrokenOffError,
    Reply,
    TimedOutError,
    Transport,
    UndecodableError,
    proxy_hint,
)

Task = TypeVar("Task")
Done = TypeVar("Done")
_NOTHING_LEFT = object()


class Throttle:
    """Lets so many threads in at a time, and never more again once it was narrowed.

    Args:
        most: How many at first.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._inside = 0
        self._changed = Condition()

    @property
    def most(self) -> int:
        """How many may be inside at a time."""
        return self._most

    @contextmanager
    def inside(self) -> Iterator[int]:
        """Wait for a place, and give how many there are."""
        with self._changed:
            self._changed.wait_for(lambda: self._inside < self._most)
            self._inside += 1
            most = self._most
        try:
            yield most
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify()

    def halve(self, most: int) -> int | None:
        """Leave half as many places as there are threads inside, and return how many that are.

        Those who run into trouble together narrow it once: None where there are already fewer places than the `most`
        that a thread was let in with, or no more than one.
        """
        with self._changed:
            if self._most != most or most == 1:
                return None
            self._most = max(1, self._inside // 2)
            return self._most


@dataclass(frozen=True, slots=True)
class _Failed:
    error: BaseException


class _Workers(Generic[Task, Done]):
    """Threads that take tasks, one more for each task until there are enough.

    They are daemons: an interrupted command ends at once instead of waiting for a server.
    """

    def __init__(self, work: Callable[[Task, Event], Done], tasks: Iterable[Task], workers: int) -> None:
        self.work = work
        self.workers = workers
        self.stopped = Event()
        self.failure: BaseException | None = None
        self.busy = 0
        self._tasks = iter(tasks)
        self._given: SimpleQueue[Task | object] = SimpleQueue()
        self._done: SimpleQueue[Done | _Failed] = SimpleQueue()
        self._threads = 0

    def fill(self) -> None:
        """Give out tasks until all workers have one, none is left, or something failed."""
        while self.busy < self.workers and self.failure is None:
            try:
                task = next(self._tasks, _NOTHING_LEFT)
            except Exception as error:  # noqa: BLE001 - raised when what is under way is done
                self.fail(error)
                return
            if task is _NOTHING_LEFT:
                return
            if self._threads < self.workers:
                self._threads += 1
                Thread(target=self._serve, name=f"request-{self._threads}", daemon=True).start()
            self._given.put(task)
            self.busy += 1

    def take(self) -> Done | _Failed:
        """Wait for the next outcome."""
        outcome = self._done.get()
        self.busy -= 1
        return outcome

    def fail(self, error: BaseException) -> None:
        """Remember the first failure, and give out no more."""
        self.failure = self.failure or error
        self.stopped.set()

    def dismiss(self) -> None:
        """Let each thread end after what it is at."""
        self.stopped.set()
        for _ in range(self._threads):
            self._given.put(_NOTHING_LEFT)

    def _serve(self) -> None:
        while (task := self._given.get()) is not _NOTHING_LEFT:
            try:
                outcome: Done | _Failed = self.work(task, self.stopped)  # type: ignore[arg-type]
            except BaseException as error:  # noqa: BLE001 - raised in the thread that asked
                outcome = _Failed(error)
            self._done.put(outcome)


def spread(work: Callable[[Task, Event], Done], tasks: Iterable[Task], *, workers: int) -> Iterator[Done]:
    """Yield what `work` makes of each task, in the order in which they are done.

    Tasks are taken in this thread, each when a worker is free for it. After a failure no more are taken; what is
    under way is waited for and yielded, and then the first failure is raised.

    Args:
        work: Called in another thread with a task and an event, which is set once no further tries are wanted.
        tasks: Any number.
        workers: The most pieces of work at a time.
    """
    pool = _Workers(work, tasks, workers)
    try:
        pool.fill()
        while pool.busy:
            outcome = pool.take()
            if isinstance(outcome, _Failed):
                pool.fail(outcome.error)
                continue
            pool.fill()
            yield outcome
    finally:
        pool.dismiss()
    if pool.failure is not None:
        raise pool.failure


log = logging.getLogger(__name__)
_FIRST_PAUSE = 1.0  # seconds
_LONGEST_PAUSE, _SHORTEST_LIMIT = 60.0, 2.0  # the greatest pauses, in first ones
_LONGEST_ASKED = 600.0  # seconds; a server that asks for more has no quota left for today
_SHOWN = 300  # characters of a server's message
_FEW = 2  # further tries of a prompt while the server is in doubt
_PASSING = (408, 409, 423, 424, 425, 429, 449, 498, 499)  # besides all from 500 on
_INNER = (424, 500)  # of them those by which a server says that it failed at a prompt
GOES_ON = "Answers so far are kept: run the same command to resume."


class RefusedError(EngineError):
    """The server refused a request with a `status` of HTTP and a `code` of its own, such as `content_filter`."""

    def __init__(self, message: str, *, hint: str, status: int, code: str) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.code = code


class UnansweredError(EngineError):
    """The server had an answer to other prompts, and none to this one, however often it was asked."""


@dataclass(frozen=True, slots=True)
class _Trouble:
    """Why a try has to be repeated.

    Args:
        what: What the server did, in words.
        hint: What to do if it goes on doing so.
        asked: Seconds that it asks to wait.
        alone: Whether it may be in trouble with this prompt alone.
        down: Whether it may as well be down.
    """

    what: str
    hint: str
    asked: float | None = None
    alone: bool = False
    down: bool = False


class Client:
    """Posts JSON to a server, and never shows the key.

    Trouble that passes is tried again: the statuses 408, 409, 423, 424, 425, 429, 449, 498, 499 and 5xx, also where a
    reply with status 200 holds them as an error; a connection that fails or breaks off, once the server has answered
    anything; a reply that is cut short, or no JSON once the server has answered anything; and a reply that takes longer
    than the time-out, which also halves the number of requests at a time. The pause before a try doubles each time,
    with jitter, and is never shorter than the server asks for (`Retry-After`). If what it asks for is of no use, such
    as 0 s, pauses stay short instead, and there are more of them, as many as take the same time. Trouble of the whole
    server, such as a rate limit, ends the run only if it answers nothing during all tries. Nothing of this ever becomes
    an answer.

    A prompt that was tried so often in vain is one without an answer, while the server answers others. If it answered
    none of them meanwhile, or nothing in time although it was asked one thing at a time, it is in doubt: until its
    next answer a prompt is tried again only `_FEW` times, and the second one that is in vain for a reason that a server
    gives which is down ends the run.

    Args:
        options: Where the server is, the variable that holds the key, and how often to try.
        seed: Seed of the jitter, so that requests refused together do not come back together.

    Raises:
        OptionError: If the base URL is wrong, the variable holds what cannot be a key, or none for a server of others,
            or the environment names a proxy or certificates that cannot be used.
    """

    def __init__(self, options: OpenAIOptions, *, seed: int) -> None:
        self.base_url = options.address
        self.options = options
        self.pause = _pause
        self._key = _key(options)
        self._jitter = random.Random(seed)
        self._lock = threading.Lock()
        self._counts = Counter[str]()
        self._gate = Throttle(options.concurrency)
        self._there = False  # whether the server has replied anything
        self._answers = 0  # replies that were no trouble
        self._doubted = False
        self._too_late_alone = False  # whether a request took too long that was the only one
        self._transport = Transport(options, key=self._key)

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def counts(self) -> dict[str, Json]:
        """Return how many requests were sent, how many of them again, and what trouble the server was in."""
        with self._lock:
            counts = {name: self._counts[name] for name in ("requests", "retries", "rate_limited", "timeouts")}
        return {**counts, "concurrency": self._gate.most}

    def post(self, path: str, body: dict[str, Any], *, about: str, stopped: Event) -> dict[str, Any]:
        """Return the server's answer.

        Args:
            path: Below the base URL.
            body: Sent as JSON.
            about: The prompt, for messages.
            stopped: Ends a pause early, and with it the tries.

        Raises:
            EngineError: If the server cannot be reached, stays in trouble, refuses the request, or answers no JSON.
            UnansweredError: If it stays in trouble that may be with this prompt alone.
        """
        tries, paused, before = 0, 0.0, self._answers
        while True:
            found = self._try(path, body, about, again=tries > 0, stopped=stopped)
            if not isinstance(found, _Trouble):
                return found
            tries += 1
            if not found.alone and self._answers != before:
                paused, before = 0.0, self._answers
            doubted = self._doubted or (self._too_late_alone and not self._answers)
            retries = min(self.options.retries, _FEW) if doubted else self.options.retries
            if paused >= sum(_growing(tried) for tried in range(retries)):
                raise self._given_up(found, tries, before)
            pause = min(_growing(tries - 1), _SHORTEST_LIMIT if found.asked == 0 else _LONGEST_PAUSE)
            self._rest(found, pause, about, stopped)
            paused += pause

    def _given_up(self, found: _Trouble, tries: int, before: int) -> EngineError:
        """Return the error of a prompt that was tried in vain, the server having given `before` answers until then."""
        with self._lock:
            silent = self._answers == before
            down = found.down and silent and self._doubted
            self._doubted = silent
        kind = UnansweredError if found.alone and not down else EngineError
        other = ", and did not answer other prompts meanwhile" if down else ""
        return kind(f"{self.base_url} {found.what} {tries} times{other}", hint=f"{GOES_ON} {found.hint}")

    def _answered(self) -> None:
        with self._lock:
            self._answers += 1
            self._doubted = False

    def _try(
        self, path: str, body: dict[str, Any], about: str, *, again: bool, stopped: Event
    ) -> dict[str, Any] | _Trouble:
        with self._gate.inside() as most:
            if stopped.is_set():
                raise _ended(about)
            self._count(requests=True, retries=again)
            try:
                reply = self._transport.post(f"{self.base_url}/{path}", body)
            except TimedOutError:
                return self._late(about, most)
            except BrokenOffError as error:
                what = self._hide(str(error))
                if not self._there and not error.reached:
                    raise EngineError(
                        f"{self.base_url} does not answer: {what}",
                        hint="Check that the server runs, and `-O base_url` and `-O timeout`."
                        f"{proxy_hint(self.base_url)} {GOES_ON}",
                    ) from error
                told = f"broke off at {about} ({what})"
                return _Trouble(told, "Check that the server runs, and see its log.", alone=True, down=True)
            except UndecodableError as error:
                told = f"answered {about} with what cannot be decoded ({self._hide(str(error))})"
                return _Trouble(told, "See the log of the server, and of a proxy before it.", alone=True, down=True)
        self._there = True
        found = reply.json(self._key)
        failure = failure_in(reply.status, found, reply.text)
        if failure is None:
            if not isinstance(found, dict):
                return self._no_object(reply, about)
            self._answered()
            return found
        if (failure.status < 500 and failure.status not in _PASSING) or failure.spent:
            self._answered()
            raise self._refusal(failure, about)
        self._count(rate_limited=failure.status == 429)
        asked = retry_after(reply.retry_after, now=datetime.now(UTC))
        what = f"answered {failure.sent} to {about}: {self._shown(failure.message)}; in all"
        # A quota is about all prompts; what stands behind a gateway, or within a server, may fail at one of them.
        inner = failure.status in _INNER or (reply.status < 300 and failure.status != 429)
        outer = failure.status > HTTPStatus.INTERNAL_SERVER_ERROR or failure.status == HTTPStatus.REQUEST_TIMEOUT
        hint = "Lower `-O concurrency`, or raise `-O retries`."
        return _Trouble(what, hint, asked, alone=inner or outer, down=outer and not inner)

    def _late(self, about: str, most: int) -> _Trouble:
        """Ask for less at a time from now on."""
        self._count(timeouts=True)
        self._too_late_alone |= most == 1
        fewer = self._gate.halve(most)
        if fewer is not None and most == self.options.concurrency:
            log.warning(
                "%s did not answer %s within %g s: the prompt is sent again, from now on with at most %d requests at a "
                "time, half as many as before, and fewer after each further time-out; set `-O concurrency` to the "
                "number of requests that the server handles at a time, or raise `-O timeout`",
                *(self.base_url, about, self.options.timeout, fewer),
            )
        return _Trouble(
            f"did not answer {about} within {self.options.timeout:g} s,",
            "Set `-O concurrency` to what the server handles at a time (llama.cpp: its slots), or raise `-O timeout`.",
            alone=True,
            down=True,
        )

    def _count(self, **seen: bool) -> None:
        with self._lock:
            self._counts.update({name: int(happened) for name, happened in seen.items()})

    def _rest(self, trouble: _Trouble, pause: float, about: str, stopped: Event) -> None:
        """Wait before the next try: up to `pause` first pauses, and never less than the server asks for.

        Raises:
            EngineError: If the server asks for more patience than anybody has, or the run ends.
        """
        asked = trouble.asked or 0.0
        if asked > _LONGEST_ASKED:
            raise EngineError(
                f"{self.base_url} asks to wait {asked:.0f} s; it {trouble.what} 1", hint=f"{GOES_ON} Run it later."
            )
        with self._lock:
            jitter = self._jitter.uniform(0.5, 1.0)
        seconds = max(asked, _FIRST_PAUSE * pause * jitter)
        log.debug("the server %s 1 more time; next try in %.1f s", trouble.what, seconds)
        if not stopped.is_set():
            self.pause(seconds, stopped)
        if stopped.is_set():
            raise _ended(about)

    def _no_object(self, reply: Reply, about: str) -> _Trouble:
        """Return the trouble of a server that answers otherwise: its reply is cut short, or a proxy's in its stead.

        Raises:
            NoAnswerError: If it has answered nothing yet, and this is not the beginning of an answer.
        """
        hint = "Check `-O base_url`: it usually ends in /v1."
        if reply.content.lstrip().startswith(b"data:"):
            hint = "It streams its replies, which was not requested: turn that off on the server, or in `-O fields`."
        if self._answers or reply.cut_short:
            told = f"answered {about} with no JSON object: {self._shown(reply.text)!r}; in all"
            return _Trouble(told, f"See the log of the server, and of a proxy before it. {hint}", alone=True, down=True)
        raise NoAnswerError(
            f"{self.base_url} answered {about} with no JSON object: {self._shown(reply.text)!r}", hint=hint
        )

    def _refusal(self, failure: Failure, about: str) -> RefusedError:
        hints = {
            401: f"Set {self.options.key_env} to a key of this server, or name another variable with `-O key_env`.",
            403: f"Set {self.options.key_env} to a key that may use this model.",
            404: "Check `-O base_url`, which usually ends in /v1, and the model's name on the server, `-O model`.",
        }
        other = said_wrong(failure.status, failure.message, max_tokens_field=self.options.max_tokens_field)
        if failure.spent:
            hints = {failure.status: f"The account has no credit left: see its provider. {GOES_ON}"}
        if 300 <= failure.status < 400:
            other = "It redirects, and does not say where to: check `-O base_url`, which usually ends in /v1."
        return RefusedError(
            f"{self.base_url} refuses {about} with {failure.sent}: {self._shown(failure.message)}",
            hint=hints.get(failure.status, other),
            status=failure.status,
            code=failure.code,
        )

    def _shown(self, text: str) -> str:
        return self._hide(text)[:_SHOWN]

    def _hide(self, text: str) -> str:
        return mask(text.replace(self._key, MASK) if self._key else text)


def _growing(tried: int) -> float:
    """Return the pause after so many tries, in first pauses."""
    return min(2.0 ** min(tried, 10), _LONGEST_PAUSE)


def retry_after(value: str | None, *, now: datetime) -> float | None:
    """Return the seconds that a Retry-After header asks for, as a number or a date.

    They are 0 if what it says is of no use (a time in the past, or neither of both), and None without a header.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            then = parsedate_to_datetime(value)
        except ValueError:
            return 0.0
        seconds = (then.replace(tzinfo=then.tzinfo or UTC) - now).total_seconds()
    return max(0.0, seconds) if isfinite(seconds) else 0.0


def _ended(about: str) -> EngineError:
    return EngineError(f"{about} was not sent, since the run is ending", hint=GOES_ON)


def _key(options: OpenAIOptions) -> str:
    variable = options.key_env
    key = os.environ.get(variable, "").strip()
    if not key and options.is_public:
        raise OptionError(
            f"{options.address} is not on this network, and the variable {variable} holds no key for it",
            hint=f"Set {variable} to a key of that server, or name another variable with `-O key_env`; if the server "
            f"takes no key, set {variable}=none.",
        )
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        raise OptionError(
            f"the variable {variable} holds no key: no HTTP header can hold these characters",
            hint=f"Set {variable} to the key alone.",
        )
    return key


def _pause(seconds: float, stopped: Event) -> None:
    stopped.wait(seconds)

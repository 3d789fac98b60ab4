"""Row-level values that pass between stages and plug-ins, and the small protocols both sides share."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"
Role: TypeAlias = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Item:
    """One thing of the catalogue, as text a model may read."""

    item_id: str
    title: str
    text: str = ""
    year: int | None = None
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """One ranking task: order `candidates` for a user whose events so far are `history`, oldest first."""

    request_id: str
    user_id: str
    history: tuple[str, ...]
    candidates: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation. A last turn of the assistant is a prefix that the model continues."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """One model call.

    `shown` are the candidate ids in the order of the prompt. With `choices` (one text for each shown
    candidate) the engine returns their log-probabilities as continuations; without, it writes text.
    """

    prompt_id: str
    request_id: str
    messages: tuple[Message, ...]
    shown: tuple[str, ...]
    choices: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """What an engine answered to one prompt.

    `choice_logprobs` holds for each choice the natural-log probability of each of its tokens, over the
    full vocabulary. `finish_reason` is `stop`, `length` or `choices`.
    """

    prompt_id: str
    text: str | None
    choice_logprobs: tuple[tuple[float, ...], ...] | None
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    finish_reason: str


@dataclass(frozen=True, slots=True)
class Scores:
    """A model's scores for one request, higher is better; a candidate that is absent was not ranked."""

    request_id: str
    values: Mapping[str, float]


class Step(Protocol):
    """Says how far a long job is: units done so far, and a short note such as a loss."""

    def __call__(self, done: int, note: str = "") -> None: ...


class Progress(Protocol):
    """Opens a progress display for a job of `total` units."""

    def __call__(self, label: str, total: int) -> AbstractContextManager[Step]: ...


@contextmanager
def silent(label: str, total: int) -> Iterator[Step]:
    """Show no progress at all."""

    def step(done: int, note: str = "") -> None:
        return None

    yield step

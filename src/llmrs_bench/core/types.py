"""Row-level values that pass between stages and plug-ins, and the small protocols both sides share."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"
Role: TypeAlias = Literal["system", "user", "assistant", "text"]
Mode: TypeAlias = Literal["generate", "likelihood", "label"]
Grammar: TypeAlias = Literal["permutation"]
UNANSWERED = "unanswered"  # the reason why a response ends that a server never gave
# What a response is, as far as its form goes; docs/prompts.md says what each one means.
Kind: TypeAlias = Literal[
    "complete", "partial", "duplicates", "off-list", "history", "format", "empty", "truncated", "refused"
]


@dataclass(frozen=True, slots=True)
class Item:
    """One thing of the catalogue, as text a model may read."""

    item_id: str
    title: str
    text: str = ""
    year: int | None = None
    categories: tuple[str, ...] = ()

    @property
    def about(self) -> str:
        """Year and categories in brackets, as they follow a title; nothing where there are none."""
        known = [str(self.year)] if self.year is not None else []
        known += [", ".join(self.categories)] if self.categories else []
        return f" ({'; '.join(known)})" if known else ""


@dataclass(frozen=True, slots=True)
class Example:
    """What somebody chose, oldest first, and what they chose next."""

    history: tuple[str, ...]
    next: str


@dataclass(frozen=True, slots=True)
class Request:
    """One ranking task: order `candidates` for a user whose events so far are `history`, oldest first.

    What else a prompt may show: `ratings` of the history, where they are known, and which items of it were `liked`, if
    labels say so; items of the earlier history that are
    `relevant` to a query; `examples` of choices; and what a model wrote about the user's `interest`, and about
    what the user likes in items of the history, as `notes` by item id. `sample` numbers the answers to one prompt.
    """

    request_id: str
    user_id: str
    history: tuple[str, ...]
    candidates: tuple[str, ...]
    ratings: tuple[float | None, ...] = ()
    relevant: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()
    interest: str = ""
    notes: Mapping[str, str] = field(default_factory=dict)
    sample: int = 0
    liked: tuple[bool, ...] = ()


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation. A last turn of the assistant is a prefix that the model continues.

    A message of the role `text` stands alone: the model reads it as it is, without its chat template.
    """

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Listed:
    """What a prompt showed that a written answer may name: labels and titles of candidates, titles of the history."""

    labels: tuple[str, ...]
    titles: tuple[str, ...]
    history: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prompt:
    """One model call.

    `shown` are the candidate ids in the order of the prompt. With `choices` the engine returns their
    log-probabilities as continuations; without, it writes text. `labels` says that the choices are short labels such
    as "A" or "Yes", which an engine that knows nothing but the likeliest next tokens may look up there. The grammar
    `permutation` admits no text but the numbers from 1 to the number of shown candidates, each once, joined by ", ".
    `listed` is what a text is read against. Prompts that differ by `sample` alone are answered each by itself.
    """

    prompt_id: str
    request_id: str
    messages: tuple[Message, ...]
    shown: tuple[str, ...]
    choices: tuple[str, ...] | None = None
    labels: bool = False
    grammar: Grammar | None = None
    listed: Listed | None = None
    sample: int = 0

    @property
    def mode(self) -> Mode:
        """What is asked for: a text, the likelihood of each choice, or that of each label."""
        if self.choices is None:
            return "generate"
        return "label" if self.labels else "likelihood"


@dataclass(frozen=True, slots=True)
class Response:
    """What an engine answered to one prompt.

    `choice_logprobs` holds for each choice the natural-log probability of each of its tokens, over the
    full vocabulary; it is empty for a label that a server did not show among its likeliest tokens. `finish_reason` is
    `stop`, `length`, `choices`, or, of a server, `filtered` or `unanswered`. `text` is as the model wrote it, with what
    it thought aloud, if it did, in `<think>...</think>`; `thinking_tokens` of the `completion_tokens` are of that.
    `least_shown` is the log-probability of the least likely token among those that a server shows: no other token is
    more probable. None where all labels are known, or the server showed nothing.
    """

    prompt_id: str
    text: str | None
    choice_logprobs: tuple[tuple[float, ...], ...] | None
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    finish_reason: str
    thinking_tokens: int = 0
    least_shown: float | None = None


@dataclass(frozen=True, slots=True)
class Scores:
    """A model's scores for one request, higher is better; a candidate that is absent was not ranked.

    `notes` are figures worth an average over requests, such as the probability mass on the labels. `kinds` says of each
    response what it is.
    """

    request_id: str
    values: Mapping[str, float]
    notes: Mapping[str, float] = field(default_factory=dict)
    kinds: tuple[Kind, ...] = ()


class Step(Protocol):
    """Says how far a long job is: units done so far, a short note such as a loss, and `total` where it has grown."""

    def __call__(self, done: int, note: str = "", total: int | None = None) -> None: ...


class Progress(Protocol):
    """Opens a progress display for a job of `total` units."""

    def __call__(self, label: str, total: int) -> AbstractContextManager[Step]: ...


@contextmanager
def no_progress(label: str, total: int) -> Iterator[Step]:
    """Show no progress at all."""

    def step(done: int, note: str = "", total: int | None = None) -> None:
        return None

    yield step

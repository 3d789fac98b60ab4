"""What a page shows beyond the board: position bias, and requests with their prompts, answers and rankings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmrs_bench.leaderboard.curves import Curves

DIGITS = 6  # of numbers, as many as anybody reads


@dataclass(frozen=True, slots=True)
class Title:
    """An item as people read it."""

    title: str
    about: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a model.

    Args:
        name: The id of its prompt.
        messages: Role and content of each turn, as asked; None: the prompt is not known any more.
        text: What the model wrote, unchanged; None where it was asked for likelihoods.
        choices: What was offered, and its summed log-probability; None: the server did not report it.
        tokens: The log-probabilities of the tokens of each choice, in their order; empty: they are not kept.
        finish: Why the answer ended.
        n_truncated: Items of history left out for the model's context.
    """

    name: str
    messages: tuple[tuple[str, str], ...] | None
    text: str | None
    choices: tuple[tuple[str, float | None], ...] = ()
    tokens: tuple[tuple[float, ...], ...] = ()
    finish: str = ""
    n_truncated: int = 0


@dataclass(frozen=True, slots=True)
class Ranked:
    """What one run made of one request.

    Args:
        items: Best first; the first ones alone where a whole catalogue was ranked.
        scores: Of these items; None: the model did not rank it.
        targets: Rank of each target, from 1; None: it is not among the ranks that are kept.
        calls: The first calls of a language model.
        asked: How many calls there were.
        label: Of ratings the one that the user gave.
    """

    items: tuple[str, ...]
    scores: tuple[float | None, ...]
    targets: Mapping[str, int | None]
    calls: tuple[Call, ...] = ()
    asked: int = 0
    label: float | None = None


@dataclass(frozen=True, slots=True)
class Sampled:
    """A request of the sample; `candidates` in the order of the data set, `rankings` by run.

    `groups` says in which group the request is, of those that a page filters by: the target's popularity, and how few
    events it has.
    """

    request_id: str
    user_id: str
    history: tuple[str, ...]
    candidates: tuple[str, ...]
    targets: tuple[str, ...]
    rankings: Mapping[str, Ranked]
    groups: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Extra:
    """What a page shows beyond the board.

    Args:
        biases: By run, what `bias.position_bias` found.
        requests: The sample, in the order of the data set.
        titles: Of all items in the sample, by id.
        population: How many requests the sample was drawn from.
        seed: Of the draw.
        notes: By run, why prompts or answers are missing.
        profile: Of the data as read, as a mapping; None: it was prepared before there were profiles.
        warnings: What `prepare` said of the data.
        curves: The metrics of the board against a number that rows differ in; None: they were not asked for.
        made: When the page was made, by which version of the tool and for which recipe, in words.
        index: The address of the index of boards that it is one of; empty: of none.
    """

    biases: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    requests: tuple[Sampled, ...] = ()
    titles: Mapping[str, Title] = field(default_factory=dict)
    population: int = 0
    seed: int = 0
    notes: Mapping[str, str] = field(default_factory=dict)
    profile: Mapping[str, Any] | None = None
    warnings: tuple[str, ...] = ()
    curves: Curves | None = None
    made: str = ""
    index: str = ""


def rounded(value: Any, digits: int = DIGITS) -> Any:
    """Return plain values with numbers of six digits, as many as anybody reads."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, Mapping):
        return {key: rounded(inner, digits) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [rounded(inner, digits) for inner in value]
    return value

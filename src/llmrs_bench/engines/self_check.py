"""Which prompts an engine scores in two ways, and whether the two agree as far as rounding lets them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import isnan, nan
from typing import TypeVar

from llmrs_bench.engines.jobs import Job
from llmrs_bench.engines.tokens import Ids
from llmrs_bench.types import Json, Prompt

T = TypeVar("T")
# What rounding makes of a token's log-probability in any case, in nats: the mean over tokens, and the largest. Plain
# scoring may be found to be less noisy than that by chance.
_FLOOR = {"float32": (3e-4, 3e-3), "bfloat16": (0.025, 0.15), "float16": (5e-3, 3e-2)}
_MEAN_TIMES, _LARGEST_TIMES = 2.5, 6.0  # the noise that another exact way may have
_NOISE_TIMES = 8.0  # the floor that the mean noise may have; above that it is no noise
_TITLES = 8  # of each prompt: enough tokens for a mean, at a fraction of what all of them cost
_READ = 256  # prompts among which those to compare are looked for: reading all of them would take a while
_MATES = 16  # prompts of a request that are packed together with one that is compared

Scored = Sequence[Sequence[float]]  # for each suffix the log-probabilities of its tokens


@dataclass(frozen=True, slots=True)
class Difference:
    """How far two scorings of the same tokens are apart, in nats.

    Args:
        mean: The mean over tokens of the absolute difference; not a number if one of them has none.
        largest: The largest absolute difference of a token.
    """

    mean: float = 0.0
    largest: float = 0.0

    def __str__(self) -> str:
        return f"{self.mean:.2g} nat a token on average, {self.largest:.2g} at most"


def difference(one: Scored, other: Scored) -> Difference:
    """Return how far two scorings of the same suffixes are apart."""
    gaps = [
        abs(left - right)
        for ours, theirs in zip(one, other, strict=True)
        for left, right in zip(ours, theirs, strict=True)
    ]
    if any(map(isnan, gaps)):
        return Difference(nan, nan)
    return Difference(sum(gaps) / len(gaps), max(gaps)) if gaps else Difference()


def is_noise(found: Difference, dtype: str, *, rounded: bool = False) -> bool:
    """Return whether plain scoring may differ from itself by `found` on average: a few times the floor."""
    return found.mean <= _NOISE_TIMES * _floor(dtype, rounded=rounded).mean


def agrees(found: Difference, noise: Difference, dtype: str, *, rounded: bool = False) -> bool:
    """Return whether two exact ways to score tokens may be as far apart as `found`.

    Rounding makes every difference small and leaves none out; an error is large in some tokens, or in all of them
    on average. So both the mean and the largest difference have a bound: a multiple of what plain scoring differs
    from itself, or of a floor for the number format where that is less. The largest of a few dozen tokens scatters
    more than their mean, above all where experts are chosen, so its bound is wider.

    Args:
        found: The difference of the two ways.
        noise: That of plain scoring in batches from plain scoring of each title alone, over the same tokens.
        dtype: The number format of the model.
        rounded: Whether its logits are of that format, too: between 16 and 32, bfloat16 has steps of 1/8.
    """
    floor = _floor(dtype, rounded=rounded)
    mean, largest = max(noise.mean, floor.mean), max(noise.largest, floor.largest)
    return found.mean <= _MEAN_TIMES * mean and found.largest <= _LARGEST_TIMES * largest


def _floor(dtype: str, *, rounded: bool) -> Difference:
    mean, largest = _FLOOR.get(dtype, _FLOOR["bfloat16"])
    times = 2 if rounded and dtype != "float32" else 1
    return Difference(times * mean, times * largest)


def sampled(job: Job) -> Job:
    """Return a job with some of its choices, the shortest and the longest among them."""
    distinct = sorted(job.tokens.distinct, key=lambda suffix: (len(suffix), suffix))
    return replace(job, tokens=replace(job.tokens, suffixes=tuple(spread(distinct, _TITLES))))


def candidates(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Return some of the prompts with choices, of all lengths in characters, the extremes among them."""
    asked = sorted(
        (prompt for prompt in prompts if prompt.choices), key=lambda prompt: (_length(prompt), prompt.prompt_id)
    )
    return spread(asked, _READ)


def mates(prompt: Prompt, prompts: Sequence[Prompt]) -> list[Prompt]:
    """Return a prompt and some others with choices of the same request, with which it may be packed."""
    others = [
        other
        for other in prompts
        if other.request_id == prompt.request_id and other.choices and other.prompt_id != prompt.prompt_id
    ]
    return [prompt, *others[: _MATES - 1]]


def _length(prompt: Prompt) -> int:
    longest = max(map(len, prompt.choices or ()), default=0)
    return sum(len(message.content) for message in prompt.messages) + longest


def of_suffixes(job: Job, scored: Scored, some: Sequence[Ids]) -> list[Sequence[float]]:
    """Return those rows of a job's distinct suffixes that belong to `some` of them."""
    rows = dict(zip(job.tokens.distinct, scored, strict=True))
    return [rows[suffix] for suffix in some]


@dataclass(slots=True)
class SelfCheck:
    """What was compared so far, and what is to be compared of the prompts that come.

    Args:
        limit: How many prompts to compare on each side of a length at which the architecture changes.
        checked: How many were, on each side.
        noise: The largest differences of plain scoring between two batch sizes.
        found: The largest differences of the fast way from plain scoring; None: it was not compared.
    """

    limit: int
    checked: dict[int, int] = field(default_factory=dict)
    noise: Difference | None = None
    found: Difference | None = None

    def pick(self, jobs: Sequence[Job], side: Callable[[Job], int]) -> list[Job]:
        """Return the jobs to compare now: of each side the longest and the shortest, then others between them.

        Args:
            jobs: All that are going to be scored.
            side: On which side of a length at which something changes a job is.
        """
        sides: dict[int, list[Job]] = {}
        for job in jobs if self.limit else ():
            if self.checked.get(number := side(job), 0) < self.limit:
                sides.setdefault(number, []).append(job)
        picked: list[Job] = []
        for number, members in sorted(sides.items()):
            members.sort(key=lambda job: (-len(job.tokens.prefix) - job.tokens.longest, job.prompt.prompt_id))
            some = spread(members, self.limit - self.checked.get(number, 0))
            self.checked[number] = self.checked.get(number, 0) + len(some)
            picked += some
        return picked

    def complete(self, sides: int) -> bool:
        """Return whether no prompt is to be compared any more, on any of so many sides."""
        return all(self.checked.get(number, 0) >= self.limit for number in range(sides))

    def note(self, *, noise: Difference | None = None, found: Difference | None = None) -> None:
        """Remember the larger of these differences and those before."""
        self.noise, self.found = _larger(self.noise, noise), _larger(self.found, found)

    def facts(self) -> dict[str, Json]:
        """Return the largest differences of a token in nats, and how many prompts were compared."""
        return {
            "self_check_difference": None if self.found is None else self.found.largest,
            "self_check_noise": None if self.noise is None else self.noise.largest,
            "self_check_prompts": sum(self.checked.values()),
        }


def _larger(one: Difference | None, other: Difference | None) -> Difference | None:
    if one is None or other is None:
        return one or other
    return Difference(max(one.mean, other.mean), max(one.largest, other.largest))


def spread(items: Sequence[T], count: int) -> list[T]:
    """Return at most `count` items, evenly spread from the first to the last."""
    if count >= len(items):
        return list(items)
    return [items[round(number * (len(items) - 1) / max(count - 1, 1))] for number in range(count)]

"""Which prompts the self-check compares, by what the architecture says, and the bounds it holds them to."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from inspect import signature
from math import isnan, nan
from typing import TYPE_CHECKING, Any, TypeVar

from llmrs_bench.core.types import Json, Prompt
from llmrs_bench.llm.tokenization import Ids, Job, Tokenized

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

_ATTENTION = frozenset({"full_attention", "sliding_attention"})
# Kinds whose packed scores are compared with one full sequence for each title in the tests of this project.
_PROVEN = frozenset(
    {
        "cohere", "cohere2", "deepseek_v3", "falcon", "gemma", "gemma2", "gemma3_text", "gpt2", "gpt_neox", "granite",
        "llama", "mistral", "mixtral", "mt5", "olmo2", "opt", "phi", "phi3", "qwen2", "qwen3", "qwen3_moe", "smollm3",
        "t5", "umt5",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Architecture:
    """How a model reads a sequence.

    Args:
        obstacle: Why its titles cannot be packed, or None.
        proven: Whether titles of this kind of model are known to pack, so that a difference is an error.
        window: How many tokens some layer looks back, or None; prompts beyond that are not packed.
        switch: The length up to which positions are rotated by one set of factors and beyond which by another
            (LongRoPE), or None. The longest sequence of a batch decides for all of it.
    """

    obstacle: str | None = None
    proven: bool = False
    window: int | None = None
    switch: int | None = None

    def packs(self, tokens: Tokenized) -> bool:
        """Return whether a prompt and its choices can be one sequence: all of it lies on one side of a switch."""
        return self.obstacle is None and self.hindrance(tokens) is None

    def hindrance(self, tokens: Tokenized) -> str | None:
        """Return why the length of a prompt keeps its choices from being one sequence with it, or None."""
        whole = len(tokens.prefix) + tokens.longest
        if self.window is not None and whole > self.window:
            return f"with a title they are longer than the {self.window:,} tokens that some layers look back"
        if self.switch is not None and len(tokens.prefix) <= self.switch < whole:
            return (
                f"with a title they exceed {self.switch:,} tokens, from which on positions are rotated in another way"
            )
        return None

    @property
    def limits(self) -> set[int]:
        """Return the lengths at which something changes."""
        return {limit for limit in (self.window, self.switch) if limit is not None}

    def side(self, tokens: Tokenized) -> int:
        """Return how many of the limits a prompt with its longest choice exceeds."""
        return sum(len(tokens.prefix) + tokens.longest > limit for limit in self.limits)


def read_architecture(model: "PreTrainedModel") -> Architecture:
    """Return what configuration and code of a model say about it.

    What they leave open is for the self-check: a kind that is not proven is packed if that agrees with plain scoring.
    """
    config = model.config.get_text_config()
    return Architecture(
        obstacle=_obstacle(model, config),
        proven=config.model_type in _PROVEN and not getattr(model.config, "auto_map", None),
        window=attention_window(config),
        switch=_switch(config),
    )


def _obstacle(model: "PreTrainedModel", config: "PretrainedConfig") -> str | None:
    kinds = {*(getattr(config, "layer_types", None) or ()), *(getattr(config, "layers_block_type", None) or ())}
    if getattr(model, "_is_stateful", False) or "linear_attention" in kinds:
        return "some of its layers read a sequence through a state, which cannot branch"
    if config.model_type in {"qwen3_next", "lfm2", "lfm2_moe", "rwkv"}:  # not marked in every version of transformers
        return "some of its layers read a sequence through a state, which cannot branch"
    if strange := sorted(kinds - _ATTENTION - {"attention"}):
        return f"it has layers of the kind {strange[0]!r}"
    if getattr(config, "alibi", False):
        return "its attention counts the distance between tokens by their place in the sequence (ALiBi)"
    if not model.config.is_encoder_decoder and "position_ids" not in signature(model.forward).parameters:
        return "it counts the positions of its tokens itself"
    return None


def attention_window(config: "PretrainedConfig") -> int | None:
    """Return how many tokens some layer of a model looks back, or None if all of them see the whole context."""
    window = getattr(config, "sliding_window", None)
    return window if isinstance(window, int) and getattr(config, "use_sliding_window", True) else None


def _switch(config: "PretrainedConfig") -> int | None:
    """Return the length at which LongRoPE turns from its short to its long factors."""
    for part in _rotations(config):
        if part.get("rope_type", part.get("type")) in {"longrope", "su"}:
            original = part.get("original_max_position_embeddings")
            original = original or getattr(config, "original_max_position_embeddings", None)
            return int(original or config.max_position_embeddings)
    return None


def _rotations(config: "PretrainedConfig") -> Iterator[dict[str, Any]]:
    """Yield the settings of rotary positions, which may differ between kinds of layers."""
    for name in ("rope_parameters", "rope_scaling"):  # before transformers 5 the second
        found = getattr(config, name, None)
        if isinstance(found, dict):
            yield found
            yield from (part for part in found.values() if isinstance(part, dict))


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

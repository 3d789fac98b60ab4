"""Which token may come next if the answer is to be a permutation of the candidates' numbers, and nothing else."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from llmrs_bench.llm.tokenization import Ids, encode, split_choices

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_COMMA = ", "
_LEAD_IN = 200  # characters: a key of few grammars, where whole prompts would be one of each
_READINGS = 4096  # beginnings of answers that a grammar remembers
# The numbers that are written, those that the tokens since then may be, and how many such tokens there are.
Reading: TypeAlias = tuple[frozenset[int], tuple[int, ...], int]


@dataclass(frozen=True, slots=True)
class Permutation:
    """The texts "3, 1, 2" of the numbers from 1 to n as tokens.

    Args:
        first: The tokens of each number at the beginning of the answer.
        others: The tokens of each number behind another one, the comma included.
        stops: Tokens that end an answer; all numbers have to be written before.
    """

    first: tuple[Ids, ...]
    others: tuple[Ids, ...]
    stops: tuple[int, ...]
    _remembered: dict[Ids, list[Reading]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def allowed(self, written: Sequence[int]) -> list[int]:
        """Return the sorted tokens that may follow `written`; a stop once all numbers are there.

        Where one number begins another (1 and 12), both stay possible until the next token decides.
        """
        found: set[int] = set()
        for used, open_numbers, depth in self._readings(tuple(written)):
            if len(used) == len(self.first):
                found.update(self.stops)
            found.update(self._pieces(used)[number][depth] for number in open_numbers)
        return sorted(found)

    def _readings(self, written: Ids) -> list[Reading]:
        """Return every way in which tokens can be numbers; those of the tokens but the last are remembered."""
        known, readings = len(written), None
        while known and (readings := self._remembered.get(written[:known])) is None:
            known -= 1
        if readings is None:
            readings = [self._between(frozenset())]
        for end in range(known, len(written)):
            readings = list(dict.fromkeys(self._after(readings, written[end])))
            if len(self._remembered) >= _READINGS:
                self._remembered.clear()
            self._remembered[written[: end + 1]] = readings
        return readings

    def _after(self, readings: Sequence[Reading], token: int) -> Iterator[Reading]:
        for used, open_numbers, depth in readings:
            pieces = self._pieces(used)
            fits = [number for number in open_numbers if pieces[number][depth] == token]
            if longer := tuple(number for number in fits if len(pieces[number]) > depth + 1):
                yield used, longer, depth + 1
            for number in fits:
                if len(pieces[number]) == depth + 1:
                    yield self._between(used | {number})

    def _between(self, used: frozenset[int]) -> Reading:
        return used, tuple(number for number in range(len(self.first)) if number not in used), 0

    def _pieces(self, used: frozenset[int]) -> tuple[Ids, ...]:
        return self.others if used else self.first

    def ended(self, written: Sequence[int]) -> bool:
        """Return whether an answer came to its end."""
        return bool(written) and written[-1] in self.stops

    def advance(self, written: list[int]) -> list[int]:
        """Add to `written` whatever has to come next, the end as soon as it is due, and return what may follow that."""
        while not self.ended(written):
            allowed = self.allowed(written)
            if set(allowed) <= set(self.stops):
                written.append(self.stops[0])
            elif len(allowed) == 1:
                written.append(allowed[0])
            else:
                return allowed
        return []

    @property
    def longest(self) -> int:
        """Return the most tokens that an answer takes, the stop included."""
        return sum(max(len(a), len(b)) for a, b in zip(self.first, self.others, strict=True)) + 1


def lead_in(prompt_text: str) -> str:
    """Return the end of a prompt, which alone may say how the first number of the answer is written."""
    return prompt_text[-_LEAD_IN:]


def permutation(
    tokenizer: "PreTrainedTokenizerBase", prompt_text: str, count: int, stops: Sequence[int]
) -> Permutation:
    """Return the permutations of the numbers from 1 to `count` as answers to a prompt.

    Args:
        tokenizer: The model's own.
        prompt_text: The rendered prompt; behind a letter or a mark the answer begins with a space. Empty if the
            answer begins a text of its own, as that of an encoder-decoder model does.
        count: How many candidates are shown.
        stops: The model's stop tokens.
    """
    numbers = [str(number) for number in range(1, count + 1)]
    space = " " if prompt_text and not prompt_text[-1].isspace() and not prompt_text.endswith((">", "]")) else ""
    alone = [f"{space}{number}" for number in numbers]
    start = split_choices(tokenizer, lead_in(prompt_text), alone) if prompt_text else None
    # Where a token would span the border, which lies behind us, the numbers stand alone.
    first = encode(tokenizer, alone) if start is None or start.moved else start.suffixes
    lead, *joined = encode(tokenizer, ["0", *(f"0{_COMMA}{number}" for number in numbers)])
    return Permutation(tuple(first), tuple(ids[len(lead) :] for ids in joined), tuple(stops))

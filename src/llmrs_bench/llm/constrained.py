"""Which token may come next if the answer is to be a permutation of the candidates' numbers, and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmrs_bench.llm.tokenization import Ids, encode, split_choices

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_COMMA = ", "
_LEAD_IN = 200  # characters: a key of few grammars, where whole prompts would be one of each


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

    def allowed(self, written: Sequence[int]) -> list[int]:
        """Return the sorted tokens that may follow `written`; a stop once all numbers are there.

        Where one number begins another (1 and 12), both stay possible until the next token decides.
        """
        found: set[int] = set()
        seen: set[tuple[int, frozenset[int]]] = set()
        open_ends = [(0, frozenset[int]())]  # tokens read, numbers written
        while open_ends:
            state = open_ends.pop()
            if state in seen:
                continue
            seen.add(state)
            start, used = state
            rest = tuple(written[start:])
            if not rest and len(used) == len(self.first):
                found.update(self.stops)
            for number, piece in enumerate(self.others if used else self.first):
                if number in used:
                    continue
                if len(rest) < len(piece) and piece[: len(rest)] == rest:
                    found.add(piece[len(rest)])
                elif rest[: len(piece)] == piece:
                    open_ends.append((start + len(piece), used | {number}))
        return sorted(found)

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

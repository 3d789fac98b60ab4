"""Sorting by comparisons that a model makes."""

from collections.abc import Generator, Iterable, Mapping, Sequence
from itertools import combinations, pairwise
from math import fsum, inf, isfinite
from typing import Protocol, TypeAlias

from llmrs_bench.core.hashing import hash64
from llmrs_bench.core.types import Kind, Prompt, Response
from llmrs_bench.prompts.context import PromptContext, labels
from llmrs_bench.prompts.strategies.label import kind_of, label_mass

# Items compared with each other. As they are shown their order matters, as members of a comparison it does not.
Group: TypeAlias = tuple[str, ...]
# Yields rounds of comparisons that do not depend on each other, is sent their winners, returns the best items in order.
Sort: TypeAlias = Generator[list[Group], list[str], list[str]]

# Part of every draw: fixed, so that a request is sorted alike wherever it runs.
_SEED = "sorting"


class Judge(Protocol):
    """Decides comparisons by the answers there are; where they decide nothing, by a draw, never by position."""

    def orders(self, group: Group) -> list[Group]:
        """Return the orders in which a comparison is shown, one for each prompt."""
        ...

    def unanswered(self, group: Group) -> list[Group]:
        """Return those of its orders that have no answer yet."""
        ...

    def winner(self, group: Group) -> str:
        """Return the best item; a comparison without a usable answer is a tie."""
        ...


def drawn(*key: str) -> int:
    """Return a lot, the same for the same key on every machine."""
    return hash64("\0".join((_SEED, *key)))


def lots(request_id: str, item_ids: Iterable[str]) -> list[str]:
    """Return each item once, in an order that is drawn for the request and knows nothing of that of `item_ids`."""
    return sorted(set(item_ids), key=lambda item_id: drawn(request_id, item_id))


def all_pairs(item_ids: Sequence[str]) -> Sort:
    """Compare every item with every other, in one round; nothing is ordered here. One item alone is asked about too."""
    yield list(combinations(item_ids, 2)) or [(item_id,) for item_id in item_ids]
    return []


def tournament(item_ids: Sequence[str], *, size: int, top: int) -> Sort:
    """Find the best `top` items in order, by comparisons of at most `size` items.

    A tree of winners, the oldest form of the heap (Knuth, The Art of Computer Programming, volume 3, section 5.2.3):
    each node holds the winner of its at most `size` children. When the winner of all is taken out, only the
    comparisons on its way up are made again. That is at most (N-1)/(size-1) + d comparisons for the first of N items
    and d for each further one, where d is log N to the base `size`, rounded up; both take at most d rounds.
    One item alone is asked about too, so that there is an answer for each request.
    """
    if len(item_ids) == 1:
        yield [tuple(item_ids)]
    levels: list[list[str | None]] = [list(item_ids)]
    while len(levels[-1]) > 1:
        below = levels[-1]
        levels.append((yield from _matches([below[start : start + size] for start in range(0, len(below), size)])))
    best: list[str] = []
    while (winner := next(iter(levels[-1]), None)) is not None:
        best.append(winner)
        if len(best) == top:
            break
        yield from _take_out(levels, item_ids.index(winner), size)
    return best


def _take_out(levels: list[list[str | None]], place: int, size: int) -> Generator[list[Group], list[str], None]:
    levels[0][place] = None
    for below, level in pairwise(levels):
        place //= size
        [level[place]] = yield from _matches([below[place * size : (place + 1) * size]])


def _matches(groups: Sequence[Sequence[str | None]]) -> Generator[list[Group], list[str], list[str | None]]:
    """Return the winner of each group in which anybody is left; who is left alone wins without a comparison."""
    left = [tuple(item_id for item_id in group if item_id is not None) for group in groups]
    asked = [group for group in left if len(group) > 1]
    won = dict(zip(asked, (yield asked), strict=True)) if asked else {}
    return [won[group] if group in won else next(iter(group), None) for group in left]


def unanswered(sort: Sort, judge: Judge) -> dict[str, Group]:
    """Return what is to be shown next, by "round/number"; nothing when `sort` is at its end.

    `sort` is played from its start on the answers there are, so what comes next depends on them alone. Orders that
    begin with the same item follow each other.
    """
    number = 0
    try:
        groups = next(sort)
        while not (missing := {shown for group in groups for shown in judge.unanswered(group)}):
            groups = sort.send([judge.winner(group) for group in groups])
            number += 1
    except StopIteration:
        return {}
    orders = sorted((shown for group in groups for shown in judge.orders(group)), key=lambda shown: shown[0])
    return {f"{number}/{place}": shown for place, shown in enumerate(orders) if shown in missing}


def finish(sort: Sort, judge: Judge) -> list[str]:
    """Play `sort` to its end and return what it returns; what was not answered is a tie."""
    try:
        groups = next(sort)
        while True:
            groups = sort.send([judge.winner(group) for group in groups])
    except StopIteration as end:
        return list(end.value)


def played(sort: Sort) -> set[frozenset[str]]:
    """Return the comparisons that `sort` makes where a draw decides each; one that is repeated is asked once."""
    asked: set[frozenset[str]] = set()
    try:
        groups = next(sort)
        while True:
            asked |= set(map(frozenset, groups))
            groups = sort.send([min(group, key=drawn) for group in groups])
    except StopIteration:
        return asked


def top_scores(best: Sequence[str], item_ids: Iterable[str]) -> dict[str, float]:
    """Return n, n-1, ... for the n best items and 0 for all others, which stay tied."""
    return dict.fromkeys(item_ids, 0.0) | {item_id: float(len(best) - place) for place, item_id in enumerate(best)}


def write_comparisons(context: PromptContext, shown: Mapping[str, Group]) -> list[Prompt]:
    """Write a prompt for each group of candidates, in the order in which they are to be shown.

    A title is distinguished from those of all candidates of the request: an item is called the same in each comparison.

    Args:
        context: The request.
        shown: Candidates by "round/number", which follows the request's id in that of the prompt.
    """
    request_id = context.request.request_id
    return [
        Prompt(
            prompt_id=f"{request_id}/{name}",
            request_id=request_id,
            messages=context.messages(group),
            shown=group,
            choices=tuple(f" {letter}" for letter in labels(len(group))),
            labels=True,
        )
        for name, group in shown.items()
    ]


def comparison_kinds(prompts: Sequence[Prompt], responses: Sequence[Response]) -> tuple[Kind, ...]:
    """Return for each answer whether it knows all letters, some, or none."""
    return tuple(kind_of(answer, len(asked.shown)) for asked, answer in zip(prompts, responses, strict=True))


def label_logprobs(response: Response, count: int) -> list[float]:
    """Return the log-probability of each of `count` labels.

    It is -inf for a label that the response does not know, and for all of them where it knows none or another number.
    """
    found = response.choice_logprobs
    if found is None or len(found) != count:
        return [-inf] * count
    return [fsum(values) if values and all(map(isfinite, values)) else -inf for values in found]


def comparison_notes(responses: Sequence[Response]) -> dict[str, float]:
    """Return `label_mass`, the mean probability that an answer is one of the letters, and the number of `calls`."""
    return {"label_mass": label_mass(responses), "calls": float(len(responses))}

"""What a probe asks: the beginning of a line of a data set, and its true continuation among others.

The design makes the null hypothesis exact. The true continuation is drawn like the others, so that a model which does
not know the data set, whatever it prefers, has it at each rank equally often. Each trial has a control: the same
continuations behind a beginning with another id.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Literal, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrs_bench.core.hashing import generator, uniform_hash
from llmrs_bench.data.raw_lines import RawLines

Probe: TypeAlias = Literal["item", "event", "line"]
TITLES = 100  # of a trial of titles: the true one and 99 others
LINES = 20  # of a trial of events or ratings
_LEAST = 5  # continuations of a trial of ratings
_WINDOW = 3  # times as many items of like popularity, among which those of like co-occurrence are taken
_TRIES = 40  # events of a user that are looked at for one that can be matched


@dataclass(frozen=True, slots=True)
class Trial:
    """One question to a model: which continuation does it hold to be the likeliest?

    Args:
        probe: `item`, the title of an item; `event`, the next event of a user; `line`, rating and time of an event.
        subject: The item or the user.
        prefix: The beginning that the true continuation has in the data.
        control: The same beginning with another id in place of the true one.
        choices: The continuations, in a random order.
        true: The place of the true one.
    """

    probe: Probe
    subject: str
    prefix: str
    control: str
    choices: tuple[str, ...]
    true: int


def item_trials(items: pl.DataFrame, lines: RawLines, *, limit: int, seed: int, among: int = TITLES) -> list[Trial]:
    """Draw items, and to each the titles of others that are about as long and about as popular.

    Items are cut into groups of `among` or a few more by popularity, and these by the length of their titles. An item
    is any member of its group, and the others of its trial are a random part of the rest of it. So whatever makes a
    model prefer some titles to others, the true one has each rank with the same probability.

    Args:
        items: item_id, title, popularity; items called by their id have no title and are left out.
        lines: How the data set's files write them.
        limit: The most trials; more contain those of fewer.
        seed: Of all draws.
        among: Continuations of a trial; fewer where there are fewer titles.
    """
    named = items.filter(pl.col("title") != pl.col("item_id"))
    texts = pl.Series("text", [lines.title(title) for title in named["title"]], dtype=pl.String)
    known = named.with_columns(texts).unique("text", keep="first", maintain_order=True)
    if known.height < 2:
        return []
    ids, words = known["item_id"].to_list(), known["text"].to_list()
    group = matched_groups(known["popularity"].to_numpy(), known["text"].str.len_chars().to_numpy(), among)
    order = np.argsort(uniform_hash(seed, known["item_id"], pl.repeat("item", known.height, eager=True)))
    found = []
    for place in order[:limit]:
        draw = generator(seed, "item", ids[place])
        others = np.flatnonzero(group == group[place])
        others = draw.permutation(others[others != place])[: among - 1]
        chosen = draw.permutation(np.append(others, place))
        outside = np.setdiff1d(np.arange(len(ids)), chosen)
        stand_in = int(draw.choice(outside if len(outside) else others))
        found.append(
            Trial(
                "item",
                ids[place],
                f"{lines.items}\n{lines.before_title(ids[place])}",
                f"{lines.items}\n{lines.before_title(ids[stand_in])}",
                tuple(words[each] for each in chosen),
                int(np.flatnonzero(chosen == place)[0]),
            )
        )
    return found


def matched_groups(popularity: NDArray[np.int64], length: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Return a group for each item: `size` items or a few more of like popularity, and among these of like length.

    Args:
        popularity: (items,).
        length: (items,).
        size: Of a group; where there are fewer items, all are one.
    """
    total = len(popularity)
    parts = max(1, isqrt(total // size))
    found = np.empty(total, dtype=np.int64)
    number = 0
    for popular in np.array_split(np.lexsort((length, popularity)), parts):
        by_length = popular[np.lexsort((popularity[popular], length[popular]))]
        for part in np.array_split(by_length, max(1, len(popular) // size)):
            found[part] = number
            number += 1
    return found


def priors(trials: Sequence[Trial]) -> Iterator[tuple[str, ...]]:
    """Yield the titles of all trials of items, each once, in parts that are asked together without an id.

    A part holds what a trial has beyond those before it, so that more trials have the parts of fewer.
    """
    told: set[str] = set()
    for trial in trials:
        if trial.probe == "item" and (titles := sorted(set(trial.choices) - told)):
            told.update(titles)
            yield tuple(titles)


class Events:
    """The events that models may see, as a probe looks at them.

    Args:
        events: user_id, item_id, timestamp, rating; of each user in the order of time. A time of 0 is none.
        lines: How the data set's files write them.
        seed: Of all draws.
    """

    def __init__(self, events: pl.DataFrame, lines: RawLines, *, seed: int) -> None:
        self.lines, self.seed = lines, seed
        known = events["item_id"].unique().sort()
        self.items: list[str] = known.to_list()
        codes = events["item_id"].replace_strict(known, pl.Series(range(len(known))), return_dtype=pl.Int64)
        self._item = codes.to_numpy()
        users = events["user_id"].rle_id().to_numpy()
        starts = np.flatnonzero(np.diff(users, prepend=-1))
        self.users: list[str] = events["user_id"].gather(starts).to_list()
        self._spans = list(zip(starts.tolist(), [*starts[1:].tolist(), len(users)], strict=True))
        timeless = not (events["timestamp"] != 0).any()
        self._rest = [
            lines.after_item(rating, None if timeless else timestamp)
            for rating, timestamp in events.select("rating", "timestamp").iter_rows()
        ]
        self.popularity = np.bincount(self._item, minlength=len(self.items))
        chance = generator(seed, "order").permutation(len(self.items))  # among items of one popularity
        self._order = np.lexsort((chance, self.popularity))
        followed = np.flatnonzero(users[1:] == users[:-1])
        followed = followed[np.argsort(self._item[followed], kind="stable")]
        self._first, self._after = self._item[followed], self._item[followed + 1]

    @property
    def described(self) -> bool:
        """Whether a line of events says anything beside the user and the item."""
        return any(self._rest)

    def _drawn(self, tag: str) -> Iterator[int]:
        """Yield the users in a seeded order."""
        names = pl.Series(self.users, dtype=pl.String)
        return iter(np.argsort(uniform_hash(self.seed, names, pl.repeat(tag, len(names), eager=True))).tolist())

    def event_trials(self, *, limit: int, among: int = LINES) -> list[Trial]:
        """Draw users, and of each an event, with items that are about as popular and follow the one before as often.

        The user's line before is shown. The items are cut out twice with the true one at a random place: out of those
        that the user has no event with, by popularity; and out of these by how often other users have them after the
        item before. So a model that knows popularity or what follows what, and not this user, is at chance. Events that
        stand too near an end of either order, as that of the item which follows most often, cannot be matched and are
        left out. All continuations have the rating and the time of the true one.

        Args:
            limit: The most trials, one a user.
            among: Continuations of a trial.
        """
        if len(self.items) < 2 * _WINDOW * among:
            return []
        found: list[Trial] = []
        for user in self._drawn("event"):
            if len(found) == limit:
                break
            if (trial := self._event_trial(user, among)) is not None:
                found.append(trial)
        return found

    def _event_trial(self, user: int, among: int) -> Trial | None:
        start, end = self._spans[user]
        draw = generator(self.seed, "event", self.users[user])
        own = np.unique(self._item[start:end])
        pool = self._order[~np.isin(self._order, own)]
        counts = self.popularity[pool]
        for at in (start + 1 + draw.permutation(max(0, end - start - 1)))[:_TRIES]:
            before, item = int(self._item[at - 1]), int(self._item[at])
            if before == item:
                continue
            popular = self._popular(pool, counts, item, among, draw)
            near = None if popular is None else self._following(popular, before, item, among, draw)
            if near is None:
                continue
            chosen = draw.permutation(near)
            name, other = self.users[user], self._other_user(user, before, item, draw)
            line = self.items[before], self._rest[at - 1]
            return Trial(
                "event",
                name,
                self._begun(name, line),
                self._begun(other, line),
                tuple(self.lines.from_item(self.items[each], self._rest[at]) for each in chosen),
                int(np.flatnonzero(chosen == item)[0]),
            )
        return None

    def _begun(self, user: str, line: tuple[str, str]) -> str:
        before = self.lines.before_item(user)
        return f"{self.lines.events}\n{before}{self.lines.from_item(*line)}\n{before}"

    def _popular(
        self, pool: NDArray[np.int64], counts: NDArray[np.int64], item: int, among: int, draw: np.random.Generator
    ) -> NDArray[np.int64] | None:
        """Return items of like popularity, the given one at a random place; None where one end is too near.

        Args:
            pool: Items that the user has no event with, by popularity.
            counts: Theirs.
            item: One that the user has an event with, which counts for nobody else.
            among: Continuations of a trial.
            draw: Of the place.
        """
        size = min(_WINDOW * among, len(pool) // 3)
        own = self.popularity[item] - 1
        low, high = np.searchsorted(counts, own, "left"), np.searchsorted(counts, own, "right")
        place = int(draw.integers(low, high + 1))
        if not size - 1 <= place <= len(pool) - size + 1 or size < 2 * among:
            return None
        start = place - int(draw.integers(size))
        return np.concatenate([pool[start:place], [item], pool[place : start + size - 1]])

    def _following(
        self, popular: NDArray[np.int64], before: int, item: int, among: int, draw: np.random.Generator
    ) -> NDArray[np.int64] | None:
        """Return those of some items that follow another one about as often as the given one does for other users."""
        first, last = np.searchsorted(self._first, before, "left"), np.searchsorted(self._first, before, "right")
        after = np.bincount(self._after[first:last], minlength=len(self.items))
        after[item] -= 1  # this user's own
        order = popular[np.lexsort((draw.random(len(popular)), after[popular]))]
        place = int(np.flatnonzero(order == item)[0])
        if not among - 1 <= place <= len(order) - among:
            return None
        start = place - int(draw.integers(among))
        return order[start : start + among]

    def _other_user(self, user: int, before: int, item: int, draw: np.random.Generator) -> str:
        """Return a user who has not both of the items, as far as a few draws find one."""
        others = draw.integers(len(self.users) - 1, size=_TRIES) if len(self.users) > 1 else [user]
        for other in ((int(each) + (each >= user)) % len(self.users) for each in others):
            start, end = self._spans[other]
            if not np.isin([before, item], self._item[start:end]).any():
                break
        return self.users[other]

    def line_trials(self, *, limit: int, among: int = LINES) -> list[Trial]:
        """Draw users, and of each an event: which rating and time has it, among those of other events of the user?

        Args:
            limit: The most trials, one a user.
            among: Continuations of a trial; fewer, but at least five, where a user has fewer different ones.
        """
        found: list[Trial] = []
        for user in self._drawn("line") if self.described else ():
            if len(found) == limit:
                break
            if (trial := self._line_trial(user, among)) is not None:
                found.append(trial)
        return found

    def _line_trial(self, user: int, among: int) -> Trial | None:
        start, end = self._spans[user]
        draw = generator(self.seed, "line", self.users[user])
        own = np.unique(self._item[start:end])
        known = sorted(set(self._rest[start:end]) - {""})
        if len(known) < _LEAST or len(own) == len(self.items):
            return None
        # The rest first, then an event that has it: a frequent one is no likelier to be true than another.
        rest = known[int(draw.integers(len(known)))]
        at = int(draw.choice([start + place for place, each in enumerate(self._rest[start:end]) if each == rest]))
        rests = [each for each in known if each != rest]
        others = [rests[each] for each in draw.permutation(len(rests))[: among - 1]]
        shuffled = [[*others, rest][each] for each in draw.permutation(len(others) + 1)]
        stand_in = int(draw.choice(np.setdiff1d(np.arange(len(self.items)), own)))
        name = self.users[user]
        return Trial(
            "line",
            name,
            f"{self.lines.events}\n{self.lines.before_rating(name, self.items[self._item[at]])}",
            f"{self.lines.events}\n{self.lines.before_rating(name, self.items[stand_in])}",
            tuple(shuffled),
            shuffled.index(rest),
        )

"""What a data set looks like as it was read: counts, times, ratings and titles, so that a wrong import is seen."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrs_bench.data.codes import Codes, count_pairs, first_lines, fits
from llmrs_bench.data.sources import Raw

PAIR = ["user_id", "item_id"]
DAY = 24 * 3600  # seconds
SPANS = 64  # in which events are counted over time
MOST_VALUES = 12  # different ratings that are counted one by one
EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Spread:
    """How many events the users, or the items, have.

    Args:
        least: The fewest.
        lower: The first quartile.
        median: Half have as many or fewer.
        upper: The third quartile.
        most: The most.
        mean: On average.
        bins: How many have one event, two or three, four to seven, and so on: bin `b` begins at 2**b.
    """

    least: int
    lower: float
    median: float
    upper: float
    most: int
    mean: float
    bins: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Times:
    """When events were.

    Args:
        first: The earliest, in UTC.
        last: The latest.
        unit: What the source has, where its reader says so, as "milliseconds".
        days_only: Whether all of several days are midnight, so that the order within a day is not known.
        bins: Events in `SPANS` equal spans between the two; empty where all are of one time.
    """

    first: str
    last: str
    unit: str | None
    days_only: bool
    bins: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Ratings:
    """What events were rated.

    Args:
        rated: How many have a rating.
        distinct: How many different ratings there are.
        least: The lowest, None where nothing is rated.
        most: The highest.
        values: Each rating with its count, the lowest first; empty where there are more than `MOST_VALUES`.
    """

    rated: int
    distinct: int
    least: float | None
    most: float | None
    values: tuple[tuple[float, int], ...]


@dataclass(frozen=True, slots=True)
class Titles:
    """What is known of items.

    Args:
        untitled: How many are called by their id.
        equal: How many share their title with another one.
        median: Characters of a title; None where there is none.
        longest: Characters of the longest.
        years: The first and the last, None where no item has one.
        without_year: How many have none.
        categories: The most frequent ones with their counts.
        distinct_categories: How many there are.
        with_text: How many items have attributes as text.
    """

    untitled: int
    equal: int
    median: float | None
    longest: int
    years: tuple[int, int] | None
    without_year: int
    categories: tuple[tuple[str, int], ...]
    distinct_categories: int
    with_text: int


@dataclass(frozen=True, slots=True)
class Example:
    """An event as it was read; `time` is None where the source has none."""

    user: str
    item: str
    title: str
    time: str | None
    rating: float | None


@dataclass(frozen=True, slots=True)
class Profile:
    """A data set as it was read, before anything is dropped; only events without ids are left out.

    Args:
        users: Users with events.
        items: Items with events.
        listed: Items that are listed, or have events.
        events: Of a user with an item.
        without_ids: Events without one of the two.
        not_chosen: Events of items that were shown and not chosen; they are in no other number.
        repeats: Events with an item that the user had before.
        copies: Those of them that also equal an earlier one in time and rating.
        sparsity: The share of pairs of a user and an item without any event; None without events.
        tied_users: Users whose last event has the time of the one before it.
        per_user: Events of a user.
        per_item: Events of an item.
        times: None where the source has none.
        ratings: Of the events.
        titles: Of the listed items.
        examples: The first events.
    """

    users: int
    items: int
    listed: int
    events: int
    without_ids: int
    not_chosen: int
    repeats: int
    copies: int
    sparsity: float | None
    tied_users: int
    per_user: Spread | None
    per_item: Spread | None
    times: Times | None
    ratings: Ratings
    titles: Titles
    examples: tuple[Example, ...]


def profile(raw: Raw, users: Codes | None = None) -> Profile:
    """Return the profile of a raw source.

    Args:
        raw: What was read.
        users: The `first_lines` of the users of its events with ids, where they are known.
    """
    events = raw.events.drop_nulls(PAIR)
    users = first_lines(events["user_id"]) if users is None else users
    known = raw.item_lines  # of all events with an item
    items = known if fits(known, events["item_id"]) else first_lines(events["item_id"])
    per_user, per_item = (counts[counts > 0] for counts in map(np.bincount, (users, items)))
    pairs = count_pairs(users, items)
    repeats = events.height - pairs
    times = None if raw.timeless else _times(events["timestamp"], raw.rules)
    return Profile(
        users=len(per_user),
        items=len(per_item),
        listed=raw.items.height,
        events=events.height,
        without_ids=raw.events.height - events.height,
        not_chosen=raw.unchosen.height,
        repeats=repeats,
        copies=events.height - events.n_unique() if repeats else 0,
        sparsity=1 - pairs / (len(per_user) * len(per_item)) if events.height else None,
        tied_users=0 if times is None else _tied(users, events["timestamp"].to_numpy()),
        per_user=_spread(per_user),
        per_item=_spread(per_item),
        times=times,
        ratings=_ratings(events["rating"]),
        titles=_titles(raw.items),
        examples=tuple(_examples(events, raw.items, timed=times is not None)),
    )


def _tied(users: Codes, times: npt.NDArray[np.float64]) -> int:
    """Count users with several events at the time of their last one."""
    last = np.full(int(users.max()) + 1, -np.inf)
    np.maximum.at(last, users, times)
    return int((np.bincount(users[times == last[users]]) > 1).sum())


def _spread(numbers: npt.NDArray[np.int64]) -> Spread | None:
    if not numbers.size:
        return None
    lower, median, upper = np.quantile(numbers, (0.25, 0.5, 0.75)).tolist()
    places = np.bincount(np.frexp(numbers.astype(np.float64))[1] - 1)
    return Spread(
        int(numbers.min()), lower, median, upper, int(numbers.max()), float(numbers.mean()), tuple(places.tolist())
    )


def _times(seconds: pl.Series, rules: tuple[str, ...]) -> Times | None:
    known: npt.NDArray[np.float64] = seconds.filter(seconds.is_finite()).to_numpy()
    if not known.size or any(rule.startswith("no timestamps") for rule in rules):
        return None
    first, last = float(known.min()), float(known.max())
    spans = np.histogram(known, SPANS, (first, last))[0].tolist() if last > first else []
    unit = next((rule.removeprefix("times are ") for rule in rules if rule.startswith("times are ")), None)
    return Times(
        _moment(first), _moment(last), unit, last - first >= DAY and not np.any(known % DAY), tuple(map(int, spans))
    )


def _moment(seconds: float | None) -> str:
    """Return a time as a date, or as a number where no calendar has it."""
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds or 0)
    except OverflowError:
        return f"{seconds:g} s"
    return moment.replace(tzinfo=None).isoformat(" ", "seconds")


def _ratings(column: pl.Series) -> Ratings:
    values = column.filter(column.is_finite()).value_counts().sort("rating")
    listed = [(float(f"{value:g}"), count) for value, count in values.iter_rows()]
    return Ratings(
        rated=int(values["count"].sum()),
        distinct=values.height,
        least=listed[0][0] if listed else None,
        most=listed[-1][0] if listed else None,
        values=tuple(listed) if len(listed) <= MOST_VALUES else (),
    )


def _titles(items: pl.DataFrame) -> Titles:
    titles = items.filter(pl.col("title") != pl.col("item_id"))["title"]
    lengths, years = titles.str.len_chars(), items["year"].drop_nulls()
    kinds = items["categories"].explode(empty_as_null=False, keep_nulls=False).drop_nulls().value_counts(name="events")
    frequent = kinds.sort("events", "categories", descending=[True, False]).head(EXAMPLES)
    return Titles(
        untitled=items.height - len(titles),
        equal=int(titles.is_duplicated().sum()),
        median=None if titles.is_empty() else float(np.median(lengths.to_numpy())),
        longest=0 if titles.is_empty() else int(lengths.to_numpy().max()),
        years=None if years.is_empty() else (int(years.to_numpy().min()), int(years.to_numpy().max())),
        without_year=items["year"].null_count(),
        categories=tuple(frequent.iter_rows()),
        distinct_categories=kinds.height,
        with_text=items.select((pl.col("text") != "").sum()).item(),
    )


def _examples(events: pl.DataFrame, items: pl.DataFrame, *, timed: bool) -> Iterator[Example]:
    shown = events.head(EXAMPLES).join(
        items.select("item_id", "title"), on="item_id", how="left", maintain_order="left"
    )
    for user, item, seconds, rating, title in shown.select(*events.columns, "title").iter_rows():
        rated = None if rating is None else float(f"{rating:g}")
        yield Example(user, item, title, _moment(seconds) if timed else None, rated)

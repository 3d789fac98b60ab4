"""What is odd about the times and the ratings of events."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import polars as pl

from llmrs_bench.core.config import RATING, PrepareConfig
from llmrs_bench.data.fields import DAYS, EARLY, UNSET

STEPS = 10_000  # numbers below may count steps, and mean no moment


def event_warnings(events: pl.DataFrame, config: PrepareConfig) -> Iterator[str]:
    """Say which times and ratings may mean something else than what they are taken for."""
    times, count = events["timestamp"], events.height
    if times.min() == times.max() and count > 1:
        if config.split == "leave-one-out":
            yield (
                f"all {count:,} events are of one time, or have none: the order of the source's lines says which come "
                "last; --split random holds out a random one"
            )
    else:
        real = times.filter(~times.is_in(list(UNSET)))
        for value in UNSET:  # 0 may begin a count of steps; -1 begins nothing
            unset = int((times == value).sum())
            if unset and 2 * (real > (DAYS[1] if value == 0 else 0)).sum() >= len(real):
                yield f"{unset:,} of {count:,} events are of time {value:g}, which often means none, and so come first"
    yield from _odd_times(times)
    rated = events["rating"].drop_nulls()
    odd, others = rated.filter(rated <= 0), rated.filter(rated > 0)
    if odd.n_unique() == 1 and len(others):
        low, high, one = *others.sort().gather([0, -1]).to_list(), odd[0]
        either = f"disliked or unrated, --min-rating {min(low, 1):g} drops these events, --unrated {one:g} keeps them"
        yield (
            f"{len(odd):,} of {len(rated):,} ratings are {one:g}, the others {low:g} to {high:g}: if that means "
            + (f"unrated, --unrated {one:g} drops these events" if config.task == RATING else either)
        )


def _odd_times(times: pl.Series) -> Iterator[str]:
    """Say that times read as seconds are hardly such: days of a spreadsheet, minutes, years, or another column."""
    now = datetime.now(UTC)
    if later := int((times > (now + timedelta(days=1)).timestamp()).sum()):
        yield (
            f"{later:,} of {len(times):,} events are later than today, {now:%Y-%m-%d}: is the unit of times right "
            "(--time-unit), and the column?"
        )
    middle = times.quantile(0.5) or 0.0
    early = times.filter((times < EARLY) & ~times.is_in(list(UNSET)))
    if len(early) and middle >= EARLY:
        yield (
            f"{len(early):,} of {len(times):,} events are before 1980, the others later, such as time {early[0]:g}: "
            "are these times of another unit, or none?"
        )
    years = bool(times.is_between(1900, 2100).all()) and times.n_unique() > 1
    if STEPS < middle < EARLY or years:
        moment = datetime.fromtimestamp(middle, UTC)
        yield (
            f"times are about {moment:%Y-%m-%d %H:%M:%S} UTC: that may be another unit, a date written as a number, or "
            "another column; --columns time=NAME and --time-unit say which, ISO 8601 is safe"
        )

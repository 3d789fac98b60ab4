"""All events split at one time, windows after it, and the requests that are made of what is later."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil, floor

import polars as pl

from llmrs_bench.core.config import PrepareConfig
from llmrs_bench.core.errors import DataError, OptionError
from llmrs_bench.core.formatting import counted
from llmrs_bench.core.hashing import uniform_hash
from llmrs_bench.core.schemas import INTERACTIONS, LATER_EVENTS
from llmrs_bench.data.split import ENOUGH, PAIR, TIE_RULE, USER_RULE, WHOLE_SECONDS, Split, by_user_and_time

_USERS = "users:"


def read_cut(text: str) -> float | datetime:
    """Return a cut in time: a share of the events between 0 and 1, or a moment in UTC, the end of the day of a date.

    Raises:
        OptionError: If it is neither.
    """
    with suppress(ValueError):
        share = float(text)
        if 0 < share < 1:
            return share
    with suppress(ValueError):
        moment = datetime.fromisoformat(text)
        whole_day = (
            timedelta(days=1) - timedelta(microseconds=1) if len(text.strip()) == len("2000-12-29") else timedelta()
        )
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) + whole_day
    raise OptionError(
        f"cut {text!r} is not a share between 0 and 1, or a date",
        hint="Write --cut 0.9, --cut 2000-12-29 or --cut 2000-12-29T23:28:08.",
    )


def time_split(events: pl.DataFrame, config: PrepareConfig) -> Split:
    """Split all events at one time, and hold out later events of each user; nobody learns from what is later.

    The cut is the quantile `config.cut` of all times (linear interpolation), or a moment; events at it are before it.
    Every user with a later event is tested, also those without an earlier one. `config.target` says what is asked for:
    the last later event, the first, or one drawn by a hash of seed, user and item; `successive` makes a request of
    every later event, `all` one request of all of them. With `config.windows` that is done in each window. A history is
    all of the user's events before the target, those after the cut too: models are frozen at the cut, what they are
    told is not, unless `history_until` is `cut`. Events whose history has fewer than `min_history` are no targets;
    Time-to-Split has 1, so that of a user without a past it asks for the second event first. Before all events of a
    window at once a history ends with the window's beginning. For validation is the last event before the cut of each
    user who has two; with `validation` `time` all events behind a second cut, the same quantile of the events before
    the first; with `users:N` all earlier events of N users, from whom nobody learns before training has stopped. The
    definition is that of Time-to-Split (RecSys 2025, arXiv 2507.16289).

    Args:
        events: One row per event, `source.EVENTS`, in line order, without null ids.
        config: `cut`, `target`, `validation`, `history_until`, `min_history`, `windows`, `window_by` and `seed`.

    Returns:
        The split. Where a user may have several requests, `held` says of each event for which one it is (`request`),
        how many of the user's events in `told` come `before`, and in which `window` it is, from 1; 0: there are none.

    Raises:
        OptionError: If the cut cannot be read, or a second one is asked for where the first is a date; or there are
            fewer users than validation is to have.
        DataError: If no user has two events up to the cut, nothing is after it, a window has no event, or no history is
            long enough.
    """
    cut = _moment(events["timestamp"], config.cut)
    placed = by_user_and_time(events).with_columns(place=pl.int_range(pl.len()).over("user_id"))
    early, late = (placed.filter(chosen) for chosen in (pl.col("timestamp") <= cut, pl.col("timestamp") > cut))
    _refuse_useless(placed, early, late, cut, config)
    windows = _windows(late, cut, config)
    late = late.with_columns(window=windows.numbers)
    held = _held(late, early, windows, config)
    multiple = config.target in ("successive", "all") or config.windows > 0
    if multiple:
        told = placed.join(held, on="user_id", how="semi", maintain_order="left")
    else:
        told = placed.join(held.select("user_id", "before"), on="user_id", maintain_order="left")
        told = told.filter(pl.col("place") < pl.col("before"))
    valid, valid_words = _validation(early, config.validation, config.cut, config.seed)
    part = pl.when(valid).then(pl.lit("valid")).otherwise(pl.lit("train"))
    users, seen = held.select("user_id").unique(), early.select("item_id").unique()
    facts = {
        "users": placed["user_id"].n_unique(),
        "test_users": users.height,
        "test_users_without_past": users.join(early, on="user_id", how="anti").height,
        "events_before": early.height,
        "events_after": late.height,
        "targets_new": held.join(seen, on="item_id", how="anti").height,
    }
    new = (
        f"{facts['targets_new']:,} of the {held.height:,} targets of all {users.height:,} users with later events are "
        "items without an event up to the cut: what learns ids knows none of them"
    )
    columns = ["user_id", "item_id", "timestamp", *(["request", "before", "window"] if multiple else [])]
    return Split(
        interactions=early.with_columns(WHOLE_SECONDS, part=part).drop("place"),
        held=held.with_columns(WHOLE_SECONDS).select(columns),
        facts=facts,
        rules=(
            TIE_RULE,
            USER_RULE,
            f"models learn from the {early.height:,} of {events.height:,} events up to {_when(cut)}; {valid_words}",
            f"{_target_words(config)}; {_history_words(config)}",
            *windows.rules,
            *([new] if facts["targets_new"] else []),
            *(
                [f"the {config.k_core}-core is that of all events, those after the cut too, as is usual"]
                if config.k_core > 1
                else []
            ),
        ),
        words=f"split in time at {_when(cut)}, {_SHORT[config.target]} after it"
        + (f", in each of {config.windows} windows" if config.windows else "")
        + (", histories up to the cut" if config.history_until == "cut" else "")
        + (f", at least {_events(config.min_history)} before it" if config.min_history else ""),
        told=told.select(PAIR),
        later=late.filter(pl.col("window") < config.windows).with_columns(WHOLE_SECONDS).select(list(LATER_EVENTS))
        if config.windows
        else None,
    )


def events_before(
    interactions: pl.DataFrame, later: pl.DataFrame, window: int, *, validation: str, cut: str
) -> pl.DataFrame:
    """Return what a model may learn from that is fitted right before a window, as the table `interactions`.

    These are all events up to its beginning, those of earlier windows among them, whoever was asked for them. They are
    parted as `time_split` parts those before the cut; users who are held out for validation stay so. Users without an
    event before the cut come after the others.

    Args:
        interactions: What is learned from before the cut.
        later: Frame of the schema `later_events`.
        window: From 1; before the first it is `interactions`.
        validation: As `PrepareConfig.validation`.
        cut: As `PrepareConfig.cut`; with `validation` `time` the same share makes the second cut.
    """
    if window == 1:
        return interactions
    new = later.filter(pl.col("window") < window).drop("window")
    whole = pl.concat([interactions.drop("part"), new]).with_row_index("line")
    whole = whole.sort(pl.col("line").min().over("user_id"), "line").drop("line")
    if validation.startswith(_USERS):
        held_out = interactions.filter(pl.col("part") == "valid")["user_id"].unique()
        valid = pl.col("user_id").is_in(held_out.implode())
    else:
        whole = whole.with_columns(place=pl.int_range(pl.len()).over("user_id"))
        valid, _ = _validation(whole, validation, cut, 0)
    part = pl.when(valid).then(pl.lit("valid")).otherwise(pl.lit("train"))
    return whole.with_columns(part=part).select(list(INTERACTIONS))


_SHORT = {
    **{name: f"target the {name} event" for name in ("last", "first")},
    "random": "target a random event",
    "successive": "a request for each event",
    "all": "one request for all events",
}


def _target_words(config: PrepareConfig) -> str:
    where = "each window" if config.windows else "after it"
    if config.target == "successive":
        return "a request is made of every event after it"
    if config.target == "all":
        return f"the targets of a user are all events {'of ' if config.windows else ''}{where}, in one request"
    which = "a random" if config.target == "random" else f"the {config.target}"
    return f"the target is {which} event of each user {'in ' if config.windows else ''}{where}"


def _events(count: int) -> str:
    return f"{count} event{'s' if count > 1 else ''}"


def _history_words(config: PrepareConfig) -> str:
    least = f", and at least {_events(config.min_history)}" if config.min_history else ""
    return _history_end(config) + least


def _history_end(config: PrepareConfig) -> str:
    if config.history_until == "cut":
        return "a history has what the user did up to the cut"
    if config.target == "all":
        return f"a history has what the user did up to {'the beginning of the window' if config.windows else 'the cut'}"
    return "a history has all the user did before"


def _when(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _typed(moment: float) -> str:
    """Return a moment as `--cut` takes it."""
    return datetime.fromtimestamp(moment, UTC).replace(tzinfo=None).isoformat()


def _moment(times: pl.Series, cut: str) -> float:
    found = read_cut(cut)
    if isinstance(found, datetime):
        return found.timestamp()
    return float(times.quantile(found, "linear") or 0.0)


def _refuse_useless(
    placed: pl.DataFrame, early: pl.DataFrame, late: pl.DataFrame, cut: float, config: PrepareConfig
) -> None:
    """Refuse a cut that leaves nothing to learn from or nothing to ask for, and say which ones do not.

    Raises:
        DataError: If no user has two events up to the cut, or nothing is after it.
    """
    if late.height and early["user_id"].is_duplicated().any():
        return
    times = placed["timestamp"]
    least = placed.filter(pl.col("place") == 1)["timestamp"].min()  # of the first second event of a user
    before_last = times.filter(times < times.max()).max()
    words = (
        f"{early.height:,} of {placed.height:,} events are up to {_when(cut)}, {late.height:,} after it: tests need a "
        "user with two events up to the cut, and one event after it"
    )
    if not isinstance(least, float) or not isinstance(before_last, float) or least > before_last:
        raise DataError(
            f"{words}; no cut of these events allows that",
            hint="Use --split leave-one-out or random, or a larger data set.",
        )
    first, last = ((times <= moment).sum() / len(times) for moment in (least, before_last))
    low, high = ceil(first * _SHARES) / _SHARES, floor(last * _SHARES) / _SHARES
    shares = f"from {low:.6g} to {high:.6g}" if low < high else f"such as {low:.6g}"
    raise DataError(
        words, hint=f"Choose --cut from {_typed(least)} to {_typed(before_last)} (UTC), or a share {shares}."
    )


@dataclass(frozen=True)
class _Windows:
    """The window of each later event, from 1, the beginnings of all, and the rule in words; 0 where there are none."""

    numbers: pl.Series
    starts: tuple[float, ...]
    rules: tuple[str, ...] = ()


def _windows(late: pl.DataFrame, cut: float, config: PrepareConfig) -> _Windows:
    """Cut what is later into windows of equal length, from the cut to the last event, or of as many events.

    Raises:
        DataError: If a window has no event.
    """
    times, count = late["timestamp"], config.windows
    if not count:
        return _Windows(pl.repeat(0, late.height, dtype=pl.Int32, eager=True), (cut,))
    if config.window_by == "time":
        length = (float(times.to_numpy().max()) - cut) / count
        ends = [cut + length * number for number in range(1, count)]
    else:
        ends = [float(times.quantile(number / count, "lower") or 0.0) for number in range(1, count)]
    # An event at the end of a window belongs to it, as one at the cut belongs to what is learned from.
    numbers = 1 + pl.sum_horizontal([(pl.col("timestamp") > end).cast(pl.Int32) for end in ends])
    found = late.select(numbers.cast(pl.Int32)).to_series()
    sizes = [int((found == number).sum()) for number in range(1, count + 1)]
    if not all(sizes):
        raise DataError(
            f"{sizes.count(0)} of {count} windows {_BY[config.window_by]} hold no event: {_counts(sizes)} events",
            hint="Ask for fewer --windows"
            + (", or for --window-by events." if config.window_by == "time" else ": many events are of one time."),
        )
    starts = (cut, *ends)
    begin = _few([_when(start) for start in starts])
    rule = f"{count} windows {_BY[config.window_by]} begin after {begin}, and have {_counts(sizes)} events"
    return _Windows(found, starts, (rule,))


_SHARES = 1_000_000  # a share is shown to so many parts
_SHOWN = 10  # of many windows at each end
_BY = {"time": "of equal length", "events": "of as many events"}


def _counts(sizes: list[int]) -> str:
    return _few([f"{size:,}" for size in sizes])


def _few(words: list[str]) -> str:
    """Return words in a row, of many the first and the last ones."""
    shown = words if len(words) <= 2 * _SHOWN else [*words[:_SHOWN], "...", *words[-_SHOWN:]]
    return ", ".join(shown)


def _held(late: pl.DataFrame, early: pl.DataFrame, windows: _Windows, config: PrepareConfig) -> pl.DataFrame:
    """Return the events that are asked for, with `request`, `before`, and of `all` the time at which they are.

    Raises:
        DataError: If no history is as long as `min_history`.
    """
    each, every = ["user_id", "window"], late
    if config.target != "all":
        late = late.filter(pl.col("place") >= config.min_history)
    if config.target == "random":
        draws = pl.Series("draw", uniform_hash(config.seed, late["user_id"], late["item_id"]))
        held = late.with_columns(draws).filter(pl.col("draw").rank("ordinal").over(each) == 1)
    elif config.target in ("last", "first"):
        held = late.unique(each, keep="last" if config.target == "last" else "first", maintain_order=True)
    else:
        held = late
    before, name = pl.col("place"), pl.format("w{}", "window")
    if config.target == "all":
        before = pl.col("place").min().over(each)
        moment = pl.col("window").replace_strict(
            dict(enumerate(windows.starts, 1)) if config.windows else {0: windows.starts[0]}, return_dtype=pl.Float64
        )
        held = held.with_columns(timestamp=moment)
        name = name if config.windows else pl.lit("all")
    elif config.target == "successive":
        name = (pl.int_range(pl.len()).over("user_id") + 1).cast(pl.String)
    held = held.with_columns(before=before.cast(pl.Int64), request=name)
    if config.history_until == "cut":
        counts = early.group_by("user_id").agg(before=pl.len().cast(pl.Int64))
        held = held.drop("before").join(counts, on="user_id", how="left", maintain_order="left")
        held = held.with_columns(pl.col("before").fill_null(0))
    enough = held.filter(pl.col("before") >= config.min_history)
    if enough.is_empty():
        most = _most_before(every, early, config)
        raise DataError(
            f"no event after the cut has {_events(config.min_history)} of its user before it",
            hint=f"Lower --min-history to at most {most}." if most else "Leave out --min-history.",
        )
    return enough


def _most_before(late: pl.DataFrame, early: pl.DataFrame, config: PrepareConfig) -> int:
    """Return how many events of its user the later event has before it that has most, as `min_history` counts them."""
    before = pl.col("place").min().over("user_id", "window") if config.target == "all" else pl.col("place")
    if config.history_until == "cut":
        late, before = early.join(late, on="user_id", how="semi"), pl.len().over("user_id")
    return int(late.select(before.max()).item() or 0)


def _validation(early: pl.DataFrame, validation: str, cut: str, seed: int) -> tuple[pl.Expr, str]:
    """Return which earlier events are for validation, and say it.

    Raises:
        OptionError: As `time_split` says.
    """
    if validation == "last-item":
        last = pl.col("place") == pl.col("place").max().over("user_id")
        return last & (
            pl.len().over("user_id") >= ENOUGH - 1
        ), "for validation is the last event of each user who has two"
    if validation.startswith(_USERS):
        return _held_out_users(early, int(validation.removeprefix(_USERS)), seed)
    if not isinstance(read_cut(cut), float):
        raise OptionError(
            f"--validation time makes a second cut by the same share, and --cut {cut} is a date",
            hint="Use --validation last-item or users:N, or a share such as --cut 0.9.",
        )
    second = _moment(early["timestamp"], cut)
    return pl.col("timestamp") > second, f"for validation are those after {_when(second)}"


def _held_out_users(early: pl.DataFrame, wanted: int, seed: int) -> tuple[pl.Expr, str]:
    """Take all earlier events of so many users who have two; which ones is a hash of seed and user."""
    able = early.group_by("user_id").len().filter(pl.col("len") >= ENOUGH - 1).sort("user_id")
    if wanted >= able.height:
        there = counted(able.height, "user has", "users have")
        raise OptionError(
            f"--validation {_USERS}{wanted} leaves nobody to learn from: {there} two events up to the cut",
            hint=f"Hold out fewer of them: --validation {_USERS}{able.height - 1} or less."
            if able.height > 1
            else "Use --validation last-item.",
        )
    draws = pl.Series("draw", uniform_hash(seed, able["user_id"]))
    chosen = able.with_columns(draws).sort("draw").head(wanted)["user_id"]
    return (
        pl.col("user_id").is_in(chosen.implode()),
        f"for validation are all of them of {wanted:,} users: the last, after the others",
    )

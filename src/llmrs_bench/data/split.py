"""Interactions filtered, and split into training, validation and test."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from llmrs_bench.core.config import PrepareConfig
from llmrs_bench.core.errors import DataError, OptionError
from llmrs_bench.core.hashing import uniform_hash
from llmrs_bench.core.schemas import INTERACTIONS
from llmrs_bench.data.codes import Codes, first_lines, has_repeats

PAIR = ["user_id", "item_id"]


@dataclass(frozen=True)
class Filtered:
    """The events that are left, in their order; how many each rule dropped; the rules in words; those rated too low."""

    events: pl.DataFrame
    facts: dict[str, int]
    rules: tuple[str, ...]
    disliked: pl.DataFrame


def filter_events(events: pl.DataFrame, *, min_rating: float | None, k_core: int, repeats: str = "first") -> Filtered:
    """Drop events without ids, then those rated below `min_rating`, then repeats, then those outside the k-core.

    Of a user's repeated events with one item the first in time is kept (the first line among equal times), or what
    `repeats` says. Of events that are alike in everything one is kept in any case.
    The k-core is the largest set of events in which every user and every item has at least `k_core`; 0
    and 1 keep all. An unrated event is dropped where a rating is asked for.

    Args:
        events: One row per event, `source.EVENTS`, in line order.
        min_rating: The lowest rating that counts, or None to use all events.
        k_core: Least number of events of every user and item.
        repeats: `first`, `last`, `all`, or `error`, which refuses them.

    Raises:
        OptionError: If `min_rating` is given and no event has a rating.
        DataError: If nothing is left, or there are repeats that `error` refuses.
    """
    facts, rules = {"events_read": events.height}, []
    whole = events.drop_nulls(PAIR)
    facts["null_ids_dropped"] = events.height - whole.height
    if facts["null_ids_dropped"]:
        rules.append("events without a user or an item are dropped")
    liked = _liked(whole, min_rating)
    facts["low_ratings_dropped"] = whole.height - liked.height
    if min_rating is not None:
        rules.append(f"events rated below {min_rating:g}, or not rated, are dropped")
    repeated = has_repeats(liked, PAIR)
    unlike = liked.unique(maintain_order=True) if repeated else liked
    facts["copies_dropped"] = liked.height - unlike.height
    if facts["copies_dropped"]:
        rules.append("of events that are alike in everything one counts")
    single = _without_repeats(unlike, repeats) if repeated else unlike
    facts["repeats_dropped"] = unlike.height - single.height
    if facts["repeats_dropped"]:
        rules.append(f"of a user's events with one item the {repeats} in time counts")
    core, rounds = _core(single, k_core)
    facts.update(outside_core_dropped=single.height - core.height, core_rounds=rounds)
    if k_core > 1:
        rules.append(f"users and items with fewer than {k_core} events are dropped until none is left ({k_core}-core)")
    if core.is_empty():
        raise DataError(
            f"no event is left of {events.height:,}: {_account(facts)}",
            hint="Lower --min-rating or --k-core, or check the source.",
        )
    facts["events_kept"] = core.height
    disliked = whole.clear() if min_rating is None else whole.join(liked, on=PAIR, how="anti")
    return Filtered(core, facts, tuple(rules), disliked)


def _liked(events: pl.DataFrame, min_rating: float | None) -> pl.DataFrame:
    if min_rating is None:
        return events
    if events.height and events["rating"].null_count() == events.height:
        raise OptionError(
            f"min_rating is {min_rating:g}, but the data has no ratings", hint="Leave --min-rating out for this data."
        )
    return events.filter(pl.col("rating") >= min_rating)


def _without_repeats(events: pl.DataFrame, repeats: str) -> pl.DataFrame:
    if repeats == "all" or not has_repeats(events, PAIR):
        return events
    if repeats == "error":
        again = events.filter(pl.struct(PAIR).is_duplicated()).unique(PAIR, maintain_order=True)
        raise DataError(
            f"{again.height:,} pairs of a user and an item have several events, such as "
            + ", ".join(f"{user} and {item}" for user, item in again.head(3).select(PAIR).rows()),
            hint="--repeats first, last or all says which of them count.",
        )
    lines = events.with_row_index("line")
    kept = lines.sort("timestamp", "line").unique(
        PAIR, keep="first" if repeats == "first" else "last", maintain_order=True
    )
    return kept.sort("line").drop("line")


def _core(events: pl.DataFrame, k: int) -> tuple[pl.DataFrame, int]:
    """Return the k-core and the number of rounds it took."""
    rounds = 0
    while k > 1:
        fewer = events.filter(pl.len().over("user_id") >= k).filter(pl.len().over("item_id") >= k)
        rounds += 1
        if fewer.height == events.height:
            break
        events = fewer
    return events, rounds


def _account(facts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in facts.items() if name.endswith("_dropped") and count)


WHOLE_SECONDS = pl.col("timestamp").floor().cast(pl.Int64)
TIE_RULE = "equal timestamps keep the order of the source's lines"
RANDOM_TIE_RULE = "equal timestamps stand in a seeded random order"
# What a protocol says of equal times, by `PrepareConfig.split`.
TIE_RULES: Mapping[str, str] = {"leave-one-out": TIE_RULE, "random": RANDOM_TIE_RULE, "time": TIE_RULE}
USER_RULE = "users stand in the order of their first line"
ENOUGH = 3


@dataclass(frozen=True)
class Split:
    """Events models may see, and the held-out ones, which they may not.

    Args:
        interactions: `schemas.INTERACTIONS`, by user (`USER_RULE`), then by time (`TIE_RULES`); times are cut to whole
            seconds after that.
        held: Events that are held out, of leave-one-out one per user: user_id, item_id, timestamp; in the same order.
        facts: Counts of users, and of those whose target depends on the tie rule.
        rules: How the split was made, in words.
        words: The same in one phrase.
        told: What histories are made of where that is more than `interactions`: the events (user_id, item_id) of
            each user before the one that is held out, in order.
    """

    interactions: pl.DataFrame
    held: pl.DataFrame
    facts: dict[str, int]
    rules: tuple[str, ...]
    words: str = "leave-one-out"
    told: pl.DataFrame | None = None


def leave_one_out(events: pl.DataFrame, users: Codes | None = None) -> Split:
    """Split every user's events in time: the last is held out, the second last is "valid", the rest "train".

    All events of a user with fewer than three are "train", and none is held out. The definition is that
    of SASRec (Kang and McAuley, ICDM 2018, section IV-A) and of what followed it.

    Args:
        events: One row per event, `source.EVENTS`, in line order, without null ids.
        users: The `first_lines` of its users, where they are known.
    """
    users = first_lines(events["user_id"]) if users is None else users
    times = events["timestamp"].to_numpy()
    order = np.lexsort((times, users))  # stable: USER_RULE, then time, then TIE_RULE
    users, times = users[order], times[order]
    ends = np.flatnonzero(np.append(users[1:] != users[:-1], True))
    sizes = np.diff(ends, prepend=-1)
    last = ends[sizes >= ENOUGH]
    held, valid = np.zeros(len(order), dtype=bool), np.zeros(len(order), dtype=bool)
    held[last], valid[last - 1] = True, True
    facts = {
        "users": len(ends),
        "users_too_short": int((sizes < ENOUGH).sum()),
        "users_with_tied_target": int((times[last] == times[last - 1]).sum()),
    }
    part = pl.when(pl.Series(valid[~held])).then(pl.lit("valid")).otherwise(pl.lit("train"))
    return Split(
        interactions=events[order[~held]].with_columns(WHOLE_SECONDS, part=part).select(list(INTERACTIONS)),
        held=events[order[held]].select("user_id", "item_id", WHOLE_SECONDS),
        facts=facts,
        rules=(TIE_RULE, USER_RULE, f"users with fewer than {ENOUGH} events are trained on and never tested"),
    )


def random_holdout(events: pl.DataFrame, *, seed: int) -> Split:
    """Hold out one random event of every user; another random one is "valid", the rest "train".

    All events of a user with fewer than three are "train", and none is held out. This is for events without times, of
    which none is the last: where times are equal, a history stands in a random order, too. Draws are by a hash of
    seed, user and item, so those of a user depend neither on other users nor on the order of rows.

    Args:
        events: One row per event, `source.EVENTS`, each user and item once, without null ids.
        seed: The seed of the draws.
    """
    draws = pl.Series("draw", uniform_hash(seed, events["user_id"], events["item_id"]))
    ordered = by_user_and_time(events.with_columns(draws), "draw")
    left = ordered.with_columns(left=pl.col("draw").rank("ordinal").over("user_id") - 1).drop("draw")
    rule = "a random event of each user is held out, and another one is for validation, whenever they were"
    split = _split(left, (rule, RANDOM_TIE_RULE, USER_RULE))
    return replace(split, words=f"random hold-out of one event of each user (seed {seed})")


def _split(ordered: pl.DataFrame, rules: tuple[str, ...]) -> Split:
    """Hold out the events whose column `left` is 0, of users who have enough; those of 1 are for validation."""
    marked = ordered.with_columns(size=pl.len().over("user_id"))
    enough = pl.col("size") >= ENOUGH
    held = enough & (pl.col("left") == 0)
    part = pl.when(enough & (pl.col("left") == 1)).then(pl.lit("valid")).otherwise(pl.lit("train"))
    facts = {
        "users": ordered["user_id"].n_unique(),
        "users_too_short": marked.filter(~enough)["user_id"].n_unique(),
    }
    return Split(
        interactions=marked.filter(~held).with_columns(WHOLE_SECONDS, part=part).select(list(INTERACTIONS)),
        held=marked.filter(held).select("user_id", "item_id", WHOLE_SECONDS),
        facts=facts,
        rules=(*rules, f"users with fewer than {ENOUGH} events are trained on and never tested"),
    )


def without_targets(split: Split) -> Split:
    """Return a split in which no user has an event with the item that is held out, as repeats that are kept may be."""
    interactions = split.interactions.join(split.held.select(PAIR), on=PAIR, how="anti", maintain_order="left")
    dropped = split.interactions.height - interactions.height
    rules = (*split.rules, "a user's earlier events with the held-out item are dropped") if dropped else split.rules
    facts = {**split.facts, "earlier_events_with_target_dropped": dropped}
    told = split.told
    if told is not None:
        told = told.join(split.held.select(PAIR), on=PAIR, how="anti", maintain_order="left")
    return replace(split, interactions=interactions, facts=facts, rules=rules, told=told)


def split_at(events: pl.DataFrame, start: float) -> Split:
    """Split all events at one time: what happens from `start` on is held out, and nobody learns from it.

    Of what is before, a user's last event is "valid" where there are two, the rest "train".

    Args:
        events: One row per event, `source.EVENTS`, in line order, without null ids.
        start: UTC seconds.

    Raises:
        DataError: If nothing is before `start`.
    """
    ordered = by_user_and_time(events)
    before, held = (ordered.filter(chosen) for chosen in (pl.col("timestamp") < start, pl.col("timestamp") >= start))
    moment = f"{datetime.fromtimestamp(start, UTC):%Y-%m-%d %H:%M:%S} UTC"
    if before.is_empty():
        raise DataError(
            f"none of {events.height:,} events is before {moment}, when tests begin: there is nothing to learn from",
            hint="Add the earlier part of the data, or histories.",
        )
    last = pl.int_range(pl.len()).over("user_id") == pl.len().over("user_id") - 1
    part = pl.when(last & (pl.len().over("user_id") >= ENOUGH - 1)).then(pl.lit("valid")).otherwise(pl.lit("train"))
    return Split(
        interactions=before.with_columns(part=part).with_columns(WHOLE_SECONDS).select(list(INTERACTIONS)),
        held=held.select("user_id", "item_id", WHOLE_SECONDS),
        facts={"users": ordered["user_id"].n_unique(), "events_before": before.height, "events_held_out": held.height},
        rules=(
            TIE_RULE,
            USER_RULE,
            f"models learn from the {before.height:,} of {events.height:,} events "
            f"({100 * before.height / events.height:.1f} %) before {moment}",
        ),
        words=f"events before {moment} are learned from",
    )


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
        f"cut {text!r} is neither a share between 0 and 1 nor a date",
        hint="Write --cut 0.9, --cut 2000-12-29 or --cut 2000-12-29T23:28:08.",
    )


def time_split(events: pl.DataFrame, config: PrepareConfig) -> Split:
    """Split all events at one time, and hold out one later event of each user; nobody learns from what is later.

    The cut is the quantile `config.cut` of all times (linear interpolation), or a moment; events at it are before it.
    Every user with a later event is tested, also those without an earlier one. `config.target` says which later event
    is held out: the last, the first, or one drawn by a hash of seed, user and item. A history is all of the user's
    events before it, those after the cut too: models are frozen at the cut, what they are told is not. For validation
    is the last event before the cut of each user who has two, or with `validation` `time` all events of the user behind
    a second cut: the same quantile of the events before the first. The definition is that of Time-to-Split (RecSys
    2025, arXiv 2507.16289).

    Args:
        events: One row per event, `source.EVENTS`, in line order, without null ids.
        config: `cut`, `target`, `validation` and `seed`.

    Raises:
        OptionError: If the cut cannot be read, or a second one is asked for where the first is a date.
        DataError: If nothing is before the cut, or nothing after it.
    """
    cut = _moment(events["timestamp"], config.cut)
    ordered = by_user_and_time(events).with_columns(place=pl.int_range(pl.len()))
    early, late = (ordered.filter(chosen) for chosen in (pl.col("timestamp") <= cut, pl.col("timestamp") > cut))
    when = f"{datetime.fromtimestamp(cut, UTC):%Y-%m-%d %H:%M:%S} UTC"
    if early.is_empty() or late.is_empty():
        raise DataError(
            f"{early.height:,} of {events.height:,} events are up to {when}, {late.height:,} after it: tests need both",
            hint=f"Choose another --cut than {config.cut}.",
        )
    if config.target == "random":
        draws = pl.Series("draw", uniform_hash(config.seed, late["user_id"], late["item_id"]))
        held = late.with_columns(draws).filter(pl.col("draw").rank("ordinal").over("user_id") == 1)
    else:
        held = late.unique("user_id", keep=config.target, maintain_order=True)
    told = ordered.join(held.select("user_id", at="place"), on="user_id", maintain_order="left")
    told = told.filter(pl.col("place") < pl.col("at"))
    if config.validation == "time":
        valid, valid_words = _second_cut(early, config)
    else:
        last = pl.int_range(pl.len()).over("user_id") == pl.len().over("user_id") - 1
        valid = last & (pl.len().over("user_id") >= ENOUGH - 1)
        valid_words = "for validation is the last event of each user who has two"
    part = pl.when(valid).then(pl.lit("valid")).otherwise(pl.lit("train"))
    facts = {
        "users": ordered["user_id"].n_unique(),
        "test_users": held.height,
        "test_users_without_past": held.height - held.join(early.select("user_id").unique(), on="user_id").height,
        "events_before": early.height,
        "events_after": late.height,
        "targets_new": held.height - held.join(early.select("item_id").unique(), on="item_id").height,
    }
    new = (
        f"{facts['targets_new']:,} targets are items without an event up to the cut: what learns ids knows none of them"
    )
    return Split(
        interactions=early.with_columns(part=part).with_columns(WHOLE_SECONDS).select(list(INTERACTIONS)),
        held=held.select("user_id", "item_id", WHOLE_SECONDS),
        facts=facts,
        rules=(
            TIE_RULE,
            USER_RULE,
            f"models learn from the {early.height:,} of {events.height:,} events up to {when}; {valid_words}",
            f"the target is the {config.target} event of each user after it; a history has all the user did before",
            *([new] if facts["targets_new"] else []),
        ),
        words=f"split in time at {when}, target the {config.target} event after it",
        told=told.select(PAIR),
    )


def _moment(times: pl.Series, cut: str) -> float:
    found = read_cut(cut)
    if isinstance(found, datetime):
        return found.timestamp()
    return float(times.quantile(found, "linear") or 0.0)


def _second_cut(early: pl.DataFrame, config: PrepareConfig) -> tuple[pl.Expr, str]:
    if not isinstance(read_cut(config.cut), float):
        raise OptionError(
            f"--validation time makes a second cut by the same share, and --cut {config.cut} is a date",
            hint="Use --validation last-item, or a share such as --cut 0.9.",
        )
    second = _moment(early["timestamp"], config.cut)
    when = f"{datetime.fromtimestamp(second, UTC):%Y-%m-%d %H:%M:%S} UTC"
    return pl.col("timestamp") > second, f"for validation are those after {when}"


def by_user_and_time(events: pl.DataFrame, ties: str = "line") -> pl.DataFrame:
    """Return events in the order of `USER_RULE`, of one user in that of time, then of a column, or of `TIE_RULE`."""
    lines = events.with_row_index("line").with_columns(pl.col("line").min().over("user_id").alias("first_line"))
    return lines.sort("first_line", "timestamp", ties).drop("line", "first_line")


@dataclass(frozen=True, slots=True)
class Timeline:
    """What leave-one-out takes from the future, for requests: what others did after the time of the target.

    Args:
        later: The mean share of `interactions` that are later than a request's target.
        candidates: How many candidates all lists have.
        unborn: How many of them had no event before or at the time of the target, or none at all.
        early: The same three of the tenth of the requests with the earliest targets.
    """

    later: float
    candidates: int
    unborn: int
    early: "Timeline | None" = None

    @property
    def words(self) -> str:
        """Say it in one sentence."""
        lists = (
            f", and {self.unborn:,} of {self.candidates:,} candidates have none before it" if self.candidates else ""
        )
        early = f" (earliest tenth of the targets: {self.early._numbers})" if self.early else ""
        return f"{100 * self.later:.1f} % of the interactions models learn from are later than a target{lists}{early}"

    @property
    def _numbers(self) -> str:
        return f"{100 * self.later:.1f} %" + (f", {self.unborn:,} of {self.candidates:,}" if self.candidates else "")


def timeline(events: pl.DataFrame, interactions: pl.DataFrame, requests: pl.DataFrame) -> Timeline | None:
    """Measure what is later than the targets of requests; None where all events are of one time.

    Args:
        events: Items and times of all events, held-out ones included: an item's first says since when it exists.
        interactions: What models learn from.
        requests: The table `requests`, whose `cutoff` is the time of the target in whole seconds.
    """
    if events["timestamp"].min() == events["timestamp"].max():
        return None
    times, cutoffs = interactions["timestamp"].sort().to_numpy(), requests["cutoff"].to_numpy()
    later = 1 - np.searchsorted(times, cutoffs, side="right") / len(times)
    rows = requests.select("request_id", "cutoff", item_id="candidates").explode("item_id").drop_nulls()
    shown = events.select("item_id", "timestamp").join(rows.select("item_id").unique(), on="item_id", how="semi")
    born = shown.group_by("item_id").agg(born=WHOLE_SECONDS.min())
    listed = rows.join(born, on="item_id").select("request_id", unborn=pl.col("born") > pl.col("cutoff"))

    def measured(chosen: pl.Series) -> Timeline:
        unborn = listed.filter(pl.col("request_id").is_in(requests["request_id"].filter(chosen).implode()))["unborn"]
        return Timeline(float(later[chosen.to_numpy()].mean()), len(unborn), int(unborn.sum()))

    early = requests["cutoff"].rank("ordinal") <= max(requests.height // 10, 1)
    whole = measured(pl.repeat(True, requests.height, eager=True))
    return Timeline(whole.later, whole.candidates, whole.unborn, measured(early))

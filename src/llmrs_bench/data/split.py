"""Interactions filtered, and split into training, validation and test."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrs_bench.core.errors import DataError, OptionError
from llmrs_bench.core.hashing import uniform_hash
from llmrs_bench.core.schemas import INTERACTIONS
from llmrs_bench.data.codes import Codes, first_lines, has_repeats, order_by

PAIR = ["user_id", "item_id"]


@dataclass(frozen=True)
class Filtered:
    """The events that are left, in their order; how many each rule dropped; the rules in words; those rated too low."""

    events: pl.DataFrame
    facts: dict[str, int]
    rules: tuple[str, ...]
    disliked: pl.DataFrame


def filter_events(
    events: pl.DataFrame,
    *,
    min_rating: float | None,
    k_core: int,
    repeats: str = "first",
    distinct: bool = False,
) -> Filtered:
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
        distinct: Whether it is known that no user has two events with one item.

    Raises:
        OptionError: If `min_rating` is given and no event has a rating.
        DataError: If nothing is left, or there are repeats that `error` refuses.
    """
    facts, rules = {"events_read": events.height}, []
    whole = events.drop_nulls(PAIR)
    facts["null_ids_dropped"] = events.height - whole.height
    if events.height and whole.is_empty():
        raise DataError(
            f"none of {events.height:,} events has both a user and an item",
            hint="Name the columns that hold them: --columns user=NAME,item=NAME.",
        )
    if facts["null_ids_dropped"]:
        rules.append("events without a user or an item are dropped")
    liked = _liked(whole, min_rating)
    facts["low_ratings_dropped"] = whole.height - liked.height
    if min_rating is not None:
        rules.append(f"events rated below {min_rating:g}, or not rated, are dropped")
    repeated = not distinct and has_repeats(liked, PAIR)
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
            Where a user may have several requests, also what `time_split` says.
        facts: Counts of users, and of those whose target depends on the tie rule.
        rules: How the split was made, in words.
        words: The same in one phrase.
        told: What histories are made of where that is not `interactions`: the events (user_id, item_id) of each user
            before the one that is held out, in order; with `before` in `held` all events of the user.
        later: Of a split with windows, `schemas.LATER_EVENTS`: the events of all windows but the last.
    """

    interactions: pl.DataFrame
    held: pl.DataFrame
    facts: dict[str, int]
    rules: tuple[str, ...]
    words: str = "leave-one-out"
    told: pl.DataFrame | None = None
    later: pl.DataFrame | None = None


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
    order = order_by(users, times)  # USER_RULE, then time, then TIE_RULE
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


def by_user_and_time(events: pl.DataFrame, ties: str = "line") -> pl.DataFrame:
    """Return events in the order of `USER_RULE`, of one user in that of time, then of a column, or of `TIE_RULE`."""
    lines = events.with_row_index("line").with_columns(pl.col("line").min().over("user_id").alias("first_line"))
    return lines.sort("first_line", "timestamp", ties).drop("line", "first_line")


@dataclass(frozen=True, slots=True)
class Timeline:
    """What a protocol takes from the future, for requests: what others did after their time.

    Args:
        later: The mean share of `interactions` that are later than a request.
        candidates: How many candidates all lists have, or the whole catalogue once for each request.
        unborn: How many of them had no event before or at the time of the request but its own, or none at all.
        tied: How many requests are at the second of another event of their user, so that a rule chose the target; None
            where that says nothing.
        requests: How many there are.
        early: The same of the earliest tenth of the requests.
    """

    later: float
    candidates: int
    unborn: int
    tied: int | None = None
    requests: int = 0
    early: "Timeline | None" = None

    @property
    def words(self) -> str:
        """Say it in one sentence."""
        if self.later:
            early = f" (earliest tenth of the requests: {100 * self.early.later:.1f} %)" if self.early else ""
            said = [f"{100 * self.later:.1f} % of the training interactions are later than a request{early}"]
        else:
            said = ["no training interaction is later than a request"]
        if self.candidates:
            early = f" (earliest tenth: {self._of(self.early)})" if self.early and self.unborn else ""
            said.append(f"{self._of(self)} candidates have no interaction before it{early}")
        if self.tied is not None:
            said.append(f"{self.tied:,} of {self.requests:,} requests are tied in time with another event of the user")
        return "leaks: " + ", ".join(said)

    @staticmethod
    def _of(counted: "Timeline") -> str:
        return f"{counted.unborn:,} of {counted.candidates:,}"


def later_shares(times: pl.Series, cutoffs: pl.Series) -> NDArray[np.float64]:
    """Return (requests,) which share of events is later than each request, both in seconds."""
    until = np.searchsorted(times.sort().to_numpy(), cutoffs.to_numpy(), side="right")
    return np.asarray(1 - until / len(times), dtype=np.float64)


def timeline(
    events: pl.DataFrame, interactions: pl.DataFrame, requests: pl.DataFrame, *, lists: bool = True, ties: bool = True
) -> Timeline | None:
    """Measure what is later than requests; None where all events are of one time.

    Args:
        events: Users, items and times of all events, held-out ones included: an item's first says since when it exists.
        interactions: What models learn from.
        requests: The table `requests`, whose `cutoff` is the time of the target in whole seconds.
        lists: Whether candidates are counted: those of a request of one item are its targets.
        ties: Whether a request is about one event of its user, so that another one of the same second may be taken for
            it.
    """
    if events["timestamp"].min() == events["timestamp"].max():
        return None
    cutoffs, later = requests["cutoff"].to_numpy(), later_shares(interactions["timestamp"], requests["cutoff"])
    own = events.select("user_id", "item_id", cutoff=WHOLE_SECONDS)
    own = own.filter(pl.col("cutoff").is_in(requests["cutoff"].implode()))
    own = own.join(requests, on=["user_id", "cutoff"], how="semi")
    if not lists:
        counts = requests.select("request_id", candidates=pl.lit(0), unborn=pl.lit(0))
    elif requests["candidates"].null_count():  # the whole catalogue
        born = _born(events)
        known = np.searchsorted(born["born"].sort().to_numpy(), cutoffs, side="right")
        new = _new_targets(own, events, requests, born).group_by("request_id").agg(new=pl.len().cast(pl.Int64))
        counts = requests.select("request_id", candidates=pl.lit(born.height), unborn=born.height - pl.Series(known))
        counts = counts.join(new, on="request_id", how="left", maintain_order="left")
        counts = counts.with_columns(pl.col("unborn") + pl.col("new").fill_null(0))
    else:
        rows = requests.select("request_id", "cutoff", item_id="candidates").explode("item_id").drop_nulls()
        born = _born(events.filter(pl.col("item_id").is_in(rows["item_id"].unique().implode())))
        new = _new_targets(own, events, requests, born).with_columns(new=True)
        listed = rows.join(born, on="item_id", how="left")  # some were shown and never chosen
        listed = listed.join(new, on=["request_id", "item_id"], how="left")
        unborn = pl.col("born").is_null() | (pl.col("born") > pl.col("cutoff")) | pl.col("new").fill_null(value=False)
        counts = listed.group_by("request_id").agg(candidates=pl.len(), unborn=unborn.sum())
    several = own.group_by("user_id", "cutoff").len().filter(pl.col("len") > 1)
    tied = requests.join(several, on=["user_id", "cutoff"], how="semi")["request_id"] if ties else None

    def measured(chosen: pl.Series, early: Timeline | None = None) -> Timeline:
        names = requests["request_id"].filter(chosen)
        counted = counts.filter(pl.col("request_id").is_in(names.implode()))
        return Timeline(
            later=float(later[chosen.to_numpy()].mean()),
            candidates=int(counted["candidates"].sum()),
            unborn=int(counted["unborn"].sum()),
            tied=None if tied is None else int(names.is_in(tied.implode()).sum()),
            requests=len(names),
            early=early,
        )

    first = measured(requests["cutoff"].rank("ordinal") <= max(requests.height // 10, 1))
    return measured(pl.repeat(True, requests.height, eager=True), first)


def _new_targets(own: pl.DataFrame, events: pl.DataFrame, requests: pl.DataFrame, born: pl.DataFrame) -> pl.DataFrame:
    """Return the items (request_id, item_id) whose first event is that of a request's own user at its time.

    Args:
        own: Events (user_id, item_id, cutoff) of the users of requests at the time of these.
        events: All events.
        requests: The table `requests`.
        born: What `_born` returned.
    """
    key = ["user_id", "item_id", "cutoff"]
    first = own.join(born, on="item_id").filter(pl.col("born") == pl.col("cutoff")).select(key).unique()
    others = events.select("item_id", other="user_id", at=WHOLE_SECONDS).join(first, on="item_id")
    others = others.filter(pl.col("other") != pl.col("user_id"), pl.col("at") <= pl.col("cutoff"))
    alone = first.join(others, on=key, how="anti")
    return requests.join(alone, on=["user_id", "cutoff"]).select("request_id", "item_id")


def _born(events: pl.DataFrame) -> pl.DataFrame:
    """Return since when items exist: the second of their first event."""
    return events.group_by("item_id").agg(born=WHOLE_SECONDS.min())

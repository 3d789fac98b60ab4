"""Interactions filtered, and split into training, validation and test."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from llmrs_bench.core.errors import DataError, OptionError
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


def filter_events(events: pl.DataFrame, *, min_rating: float | None, k_core: int) -> Filtered:
    """Drop events without ids, then those rated below `min_rating`, then repeats, then those outside the k-core.

    Of a user's repeated events with one item the first in time is kept (the first line among equal times).
    The k-core is the largest set of events in which every user and every item has at least `k_core`; 0
    and 1 keep all. An unrated event is dropped where a rating is asked for.

    Args:
        events: One row per event, `source.EVENTS`, in line order.
        min_rating: The lowest rating that counts, or None to use all events.
        k_core: Least number of events of every user and item.

    Raises:
        OptionError: If `min_rating` is given and no event has a rating.
        DataError: If nothing is left.
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
    single = _without_repeats(liked)
    facts["repeats_dropped"] = liked.height - single.height
    if facts["repeats_dropped"]:
        rules.append("of a user's events with one item the first in time counts")
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


def _without_repeats(events: pl.DataFrame) -> pl.DataFrame:
    if not has_repeats(events, PAIR):
        return events
    lines = events.with_row_index("line")
    firsts = lines.sort("timestamp", "line").unique(PAIR, keep="first", maintain_order=True)
    return firsts.sort("line").drop("line")


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
USER_RULE = "users stand in the order of their first line"
ENOUGH = 3


@dataclass(frozen=True)
class Split:
    """Events models may see, and the held-out ones, which they may not.

    Args:
        interactions: `schemas.INTERACTIONS`, by user (`USER_RULE`), then by time (`TIE_RULE`); times are cut to whole
            seconds after that.
        held: One row per user with a held-out event: user_id, item_id, timestamp; in the same order.
        facts: Counts of users, and of those whose target depends on the tie rule.
        rules: How the split was made, in words.
    """

    interactions: pl.DataFrame
    held: pl.DataFrame
    facts: dict[str, int]
    rules: tuple[str, ...]


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


@dataclass(frozen=True, slots=True)
class Timeline:
    """What leave-one-out takes from the future, for requests: what others did after the time of the target.

    Args:
        later: The mean share of `interactions` that are later than a request's target.
        candidates: How many candidates all lists have.
        unborn: How many of them had no event before or at the time of the target.
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

"""Cold start: test users that no model learns from, with a given number of known events, and rare targets."""

from dataclasses import replace

import polars as pl

from llmrs_bench.core.config import PrepareConfig
from llmrs_bench.core.errors import DataError
from llmrs_bench.core.formatting import counted
from llmrs_bench.core.schemas import CONDITIONS
from llmrs_bench.data.candidates import Requests, sample_users
from llmrs_bench.data.split import Split

_PER_REQUEST = ("requests", "targets_retrieved", "targets_in_lists", "short_lists", "targets_seen_before")
_SUFFIX = "m"  # of the name of a request, before the number of events that are known


def hold_out_users(split: Split, config: PrepareConfig) -> Split:
    """Choose the test users, and leave out of what models learn from all that they did.

    Users without as many events before each of their targets as the largest of `config.cold_users` are not tested, so
    that every number of known events is asked of the same users and targets. Their events stay to be learned from.

    Args:
        split: The split of all events.
        config: `cold_users`, `users` and `seed`.

    Raises:
        DataError: If no user has so many events, or nothing is left to learn from.
    """
    most = max(config.cold_users)
    told = split.interactions if split.told is None else split.told
    counts = told.group_by("user_id").agg(told=pl.len().cast(pl.Int64))
    held = split.held.join(counts, on="user_id", how="left", maintain_order="left").with_columns(
        pl.col("told").fill_null(0)
    )
    before = pl.col("before" if "before" in held.columns else "told")
    held = held.with_columns(least=before.min().over("user_id"))
    able = held.filter(pl.col("least") >= most).drop("told", "least")
    users, tested = held["user_id"].n_unique(), able["user_id"].unique()
    if able.is_empty():
        longest = held.select(pl.col("least").max()).item()
        raise DataError(
            f"none of {counted(users, 'test user')} has {counted(most, 'event')} before the target, so none can be "
            f"asked with {most:,} known ones",
            hint=f"Name numbers up to {longest} with --cold-users, or another split."
            if users
            else "Check the split: it tests nobody.",
        )
    chosen = pl.Series(sample_users(tested, config.users, config.seed))
    interactions = split.interactions.filter(~pl.col("user_id").is_in(chosen.implode()))
    if interactions.is_empty():
        raise DataError(
            f"all {len(chosen):,} users are test users, whose events models do not learn from: nothing is left",
            hint=f"Test fewer: --users {max(len(chosen) // 5, 1)}, for instance.",
        )
    later = split.later
    if later is not None:
        later = later.filter(~pl.col("user_id").is_in(chosen.implode()))
    dropped = split.interactions.height - interactions.height
    least = held.unique("user_id")["least"]
    there = ", ".join(f"at least {number:,} for {(least >= number).sum():,}" for number in config.cold_users)
    few = users - len(tested)
    rules = [
        f"models learn from nothing that the {counted(len(chosen), 'test user')} did: {dropped:,} of "
        f"{counted(split.interactions.height, 'event is', 'events are')} left out, {interactions.height:,} stay",
        f"events that users have before each target: {there}; each number is asked of the same users, so "
        f"{len(tested):,} of {counted(users, 'user')} can be tested",
    ]
    return replace(
        split,
        interactions=interactions,
        held=able.filter(pl.col("user_id").is_in(chosen.implode())),
        facts={**split.facts, "cold_users": len(chosen), "users_with_too_few_events": few},
        rules=(*split.rules, *rules),
        words=f"{split.words}; test users are new, with {_numbers(config)} known events",
        told=told.filter(pl.col("user_id").is_in(chosen.implode())),
        later=later,
    )


def _numbers(config: PrepareConfig) -> str:
    return ", ".join(map(str, config.cold_users))


def with_known_events(made: Requests, config: PrepareConfig) -> Requests:
    """Ask each request once for each of `config.cold_users`: the history is cut to so many of its newest events.

    Candidates, targets and times are the same. The names of requests end in `-m` and the number.
    """
    known = pl.DataFrame({"known": config.cold_users}, schema={"known": pl.Int32()})
    name = pl.format("{}-" + _SUFFIX + "{}", "request_id", "known")
    asked = made.requests.join(known, how="cross", maintain_order="left_right")
    truth = made.truth.join(known, how="cross", maintain_order="left_right")
    order = asked.select(request_id=name, known="known")
    told = made.conditions.drop("known") if made.conditions is not None else made.requests.select("request_id")
    windows = told.join(known, how="cross").with_columns(request_id=name)
    conditions = order.join(windows.drop("known"), on="request_id", how="left", maintain_order="left")
    if "window" not in conditions.columns:
        conditions = conditions.with_columns(window=pl.lit(None, dtype=pl.Int32))
    requests = asked.with_columns(request_id=name, history=pl.col("history").list.tail("known"))
    return replace(
        made,
        requests=requests.select(made.requests.columns),
        truth=truth.with_columns(request_id=name).select(made.truth.columns),
        facts=made.facts | {name: made.facts[name] * known.height for name in _PER_REQUEST if name in made.facts},
        rules=(*made.rules, f"each is asked with the newest {_numbers(config)} events of its user as history"),
        conditions=conditions.select(list(CONDITIONS)),
    )


def cold_targets(split: Split, config: PrepareConfig) -> Split:
    """Keep the targets that have fewer than `config.cold_items` events among those that models learn from.

    Raises:
        DataError: If there is none.
    """
    most = config.cold_items or 0
    counts = split.interactions.group_by("item_id").agg(events=pl.len().cast(pl.Int64))
    held = split.held.join(counts, on="item_id", how="left", maintain_order="left")
    held = held.with_columns(pl.col("events").fill_null(0))
    cold = held.filter(pl.col("events") < most).drop("events")
    if cold.is_empty():
        least = min(held["events"].to_list(), default=None)
        raise DataError(
            f"no target has fewer than {most:,} training events"
            + ("" if least is None else f"; the least known has {least:,}"),
            hint="Give a larger number with --cold-items, or leave it out.",
        )
    users = cold["user_id"].n_unique()
    return replace(
        split,
        held=cold,
        facts={**split.facts, "cold_targets": cold.height},
        rules=(
            *split.rules,
            f"tested are the {cold.height:,} of {held.height:,} targets with fewer than {most:,} training events, of "
            f"{counted(users, 'user')}; drawn candidates have fewer, too",
        ),
        words=f"{split.words}; targets with fewer than {most:,} training events",
    )


def cold_catalogue(catalogue: pl.Series, interactions: pl.DataFrame, config: PrepareConfig) -> pl.Series:
    """Return the items from which candidates are drawn beside cold targets: those with as few training events.

    Popular ones would give cold targets away.
    """
    if config.cold_items is None or config.candidates not in ("random", "popularity"):
        return catalogue
    counts = interactions.group_by("item_id").len()
    known = counts.filter(pl.col("len") >= config.cold_items)["item_id"]
    return catalogue.filter(~catalogue.is_in(known.implode()))

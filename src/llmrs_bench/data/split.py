"""Leave-one-out: each user's last event is held out for the test, the one before it is the validation part."""

from dataclasses import dataclass

import polars as pl

from llmrs_bench.schemas import INTERACTIONS

TIE_RULE = "equal timestamps keep the order of the source's lines"
USER_RULE = "users stand in the order of their first line"
ENOUGH = 3


@dataclass(frozen=True)
class Split:
    """Events models may see, and the held-out ones, which they may not.

    Args:
        interactions: `schemas.INTERACTIONS`, by user (`USER_RULE`), then by time (`TIE_RULE`).
        held: One row per user with a held-out event: user_id, item_id, timestamp; in the same order.
        facts: Counts of users, and of those whose target depends on the tie rule.
        rules: How the split was made, in words.
    """

    interactions: pl.DataFrame
    held: pl.DataFrame
    facts: dict[str, int]
    rules: tuple[str, ...]


def leave_one_out(events: pl.DataFrame) -> Split:
    """Split every user's events in time: the last is held out, the second last is "valid", the rest "train".

    All events of a user with fewer than three are "train", and none is held out. The definition is that
    of SASRec (Kang and McAuley, ICDM 2018, section IV-A) and of what followed it.

    Args:
        events: One row per event, `source.EVENTS`, in line order, without null ids.
    """
    ordered = _by_user_and_time(events)
    size, place = pl.len().over("user_id"), pl.int_range(pl.len()).over("user_id")
    marked = ordered.with_columns(left=size - 1 - place, size=size)
    enough = pl.col("size") >= ENOUGH
    held = enough & (pl.col("left") == 0)
    tied = pl.col("timestamp") == pl.col("timestamp").shift(1).over("user_id")
    part = pl.when(enough & (pl.col("left") == 1)).then(pl.lit("valid")).otherwise(pl.lit("train"))
    facts = {
        "users": ordered["user_id"].n_unique(),
        "users_too_short": marked.filter(~enough)["user_id"].n_unique(),
        "users_with_tied_target": marked.select((tied & held).sum()).item(),
    }
    return Split(
        interactions=marked.filter(~held).with_columns(part=part).select(list(INTERACTIONS)),
        held=marked.filter(held).select("user_id", "item_id", "timestamp"),
        facts=facts,
        rules=(TIE_RULE, USER_RULE, f"users with fewer than {ENOUGH} events are trained on and never tested"),
    )


def _by_user_and_time(events: pl.DataFrame) -> pl.DataFrame:
    lines = events.with_row_index("line").with_columns(pl.col("line").min().over("user_id").alias("first_line"))
    return lines.sort("first_line", "timestamp", "line").drop("line", "first_line")

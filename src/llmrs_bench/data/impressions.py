"""Real impressions: lists that users were shown, what they clicked, and the requests made of them."""

import polars as pl

from llmrs_bench.core.config import IMPRESSIONS as CANDIDATES
from llmrs_bench.core.config import PrepareConfig
from llmrs_bench.core.errors import DataError, OptionError
from llmrs_bench.core.hashing import generator
from llmrs_bench.core.schemas import REQUESTS, TRUTH
from llmrs_bench.data.candidates import PART, Requests, sample_users
from llmrs_bench.data.sources import EVENTS, IMPRESSIONS
from llmrs_bench.data.split import WHOLE_SECONDS, Split, by_user_and_time, split_at

TENTH = 10  # the last one of the impressions is tested where a source does not say which


def labelled_lists(events: pl.DataFrame) -> pl.DataFrame:
    """Return labelled events as lists, of the schema `IMPRESSIONS`, in the order of their first lines.

    A list holds the events of one user and one impression. Its time is that of its first event.

    Args:
        events: Rows of `EVENTS` with the columns `chosen`, true where the item was clicked, and `impression_id`, which
            is null for rows that belong to the list of their user and their time. Rows without a user or an item
            belong to none.
    """
    known = events.drop_nulls(["user_id", "item_id"])
    when = pl.when(pl.col("impression_id").is_null()).then("timestamp").alias("when")
    lists = known.group_by("user_id", "impression_id", when, maintain_order=True).agg(
        pl.col("timestamp").min(),
        shown=pl.col("item_id").unique(maintain_order=True),
        clicked=pl.col("item_id").filter("chosen").unique(maintain_order=True),
    )
    return lists.select(list(IMPRESSIONS))


def shown_alone(impressions: pl.DataFrame) -> pl.DataFrame:
    """Return what was shown and not clicked as events, of the schema `EVENTS`."""
    rows = impressions.select(
        "user_id", pl.col("shown").list.set_difference("clicked").alias("item_id"), "timestamp"
    ).explode("item_id", empty_as_null=True)
    return rows.drop_nulls("item_id").with_columns(rating=pl.lit(None, dtype=pl.Float32)).select(list(EVENTS))


def rated_lists(events: pl.DataFrame, least: float) -> tuple[pl.DataFrame, float]:
    """Return what each user rated in the last tenth of the events as one list, and when that tenth begins.

    Items that were rated `least` or higher count as clicked. The list has the time of its first rating.

    Args:
        events: Frame of the schema `EVENTS`; those without a rating are in no list.
        least: The lowest rating of a relevant item.

    Raises:
        OptionError: If nothing is rated.
    """
    rated = events.drop_nulls(["user_id", "item_id", "rating"])
    if rated.is_empty():
        raise OptionError(
            f"relevant_rating is {least:g}, but the data has no ratings",
            hint="Leave --relevant-rating out for this data.",
        )
    start = _last_tenth(rated["timestamp"])
    late = rated.filter(pl.col("timestamp") >= start).sort("timestamp", maintain_order=True)
    marked = late.with_columns(chosen=pl.col("rating") >= least, impression_id=pl.lit("rated"))
    return labelled_lists(marked), start


def _last_tenth(times: pl.Series) -> float:
    return float(times.sort()[-max(len(times) // TENTH, 1)])


def impression_requests(
    impressions: pl.DataFrame, events: pl.DataFrame, config: PrepareConfig, *, tested_from: float | None = None
) -> tuple[Split, Requests]:
    """Make one request per sampled user of what the user was shown; what was clicked is relevant, all of it.

    Tests begin at `tested_from`, or where the last tenth of the impressions begins that have an item that was clicked
    and one that was not. A user's request is the last such impression from then on, of those at one time the last
    in the source. Its candidates are the items shown, each once, in random order; its history is what the user chose
    before it, and cannot be empty. No model learns from an event from the beginning of the tests on, whoever it is of.
    With `config.held_out` `validation` all that is from then on is put away, and the last tenth of the rest is asked
    for.

    Args:
        impressions: Frame of the schema `IMPRESSIONS`.
        events: What was chosen, of the schema `EVENTS`, clicks included, as the filters left it.
        config: How many users, and the seed.
        tested_from: UTC seconds.

    Raises:
        DataError: If there are no impressions, none leaves a choice, or nothing is before them.
    """
    lists, facts = _usable(impressions)
    start = _last_tenth(lists["timestamp"]) if tested_from is None else tested_from
    if config.held_out == "validation":
        left, tested_from = events.filter(pl.col("timestamp") < start), None
        lists, facts = _usable(impressions.filter(pl.col("timestamp") < start))
        start, events = _last_tenth(lists["timestamp"]), left
    split = split_at(events, start)
    tested = lists.filter(pl.col("timestamp") >= start).sort("timestamp", maintain_order=True)
    last = tested.unique("user_id", keep="last", maintain_order=True)
    past = by_user_and_time(events).join(last.select("user_id", at="timestamp"), on="user_id", maintain_order="left")
    histories = past.filter(pl.col("timestamp") < pl.col("at")).group_by("user_id", maintain_order=True)
    able = histories.agg(history="item_id").join(last, on="user_id", maintain_order="left")
    facts |= {"impressions_tested": tested.height, "users_without_history_dropped": last.height - able.height}
    if able.is_empty():
        raise DataError(
            f"no user with an impression to test has a history before it: {last.height:,} have none",
            hint="Give the earlier part of the data, too.",
        )
    chosen = able.filter(pl.col("user_id").is_in(sample_users(able["user_id"], config.users, config.seed)))
    shown = [_shuffled(user, items, config.seed) for user, items in chosen.select("user_id", "shown").iter_rows()]
    name = pl.concat_str(pl.lit(f"{PART}-"), "user_id").alias("request_id")
    requests = chosen.select(
        name,
        "user_id",
        pl.lit(PART).alias("part"),
        WHOLE_SECONDS.alias("cutoff"),
        "history",
        pl.Series("candidates", shown, dtype=pl.List(pl.String)),
    )
    truth = chosen.select(name, item_id="clicked", label=pl.lit(1.0, dtype=pl.Float32)).explode("item_id")
    facts |= {
        "users_available": able.height,
        "requests": requests.height,
        "candidates": sum(map(len, shown)),
        "targets": truth.height,
        "candidates_in_history": requests.select(
            pl.col("candidates").list.set_intersection("history").list.len().sum()
        ).item(),
    }
    begin = "the source says" if tested_from is not None else "the last tenth of those that leave a choice begins"
    away = ("the tested impressions are put away",) if config.held_out == "validation" else ()
    rules = (
        *away,
        "requests are real impressions: of each user the last one with an item that was clicked and one that was not, "
        f"from where {begin}; candidates are the items shown, targets those clicked"
        if config.relevant_rating is None
        else "requests are what a user rated from the last tenth of the ratings on; targets are the items rated "
        f"{config.relevant_rating:g} or higher",
        "filters of events leave lists as they are; the history is what the user chose before the list",
    )
    lost = facts["users_without_history_dropped"]
    words = f"{lost:,} of {last.height:,} users with a list to test chose nothing before it: they are not tested"
    warnings = (words,) if lost else ()
    return split, Requests(requests.select(list(REQUESTS)), truth.select(list(TRUTH)), facts, rules, warnings)


def _usable(impressions: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    """Return the impressions that leave a choice, and counts of the others.

    Raises:
        DataError: If there are none.
    """
    if impressions.is_empty():
        raise DataError(
            f"--candidates {CANDIDATES} needs lists of what users were shown, but the source has none",
            hint="Logs have them in the format mind, or in events with a column of labels (0: shown, not clicked) and "
            "of times, or of impressions: --columns label=NAME,impression=NAME. Or leave --candidates out.",
        )
    lists = impressions.drop_nulls(["user_id", "timestamp"]).with_columns(
        pl.col("shown", "clicked").list.unique(maintain_order=True)
    )
    shown, clicked = pl.col("shown").list.len(), pl.col("clicked").list.len()
    none, every = clicked == 0, (clicked > 0) & (clicked == shown)
    facts = {
        "impressions": impressions.height,
        "impressions_nothing_chosen": lists.filter(none).height,
        "impressions_all_chosen": lists.filter(every).height,
        "shown_twice_dropped": impressions.select((shown - pl.col("shown").list.n_unique()).sum()).item(),
    }
    usable = lists.filter(~none & ~every)
    if usable.is_empty():
        raise DataError(
            f"none of {impressions.height:,} impressions leaves a choice: nothing was chosen in "
            f"{facts['impressions_nothing_chosen']:,}, everything in {facts['impressions_all_chosen']:,}",
            hint="If each has one item, times do not say what was shown together: --columns impression=NAME names a "
            "column that does.",
        )
    return usable, facts


def _shuffled(user: str, items: list[str], seed: int) -> list[str]:
    return [items[at] for at in generator(seed, "candidates", user).permutation(len(items)).tolist()]

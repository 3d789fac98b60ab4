"""Labelled events, clicked or rated: samples to learn from and requests to be asked, one user and one item each."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrs_bench.core.config import RATING, PrepareConfig
from llmrs_bench.core.errors import DataError
from llmrs_bench.core.hashing import uniform_hash
from llmrs_bench.core.schemas import INTERACTIONS, OUTCOMES, RATINGS, REQUESTS, SAMPLES, TRUTH
from llmrs_bench.data.candidates import sample_users
from llmrs_bench.data.sources import Raw
from llmrs_bench.data.split import TIE_RULE, USER_RULE, WHOLE_SECONDS, by_user_and_time

PARTS = ("train", "valid", "test")
LATEST = 10_000  # rows of the protocols `tallrec` and `paper-ctr`
TOLD = 10  # items of history in a row of these
LIKED = 4.0  # the lowest rating that means liked, of the protocols
LONGEST = 50  # items of history in a row where no protocol says how many
BLOCK = 50_000  # rows with their histories
FEW_USERS = 100
MOST_VALUES = 21  # of a scale whose values are counted one by one, such as 0, 0.5, ... 10
RANDOM = "no history of a row has an event of a later part, so that no sample reveals the label of a test row"
# Months since that of the first event, for each part, of the protocol `collm`.
MONTHS = {"train": (14, 23), "valid": (24, 28), "test": (29, 33)}


@dataclass(frozen=True)
class Rows:
    """The rows of one part; their histories, which are many times larger, are written for some rows at a time.

    Args:
        frame: Columns of `schemas.SAMPLES` but for `history` and `liked`, by user, then by time.
        items: The items of all events that may be shown, in the same order.
        liked: Whether each of these events was liked.
        start: Of each row the place in `items` at which its history begins.
        end: Likewise the place after its end, which is that of the row itself.
    """

    frame: pl.DataFrame
    items: pl.Series
    liked: pl.Series
    start: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]

    def take(self, chosen: npt.NDArray[np.int64]) -> pl.DataFrame:
        """Return the rows with these numbers, of `schemas.SAMPLES`."""
        start, end = self.start[chosen], self.end[chosen]
        return (
            self.frame[chosen]
            .with_columns(history=_lists(self.items, start, end), liked=_lists(self.liked, start, end))
            .select(list(SAMPLES))
        )

    def blocks(self) -> Iterator[pl.DataFrame]:
        """Yield all rows, `BLOCK` at a time."""
        for first in range(0, self.frame.height, BLOCK):
            yield self.take(np.arange(first, min(first + BLOCK, self.frame.height)))


@dataclass(frozen=True)
class LabelledTables:
    """The tables of labelled requests, numbers of each part, the rules in words, and warnings.

    Args:
        interactions: `schemas.INTERACTIONS`: the events of the samples.
        learned: The rows of the parts train and valid; their blocks are the table `samples`.
        requests: `schemas.REQUESTS`: of the parts valid and test, each with one candidate.
        outcomes: `schemas.OUTCOMES`, of the requests.
        ratings: `schemas.RATINGS`, of all events that a history may show.
        truth: `schemas.TRUTH`: the label of each request.
        parts: Part to the numbers of `rows`, `users`, `items` and, of clicks, `liked` rows; of ratings their `mean` and
            `sd`.
        scale: Of ratings `count`, how many different ones the part train has, the `least` and the `greatest`; and all
            `values`, where they are `MOST_VALUES` at most.
        facts: Other counts.
        rules: How it was done, in words.
        words: Which rows there are, and how they are cut.
        history_words: What a history has.
        warnings: What to look at.
    """

    interactions: pl.DataFrame
    learned: tuple[Rows, ...]
    requests: pl.DataFrame
    outcomes: pl.DataFrame
    ratings: pl.DataFrame
    truth: pl.DataFrame
    parts: Mapping[str, Mapping[str, float]]
    scale: Mapping[str, Any]
    facts: Mapping[str, int]
    rules: tuple[str, ...]
    words: str
    history_words: str
    warnings: tuple[str, ...]


def labelled_events(raw: Raw, config: PrepareConfig) -> tuple[pl.DataFrame, tuple[str, ...], dict[str, int]]:
    """Return events with the columns `label` and `row`, in the order of lines; rules in words, and counts.

    `row` says whether an event may be asked about; others are shown in histories alone.

    Of the task `rating` they are the ratings. Of the task `click` they are 1 or 0, those of the source: of a column of
    labels, or of what users were shown and clicked. With `config.like_from` ratings of that height are 1, with a
    protocol and without labels those of 4 or higher. An event without a rating, where ratings are labels or make them,
    is dropped.

    Raises:
        DataError: If the source has neither labels nor, where they are asked for, ratings.
    """
    if config.task == RATING:
        rated = _rated(raw, "--task rating asks for ratings")
        rows = rated.with_columns(label=pl.col("rating"), row=pl.lit(True))
        rule = "the label of an event is the user's rating"
        return rows, (rule,), {"unrated_dropped": raw.events.height - rated.height}
    like_from = config.like_from
    if like_from is None and config.protocol is not None and not len(raw.labels) and raw.impressions.is_empty():
        like_from = LIKED
    if like_from is not None:
        rated = _rated(
            raw,
            f"ratings of {like_from:g} and higher would mean liked",
            " Or name a column of labels, 0 and 1, and leave out --like-from: --columns label=NAME.",
        )
        dropped = raw.events.height - rated.height
        rules = (f"an event rated {like_from:g} or higher is liked, one rated lower is not",)
        rows = rated.with_columns(label=(pl.col("rating") >= like_from).cast(pl.Float32), row=pl.lit(True))
        return rows, rules, {"unrated_dropped": dropped}
    if len(raw.labels):
        numbers = raw.labels.cast(pl.UInt32).cum_sum() - 1
        others = raw.events.height + (~raw.labels).cast(pl.UInt32).cum_sum() - 1
        at = pl.select(pl.when(raw.labels).then(numbers).otherwise(others)).to_series()
        both = pl.concat([raw.events, raw.unchosen])[at.to_numpy()]
        rows = both.with_columns(raw.labels.cast(pl.Float32).alias("label"), row=pl.lit(True))
        return rows, ("an event is liked where its label is 1",), {}
    if raw.impressions.height:
        shown = raw.impressions.explode("shown", empty_as_null=True).drop_nulls("shown")
        events = shown.select(
            "user_id",
            pl.col("shown").alias("item_id"),
            "timestamp",
            rating=pl.lit(None, dtype=pl.Float32),
            label=pl.col("clicked").list.contains(pl.col("shown")).cast(pl.Float32),
            row=pl.lit(True),
        )
        alone = raw.events.filter(~_among(raw.events, events)).with_columns(
            label=pl.lit(1, dtype=pl.Float32), row=pl.lit(False)
        )
        rule = "an event is an item that was shown; it is liked where it was clicked"
        more = (f"{alone.height:,} clicks of no impression are shown in histories alone",) if alone.height else ()
        return pl.concat([alone, events]), (rule, *more), {"events_without_impression": alone.height}
    raise DataError(
        "the data has no labels, so it is unknown which events a user liked",
        hint="Where it has ratings, --like-from 4 takes those of 4 and higher as liked; --columns label=NAME names a "
        "column of labels, 0 and 1.",
    )


def _rated(raw: Raw, why: str, otherwise: str = "") -> pl.DataFrame:
    """Return the events with a rating; `why` they are needed, and what else would do, are words of the error."""
    rated = raw.events.filter(pl.col("rating").is_not_null())
    if rated.is_empty():
        raise DataError(
            f"{why}, but the data has no ratings", hint=f"Name their column: --columns rating=NAME.{otherwise}"
        )
    return rated


def _among(events: pl.DataFrame, others: pl.DataFrame) -> pl.Series:
    """Return which events are of a user, an item and a time that others are of."""
    keys = ["user_id", "item_id", "timestamp"]
    marked = others.select(keys).unique().with_columns(there=pl.lit(True))
    return events.join(marked, on=keys, how="left", maintain_order="left")["there"].fill_null(False)


def labelled_tables(events: pl.DataFrame, config: PrepareConfig, *, timeless: bool = False) -> LabelledTables:
    """Make samples and requests of labelled events.

    Without a protocol all rows are cut 8:1:1, in time or at random (`config.split`), and a row has a history of at most
    50 items, or `config.history`. The protocols, by the papers' code:

    * `collm`: by months in UTC since that of the first event, 14 to 23, 24 to 28 and 29 to 33; other months are not
      used, and a history has all earlier events of these (CoLLM, arXiv 2310.19488).
    * `tallrec`: users in the order of their first lines, of each the rows from the 11th event on; of this list the last
      10,000, cut 8:1:1 in its order, or first sorted by time (`config.order`); a history of 10 (TALLRec, RecSys 2023).
    * `paper-ctr`: the latest 10,000 events, cut 8:1:1 in time or at random; a history of 10 (arXiv 2401.04997).

    A history holds what the user had events with before, ties in the order of lines, but no event of a later part:
    at random, no sample reveals the label of a test row. Of ratings it calls liked what is rated above the mean of the
    part train.

    Args:
        events: What `labelled_events` returned, filtered; no null ids.
        config: The options.
        timeless: Whether the source says of no event when it was.

    Raises:
        DataError: If a protocol or a split needs times and there are none, a part is empty, or has labels of one class
            (of ratings, the part train).
    """
    _require_times(events, config, timeless)
    ordered = by_user_and_time(events.with_row_index("at")).with_columns(
        number=pl.int_range(1, pl.len() + 1).over("user_id")
    )
    marked, rules, limit = _marked(ordered, config)
    rating = config.task == RATING
    taught = marked.filter(pl.col("part") == "train")["label"]
    mean = 0.0 if taught.is_empty() else taught.to_numpy().mean(dtype=np.float64)  # an empty part is refused below
    marked = marked.with_columns(liked=pl.col("label") > (float(mean) if rating else 0.5))
    train, valid, test = (_rows(marked, level, limit) for level in range(len(PARTS)))
    counts = {part: _counts(rows.frame, rating) for part, rows in zip(PARTS, (train, valid, test), strict=True)}
    _require_classes(counts, config)
    kept = _asked(valid, test, config)
    learned = marked.filter(pl.col("part").is_in(PARTS[:2])).with_columns(WHOLE_SECONDS)
    trained = train.frame["user_id"].unique()
    test_users = kept.filter(pl.col("part") == "test")["user_id"].unique()
    facts = {
        "test_users": len(test_users),
        "test_users_trained": int(test_users.is_in(trained.implode()).sum()),
        "valid_requests": kept.filter(pl.col("part") == "valid").height,
        "test_requests": kept.filter(pl.col("part") == "test").height,
        "candidates_in_history": kept.filter(pl.col("history").list.contains(pl.col("item_id"))).height,
    }
    return LabelledTables(
        interactions=learned.select(list(INTERACTIONS)),
        learned=(train, valid),
        requests=kept.with_columns(candidates=pl.concat_list("item_id")).select(list(REQUESTS)),
        outcomes=kept.select(list(OUTCOMES)),
        ratings=marked.select(list(RATINGS)).unique(["user_id", "item_id"], keep="first", maintain_order=True),
        truth=kept.select(list(TRUTH)),
        parts=counts,
        scale=_scale(taught) if rating else {},
        facts=facts,
        rules=(*rules, *([RANDOM] if config.split == "random" else []), TIE_RULE, USER_RULE, *_part_words(counts)),
        words=rules[0],
        history_words=rules[-1],
        warnings=tuple(_warnings(facts)),
    )


def _require_times(events: pl.DataFrame, config: PrepareConfig, timeless: bool) -> None:
    if not timeless and events["timestamp"].min() != events["timestamp"].max():
        return
    none = f"all {events.height:,} events are of one time, or have none"
    if config.protocol is not None:
        raise DataError(
            f"--protocol {config.protocol} goes by time, and {none}",
            hint="Name the column: --columns time=NAME. Without a protocol, --split random needs no times.",
        )
    if config.split == "time":
        raise DataError(
            f"{none}: it is unknown which come last",
            hint="Name the column: --columns time=NAME. Or add --split random.",
        )


def _marked(ordered: pl.DataFrame, config: PrepareConfig) -> tuple[pl.DataFrame, tuple[str, ...], int | None]:
    """Return the events that may be shown, with the `part` of those that are rows; rules, and the longest history."""
    if config.protocol == "collm":
        return _by_months(ordered)
    asked = ordered.filter("row")
    way = "in time" if config.split == "time" else f"at random (seed {config.seed})"
    if config.protocol is None:
        events = "rated" if config.task == RATING else "labelled"
        rule = f"all {asked.height:,} {events} events, cut 8:1:1 {way}"
        longest = max(LONGEST, config.history)
        told = f"a history has the last {longest} events before"
        return _cut(ordered, asked, config), (rule, told), longest
    told = f"a history has the last {TOLD} events before, of the whole data"
    if config.protocol == "paper-ctr":
        rows = asked.sort("timestamp", "at").tail(LATEST)
        rule = f"the latest {rows.height:,} of {asked.height:,} events, cut 8:1:1 {way}"
        return _cut(ordered, rows, config), (rule, told), TOLD
    rows = asked.filter(pl.col("number") > TOLD)
    listed = rows.height
    if config.order == "time":
        rows = rows.sort("timestamp", maintain_order=True)
    rows = rows.tail(LATEST)
    order = "by time" if config.order == "time" else "user by user, not in time"
    rule = (
        f"the last {rows.height:,} of {listed:,} events from a user's {TOLD + 1}th on, {order}, cut 8:1:1 in this order"
    )
    return _cut(ordered, rows, config, sort=False), (rule, told), TOLD


def _by_months(ordered: pl.DataFrame) -> tuple[pl.DataFrame, tuple[str, ...], None]:
    moment = pl.from_epoch(WHOLE_SECONDS, time_unit="s")
    months = ordered.select((moment.dt.year().cast(pl.Int32) * 12 + moment.dt.month()).alias("month")).to_series()
    month = months - months.min()
    part = pl.lit(None, dtype=pl.String)
    for name, (first, last) in MONTHS.items():
        part = pl.when(pl.col("month").is_between(first, last)).then(pl.lit(name)).otherwise(part)
    marked = ordered.with_columns(month.alias("month")).with_columns(part=part).drop_nulls("part").drop("month")
    marked = marked.with_columns(part=pl.when("row").then("part"))
    spans = ", ".join(f"{name} {first} to {last}" for name, (first, last) in MONTHS.items())
    rule = f"by months in UTC since that of the first event: {spans}; in time"
    used = f"{marked.height:,} of {ordered.height:,} events are of these months; the others are not used"
    return marked, (rule, used, "a history has all events of these months before"), None


def _cut(ordered: pl.DataFrame, rows: pl.DataFrame, config: PrepareConfig, *, sort: bool = True) -> pl.DataFrame:
    """Return all events with the column `part`: that of a row, null of another event."""
    if sort and config.split == "time":
        rows = rows.sort("timestamp", "at")
    elif sort:
        draws = pl.Series("draw", uniform_hash(config.seed, rows["user_id"], rows["item_id"]))
        rows = rows.with_columns(draws).sort("draw", "at")
    train, valid = 8 * rows.height // 10, rows.height // 10
    at = pl.int_range(pl.len())
    part = pl.when(at < train).then(pl.lit("train")).when(at < train + valid).then(pl.lit("valid"))
    parts = rows.select("at", part=part.otherwise(pl.lit("test")))
    return ordered.join(parts, on="at", how="left", maintain_order="left")


def _rows(marked: pl.DataFrame, level: int, limit: int | None) -> Rows:
    """Return the rows of a part; what the user had events with before is of this part, an earlier one, or none."""
    later = list(PARTS[level + 1 :])
    told = marked.filter(~pl.col("part").is_in(later).fill_null(False))
    users = told["user_id"]
    begins = np.flatnonzero((users != users.shift()).fill_null(True).to_numpy())
    first = np.repeat(begins, np.diff(np.append(begins, told.height)))
    end = np.flatnonzero((told["part"] == PARTS[level]).fill_null(False).to_numpy())
    start = first[end] if limit is None else np.maximum(first[end], end - limit)
    frame = told[end].select(
        pl.concat_str("part", pl.lit("-"), "user_id", pl.lit("-"), "number").alias("request_id"),
        "user_id",
        "item_id",
        "part",
        WHOLE_SECONDS.alias("cutoff"),
        "label",
    )
    return Rows(frame, told["item_id"], told["liked"], start, end)


def _lists(values: pl.Series, start: npt.NDArray[np.int64], end: npt.NDArray[np.int64]) -> pl.Series:
    """Return the values from each start up to its end, as lists."""
    sizes = end - start
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(sizes)])
    at = np.arange(offsets[-1]) + np.repeat(start - offsets[:-1], sizes)
    flat = values.gather(at).to_arrow(compat_level=pl.CompatLevel.oldest())
    from pyarrow import LargeListArray, array  # most commands do without

    found = pl.Series(LargeListArray.from_arrays(array(offsets), flat))
    return found.cast(pl.List(values.dtype))


def _asked(valid: Rows, test: Rows, config: PrepareConfig) -> pl.DataFrame:
    """Return the rows that are asked: a seeded choice of those of validation, and all of the chosen test users."""
    draws = uniform_hash(config.seed, valid.frame["request_id"])
    chosen = np.sort(np.argsort(draws, kind="stable")[: config.valid_requests])
    names = test.frame["user_id"]
    users = names.is_in(sample_users(names.unique(), config.users, config.seed))
    return pl.concat([valid.take(chosen), test.take(np.flatnonzero(users.to_numpy()))])


def _counts(rows: pl.DataFrame, rating: bool) -> dict[str, float]:
    counts: dict[str, float] = {
        "rows": rows.height,
        "users": rows["user_id"].n_unique(),
        "items": rows["item_id"].n_unique(),
    }
    labels = rows["label"].to_numpy().astype(np.float64)
    if not rating:
        return {**counts, "liked": int(labels.sum())}
    return {**counts, "mean": float(labels.mean()), "sd": float(labels.std())} if len(labels) else counts


def _scale(ratings: pl.Series) -> dict[str, Any]:
    """Return what `LabelledTables.scale` holds."""
    values = [float(f"{value:.6g}") for value in ratings.unique().sort()]
    few = {"values": values} if len(values) <= MOST_VALUES else {}
    return {"count": len(values), "least": values[0], "greatest": values[-1], **few}


def _require_classes(counts: Mapping[str, Mapping[str, float]], config: PrepareConfig) -> None:
    for part, found in counts.items():
        if not found["rows"]:
            raise DataError(
                f"the part {part} has no rows"
                + (
                    f": the data do not cover the months that --protocol {config.protocol} asks for"
                    if config.protocol
                    else ""
                ),
                hint="Leave out --protocol, or give more data." if config.protocol else "Give more data.",
            )
        if config.task == RATING:
            if part == "train" and not found["sd"]:
                raise DataError(
                    f"all {found['rows']:,} rows of the part train are rated {found['mean']:g}: nothing to learn",
                    hint="Check the column of ratings: --columns rating=NAME.",
                )
        elif part != "valid" and found["liked"] in (0, found["rows"]):
            say = "liked" if found["liked"] else "not liked"
            raise DataError(
                f"all {found['rows']:,} rows of the part {part} are {say}: there is nothing to distinguish",
                hint="Labels come from a column of 0 and 1 (--columns label=NAME), or from ratings (--like-from 4).",
            )


def _part_words(counts: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    for part, found in counts.items():
        yield (
            f"{part}: {found['rows']:,} rows of {found['users']:,} users and {found['items']:,} items, "
            + (
                f"{100 * found['liked'] / max(found['rows'], 1):.2f} % liked"
                if "liked" in found
                else f"ratings {found['mean']:.3f} on average, with a standard deviation of {found['sd']:.3f}"
            )
        )


def _warnings(facts: Mapping[str, int]) -> Iterator[str]:
    users = facts["test_users"]
    if users < FEW_USERS:
        yield (
            f"the test has {users:,} users: rows of one user are alike, so intervals are by user, and wide below "
            f"{FEW_USERS}"
        )
    if again := facts["candidates_in_history"]:
        yield (
            f"in {again:,} requests the user had an event with the item before, which a prompt may show: "
            "--repeats first keeps the first one"
        )
    if not facts["test_users_trained"]:
        yield f"none of {users:,} test users has a row in the part train: what learns ids of users knows none of them"

"""Groups of requests, by what is known of their users, their targets and their times: `compare --by`."""

from collections.abc import Callable

import polars as pl

from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.registry import unknown_name
from llmrs_bench.llm.model_aliases import MODEL_ALIASES, release_of
from llmrs_bench.stages.probed import recalled_items
from llmrs_bench.stages.workspace import Data

UNKNOWN = "unknown"
_RELEASED, _WARM, _RECALLED = "released", "warm", "recalled"
_COLD = (1, 5, 10)
_LENGTHS = (1, 5, 10, 20, 50, 100, 200)


def group_requests(data: Data, by: str) -> pl.DataFrame:
    """Put every request into a group; those of which nothing is known into `unknown`, which comes last.

    The target is the first relevant item of a request in the table of truth; of a labelled one its one item. Events are
    those of the interactions that models may see: no held-out event is among them.

    - `history`: how many events the user's history has, in bands.
    - `activity`: how many events the user has, in quarters of the requests; users with as many events stay together.
    - `popularity`: of the target, by its share of events (Abdollahpouri et al., FLAIRS 2019). `head`: the more popular
      items hold less than 20 % of all events; `tail`: the items that are at most as popular hold at most 20 %, as do
      items without any; `mid`: all others.
    - `cold-user`, `cold-item`: how few events the user, or the target, has: 0, 1-4, 5-9, 10 and more.
    - `warm:N`: whether both the user and the target have at least N events of the training part (`warm`), or not
      (`cold`); CoLLM's groups, whose paper has N = 3 (Zhang et al., TKDE 2025).
    - `category`: of the target; a request stands once in each of its categories, so that groups overlap.
    - `window`: the window of time that `prepare --windows` put the request into; without it when the request is made,
      in quarters of the requests; those of one time stay together.
    - `known`: how many events of a new user the request shows, as `prepare --cold-users` has it.
    - `slot`: place of the target in the candidate list, from 0 as `--target-positions` counts;
      `unknown` where the list lacks it. Several orders of one request (`--candidate-orders`) count as one.
    - `recalled`, `recalled:MODEL`: whether the probed model held the title of the target to be the likeliest behind its
      id; `unknown` where the probe did not ask for it.
    - `year`: decade in which the target was released.
    - `released:YYYY`: whether the target was released before that year, or in it and later: against the end of a
      model's training data.
    - `released:MODEL`: the same of the year after the end of the data of a model of the catalogue, or after its
      release where its maker does not say when they end.

    Args:
        data: The prepared data set.
        by: One of `GROUPS`.

    Returns:
        Rows (request_id, group, order): `order` is the place of the group among all, from 0. In the order of the table
        of requests; every request is there once, but for `category`. Groups without requests are not there.

    Raises:
        ArtifactError: If no model was probed, for `recalled`.
        OptionError: If there is no such grouping, or the data have no lists for `slot`, or no requests for `known`.
    """
    name, colon, year = by.partition(":")
    if colon and name == _RELEASED and len(year) == 4 and year.isdecimal():
        return _numbered(_released(data, int(year)))
    if name == _RELEASED and year in MODEL_ALIASES:
        return _numbered(_released(data, _after(year)))
    if colon and name == _WARM and year.isdecimal() and len(year) < 10:
        return _numbered(_warm(data, int(year)))
    if name == _RECALLED:
        return _numbered(_recalled(data, year))
    if name not in _GROUPINGS or colon:
        hint = "YYYY is a year, as in released:2023, MODEL one of the catalogue, N a number of events, as in warm:3."
        raise unknown_name("group", by, list(GROUPS), hint=hint)
    return _numbered(_GROUPINGS[name](data))


def _numbered(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows (request_id, group, key) with the place of each group in the order of the keys."""
    keys = rows.group_by("group").agg(pl.col("key").min()).sort("key", "group", nulls_last=True)
    places = keys.select("group").with_row_index("order")
    placed = rows.join(places, on="group", how="left", maintain_order="left")
    return placed.select("request_id", "group", pl.col("order").cast(pl.Int32))


def _named(rows: pl.DataFrame, group: pl.Expr, key: pl.Expr) -> pl.DataFrame:
    """Return rows (request_id, group, key); what has no group is unknown, and has no key."""
    named = rows.select("request_id", group=group, key=pl.when(group.is_not_null()).then(key.cast(pl.Float64)))
    return named.with_columns(pl.col("group").fill_null(UNKNOWN))


def _requests(data: Data) -> pl.DataFrame:
    """Return the requests that are measured: of labelled ones those of validation are not."""
    return data.artifact.table("requests").filter(pl.col("part") != "valid")


def _targets(data: Data) -> pl.DataFrame:
    """Return requests with the column `target`."""
    truth = data.artifact.table("truth").filter((pl.col("label") > 0) | data.labelled)
    first = truth.unique("request_id", keep="first", maintain_order=True).select("request_id", target="item_id")
    return _requests(data).join(first, on="request_id", how="left", maintain_order="left")


def _items(data: Data) -> pl.DataFrame:
    """Return requests with what is known of their targets."""
    items = data.artifact.table("items").select("item_id", "year", "categories")
    return _targets(data).join(items, left_on="target", right_on="item_id", how="left", maintain_order="left")


def _events(data: Data, rows: pl.DataFrame, column: str, name: str) -> pl.DataFrame:
    """Return rows with the column `events`: how often the column `name` of interactions holds what `column` says."""
    counts = data.artifact.table("interactions").group_by(name).agg(events=pl.len().cast(pl.Int64))
    counted = rows.join(counts, left_on=column, right_on=name, how="left", maintain_order="left")
    return counted.with_columns(pl.when(pl.col(column).is_not_null()).then(pl.col("events").fill_null(0)))


def _banded(rows: pl.DataFrame, column: str, starts: tuple[int, ...]) -> pl.DataFrame:
    """Group whole numbers into bands that begin at 0 and at `starts`."""
    ends = [*(start - 1 for start in starts), None]
    words = [
        f"{first}+" if last is None else str(first) if last == first else f"{first}-{last}"
        for first, last in zip((0, *starts), ends, strict=True)
    ]
    value = pl.col(column)
    band = pl.sum_horizontal([(value >= start).cast(pl.Int32) for start in starts])
    group = pl.when(value.is_not_null()).then(band.replace_strict(dict(enumerate(words)), return_dtype=pl.String))
    return _named(rows, group + " events", band)


def _history(data: Data) -> pl.DataFrame:
    requests = _requests(data).with_columns(events=pl.col("history").list.len().cast(pl.Int64))
    return _banded(requests, "events", _LENGTHS)


def _quarters(rows: pl.DataFrame, column: str, written: pl.Expr, unit: str = "") -> pl.DataFrame:
    """Group into quarters of the rows by a number; equal ones share the quarter of the first of them.

    `written` is the number as text; a group is called by its smallest and its largest one.
    """
    value = pl.col(column)
    marked = rows.with_columns(text=written, quarter=4 * (value.rank("min") - 1) // value.count())
    first, last = (pl.col("text").sort_by(column).get(end).over("quarter") for end in (0, -1))
    group = pl.when(first == last).then(first).otherwise(first + " to " + last) + unit
    return _named(marked, pl.when(value.is_not_null()).then(group), pl.col("quarter"))


def _activity(data: Data) -> pl.DataFrame:
    rows = _events(data, _requests(data), "user_id", "user_id")
    return _quarters(rows, "events", pl.col("events").cast(pl.String), " events")


def _conditions(data: Data, column: str) -> pl.DataFrame | None:
    """Return requests with a column of the table `conditions`; None where no request has a value of it."""
    if "conditions" not in data.artifact.manifest.tables:
        return None
    found = data.artifact.table("conditions").select("request_id", column)
    return None if found[column].null_count() == found.height else found


def _known(data: Data) -> pl.DataFrame:
    rows = _conditions(data, "known")
    if rows is None:
        raise OptionError(
            f"{data.place.reference} always shows all known events of a user, so requests cannot be grouped by "
            "their number",
            hint="Prepare it with --cold-users 0,1,2,5,10, or choose another group; `history` has bands of lengths.",
        )
    words = pl.when(pl.col("known") == 1).then(pl.lit("1 event")).otherwise(pl.format("{} events", "known"))
    return _named(rows, words, pl.col("known"))


def _window(data: Data) -> pl.DataFrame:
    requests, time = _requests(data), pl.from_epoch("cutoff", "s").dt
    if (windows := _conditions(data, "window")) is not None:
        dated = windows.join(requests, on="request_id", maintain_order="left").with_columns(
            time.strftime("%Y-%m-%d").alias("day")
        )
        first, last = (pl.col("day").sort_by("cutoff").get(end).over("window") for end in (0, -1))
        span = pl.when(first == last).then(first).otherwise(first + " to " + last)
        return _named(dated, pl.format("{}: {}", "window", span), pl.col("window"))
    days = _quarters(requests, "cutoff", time.strftime("%Y-%m-%d"))
    if days["group"].n_unique() == days["key"].n_unique():
        return days
    return _quarters(requests, "cutoff", time.strftime("%Y-%m-%d %H:%M:%S"))


def _popularity(data: Data) -> pl.DataFrame:
    rows = _events(data, _targets(data), "target", "item_id")
    counts = data.artifact.table("interactions").group_by("item_id").agg(events=pl.len().cast(pl.Int64))
    levels = counts.group_by("events").agg(held=pl.col("events").sum()).sort("events")
    upto, total = pl.col("held").cum_sum(), pl.col("held").sum()
    places = levels.select(
        "events", place=pl.when(5 * (total - upto) < total).then(0).when(5 * upto > total).then(1).otherwise(2)
    )
    rows = rows.join(places, on="events", how="left", maintain_order="left")
    place = pl.when(pl.col("events").is_not_null()).then(pl.col("place").fill_null(2))
    return _named(rows, place.replace_strict({0: "head", 1: "mid", 2: "tail"}, return_dtype=pl.String), place)


def _category(data: Data) -> pl.DataFrame:
    held = pl.col("categories").list.drop_nulls().list.unique(maintain_order=True)
    rows = _items(data).with_columns(held).explode("categories", empty_as_null=True)
    return _named(rows, pl.col("categories"), pl.lit(0))


def _slot(data: Data) -> pl.DataFrame:
    if data.whole_catalogue or data.labelled:
        raise OptionError(
            f"{data.place.reference} has no candidate lists, so its targets have no slots", hint="Choose another group."
        )
    rows = _targets(data).explode("candidates", empty_as_null=True)
    rows = rows.with_columns(slot=pl.int_range(pl.len()).over("request_id"))
    found = rows.filter(pl.col("candidates") == pl.col("target")).select("request_id", "slot")
    rows = _requests(data).join(found, on="request_id", how="left", maintain_order="left")
    return _named(rows, pl.col("slot").cast(pl.String), pl.col("slot"))


def _year(data: Data) -> pl.DataFrame:
    decade = pl.col("year") // 10 * 10
    return _named(_items(data), decade.cast(pl.String) + "s", decade)


def _after(model: str) -> int:
    """Return the first year of which a model of the catalogue has nothing, whatever the month in which its data end."""
    known = release_of(MODEL_ALIASES[model].source)
    if not known:
        raise OptionError(
            f"--by released:{model}: its release date is not known", hint="Give the year, as in released:2023."
        )
    return int(known.get("cutoff", known.get("released", ""))[:4]) + 1


def _released(data: Data, year: int) -> pl.DataFrame:
    late = pl.col("year") >= year
    group = pl.when(late).then(pl.lit(f"from {year}")).when(~late).then(pl.lit(f"before {year}"))
    return _named(_items(data), group, late)


def _recalled(data: Data, model: str) -> pl.DataFrame:
    asked = recalled_items(data, model).rename({"item_id": "target"})
    rows = _targets(data).join(asked, on="target", how="left", maintain_order="left")
    words = pl.when("recalled").then(pl.lit("title recalled")).when(~pl.col("recalled")).then(pl.lit("not recalled"))
    return _named(rows, words, ~pl.col("recalled"))


def _warm(data: Data, least: int) -> pl.DataFrame:
    trained = data.artifact.table("interactions").filter(pl.col("part") == "train")
    rows, warm = _targets(data), pl.lit(True)
    for column, name in (("user_id", "user_id"), ("target", "item_id")):
        counts = trained.group_by(name).agg(pl.len().cast(pl.Int64).alias(f"{column}_events"))
        rows = rows.join(counts, left_on=column, right_on=name, how="left", maintain_order="left")
        warm = warm & (pl.col(f"{column}_events").fill_null(0) >= least)
    words = f"warm: user and item have {least} or more training events", f"cold: one of them has fewer than {least}"
    known = pl.col("target").is_not_null()
    group = pl.when(known & warm).then(pl.lit(words[0])).when(known).then(pl.lit(words[1]))
    return _named(rows, group, ~warm)


_GROUPINGS: dict[str, Callable[[Data], pl.DataFrame]] = {
    "history": _history,
    "activity": _activity,
    "popularity": _popularity,
    "cold-user": lambda data: _banded(_events(data, _requests(data), "user_id", "user_id"), "events", _COLD),
    "cold-item": lambda data: _banded(_events(data, _targets(data), "target", "item_id"), "events", _COLD),
    "category": _category,
    "window": _window,
    "known": _known,
    "slot": _slot,
    "year": _year,
}
GROUPS: tuple[str, ...] = (
    *_GROUPINGS,
    _RECALLED,
    f"{_RECALLED}:MODEL",
    f"{_WARM}:N",
    f"{_RELEASED}:YYYY",
    f"{_RELEASED}:MODEL",
)

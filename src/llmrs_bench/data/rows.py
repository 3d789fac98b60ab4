"""What the rows of a table of events, and of one of items, hold."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import reduce
from operator import or_
from typing import TypeVar

import polars as pl

from llmrs_bench.core.errors import DataError
from llmrs_bench.core.schemas import ITEMS
from llmrs_bench.data.columns import ITEM_OPTION, LISTED, ROLES, Table, id_columns, some
from llmrs_bench.data.fields import (
    DATES,
    Fault,
    empty_fields,
    mixed_zones,
    no_numbers,
    no_times,
    require_filled,
    rounded_times,
    times,
    with_points,
)
from llmrs_bench.data.ids import BLANKS, clean_ids, join_warnings, odd_ids
from llmrs_bench.data.impressions import labelled_lists
from llmrs_bench.data.sources import EVENTS, IMPRESSIONS, MISSING, Raw, complete_items, markup_removed

NO_TIME = "no timestamps: the order of lines is the order of time"
NO_ORDER = "no timestamps: nothing says in which order the events of a user were"
NO_ITEMS = "no table of items: items are known by their id alone"
NO_TITLE = "no title column: items are called by their id"


def make_raw(
    events: Table,
    items: Table | None,
    unrated: Sequence[str] = (),
    *,
    scale: str = "auto",
    in_order: bool = True,
    drop_bad: bool = False,
) -> Raw:
    """Return what a table of events and one of items hold, with clean titles.

    Without a table of items these are called by their id; if the column of titles is named, they have it from there.

    Args:
        events: One row an event.
        items: One row an item.
        unrated: Texts in the column of ratings that mean no rating; numbers are compared as such.
        scale: The unit of times, as `files.times` takes it.
        in_order: Whether events without times are in the order of time; if not, nothing says which is the last.
        drop_bad: Whether rows that cannot be read are left out, and counted.

    Raises:
        DataError: If a column that is needed is missing or holds what it may not, with all that is wrong in the rows of
            one table; or no item with events is listed.
    """
    taken = event_columns(events)
    events, raw = _whole(
        events,
        lambda table: _events(table, taken, unrated, scale, in_order=in_order),
        lambda table: _faults(table, taken, unrated, scale),
        drop=drop_bad,
        mend=lambda table: _with_points(table, [taken[role] for role in ("time", "rating") if role in taken]),
    )
    items, name = items or _items_of_events(events), events.name
    del events  # its texts take more memory than what was made of them
    if items is None:
        raw = replace(raw, rules=(*raw.rules, NO_ITEMS), facts={**raw.facts, "items_listed": 0})
        return complete_items(replace(raw, columns={"columns": taken}))
    items, (listed, rules, facts, found) = _whole(items, _items, lambda _: (), drop=drop_bad)
    apart = join_warnings(raw.events, listed, name, items)
    return complete_items(
        replace(
            raw,
            items=listed,
            rules=(*raw.rules, *rules),
            facts={**raw.facts, **facts},
            warnings=(
                *raw.warnings,
                *items.warnings,
                *apart,
                *_title_twins(facts["items_listed_with_other_titles"], items.name),
            ),
            columns={"columns": taken, "item_columns": found}
            if items.option == ITEM_OPTION
            else {"columns": {**found, **taken}},
        )
    )


def _title_twins(count: int, name: str) -> Iterator[str]:
    if count:
        yield f"{name} lists items again under {count:,} other titles: the first title of an item counts"


def _items_of_events(events: Table) -> Table | None:
    """Return the items of the events, where the column of their titles is named."""
    columns = [events.find(role) for role in ("item", "title", "year", "categories") if role in events.named]
    if "title" not in events.named or columns[-1] is None:
        return None
    item = id_columns(events, ["item"])["item"]
    kept = {column: events.types[column] for column in [item, *columns] if column is not None}
    rows = events.rows.select(list(kept)).unique(item, keep="first", maintain_order=True)
    return replace(events, types=kept, rows=rows, rules=(), warnings=())


Read = TypeVar("Read")
DROP = "--drop-bad leaves them out, and counts them."


def _whole(
    table: Table,
    read: Callable[[Table], Read],
    find: Callable[[Table], Iterable[Fault]],
    *,
    drop: bool,
    mend: Callable[[Table], Table] = lambda table: table,
) -> tuple[Table, Read]:
    """Return a table and what `read` makes of it, without the rows that cannot be read.

    Args:
        table: It may have skipped rows.
        read: Raises DataError where it stops.
        find: Finds all faults; called where there is one.
        drop: Whether such rows are left out; if not, they are an error.
        mend: Tried where there are faults: returns the table written in another way, or the same one.

    Raises:
        DataError: Naming all that is wrong; with `drop` only if that is half of the rows, or not a matter of rows.
    """
    first = None
    if not table.skipped:
        try:
            return table, read(table)
        except DataError as error:
            first = error
    if (mended := mend(table)) is not table:
        return _whole(mended, read, find, drop=drop)
    faults = [*find(table)]
    if first and not faults:
        raise first
    bad = reduce(or_, (fault.rows for fault in faults), pl.repeat(False, table.rows.height, eager=True))
    lost, total = int(bad.sum()) + len(table.skipped), table.rows.height + len(table.skipped)
    what, hint = table.skipped_words
    found = [(what, table.first_skipped, len(table.skipped), hint)] if table.skipped else []
    found += [(one.words, table.where(one.rows.arg_max() or 0), int(one.rows.sum()), one.hint) for one in faults]
    words = [f"{words} ({at}{f', and in {count - 1:,} more' if count > 1 else ''})" for words, at, count, _ in found]
    few = 2 * lost < total
    if not (drop and few):
        hints = [hint for *_, hint in found]
        if few:
            try:
                read(_mended(table, faults))
            except DataError as error:
                words.append(error.message.removeprefix(f"{table.name}: ").removeprefix(f"{table.name}, "))
                hints.append(error.hint)
            hints += [DROP] if table.wide else []
        elif drop:
            hints.append("--drop-bad leaves out fewer than half: is that the column, and the file?")
        message = f"{table.name}: {lost:,} of {total:,} {table.unit}s cannot be read: {'; '.join(words)}"
        if len(words) == 1:
            what, at, count, _ = found[0]
            message = f"{table.name}, {at}: {what}" + (f", and in {count - 1:,} more" if count > 1 else "")
        raise DataError(message, hint=" ".join(dict.fromkeys(hints))) from first
    said = f"{table.name}: {lost:,} of {total:,} {table.unit}s are left out: {'; '.join(words)}"
    left = replace(table, rows=table.rows.filter(~bad), skipped=(), warnings=(*table.warnings, said))
    try:
        return left, read(left)
    except DataError:
        read(_mended(table, faults))  # whose lines have the numbers of the file
        raise


def _with_points(table: Table, columns: Sequence[str]) -> Table:
    """Return a table without decimal commas in some columns, and a rule on each that has them; else the same one."""
    for column in columns:
        text = table.rows[column]
        if text.dtype == pl.String and (points := with_points(text)) is not text:
            one = text.filter(text.str.contains(",", literal=True))[0].strip()
            rule = f"{table.name}: commas in {column} are decimal: {one} is {one.replace(',', '.')}"
            table = replace(table, rows=table.rows.with_columns(points), rules=(*table.rules, rule))
    return table


def _mended(table: Table, faults: Sequence[Fault]) -> Table:
    """Return a table in which a field of the same column stands in the place of each that cannot be read."""
    rows = table.rows
    for column in dict.fromkeys(fault.column for fault in faults):
        bad = reduce(or_, (fault.rows for fault in faults if fault.column == column))
        good = rows[column].filter(~bad).head(1)
        rows = rows.with_columns(pl.when(bad).then(pl.lit(good.first())).otherwise(pl.col(column)).alias(column))
    return replace(table, rows=rows)


def _faults(table: Table, taken: Mapping[str, str], unrated: Sequence[str], scale: str) -> Iterator[Fault]:
    """Find the fields of events that cannot be read."""
    time, rating, label = map(taken.get, ("time", "rating", "label"))
    yield from empty_fields([table.rows[column] for column in (time, label) if column], table.unit)
    if time:
        yield from no_times(table.rows[time], scale)
    if rating:
        yield from no_numbers(_rated(table, rating, unrated), RATING_HINT)
    if label:
        plain, hint, what = _plain_labels(table, label), _label_hint(label), "0 or 1"
        yield from no_numbers(plain, hint, what)
        values = plain.cast(pl.Float64, strict=False)
        other = (values.is_finite() & ~values.is_in([0.0, 1.0])).fill_null(False)
        if 0 < 2 * int(other.sum()) < len(other):  # else the column means something else
            yield Fault(other, f"{label} is {plain.filter(other)[0]!r}, not {what}", hint)


def event_columns(table: Table) -> dict[str, str]:
    """Return the columns of events by their roles.

    Raises:
        DataError: If one is missing, or taken for two roles.
    """
    user, item = id_columns(table, ["user", "item"]).values()
    time, rating, label = table.find("time"), table.find("rating"), table.find("label")
    if label is None and "impression" in table.named:
        raise DataError(
            f"{table.option} impression={table.named['impression']} says what was shown together, but {table.name} "
            "has no labels that say what was clicked",
            hint=f"Name their column, 0 for shown, 1 for clicked: {table.option} label=NAME; or leave impression out.",
        )
    shown = table.find("impression") if label else None
    shown = None if shown == user else shown  # where a session is taken for a user
    found = {"user": user, "item": item, "time": time, "rating": rating, "label": label, "impression": shown}
    taken = {role: name for role, name in found.items() if name}
    _require_one_role(table, taken)
    return taken


def _events(table: Table, taken: Mapping[str, str], unrated: Sequence[str], scale: str, *, in_order: bool) -> Raw:
    user, item = taken["user"], taken["item"]
    time, rating, label, shown = map(taken.get, ("time", "rating", "label", "impression"))
    rules = [*table.rules, f"columns of {table.name}: " + ", ".join(f"{role} {name}" for role, name in taken.items())]
    seconds: pl.Series | pl.Expr = pl.lit(0.0)
    warnings = list[str]()
    texts = {column: table.rows[column] for column in (user, item)}
    with ThreadPoolExecutor(1) as beside:  # of large tables both take long
        looked_at = beside.submit(lambda: {column: clean_ids(text) for column, text in texts.items()})
        if time is None:
            rules.append(NO_TIME if in_order else NO_ORDER)
        else:
            seconds, said = times(table.rows, time, **table.place, scale=scale)
            rules.extend(said)
            warnings += mixed_zones(table.rows[time]) if DATES in said else ()
            warnings += rounded_times(table.rows[time])
        ids = looked_at.result()
    events = table.rows.select(
        ids[user].alias("user_id"),
        ids[item].alias("item_id"),
        seconds.alias("timestamp"),
        (_ratings(table, rating, unrated) if rating else pl.lit(None, dtype=pl.Float32)).alias("rating"),
    )
    facts, unchosen, impressions, chosen = {}, EVENTS.to_frame(), IMPRESSIONS.to_frame(), pl.Series(dtype=pl.Boolean)
    if label is not None:
        require_filled(table.rows, [label], **table.place)
        chosen = _labels(table, label)
        if shown or time:
            named = clean_ids(table.rows[shown]) if shown else pl.lit(None, dtype=pl.String)
            impressions = labelled_lists(events.with_columns(chosen=chosen, impression_id=named))
            rules.append(f"what a user was shown {f'under one {shown}' if shown else 'at one time'} is one impression")
        unchosen, events = events.filter(~chosen), events.filter(chosen)
        facts["events_not_chosen"] = unchosen.height
        rules.append(f"events whose {label} is 0 were shown and not chosen")
    changed = {column for column, text in texts.items() if ids[column] is not text}
    warnings += _event_warnings(table, taken, changed)
    if rating and (empty := table.rows[rating].null_count()):
        warnings.append(f"the {rating} of {empty:,} of {table.rows.height:,} events is empty: they have no rating")
    timeless = time is None and not in_order
    return Raw(ITEMS.to_frame(), events, tuple(rules), facts, tuple(warnings), unchosen, timeless, impressions, chosen)


def _require_one_role(table: Table, taken: Mapping[str, str]) -> None:
    """Refuse one column for two roles of an event."""
    roles: dict[str, list[str]] = {}
    for role, column in taken.items():
        roles.setdefault(column, []).append(role)
    for column, several in roles.items():
        if len(several) > 1:
            raise DataError(
                f"{table.name}: the column {column} is used for the {' and the '.join(several)}",
                hint=f"Name another column for one of them: {table.option} {several[-1]}=NAME.",
            )


YES, NO = ("true", "yes", "t", "y"), ("false", "no", "f", "n")


def _labels(table: Table, column: str) -> pl.Series:
    """Return which events were chosen: 1 or one of `YES`, in any case; 0 or one of `NO` are those shown alone."""
    hint = _label_hint(column)
    labels = replace(table, rows=table.rows.with_columns(_plain_labels(table, column))).number(column, hint=hint)
    other = (labels != 0) & (labels != 1)
    if other.any():
        known = ", ".join(f"{value:g}" for value in labels.unique().sort().head(5))
        raise DataError(f"{table.name}: the labels in {column} are {known}, not 0 and 1", hint=hint)
    return labels > 0


def _plain_labels(table: Table, column: str) -> pl.Series:
    """Return a column of labels with 1 for `YES` and 0 for `NO`."""
    text = table.rows[column].str.strip_chars().str.to_lowercase()
    return text.replace({**dict.fromkeys(YES, "1"), **dict.fromkeys(NO, "0")})


def _label_hint(column: str) -> str:
    return (
        "0, false or no is an item that was shown and not chosen, 1, true or yes one that was. Write the labels so; or "
        f"if the column is a rating, pass --columns rating={column} and --min-rating, or for clicks --like-from."
    )


RATING_HINT = (
    "Write ratings as numbers, 4 in place of 4 stars or 4/5; text that means none is named: --unrated NaN. True and "
    "false are labels: --columns label=NAME."
)


def _ratings(table: Table, column: str, unrated: Sequence[str]) -> pl.Series:
    """Return ratings, null where the field is empty or one of `unrated`."""
    rated = replace(table, rows=table.rows.with_columns(_rated(table, column, unrated)))
    return rated.number(column, hint=RATING_HINT)


def _rated(table: Table, column: str, unrated: Sequence[str]) -> pl.Series:
    """Return the texts of ratings, null where the field is empty or one of `unrated`."""
    if not unrated:
        return table.rows[column]
    text = pl.col(column).str.strip_chars()
    words = pl.Series([word.lower() for word in unrated], dtype=pl.String)
    numbers = words.cast(pl.Float64, strict=False).drop_nulls()
    none = text.str.to_lowercase().is_in(words.to_list()) | text.cast(pl.Float64, strict=False).is_in(numbers.to_list())
    return table.rows.select(pl.when(~none.fill_null(False)).then(text).alias(column)).to_series()


def _event_warnings(table: Table, taken: Mapping[str, str], changed: Collection[str]) -> Iterator[str]:
    """Say which columns are not read, and which ids not as they are; `changed` are columns whose ids are read so."""
    yield from table.warnings
    if unread := [column for column in table.types if column not in {*taken.values(), table.named.get("title")}]:
        yield f"columns of {table.name} that are not read: {some(unread)}"
    rows, blanks = table.rows, 0
    for role in ("user", "item"):
        text = rows[taken[role]]
        yield from odd_ids(text, role)
        if not text.null_count() and taken[role] not in changed:
            continue
        if missing := int(text.str.strip_chars(BLANKS).is_in(MISSING).sum()):
            yield f"the {role} of {missing:,} of {rows.height:,} events is written as missing: they are dropped"
        if empty := text.null_count():
            below = ": if they go with the row above, as lines of an order, fill it in (in pandas, ffill)"
            also = below if 4 * empty > rows.height and text[0] is not None else ""
            yield f"the {role} of {empty:,} of {rows.height:,} events is empty: they are dropped{also}"
        blanks += int((text != text.str.strip_chars(BLANKS)).sum())
    if blanks:
        yield f"{blanks:,} ids of {table.name} have blanks around them: they are cut off"


def _items(table: Table) -> tuple[pl.DataFrame, tuple[str, ...], dict[str, int], dict[str, str]]:
    """Return the items, rules in words, counts, and the columns by their roles."""
    ids, title, categories = id_columns(table, ["item"])["item"], table.find("title"), _category_column(table)
    own = {"item": ids, "title": title, "year": table.find("year"), "categories": categories}
    found = {role: name for role, name in own.items() if name}
    left_out = [column for column, kind in table.types.items() if kind == "float_seq"]
    index = [column for column in table.types if column not in own.values() and _is_index(table, column)]
    texts = [column for column in table.types if column not in (ids, title, *left_out, *index)]
    unread = []
    if "text" in table.named:
        found["text"] = table.named["text"]
        unread = [column for column in texts if column not in found.values()]
        texts = [column for column in texts if column in found.values()]
    table = replace(table, rows=table.rows.with_columns(markup_removed(table.rows[column]) for column in texts))
    rules = [*table.rules, f"columns of {table.name}: " + ", ".join(f"{role} {name}" for role, name in found.items())]
    if title is None:
        rules.append(NO_TITLE)
    if others := [column for column in texts if column not in found.values()]:
        rules.append(f"other columns of {table.name} are the text of items: {some(others)}")
    if left_out:
        rules.append(f"columns of vectors and objects are not text: {some(left_out)}")
    if index:
        rules.append(f"columns of {table.name} that number its rows are not text: {some(index)}")
    if unread:
        rules.append(f"columns of {table.name} that are not read: {some(unread)}")
    year, bad_years = _year(table)
    items = table.rows.select(
        clean_ids(table.rows[ids]).alias("item_id"),
        (pl.col(title) if title else pl.lit(None, dtype=pl.String)).alias("title"),
        _text(table, texts, categories).alias("text"),
        year.alias("year"),
        (_parts(table, categories) if categories else pl.lit([], dtype=pl.List(pl.String))).alias("categories"),
    )
    named = items.filter(pl.col("item_id").is_not_null())
    kept = named.unique("item_id", keep="first", maintain_order=True)
    facts = {
        "items_listed": kept.height,
        "items_without_id_dropped": items.height - named.height,
        "items_listed_twice_dropped": named.height - kept.height,
        "years_unreadable": bad_years,
    }
    if facts["items_listed_twice_dropped"]:
        rules.append("of items listed twice the first line counts")
    other = named.unique(["item_id", "title"]).height - kept.height
    facts["items_listed_with_other_titles"] = other
    return kept, tuple(rules), facts, found


INDEX = re.compile(r"\d*|Unnamed: \d+|(__index_)?level_\d+(__)?|index")


def _is_index(table: Table, column: str) -> bool:
    """Tell whether a column is one that programs write beside the data to number the rows."""
    if not INDEX.fullmatch(column):
        return False
    numbers = table.rows[column].cast(pl.Int64, strict=False)
    return numbers[0] in (0, 1) and bool((numbers == pl.int_range(len(numbers), eager=True) + numbers[0]).all())


def _year(table: Table) -> tuple[pl.Expr, int]:
    column = table.find("year")
    if column is None:
        return pl.lit(None, dtype=pl.Int32), 0
    value = pl.col(column).str.strip_chars().cast(pl.Float64, strict=False)
    year = pl.when(value.is_between(1000, 2999)).then(value).cast(pl.Int32, strict=False)
    return year, table.rows.select((pl.col(column).is_not_null() & year.is_null()).sum()).item()


def _category_column(table: Table) -> str | None:
    """Return the column of categories: the named one, else the first with such a name, in atomic files a sequence."""
    named = table.named.get("categories")
    fits = (c for c, kind in table.types.items() if kind == "token_seq" or (table.wide and kind == "token"))
    return named if named in table.types else next((c for c in fits if c.lower() in ROLES["categories"].sure), None)


def _parts(table: Table, column: str) -> pl.Expr:
    """Split categories at the first separator that any value of the column has, else at the last one."""
    values, (*others, last) = table.rows[column], table.separators
    found = next((mark for mark in others if values.str.contains(mark, literal=True).any()), last)
    parts = pl.col(column).fill_null("").str.split(found)
    return parts.list.eval(pl.element().str.strip_chars().filter(pl.element().str.strip_chars() != ""))


def _text(table: Table, columns: Sequence[str], categories: str | None) -> pl.Expr:
    """Return the attributes as sentences, "Release year: 1995. Class: Drama, Romance."; empty ones are left out."""
    sentences = []
    for column in columns:
        value = _parts(table, column).list.join(", ") if column == categories else pl.col(column)
        value = value.str.replace_all(LISTED, ", ", literal=True).str.replace_all(r"[\p{Cc}\s]+", " ")
        value = value.str.strip_chars().str.strip_suffix(".")
        label = column.replace("_", " ").capitalize()
        sentences.append(pl.when(value != "").then(pl.concat_str(pl.lit(f"{label}: "), value, pl.lit("."))))
    return pl.concat_str(sentences, separator=" ", ignore_nulls=True) if sentences else pl.lit("")

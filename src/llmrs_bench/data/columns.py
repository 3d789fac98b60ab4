"""Tables of events and items: which column is what, and what becomes of it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from llmrs_bench.core.errors import DataError
from llmrs_bench.core.registry import unknown_name
from llmrs_bench.core.schemas import ITEMS
from llmrs_bench.data.fields import number, require_filled, times
from llmrs_bench.data.files import MEND
from llmrs_bench.data.impressions import labelled_lists
from llmrs_bench.data.sources import EVENTS, IMPRESSIONS, MISSING, Raw, complete_items, markup_removed

NO_TIME = "no timestamps: the order of lines is the order of time"
NO_ITEMS = "no table of items: items are known by their id alone"
NO_TITLE = "no title column: items are called by their id"


ITEM_OPTION = "--item-columns"
LISTED = "\x1f"  # between the values of a list in one text


@dataclass(frozen=True)
class Names:
    """What the column of a role is called.

    Args:
        sure: Names, the surest first.
        endings: Where no column is called so, one that ends in such a part will do, the surest first.
        other: Names of many sources, all equally sure.
        optional: Whether there may be no such column. Atomic files then name it in one of the ways above.
    """

    sure: tuple[str, ...]
    endings: tuple[str, ...] = ()
    other: tuple[str, ...] = ()
    optional: bool = True


USERS = (
    *("user", "uid", "reviewer_id", "customer_id", "client_id", "visitor_id", "member_id", "account_id", "profile_id"),
    *("buyer_id", "listener_id", "reader_id", "viewer_id", "steam_id", "session_id", "author_id"),
)
ITEM_IDS = (
    *("item", "iid", "asin", "sku", "product_id", "movie_id", "film_id", "book_id", "isbn", "track_id", "song_id"),
    *("artist_id", "album_id", "video_id", "business_id", "article_id", "news_id", "game_id", "app_id", "recipe_id"),
    *("anime_id", "course_id", "goods_id", "venue_id", "content_id", "offer_id", "listing_id"),
)
TIMES = (
    *("ts", "unix_time", "time_stamp", "event_time", "event_timestamp", "rating_time", "rated_at", "created_at"),
    *("review_date", "review_time", "purchase_date", "order_date", "ordered_at", "played_at", "visited_at"),
)
RATINGS = ("score", "overall", "user_rating", "review_rating", "review_score", "rating_score", "rate", "star_rating")
ROLES: Mapping[str, Names] = {
    "user": Names(("user_id",), ("_user_id",), USERS, optional=False),
    "item": Names(("item_id",), ("_item_id",), ITEM_IDS, optional=False),
    "time": Names(("timestamp", "time", "datetime", "date"), other=TIMES),
    "rating": Names(("rating", "stars"), other=RATINGS),
    "label": Names(("label", "click", "clicked", "is_click")),
    "impression": Names(("impression_id", "impression", "session_id")),
    "title": Names(("title", "item_title", "name", "item_name"), ("_title", "_name"), ("headline", "caption")),
    "year": Names(("year",), ("year",)),
    "categories": Names(("class", "genre", "genres", "categories", "category")),
    "text": Names(()),
}
# Amazon's product and its variant, seconds and words for one moment: the first is the one to take.
SURER = {"item": ("parent_asin",), "time": ("unix_review_time",)}
CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")


def _squeezed(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


def is_known(column: str) -> bool:
    """Tell whether a column has one of the names of a role; endings do not count."""
    return _squeezed(column) in KNOWN


KNOWN = {_squeezed(name) for role, names in ROLES.items() for name in (*names.sure, *names.other, *SURER.get(role, ()))}


def check_roles(columns: Mapping[str, str]) -> None:
    """Refuse roles that no column can have.

    Raises:
        OptionError: Naming the first.
    """
    for role in columns:
        if role not in ROLES:
            raise unknown_name("role of a column", role, list(ROLES))


@dataclass(frozen=True)
class Table:
    """A table as strings, and how it was read.

    Args:
        name: The file, for messages.
        types: The type of each column, as in atomic files: `token`, `token_seq` (several in one text), `float_seq`
            (neither a text nor one number).
        rows: The columns; that of the times may hold moments.
        named: Columns by their roles, as they were typed.
        rules: How it was read, in words.
        warnings: What a careful person would look at.
        first: The number of the first row, where rows are counted as `unit`.
        unit: What a row is in the file: a line, or a row.
        option: The option that names its columns.
        separators: What may part several categories in one text; the first that is there does.
        wide: Whether optional columns are found by all names there are.
    """

    name: str
    types: dict[str, str]
    rows: pl.DataFrame
    named: Mapping[str, str]
    rules: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    first: int = 2
    unit: str = "line"
    option: str = "--columns"
    separators: tuple[str, ...] = (", ", " ")
    wide: bool = False

    def find(self, role: str) -> str | None:
        """Return the column of a role: the named one, else the one with the surest name.

        Raises:
            DataError: If two columns are equally sure.
        """
        if (named := self.named.get(role)) in self.types:
            return named
        names = ROLES[role]
        fits = [[column for column in self.types if _squeezed(column) == _squeezed(name)] for name in names.sure]
        ends = {column: CAMEL.sub("_", column).lower() for column in self.types}
        fits += [[column for column, plain in ends.items() if plain.endswith(ending)] for ending in names.endings]
        if self.wide or not names.optional:
            others = [(name,) for name in SURER.get(role, ())] + [names.other]
            others += [("id",)] if role == "item" and self.option == ITEM_OPTION else []
            fits += [[c for c in self.types if _squeezed(c) in map(_squeezed, group)] for group in others]
        found: list[str] = next(filter(None, fits), [])
        if len(found) > 1:
            raise DataError(
                f"{self.name}: each of the columns {', '.join(found)} could be that of the {role}",
                hint=f"Name the one that is: {self.option} {role}={found[0]}.",
            )
        return found[0] if found else None

    def number(self, column: str, dtype: type[pl.DataType] = pl.Float32, *, hint: str = MEND) -> pl.Series:
        """Return a column as numbers; a DataError names the line that is none."""
        return number(self.rows, column, dtype, **self.place, hint=hint)

    @property
    def place(self) -> dict[str, Any]:
        """What messages say of a row: the file, and how its rows are numbered."""
        return {"name": self.name, "header_lines": self.first - 1, "unit": self.unit}


QUOTED = r'^"(?:[^"]|"")*"$'


def without_quotes(frame: pl.DataFrame, name: str) -> tuple[pl.DataFrame, tuple[str, ...], tuple[str, ...]]:
    """Return a table of strings without the quotes of CSV around its fields; what was done, and what was not, in words.

    Quotes are those of CSV in columns where all fields have them, or where every field with a quote in it is quoted for
    a reason, doubled quotes or a delimiter, and one at least holds doubled quotes. Others belong to the text, such as
    those of `"Weird Al" Yankovic` or `"Heroes"`.
    """
    dropped, kept = {}, {}
    for column in frame.columns:
        text = frame[column].drop_nulls()
        marked = text.filter(text.str.contains('"', literal=True))
        quoted, doubled = marked.str.contains(QUOTED), marked.str.contains('.""')
        everywhere = 1 < len(marked) == len(text)
        if quoted.all() and (everywhere or (doubled.any() and (doubled | marked.str.contains("[,;\t\n]")).all())):
            dropped[column] = len(marked)
        elif quoted.any() and doubled.any():
            kept[column] = len(marked)
    for column in dropped:
        inner = pl.col(column).str.replace_all('^"|"$', "").str.replace_all('""', '"', literal=True)
        frame = frame.with_columns(
            pl.when(pl.col(column).str.contains(QUOTED)).then(inner).otherwise(column).alias(column)
        )
    return (
        frame,
        tuple(
            f"{name}: {n:,} values of {column} are in quotes as in CSV, which are dropped"
            for column, n in dropped.items()
        ),
        tuple(
            f"{name}: {n:,} values of {column} have quotes, not all as in CSV: they stay" for column, n in kept.items()
        ),
    )


def make_raw(events: Table, items: Table | None, unrated: Sequence[str] = (), *, scale: str = "auto") -> Raw:
    """Return what a table of events and one of items hold, with clean titles.

    Without a table of items these are called by their id; if the column of titles is named, they have it from there.

    Args:
        events: One row an event.
        items: One row an item.
        unrated: Texts in the column of ratings that mean no rating; numbers are compared as such.
        scale: The unit of times, as `files.times` takes it.

    Raises:
        DataError: If a column that is needed is missing or holds what it may not, or no item with events is listed.
    """
    raw, taken = _events(events, unrated, scale)
    items, name = items or _items_of_events(events), events.name
    del events  # its texts take more memory than what was made of them
    if items is None:
        raw = replace(raw, rules=(*raw.rules, NO_ITEMS), facts={**raw.facts, "items_listed": 0})
        return complete_items(replace(raw, columns={"columns": taken}))
    listed, rules, facts, found = _items(items)
    _require_join(raw.events, listed, name, items)
    return complete_items(
        replace(
            raw,
            items=listed,
            rules=(*raw.rules, *rules),
            facts={**raw.facts, **facts},
            warnings=(
                *raw.warnings,
                *items.warnings,
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
    kept = {column: events.types[column] for column in [_id_column(events, "item"), *columns] if column is not None}
    rows = events.rows.select(list(kept)).unique(_id_column(events, "item"), keep="first", maintain_order=True)
    return replace(events, types=kept, rows=rows, rules=(), warnings=())


def _id_column(table: Table, role: str) -> str:
    column = table.find(role)
    if column is None:
        raise DataError(
            f"{table.name} has no column {role}_id; it has {_some(list(table.types))}",
            hint=f"Say which column holds the ids: {table.option} {role}=NAME"
            + (f", or, if it has no header, {table.option} {role}=0 (columns count from 0)." if table.wide else "."),
        )
    if table.wide and table.types[column] != "token":
        raise DataError(
            f"{table.name}: the {role} ids in {column} are lists or objects",
            hint="Write one event a row, for pandas with to_json(..., orient='records', lines=True).",
        )
    return column


def _some(names: Sequence[str]) -> str:
    """Return names for a message, twenty at most."""
    return ", ".join(names[:20]) + (f" and {len(names) - 20:,} more" if len(names) > 20 else "")


def _id(texts: pl.Series) -> pl.Series:
    """Return ids without blanks around them, null where they are written as missing."""
    if _is_clean(texts):
        return texts  # no copy is made
    text = pl.col(texts.name).str.strip_chars()
    return texts.to_frame().select(pl.when(~text.is_in(MISSING) & (text != "")).then(text)).to_series()


def _is_clean(texts: pl.Series) -> bool:
    """Tell whether ids are as they are written, looking at a million at a time."""
    parts = (texts.slice(start, 1_000_000) for start in range(0, len(texts), 1_000_000))
    return not any((part.is_in(MISSING) | (part.str.strip_chars() != part) | (part == "")).any() for part in parts)


def _events(table: Table, unrated: Sequence[str], scale: str) -> tuple[Raw, dict[str, str]]:
    user, item = _id_column(table, "user"), _id_column(table, "item")
    time, rating, label = table.find("time"), table.find("rating"), table.find("label")
    if label is None and "impression" in table.named:
        raise DataError(
            f"{table.option} impression={table.named['impression']} tells what was shown together, and {table.name} "
            "has no labels that say what was clicked",
            hint=f"Name their column, 0 for shown, 1 for clicked: {table.option} label=NAME; or leave impression out.",
        )
    shown = table.find("impression") if label else None
    shown = None if shown == user else shown  # where a session is taken for a user
    found = {"user": user, "item": item, "time": time, "rating": rating, "label": label, "impression": shown}
    taken = {role: name for role, name in found.items() if name}
    _require_one_role(table, taken)
    rules = [*table.rules, f"columns of {table.name}: " + ", ".join(f"{role} {name}" for role, name in taken.items())]
    seconds: pl.Series | pl.Expr = pl.lit(0.0)
    if time is None:
        rules.append(NO_TIME)
    else:
        seconds, said = times(table.rows, time, **table.place, scale=scale)
        rules.extend(said)
    events = table.rows.select(
        _id(table.rows[user]).alias("user_id"),
        _id(table.rows[item]).alias("item_id"),
        seconds.alias("timestamp"),
        (_ratings(table, rating, unrated) if rating else pl.lit(None, dtype=pl.Float32)).alias("rating"),
    )
    facts, unchosen, impressions = {}, EVENTS.to_frame(), IMPRESSIONS.to_frame()
    if label is not None:
        require_filled(table.rows, [label], **table.place)
        chosen = _labels(table, label)
        if shown or time:
            named = _id(table.rows[shown]) if shown else pl.lit(None, dtype=pl.String)
            impressions = labelled_lists(events.with_columns(chosen=chosen, impression_id=named))
            rules.append(f"what a user was shown {f'under one {shown}' if shown else 'at one time'} is one impression")
        unchosen, events = events.filter(~chosen), events.filter(chosen)
        facts["events_not_chosen"] = unchosen.height
        rules.append(f"events whose {label} is 0 were shown and not chosen: they are not trained on, and no targets")
    warnings = tuple(_event_warnings(table, taken))
    raw = Raw(ITEMS.to_frame(), events, tuple(rules), facts, warnings, unchosen, impressions=impressions)
    return raw, taken


def _require_one_role(table: Table, taken: Mapping[str, str]) -> None:
    """Refuse one column for two roles of an event."""
    roles: dict[str, list[str]] = {}
    for role, column in taken.items():
        roles.setdefault(column, []).append(role)
    for column, several in roles.items():
        if len(several) > 1:
            raise DataError(
                f"{table.name}: the column {column} is taken for the {' and the '.join(several)}",
                hint=f"Name another column for one of them: {table.option} {several[-1]}=NAME.",
            )


def _labels(table: Table, column: str) -> pl.Series:
    """Return which events were chosen: 1 or true, in any case; 0 or false are those that were shown alone."""
    hint = (
        "0 or false is an item that was shown and not chosen, 1 or true one that was. Write the labels so, or, if the "
        f"column is a rating, pass --columns rating={column} and --min-rating."
    )
    text = table.rows[column].str.strip_chars().str.to_lowercase()
    plain = text.replace({"true": "1", "false": "0"})
    labels = replace(table, rows=table.rows.with_columns(plain.alias(column))).number(column, hint=hint)
    other = (labels != 0) & (labels != 1)
    if other.any():
        known = ", ".join(f"{value:g}" for value in labels.unique().sort().head(5))
        raise DataError(f"{table.name}: the labels in {column} are {known}, not 0 and 1", hint=hint)
    return labels > 0


def _ratings(table: Table, column: str, unrated: Sequence[str]) -> pl.Series:
    """Return ratings, null where the field is empty or one of `unrated`."""
    text = pl.col(column).str.strip_chars()
    words = pl.Series([word.lower() for word in unrated], dtype=pl.String)
    numbers = words.cast(pl.Float64, strict=False).drop_nulls()
    none = text.str.to_lowercase().is_in(words.to_list()) | text.cast(pl.Float64, strict=False).is_in(numbers.to_list())
    rated = replace(table, rows=table.rows.with_columns(pl.when(~none.fill_null(False)).then(text).alias(column)))
    return rated.number(column, hint="Mend the line, or name the text that means no rating: --unrated NaN.")


def _event_warnings(table: Table, taken: Mapping[str, str]) -> Iterator[str]:
    """Say which columns are not read, and which ids not as they are."""
    yield from table.warnings
    if unread := [column for column in table.types if column not in {*taken.values(), table.named.get("title")}]:
        yield f"columns of {table.name} that are not read: {_some(unread)}"
    rows, blanks = table.rows, 0
    for role in ("user", "item"):
        text = rows[taken[role]]
        yield from _number_twins(text, role)
        if not text.null_count() and _is_clean(text):
            continue
        if missing := int(text.str.strip_chars().is_in(MISSING).sum()):
            yield f"the {role} of {missing:,} of {rows.height:,} events is written as missing: they are dropped"
        if empty := text.null_count():
            yield f"the {role} of {empty:,} of {rows.height:,} events is empty: they are dropped"
        blanks += int((text != text.str.strip_chars()).sum())
    if blanks:
        yield f"{blanks:,} ids of {table.name} have blanks around them: they are cut off"


EXACT = 15  # digits of a number that no two texts share by rounding


def _number_twins(texts: pl.Series, role: str) -> Iterator[str]:
    """Say where ids are one number, and different texts, such as 007 and 7, or 38.0 and 38."""
    ids = texts.unique().drop_nulls()
    ids = ids.filter(ids.str.len_bytes() <= EXACT)
    numbers = ids.str.strip_chars().cast(pl.Float64, strict=False)
    ids, numbers = ids.filter(numbers.is_not_null()), numbers.drop_nulls()
    if twins := numbers.len() - numbers.n_unique():
        alike = ids.filter(numbers == numbers.filter(numbers.is_duplicated())[0]).sort()
        yield (
            f"{twins:,} ids of {role}s are numbers that others write in another way, such as {alike[0]!r} and "
            f"{alike[1]!r}: ids are texts, so these are different {role}s"
        )


def _require_join(events: pl.DataFrame, items: pl.DataFrame, inter: str, table: Table) -> None:
    """Refuse an item file that lists no item of the events."""
    known = events.select("item_id").drop_nulls().unique(maintain_order=True)
    if known.height and items.height and known.join(items, on="item_id", how="semi").is_empty():
        raise DataError(
            f"none of the {known.height:,} items in {inter} is in {table.name}: their ids are such as "
            f"{known['item_id'][0]!r} there, and {items['item_id'][0]!r} here",
            hint=f"Ids are texts, and 5.0 is not 5: write them alike, name another column with {table.option} "
            f"item=NAME, or go on without titles by leaving out {table.name}.",
        )


def _items(table: Table) -> tuple[pl.DataFrame, tuple[str, ...], dict[str, int], dict[str, str]]:
    """Return the items, rules in words, counts, and the columns by their roles."""
    ids, title, categories = _id_column(table, "item"), table.find("title"), _category_column(table)
    own = {"item": ids, "title": title, "year": table.find("year"), "categories": categories}
    found = {role: name for role, name in own.items() if name}
    left_out = [column for column, kind in table.types.items() if kind == "float_seq"]
    texts = [column for column in table.types if column not in (ids, title, *left_out)]
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
        rules.append(f"other columns of {table.name} are the text of items: {_some(others)}")
    if left_out:
        rules.append(f"columns of vectors and objects are not text: {_some(left_out)}")
    if unread:
        rules.append(f"columns of {table.name} that are not read: {_some(unread)}")
    year, bad_years = _year(table)
    items = table.rows.select(
        _id(table.rows[ids]).alias("item_id"),
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

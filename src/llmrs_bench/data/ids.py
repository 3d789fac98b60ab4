"""Ids: texts as they are written, and what is odd about them."""

from collections.abc import Callable, Iterator, Mapping

import polars as pl

from llmrs_bench.core.errors import DataError
from llmrs_bench.data.codes import distinct
from llmrs_bench.data.columns import Table
from llmrs_bench.data.fields import ROUNDED
from llmrs_bench.data.sources import MISSING

# White space, and what is drawn as nothing, such as the mark at the beginning of a file that was put behind another.
BLANKS = "".join(char for char in map(chr, range(0x3001)) if char.isspace()) + "\ufeff\u200b\u200c\u200d\u2060"


def clean_ids(texts: pl.Series) -> pl.Series:
    """Return ids without blanks around them, null where they are written as missing."""
    if _are_clean(texts):
        return texts  # no copy is made
    text = pl.col(texts.name).str.strip_chars(BLANKS)
    return texts.to_frame().select(pl.when(~text.is_in(MISSING) & (text != "")).then(text)).to_series()


def _are_clean(texts: pl.Series) -> bool:
    """Return whether ids are as they are written, looking at a million at a time."""
    return not any((part.str.strip_chars(BLANKS) != part).any() or _has_missing(part) for part in _slices(texts))


def _slices(texts: pl.Series) -> Iterator[pl.Series]:
    return (texts.slice(start, 1_000_000) for start in range(0, len(texts), 1_000_000))


def _has_missing(texts: pl.Series) -> bool:
    """Return whether one of these texts is empty, or written as missing; only short ones may be."""
    short = texts.filter(texts.str.len_bytes() <= max(map(len, MISSING)))
    return bool((short.is_in(MISSING) | (short == "")).any())


EXACT = 15  # digits of a number that no two texts share by rounding


def odd_ids(texts: pl.Series, role: str) -> Iterator[str]:
    """Say where ids are one number, and different texts, such as 007 and 7, or 38.0 and 38; or one text for the eye."""
    if all(map(_are_counts, _slices(texts))):
        return
    yield from _composed_twins(texts, role)
    short = texts.filter(texts.str.len_bytes() <= EXACT)
    ids = short.filter(short.str.strip_chars().cast(pl.Float64, strict=False).is_not_null()).unique()
    numbers = ids.str.strip_chars().cast(pl.Float64, strict=False)
    if rounded := ids.filter(ids.str.contains(ROUNDED)).to_list():
        yield (
            f"{len(rounded):,} ids of {role}s are written as {min(rounded)}, as spreadsheets shorten long numbers: "
            f"different {role}s may have become one; export the column as text"
        )
    if twins := numbers.len() - numbers.n_unique():
        alike = ids.filter(numbers == numbers.filter(numbers.is_duplicated())[0]).sort()
        yield (
            f"{twins:,} ids of {role}s are numbers that others write in another way, such as {alike[0]!r} and "
            f"{alike[1]!r}: ids are texts, so these are different {role}s; if they are not, write them alike"
        )


def _are_counts(texts: pl.Series) -> bool:
    """Tell whether all texts are whole numbers in the one way in which programs write them, or null."""
    if texts.cast(pl.Int64, strict=False).null_count() > texts.null_count():
        return False
    signed = texts.str.starts_with("-") | texts.str.starts_with("+")
    return not (signed | (texts.str.starts_with("0") & (texts != "0"))).any()


def _composed_twins(texts: pl.Series, role: str) -> Iterator[str]:
    """Say how many ids differ from others in nothing that is seen: whether letters and their accents are one sign."""
    other = [part.filter(part.str.len_bytes() != part.str.len_chars()) for part in _slices(texts)]
    ids = pl.concat(other).drop_nulls().unique() if other else texts
    composed = ids.str.normalize("NFC")
    if twins := len(ids) - composed.n_unique():
        yield (
            f"{twins:,} ids of {role}s differ from others in how accents are written alone, such as "
            f"{composed.filter(composed.is_duplicated())[0]!r}: these are different {role}s; normalise them, in pandas "
            "with str.normalize('NFC')"
        )


# How ids of two tables that come from different programs may differ.
_WAYS: Mapping[str, Callable[[pl.Series], pl.Series]] = {
    "zeros in front": lambda ids: ids.str.replace("^0+(.)", "$1"),
    "a .0 at the end": lambda ids: ids.str.replace(r"\.0+$", ""),
    "upper and lower case": lambda ids: ids.str.to_lowercase(),
    "how accents are written (in pandas, str.normalize('NFC'))": lambda ids: ids.str.normalize("NFC"),
}
WRITE_ALIKE = "Ids are texts, and 5.0 is not 5: write them alike"


def join_warnings(events: pl.DataFrame, items: pl.DataFrame, inter: str, table: Table) -> tuple[str, ...]:
    """Say how many items of the events the item file lists under an id that is written in another way.

    Raises:
        DataError: If it lists no item of the events, saying in what the ids of both differ, where one rule tells.
    """
    known = distinct(events["item_id"].drop_nulls()).to_frame()
    listed = items["item_id"].drop_nulls()
    missing = known.join(items, on="item_id", how="anti", maintain_order="left")["item_id"]
    if missing.is_empty() or listed.is_empty():
        return ()
    counts = {words: int(plain(missing).is_in(plain(listed).implode()).sum()) for words, plain in _WAYS.items()}
    words = max(counts, key=lambda way: counts[way])
    count, plain = counts[words], _WAYS[words]
    if len(missing) == known.height:
        raise DataError(
            f"none of the {known.height:,} items in {inter} is in {table.name}: their ids are such as "
            f"{missing[0]!r} there, and {listed[0]!r} here",
            hint=(f"They differ in {words}: but for that, {count:,} of them are there. " if count else "")
            + f"{WRITE_ALIKE}, name another column with {table.option} item=NAME, or go on without titles by leaving "
            f"out {table.name}.",
        )
    if not count:
        return ()
    one = missing.filter(plain(missing).is_in(plain(listed).implode()))[0]
    other = listed.filter(plain(listed) == plain(pl.Series([one]))[0])[0]
    return (
        f"{count:,} of the {len(missing):,} items that {table.name} does not list differ from listed ones in {words} "
        f"alone, such as {one!r} in {inter} and {other!r} there. {WRITE_ALIKE}",
    )

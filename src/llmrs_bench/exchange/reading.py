"""Rankings made by other tools: read, and matched with the requests."""

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from llmrs_bench.core.errors import DataError
from llmrs_bench.core.tables import TooLargeError, read_foreign

LAYOUT = (
    "A row is one item of one ranking: request_id or user_id, item_id, and rank or score (or both), "
    "as Parquet, as CSV with a header, or as TREC run (qid Q0 docid rank score tag)."
)
KEYS = ("request_id", "user_id")
NUMBERS = ("rank", "score")
_TREC_SUFFIXES = ("trec", "run")
_FREE, _PACKED = 1 << 26, 100  # bytes that any file may unpack to, and how many times what it takes
_CHUNK = 1 << 20
_LONG = r"^[-+]?0*[1-9]\d{15,299}$"  # a whole number that may be above 2^53, and no infinity
_TREC_FIELDS = ("key", "iteration", "item_id", "rank", "score", "tag")


@dataclass(frozen=True, slots=True)
class Brought:
    """A ranking as its file has it.

    Args:
        name: The file, for messages.
        key: What `rows.key` holds: `request_id` or `user_id`; None: a TREC run does not say.
        rows: One row per item of a ranking: key, item_id, and rank, score or both, as numbers where they are numbers.
            Empty fields are null; `bad_rank` and `bad_score` hold the text of what is no number.
    """

    name: str
    key: str | None
    rows: pl.DataFrame


def read_rankings(content: bytes, *, name: str) -> Brought:
    """Read a file by what it holds: Parquet by its first bytes, a TREC run by its lines, else CSV; also gzipped.

    Args:
        content: The whole file.
        name: Its name, for messages; `.trec` and `.run` say that it is a TREC run, `.tsv` that tabs separate fields.

    Raises:
        DataError: If it is empty, is none of these, or lacks a column.
    """
    plain, suffix = _unpacked(content, name), name.lower().removesuffix(".gz").rpartition(".")[2]
    if plain[:4] == b"PAR1":
        return _brought(_read_parquet(plain, name), name)
    if suffix in ("parquet", "pq"):
        raise DataError(f"{name} is not a Parquet file", hint="It is truncated or in another format: write it again.")
    text = _text(plain, name)
    lines = pl.Series("line", text.split("\n"), dtype=pl.String).str.strip_chars()
    filled = lines.filter(lines != "")
    if filled.is_empty():
        raise DataError(f"{name} is empty", hint=LAYOUT)
    first = filled[0]
    if suffix in _TREC_SUFFIXES or _is_trec(first):
        return _read_trec(lines, name)
    return _brought(_read_csv(text, name, _separator(first, suffix)), name)


def _separator(first: str, suffix: str) -> str:
    """Return what is between the fields of a line."""
    if suffix == "tsv" or not re.search("[,;]", first):
        return "\t"
    # Where decimals have commas, semicolons are between fields.
    return ";" if ";" in first and not {*KEYS, "item_id"} & {field.strip() for field in first.split(",")} else ","


def _unpacked(content: bytes, name: str) -> bytes:
    if content[:2] != b"\x1f\x8b":
        return content
    plain, most = io.BytesIO(), _most(content)
    try:
        with gzip.open(io.BytesIO(content)) as file:
            while plain.tell() <= most and (chunk := file.read(_CHUNK)):
                plain.write(chunk)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{name} cannot be unpacked: {error}", hint="It is truncated: write it again.") from error
    if plain.tell() > most:
        raise _too_large(name, most)
    return plain.getvalue()


def _most(content: bytes) -> int:
    """Return the most bytes that are read of what is packed in `content`."""
    return max(_FREE, _PACKED * len(content))


def _too_large(name: str, most: int) -> DataError:
    return DataError(
        f"{name} unpacks to more than {most / 1e9:.1f} GB",
        hint="Rankings do not compress so well. If it does hold rankings, write it as uncompressed CSV.",
    )


def _text(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{name}, line {line}: not UTF-8 text", hint=f"Convert the file to UTF-8. {LAYOUT}") from error


def _is_trec(line: str) -> bool:
    fields = line.split()
    return len(fields) == len(_TREC_FIELDS) and _is_number(fields[3]) and _is_number(fields[4])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_trec(lines: pl.Series, name: str) -> Brought:
    """Read `qid Q0 docid rank score tag`; nobody else's tag or second field means anything here."""
    numbered = pl.DataFrame({"line": lines}).with_row_index("number", offset=1).filter(pl.col("line") != "")
    fields = numbered.with_columns(fields=pl.col("line").str.replace_all(r"\s+", " ").str.split(" "))
    wrong = fields.filter(pl.col("fields").list.len() != len(_TREC_FIELDS))
    if wrong.height:
        row = wrong.row(0, named=True)
        raise DataError(
            f"{name}, line {row['number']}: {len(row['fields'])} fields, a TREC run has {len(_TREC_FIELDS)} "
            f"({wrong.height:,} such lines): {row['line'][:60]!r}",
            hint="A line is qid Q0 docid rank score tag, separated by blanks; no field contains a blank.",
        )
    columns = {field: pl.col("fields").list.get(place) for place, field in enumerate(_TREC_FIELDS)}
    rows = fields.select(**{field: columns[field] for field in ("key", "item_id", *NUMBERS)})
    return Brought(name, None, _with_numbers(rows, name))


def _read_parquet(content: bytes, name: str) -> pl.DataFrame:
    try:
        return read_foreign(content, most := _most(content))
    except TooLargeError as error:
        raise _too_large(name, most) from error
    except OSError as error:
        raise DataError(f"{name} cannot be read as Parquet: {error}", hint="Write it again.") from error


def _read_csv(text: str, name: str, separator: str) -> pl.DataFrame:
    try:
        frame = pl.read_csv(io.BytesIO(text.encode()), separator=separator, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{name} cannot be read as CSV: {str(error).splitlines()[0]}", hint=LAYOUT) from error
    frame = frame.rename({column: column.strip() for column in frame.columns})
    numbers = [column for column in NUMBERS if separator == ";" and column in frame.columns]
    return frame.with_columns(_with_points(frame[column]) for column in numbers)


def _with_points(column: pl.Series) -> pl.Series:
    """Return a column of strings with points for decimal commas, if all can be such and one parts no thousands."""
    marked = column.filter(column.str.contains("[,.]")).str.strip_chars()
    thousands = marked.str.contains(r"^[-+]?[1-9]\d{0,2},\d{3}$").all()
    decimal = marked.str.contains(r"^[-+]?\d+,\d+$").all() and not thousands
    return column.str.replace(",", ".", literal=True) if decimal else column


def _brought(frame: pl.DataFrame, name: str) -> Brought:
    """Return the columns that count, under their names here."""
    key = next((column for column in KEYS if column in frame.columns), None)
    missing = [] if key else [" or ".join(KEYS)]
    missing += [] if "item_id" in frame.columns else ["item_id"]
    given = [column for column in NUMBERS if column in frame.columns]
    missing += [] if given else [" or ".join(NUMBERS)]
    if missing or key is None:
        there = ", ".join(column[:40] for column in frame.columns[:8])  # the first line may be anything
        raise DataError(f"{name} lacks the column {', and '.join(missing)}; it has: {there}", hint=LAYOUT)
    if not frame.height:
        raise DataError(f"{name} is empty: it has columns, and no rows", hint=LAYOUT)
    owners = [pl.col("user_id").cast(pl.String).alias("user")] if key == KEYS[0] and KEYS[1] in frame.columns else []
    chosen = frame.select(pl.col(key).alias("key"), "item_id", *owners, *given)
    nested = [column for column, dtype in chosen.schema.items() if dtype.is_nested() or dtype == pl.Binary]
    if nested:
        column = key if nested[0] == "key" else nested[0]
        raise DataError(f"{name}: the column {column} is {chosen.schema[nested[0]]}, not a single value", hint=LAYOUT)
    return Brought(name, key, _with_numbers(chosen.cast({"key": pl.String, "item_id": pl.String}), name))


def _with_numbers(rows: pl.DataFrame, name: str) -> pl.DataFrame:
    """Return rank and score as numbers, and beside them the text of those that are none.

    Raises:
        DataError: If a whole number has more digits than a number with a point keeps.
    """
    given = [column for column in NUMBERS if column in rows.columns]
    texts = rows.with_columns(pl.col(given).cast(pl.String).str.strip_chars())
    texts = texts.with_columns(pl.when(pl.col(column) != "").then(pl.col(column)) for column in given)
    for column in given:
        _require_exact(texts[column], name)
    exact = {column: _number(rows, texts, column) for column in given}
    bad = {f"bad_{column}": pl.when(number.is_null()).then(texts[column]) for column, number in exact.items()}
    return rows.with_columns(*(number.alias(column) for column, number in exact.items())).with_columns(**bad)


def _require_exact(texts: pl.Series, name: str) -> None:
    """Refuse whole numbers that become others as numbers of double precision: different ones could then be ties."""
    long = texts.filter(texts.str.contains(_LONG)).unique(maintain_order=True)
    if changed := [text for text in long if int(float(text)) != int(text)]:
        raise DataError(
            f"{name}: values of {texts.name} above 2^53 that would be rounded, so that different ones could be ties: "
            f"{len(changed):,} ({_some(pl.Series(changed))})",
            hint="Write ranks instead, or smaller scores, such as their differences from the least one.",
        )


def _number(rows: pl.DataFrame, texts: pl.DataFrame, column: str) -> pl.Series:
    if rows.schema[column].is_numeric():
        return rows[column].cast(pl.Float64)
    return texts[column].cast(pl.Float64, strict=False)


SCORES = pl.Schema({"request_id": pl.String(), "item_id": pl.String(), "score": pl.Float64()})
_PAIR = ["request_id", "item_id"]
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Field:
    """What may be ranked.

    Args:
        requests: Frame of the schema `requests`; where `candidates` are null, the catalogue is ranked.
        items: Ids of the whole catalogue.
        users: Ids of all users of the data set, whether they are tested or not.
        include_seen: Whether items of the history may be ranked where there are no lists.
    """

    requests: pl.DataFrame
    items: pl.Series
    users: pl.Series
    include_seen: bool


@dataclass(frozen=True, slots=True)
class Matched:
    """Scores for requests, as `ranking.rank_candidates` takes them, and what the file said besides.

    Args:
        scores: Rows (request_id, item_id, score); items without a score are not among them.
        unanswered: How many requests have no score at all.
        untested: How many users of the file are in the data set, but are not tested.
    """

    scores: pl.DataFrame
    unanswered: int
    untested: int


def match(brought: Brought, field: Field) -> Matched:
    """Return the scores of a file's rows.

    Where the file has scores they decide, and a row without one is an unranked item; a rank beside them may not
    contradict them: of two items of a request the one with the higher score may not have the higher rank, and items
    without a score come last. Where it has ranks alone, the smaller one is the better one. Rows of users who
    are in the data set but are not tested are left out.

    Raises:
        DataError: Listing every kind of fault with its count and first examples.
    """
    rows, untested = _tested(_with_requests(brought, field.requests), field)
    faults = [*_faults_of_ids(rows, field), *_faults_of_numbers(rows)]
    if not faults:
        faults += _contradictions(rows)
    if faults:
        raise DataError(f"{brought.name}: {'; '.join(faults)}", hint=LAYOUT)
    if rows.is_empty():
        raise DataError(
            f"{brought.name} has no ranking for any test user", hint="See requests.parquet of the data set."
        )
    score = pl.col("score") if "score" in rows.columns else -pl.col("rank")
    scores = rows.select(*_PAIR, score=score).filter(pl.col("score").is_not_null()).cast(SCORES)
    if scores.is_empty():
        raise DataError(
            f"{brought.name}: the column score is empty in all {rows.height:,} rows",
            hint="Fill it, or leave it out where there are ranks.",
        )
    asked = field.requests.select("request_id")
    return Matched(scores, asked.join(scores, on="request_id", how="anti").height, untested)


def _with_requests(brought: Brought, requests: pl.DataFrame) -> pl.DataFrame:
    """Return the rows with the request that each is about, null where there is none."""
    key = brought.key
    if key is None:
        known = brought.rows.join(requests, left_on="key", right_on="request_id", how="semi").height
        key = KEYS[0] if known else KEYS[1]
    if key == KEYS[1] and requests["user_id"].is_duplicated().any():
        raise DataError(
            f"{brought.name} has user_id, but some users have several requests", hint="Add a column request_id."
        )
    names = requests.select(pl.col(key).alias("key"), pl.col("request_id"), owner="user_id")
    return brought.rows.join(names, on="key", how="left", maintain_order="left").with_columns(kind=pl.lit(key))


def _tested(rows: pl.DataFrame, field: Field) -> tuple[pl.DataFrame, int]:
    """Leave out users who are in the data set and are not tested, and count them."""
    known = pl.col("key").is_in(field.users.unique().implode())
    untested = (pl.col("kind") == KEYS[1]) & pl.col("request_id").is_null() & known
    out = rows.filter(untested)
    return rows.filter(~untested.fill_null(False)), out["key"].n_unique()


def _faults_of_ids(rows: pl.DataFrame, field: Field) -> Iterator[str]:
    blank = pl.any_horizontal(pl.col("key", "item_id").is_null())
    if count := rows.filter(blank).height:
        yield f"rows without a request, user or item: {count:,}"
    unknown = rows.filter(pl.col("request_id").is_null() & pl.col("key").is_not_null())
    if unknown.height:
        kind = unknown["kind"][0]
        known = _some(field.requests[kind].head(1)) or "none"
        what = "requests" if kind == KEYS[0] else "users"
        yield f"rows of unknown {what}: {unknown.height:,} ({_some(unknown['key'])}; a known one is {known})"
    foreign = rows.filter(pl.col("user") != pl.col("owner")) if "user" in rows.columns else rows.clear()
    if foreign.height:
        key, user, owner = foreign.select("key", "user", "owner").row(0)
        yield (
            f"rows whose user_id is not that of their request_id: {foreign.height:,} ({user!r} in {key!r}, which is a "
            f"request of {owner!r})"
        )
    found = rows.filter(pl.col("request_id").is_not_null() & pl.col("item_id").is_not_null())
    strange = found.filter(~pl.col("item_id").is_in(field.items.implode()))
    if strange.height:
        yield f"rows of items that are not in the data set: {strange.height:,} ({_some(strange['item_id'])})"
    wrong = _no_candidates(found.join(strange, on="item_id", how="anti"), field)
    if wrong.height:
        yield f"items that are not candidates of their request: {wrong.height:,} ({_pairs(wrong)})"
    twice = found.filter(pl.struct(_PAIR).is_duplicated())
    if twice.height:
        extra = twice.height - twice.n_unique(_PAIR)
        yield f"items that are ranked again in one request: {extra:,} ({_pairs(twice)})"


def _no_candidates(rows: pl.DataFrame, field: Field) -> pl.DataFrame:
    requests = field.requests
    if requests["candidates"].null_count():
        if field.include_seen:
            return rows.clear()
        seen = requests.select("request_id", item_id="history").explode("item_id")
        return rows.join(seen, on=_PAIR, how="semi")
    listed = requests.select("request_id", item_id="candidates").explode("item_id")
    return rows.join(listed, on=_PAIR, how="anti")


def _faults_of_numbers(rows: pl.DataFrame) -> Iterator[str]:
    given = [column for column in NUMBERS if column in rows.columns]
    for column in given:
        text = rows[f"bad_{column}"].drop_nulls()
        if len(text):
            yield f"values of {column} that are not numbers: {len(text):,} ({_some(text)})"
        infinite = rows.filter(~pl.col(column).is_finite())
        if infinite.height:
            yield f"values of {column} that are NaN or infinite: {infinite.height:,} ({_pairs(infinite)})"
    if given == ["rank"]:
        blank = rows.filter(pl.col("rank").is_null() & pl.col("bad_rank").is_null())
        if blank.height:
            yield f"rows without a rank: {blank.height:,} ({_pairs(blank)})"


def _contradictions(rows: pl.DataFrame) -> list[str]:
    """Find items that are ranked before others with a higher score."""
    if not set(NUMBERS) <= set(rows.columns):
        return []
    ordered = (
        rows.filter(pl.col("rank").is_not_null())
        .with_columns(level=pl.col("score").fill_null(float("-inf")))
        .sort(["request_id", "level", "rank"], descending=[False, True, False], maintain_order=True)
    )
    levels = (
        ordered.group_by("request_id", "level", maintain_order=True)
        .agg(lowest=pl.col("rank").max())
        .with_columns(above=pl.col("lowest").cum_max().shift(1).over("request_id"))
        .select("request_id", "level", "above")
    )
    wrong = ordered.join(levels, on=["request_id", "level"], maintain_order="left").filter(
        pl.col("rank") < pl.col("above")
    )
    if wrong.is_empty():
        return []
    return [
        f"requests in which rank and score contradict each other: {wrong['request_id'].n_unique():,} (before items "
        f"with a higher score are ranked {_pairs(wrong)})"
    ]


def _some(values: pl.Series) -> str:
    first = values.unique(maintain_order=True)
    return ", ".join(map(repr, first.head(_SHOWN))) + (", ..." if len(first) > _SHOWN else "")


def _pairs(rows: pl.DataFrame) -> str:
    first = rows.select("key", "item_id").unique(maintain_order=True)
    shown = [f"{item!r} of {key!r}" for key, item in first.head(_SHOWN).iter_rows()]
    return ", ".join(shown) + (", ..." if first.height > _SHOWN else "")

"""The bytes of a ranking that was made elsewhere, as Parquet, CSV or TREC run, to rows of ids and numbers."""

import gzip
import io
import zlib
from dataclasses import dataclass

import polars as pl

from llmrs_bench.errors import DataError

LAYOUT = (
    "A row is one item of one ranking: request_id or user_id, item_id, and rank or score (or both), "
    "as Parquet, as CSV with a header, or as TREC run (qid Q0 docid rank score tag)."
)
KEYS = ("request_id", "user_id")
NUMBERS = ("rank", "score")
_TREC_SUFFIXES = ("trec", "run")
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
        raise DataError(f"{name} is no Parquet file", hint="It is cut short or something else: write it again.")
    text = _text(plain, name)
    lines = pl.Series("line", text.split("\n"), dtype=pl.String).str.strip_chars()
    filled = lines.filter(lines != "")
    if filled.is_empty():
        raise DataError(f"{name} is empty", hint=LAYOUT)
    first = filled[0]
    if suffix in _TREC_SUFFIXES or _is_trec(first):
        return _read_trec(lines, name)
    return _brought(_read_csv(text, name, "\t" if suffix == "tsv" or "," not in first else ","), name)


def _unpacked(content: bytes, name: str) -> bytes:
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{name} cannot be unpacked: {error}", hint="It is cut short: write it again.") from error


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
            hint="A line is qid Q0 docid rank score tag, with blanks between them and none in them.",
        )
    columns = {field: pl.col("fields").list.get(place) for place, field in enumerate(_TREC_FIELDS)}
    rows = fields.select(**{field: columns[field] for field in ("key", "item_id", *NUMBERS)})
    return Brought(name, None, _with_numbers(rows))


def _read_parquet(content: bytes, name: str) -> pl.DataFrame:
    try:
        return pl.read_parquet(io.BytesIO(content))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{name} cannot be read as Parquet: {error}", hint="Write it again.") from error


def _read_csv(text: str, name: str, separator: str) -> pl.DataFrame:
    try:
        frame = pl.read_csv(io.BytesIO(text.encode()), separator=separator, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{name} cannot be read as CSV: {str(error).splitlines()[0]}", hint=LAYOUT) from error
    return frame.rename({column: column.strip() for column in frame.columns})


def _brought(frame: pl.DataFrame, name: str) -> Brought:
    """Return the columns that count, under their names here."""
    key = next((column for column in KEYS if column in frame.columns), None)
    missing = [] if key else [" or ".join(KEYS)]
    missing += [] if "item_id" in frame.columns else ["item_id"]
    given = [column for column in NUMBERS if column in frame.columns]
    missing += [] if given else [" or ".join(NUMBERS)]
    if missing or key is None:
        raise DataError(
            f"{name} lacks the column {', and '.join(missing)}; it has: {', '.join(frame.columns[:8])}", hint=LAYOUT
        )
    if not frame.height:
        raise DataError(f"{name} is empty: it has columns, and no rows", hint=LAYOUT)
    chosen = frame.select(pl.col(key).alias("key"), "item_id", *given)
    nested = [column for column, dtype in chosen.schema.items() if dtype.is_nested() or dtype == pl.Binary]
    if nested:
        column = key if nested[0] == "key" else nested[0]
        raise DataError(f"{name}: the column {column} is {chosen.schema[nested[0]]}, not a single value", hint=LAYOUT)
    return Brought(name, key, _with_numbers(chosen.cast({"key": pl.String, "item_id": pl.String})))


def _with_numbers(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rank and score as numbers, and beside them the text of those that are none."""
    given = [column for column in NUMBERS if column in rows.columns]
    texts = rows.with_columns(pl.col(given).cast(pl.String).str.strip_chars())
    texts = texts.with_columns(pl.when(pl.col(column) != "").then(pl.col(column)) for column in given)
    exact = {column: _number(rows, texts, column) for column in given}
    bad = {f"bad_{column}": pl.when(number.is_null()).then(texts[column]) for column, number in exact.items()}
    return rows.with_columns(*(number.alias(column) for column, number in exact.items())).with_columns(**bad)


def _number(rows: pl.DataFrame, texts: pl.DataFrame, column: str) -> pl.Series:
    if rows.schema[column].is_numeric():
        return rows[column].cast(pl.Float64)
    return texts[column].cast(pl.Float64, strict=False)

"""Objects of JSON, or of literals of Python, as a table: one a line, or all in one array."""

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import polars as pl

from llmrs_bench.core.errors import DataError
from llmrs_bench.data.columns import EmptyTableError, Table, some
from llmrs_bench.data.delimited import LISTS, MOST_COLUMNS, SEPARATORS, as_text
from llmrs_bench.data.fields import python_literal

LINES = "Write one object a line, or all in one array. The file may be truncated or damaged."
JSON_ROWS = 50_000  # that become strings at once


def json_rows(data: bytes, name: str, named: Mapping[str, str], encoding: str) -> Table:
    """Return the table that the objects of a text make, a column for each field; args are those of `delimited`.

    Raises:
        DataError: If it holds something else, naming the line; lines behind the first object are skipped and noted.
    """
    words, skipped = ["JSON lines"], list[tuple[int, str]]()
    frames, kinds = [], dict[str, str]()
    rows: list[dict[str, Any]] = []
    for row in _objects(data, name, words, skipped):
        rows.append(row)
        if len(rows) == JSON_ROWS:
            frames.append(_strings(rows, kinds, name))
            rows = []
    if rows:
        frames.append(_strings(rows, kinds, name))
    if not frames or not kinds:
        raise EmptyTableError(name, "no objects with fields")
    frame = pl.concat(frames, how="diagonal").select(list(kinds))
    rule = f"{name}: {words[0]} in {encoding}, {len(kinds)} fields"
    return Table(
        name,
        kinds,
        frame,
        named,
        (rule,),
        first=1,
        separators=SEPARATORS,
        wide=True,
        skipped=tuple(line for line, _ in skipped),
        skipped_words=(skipped[0][1], LINES) if skipped else ("", ""),
        loose=True,
    )


def _objects(data: bytes, name: str, words: list[str], skipped: list[tuple[int, str]]) -> Iterator[dict[str, Any]]:
    """Yield the objects of JSON lines, of an array, or of lines of Python literals; say in `words` which.

    Lines behind the first that are none are noted in `skipped`, with what is wrong.
    """
    decode = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str).decode
    if data.lstrip()[:1] == b"[":
        words[0] = "an array of JSON objects"
        try:
            rows = decode(data.decode())
        except (ValueError, RecursionError) as error:
            raise DataError(f"{name} is not JSON: {error}", hint="The file is damaged or truncated.") from error
        yield from (_object(row, name, f"element {at}") for at, row in enumerate(rows, 1))
        return
    whole = 0
    for at, line in enumerate(io.BytesIO(data), 1):
        text = line.decode().strip()
        if not text:
            continue
        try:
            row = decode(text) if words[0] == "JSON lines" else python_literal(text)
        except (ValueError, RecursionError) as error:
            try:
                row = None if whole else python_literal(text)
            except ValueError:
                row = None
            if row is None:
                if not whole:
                    _refuse_one_object(data, name)
                skipped.append((at, f"not {words[0].removesuffix('lines').strip()}: {str(error)[:120]}"))
                if whole:
                    continue
                break
            words[0] = "lines of Python literals"
        whole += 1
        yield _object(row, name, f"line {at}")
    if skipped and len(skipped) >= whole:
        raise DataError(
            f"{name}, line {skipped[0][0]}: {skipped[0][1]}",
            hint=LINES,
        )


def _refuse_one_object(data: bytes, name: str) -> None:
    """Refuse a text that is one object over several lines.

    Raises:
        DataError: Naming its fields.
    """
    with suppress(ValueError, RecursionError):
        whole = json.loads(data)
        if isinstance(whole, dict):
            raise DataError(
                f"{name} is one object of JSON, not a table; it has the fields {some(list(whole))}",
                hint=f"Write the list of events alone. {LINES.split('.', 1)[0]}.",
            )


def _object(row: Any, name: str, where: str) -> dict[str, Any]:
    if not isinstance(row, dict) or len(row) > MOST_COLUMNS:
        what = f"{len(row):,} fields, at most {MOST_COLUMNS:,} are read" if isinstance(row, dict) else "no object"
        raise DataError(
            f"{name}, {where}: {what}",
            hint='Write one object for each row, as pandas does with to_json(..., orient="records", lines=True).',
        )
    return row


def _strings(rows: list[dict[str, Any]], kinds: dict[str, str], name: str) -> pl.DataFrame:
    """Return rows as strings, and note in `kinds` which fields are lists or objects."""
    for row in rows:
        for column, value in row.items():
            kind = "float_seq" if isinstance(value, dict) else "token_seq" if isinstance(value, LISTS) else "token"
            if kinds.setdefault(column, kind) == "token":
                kinds[column] = kind
    if len(kinds) > MOST_COLUMNS:
        raise DataError(f"{name} has more than {MOST_COLUMNS:,} different fields", hint="Keep those that are of use.")
    found = {column: [as_text(row.get(column)) for row in rows] for column in kinds}
    return pl.DataFrame(found, schema=dict.fromkeys(kinds, pl.String))

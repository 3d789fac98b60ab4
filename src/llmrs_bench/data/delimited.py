"""Tab-separated bytes to a frame of strings, with the file and line named where they are malformed."""

import io

import polars as pl

from llmrs_bench.errors import DataError

MEND = "Get a fresh copy of the file, or mend or delete this line."
BOM = b"\xef\xbb\xbf"


def read_delimited(data: bytes, *, name: str, columns: list[str], header_lines: int = 0) -> pl.DataFrame:
    """Return one row per line with `columns` as strings; empty fields are null, quotes mean nothing.

    Args:
        data: UTF-8 text with tabs between fields.
        name: The file, for messages.
        columns: Names for the fields of a line.
        header_lines: Lines to leave out at the start.

    Raises:
        DataError: If there are no lines, the text is not UTF-8, or a line has another number of fields.
    """
    data = normal_lines(data, name=name)
    body = data.split(b"\n", header_lines)[header_lines] if data.count(b"\n") >= header_lines else b""
    if not body:
        raise DataError(f"{name} holds no data", hint="Check that the file is complete.")
    if body.count(b"\t") != (body.count(b"\n") + 1) * (len(columns) - 1):
        raise _ragged(body, name, len(columns), header_lines)
    schema = dict.fromkeys(columns, pl.String())
    try:
        return pl.read_csv(io.BytesIO(body), has_header=False, schema=schema, separator="\t", quote_char=None)
    except pl.exceptions.PolarsError as error:
        raise _ragged(body, name, len(columns), header_lines) from error


def normal_lines(data: bytes, *, name: str) -> bytes:
    r"""Return UTF-8 `data` without a byte order mark, with `\n` alone ending lines and none at its end.

    Raises:
        DataError: If it is not UTF-8.
    """
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{name}, line {line}: not UTF-8 text", hint="Convert the file to UTF-8.") from error
    return data.removeprefix(BOM).replace(b"\r\n", b"\n").rstrip(b"\n")


def number(
    frame: pl.DataFrame, column: str, dtype: type[pl.DataType], *, name: str, header_lines: int = 0
) -> pl.Series:
    """Return a column of strings as finite numbers; empty fields stay null.

    Whole numbers may be written as decimals ("978300760.0"), and lose their fraction.

    Raises:
        DataError: Naming the first line whose field is not a number.
    """
    text = frame[column].str.strip_chars()
    exact = text.cast(dtype, strict=False)
    if dtype.is_integer():
        loose = text.cast(pl.Float64, strict=False).cast(dtype, strict=False)
        exact = exact.zip_with(exact.is_not_null(), loose)
    bad = text.is_not_null() & exact.is_null()
    if dtype.is_float():
        bad = bad | ~exact.is_finite().fill_null(True)
    if bad.any():
        row = bad.arg_max() or 0
        raise DataError(f"{name}, line {row + 1 + header_lines}: {column} is {text[row]!r}, not a number", hint=MEND)
    return exact


def require_filled(frame: pl.DataFrame, columns: list[str], *, name: str, header_lines: int = 0) -> None:
    """Refuse empty fields in `columns`.

    Raises:
        DataError: Naming the first line and field that is empty.
    """
    for column in columns:
        if frame[column].null_count():
            row = frame[column].is_null().arg_max() or 0
            raise DataError(f"{name}, line {row + 1 + header_lines}: {column} is empty", hint=MEND)


def _ragged(body: bytes, name: str, fields: int, header_lines: int) -> DataError:
    for row, line in enumerate(body.split(b"\n")):
        if line.count(b"\t") != fields - 1:
            found = line.count(b"\t") + 1
            return DataError(f"{name}, line {row + 1 + header_lines}: {found} fields, expected {fields}", hint=MEND)
    return DataError(f"{name} is not a table of {fields} fields", hint="Get a fresh copy of the file.")

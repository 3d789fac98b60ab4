"""Texts as UTF-8: what they are in is said by a mark, by an option, or is UTF-8."""

import codecs
from collections.abc import Mapping
from contextlib import suppress

from llmrs_bench.core.errors import DataError, OptionError
from llmrs_bench.data.delimited import READ
from llmrs_bench.data.files import BOM, CHUNK

_MARKS = {BOM: None, b"\xff\xfe\0\0": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


TABLES = ("events", "items")  # what an encoding may be named for


def table_encodings(text: str | None) -> Mapping[str, str | None]:
    """Return the encoding of each of `TABLES`, from that of both, or from `items=cp1251`, with commas between several.

    Raises:
        OptionError: If it is for another table.
    """
    if text is None or "=" not in text:
        return dict.fromkeys(TABLES, text)
    named = dict(part.strip().partition("=")[::2] for part in text.split(","))
    if not named.keys() <= {*TABLES} or not all(named.values()):
        raise OptionError(
            f"--encoding {text} names an encoding for no table", hint="Write --encoding items=cp1251, or events=cp1251."
        )
    return {table: named.get(table) for table in TABLES}


def decoded(data: bytes, name: str, encoding: str | None) -> tuple[bytes, str, tuple[str, ...]]:
    """Return text as UTF-8 without a byte order mark, its encoding in words, and warnings.

    A mark says what a text is in, whatever `encoding` names: tables of one data set may differ.

    Raises:
        DataError: Naming the first byte that is of another encoding.
    """
    encoding = next((found for mark, found in _MARKS.items() if data.startswith(mark)), encoding)
    try:
        text = data.decode(encoding or "utf-8")
    except LookupError as error:
        raise DataError(f"no text has the encoding {encoding!r}", hint="Such as utf-8, latin-1 or cp1252.") from error
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{name}, line {line}: the byte {data[error.start] if error.start < len(data) else 0:#04x} is not "
            f"{(encoding or 'utf-8').upper()}",
            hint=_either(encoding)
            if encoding is not None and _is_utf8(data)
            else "If the whole file is in another encoding, name it: --encoding latin-1. Else mend the line.",
        ) from error
    wide = encoding is not None and encoding.lower().startswith(("utf-16", "utf-32", "utf_16", "utf_32"))
    if wide and b"\0" not in data[:CHUNK] and _is_utf8(data):  # ends of lines have such bytes
        raise DataError(
            f"{name} is not {encoding}",
            hint=_either(encoding),
        )
    if "\0" in text[:CHUNK]:
        raise DataError(f"{name} is not a text: it holds bytes of 0", hint=f"{_sixteen(data)}{READ}")
    if encoding is None:
        return data.removeprefix(BOM), "UTF-8", ()
    doubted = not data.isascii() and not data.startswith(BOM) and codecs.lookup(encoding).name != "utf-8"
    warnings = (f"{name} is read as {encoding}, as named. {_either(encoding)}",) if doubted and _is_utf8(data) else ()
    return text.removeprefix("\ufeff").encode(), encoding, warnings


def _either(encoding: str | None) -> str:
    return (
        "It is UTF-8: leave --encoding out; or, if the other table is in what it names, name it for that one alone: "
        f"--encoding items={encoding}, or events={encoding}."
    )


def _sixteen(data: bytes) -> str:
    """Say that bytes are UTF-16 without a mark, where every second one of the first is 0."""
    for at, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        zeros = data[at:1000:2]
        if 2 * zeros.count(b"\0") > len(zeros):
            return f"If it is UTF-16 without a mark, name it: --encoding {name}. "
    return ""


def _is_utf8(data: bytes) -> bool:
    with suppress(UnicodeDecodeError):
        data.decode("utf-8")
        return True
    return False

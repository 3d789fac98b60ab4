"""Texts as UTF-8: what they are in is said by a mark, by an option, or is UTF-8."""

import codecs
from collections.abc import Mapping, Sequence
from contextlib import suppress

from llmrs_bench.core.errors import DataError, OptionError
from llmrs_bench.data.columns import some
from llmrs_bench.data.delimited import READ
from llmrs_bench.data.files import BOM, CHUNK

_MARKS = {BOM: None, b"\xff\xfe\0\0": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


TABLES = ("events", "items")  # what an encoding may be named for
UTF8 = "UTF-8"


class EncodingError(DataError):
    """A text is in another encoding than UTF-8, or than the one that was named."""


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


def decoded(data: bytes, name: str, encoding: str | None) -> tuple[bytes, str, str, tuple[str, ...]]:
    """Return text as UTF-8 without a byte order mark, its encoding in words, that of a `Table`, and warnings.

    A mark says what a text is in, whatever `encoding` names: tables of one data set may differ.

    Raises:
        EncodingError: Naming the first byte that is of another encoding.
        DataError: If there is no such encoding, or it is no text.
    """
    marked = [found for mark, found in _MARKS.items() if data.startswith(mark)]
    encoding = marked[0] if marked else encoding
    try:
        text = data.decode(encoding or "utf-8")
    except LookupError as error:
        raise DataError(
            f"unknown encoding {encoding!r}", hint="Write, for instance, utf-8, latin-1 or cp1252."
        ) from error
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise EncodingError(
            f"{name}, line {line}: the byte {data[error.start] if error.start < len(data) else 0:#04x} is not "
            f"{(encoding or 'utf-8').upper()}",
            hint=_either(encoding) if encoding is not None and _is_utf8(data) else _what_else(data),
        ) from error
    wide = encoding is not None and encoding.lower().startswith(("utf-16", "utf-32", "utf_16", "utf_32"))
    if wide and b"\0" not in data[:CHUNK] and _is_utf8(data):  # ends of lines have such bytes
        raise EncodingError(f"{name} is not {encoding}", hint=_either(encoding))
    if "\0" in text[:CHUNK]:
        raise DataError(f"{name} is not a text: it holds bytes of 0", hint=f"{_sixteen(data)}{READ}")
    plain = bool(marked) or data.isascii()
    if encoding is None:
        return data.removeprefix(BOM), UTF8, "" if plain else UTF8, ()
    kind = "" if plain else UTF8 if _is_utf8(data) else encoding
    doubted = kind == UTF8 and codecs.lookup(encoding).name != "utf-8"
    warnings = (f"{name} is read as {encoding}, as named. {_either(encoding)}",) if doubted else ()
    return text.removeprefix("\ufeff").encode(), encoding, kind, warnings


def mixed_encodings(in_utf8: Sequence[str], others: Sequence[str], encoding: str | None) -> DataError:
    """Return the refusal of a table some of whose parts are UTF-8, and others not; `encoding` is what was named."""
    return DataError(
        f"the parts of one table are in different encodings: {some(in_utf8)} in {UTF8}, {some(others)} in "
        + (encoding or "another one"),
        hint=f"Save all parts in one encoding, such as {UTF8}: --encoding names the same for all of them.",
    )


def _what_else(data: bytes) -> str:
    """Say what to do with a text that is not UTF-8, as a whole or in some places."""
    plain, marked = data.decode("utf-8", "ignore"), data.decode("utf-8", "replace")
    there = len(plain) - len(plain.encode("ascii", "ignore"))
    if there and there >= marked.count("\ufffd") - plain.count("\ufffd"):
        return "Other letters in it are UTF-8, so it is in two encodings: write this line in UTF-8, too."
    return "If the whole file is in another encoding, name it: --encoding latin-1. Otherwise correct the line."


def _either(encoding: str | None) -> str:
    return (
        "It is UTF-8: leave --encoding out; or, if only the other table has that encoding, name it for that table: "
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

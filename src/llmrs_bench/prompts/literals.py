"""Values in JSON or in Python's notation inside a text, whole or cut off at its end."""

import re
from collections.abc import Iterator

_OPENING = re.compile(r"[\[{]")
_SPACE = re.compile(r"(?:\s|//[^\n]*|,(?=\s*[\]}]))*")
_NUMBER = re.compile(r"-?[0-9]{1,400}(?:\.[0-9]{1,400})?(?:[eE][+-]?[0-9]{1,3})?(?![\w.])")
_WORD = re.compile(r"(?:true|false|null|None|True|False|NaN|-?Infinity)\b")
_STRING = {
    '"': re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL),
    # An apostrophe inside a word ends no string: 'Sweet Child O' Mine'.
    "'": re.compile(r"'((?:[^'\\]|\\.|'(?!\s*(?:[,:\]}]|\Z)))*)'", re.DOTALL),
}
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": " ", "f": " "}
_DEPTH = 24
_FAILURES = 1000  # brackets in a text that begin no value


class _NoLiteralError(Exception):
    """What stands there is no value."""


class _TooDeepError(_NoLiteralError):
    """Brackets within brackets, deeper than a list of candidates."""


class _CutError(Exception):
    """The text ends inside a value."""


def literals(text: str) -> Iterator[tuple[int, int, object]]:
    """Yield lists and objects in a text with where they begin and end: list, dict, str, int, float, or None for words.

    One that the end of the text cuts off holds the entries that are whole. The work is bound by the length of the text.
    """
    at, failed, left = 0, 0, 4 * len(text) + 1000
    while left > 0 and failed < _FAILURES and (opening := _OPENING.search(text, at)):
        reader = _Reader(text, opening.start())
        try:
            value = reader.value(0)
        except (_NoLiteralError, _CutError) as error:
            at = reader.at if isinstance(error, _TooDeepError) else opening.start() + 1
            left -= reader.at - opening.start()
            failed += 1
            continue
        yield opening.start(), reader.at, value
        at = reader.at


class _Reader:
    """Reads one value from a place of a text."""

    def __init__(self, text: str, at: int) -> None:
        self.text = text
        self.at = at

    def value(self, depth: int) -> object:
        self._skip()
        char = self.text[self.at : self.at + 1]
        if not char:
            raise _CutError
        if char in "[{":
            if depth > _DEPTH:
                raise _TooDeepError
            return self._list(depth) if char == "[" else self._braces(depth)
        if char in _STRING:
            return self._string(char)
        if found := _NUMBER.match(self.text, self.at):
            self.at = found.end()
            return float(found[0]) if re.search("[.eE]", found[0]) else int(found[0])
        if found := _WORD.match(self.text, self.at):
            self.at = found.end()
            return None
        raise _NoLiteralError

    def _skip(self) -> None:
        found = _SPACE.match(self.text, self.at)
        self.at = found.end() if found else self.at

    def _string(self, quote: str) -> str:
        found = _STRING[quote].match(self.text, self.at)
        if not found:
            self.at = len(self.text)
            raise _CutError
        self.at = found.end()
        return _ESCAPE.sub(_unescaped, found[1]) if "\\" in found[1] else found[1]

    def _next(self, end: str) -> bool:
        """Go to the next entry; tell whether there is one."""
        self._skip()
        char = self.text[self.at : self.at + 1]
        if char == ",":
            self.at += 1
            self._skip()
            return self.text[self.at : self.at + 1] != end or self._close()
        if char == end:
            return self._close()
        if char:
            raise _NoLiteralError
        return False

    def _close(self) -> bool:
        self.at += 1
        return False

    def _list(self, depth: int) -> list[object]:
        self.at += 1
        entries: list[object] = []
        self._skip()
        if self.text[self.at : self.at + 1] == "]":
            self._close()
            return entries
        try:
            entries.append(self.value(depth + 1))
            while self._next("]"):
                entries.append(self.value(depth + 1))
        except _CutError:
            if not entries:
                raise
        return entries

    def _braces(self, depth: int) -> object:
        self.at += 1
        entries: list[object] = []
        found: dict[str, object] = {}
        self._skip()
        if self.text[self.at : self.at + 1] == "}":
            self._close()
            return found
        try:
            more = True
            while more:
                key = self.value(depth + 1)
                self._skip()
                if self.text[self.at : self.at + 1] == ":" and isinstance(key, str | int | float):
                    self.at += 1
                    found[str(key)] = self.value(depth + 1)
                elif found:
                    raise _NoLiteralError
                else:
                    entries.append(key)
                more = self._next("}")
        except _CutError:
            if not found and not entries:
                raise
        return found or entries


def _unescaped(found: re.Match[str]) -> str:
    if found[1]:
        code = int(found[1], 16)
        return "" if 0xD800 <= code < 0xE000 else chr(code)
    return _ESCAPES.get(found[2], found[2])

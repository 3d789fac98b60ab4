"""Plain forms of what a model writes: digits, brackets and quotes of any script, ranks drawn as pictures, no marks."""

import html
import re
import unicodedata

_ENTITY = re.compile(r"&#?\w{1,31};")
_MEDALS = {medal: f" {rank}. " for rank, medal in enumerate("🥇🥈🥉", 1)}
_KEYCAP = re.compile("(?:[0-9]\ufe0f?\u20e3)+|🔟|[🥇🥈🥉]|[①-⑳❶-❿➀-➓⓵-⓾]")
_QUOTES = str.maketrans("’‘‛´“”„«»「」『』《》", '\'\'\'\'"""""""""""')
_LINES = re.compile("\r\n|[\r\v\f\x1c-\x1e\x85\u2028\u2029]")


def plain_answer(text: str) -> str:
    """Return an answer in plain forms, where a rank that is a picture (1️⃣, 🥇, ①) is a number and a dot."""
    text = _LINES.sub("\n", _ENTITY.sub(lambda found: html.unescape(found[0]), text))
    return plain_forms(text if text.isascii() else _KEYCAP.sub(_rank, text))


def plain_forms(text: str) -> str:
    """Return a text with plain forms of digits, brackets and quotes, without marks of direction and joiners.

    It is done in pieces, because long ones take long.
    """
    if text.isascii():
        return text
    return re.sub(r"[^\n]{1,1000}", lambda found: _plain_piece(found[0]), text)


def _plain_piece(text: str) -> str:
    if text.isascii():
        return text
    # Quotes first: the compatible form of ´ is a space and an accent.
    text = unicodedata.normalize("NFKC", text.translate(_QUOTES))
    return "".join(_plain_character(char) for char in text)


def _plain_character(char: str) -> str:
    if char.isascii():
        return char
    category = unicodedata.category(char)
    if category == "Nd":
        return str(unicodedata.decimal(char))
    return "" if category in {"Cf", "Cs"} or "\ufe00" <= char <= "\ufe0f" else char


def _rank(found: re.Match[str]) -> str:
    mark = found[0]
    if mark in _MEDALS:
        return _MEDALS[mark]
    if mark == "🔟":
        return " 10. "
    if mark[0].isdecimal():
        return f" {re.sub('[^0-9]', '', mark)}. "
    return f" {unicodedata.digit(mark, 0) or int(unicodedata.numeric(mark))}. "

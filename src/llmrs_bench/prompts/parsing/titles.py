"""Titles as a model writes them, matched with the titles of a list."""

import html
import re
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

from llmrs_bench.core.types import Listed

# What candidates are called in the domains of data sets; a part of expressions.
NOUNS = (
    r"movies?|films?|books?|games?|songs?|tracks?|albums?|artists?|shows?|series|anime|videos?|podcasts?|episodes?"
    r"|products?|articles?|news|(?<!hi)stor(?:y|ies)|headlines?|recipes?|restaurants?|business(?:es)?|courses?|apps?"
)
_ENTITY = re.compile(r"&#?\w{1,31};")
_MEDALS = {medal: f" {rank}. " for rank, medal in enumerate("🥇🥈🥉", 1)}
_KEYCAP = re.compile("(?:[0-9]\ufe0f?\u20e3)+|🔟|[🥇🥈🥉]|[①-⑳❶-❿➀-➓⓵-⓾]")
_QUOTES = str.maketrans("’‘‛´“”„«»「」『』《》【】〔〕،؛।−‐│┃║", '\'\'\'\'"""""""""""[][],;.--|||')
_ORDINAL = re.compile(r"(?m)^([^\w\n]*[0-9]{1,3})\.?[ºª°](?=\s)")  # their plain forms are letters
_CONTROLS = re.compile(
    r"\x1b\[[0-9;]{0,20}[A-Za-z]|[\x00-\x08\x0e-\x1b\x7f]"
)  # colours of a terminal, and what nobody sees
_ESCAPED = re.compile(r"\\([.)(\-*_#>\[\]])")  # of Markdown
_STRUCK = re.compile(
    r"(?m)^[^\w\n~]*[0-9]{0,3}[.)]?[ \t]*~~[^~\n]{1,2000}~~[ \t]*$|~~[^~\n]{1,2000}~~"
)  # taken back by who wrote it
_FOREIGN_DIGIT = re.compile(r"[^\D0-9]")
_VARIATION = re.compile("[\ufe00-\ufe0f]")
_LINES = re.compile("\r\n|[\r\v\f\x1c-\x1e\x85\u2028\u2029]")


def plain_answer(text: str) -> str:
    """Return an answer in plain forms, where a rank that is a picture (1️⃣, 🥇, ①) is a number and a dot."""
    text = _CONTROLS.sub("", text)
    text = _ESCAPED.sub(r"\1", text) if "\\" in text else text
    text = _STRUCK.sub(" ", text) if "~~" in text else text
    text = _LINES.sub("\n", _ENTITY.sub(lambda found: html.unescape(found[0]), text))
    return plain_forms(text if text.isascii() else _ORDINAL.sub(r"\1.", _KEYCAP.sub(_rank, text)))


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
    text = _FOREIGN_DIGIT.sub(lambda found: str(unicodedata.decimal(found[0])), text)
    if not text.isprintable():  # as marks of direction and joiners are not
        text = "".join([c for c in text if c.isprintable() or unicodedata.category(c) not in {"Cf", "Cs"}])
    return _VARIATION.sub("", text)


def _rank(found: re.Match[str]) -> str:
    mark = found[0]
    if mark in _MEDALS:
        return _MEDALS[mark]
    if mark == "🔟":
        return " 10. "
    if mark[0].isdecimal():
        return f" {re.sub('[^0-9]', '', mark)}. "
    return f" {unicodedata.digit(mark, 0) or int(unicodedata.numeric(mark))}. "


# What an entry of a list may be, other than the position of a candidate.
OFF, PAST, UNSURE = -1, -2, -3
EDGES = " \t*_`\"'[](){}#.,;:<>|$\\、。，"
_YEAR = re.compile(r"\s*[(\[]((?:1[89]|20)[0-9]{2})[)\]]\s*$")
_BRACKETED = re.compile(r"(.*\S)\s*\(([^()]*[^\W\d][^()]*)\)\s*$")
_ARTICLES = "the|an?|les?|la|l'|une?|il|lo|el|los|las|der|die|das|den|det|ein|eine|os?|de|het"
_ARTICLE_LAST = re.compile(rf"(^|\()([^()]*),\s*({_ARTICLES})(?=\s*(?:[()]|$))")
_ARTICLE_FIRST = re.compile(r"(^|\()\s*(?:(?:the|an?|les?|la|une?|il|el|los|las)\s+|l')(?=\w)")
_ARTICLE = re.compile(r"[\W_]*(?:(?:the|an?|les?|la|une?|il|el|los|las)\s|l')", re.IGNORECASE)
# An article that a key moves or leaves out, other than at the beginning.
_MOVED = re.compile(rf"\(\s*(?:{_ARTICLES})(?![^\W_])|,\s*(?:{_ARTICLES})(?=\s*(?:[()\[]|$))", re.IGNORECASE)
_INSIDE = re.compile(rf"([(,])\s*({_ARTICLES})(?![^\W_])", re.IGNORECASE)  # where such an article may stand
_KNOWN = 1 << 14  # characters in a table
_PLAIN_WORD = re.compile("[a-z0-9]+")
_OTHER_WORD = re.compile(r"[^\W_a-z0-9]+")
_ACCENTS = re.compile("[\u0300-\u036f]")
_LONG_LINE = 1000
_DIGITS = re.compile("[0-9]+")


class _Signs(dict[int, int | str | None]):
    """A table for `str.translate` that replaces all but letters, digits, and marks where they are kept."""

    def __init__(self, sign: str | None, *, marks: bool) -> None:
        super().__init__()
        self.sign = sign
        self.marks = marks

    def __missing__(self, code: int) -> int | str | None:
        char = chr(code)
        kept = char.isalnum() or (self.marks and unicodedata.category(char)[0] == "M")
        if len(self) < _KNOWN:
            self[code] = code if kept else self.sign
        return code if kept else self.sign


_WORDS = _Signs(" ", marks=True)
_LETTERS = _Signs(None, marks=False)
# Nothing but the letters and digits of ASCII in lower case, as they stand in a key.
_SQUEEZED = {code: chr(code).lower() if chr(code).isalnum() else None for code in range(128)} | {ord("&"): "and"}


@dataclass(frozen=True, slots=True)
class Mention:
    """What an entry of a list means.

    Args:
        place: The candidate, or what else an entry may be.
        by: Whether it was named by its label or by its title.
        other: The candidate whose title is the same text as the label of `place`.
        doubt: The sign behind a title that may begin a longer one.
        tail: What stands behind that sign.
        sign: The sign behind a title, whether or not there is a doubt.
    """

    place: int
    by: Literal["label", "title"]
    other: int | None = None
    doubt: str = ""
    tail: str = ""
    sign: str = ""


class Names:
    """The candidates by label and by title, from the strictest key to the loosest."""

    def __init__(self, listed: Listed) -> None:
        self.listed = listed
        self.labels = {label: place for place, label in reversed(list(enumerate(listed.labels)))}
        self.known: dict[str, int | None] = {}  # texts that were looked up before
        self.read: dict[str, Mention | None] = {}
        self.tokens: dict[str, list[str]] = {}
        self.titled: dict[str, bool] = {}

    # Most answers are labels alone: what titles need is made for the others.
    @cached_property
    def shapes(self) -> set[str]:
        """What the labels have in common."""
        return set(map(shape, self.listed.labels))

    @cached_property
    def numbered(self) -> bool:
        """Whether a label is a number."""
        return "0" in self.shapes

    @cached_property
    def titles(self) -> list[str]:
        """The titles in plain forms."""
        return list(map(_plain_title, self.listed.titles))

    @cached_property
    def longest(self) -> int:
        """How long a text may be that is a title."""
        return 64 + 2 * max(map(len, [*self.listed.titles, *self.listed.history]), default=0)

    @cached_property
    def commas(self) -> int:
        """The most commas in a title."""
        return max((title.count(",") for title in self.titles), default=0)

    @cached_property
    def ampersands(self) -> int:
        """The most ampersands between words of a title."""
        return max((title.count(" & ") for title in self.titles), default=0)

    @cached_property
    def cased(self) -> bool:
        """Whether titles are shown with capitals."""
        return any(title != title.lower() for title in self.titles)

    @cached_property
    def keys(self) -> list[dict[str, list[tuple[int, str]]]]:
        """From the strictest key to the loosest: places of titles, and their years.

        Behind the whole title as it stands, folded, and loosely folded come either part of "A (B)", and last the
        letters alone: "Spiderman" of "Spider-Man".
        """
        found: list[dict[str, list[tuple[int, str]]]] = [defaultdict(list) for _ in range(5)]
        past = map(_plain_title, self.listed.history)
        for place, title in [*enumerate(self.titles), *((PAST, title) for title in past)]:
            for keys, (key, year) in zip(found, _keys(title), strict=False):
                keys[key].append((place, year))
            loose, year = _keys(title)[2]
            found[4][_joined(loose)].append((place, year))
            for part, year in _parts(title):
                found[3][_keys(part)[2][0]].append((place, year))
        return found

    @cached_property
    def squeezed(self) -> frozenset[str]:
        """Letters and digits of all keys: a text that has others is no title."""
        return frozenset(_squeezed(key) for keys in self.keys for key in keys)

    @cached_property
    def anchors(self) -> tuple[frozenset[str], tuple[str, ...]]:
        """A word of each key without which no text has that key: plain words, and those of other scripts."""
        plain: set[str] = set()
        others: set[str] = set()
        for key in {key for keys in self.keys for key in keys}:
            bare = _without_accents(key).replace("'", "")
            if found := _PLAIN_WORD.findall(bare):
                plain.add(max(found, key=len))
            elif key:  # "" of a title of signs alone is in any text
                others.add(max(_OTHER_WORD.findall(bare), key=len, default=""))
        return frozenset(plain), tuple(sorted(others))

    @cached_property
    def label_end(self) -> re.Pattern[str]:
        """Where a text may hold a digit, or the end of a label of the kind that is shown."""
        kinds = ["[^\\W\\d_a-z]" if kind == "A" else re.escape(kind) for kind in sorted(self.shapes) if "0" not in kind]
        return re.compile("|".join(["[0-9]", *(rf"{kind}(?![^\W_])" for kind in kinds)]))

    def may_name(self, text: str) -> bool:
        """Tell whether a text may hold a label, a number or a title; most lines of long answers hold none."""
        return self.label_end.search(text) is not None or self.may_hold_title(text)

    def may_hold_title(self, text: str) -> bool:
        """Tell whether a text has such a word; where it has none, neither it nor a part of it is a title."""
        if len(text) > _LONG_LINE:
            return True
        if text not in self.titled:
            self.titled[text] = self._may_hold_title(text)
        return self.titled[text]

    def _may_hold_title(self, text: str) -> bool:
        plain, others = self.anchors
        bare = _without_accents(text)
        whole = bare.replace("'", "")
        if not plain.isdisjoint(_PLAIN_WORD.findall(whole)):
            return True
        if "'" in bare:  # "l'avventura" may be two words, and "l' avventura" one
            joined = bare.replace("l' ", "l").replace("'", "")
            if not plain.isdisjoint(_PLAIN_WORD.findall(f"{bare} {joined}")):
                return True
        return any(word in whole for word in others)

    @cached_property
    def beginnings(self) -> frozenset[str]:
        """The first two letters or digits of them."""
        return frozenset(key[:2] for key in self.squeezed)

    @cached_property
    def lengths(self) -> list[int]:
        """How many letters and digits they have."""
        return sorted({len(key) for key in self.squeezed})

    def may_begin(self, text: str) -> bool:
        """Tell whether a text may begin with a title; most lines of long answers cannot, and this is soon known."""
        article = _ARTICLE.match(text)
        return (
            self._begins(text)
            or (article is not None and self._begins(text[article.end() :]))
            or (("(" in text or "," in text) and self._may_be_moved(text))
        )

    def _begins(self, text: str) -> bool:
        if not self._starts(text):
            return False
        key = _squeezed(text)
        return any(key[:length] in self.squeezed for length in self.lengths)

    def _starts(self, text: str) -> bool:
        start = _squeezed(text[:12])
        return len(start) < 2 or not self.beginnings.isdisjoint(("", start[:1], start[:2]))

    def _may_be_moved(self, text: str) -> bool:
        """Tell whether a text has an article that a title may have elsewhere: "Trommel, Die" of "Die Trommel"."""
        found = _INSIDE.findall(text)
        if not found:
            return False
        article = _ARTICLE.match(text)
        return (
            self._starts(text)
            or (article is not None and self._starts(text[article.end() :]))
            or any(
                sign == "," and one.lower()[:2] in self.beginnings and not _ARTICLE.match(f"{one} ")
                for sign, one in found
            )
        )

    def label(self, text: str) -> int | None:
        """Return the position of the candidate with a label."""
        place = self.labels.get(text)
        if place is None:
            place = self.labels.get(text.lstrip("0"))
        return place

    def title(self, text: str) -> int | None:
        """Return the position of the whole title, what else it may be, or None where it is no title at all."""
        if len(text) > self.longest or not text:
            return None
        if text not in self.known:
            self.known[text] = self._title(text)
        return self.known[text]

    def _title(self, text: str) -> int | None:
        found = self._agreeing(0, (" ".join(text.split()), ""))  # as most titles are written
        if found is None and self._may_be(text):
            _, folded, loose = _keys(text)
            looser = (folded, loose, loose, (_joined(loose[0]), loose[1]))
            found = next((at for n, key in enumerate(looser, 1) if (at := self._agreeing(n, key)) is not None), None)
        return found

    def _agreeing(self, table: int, key: tuple[str, str]) -> int | None:
        """Return what the titles of one key are: a candidate, one of the history, several candidates, or nothing."""
        text, year = key
        found = {
            place for place, own in self.keys[table].get(text, ()) if text and (not year or not own or year == own)
        }
        if candidates := found - {PAST}:
            return candidates.pop() if len(candidates) == 1 else UNSURE
        return PAST if found else None

    def _may_be(self, text: str) -> bool:
        """Tell whether a text may have a key of a title: as it is, or without its year and its article."""
        if _squeezed(text) in self.squeezed or "" in self.squeezed:
            return True
        base = dated(text)[0]
        if base != text and _squeezed(base) in self.squeezed:
            return True
        article = _ARTICLE.match(base)
        if article and _squeezed(base[article.end() :]) in self.squeezed:
            return True
        return _MOVED.search(text) is not None and self._may_be_moved(text) and self.may_hold_title(text)

    def number(self, digits: str) -> int:
        """Return the candidate that a number in a list of numbers means."""
        place = self.label(digits)
        place = self.title(digits) if place is None else place
        return OFF if place is None else place


@lru_cache(1 << 16)  # the titles of a catalogue come again and again
def _keys(title: str) -> tuple[tuple[str, str], tuple[str, str], tuple[str, str]]:
    """Return a title as it stands, folded, and folded without article, accents and year; each with its year."""
    base, year = dated(title)
    loose = base.casefold()
    if not loose.isascii():
        loose = _ACCENTS.sub("", unicodedata.normalize("NFKD", loose))
    loose = _ARTICLE_FIRST.sub(r"\1", _ARTICLE_LAST.sub(r"\1\3 \2", loose).replace("l' ", "l'"))
    return (" ".join(title.split()), ""), (fold(title), ""), (fold(loose), year)


def _joined(key: str) -> str:
    """Return the letters of a key without its spaces, nothing of one with less than four: "1 2" is not "12"."""
    joined = key.replace(" ", "")
    return joined if sum(map(str.isalpha, joined)) > 3 else ""


def _without_accents(text: str) -> str:
    bare = text.casefold().replace("&", " and ")
    return bare if bare.isascii() else _ACCENTS.sub("", unicodedata.normalize("NFKD", bare))


def _squeezed(text: str) -> str:
    """Return nothing but the letters and digits of a text, as loosely as its keys compare them."""
    if text.isascii():
        return text.translate(_SQUEEZED)
    return unicodedata.normalize("NFKD", text.casefold().replace("&", " and ")).translate(_LETTERS)


def _parts(title: str) -> list[tuple[str, str]]:
    """Return what "Shadows (Cienie) (1988)" is also called, "Shadows" and "Cienie", each with the year."""
    base, year = dated(title)
    found = _BRACKETED.match(base)
    return [(found[1], year), (found[2], year)] if found else []


def dated(title: str) -> tuple[str, str]:
    """Return a title without the year in brackets behind it, and that year; a title that is but a year stays."""
    found = _YEAR.search(title[-16:])
    base = title[: -len(found[0])] if found else ""
    return (base, found[1]) if found and base.strip() else (title, "")


def fold(text: str) -> str:
    """Return the letters, marks and digits of a text, in lower case, words parted by one space."""
    return " ".join(text.casefold().replace("'", "").replace("&", " and ").translate(_WORDS).split())


_plain_title = lru_cache(1 << 16)(plain_forms)


@lru_cache(1 << 16)
def shape(label: str) -> str:
    """Return what labels of one kind have in common."""
    return "A" if len(label) == 1 and label.isupper() else _DIGITS.sub("0", label)

"""What the entries of one list mean together."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

from llmrs_bench.prompts.parsing.items import (
    BULLET,
    labels_between,
    looks_like_item,
    read_item,
    settle,
    without_bullet,
)
from llmrs_bench.prompts.parsing.titles import EDGES, OFF, UNSURE, Mention, Names

_WORDS = r"(?:rank(?:ing)?|place|position|pick|choice|top|number|no|nr|platz|rang|puesto|posto|место|第|順位|순위)"
_NUMBER = re.compile(
    rf"[\s>*_`\"'\[(#]*(?P<word>{_WORDS}[\s.:#]*)?(?P<number>[0-9]{{1,9}})(?:(?:st|nd|rd|th)(?:\s(?:place|pick|choice))?|er|ère|re|ème|eme|[dtr]o|[mvn]o|[dtrmvn]a|o|a|e|-?(?:е|я|й)|位|名|番目|番|等|순위|위|번째|번"
    r"|\s?(?:/|of)\s?[0-9]{1,3}(?=\s*[:.)\-–—]))?(?![0-9\w])"
    r"(?:[.º]?\s(?:place|platz|rang|lugar|puesto|posto|miejsce|plaats|sija|место|місце)(?=\s?:|\s[-–—]\s))?"
    r"(?P<sign>[\])*_`\"']*\s*(?:->|=>|→|[.:;)|,、=>~·・]+|[-–—]+(?=[\s\w\[(*\"'])|(?=\s|$)|(?<=[\])]))[*_`]*)\s*(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_LETTERS = re.compile(
    r"[\s>*_`\"'\[(]*(?P<number>[A-Za-z]{1,7}|[^\W\d_])(?P<sign>[*_`]*(?:[.):\]][*_`.:]*\s|、))\s*(?P<rest>.*)",
    re.DOTALL,
)
_ORDINALS = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh"]
_ORDINALS += ["twelfth", *(f"{n}teenth" for n in ("thir", "four", "fif", "six", "seven", "eigh", "nine")), "twentieth"]
_CARDINALS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_CARDINALS += [*(f"{n}teen" for n in ("thir", "four", "fif", "six", "seven", "eigh", "nine")), "twenty"]
_IDEOGRAPHS = ["", *"一二三四五六七八九", *(f"十{n}" for n in ("", *"一二三四五六七八九")), "二十"][1:]
_OTHER_ORDINALS = tuple(
    words.split()
    for words in (
        "premier deuxième troisième quatrième cinquième sixième septième huitième neuvième dixième",
        "primero segundo tercero cuarto quinto sexto séptimo octavo noveno décimo",
        "primeiro segundo terceiro quarto quinto sexto sétimo oitavo nono décimo",
        "primo secondo terzo quarto quinto sesto settimo ottavo nono decimo",
        "erstens zweitens drittens viertens fünftens sechstens siebtens achtens neuntens zehntens",
        "первое второе третье четвертое пятое шестое седьмое восьмое девятое десятое",
        "первый второй третий четвертый пятый шестой седьмой восьмой девятый десятый",
    )
)
_LISTS = (
    _ORDINALS,
    _CARDINALS,
    _IDEOGRAPHS,
    *_OTHER_ORDINALS,
    "壹貳參肆伍陸柒捌玖拾",
    "壱弐参",
    "壹贰叁肆伍陆柒捌玖拾",
)
_COUNTED = {word: rank for words in _LISTS for rank, word in enumerate(words, 1)}
_SAID = frozenset(word for words in (_ORDINALS, *_OTHER_ORDINALS) for word in words)  # these can be nothing but ranks
# Letters that count lines where those of Latin do not.
_ALPHABETS = (
    *("абвгдежзиклмнопрст", "αβγδεζηθικλμνξοπρστ", "אבגדהוזחטי", "ابتثجحخدذر", "أبجدهوزحطي"),
    *(
        "가나다라마바사아자차카타파하",
        "甲乙丙丁戊己庚辛壬癸",
        "アイウエオカキクケコ",
        "あいうえおかきくけこ",
        "กขคงจฉชซ",
        "कखगघङचछज",
    ),
)
_COUNTING = {letter: alphabet.index(letter) + 1 for alphabet in reversed(_ALPHABETS) for letter in alphabet}
_PLACES = {"best": 1, "top pick": 1, "top choice": 1, "winner": 1, "runner-up": 2}
_COUNTED |= _PLACES
_WORDED = re.compile(
    rf"[\s>*_`\"'(\[]*({'|'.join(sorted(_COUNTED, key=len, reverse=True))})"
    r"(?:\s+(?:place|pick|choice|место|lugar|posto))?[*_`]*(?:\s*(?P<sign>[:.,、)\]\-–—=]+)|(?<=[一-十])(?:位|名|番目)[\s:.,、)\-–—]*)[*_`]*\s*(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_FIRST_WORD = re.compile(r"[\s>*_`\"'(\[]*([^\W\d_]+)")
_FIRST_WORDS = frozenset(word for counted in _COUNTED for word in _FIRST_WORD.findall(counted)[:1])
_IDEOGRAPHS_FIRST = frozenset(word[0] for word in _COUNTED if not word.isascii() and len(word) < 3)
_RANK_WORDS = _SAID | {"rank", "place", "position", "pick", "choice"}
_ROMAN = re.compile(r"(?=[ivxl])(xl|l?x{0,3})(ix|iv|v?i{0,3})", re.IGNORECASE)
_DECIMAL = re.compile(r"\W*0\.[0-9]")
_EXTREME = re.compile(
    rf"^(\W*{_WORDS}\W{{0,2}}[0-9]{{1,3}})\s\((?:best|worst|most|least|highest|lowest|top|last)[^()]{{0,30}}\)",
    re.IGNORECASE,
)
_VALUES = {"i": 1, "v": 5, "x": 10, "l": 50}


@dataclass(frozen=True, slots=True)
class Rank:
    """What may be the rank of a line.

    Args:
        values: The numbers that it may be: of "i." as a Roman numeral and as a letter, None where it is none.
        rest: What follows it.
        parted: Whether more than a space stands between the two.
        worded: Whether a word says that it is a rank.
        full: Whether an item may follow it.
    """

    values: tuple[int | None, int | None, int | None]
    rest: str
    parted: bool = True
    worded: bool = False
    full: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "full", any(map(str.isalnum, self.rest)))


@lru_cache(1 << 15)
def read_rank(line: str) -> Rank | None:
    """Return the rank with which a line begins, if there is one."""
    if _DECIMAL.match(line):
        return None
    if "(" in line[:24]:
        line = _EXTREME.sub(r"\1", line)  # "Rank 1 (best): 7"
    if found := _NUMBER.match(line):
        parted = bool(found["word"] or found["sign"].strip(" *_`\"'"))
        rank = Rank((int(found["number"]), None, None), found["rest"], parted, bool(found["word"]))
        again = _again(rank.rest)  # "1. First: Heat"
        return again if again and again.full and again.values[0] == rank.values[0] else rank
    word = _FIRST_WORD.match(line)
    counted = word is not None and (word[1].lower() in _FIRST_WORDS or word[1][0] in _IDEOGRAPHS_FIRST)
    said = _WORDED.match(line) if counted else None
    if said and (value := _COUNTED.get(said[1].lower())) and (said[1].lower() not in _CARDINALS or said["sign"] != ","):
        return Rank((value, None, None), said["rest"], worded=said[1].lower() in _SAID | _PLACES.keys())
    if found := _LETTERS.match(line):
        mark = found["number"].lower()
        roman = _roman(mark) if _ROMAN.fullmatch(mark) else None
        letter = _COUNTING.get(mark) or ("a" <= mark <= "z" and ord(mark) - ord("a") + 1) if len(mark) == 1 else None
        if roman or letter:
            return Rank((None, roman, letter), found["rest"])
    return None


def _again(rest: str) -> Rank | None:
    """Return a rank in words with which the text behind a rank begins."""
    word = _FIRST_WORD.match(rest)
    if word is None or word[1].lower() not in _RANK_WORDS:
        return None
    if (found := _WORDED.match(rest)) and (value := _COUNTED.get(found[1].lower())):
        return Rank((value, None, None), found["rest"], worded=True)
    found = _NUMBER.match(rest)
    return Rank((int(found["number"]), None, None), found["rest"], worded=True) if found and found["word"] else None


def read_rank_word(word: str) -> int | None:
    """Return the rank that a key of an object gives: "1", "rank_1", "1st", "first", "choice one"."""
    if found := re.fullmatch(r"\D{0,12}([0-9]{1,4})\D{0,3}", word):
        return int(found[1])
    ranks = [1] if word.lower() == "top" else []
    ranks = ranks or [_COUNTED[part] for part in re.split(r"[\W_]+", word.lower()) if part in _COUNTED]
    return ranks[0] if len(ranks) == 1 else None


def _roman(mark: str) -> int:
    numbers = [_VALUES[sign] for sign in mark]
    return sum(-one if one < after else one for one, after in zip(numbers, [*numbers[1:], 0], strict=True))


def counting(ranks: Sequence[Rank]) -> bool:
    """Tell whether ranks count: from 1 upwards, or one by one from where an earlier list ended."""
    for kind in range(3):
        values = [value for rank in ranks if (value := rank.values[kind]) is not None]
        if len(values) != len(ranks) or not values:
            continue
        if all(before < after for before, after in pairwise(values)) and (
            (values[0] == 1 and (kind == 0 or len(values) > 1))
            or (len(values) > 2 and values[-1] - values[0] == len(values) - 1 and kind == 0)
        ):
            return True
    return False


_VALUED = re.compile(
    r"(?P<item>\S(?:.{0,300}?\S)?)\s*(?P<sign>[:=|,;~]|\.{2,}|->|=>|→|\s[-–—]+(?=\s)|—|\(|(?=[★⭐☆])|\s(?=[0-9]{1,3}(?:\.[0-9]+\s?%?|\s?%)\W*$))\s*"
    r"(?:(?P<rank>rank(?:ed)?\W{0,2}|\#|no\.?\s?)?(?P<value>[-+]?(?:[0-9]{1,6}(?:\.[0-9]{1,9})?|\.[0-9]{1,9})(?:e[-+]?[0-9]{1,3})?)"
    r"(?P<ordinal>st|nd|rd|th)?\s*(?:(?:%|/\s*[0-9]+|stars?|points?|pts|点|점|分)(?:[\])]*\s*[-–—(:;,.]\s?[^\W\d].{0,300})?)?|(?P<stars>[★⭐]{1,10})[☆\s]*"
    r"|(?P<verdict>yes|no|true|false|(?:very )?(?:high|low)|medium|moderate))\s*[)\]]?\s*",
    re.IGNORECASE,
)
_SHARE = re.compile(r"[\s*_\-•\[(]*([0-9]{1,3})\s?/\s?([0-9]{1,3})[\s*_\])]*[:\-–—|\s]\s*(\S.*)")
_SCALED = re.compile(r"%|\d\s?/\s?\d")
_LEAST = 3
_YEAR = re.compile("(?:18[89]|19[0-9]|20[0-4])[0-9]")


def read_mentions(texts: Sequence[str], names: Names, *, strict: bool) -> list[Mention]:
    """Return what the entries of a list mean, in their order, without those that are notes or nothing.

    Where ranks count 1, 2, 3, what follows them is the item; where numbers fall behind items, they are scores.

    Args:
        texts: The entries.
        names: What was shown.
        strict: Whether each entry is an item: one that is not read is then another item.
    """
    texts = _with_scores_behind(texts, len(names.listed.titles))
    ranks = [None if _is_title(text, names) else read_rank(text) for text in texts]
    full = [rank for rank in ranks if rank and rank.full]
    ranked = counting(full) and (len(full) > 1 or full[0].parted)
    if (not ranked or _are_scores(full, names)) and (valued := read_valued(texts, names)):
        return valued
    if ranked and len(full) == len(texts) and (valued := _valued_labels(full, names)):
        return valued
    if not ranked and (counted := _countdown(full, names)):
        return counted
    numbered = ranked and len(full) > 1
    found: list[Mention] = []
    weak: list[Mention] = []
    for text, rank in zip(texts, ranks, strict=True):
        if numbered and (rank is None or not rank.full) and not strict:
            continue
        bare = rank is not None and not rank.full and bool(full) and (ranked or rank.worded)
        mention = None if bare else _mention(text, rank, names, ranked=ranked)
        several: list[Mention] = []
        if mention is None or mention.doubt or mention.place == OFF:
            several = _several(rank.rest if rank and ranked else text, texts, names)
        if several:
            found += several
            continue
        if mention is None and not bare and (strict or (rank and rank.parted)):
            mention = _unread(rank.rest if rank else text, ranked or strict)
        elif mention is None and BULLET.match(text):
            weak.append(Mention(OFF, "title")) if looks_like_item(text) else None
            found += weak[-1:] if looks_like_item(text) else []
        if mention is not None:
            found.append(mention)
    if any(rank.parted for rank in full):
        dropped = set(map(id, weak))
        found = [mention for mention in found if id(mention) not in dropped]
    return settle(found)


_HYPHENATED = re.compile(r"\W*[0-9]+-[0-9]+\W*")


def _is_title(text: str, names: Names) -> bool:
    """Tell whether an entry is a title such as "24-7", and no rank with a label."""
    return _HYPHENATED.fullmatch(text) is not None and names.title(without_bullet(text).strip(EDGES)) is not None


def _several(text: str, texts: Sequence[str], names: Names) -> list[Mention]:
    """Read an entry that names several candidates: "Heat / Alien", or a span of labels, "9-12"."""
    text = without_bullet(text)
    bare = text.strip(EDGES)
    between = labels_between(bare, {each.strip(EDGES) for each in texts}, names) if bare[:1].isdecimal() else []
    return [Mention(names.number(label), "label") for label in between] or _tied(text, names)


_TIE = re.compile(r"\s+[/=]\s+")


def _tied(text: str, names: Names) -> list[Mention]:
    """Read an entry of several whole titles, "Heat / Alien", which share a rank."""
    if " / " not in text and " = " not in text:
        return []
    parts = [part.strip(EDGES) for part in _TIE.split(without_bullet(text))] if len(text) < names.longest * 4 else []
    places = [names.title(part) for part in parts[:_MOST_TIED]]
    whole = len({*places}) == len(places) > 1 and all(place is not None and place >= 0 for place in places)
    return (
        [Mention(place, "title") for place in places if place is not None] if whole and len(parts) <= _MOST_TIED else []
    )


_MOST_TIED = 5


def _with_scores_behind(texts: Sequence[str], count: int) -> Sequence[str]:
    """Return "9/10: Heat" as "Heat: 9/10" where such numbers do not count the entries."""
    if len(texts) < 2 or not _SHARE.match(texts[0]):
        return texts
    found = [_SHARE.match(text) for text in texts]
    shares = [share for share in found if share]
    values = [int(share[1]) for share in shares]
    falls = all(before >= after for before, after in pairwise(values)) and values[0] > values[-1]
    rises = all(before < after for before, after in pairwise(values))
    scale = {int(share[2]) for share in shares}  # "2/8" of eight is a rank
    scores = falls or (scale <= {5, 10, 20, 100} and not rises and scale.isdisjoint({len(texts), count}))
    if len(shares) < len(texts) or len(scale) > 1 or not scores:
        return texts
    return [f"{share[3]}: {share[1]}/{share[2]}" for share in shares]


_SCORE = re.compile(r"\d+(?:[.,]\d+)?")


def _are_scores(ranks: Sequence[Rank], names: Names) -> bool:
    """Tell whether what follows ranks are numbers of no candidate, so that the ranks may be labels with scores."""
    values = [rank.rest.strip(" .") for rank in ranks]
    known = any(names.label(value) is not None or names.title(value) is not None for value in values)
    return len(values) >= _LEAST and all(map(_SCORE.fullmatch, values)) and not known


def _valued_labels(ranks: Sequence[Rank], names: Names) -> list[Mention]:
    """Read entries such as "1. Heat: 3/10", "2. Alien: 9/10" where each number is the label of its item and no rank."""
    rests = [rank.rest for rank in ranks]
    if not all(map(_VALUED.fullmatch, rests)):
        return []
    for rank in ranks:
        item = read_item(rank.rest, names)
        label = names.listed.labels[item.place].lower() if item and item.place >= 0 else ""
        number, _, letter = rank.values
        if label not in {str(number), chr(ord("a") + (letter or 1) - 1)}:
            return []
    return read_valued(rests, names)


def _countdown(ranks: Sequence[Rank], names: Names) -> list[Mention]:
    """Read entries whose ranks count down to 1, "3. Heat", "2. Alien", "1. Fargo", best first; labels are no ranks."""
    values = [rank.values[0] for rank in ranks]
    if values != list(range(len(values), 0, -1)):
        return []
    items = [item for rank in ranks if (item := read_item(rank.rest, names)) and item.place >= 0]
    if len(items) < max(_LEAST, len(ranks)):
        return []
    own = all(names.label(str(value)) == item.place for value, item in zip(values, items, strict=True))
    return [] if own else settle(items)[::-1]


def _mention(text: str, rank: Rank | None, names: Names, *, ranked: bool) -> Mention | None:
    if rank is not None and rank.worded and rank.full and (mention := read_item(rank.rest, names)):
        return mention
    if not ranked or rank is None:
        if rank is not None and not rank.full and rank.worded:
            return read_item(str(rank.values[0]), names)
        return read_item(text, names)
    if mention := read_item(rank.rest, names):
        return mention
    whole = read_item(text, names)
    return whole if whole is not None and whole.by == "title" else None


def _unread(text: str, sure: bool) -> Mention | None:
    if not looks_like_item(text):
        return Mention(UNSURE, "title") if sure and any(map(str.isalnum, text)) else None
    return Mention(OFF, "title")


def read_valued(texts: Sequence[str], names: Names) -> list[Mention]:
    """Read items with a number behind each of them, best first; none where that is not what they are.

    Where the numbers may be ranks as well as scores, or the items have verdicts such as yes and no, nobody can tell the
    order: all of them are unsure.
    """
    if len(texts) < 2:
        return []
    pairs: list[re.Match[str]] = []
    items: list[Mention] = []
    places: set[int] = set()
    for text in texts:
        bare = without_bullet(text).strip()
        pair = _VALUED.fullmatch(bare)
        if pair and pair["value"] and _YEAR.fullmatch(pair["value"]) and names.title(bare) is not None:
            pair = None  # "Heat (1995)" is a whole title
        item = read_item(pair["item"], names) if pair else None
        if pair is None or item is None or item.place < 0 or item.place in places:
            return []
        pairs.append(pair)
        items.append(item)
        places.add(item.place)
    mentions = settle(items)
    unsure = [Mention(UNSURE, "title")] * len(mentions)
    years = all(pair["value"] and _YEAR.fullmatch(pair["value"]) for pair in pairs)
    if years or any(pair["verdict"] for pair in pairs):
        return unsure if len({pair["verdict"] for pair in pairs}) > 1 else []
    plain = not any(
        pair["rank"] or pair["ordinal"] or pair["stars"] or pair["value"].strip("0123456789") for pair in pairs
    )
    by_title = all(item.by == "title" for item in mentions)
    if len(texts) < _LEAST and plain and by_title and not any(map(_SCALED.search, texts)):
        return []  # "Rocky - 2" may as well be another title
    own = sum(names.label(pair["value"] or "") == item.place for pair, item in zip(pairs, mentions, strict=True))
    if plain and by_title and own > len(pairs) / 2:
        return mentions  # "Heat (4)": each with its own label
    values = [float(len(pair["stars"]) if pair["stars"] else pair["value"]) for pair in pairs]
    told = any(pair["rank"] or pair["ordinal"] or pair["sign"] in {"->", "=>", "→"} for pair in pairs)
    counts = sorted(values) == [float(number) for number in range(1, len(values) + 1)]
    order = by_value(values, "rank" if told and counts else "")
    return [mentions[at] for at in order] or unsure


def is_valued(text: str, names: Names) -> bool:
    """Tell whether a text is an item and a number behind it."""
    found = _VALUED.fullmatch(text)
    item = read_item(found["item"], names) if found else None
    return item is not None and item.place >= 0


def by_value(values: Sequence[float], meaning: str = "") -> list[int]:
    """Return the order that ranks or scores give a list, as positions; nothing where they may be either.

    Args:
        values: A number for each entry.
        meaning: `rank` or `score` where the answer says which it is.
    """
    here = range(len(values))
    counts = sorted(values) == [float(number) for number in range(1, len(values) + 1)]
    if meaning == "rank":
        return sorted(here, key=lambda at: values[at])
    if meaning == "score":
        return sorted(here, key=lambda at: -values[at])
    if all(before >= after for before, after in pairwise(values)) or (counts and list(values) == sorted(values)):
        return list(here)
    return [] if counts else sorted(here, key=lambda at: -values[at])

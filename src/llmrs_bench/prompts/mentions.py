"""What the entries of one list mean together: their ranks, labels, titles and scores."""

import re
from collections.abc import Sequence
from itertools import pairwise

from llmrs_bench.prompts.items import BULLET, looks_like_item, read_item, settle, without_bullet
from llmrs_bench.prompts.ranks import Rank, counting, read_rank
from llmrs_bench.prompts.titles import OFF, UNSURE, Mention, Names

_VALUED = re.compile(
    r"(?P<item>\S(?:.{0,300}?\S)?)\s*(?:[:=|,~]|->|=>|→|\s[-–—]|—|\()\s*(?P<value>[0-9]{1,6}(?:\.[0-9]{1,9})?)\s*(?:%|/\s*[0-9]+)?\s*[)\]]?\s*"
)
_LEAST = 3


def read_mentions(texts: Sequence[str], names: Names, *, strict: bool) -> list[Mention]:
    """Return what the entries of a list mean, in their order, without those that are notes or nothing.

    Where ranks count 1, 2, 3, what follows them is the item; where numbers fall behind items, they are scores.

    Args:
        texts: The entries.
        names: What was shown.
        strict: Whether each entry is an item: one that is not read is then another item.
    """
    ranks = [read_rank(text) for text in texts]
    full = [rank for rank in ranks if rank and rank.full]
    ranked = counting(full) and (len(full) > 1 or full[0].parted)
    if not ranked and (valued := read_valued(texts, names)):
        return valued
    numbered = ranked and len(full) > 1
    found: list[Mention] = []
    weak: list[Mention] = []
    for text, rank in zip(texts, ranks, strict=True):
        if numbered and (rank is None or not rank.full) and not strict:
            continue
        bare = rank is not None and not rank.full and bool(full) and (ranked or rank.worded)
        mention = None if bare else _mention(text, rank, names, ranked=ranked)
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
    """Read items with a number behind each of them, best first; none where that is not what they are."""
    pairs = [_VALUED.fullmatch(without_bullet(text).strip()) for text in texts]
    if len(texts) < 2 or not all(pairs):
        return []
    items = [read_item(pair["item"], names) for pair in pairs if pair]
    values = [float(pair["value"]) for pair in pairs if pair]
    if not all(item is not None and item.place >= 0 for item in items):
        return []
    mentions = settle([item for item in items if item])
    if len(texts) < _LEAST and all(item.by == "title" for item in mentions) and not any("%" in text for text in texts):
        return []  # "Rocky - 2" may as well be another title
    if len({mention.place for mention in mentions}) < len(mentions):
        return []
    return [mentions[at] for at in by_value(values)]


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

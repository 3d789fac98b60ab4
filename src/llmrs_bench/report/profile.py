"""The profile of a data set in words, and as a picture in a terminal."""

import re
from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any

WIDTH = 80
_LABEL = 13  # columns of what stands before the words
_PLOT = 64  # and of the events over time
_HEIGHT = 4  # lines
_ACROSS, _UP = " ▏▎▍▌▋▊▉█", " ▁▂▃▄▅▆▇█"  # eighths of a cell
_PLAIN = " .#"  # where the terminal has no blocks


def profile_lines(
    title: str, facts: Mapping[str, Any], *, rules: Sequence[str], warnings: Sequence[str], blocks: bool
) -> list[str]:
    """Return the profile in lines of at most 80 columns.

    Args:
        title: What was read.
        facts: A `Profile` as a mapping.
        rules: How it was read.
        warnings: What to look at.
        blocks: Whether the terminal can show block characters.
    """
    lines = [*wrap(title, WIDTH), *_rows(profile_rows(facts))]
    for name, whose in (("per_user", "users"), ("per_item", "items")):
        if (spread := facts[name]) is not None:
            lines += ["", f"{whose} by their number of events", *_bars(spread["bins"], blocks)]
    if (times := facts["times"]) is not None and times["bins"]:
        lines += ["", "events over time", *(line.rstrip() for line in _columns(times["bins"], blocks))]
        lines.append(times["first"][:10] + times["last"][:10].rjust(_PLOT - 10))
    more = [*(("rule", rule) for rule in rules), *(("warning", warning) for warning in warnings)]
    return [*lines, *([""] if more else []), *_rows(more)]


def profile_rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what was counted as pairs of a name and words.

    Args:
        facts: A `Profile` as a mapping.
    """
    users, events, tied, repeats = (facts[name] for name in ("users", "events", "tied_users", "repeats"))
    rows = [
        ("users", f"{users:,}"),
        ("items", f"{facts['items']:,} with events, {facts['listed']:,} listed"),
        ("events", f"{events:,}" + (f"; {facts['without_ids']:,} more lack an id" if facts["without_ids"] else "")),
        ("per user", _spread(facts["per_user"])),
        ("per item", _spread(facts["per_item"])),
        ("sparsity", "-" if facts["sparsity"] is None else _sparsity(facts["sparsity"])),
        ("ties", f"{_share(tied, users)} of users have several last events, all of one time" if tied else "none"),
        ("repeats", _repeats(repeats, facts["copies"], events)),
        ("times", _times(facts["times"])),
        ("ratings", _ratings(facts["ratings"], events)),
        (
            "labels",
            f"{events:,} chosen, {facts['not_chosen']:,} shown and not chosen" if facts["not_chosen"] else "none",
        ),
        *_titles(facts["titles"], facts["listed"]),
    ]
    return [*rows, *(("such as", _example(example)) for example in facts["examples"])]


def bin_labels(bins: Sequence[int]) -> list[str]:
    """Return what a bin of a `Spread` holds: 1, 2-3, 4-7, and so on."""
    return ["1" if place == 0 else f"{2**place:,}-{2 ** (place + 1) - 1:,}" for place in range(len(bins))]


def _share(count: int, whole: int) -> str:
    return f"{count:,} ({100 * count / whole:.1f} %)" if whole else f"{count:,}"


def _amount(number: float) -> str:
    return f"{number:,.15g}"


def _sparsity(share: float) -> str:
    """Return it with the digits that differ from 100 %."""
    digits = next((digits for digits in (2, 4, 6) if 1 - share > 5 * 10 ** -(digits + 2)), 8)
    return f"{100 * share:.{digits}f} % of all pairs of a user and an item have no event"


def _spread(spread: Mapping[str, Any] | None) -> str:
    if spread is None:
        return "-"
    lower, median, upper = (_amount(spread[name]) for name in ("lower", "median", "upper"))
    ends = f"{spread['least']:,} to {spread['most']:,}, median {median}, mean {spread['mean']:,.1f}"
    return f"{ends}; a quarter has at most {lower}, a quarter at least {upper}"


def _repeats(repeats: int, copies: int, events: int) -> str:
    if not repeats:
        return "none"
    words = f"{_share(repeats, events)} of events are of an item that the user had before"
    return words + (f"; {copies:,} are copies, of the same time and rating" if copies else "")


def _times(times: Mapping[str, Any] | None) -> str:
    if times is None:
        return "none: the order of the source counts"
    words = [f"{times['first']} to {times['last']} UTC" if times["bins"] else f"all {times['first']} UTC"]
    words += [f"read as {times['unit']}"] if times["unit"] else []
    return "; ".join([*words, *(["days alone, without a time of day"] if times["days_only"] else [])])


def _ratings(ratings: Mapping[str, Any], events: int) -> str:
    if not ratings["rated"]:
        return "none"
    listed = ", ".join(f"{value:g} ({count:,})" for value, count in ratings["values"])
    words = listed or f"{ratings['least']:g} to {ratings['most']:g}, {ratings['distinct']:,} different ones"
    left = events - ratings["rated"]
    return words + (f"; {_share(left, events)} of events have none" if left else "")


def _titles(titles: Mapping[str, Any], listed: int) -> Iterator[tuple[str, str]]:
    if titles["median"] is None:
        yield "titles", "none: items are called by their id"
    else:
        words = [f"median {_amount(titles['median'])} characters, longest {titles['longest']:,}"]
        words += [f"{_share(titles['untitled'], listed)} items have none"] if titles["untitled"] else ["none missing"]
        words += [f"{titles['equal']:,} share theirs with another item"] if titles["equal"] else ["all different"]
        yield "titles", "; ".join(words)
    if titles["years"] is not None:
        first, last = titles["years"]
        yield (
            "years",
            f"{first} to {last}" + (f"; {titles['without_year']:,} items have none" * bool(titles["without_year"])),
        )
    if titles["distinct_categories"]:
        named = ", ".join(f"{_shown(name)} ({count:,})" for name, count in titles["categories"])
        yield "categories", f"{titles['distinct_categories']:,}, most often {named}"
    yield "attributes", f"{titles['with_text']:,} items have others, as text" if titles["with_text"] else "none"


def _example(example: Mapping[str, Any]) -> str:
    rating = None if example["rating"] is None else f"rated {example['rating']:g}"
    title = "" if example["title"] == example["item"] else f" ({_shown(example['title'])})"
    words = [f"user {_shown(example['user'])}", f"item {_shown(example['item'])}{title}", example["time"], rating]
    return ", ".join(filter(None, words))


def _shown(text: str) -> str:
    """Return a text of the source on one line, without what a terminal would obey, cut where it is long."""
    plain = re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", text)
    return plain if len(plain) <= 60 else f"{plain[:57]}..."


def _rows(rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    for name, words in rows:
        yield from wrap(words, WIDTH, initial_indent=name.ljust(_LABEL), subsequent_indent=" " * _LABEL)


def _bars(bins: Sequence[int], blocks: bool) -> Iterator[str]:
    """Yield a bar for each bin from the first with anything in it."""
    first = next((place for place, count in enumerate(bins) if count), 0)
    labels, counts = bin_labels(bins)[first:], bins[first:]
    left, right = max(map(len, labels)), max(len(f"{count:,}") for count in counts)
    room = WIDTH - left - right - 4
    for label, count in zip(labels, counts, strict=True):
        bar = _filled(count / max(counts), room, _ACROSS if blocks else _PLAIN)
        yield f"{label:>{left}}  {count:>{right},}  {bar}".rstrip()


def _columns(counts: Sequence[int], blocks: bool) -> Iterator[str]:
    """Yield lines, from the top, in which each count is a column."""
    most = max(counts)
    stacks = [_filled(count / most, _HEIGHT, _UP if blocks else _PLAIN).ljust(_HEIGHT) for count in counts]
    for place in reversed(range(_HEIGHT)):
        yield "".join(stack[place] for stack in stacks)


def _filled(share: float, cells: int, signs: str) -> str:
    """Return a bar over a share of so many cells, in steps of the signs; what is above 0 shows."""
    steps = len(signs) - 1
    whole, rest = divmod(max(round(share * cells * steps), int(share > 0)), steps)
    return signs[-1] * whole + (signs[rest] if rest else "")

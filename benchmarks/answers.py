"""Time the reading of long written answers, 100 kB each, of ordinary and of hostile kinds.

python benchmarks/answers.py --repeats 5
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from random import Random

from llmrs_bench.core.types import Listed
from llmrs_bench.prompts.parsing.answer import parse_ranking

LONG = 100_000
FIRST = ("Silent", "Golden", "The Last", "A Distant", "Broken", "Les", "Paper", "Winter", "Nine", "Blue")
SECOND = ("Harbour", "Orchard", "Letters", "Machine", "Rivières", "Children", "Mirror", "Summer", "Tigers", "Station")
PROSE = (
    "the reader seems to enjoy quiet dramas and long novels with a slow beginning so this one fits quite well because "
    "of its tone, its cast and the story; on the other hand 1994 was a good year. Therefore I place it higher: it has a"
)
WORDS = PROSE.split()
SCRIPTS = (  # ranges of characters
    *((0x20, 0x7F), (0xA0, 0x250), (0x370, 0x530), (0x590, 0x780), (0x900, 0xE00), (0x2000, 0x2C00)),
    *((0x3040, 0x3100), (0x4E00, 0x9FFF), (0xAC00, 0xD7A0), (0xF900, 0xFFFE), (0x1F000, 0x1FAFF)),
)


def made_up(count: int) -> Listed:
    """Return candidates with numbers as labels, and titles with articles, years, accents, commas and subtitles."""
    draw = Random(1)
    pairs = draw.sample([f"{first} {second}" for first in FIRST for second in SECOND], count + 10)
    forms = ("{}", "{} ({year})", "{}: Part Two ({year})", "{}, The ({year})", "{} (Der {second}) ({year})")
    titles = [
        forms[at % len(forms)].format(title, year=1930 + at, second=SECOND[at % len(SECOND)])
        for at, title in enumerate(pairs)
    ]
    return Listed(tuple(map(str, range(1, count + 1))), tuple(titles[:count]), tuple(titles[count:]))


def _lines(pieces: Iterator[str], between: str = "\n") -> str:
    kept: list[str] = []
    size = 0
    while size < LONG:
        kept.append(next(pieces))
        size += len(kept[-1]) + len(between)
    return between.join(kept)[:LONG]


def answers(shown: Listed) -> dict[str, str]:
    """Return a long answer of every kind."""
    draw = Random(2)
    count = len(shown.titles)

    def each(form: str) -> Iterator[str]:
        number = 0
        while True:
            order = draw.sample(range(count), count)
            for at in order:
                number += 1
                yield form.format(
                    n=number,
                    rank=1 + (number - 1) % count,
                    label=shown.labels[at],
                    title=shown.titles[at],
                    words=" ".join(draw.choices(WORDS, k=12)),
                    word=draw.choice(WORDS),
                    any=draw.randint(0, 10 ** draw.randint(1, 9)),
                )

    def objects() -> Iterator[str]:
        for at, title in enumerate(each("{title}")):
            yield json.dumps({"rank": 1 + at % count, "title": title, "reason": " ".join(draw.choices(WORDS, k=8))})

    def characters() -> Iterator[str]:
        while True:
            yield "".join(chr(draw.randint(*draw.choice(SCRIPTS))) for _ in range(60))

    def points() -> Iterator[str]:
        while True:
            yield "".join(chr(code) for code in draw.choices(range(0x110000), k=100) if not 0xD800 <= code < 0xE000)

    return {
        "labels on lines": _lines(each("{label}")),
        "labels on one line": _lines(each("{label}"), ", "),
        "ranks and titles, one list": _lines(each("{n}. {title}")),
        "ranks and titles, list after list": _lines(each("{rank}. {title}")),
        "ranks, titles, remarks": _lines(each("{rank}. {title} - {words}")),
        "titles in bold, notes below": _lines(each("{rank}. **{title}**\n   - {words}")),
        "bullets of longer titles": _lines(each("- {title} {word} {n}")),
        "titles on one line": _lines(each("{title}"), ", "),
        "ranks and titles on one line": _lines(each("{rank}. {title}"), " "),
        "labels with scores": _lines(each("{label}: {any}")),
        "titles with scores": _lines(each("{title}: 0.{any}")),
        "records of fields": _lines(each("Title: {title}\nRank: {rank}\nReason: {words}\n")),
        "fields with captions": _lines(each("{word} {word}: {title}, {words}")),
        "prose": _lines(each("{words}.")),
        "prose with titles": _lines(each("I think that {title} is next, {words}.")),
        "prose on one line": _lines(each("{words}"), " "),
        "one line repeated": _lines(iter(lambda: "Ranking: 1. The Last Mirror - it fits, since it is close", None)),
        "one word repeated": _lines(iter(lambda: "Harbour", None), " "),
        "one letter repeated": "a" * LONG,
        "many numbers": _lines(each("{any}"), " "),
        "numbers on lines": _lines(each("{any}")),
        "numbers with signs": _lines(each("{any}.{label}: ({any}) -"), " "),
        "JSON objects": f"[{_lines(objects(), ', ')}]",
        "JSON objects on lines": _lines(objects()),
        "JSON titles": f"[{_lines(each(chr(34) + '{title}' + chr(34)), ', ')}]",
        "many lists in JSON": _lines(each('["{title}", "{label}"]')),
        "nested brackets": "[" * LONG,
        "nested objects": _lines(iter(lambda: '{"a": [', None), ""),
        "brackets, opened and closed": _lines(iter(lambda: "[({})]", None), ""),
        "quotes": "\"'" * (LONG // 2),
        "tables": _lines(each("| {rank} | {title} | {words} |")),
        "rows of many cells": _lines(each("{label} | {title} | {word} | {any} | {any} | {words}")),
        "bars": "| " * (LONG // 2),
        "tags": _lines(each('<item rank="{rank}">{title}</item>')),
        "opened tags": "<a " * (LONG // 3),
        "thoughts": _lines(each("<think>{label}, {label}</think>")),
        "captions": _lines(each("{word}: "), ""),
        "blanks": f"1{' ' * LONG}x",
        "bold": "*" * LONG,
        "entities": _lines(each("&amp;&#{any};"), ""),
        "refusals": _lines(iter(lambda: "I'm sorry,", None), " "),
        "random ASCII": _lines(iter(lambda: "".join(chr(draw.randint(32, 126)) for _ in range(80)), None)),
        "random Unicode of many scripts": _lines(characters()),
        "random Unicode, all planes": _lines(points()),
        "random Unicode on one line": _lines(characters(), ""),
        "titles in other scripts": _lines(each("{rank}. 第{n}東京物語 – {title} – прекрасный фильм")),
    }


def main() -> int:
    """Print the CPU seconds of each kind: the smallest, and how far the others are above it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--only", default="", help="kinds whose name holds this")
    asked = parser.parse_args()
    shown = made_up(asked.candidates)
    texts = {name: text for name, text in answers(shown).items() if asked.only in name}
    print(f"{asked.candidates} candidates, answers of {LONG // 1000} kB; {os.cpu_count()} cores, CPU seconds\n")
    print("| answer | s, min | max |")
    print("| --- | ---: | ---: |")
    slowest = 0.0
    for name, text in texts.items():
        seconds = []
        for repeat in range(asked.repeats):
            other = Listed(shown.labels, tuple(f"{title}{' ' * repeat}" for title in shown.titles), shown.history)
            start = time.process_time()
            parse_ranking(text, other)
            seconds.append(time.process_time() - start)
        slowest = max(slowest, min(seconds))
        print(f"| {name} | {min(seconds):.3f} | {max(seconds):.3f} |", flush=True)
    print(f"\nSlowest: {slowest:.3f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Read an order of candidates, and what kind of answer it was, from whatever a model wrote."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

from llmrs_bench.prompts.json_lists import read_json
from llmrs_bench.prompts.lines import read_lines
from llmrs_bench.prompts.protocol import spoken
from llmrs_bench.prompts.titles import OFF, PAST, Names, plain_forms
from llmrs_bench.types import Kind, Listed

_ENTITY = re.compile(r"&#?\w{1,31};")
# The title "I Can't Sleep" has other capitals.
_REFUSAL = re.compile(
    r"(?i:(?:unfortunately|no),? )?(?:(?i:(?:(?:i'm|i am|we are|we're) )?(?:(?:so|very|really|truly) )?sorry\b.{0,200}?"
    r"\b(?:can't|cannot|can not|unable|not able|won't|don't|do not|not comfortable|not possible)\b)"
    r"|(?:I|we|We) (?:cannot|can't|can not|won't|will not|must decline|do not feel|don't feel|apologi[sz]e)\b"
    r"|(?:I'm|I am|we are|We are) (?:unable|not able|not comfortable)\b"
    r"|(?i:as an? (?:ai|artificial|(?:large )?language model)\b))"
)


@dataclass(frozen=True, slots=True)
class Ranking:
    """What was read: positions of candidates from 0, best first, each once; and the one class of the answer."""

    order: tuple[int, ...]
    kind: Kind


def read_ranking(text: str, listed: Listed, *, cut: bool = False) -> Ranking:
    """Read the order of candidates from a model's text, and say which kind of answer it was.

    JSON comes first, then lines: labels alone, whole titles, "3. Title". A title matches as it stands, else up to case
    and punctuation, else also up to an article and a year, each only where one candidate alone fits. Nothing
    matches by substring or by likeness.

    Args:
        text: What the model wrote, thoughts included.
        listed: What it was shown.
        cut: Whether it ran into its token budget.
    """
    said = plain_forms(_ENTITY.sub(lambda found: html.unescape(found[0]), spoken(text)))
    names = Names(listed)
    entries = read_json(said, names)
    if not any(entry >= 0 for entry in entries):
        lines = read_lines(said, names)
        entries = lines if any(entry >= 0 for entry in lines) or not entries else entries
    named = [entry for entry in entries if entry >= 0]
    order = tuple(dict.fromkeys(named))
    thinking = cut and "<think>" in text and "</think>" not in text
    return Ranking(order, _kind(said, entries, len(listed.titles), cut=cut, thinking=thinking))


def _kind(said: str, entries: Sequence[int], count: int, *, cut: bool, thinking: bool) -> Kind:
    named = [entry for entry in entries if entry >= 0]
    off, past = entries.count(OFF), entries.count(PAST)
    complete = bool(named) and len(set(named)) == count
    start = re.sub(r"^\W+", "", " ".join(said[:2000].split()))[:400]
    rules: list[tuple[bool, Kind]] = [
        (not named and bool(_REFUSAL.match(start)), "refused"),
        (not any(map(str.isalnum, said)) and not thinking, "empty"),
        (cut and not complete, "truncated"),
        (past > off, "history"),
        (off > 0, "off-list"),
        (len(named) > len(set(named)), "duplicates"),
        (complete, "complete"),
        (bool(named), "partial"),
    ]
    return next((kind for holds, kind in rules if holds), "format")

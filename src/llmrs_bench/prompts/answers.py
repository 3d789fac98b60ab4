"""Read an order of candidates, and what kind of answer it was, from whatever a model wrote."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from llmrs_bench.prompts.json_lists import is_list, read_value
from llmrs_bench.prompts.lines import read_lines
from llmrs_bench.prompts.literals import literals
from llmrs_bench.prompts.rankings import Found, choose_ranking
from llmrs_bench.prompts.refusals import is_refusal
from llmrs_bench.prompts.symbols import plain_answer
from llmrs_bench.prompts.thoughts import marked_answer, never_stopped_thinking, spoken
from llmrs_bench.prompts.titles import OFF, PAST, Mention, Names, fold
from llmrs_bench.types import Kind, Listed

_LAST_WORD = re.compile(r"(?:(?<=[\s,;>|\[(\"'.:#=])|^)([\w\-]{1,40})$")
_LAST_TITLE = re.compile(r"""(?:["']|^[^\w]*[0-9]{1,9}[.):]\s+|[,;>]\s|^)([^"',;>]{1,400})$""")


@dataclass(frozen=True, slots=True)
class Ranking:
    """What was read: positions of candidates from 0, best first, each once; and the one class of the answer."""

    order: tuple[int, ...]
    kind: Kind


def read_ranking(text: str, listed: Listed, *, cut: bool = False) -> Ranking:
    """Read the order of candidates from a model's text, and say which kind of answer it was.

    Everything that may be a list is read first, in JSON, lines and tables; of several lists the final one is the
    ranking. A title matches as it stands, else up to case and punctuation, else also up to an article and a year, else
    without another title in brackets, each only where one candidate alone fits. Nothing matches by substring or by
    likeness: what follows a title is a remark or makes it another one.

    Args:
        text: What the model wrote, thoughts included.
        listed: What it was shown.
        cut: Whether it ran into its token budget.
    """
    said = plain_answer(marked_answer(spoken(text)))
    names = Names(listed)
    entries = choose_ranking(_lists(_without_cut_end(said, names) if cut else said, names))
    order = tuple(dict.fromkeys(entry for entry in entries if entry >= 0))
    thinking = cut and never_stopped_thinking(text)
    return Ranking(order, _kind(said, entries, len(listed.titles), cut=cut, thinking=thinking))


def _lists(said: str, names: Names) -> list[Found]:
    """Return all lists of an answer in their order: values in JSON where they stand among the lines."""
    tokens = said.replace(",", " ").split() if "\n" not in said.strip() else []
    if len(tokens) > 1 and all(token in names.labels for token in tokens):  # as most answers are
        return [Found(tuple(Mention(names.labels[token], "label") for token in tokens))]
    said = said.replace("\0", " ")
    pieces: list[str] = []
    values: list[list[Found]] = []
    alone: list[object] = []  # objects one behind the other, as one a line
    at = 0
    for start, end, value in literals(said):
        if not is_list(value):
            continue
        between = said[at:start]
        if isinstance(value, dict) and alone and not any(map(str.isalnum, between)):
            alone.append(value)
            values[-1] = read_value(alone, names, "")
            pieces.append("\n")
        else:
            pieces.append(f"{between}\0{len(values)}\0\n")
            values.append(read_value(value, names, ""))
            alone = [value] if isinstance(value, dict) and not values[-1] else []
            if alone:
                values[-1] = read_value(alone, names, "")
        at = end
    return read_lines("".join([*pieces, said[at:]]), names, values)


def _without_cut_end(said: str, names: Names) -> str:
    """Return a text without its last word or line, where that may be the beginning of another label or title."""
    if not said[-1:].isalnum():
        return said
    start = said.rfind("\n") + 1
    last = said[start:]
    if found := _LAST_WORD.search(last):
        word, before = found[1], last[: found.start()]
        whole = names.label(word) is not None
        longer = any(label != word and label.startswith(word) for label in names.labels)
        alone = not re.search(r"[^\W\d_]\s*$", before)
        if alone and (
            longer or (not whole and word.isdecimal()) or (not before.strip() and start and word.isdecimal())
        ):
            return said[: start + found.start()]
    piece = _LAST_TITLE.search(last)
    end = fold(piece[1]) if piece and names.label(piece[1].strip()) is None else ""
    if piece and end and any(fold(title) != end and fold(title).startswith(end) for title in names.titles):
        return said[: start + piece.start()]
    return said


def _kind(said: str, entries: Sequence[int], count: int, *, cut: bool, thinking: bool) -> Kind:
    named = [entry for entry in entries if entry >= 0]
    off, past = entries.count(OFF), entries.count(PAST)
    complete = bool(named) and len(set(named)) == count
    rules: list[tuple[bool, Kind]] = [
        (not named and is_refusal(said), "refused"),
        (not any(map(str.isalnum, said)) and not thinking, "empty"),
        (cut and not complete, "truncated"),
        (past > off, "history"),
        (off > 0, "off-list"),
        (len(named) > len(set(named)), "duplicates"),
        (complete, "complete"),
        (bool(named), "partial"),
    ]
    return next((kind for holds, kind in rules if holds), "format")

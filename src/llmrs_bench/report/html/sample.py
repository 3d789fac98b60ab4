"""The sampled requests of a page: titles once, texts without their titles once, deflated while there is room."""

import json
import re
import zlib
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from llmrs_bench.leaderboard.board import Board
from llmrs_bench.report.html.values import Call, Extra, Ranked, Sampled, rounded

_MOST = 2_700_000  # deflated bytes of a sample with its prompts and answers: 5 MB of page with 500 requests of 50 rows
_LEVEL = 6  # of deflate: 9 takes twice as long and saves 4 %
_TOKEN_DIGITS = 4  # of log-probabilities of tokens, which are shown in two decimals
_SCORE_DIGITS = 8  # of scores that stand as they are; three decimals are shown
_PLACE = 48  # the character of the first place among a request's items, and of a score as large as the one before
_PLACES = 6400  # items of a request that have such characters
_UNRANKED = _PLACE - 1  # the character of a score that is not there
_WIDEST = 0xD7FF - _PLACE  # the widest step between two scores that has a character
_SMALLEST = 300  # decimals that a number has at most
_TITLE = "\ue000"  # stands for a title in a text; a text that has it already keeps its titles
_MARKS = "-.])"  # what ends the mark of a line of a list
_LISTED = re.compile(r"(?<=[-.\])] )[^\n]+")  # what stands behind the mark of a line of a list


def packed_sample(board: Board, extra: Extra) -> str:
    """Return the sample as JSON, deflated (zlib) and in base64, with prompts and answers of as many requests as fit.

    An item is a number into `items`. Of a request `items` of its rankings are characters: places among its candidates,
    targets and history, in that order and each once. `calls` has, for each of the first requests, its calls by row,
    and the texts that are new with it. A text of a call is its number among all texts, and the places of its titles.
    `assets/requests.js` reads all of it.
    """
    there = {run for request in extra.requests for run in request.rankings}
    runs = {run: str(place) for place, run in enumerate(row.run for row in board.rows if row.run in there)}
    head = {
        "population": extra.population,
        "seed": extra.seed,
        "items": [[item_id, title.title, title.about] for item_id, title in extra.titles.items()],
        "runs": list(runs),
        "notes": dict(extra.notes),
    }
    deflate = zlib.compressobj(_LEVEL)
    parts = [deflate.compress(f'{_json(head)[:-1]},"requests":['.encode("utf-8", "replace"))]
    parts += (deflate.compress(text) for text in _listed(_requests(extra, runs)))
    parts += [deflate.compress(b'],"calls":['), deflate.flush(zlib.Z_SYNC_FLUSH)]
    held = sum(map(len, parts))
    for number, text in enumerate(_listed(_calls(extra, runs))):
        if held > _MOST and number:
            break
        parts.append(deflate.compress(text))
        held += len(parts[-1])
    parts += [deflate.compress(b"]}"), deflate.flush()]
    return b64encode(b"".join(parts)).decode("ascii")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _listed(values: Iterable[Any]) -> Iterator[bytes]:
    """Yield values as JSON of the elements of a list, one at a time, so that they are not all in memory."""
    for number, value in enumerate(values):
        yield f"{',' if number else ''}{_json(value)}".encode("utf-8", "replace")


def _requests(extra: Extra, runs: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the requests without prompts and answers."""
    places = {item_id: place for place, item_id in enumerate(extra.titles)}
    scores = _scores([ranking.scores for request in extra.requests for ranking in request.rankings.values()])

    def items(item_ids: Sequence[str]) -> list[int]:
        return [places[item_id] for item_id in item_ids]

    def ranked(ranking: Ranked, own: Mapping[str, str]) -> list[Any]:
        return [
            _placed(ranking.items, own) or items(ranking.items),
            next(scores),
            [[places[item_id], rank] for item_id, rank in ranking.targets.items()],
            ranking.asked,
            ranking.label if ranking.label is None else rounded(ranking.label),
        ]

    for request in extra.requests:
        own = _places(request)
        yield {
            "id": request.request_id,
            "user": request.user_id,
            "history": items(request.history),
            "candidates": items(request.candidates),
            "targets": items(request.targets),
            "groups": dict(request.groups),
            "rankings": {runs[run]: ranked(ranking, own) for run, ranking in request.rankings.items()},
        }


def _calls(extra: Extra, runs: Mapping[str, str]) -> Iterator[list[Any]]:
    """Yield of each request its calls by row, and the texts that are new with it."""
    texts: dict[str, int] = {}
    for request in extra.requests:
        known = len(texts)
        lines = _Lines({extra.titles[item_id].title: sign for item_id, sign in _places(request).items()})
        calls = {
            runs[run]: [_call(call, lines, texts) for call in ranking.calls]
            for run, ranking in request.rankings.items()
            if ranking.calls
        }
        yield [calls, list(texts)[known:] if len(texts) > known else []]


def _places(request: Sampled) -> dict[str, str]:
    """Return the items of a request, each with the character of its place; none where they are too many."""
    every = dict.fromkeys((*request.candidates, *request.targets, *request.history))
    return {item_id: chr(_PLACE + place) for place, item_id in enumerate(every)} if len(every) <= _PLACES else {}


def _placed(item_ids: Sequence[str], own: Mapping[str, str]) -> str:
    """Return the characters of items; nothing where an item is none of the request's."""
    try:
        return "".join(map(own.__getitem__, item_ids))
    except KeyError:
        return ""


def _scores(lists: Sequence[Sequence[float | None]]) -> Iterator[list[Any]]:
    """Yield each list of scores as [decimals, the first in units of the last decimal, steps down as characters].

    The last decimal is a thousandth, as scores are shown, or less where all are small. A list stands as it is, behind
    null, where a score rises, a step is too wide, or a score is there although the one before it is not.
    """
    filled = [scores for scores in lists if scores]
    sizes = np.array([len(scores) for scores in filled], dtype=np.int64)
    starts = np.cumsum(sizes) - sizes
    values = np.array(list(chain.from_iterable(filled)), dtype=np.float64)  # (scores of all lists,); nan: not there
    gone, known = np.isnan(values), np.nan_to_num(values)
    whole = np.logical_and.reduceat(known == np.rint(known), starts)
    largest = np.where(whole, 1, np.maximum.reduceat(np.abs(known), starts))
    decimals = np.where(whole, 0, np.clip(3 - np.floor(np.log10(largest)), 3, _SMALLEST))
    units = np.rint(values * np.power(10.0, np.repeat(decimals, sizes)))
    steps = -np.diff(units, prepend=0)
    steps[starts] = np.where(gone[starts], -1, 0)
    fits = np.where(gone, steps != -1, (steps >= 0) & (steps <= _WIDEST))
    signs = np.where(gone | ~fits, _UNRANKED, steps + _PLACE).astype("<u4").tobytes().decode("utf-32-le")
    fit = np.logical_and.reduceat(fits, starts)
    stepped = zip(fit.tolist(), decimals.astype(int).tolist(), units[starts].tolist(), starts.tolist(), strict=True)
    for scores in lists:
        fitting, last, first, start = next(stepped) if scores else (False, 0, 0, 0)
        yield (
            [last, int(first), signs[start : start + len(scores)]]
            if fitting
            else [None, *rounded(scores, _SCORE_DIGITS)]
        )


class _Lines(dict[str, str]):
    """Lines of the texts of a request without their titles, and the characters of these; each is looked at once."""

    def __init__(self, titles: Mapping[str, str]) -> None:
        """Take the character of each title."""
        super().__init__()
        self.titles = titles
        self.signs: dict[str, str] = {}

    def __missing__(self, line: str) -> str:
        mark, _, title = line.partition(" ")
        sign = self.titles.get(title) if mark[-1:] in _MARKS else None
        if sign is None and (listed := _LISTED.search(line)):
            title = listed[0]
            sign = self.titles.get(title)
        self.signs[line] = sign or ""
        self[line] = bare = line if sign is None else line.removesuffix(title) + _TITLE
        return bare


def _told(text: str, lines: _Lines, texts: dict[str, int]) -> list[Any]:
    """Return a text as its number among all texts, and the characters of its titles; null: it has no mark for them."""
    signs = None
    if _TITLE not in text:
        split = text.split("\n")
        text, signs = "\n".join(map(lines.__getitem__, split)), "".join(map(lines.signs.__getitem__, split))
    return [texts.setdefault(text, len(texts)), signs]


def _call(call: Call, lines: _Lines, texts: dict[str, int]) -> list[Any]:
    """Return a call as [name, turns, answer, choices, tokens of each, why it ended, items that were left out]."""
    return [
        call.name,
        None if call.messages is None else [[role, *_told(content, lines, texts)] for role, content in call.messages],
        None if call.text is None else _told(call.text, lines, texts),
        [[lines.titles.get(name) or [name], rounded(total)] for name, total in call.choices],
        rounded(call.tokens, _TOKEN_DIGITS),
        call.finish,
        call.n_truncated,
    ]

"""The sampled requests of a page: titles once, prompts as references to them, deflated while there is room."""

import json
import re
import zlib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from math import floor, log10
from typing import Any

from llmrs_bench.leaderboard.board import Board
from llmrs_bench.report.html.values import Call, Extra, Ranked, Sampled, rounded

_MOST = 2_700_000  # deflated bytes of a sample with its prompts and answers: 5 MB of page with 500 requests of 50 rows
_TOKEN_DIGITS = 4  # of log-probabilities of tokens, which are shown in two decimals
_PLACE = 48  # the character of the first place in a list of items
_TITLE, _TITLES = 0xE000, 6400  # the private characters of Unicode, which stand for titles in prompts and answers
_PRIVATE = re.compile(f"[{chr(_TITLE)}-{chr(_TITLE + _TITLES - 1)}]")
_LISTED = re.compile(r"(?<=[-.\])] )[^\n]+")  # what stands behind the mark of a line of a list
_LARGEST = 10_000  # scores from so much on are shown as powers of ten


def packed_sample(board: Board, extra: Extra) -> str:
    """Return the sample as JSON, deflated (zlib) and in base64, with prompts and answers of as many requests as fit.

    An item is a number into `items`. Of a request `items` of its rankings are places among its candidates, targets and
    history, in that order and each once, and the same places stand for titles in prompts and answers. `calls` has
    those of the first requests, by row. `assets/requests.js` reads all of it.
    """
    value, local = _requests(board, extra)
    runs = value["runs"]
    deflate = zlib.compressobj(9)
    parts = [
        deflate.compress(f'{_json(value)[:-1]},"calls":['.encode("utf-8", "replace")),
        deflate.flush(zlib.Z_SYNC_FLUSH),
    ]
    held = sum(map(len, parts))
    for number, (request, places) in enumerate(zip(extra.requests, local, strict=True)):
        codes = _codes(extra, places)
        calls = {
            runs.index(run): [_call(call, codes) for call in ranking.calls]
            for run, ranking in request.rankings.items()
            if ranking.calls
        }
        if held > _MOST and number:
            break
        parts.append(deflate.compress(f"{',' if number else ''}{_json(calls)}".encode("utf-8", "replace")))
        held += len(parts[-1])
    parts += [deflate.compress(b"]}"), deflate.flush()]
    return b64encode(b"".join(parts)).decode("ascii")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _requests(board: Board, extra: Extra) -> tuple[dict[str, Any], list[dict[str, int]]]:
    """Return the sample without prompts and answers, and of each request the places of its items."""
    places = {item_id: place for place, item_id in enumerate(extra.titles)}
    runs = [row.run for row in board.rows if any(row.run in request.rankings for request in extra.requests)]

    def items(item_ids: Sequence[str]) -> list[int]:
        return [places[item_id] for item_id in item_ids]

    def ranked(ranking: Ranked, own: Mapping[str, int]) -> dict[str, Any]:
        return {
            "items": _placed(ranking.items, own) or items(ranking.items),
            "scores": _scores(ranking.scores),
            "targets": [[places[item_id], rank] for item_id, rank in ranking.targets.items()],
            "asked": ranking.asked,
            "label": ranking.label if ranking.label is None else rounded(ranking.label),
        }

    local = [_places(request) for request in extra.requests]
    value = {
        "population": extra.population,
        "seed": extra.seed,
        "items": [[item_id, title.title, title.about] for item_id, title in extra.titles.items()],
        "runs": runs,
        "notes": dict(extra.notes),
        "requests": [
            {
                "id": request.request_id,
                "user": request.user_id,
                "history": items(request.history),
                "candidates": items(request.candidates),
                "targets": items(request.targets),
                "groups": dict(request.groups),
                "rankings": {str(runs.index(run)): ranked(ranking, own) for run, ranking in request.rankings.items()},
            }
            for request, own in zip(extra.requests, local, strict=True)
        ],
    }
    return value, local


def _places(request: Sampled) -> dict[str, int]:
    """Return the items of a request in the order of their places."""
    every = dict.fromkeys((*request.candidates, *request.targets, *request.history))
    return {item_id: place for place, item_id in enumerate(every)}


def _placed(item_ids: Sequence[str], own: Mapping[str, int]) -> str:
    """Return places of a request as a character each; nothing where an item is none of the request's."""
    if len(own) > _TITLES or any(item_id not in own for item_id in item_ids):
        return ""
    return "".join(chr(_PLACE + own[item_id]) for item_id in item_ids)


def _scores(scores: Sequence[float | None]) -> list[Any]:
    """Return scores as [decimals, whole numbers of the last decimal: the first, and by how much each is less].

    The last decimal is a thousandth, as scores are shown, or less where all are small. Behind null, which very large
    scores have, scores stand as they are.
    """
    known = [abs(score) for score in scores if score is not None]
    largest = max(known, default=0.0)
    if largest >= _LARGEST:
        return [None, *rounded(scores, _TOKEN_DIGITS)]
    digits = 0 if all(score == int(score) for score in known) else max(3, 3 - floor(log10(largest)))
    found, before = list[int | None](), None
    for score in scores:
        if score is None:
            found.append(None)
            continue
        whole = round(score * 10**digits)
        found.append(whole if before is None else before - whole)
        before = whole
    return [digits, *found]


def _codes(extra: Extra, own: Mapping[str, int]) -> dict[str, str]:
    """Return the character that stands for each title of a request in its prompts and answers."""
    return {extra.titles[item_id].title: chr(_TITLE + place) for item_id, place in own.items() if place < _TITLES}


def _coded(text: str, codes: Mapping[str, str]) -> Any:
    """Return a text with characters for titles; in a list it is as it was, for it has such characters of its own."""
    if _PRIVATE.search(text):
        return [text]
    return _LISTED.sub(lambda found: codes.get(found[0], found[0]), text)


def _call(call: Call, codes: Mapping[str, str]) -> list[Any]:
    """Return a call as [name, turns, answer, choices, tokens of each, why it ended, items that were left out]."""
    return [
        call.name,
        None if call.messages is None else [[role, _coded(content, codes)] for role, content in call.messages],
        None if call.text is None else _coded(call.text, codes),
        [[codes.get(name) or _coded(name, {}), rounded(total)] for name, total in call.choices],
        rounded(call.tokens, _TOKEN_DIGITS),
        call.finish,
        call.n_truncated,
    ]

"""Scores of a recommender as tables: over the candidates of requests, or the best of the whole catalogue."""

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrs_bench.errors import ModelError
from llmrs_bench.recommenders.protocol import Block, Recommender
from llmrs_bench.recommenders.sequences import Sequences, Vocabulary

SCORES = pl.Schema({"request_id": pl.String(), "item_id": pl.String(), "score": pl.Float64()})


def score_candidates(model: Recommender, requests: pl.DataFrame) -> pl.DataFrame:
    """Return one row (request_id, item_id, score) for each candidate of each request.

    Raises:
        ModelError: If a request has no list of candidates (an empty list is fine).
    """
    missing = requests.filter(pl.col("candidates").is_null())["request_id"]
    if len(missing):
        raise ModelError(
            f"{len(missing)} requests have no candidates, the first is {missing[0]!r}",
            hint="Prepare the data set with candidate lists.",
        )
    listed = requests["candidates"].filter(requests["candidates"].list.len() > 0).explode()
    known = Vocabulary.of(listed)
    lists = Sequences.of(requests["candidates"], known)
    parts = [
        _rows(requests, known, block.rows, lists.take(block.rows), block) for block in _ask(model, requests, known)
    ]
    return pl.concat([pl.DataFrame(schema=SCORES), *parts])


def best_items(
    model: Recommender, requests: pl.DataFrame, catalogue: pl.Series, *, depth: int, include_seen: bool
) -> Iterator[pl.DataFrame]:
    """Yield, for some requests at a time, rows (request_id, item_id, score) of the best `depth` items of the catalogue.

    Every item that ties with the last of them is there, too: which of those come first is not decided here.

    Args:
        model: A fitted recommender.
        requests: The table `requests`; its column `candidates` is not read.
        catalogue: Distinct item ids.
        depth: At least so many items of each request, or all that there are.
        include_seen: Whether items of a request's history are ranked, too.
    """
    known = Vocabulary.of(catalogue)
    histories = Sequences.of(requests["history"], known)
    for block in _ask(model, requests, known):
        scores = np.array(block.scores, dtype=np.float64)
        if not include_seen:
            rows, seen = histories.take(block.rows).flat()
            scores[rows, seen - 1] = -np.inf
        last = max(scores.shape[1] - depth, 0)
        floor = np.partition(scores, last, axis=1)[:, last, None]
        rows, columns = np.nonzero((scores >= floor) & np.isfinite(scores))
        chosen = Sequences(columns + 1, *_ends(rows, len(scores)))
        yield _rows(requests, known, block.rows, chosen, Block(block.rows, scores))


def _ask(model: Recommender, requests: pl.DataFrame, known: Vocabulary) -> Iterator[Block]:
    """Yield the blocks of all requests, columns in the order of `known`; nothing where there is nothing to ask."""
    if len(requests) and len(known):
        yield from model.score(requests, pl.Series(known.ids, dtype=pl.String))


def _rows(
    requests: pl.DataFrame, known: Vocabulary, asked: NDArray[np.int64], chosen: Sequences, block: Block
) -> pl.DataFrame:
    """Return the `chosen` items of the requests `asked` with their scores."""
    rows, codes = chosen.flat()
    ids = pl.Series(known.ids, dtype=pl.String)
    return pl.DataFrame(
        {
            "request_id": requests["request_id"].gather(asked[rows]),
            "item_id": ids.gather(codes - 1),
            "score": block.scores[rows, codes - 1].astype(np.float64),
        },
        schema=SCORES,
    )


def _ends(rows: NDArray[np.int64], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where each of `count` rows starts and how long it is, from sorted row numbers."""
    lengths = np.bincount(rows, minlength=count).astype(np.int64)
    return np.cumsum(lengths) - lengths, lengths

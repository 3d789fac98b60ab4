"""Scores to a total order, and the tie rule: the only place that makes rows of `rankings`."""

from collections.abc import Iterable

import numpy as np
import polars as pl

from llmrs_bench.core.errors import ScoringError
from llmrs_bench.core.hashing import uniform_hash
from llmrs_bench.core.schemas import RANKINGS
from llmrs_bench.core.types import Scores

TIE_RULE = "ties and unranked items by a seeded hash of (seed, request, item); unranked items after all others"


def rank_candidates(
    requests: pl.DataFrame, scores: pl.DataFrame, *, seed: int, copies: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Order the candidates of every request by score, higher first.

    Equal scores, and the candidates that got none, are ordered by a seeded hash of request and item: never by
    displayed order, input order or id, so that a constant scorer is at chance.

    Args:
        requests: Frame of the schema `requests`.
        scores: Rows (request_id, item_id, score), each pair once; a request without any has only unranked items.
        seed: Seed of the tie rule; the same for every run that is compared.
        copies: Rows (request_id, asked): the request that each is a copy of, whose ties it shares; None: none is one.

    Returns:
        Frame of the schema `rankings`: a permutation of the candidates of every request.

    Raises:
        ScoringError: On a score that is not finite, an unknown request or item, or a request scored twice.
    """
    rows = requests.select("request_id", item_id="candidates").explode("item_id", empty_as_null=True).drop_nulls()
    _check_scores(rows, scores)
    return _ordered(rows.join(scores, on=["request_id", "item_id"], how="left", maintain_order="left"), seed, copies)


def rank_best(scores: pl.DataFrame, *, depth: int, seed: int, copies: pl.DataFrame | None = None) -> pl.DataFrame:
    """Order the best items of each request out of a whole catalogue, by the same rule, and keep `depth` of them.

    Args:
        scores: Rows (request_id, item_id, score): of each request the best `depth` items at least, and with them
            every item that ties with the last of these.
        depth: Length of a ranking.
        seed: Seed of the tie rule.
        copies: As `rank_candidates` takes them.

    Returns:
        Frame of the schema `rankings`.

    Raises:
        ScoringError: On a score that is not finite, or a request scored twice.
    """
    _check_scores(scores, scores)
    return _ordered(scores, seed, copies).filter(pl.col("rank") <= depth)


def _ordered(rows: pl.DataFrame, seed: int, copies: pl.DataFrame | None) -> pl.DataFrame:
    asked = rows["request_id"]
    if copies is not None:
        asked = rows.join(copies, on="request_id", how="left", maintain_order="left")["asked"].fill_null(asked)
    hashes = pl.Series("tie", uniform_hash(seed, asked, rows["item_id"]))
    return (
        rows.with_columns(hashes)
        .sort(["request_id", "score", "tie"], descending=[False, True, False], nulls_last=True)
        .with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over("request_id"))
        .select(list(RANKINGS))
        .cast(RANKINGS)
    )


def scores_frame(scores: Iterable[Scores]) -> pl.DataFrame:
    """Return scores as rows (request_id, item_id, score)."""
    request_ids: list[str] = []
    item_ids: list[str] = []
    values: list[float] = []
    for row in scores:
        request_ids.extend([row.request_id] * len(row.values))
        item_ids.extend(row.values.keys())
        values.extend(row.values.values())
    schema = {"request_id": pl.String, "item_id": pl.String, "score": pl.Float64}
    return pl.DataFrame(
        {"request_id": request_ids, "item_id": item_ids, "score": np.asarray(values, dtype=np.float64)}, schema=schema
    )


def _check_scores(rows: pl.DataFrame, given: pl.DataFrame) -> None:
    keys = ["request_id", "item_id"]
    faults = {
        "is not a finite number": given.filter(~pl.col("score").is_finite()),
        "is for no candidate of that request": given.join(rows, on=keys, how="anti"),
        "was given twice": given.filter(pl.struct(keys).is_duplicated()),
    }
    for fault, frame in faults.items():
        if frame.height:
            first = frame.row(0, named=True)
            raise ScoringError(
                f"the score {first['score']} of item {first['item_id']!r} in request {first['request_id']!r} {fault}"
                f" ({frame.height} such scores)",
                hint="This is a fault of the model's plug-in, not of the data: report it.",
            )

"""Candidates of requests as flat columns, and flat values back as scores."""

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrs_bench.errors import ModelError
from llmrs_bench.types import Scores


def candidate_rows(requests: pl.DataFrame) -> pl.DataFrame:
    """Return one row (request_id, item_id) per request and candidate, in the order of `requests`.

    Raises:
        ModelError: If a request has no list of candidates (an empty list is fine).
    """
    check_candidates(requests)
    lists = requests.select("request_id", item_id="candidates")
    return lists.filter(pl.col("item_id").list.len() > 0).explode("item_id")


def check_candidates(requests: pl.DataFrame) -> None:
    """Refuse requests that leave the choice of candidates to the model."""
    missing = requests.filter(pl.col("candidates").is_null())["request_id"]
    if len(missing):
        raise ModelError(
            f"{len(missing)} requests have no candidates, the first is {missing[0]!r}",
            hint="Prepare the data set with candidate lists.",
        )


def split_scores(requests: pl.DataFrame, values: NDArray[np.float64]) -> Iterator[Scores]:
    """Yield the scores of each request from the values of all rows of `candidate_rows(requests)`."""
    stop = 0
    for request_id, items in requests.select("request_id", "candidates").iter_rows():
        start, stop = stop, stop + len(items)
        yield Scores(request_id, dict(zip(items, values[start:stop].tolist(), strict=True)))

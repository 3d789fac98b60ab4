"""Rankings and truth as small frames, for tests of metrics."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import polars as pl

from llmrs_bench.core.schemas import RANKINGS, TRUTH

Lists: TypeAlias = dict[str, tuple[list[str], list[str]]]


def ranked(lists: Mapping[str, tuple[Sequence[str], Sequence[str]]]) -> pl.DataFrame:
    """Return rankings: of each request the items that the model ranked, best first, and those it left unranked."""
    rows = [
        {"request_id": name, "item_id": item, "rank": rank, "score": None if rank > len(told) else -float(rank)}
        for name, (told, silent) in lists.items()
        for rank, item in enumerate([*told, *silent], 1)
    ]
    return pl.DataFrame(rows, schema=RANKINGS)


def wanted(targets: Mapping[str, Sequence[str]]) -> pl.DataFrame:
    """Return truth: of each request the relevant items."""
    rows = [{"request_id": name, "item_id": item, "label": 1.0} for name, items in targets.items() for item in items]
    return pl.DataFrame(rows, schema=TRUTH)


def values(frame: pl.DataFrame, metric: str) -> dict[str, float]:
    """Return request id to value."""
    return dict(frame.filter(pl.col("metric") == metric).select("request_id", "value").iter_rows())

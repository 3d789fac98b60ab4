"""One order out of several: what a model said when a request was shown to it in more than one way."""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from math import fsum
from typing import Literal, TypeAlias

from llmrs_bench.core.types import Scores

Aggregate: TypeAlias = Literal["mean-rank", "borda", "reciprocal-rank"]


def fuse(request_id: str, views: Sequence[Scores], candidates: Sequence[str], how: Aggregate) -> Scores:
    """Return the scores of a request from those of its views; equal scores share their mean rank.

    `mean-rank`: candidates that a view leaves out share the mean of the ranks that are left. `borda`: N - rank points
    for a candidate that is named, none for one that is not (de Borda, 1781). `reciprocal-rank`: 1 / rank for a
    candidate that is named, without a constant (Zhang et al., 2002). A candidate that no view names stays unranked.

    Args:
        request_id: Whose views they are.
        views: At least one.
        candidates: All that were shown.
        how: How ranks become points.
    """
    count = len(candidates)
    points: Mapping[Aggregate, Callable[[float | None, float], float]] = {
        "mean-rank": lambda rank, left: -(left if rank is None else rank),
        "borda": lambda rank, _: 0.0 if rank is None else count - rank,
        "reciprocal-rank": lambda rank, _: 0.0 if rank is None else 1 / rank,
    }
    earned: dict[str, list[float]] = {item_id: [] for item_id in candidates}
    for view in views:
        ranks = _ranks(view.values)
        left = (len(ranks) + 1 + count) / 2
        for item_id, found in earned.items():
            found.append(points[how](ranks.get(item_id), left))
    named = {item_id for view in views for item_id in view.values}
    return Scores(
        request_id,
        {item_id: fsum(found) / len(views) for item_id, found in earned.items() if item_id in named},
        {
            name: fsum(view.notes[name] for view in views if name in view.notes) / len(views)
            for name in dict.fromkeys(name for view in views for name in view.notes)
        },
        tuple(kind for view in views for kind in view.kinds),
    )


def _ranks(values: Mapping[str, float]) -> dict[str, float]:
    ranks: dict[str, float] = {}
    for _, group in groupby(sorted(values, key=lambda item_id: -values[item_id]), key=lambda item_id: values[item_id]):
        tied = list(group)
        ranks.update(dict.fromkeys(tied, len(ranks) + (len(tied) + 1) / 2))
    return ranks

"""What a board comes to: its best language model beside the best of everything else, and what lies between them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmrs_bench.leaderboard.family import FUSION, LANGUAGE_MODEL, OTHER, Family, PairTest, kind_of
from llmrs_bench.metrics.ratings import RATING_METRICS

if TYPE_CHECKING:
    from llmrs_bench.leaderboard.matrix import ScoreMatrix


@dataclass(frozen=True, slots=True)
class Headline:
    """What a board comes to, in the metric that orders its rows.

    Args:
        language_model: The run of the best language model.
        other: The run of the best row that is no language model and no fusion: a recommender, an import or a baseline.
        fusion: The run of the best fusion.
        pairs: The best primary row against each row that was declared, and the best language model against the best
            other; each pair once.
        recommenders: Whether recommenders can be on the board: they order items, and predict no ratings.
    """

    language_model: str | None
    other: str | None
    fusion: str | None
    pairs: tuple[PairTest, ...] = ()
    recommenders: bool = True


def find_headline(
    matrix: "ScoreMatrix", key: str, family: Family | None, tested: Callable[[str, str], PairTest | None]
) -> Headline | None:
    """Return the best rows of a board in a metric, and the tests between them.

    The best other is the best row that is no language model, no fusion, no bound and not chance: a trained recommender,
    an imported run or a baseline. Both are chosen by looking; that is why an undeclared family holds all their pairs.

    Args:
        matrix: The values of the rows, the best first.
        key: The metric.
        family: The primary comparisons of the board.
        tested: Gives the test of a run against another one in this metric; None where they share no request.

    Returns:
        None where there is neither a language model nor another row.
    """
    places: dict[str, str] = {}
    for line, values in zip(matrix.lines, matrix.values[key], strict=True):
        if (kind := kind_of(line)) and not np.isnan(values).all():
            places.setdefault(kind, line.run)
    ours, other, fusion = (places.get(kind) for kind in (LANGUAGE_MODEL, OTHER, FUSION))
    if ours is None and other is None:
        return None
    wanted: dict[frozenset[str], tuple[str, str]] = {}
    if family is not None and family.declared and key in family.metrics:
        best = next(line.run for line in matrix.lines if line.run in family.main)
        wanted |= {frozenset((best, run)): (best, run) for run in family.against if run != best}
    if ours is not None and other is not None:
        wanted.setdefault(frozenset((ours, other)), (ours, other))
    found = [tested(*pair) for pair in wanted.values()]
    pairs = tuple(pair for pair in found if pair is not None)
    return Headline(ours, other, fusion, pairs, recommenders=key not in RATING_METRICS.names)

"""What a board comes to: its best language model beside the best of everything else, and what lies between them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmrs_bench.leaderboard.family import FUSION, LANGUAGE_MODEL, OTHER, STAND_IN, Family, PairTest, kind_of
from llmrs_bench.metrics.ratings import RATING_METRICS

if TYPE_CHECKING:
    from llmrs_bench.leaderboard.matrix import RunScores, ScoreMatrix

# Kinds of rows that learned, here or elsewhere.
TRAINED = ("recommender", "click model", "import")
# Models that do not read who the user is, by how little they read: neither the user nor the item, and the item alone.
CONSTANTS = ("majority", "global-mean")
IMPERSONAL = ("popularity", "recent-popularity", "item-mean")
_BARS = (CONSTANTS, IMPERSONAL)


@dataclass(frozen=True, slots=True)
class Headline:
    """What a board comes to, in the metric that orders its rows.

    Args:
        language_model: The run of the best language model; rows of the mock, which reads nothing, are none.
        other: The run of the best row that is no language model and no fusion: a recommender, an import or a baseline.
        fusion: The run of the best fusion.
        pairs: The best primary row against each row that was declared; the best language model against the best trained
            row and the best other, or else the second best row of its kind against the best one, as all rows are shown
            against the best; each pair once.
        recommenders: Whether recommenders can be on the board: they order items, and predict no ratings.
        bars: The best language model against the best of `CONSTANTS`, and against the best of `IMPERSONAL`.
        ahead: The best other against the best trained row, where that is another one.
        stand_in: The run of the best row of the mock, where there is no language model.
    """

    language_model: str | None
    other: str | None
    fusion: str | None
    pairs: tuple[PairTest, ...] = ()
    recommenders: bool = True
    bars: tuple[PairTest, ...] = ()
    ahead: PairTest | None = None
    stand_in: str | None = None


def find_headline(
    matrix: "ScoreMatrix", key: str, family: Family | None, tested: Callable[[str, str], PairTest | None]
) -> Headline | None:
    """Return the best rows of a board in a metric, and the tests between them.

    The best other is the best row that is no language model, no fusion, no bound and not chance: a trained recommender,
    an imported run or a baseline. Where that is a baseline, the best trained row counts, too. All are chosen by
    looking; that is why an undeclared family holds all their pairs.

    Args:
        matrix: The values of the rows, the best first.
        key: The metric.
        family: The primary comparisons of the board.
        tested: Gives the test of a run against another one in this metric; None where they share no request.

    Returns:
        None where there is neither a language model nor another row.
    """
    places: dict[str, list[RunScores]] = {}
    for line, values in zip(matrix.lines, matrix.values[key], strict=True):
        if (kind := kind_of(line)) and not np.isnan(values).all():
            places.setdefault(kind, []).append(line)
    others = places.get(OTHER, [])
    ours, other, fusion = (_first(places.get(kind, [])) for kind in (LANGUAGE_MODEL, OTHER, FUSION))
    trained = _first([line for line in others if line.kind in TRAINED])
    stand_in = None if ours else _first(places.get(STAND_IN, []))
    if ours is None and other is None and stand_in is None:
        return None
    wanted: dict[frozenset[str], tuple[str, str]] = {}
    if family is not None and family.declared and key in family.metrics:
        best = next(line.run for line in matrix.lines if line.run in family.main)
        wanted |= {frozenset((best, run)): (best, run) for run in family.against if run != best}
    if ours is not None and other is not None:
        for run in (trained or other, other):
            wanted.setdefault(frozenset((ours, run)), (ours, run))
    elif not wanted and len(alone := places.get(LANGUAGE_MODEL if ours else OTHER, [])) > 1:
        wanted[frozenset((alone[0].run, alone[1].run))] = (alone[1].run, alone[0].run)
    found = [tested(*pair) for pair in wanted.values()]
    bars = [] if ours is None else [_first([line for line in others if line.model in of]) for of in _BARS]
    held = [None if ours is None or run is None else tested(ours, run) for run in bars]
    return Headline(
        ours,
        other,
        fusion,
        tuple(pair for pair in found if pair is not None),
        recommenders=key not in RATING_METRICS.names,
        bars=tuple(pair for pair in held if pair is not None),
        ahead=None if other is None or trained is None or trained == other else tested(other, trained),
        stand_in=stand_in,
    )


def _first(lines: "Sequence[RunScores]") -> str | None:
    return lines[0].run if lines else None

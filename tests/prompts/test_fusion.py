"""Several rankings of one request become one."""

import pytest

from llmrs_bench.core.types import Scores
from llmrs_bench.prompts.aggregate import Aggregate, fuse

VIEWS = [
    Scores("r~0", {"a": 3.0, "b": 2.0, "c": 1.0}, {"calls": 1.0}, ("complete",)),
    Scores("r~1", {"b": 9.0}, {"calls": 3.0}, ("partial",)),
]


@pytest.mark.parametrize(
    ("how", "values"),
    [
        # d is never named; in the second view a, c and d share the ranks 2 to 4.
        ("mean-rank", {"a": -(1 + 3) / 2, "b": -(2 + 1) / 2, "c": -(3 + 3) / 2}),
        ("borda", {"a": 3 / 2, "b": (2 + 3) / 2, "c": 1 / 2}),
        ("reciprocal-rank", {"a": 1 / 2, "b": (1 / 2 + 1) / 2, "c": 1 / 6}),
    ],
)
def test_ranks_become_points(how: Aggregate, values: dict[str, float]) -> None:
    fused = fuse("r", VIEWS, ["d", "c", "b", "a"], how)
    assert fused.values == pytest.approx(values)
    assert fused.notes == {"calls": 2.0}
    assert fused.kinds == ("complete", "partial")


def test_equal_scores_share_their_rank() -> None:
    fused = fuse("r", [Scores("r", {"a": 1.0, "b": 1.0, "c": 0.0})], ["a", "b", "c"], "mean-rank")
    assert fused.values == {"a": -1.5, "b": -1.5, "c": -3.0}


def test_a_taste_for_the_first_place_cancels_out() -> None:
    """A model that names candidates as they are shown is at a tie over all rotations."""
    items = ["a", "b", "c"]
    views = [
        Scores(f"r~{turn}", {item: -float((place - turn) % 3) for place, item in enumerate(items)}) for turn in range(3)
    ]
    for how in ("mean-rank", "borda", "reciprocal-rank"):
        assert len({round(value, 12) for value in fuse("r", views, items, how).values.values()}) == 1

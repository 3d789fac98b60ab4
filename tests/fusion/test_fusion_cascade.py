"""A second run asked where the first is unsure: doubt, threshold, and the order that comes of it."""

from math import inf, log

import numpy as np
import polars as pl
import pytest

from llmrs_bench.core.schemas import RANKINGS
from llmrs_bench.fusion import cascade, doubts, threshold


def run(**scores: list[float | None]) -> pl.DataFrame:
    """Return rankings of items a, b, c, ... of each request, in the order of the scores, ties as they stand."""
    rows = []
    for name, values in scores.items():
        order = sorted(range(len(values)), key=lambda at: (values[at] is None, -(values[at] or 0.0)))
        rows += [(name, "abcdef"[at], order.index(at) + 1, values[at]) for at in range(len(values))]
    return pl.DataFrame(rows, schema=RANKINGS, orient="row")


def items(scores: pl.DataFrame, request: str) -> str:
    return "".join(scores.filter(request_id=request).sort("score", descending=True)["item_id"])


def test_the_margin_is_the_distance_of_the_best_two_in_deviations_of_the_request() -> None:
    made = run(sure=[9.0, 0.0, 0.0], torn=[9.0, 9.0, 0.0], same=[2.0, 2.0, 2.0], none=[None, None, None], one=[4.0])
    found = dict(doubts(made, "margin").iter_rows())
    deviation = float(np.std([9.0, 0.0, 0.0]))
    assert found == pytest.approx({"sure": -9 / deviation, "torn": 0.0, "same": 0.0, "none": inf, "one": -inf})
    larger = doubts(made.with_columns(pl.col("score") * 1000), "margin")
    assert dict(larger.iter_rows()) == pytest.approx(found)  # units do not matter


def test_entropy_is_that_of_the_softmax_of_standardised_scores() -> None:
    made = run(sure=[9.0, 0.0, 0.0], same=[2.0, 2.0, 2.0], none=[None, None], one=[4.0])
    found = dict(doubts(made, "entropy").iter_rows())
    raw = np.array([9.0, 0.0, 0.0])
    share = np.exp((raw - raw.mean()) / raw.std())
    share /= share.sum()
    want = -float((share * np.log(share)).sum()) / log(3)
    assert found == pytest.approx({"sure": want, "same": 1.0, "none": inf, "one": 0.0})


@pytest.mark.parametrize(("budget", "asked"), [(0.0, 0), (0.2, 2), (0.25, 2), (0.5, 5), (1.0, 10)])
def test_the_threshold_leaves_a_share_above_it(budget: float, asked: int) -> None:
    found = pl.Series([float(at) for at in range(10)])
    assert int((found > threshold(found, budget)).sum()) == asked
    others = int((found + 100 > threshold(found, budget)).sum())  # requests with more doubt than any seen
    assert others == (len(found) if budget else 0)


def test_ties_at_the_threshold_are_not_asked() -> None:
    found = pl.Series([1.0, 1.0, 1.0, 0.0])
    assert int((found > threshold(found, 0.5)).sum()) == 0


FIRST = run(r=[9.0, 8.0, 7.0, 6.0], s=[9.0, 8.0, 7.0, 6.0])
SECOND = run(r=[1.0, 2.0, 3.0, 4.0], s=[1.0, 2.0, 3.0, 4.0])


def test_requests_that_are_asked_have_the_second_order_and_all_others_the_first() -> None:
    made = cascade(FIRST, SECOND, pl.Series(["r"]), None)
    assert items(made, "r") == "dcba"
    assert items(made, "s") == "abcd"
    none = cascade(FIRST, SECOND, pl.Series([], dtype=pl.String), None)
    assert none.sort(pl.all()).equals(FIRST.select("request_id", "item_id", "score").sort(pl.all()))


@pytest.mark.parametrize(("top", "order"), [(1, "abcd"), (2, "bacd"), (3, "cbad"), (4, "dcba"), (9, "dcba")])
def test_the_second_run_orders_the_best_items_of_the_first_alone(top: int, order: str) -> None:
    made = cascade(FIRST, SECOND, pl.Series(["r"]), top)
    assert items(made, "r") == order
    assert items(made, "s") == "abcd"


def test_what_the_second_run_ties_or_leaves_out_is_in_the_first_order() -> None:
    second = run(r=[None, 5.0, 5.0, None])
    assert items(cascade(FIRST, second, pl.Series(["r"]), None), "r") == "bcad"
    silent = run(r=[None, None, None, None])
    assert items(cascade(FIRST, silent, pl.Series(["r"]), None), "r") == "abcd"


def test_what_neither_ranks_stays_unranked() -> None:
    first, second = run(r=[9.0, None, None]), run(r=[1.0, 2.0, None])
    assert items(cascade(first, second, pl.Series(["r"]), None), "r") == "ba"
    assert items(cascade(first, second, pl.Series(["r"]), 2), "r") == "ba"
    assert items(cascade(first, second, pl.Series([], dtype=pl.String), None), "r") == "a"


def test_best_lists_of_a_catalogue_are_joined() -> None:
    first = run(r=[9.0, 8.0])
    second = run(r=[1.0, 2.0, 3.0]).filter(pl.col("item_id") != "a")
    assert items(cascade(first, second, pl.Series(["r"]), None), "r") == "cba"

"""Position bias: planted bias is found, none is found where there is none, and tau is that of scipy."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import kendalltau

from llmrs_bench.core.schemas import RANKINGS, VIEW_RANKINGS
from llmrs_bench.position_bias import kendall_taus, position_bias
from llmrs_bench.report.words import bias_lines


def views(scores: "np.ndarray[tuple[int, int, int], np.dtype[np.float64]]", slots: bool = True) -> pl.DataFrame:
    """Scores (requests, views, items) as rankings; view v shows item i at slot (i + v) % items."""
    rows = []
    requests, count, items = scores.shape
    for r, v in np.ndindex(requests, count):
        order = sorted(range(items), key=lambda i: (np.isnan(scores[r, v, i]), -np.nan_to_num(scores[r, v, i])))
        for i in range(items):
            value = scores[r, v, i]
            rows.append(
                {
                    "request_id": f"r{r:03}",
                    "item_id": f"i{i:02}",
                    "rank": order.index(i) + 1,
                    "score": None if np.isnan(value) else float(value),
                    "view_id": f"r{r:03}~{v}",
                    "slot": (i + v) % items,
                }
            )
    return pl.DataFrame(rows, schema=VIEW_RANKINGS)


def relevant(requests: int, items: int) -> pl.DataFrame:
    names = [{"request_id": f"r{r:03}", "item_id": f"i{r % items:02}"} for r in range(requests)]
    return pl.DataFrame(names)


def test_a_model_that_takes_the_first_candidate_is_found_out() -> None:
    requests, items = 40, 5
    scores = np.zeros((requests, items, items))
    for v, i in np.ndindex(items, items):
        scores[:, v, i] = -((i + v) % items)  # its place is all that counts
    shown = views(scores)
    found = position_bias(shown, relevant(requests, items), shown.select(list(RANKINGS)).head(0))
    assert [row["chosen"] for row in found["slots"]] == [1.0, 0.0, 0.0, 0.0, 0.0]
    # Of 40 requests each chose the first, and none the second: Wilson's intervals.
    ends = [(row["chosen_low"], row["chosen_high"]) for row in found["slots"][:2]]
    assert ends == [pytest.approx((0.912378, 1.0), abs=1e-6), pytest.approx((0.0, 0.087622), abs=1e-6)]
    assert [row["targets"] for row in found["slots"]] == [requests] * items
    assert [row["ndcg"] for row in found["slots"]] == pytest.approx([1 / np.log2(2 + slot) for slot in range(items)])
    assert found["single"] == pytest.approx(np.mean([1 / np.log2(2 + slot) for slot in range(items)]))
    assert found["kendall_tau"] == pytest.approx(0.0)  # each shift reverses as many pairs as it keeps
    assert (found["requests"], found["views"], found["joined"]) == (requests, requests * items, None)


def test_a_model_that_minds_no_place_has_no_bias() -> None:
    requests, items = 300, 4
    scores = np.repeat(np.random.default_rng(3).random((requests, 1, items)), items, axis=1)
    shown = views(scores)
    one = shown.filter(pl.col("view_id").str.ends_with("~0")).select(list(RANKINGS))
    found = position_bias(shown, relevant(requests, items), one)
    assert found["kendall_tau"] == 1.0
    assert found["joined"] == pytest.approx(found["single"])
    for row in found["slots"]:
        assert row["chosen"] == pytest.approx(0.25)
        assert row["ndcg"] == pytest.approx(found["single"])
        assert row["ndcg_low"] < row["ndcg"] < row["ndcg_high"]


def test_what_was_not_named_is_not_chosen_and_not_compared() -> None:
    scores = np.array([[[3.0, 2.0, np.nan], [2.0, 3.0, 1.0]], [[np.nan] * 3, [1.0, 2.0, 3.0]]])
    shown = views(scores)
    assert kendall_taus(shown).tolist() == [-1.0]
    found = position_bias(shown, relevant(2, 3), shown.select(list(RANKINGS)).head(0))
    assert sum(row["chosen"] for row in found["slots"]) == pytest.approx(0.75)  # one of four views named nothing


def test_views_with_several_targets_count_by_the_best_order_of_all_of_them() -> None:
    scores = np.array([[[4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0]], [[4.0, 3.0, 2.0, 1.0], [4.0, 3.0, 2.0, 1.0]]])
    shown = views(scores)
    targets = pl.DataFrame({"request_id": ["r000", "r000", "r001"], "item_id": ["i00", "i01", "i02"]})
    one = shown.filter(pl.col("view_id").str.ends_with("~0")).select(list(RANKINGS))
    found = position_bias(shown, targets, one)
    ideal = 1 + 1 / np.log2(3)
    second = (1 / np.log2(4) + 1 / np.log2(5)) / ideal
    assert found["single"] == pytest.approx(((1 + second) / 2 + 0.5) / 2)
    assert found["joined"] == pytest.approx((1 + 0.5) / 2)
    assert [row["targets"] for row in found["slots"]] == [1, 1, 2, 1]


def test_one_request_has_no_interval() -> None:
    shown = views(np.array([[[3.0, 2.0, 1.0]]]))
    found = position_bias(shown, relevant(1, 3), shown.select(list(RANKINGS)))
    assert (found["slots"][0]["ndcg"], found["slots"][0]["ndcg_low"]) == (1.0, None)
    assert {(row["chosen_low"], row["chosen_high"]) for row in found["slots"]} == {(None, None)}
    assert bias_lines(found)[2].split() == ["0", "1", "1.0000", "-", "1.0000", "-"]


def test_tau_is_that_of_scipy_with_ties() -> None:
    scores = np.random.default_rng(0).integers(0, 6, (30, 3, 8)).astype(float)
    expected = [np.mean([kendalltau(row[a], row[b]).statistic for a, b in ((0, 1), (0, 2), (1, 2))]) for row in scores]
    assert kendall_taus(views(scores)).tolist() == pytest.approx(expected)


def test_requests_shown_once_have_no_tau() -> None:
    shown = views(np.random.default_rng(0).random((5, 1, 3)))
    assert position_bias(shown, relevant(5, 3), shown.select(list(RANKINGS)))["kendall_tau"] is None


def test_the_mean_is_the_same_to_the_last_digit_whenever_it_is_computed() -> None:
    requests = 20_000  # so many are added up by several threads
    names = pl.Series([f"r{r}" for r in range(requests)])
    ranks = pl.Series(np.random.default_rng(4).integers(1, 21, requests), dtype=pl.Int32)
    rankings = pl.DataFrame({"request_id": names, "rank": ranks}).with_columns(item_id=pl.lit("i"), score=1.0)
    shown = rankings.with_columns(view_id="request_id", slot=pl.lit(0, pl.Int32))
    wanted = {"request_id": names, "item_id": ["i"] * requests}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llmrs_bench.position_bias._SAMPLES", 2)
        found = [position_bias(shown, pl.DataFrame(wanted), rankings.select(list(RANKINGS))) for _ in range(4)]
    assert len({each["single"] for each in found} | {each["joined"] for each in found}) == 1

"""Evaluations of click data: unscored rows, calibration, and histories under permuted labels."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from llmrs_bench.core.config import Invalid
from llmrs_bench.metrics.clicks import sigmoid
from llmrs_bench.metrics.labelled import value
from llmrs_bench.stages.compare_labelled import PermutedHistories
from llmrs_bench.stages.evaluate_labelled import click_table, to_click_rows

USERS = ["a", "b"]
LABELS = {"v": [1, 0, 1, 0, 1, 0], "t": [1, 0, 1, 1, 0]}


def rows(test: list[int] | None = None) -> pl.DataFrame:
    labels = {**LABELS, "t": test or LABELS["t"]}
    return pl.DataFrame(
        [
            {"request_id": f"{part}{at}", "user_id": USERS[at % 2], "part": name, "label": float(label)}
            for part, name in (("v", "valid"), ("t", "test"))
            for at, label in enumerate(labels[part])
        ],
        schema={"request_id": pl.String, "user_id": pl.String, "part": pl.String, "label": pl.Float32},
    )


SCORES = [2.0, -1.0, 0.5, 0.6, 3.0, -2.0, 1.0, -1.0, None, 4.0, None]


def scored(scores: list[Any] = SCORES, *, odds: bool = True, leave_out: int = 0) -> pl.DataFrame:
    found = pl.DataFrame({"request_id": rows()["request_id"], "score": pl.Series(scores, dtype=pl.Float64)})
    sure = pl.Series(sigmoid(found["score"].fill_null(0.0).to_numpy())) if odds else pl.Series([None] * len(scores))
    frame = found.with_columns(probability=pl.when(pl.col("score").is_not_null()).then(sure.cast(pl.Float64)))
    return frame.head(len(scores) - leave_out)


@pytest.mark.parametrize("odds", [True, False])
def test_a_silent_row_gets_the_median_of_the_scores(odds: bool) -> None:
    table, facts = click_table(rows(), scored(odds=odds, leave_out=1), "expected")
    unscored = table.filter("is_unscored")
    assert unscored["request_id"].to_list() == ["t2", "t4"]
    middle = float(np.median([score for score in SCORES if score is not None]))
    assert unscored["score"].to_list() == [middle, middle]
    assert facts["requests"] == 5
    assert (facts["requests_without_ranking"], facts["requests_unanswered"], facts["requests_dropped"]) == (1, 1, 0)
    assert table["probability"].null_count() == (0 if odds else table.height)
    assert table["calibrated"].null_count() == 0
    # Half a win against each: neither for nor against the item.
    _, found = to_click_rows(table, USERS, facts["calibration"])
    assert len(found.users) == 5


@pytest.mark.parametrize("others", [0, 1])
def test_a_silent_row_may_be_wrong_for_certain(others: int) -> None:
    table, facts = click_table(rows(), scored([None] * others + SCORES[others:]), "worst")
    assert table["probability"].null_count() == 0
    unscored = table.filter("is_unscored").filter(pl.col("part") == "test")
    assert unscored["label"].to_list() == [1.0, 0.0]
    assert unscored["score"][0] < min(score for score in SCORES if score is not None)
    assert unscored["score"][1] > max(score for score in SCORES if score is not None)
    assert unscored["probability"].to_list() == unscored["calibrated"].to_list() == [0.0, 1.0]
    _, worst = to_click_rows(table, USERS, facts["calibration"])
    table, facts = click_table(rows(), scored(), "expected")
    _, expected = to_click_rows(table, USERS, facts["calibration"])
    assert value(worst, "auc") < value(expected, "auc")
    assert value(worst, "log-loss") > value(expected, "log-loss")


def test_a_silent_row_may_be_left_out_and_is_counted() -> None:
    table, facts = click_table(rows(), scored(), "drop")
    requests, found = to_click_rows(table, USERS, facts["calibration"])
    assert requests.to_list() == ["t0", "t1", "t3"]
    assert len(found.users) == 3
    assert facts["requests_dropped"] == 2


@pytest.mark.parametrize("invalid", ["expected", "worst", "drop"])
def test_a_run_without_any_score_is_a_constant(invalid: Invalid) -> None:
    table, facts = click_table(rows(), scored([None] * 11), invalid)
    assert facts["calibration"] is None
    assert facts["requests_unanswered"] == 5
    if invalid == "expected":
        _, found = to_click_rows(table, USERS, None)
        assert value(found, "auc") == 0.5


def test_a_calibration_does_not_move_with_test_labels() -> None:
    one = click_table(rows(), scored(), "expected")[1]["calibration"]
    other = click_table(rows([0, 1, 0, 0, 1]), scored(), "expected")[1]["calibration"]
    assert one == other
    assert one["rows"] == 6


def test_a_constant_answer_is_found() -> None:
    assert click_table(rows(), scored([1.0] * 11), "expected")[1]["constant"]
    assert not click_table(rows(), scored(), "expected")[1]["constant"]


def test_labels_change_places_within_users_and_in_their_histories() -> None:
    asked = pl.DataFrame(
        {
            "request_id": ["r0", "r1", "r2", "r3"],
            "user_id": ["a", "a", "b", "a"],
            "item_id": ["x", "y", "x", "z"],
            "part": ["test"] * 4,
            "cutoff": [1, 2, 3, 4],
            "history": [["o"], ["o", "x"], [], ["o", "x", "y"]],
            "liked": [[True], [True, True], [], [True, True, False]],
        },
        schema_overrides={"history": pl.List(pl.String), "liked": pl.List(pl.Boolean)},
    )
    labels = np.array([True, False, True, False])
    permuted = PermutedHistories(asked, labels)
    generator, seen = np.random.default_rng(0), set()
    for _ in range(20):
        found, told = permuted.draw(generator)
        assert found[2]  # user b has one row, and keeps its label
        assert found[[0, 1, 3]].sum() == 1
        assert told["request_id"].to_list() == asked["request_id"].to_list()
        # An event before the test keeps its label; a test row has the one it was dealt.
        x, y = bool(found[0]), bool(found[1])
        assert told["liked"].to_list() == [[True], [True, x], [], [True, x, y]]
        seen.add(found.tobytes())
    assert len(seen) == 3

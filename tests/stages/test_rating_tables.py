"""How evaluated rows of ratings are made: rows without a score, and the line fitted on rows of validation."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from llmrs_bench.core.config import Invalid
from llmrs_bench.core.schemas import PREDICTIONS
from llmrs_bench.metrics.labelled import value
from llmrs_bench.stages.evaluate_labelled import rating_table, to_rating_rows

USERS = ["a", "b"]
SCALE = (1.0, 5.0)
VALID, TEST = [1.0, 2.0, 4.0, 5.0], [5.0, 1.0, 2.0, 4.0, 3.0]
SCORES = [2.0, 3.0, 5.0, 6.0, 4.0, 2.0, None, 7.0, None]  # those of valid rows are one too high


def rows() -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"request_id": f"{part}{at}", "user_id": USERS[at % 2], "part": part, "label": label}
            for part, labels in (("valid", VALID), ("test", TEST))
            for at, label in enumerate(labels)
        ],
        schema={"request_id": pl.String, "user_id": pl.String, "part": pl.String, "label": pl.Float32},
    )


def scored(scores: list[Any] = SCORES) -> pl.DataFrame:
    frame = pl.DataFrame({"request_id": rows()["request_id"], "score": pl.Series(scores, dtype=pl.Float64)})
    return frame.head(len(scores) - 1)


@pytest.mark.parametrize(
    ("invalid", "filled"), [("expected", [4.0, 4.0]), ("worst", [5.0, 5.0]), ("drop", [None, None])]
)
def test_a_row_without_a_score(invalid: Invalid, filled: list[float | None]) -> None:
    table, facts = rating_table(rows(), scored(), invalid, SCALE)
    assert table.schema == PREDICTIONS
    unscored = table.filter("is_unscored")
    assert unscored["request_id"].to_list() == ["test2", "test4"]
    assert unscored["score"].to_list() == filled
    assert (facts["requests_without_ranking"], facts["requests_unanswered"]) == (1, 1)
    requests, found = to_rating_rows(table, USERS)
    assert len(requests) == (3 if invalid == "drop" else 5)
    if invalid == "worst":  # whatever the line says of it
        assert unscored["calibrated"].to_list() == [5.0, 5.0]
        assert value(found, "mae") == pytest.approx((1 + 1 + 3 + 3 + 2) / 5)


def test_calibrated_ratings_are_on_the_line_of_valid_rows_within_the_scale() -> None:
    table, facts = rating_table(rows(), scored(), "expected", SCALE)
    line = facts["calibration"]
    assert (line["slope"], line["offset"], line["rows"]) == (pytest.approx(1.0), pytest.approx(-1.0), 4)
    told = table.filter((pl.col("part") == "test") & ~pl.col("is_unscored"))
    assert told["calibrated"].to_list() == pytest.approx([3.0, 1.0, 5.0])  # 6 is beyond the scale
    assert facts["outside"] == 1


def test_test_labels_change_no_calibration() -> None:
    _, facts = rating_table(rows(), scored(), "expected", SCALE)
    other = rows().with_columns(label=pl.when(part="test").then(1.0).otherwise("label").cast(pl.Float32))
    assert rating_table(other, scored(), "expected", SCALE)[1]["calibration"] == facts["calibration"]


def test_without_valid_rows_nothing_is_calibrated() -> None:
    table, facts = rating_table(rows().filter(part="test"), scored(), "expected", SCALE)
    assert facts["calibration"] is None
    _, found = to_rating_rows(table, USERS)
    assert not found.has("rmse-calibrated")
    assert found.has("rmse")


def test_a_run_without_any_score_says_the_middle_of_the_scale() -> None:
    table, facts = rating_table(rows(), scored([None] * len(SCORES)), "expected", SCALE)
    assert set(table["score"]) == {3.0}
    assert facts["calibration"] is None
    _, found = to_rating_rows(table, USERS)
    assert value(found, "rmse") == pytest.approx(float(np.sqrt(np.mean((np.array(TEST) - 3) ** 2))))

"""Boards of click data, built from rows that are made up."""

import numpy as np
import polars as pl
import pytest

from click_board_cases import USERS, click_board, click_entry
from llmrs_bench.core.errors import OptionError
from llmrs_bench.leaderboard.gate import Baseline, Counterpart, judge
from llmrs_bench.metrics.labelled import value
from llmrs_bench.report.formats import FORMATS


def test_cells_are_the_metrics_and_the_best_is_told_from_the_worst() -> None:
    good, bad = click_entry("good", 0.5), click_entry("bad", 4.0, 1)
    made, _ = click_board([bad, good])
    assert [row.run for row in made.rows] == ["good", "bad"]
    for row, own in zip(made.rows, (good, bad), strict=True):
        for metric, cell in row.cells.items():
            assert cell.mean == pytest.approx(value(own.rows, metric))
            assert cell.low is not None
            assert cell.high is not None
            assert cell.low <= cell.mean <= cell.high
        assert row.shares == pytest.approx({"answered": 0.9})
        assert row.users == USERS
    assert made.rows[1].cells["auc"].versus is not None
    assert not made.rows[1].cells["auc"].as_good
    assert made.rows[0].cells["log-loss"].rank == 1
    assert made.key == "auc"


def test_runs_of_several_seeds_share_a_row() -> None:
    seeds = [click_entry(f"r{seed}", 1.0, seed, group="g", model="m") for seed in (1, 2, 3)]
    made, _ = click_board([*seeds, click_entry("other", 3.0, 9)])
    row = next(row for row in made.rows if row.model == "m")
    aucs = [value(each.rows, "auc") for each in seeds]
    assert row.seeds == 3
    assert row.cells["auc"].mean == pytest.approx(np.mean(aucs))
    assert row.cells["auc"].spread == pytest.approx(np.std(aucs, ddof=1))


def test_a_row_without_probabilities_has_no_cell_of_them_and_other_rows_do() -> None:
    made, matrix = click_board([click_entry("odds", 1.0), click_entry("places", 1.0, 2, odds=False)])
    by_run = {row.run: row for row in made.rows}
    assert "log-loss" in by_run["odds"].cells
    assert "log-loss" not in by_run["places"].cells
    for write in FORMATS.values():
        assert "places" in write(made)
    # A gate judges such a row by what it has.
    at = next(at for at, line in enumerate(matrix.lines) if line.run == "odds")
    own = Counterpart(
        made.rows[at], {metric: matrix.values[metric][at] for metric in made.metrics}, len(matrix.requests)
    )
    gate = judge(made, matrix, ["places"], [], Baseline("odds", {"places": own}), seed=0)
    assert [change.metric for change in gate.changes] == ["auc", "uauc"]


def test_a_metric_that_no_row_has_is_left_out_and_said() -> None:
    made, _ = click_board([click_entry("one", 1.0, odds=False), click_entry("two", 1.0, 2, odds=False)])
    assert made.metrics == ("auc", "uauc")
    assert "no row of the board has log-loss" in made.notes
    with pytest.raises(OptionError, match="no row of the board has log-loss"):
        click_board([click_entry("one", 1.0, odds=False)], ("log-loss",))


def test_groups_of_rows_have_cells_of_their_own() -> None:
    entries = [click_entry("one", 1.0), click_entry("two", 2.0, 2)]
    late = pl.DataFrame(
        {"request_id": entries[0].requests, "group": ["early" if at % 8 < 4 else "late" for at in range(USERS * 8)]}
    ).with_columns(order=(pl.col("group") == "late").cast(pl.Int32))
    made, _ = click_board(entries, ("auc",), by="half", groups=late)
    assert [section.group for section in made.sections] == ["early", "late"]
    first = entries[0].rows.only(np.arange(USERS * 8) % 8 < 4)
    cell = next(row for row in made.sections[0].rows if row.run == "one").cells["auc"]
    assert cell.mean == pytest.approx(value(first, "auc"))
    assert made.sections[0].users == USERS


def test_costs_are_counted_by_rows() -> None:
    made, _ = click_board([click_entry("one", 1.0, about={"scoring_seconds": 2.0}), click_entry("two", 2.0, 2)])
    assert "seconds of ranking per 1,000 rows" in " ".join(made.protocol)
    assert "rows/s" in FORMATS["markdown"](made)
    assert "users/s" not in FORMATS["markdown"](made)

"""Fusions as rows of a recipe."""

from pathlib import Path
from typing import Any

import pytest

from llmrs_bench.core.errors import BenchError, OptionError
from llmrs_bench.core.types import no_progress
from llmrs_bench.stages.fuse import fuse
from llmrs_bench.stages.recipe import open_recipe, study_of
from llmrs_bench.stages.recipe_files import recipe_text, to_toml
from llmrs_bench.stages.recipe_forecast import forecast_study
from llmrs_bench.stages.run import Made, boards, run_study, save_study_board
from llmrs_bench.stages.study import Study, chosen_rows

ROWS: list[dict[str, Any]] = [
    {"name": "hybrid", "fuse": ["itemknn", "asked"], "method": "cascade", "budget": ["20%", "100%"]},
    {"name": "joined", "fuse": ["itemknn", "asked"]},
    {"name": "asked", "model": "mock"},
    {"model": "itemknn"},
]
VALIDATED: dict[str, Any] = {"fuse": ["itemknn", "asked"], "learn_on": "earlier"}


def study(source: Path, *rows: dict[str, Any], data: list[dict[str, Any]] | None = None, **tables: Any) -> Study:
    own = {"dataset": "small", "source": str(source), "n_candidates": 5}
    several = [{**own, **each} for each in data or [{}]]
    return study_of({"data": several, "rows": list(rows or ROWS), **tables}, "study.toml")


def run(home: Path, found: Study, only: tuple[str, ...] = (), **more: Any) -> tuple[Made, list[str]]:
    said: list[str] = []
    return run_study(home, found, chosen_rows(found, only), no_progress, said.append, **more), said


def twice(source: Path, *rows: dict[str, Any], **tables: Any) -> Study:
    """A study of the requests of now and of earlier ones."""
    return study(source, *rows, data=[{"name": "now"}, {"name": "earlier", "held_out": "validation"}], **tables)


def test_fusions_run_after_the_rows_that_they_join_and_are_those_of_the_command(tmp_path: Path, atomic: Path) -> None:
    found = study(atomic)
    names = [row.name for row in found.rows]
    assert min(map(names.index, ("hybrid budget=20%", "hybrid budget=100%", "joined"))) > max(
        map(names.index, ("asked", "itemknn"))
    )
    made, said = run(tmp_path, found)
    assert said[-1].startswith("[5/5] ")
    members = [made.runs["small", name].path.name for name in ("itemknn", "asked")]
    again = fuse(made.data["small"], {"runs": ",".join(members), "method": "cascade", "budget": "20%"})
    assert not again.fresh
    assert again.artifact.path == made.runs["small", "hybrid budget=20%"].path
    [board] = boards(found, made)
    assert {"fusion-cascade", "fusion-rrf"} <= {row.model for row in board.comparison.board.rows}
    _, said = run(tmp_path, found)
    assert all("already there" in line for line in said)


def test_a_fusion_brings_its_members_and_is_part_of_a_look(tmp_path: Path, atomic: Path) -> None:
    found = study(atomic)
    assert [row.name for row in chosen_rows(found, ["joined"])] == ["asked", "itemknn", "joined"]
    looked = {each.row.name: each.why for each in forecast_study(tmp_path, found, found.rows)}
    assert looked["joined"] == "made of itemknn and asked; no prompts"


def test_what_a_fusion_learns_on_is_made_first_and_has_no_board(tmp_path: Path, atomic: Path) -> None:
    rows = [{**ROWS[0], "budget": "50%", "learn_on": "earlier"}, {**ROWS[2], "data": "now"}, ROWS[3]]
    found = twice(atomic, *rows)
    assert [(row.data, row.name) for row in found.rows if row.fused] == [("now", "hybrid")]
    made, _ = run(tmp_path, found, ("hybrid",))
    assert ("earlier", "itemknn") in made.runs
    assert ("earlier", "asked") not in made.runs  # the threshold is that of the first run
    learned_on, _ = made.runs["now", "hybrid"].facts["learned_on"]
    assert learned_on == "small@earlier"
    [board] = boards(found, made)
    assert board.data.place.reference == "small@now"
    asked_now = [VALIDATED | {"method": "learned"}, {**ROWS[2], "data": "now"}, ROWS[3]]
    with pytest.raises(OptionError, match="unknown row on earlier 'asked'"):
        twice(atomic, *asked_now)
    with pytest.raises(OptionError, match="learn_on=earlier is the data set that the row ranks"):
        twice(atomic, VALIDATED | {"method": "learned", "data": "earlier"}, ROWS[2], ROWS[3])


def test_a_member_that_failed_fails_its_fusions_alone(tmp_path: Path, atomic: Path) -> None:
    found = study(atomic, ROWS[1], {**ROWS[2], "options": {"context": 1}}, ROWS[3])
    made, said = run(tmp_path, found, continue_on_error=True)
    assert list(made.runs) == [("small", "itemknn")]
    assert any("joined: failed: it needs the run of row asked, which failed" in line for line in said)
    with pytest.raises(BenchError, match="row asked: "):
        run(tmp_path / "b", found)


def test_a_board_with_fusions_writes_its_recipe_back(tmp_path: Path, atomic: Path) -> None:
    found = study(atomic, *ROWS[1:], {"fuse": [["joined", "asked"], ["itemknn", "joined"]], "method": "zscore"})
    made, _ = run(tmp_path / "home", found)
    [board] = boards(found, made)
    saved = tmp_path / "board.parquet"
    save_study_board(found, board, saved)
    (tmp_path / "again.toml").write_text(recipe_text(str(saved)))
    again = open_recipe(str(tmp_path / "again.toml"))
    assert (again.rows, again.digest) == (found.rows, found.digest)
    assert {row.name for row in again.rows} >= {"fusion-zscore of joined+asked", "fusion-zscore of itemknn+joined"}
    assert to_toml({"rows": [ROWS[1]]}) in recipe_text(str(saved))


def test_with_a_limit_there_are_no_fusions(atomic: Path) -> None:
    chained = {"name": "all", "fuse": ["joined", "itemknn"], "method": "zscore"}
    found = study(atomic, *ROWS[1:2], {**ROWS[2], "limit": 4}, ROWS[3], chained)
    assert [row.name for row in found.rows] == ["asked", "itemknn"]
    assert found.limited == ("joined", "all")


def test_there_are_no_fusions_of_clicks(atomic: Path) -> None:
    with pytest.raises(OptionError, match="joined: a fusion combines rankings, but small has one item per request"):
        study_of(
            {
                "data": {"dataset": "small", "source": str(atomic), "task": "click"},
                "rows": [
                    ROWS[1],
                    {"name": "asked", "model": "mock", "template": "like"},
                    {"model": "fm", "name": "itemknn"},
                ],
            },
            "study.toml",
        )

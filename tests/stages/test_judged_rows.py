"""Judges as rows of a recipe."""

from pathlib import Path
from typing import Any

import pytest

from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.types import no_progress
from llmrs_bench.llm.cost import Budget
from llmrs_bench.stages.recipe import study_of
from llmrs_bench.stages.recipe_files import to_toml
from llmrs_bench.stages.recipe_forecast import forecast_study
from llmrs_bench.stages.run import Made, boards, judgements, run_study
from llmrs_bench.stages.study import Study, chosen_rows

EXPLAINING = {"template": "explanation", "template_options": {"explained_run": "row:itemknn"}}
JUDGE: dict[str, Any] = {"name": "judge", "model": "mock", "judge": ["*"], "samples": 100, "permutations": 400}
ROWS: list[dict[str, Any]] = [
    JUDGE,
    {"name": "whole", **EXPLAINING},
    {"name": "last", "history": 1, **EXPLAINING},
    {"model": "itemknn"},
]


def study(source: Path, *rows: dict[str, Any], **tables: Any) -> Study:
    data = {"dataset": "small", "source": str(source), "n_candidates": 5, "users": 6}
    content = {"data": data, "defaults": {"model": "mock"}, "rows": list(rows or ROWS), **tables}
    return study_of(content, "study.toml")


def run(home: Path, found: Study, only: tuple[str, ...] = (), **more: Any) -> tuple[Made, list[str]]:
    said: list[str] = []
    return run_study(home, found, chosen_rows(found, only), no_progress, said.append, **more), said


def test_a_judge_runs_after_the_writers_that_its_pattern_fits_and_is_on_no_board(tmp_path: Path, atomic: Path) -> None:
    found = study(atomic)
    assert [row.name for row in found.rows] == ["itemknn", "whole", "last", "judge"]
    assert [row.name for row in chosen_rows(found, ["judge"])] == ["itemknn", "whole", "last", "judge"]
    [look] = [each for each in forecast_study(tmp_path, found, found.rows) if each.row.name == "judge"]
    assert (look.why, look.later) == ("judges what whole and last wrote", True)
    made, said = run(tmp_path, found)
    assert said[-1].startswith("[4/4] judge: made: ")
    assert made.done == 4
    [((_, name), artifact, facts)] = judgements(found, made)
    assert (name, facts["judge"], facts["users"]) == ("judge", "mock", 6)
    assert {(each["writer"], each["against"]) for each in facts["contests"]} == {
        *(("whole", other) for other in ("template", "shuffled", "last")),
        *(("last", other) for other in ("template", "shuffled")),
    }
    assert "the writer of whole and of last are the same model" in facts["warnings"][0]
    [look] = [each for each in forecast_study(tmp_path, found, found.rows) if each.row.name == "judge"]
    assert look.why.endswith(f"{artifact.manifest.tables['judgements'].rows} prompts at most")
    [board] = boards(found, made)
    assert {row.model for row in board.comparison.board.rows} == {"itemknn", "popularity", "chance"}
    assert all("already there" in line for line in run(tmp_path, found)[1])
    assert to_toml({"rows": [JUDGE]}) in found.text


def test_judges_are_a_grid_and_take_their_model_from_the_defaults(atomic: Path) -> None:
    own = {key: value for key, value in JUDGE.items() if key != "model"}
    found = study(atomic, {**own, "judge": [["whole"], ["whole", "last"]], "reading": ["labels", "text"]}, *ROWS[1:])
    judges = {row.name: row.judging for row in found.rows if row.judging is not None}
    assert set(judges) == {
        f"judge reading={reading} of {runs}" for reading in ("labels", "text") for runs in ("whole", "whole+last")
    }
    assert {(each.model, each.reading, each.runs) for each in judges.values()} == {
        ("mock", reading, runs) for reading in ("labels", "text") for runs in (("whole",), ("whole", "last"))
    }


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        ({"judge": ["hole"]}, "unknown row with explanations 'hole'"),
        ({"judge": ["itemknn"]}, "itemknn writes no explanations"),
        ({"judge": []}, "names no rows"),
        ({"model": "fusion"}, "not a model that a recipe can run"),
        ({"template": "label"}, "unknown key 'template'"),
        ({"readin": "text"}, "unknown key 'readin'"),
        ({"reading": "mind"}, "reading"),
    ],
)
def test_what_is_wrong_with_a_judge_is_said_before_anything_runs(
    atomic: Path, judge: dict[str, Any], said: str
) -> None:
    with pytest.raises(OptionError, match=said):
        study(atomic, {**JUDGE, **judge}, *ROWS[1:])


def test_a_budget_of_money_needs_the_price_of_a_judge(tmp_path: Path, atomic: Path) -> None:
    with pytest.raises(OptionError, match="price"):
        run(tmp_path, study(atomic), budget=Budget(usd=1.0))

"""Recipes: what they come to, what runs, and what is said where they are wrong."""

import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from llmrs_bench.cli.main import app
from llmrs_bench.core.errors import BenchError, BudgetError, OptionError
from llmrs_bench.core.types import no_progress
from llmrs_bench.llm.backends import mock
from llmrs_bench.llm.cost import Budget
from llmrs_bench.stages.recipe import open_recipe, study_of
from llmrs_bench.stages.recipe_files import to_toml
from llmrs_bench.stages.recipe_forecast import forecast_study
from llmrs_bench.stages.run import Made, boards, run_study, same_runs
from llmrs_bench.stages.study import Study, chosen_rows

ROWS: list[dict[str, Any]] = [{"model": "mock", "template": ["listwise", "likelihood"], "history": [1, 3]}]


def study(*rows: dict[str, Any], **tables: Any) -> Study:
    content = {"data": {"dataset": "small", "n_candidates": 5}, "rows": list(rows or ROWS), **tables}
    return study_of(content, "study.toml")


def run(home: Path, source: Path, found: Study, only: tuple[str, ...] = (), **more: Any) -> tuple[Made, list[str]]:
    said: list[str] = []
    content = {"data": {"source": str(source)}}
    assert found.text
    (home.parent / "study.toml").write_text(found.text)
    opened = open_recipe(str(home.parent / "study.toml"), content)
    made = run_study(home, opened, chosen_rows(opened, only), no_progress, said.append, **more)
    return made, said


def sourced(source: Path, *rows: dict[str, Any], **tables: Any) -> Study:
    return study(*rows, data={"dataset": "small", "n_candidates": 5, "source": str(source)}, **tables)


def names(found: Study) -> list[str]:
    return [row.name for row in found.rows]


def refused(content: dict[str, Any]) -> OptionError:
    with pytest.raises(OptionError) as caught:
        study_of(content, "study.toml")
    return caught.value


def test_lists_are_a_grid_and_rows_of_one_model_are_neighbours() -> None:
    found = study(
        {"model": "mock", "history": [1, 3]},
        {"model": "itemknn", "options": {"neighbours": [5, 10]}},
        {"model": "mock", "template": "likelihood", "seeds": 2},
        {"name": "mine", "model": "mock", "template_options": {"answer": ["ids", "titles"], "candidates": "ids"}},
    )
    assert names(found) == [
        *("mock history=1", "mock history=3", "mock likelihood seed=0", "mine answer=ids", "mine answer=titles"),
        *("itemknn neighbours=5", "itemknn neighbours=10", "mock likelihood seed=1"),
    ]
    knn = next(row for row in found.rows if row.name == "itemknn neighbours=10")
    assert knn.values["options"] == {"neighbours": "10"}


def test_what_rows_need_comes_before_them() -> None:
    shown = {"interest_run": "row:profile", "interest": "recent-written"}
    found = study(
        {"name": "told", "model": "mock", "template": "paper", "template_options": shown},
        {"name": "profile", "model": "mock", "template": "interest"},
        {"name": "other", "model": "mock"},
    )
    assert names(found).index("profile") < names(found).index("told")
    assert [row.name for row in chosen_rows(found, ["told"])] == ["profile", "told"]
    assert [row.name for row in chosen_rows(found, ["o*r"])] == ["other"]


def test_rows_that_are_tuned_hand_their_prompts_to_tune() -> None:
    rank = {"samples": [0, 8], "options": {"rank": [4, 8]}}
    found = study({"name": "t", "model": "./base", "template": "label", "history": 3, "seeds": 2, "tune": rank})
    assert len(found.rows) == 8
    tuned = found.rows[-1].tune
    assert tuned is not None
    assert (tuned.template, tuned.history, tuned.samples, tuned.options, tuned.seed) == (
        "label",
        3,
        8,
        {"rank": "8"},
        1,
    )
    assert "seed" not in found.rows[-1].values


def test_what_is_set_of_tuning_is_set_where_there_is_some(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"model": "./base", "template": "label", **more} for more in ({}, {"tune": {"options": {"rank": 4}}})
    ]
    rows[1]["name"] = "tuned"
    (tmp_path / "a.toml").write_text(to_toml({"data": {"dataset": "small"}, "rows": rows}))
    plain, tuned = open_recipe(str(tmp_path / "a.toml"), {}, ["rows.tune.options.epochs=5", "rows.tune.samples=8"]).rows
    assert plain.tune is None
    assert tuned.tune is not None
    assert (tuned.tune.samples, tuned.tune.options) == (8, {"rank": "4", "epochs": "5"})


def test_defaults_are_of_rows_without_a_model() -> None:
    found = study(
        {"template": "likelihood"},
        {"model": "itemknn"},
        defaults={"model": "mock", "limit": 4, "options": {"context": 100}},
    )
    asked, knn = found.rows
    assert asked.values == {"model": "mock", "limit": 4, "options": {"context": "100"}, "template": "likelihood"}
    assert knn.values == {"model": "itemknn"}


@pytest.mark.parametrize(
    ("table", "value", "said"),
    [
        ("dta", {}, "Did you mean 'data'"),
        ("data", {"dataset": "small", "usrs": 5}, "Did you mean 'users'"),
        ("data", {"dataset": "small", "users": 0}, "users"),
        ("data", {"dataset": "small", "protocol": "papr"}, "Did you mean 'paper'"),
        ("data", {"users": 5}, "--dataset NAME"),
        ("rows", [{"model": "mock", "histroy": 5}], "Did you mean 'history'"),
        ("rows", [{"model": "itemknn", "template": "listwise"}], "applies only to language models"),
        ("rows", [{"model": "mock", "history": "many"}], "many"),
        ("rows", [{"model": "mock", "history": []}], "history is an empty list"),
        ("rows", [{"template": "listwise"}], "no model is named"),
        ("rows", [{"model": "mock", "data": "large"}], "unknown data set of the recipe 'large'"),
        ("rows", [{"model": "mock", "template": "like", "tune": {"sampels": 8}}], "did you mean 'samples'"),
        ("rows", [{"name": "a", "model": "mock"}, {"name": "a", "model": "random"}], "called 'a'"),
        ("rows", [{"model": 5}], "model=5 is not a model"),
        ("rows", [{"model": "fusion"}], "`import` reads rankings"),
        ("rows", [{"model": "mock", "data": []}], "data names no data set"),
        ("rows", [*ROWS, {"fuse": ["mock", "mokc"]}], "unknown row 'mock'"),
        ("rows", [*ROWS, {"fuse": ["a", "b"], "model": "mock"}], "model and fuse exclude each other"),
        ("rows", [*ROWS, {"fuse": ["a", "b"], "history": 5}], "unknown key 'history'"),
        ("rows", [*ROWS, {"fuse": ["a", 5]}], "fuse names no rows"),
        ("rows", [*ROWS, {"fuse": "a"}], "a fusion combines two or more different runs"),
        ("rows", [*ROWS, {"fuse": ["a", "b"], "method": "mmr"}], "mmr takes one run, not 2"),
        ("rows", [*ROWS, {"fuse": ["a", "b"], "budget": "10%"}], "budget applies only to the method cascade"),
        (
            "rows",
            [{"model": "random"}, {"name": "a", "fuse": ["b", "random"]}, {"name": "b", "fuse": ["a", "random"]}],
            "rows need each other",
        ),
        ("rows", [{"model": "mock", "options": 5}], "options is not a table"),
        ("data", {"dataset": "small", "columns": "user=reader"}, 'Write columns = { user = "NAME", item = "NAME" }.'),
        ("data", {"dataset": "small", "item_columns": ["title=name"]}, "item_columns is not a table"),
        ("defaults", {"history": 5}, "For all rows write --set rows.history=5"),
        ("rows", [{"model": "random"}, {"model": "mock", "tune": {}}], "Add template = NAME: listwise, likelihood"),
        ("rows", [{"name": "a", "model": "mock"}, {"name": "a", "model": "random"}], "several rows are called 'a'"),
        ("rows", [], "there are no [[rows]]"),
        ("board", {"metric": ["mrr"]}, "Did you mean 'metrics'"),
        ("board", {"samples": 5}, "samples=5 is below 100"),
        ("board", {"save": True}, "[board]: save=true is not a path save takes a path, as text"),
        ("board", {"html": ["a.html"]}, "html=['a.html'] is not a path"),
        ("board", {"fail_if": 5}, "fail_if=5 is not a list fail_if takes a list of which each is a text."),
    ],
)
def test_what_is_wrong_is_said_with_its_place(table: str, value: Any, said: str) -> None:
    error = refused({"data": {"dataset": "small"}, "rows": ROWS, table: value})
    assert said in f"{error.message} {error.hint}"
    assert "study.toml" in error.message


def test_all_that_is_wrong_is_said_at_once() -> None:
    error = refused({"data": {"dataset": "small", "usrs": 5}, "rows": [{"modl": "mock"}, {"model": "mock", "x": 1}]})
    assert all(word in error.message for word in ("'usrs'", "'modl'", "'x'", "[[rows]] 2"))


def test_rows_that_need_each_other_or_nobody_are_refused() -> None:
    told = {"model": "mock", "template": "paper", "template_options": {"interest_run": "row:profil"}}
    error = refused({"data": {"dataset": "small"}, "rows": [told, {"name": "profile", "model": "mock"}]})
    assert "Did you mean 'profile'" in f"{error.message} {error.hint}"


def test_a_row_is_set_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(
        '[data]\ndataset = "small"\n[[rows]]\nname = "near"\nmodel = "itemknn"\noptions = { neighbours = 5 }\n'
        '[[rows]]\nname = "options"\nmodel = "itemknn"\n[[rows]]\nmodel = "popularity"\n'
    )
    settings = ["rows.near.options.neighbours=7", "rows.seed=3", "rows.near.seed=4"]
    near, options, popularity = open_recipe(str(tmp_path / "a.toml"), {}, settings).rows
    assert near.values["options"] == {"neighbours": "7"}
    assert [row.values["seed"] for row in (near, options, popularity)] == [4, 3, 3]
    assert "options" not in options.values
    with pytest.raises(OptionError, match="far"):
        open_recipe(str(tmp_path / "a.toml"), {}, ["rows.far.seed=3"])


def test_a_recipe_is_written_back_as_it_was_read(tmp_path: Path) -> None:
    content = {
        "about": 'a "study"',
        "data": {"dataset": "small", "columns": {"user": "who ever"}, "split": "time", "cut": "2020-01-01"},
        "rows": [{"model": "mock", "history": [1, 5], "template_options": {"slots": "0,5"}}, {"model": "itemknn"}],
        "board": {"fail_if": ["ndcg@10 < 0.3"], "metrics": ["mrr"]},
    }
    (tmp_path / "a.toml").write_text(to_toml(content))
    found = open_recipe(str(tmp_path / "a.toml"))
    assert found.text == to_toml(content)
    changed = open_recipe(str(tmp_path / "a.toml"), {}, ["data.users=9", "board.samples=200"])
    assert changed.data[0].config is not None
    assert changed.data[0].config.users == 9
    assert changed.digest != found.digest


def test_one_model_is_loaded_once_for_all_rows(tmp_path: Path, atomic: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[int] = []
    start = mock.MockEngine.__init__

    def counted(self: Any, *given: Any, **more: Any) -> None:
        loaded.append(1)
        start(self, *given, **more)

    monkeypatch.setattr(mock.MockEngine, "__init__", counted)
    made, said = run(tmp_path / "home", atomic, study(*ROWS, {"model": "mock", "template": "yes-no"}))
    assert len(made.runs) == 5
    assert loaded == [1]
    again, said = run(tmp_path / "home", atomic, study(*ROWS, {"model": "mock", "template": "yes-no"}))
    assert loaded == [1]
    assert all("already there" in line for line in said)
    assert {run.path for run in again.runs.values()} == {run.path for run in made.runs.values()}


def test_a_missing_model_is_said_before_anything_is_asked(tmp_path: Path, atomic: Path) -> None:
    wrong = {"model": "itemknn", "options": {"neighbrs": 5}}
    found = study({"model": "mock"}, {"model": "mokc"}, {"model": "mock", "template": "listwize"}, wrong)
    with pytest.raises(BenchError, match="nothing was run: ") as caught:
        run(tmp_path / "home", atomic, found)
    assert "'mokc'" in caught.value.message
    assert "listwize" in caught.value.message
    assert "itemknn: unknown option 'neighbrs'" in caught.value.message
    assert not (tmp_path / "home").exists()


def test_a_tuned_model_is_looked_for_in_its_data_set(tmp_path: Path, atomic: Path) -> None:
    with pytest.raises(BenchError, match="row tuned-nobody: 0 tuned models of small"):
        run(tmp_path / "home", atomic, study({"model": "tuned-nobody"}))


def test_a_row_that_fails_ends_the_study_or_not(tmp_path: Path, atomic: Path) -> None:
    found = study({"name": "tiny", "model": "mock", "options": {"context": 1}}, {"model": "itemknn"}, {"model": "mock"})
    with pytest.raises(BenchError, match="row tiny: ") as caught:
        run(tmp_path / "home", atomic, found)
    assert "--continue-on-error" in caught.value.hint
    made, said = run(tmp_path / "home", atomic, found, continue_on_error=True)
    assert [name for _, name in made.failed] == ["tiny"]
    assert len(made.runs) == 2
    assert any("tiny: failed" in line for line in said)


def test_the_others_are_tried_where_a_model_cannot_be_had_and_the_board_lacks_its_gate(
    tmp_path: Path, atomic: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone, asked = {"name": "gone", "model": "./gone"}, {"baseline": "gone", "fail_if": ["ndcg@10 < 0"]}
    found = study(gone, {"model": "mock"}, board=asked)
    with pytest.raises(BenchError, match="nothing was run: row gone"):
        run(tmp_path / "home", atomic, found)
    made, said = run(tmp_path / "home", atomic, found, continue_on_error=True)
    assert ([name for _, name in made.failed], len(made.runs)) == (["gone"], 1)
    assert said[0].startswith("[1/2] gone: failed: no folder")
    assert said[-1].startswith("[2/2] mock: made")
    [board] = boards(found, made)
    assert board.gate is None
    assert "the gate judges nothing: its baseline, row gone, has no run" in caplog.messages


def test_a_factor_that_changes_nothing_is_found(tmp_path: Path, atomic: Path) -> None:
    assert study({"model": "mock", "history": [3, 3]}).repeated == (("mock history=3", "mock history=3"),)
    found = study({"model": "mock", "history": [90, 91]})
    made, _ = run(tmp_path / "home", atomic, found)
    assert list(same_runs(found.rows, made)) == [("mock history=91", "mock history=90")]


def test_a_spent_budget_ends_the_study_with_what_was_answered(tmp_path: Path, atomic: Path) -> None:
    budget = Budget(1.0)

    def first_row(text: str) -> None:
        if text.startswith("[1/4]"):
            budget.spend([{"seconds": 2.0}], {})

    made = run_study(tmp_path / "home", sourced(atomic), sourced(atomic).rows, no_progress, first_row, budget=budget)
    assert made.stopped is not None
    assert "of answering" in made.stopped.message
    assert len(made.runs) == 1
    whole, said = run(tmp_path / "home", atomic, study())
    assert len(whole.runs) == 4
    assert "already there" in said[1]


def test_prices_are_counted_and_have_to_be_known() -> None:
    row = {"prompt_tokens": 1000, "completion_tokens": 10, "seconds": 1.0, "finish_reason": "stop"}
    with pytest.raises(OptionError, match="not known") as caught:
        Budget(usd=1).check_prices({}, {"price_per_hour", "dtype"})
    assert caught.value.hint == "Add -O price_per_hour=USD of the machine."
    with pytest.raises(OptionError, match="not known") as caught:
        Budget(usd=1).check_prices({}, {"pause"})
    assert "has no price" in caught.value.hint
    spent = Budget(usd=2.5)
    spent.check_prices({"price_in": "1000"})
    spent.spend([row, row], {"price_in": "1000", "price_out": "0"})
    with pytest.raises(BudgetError, match=r"stopped at 3\.0000 USD, of which --max-price allows 2\.5"):
        spent.spend([row], {"price_in": "1000", "price_out": "0"})
    with pytest.raises(OptionError, match="not known"):
        spent.check_prices({"temperature": "0"})
    with pytest.raises(BudgetError, match="does not count tokens"):
        Budget(usd=1).spend([{**row, "prompt_tokens": 0}], {"price_in": "1"})


def test_the_board_holds_the_rows_of_the_recipe_alone(tmp_path: Path, atomic: Path) -> None:
    run(tmp_path / "home", atomic, study({"model": "random"}))
    found = study({"name": "knn", "model": "itemknn"}, *ROWS, board={"baseline": "knn", "fail_if": ["ndcg@10 < 0.9"]})
    made, _ = run(tmp_path / "home", atomic, found)
    [board] = boards(found, made)
    assert {row.model for row in board.comparison.board.rows} == {"chance", "popularity", "itemknn", "mock"}
    assert board.gate is not None
    assert len(board.gate.failures) == 4
    assert found.digest in board.comparison.board.notes[-1]
    alone, _ = run(tmp_path / "home", atomic, found, ("knn",))
    assert [each.gate for each in boards(found, alone)] == [None]


def test_several_data_sets_have_a_board_each(tmp_path: Path, atomic: Path) -> None:
    data = [{"name": "few", "n_candidates": 5}, {"name": "many", "n_candidates": 9}]
    rows = [{"name": "all", "model": "mock"}, {"name": "knn", "model": "itemknn", "data": "many"}]
    found = study(*rows, data=[{"dataset": "small", **each} for each in data])
    made, _ = run(tmp_path / "home", atomic, found)
    assert sorted(made.runs) == [("few", "all"), ("many", "all"), ("many", "knn")]
    assert [board.data.place.reference for board in boards(found, made)] == ["small@few", "small@many"]


def test_ctrl_c_between_rows_says_what_is_kept(tmp_path: Path, atomic: Path) -> None:
    said: list[str] = []

    def stop(text: str) -> None:
        said.append(text)
        if text.startswith("[2/4]"):
            raise KeyboardInterrupt

    found = study(data={"dataset": "small", "n_candidates": 5, "source": str(atomic)})
    with pytest.raises(KeyboardInterrupt):
        run_study(tmp_path / "home", found, found.rows, no_progress, stop)
    assert said[-1] == "2 of 4 rows are done and kept"


def test_faults_of_the_data_bring_no_faults_of_rows() -> None:
    rows = [{"model": "mock", "data": "small"}]
    error = refused({"data": {"dataset": "small", "users": "fifty"}, "rows": rows})
    assert error.message == "study.toml: [data]: users=fifty is not a whole number of at least 1 or 'all'"
    assert error.hint == "users takes a whole number of at least 1 or 'all'; its default is 1000."
    assert refused({"rows": rows}).message == "study.toml: there is no [data]"


def test_each_fault_has_its_own_line_and_hint() -> None:
    error = refused({"data": {"dataset": "small", "usrs": 5}, "rows": [{"modl": "mock"}]})
    first, *faults = error.message.split("\n")
    assert first == "study.toml: 2 faults"
    assert [line.partition(". ")[0] for line in faults] == [
        "  - [data]: unknown key 'usrs'",
        "  - [[rows]]: unknown key 'modl'",
    ]
    assert "Did you mean 'users'" in faults[0]
    assert "Did you mean 'model'" in faults[1]


@pytest.mark.parametrize("prepared", [False, True])
def test_a_baseline_that_is_no_row_is_said_before_anything_is_asked(
    tmp_path: Path, atomic: Path, prepared: bool
) -> None:
    if prepared:
        run(tmp_path / "home", atomic, study({"model": "random"}))
    said: list[str] = []
    for board in ({"baseline": "sasrek"}, {"baseline": "gone.parquet"}, {"fail_if": ["ndgc@10 < 0.3"]}):
        found = sourced(atomic, *ROWS, {"model": "itemknn"}, board=board)
        with pytest.raises(BenchError, match=r"sasrek|gone|ndgc"):
            run_study(tmp_path / "home", found, found.rows, no_progress, said.append)
        with pytest.raises(BenchError, match=r"sasrek|gone|ndgc"):
            list(forecast_study(tmp_path / "home", found, found.rows))
    assert said == []
    good = sourced(atomic, *ROWS, {"name": "knn", "model": "itemknn"}, board={"baseline": "knn"})
    assert [row.name for row in chosen_rows(good, ["mock listwise history=1"])] == ["mock listwise history=1", "knn"]


def test_data_that_are_not_prepared_are_counted_after_the_command_that_is_named(tmp_path: Path, atomic: Path) -> None:
    data = {"n_candidates": 5, "include_seen": True, "columns": {"user": "user_id"}, "item_word": "a film"}
    found = study(*ROWS, data={"dataset": "small", "source": str(atomic), **data})
    looks = list(forecast_study(tmp_path, found, found.rows))
    assert {look.why for look in looks} == {"not counted: the data set is not prepared"}
    [command] = {look.command for look in looks}
    words = shlex.split(command)
    assert words[:4] == ["llmrs-bench", "prepare", "--dataset", "small"]
    assert CliRunner().invoke(app, [*words[1:], "--home", str(tmp_path)]).exit_code == 0
    whole = [word for word in words[1:] if word not in ("--n-candidates", "5")]
    assert CliRunner().invoke(app, [*whole, "--candidates", "all", "--home", str(tmp_path)]).exit_code == 0
    assert [look.asked.requests for look in forecast_study(tmp_path, found, found.rows) if look.asked] == [30] * 4


def test_rows_that_would_be_called_alike_are_named_by_what_differs() -> None:
    twins: list[dict[str, Any]] = [
        {"model": "mock", "template_options": options} for options in ({"samples": 2}, {"past": "random"}, {})
    ]
    rows = [*twins, {"model": "mock", "options": {"context": 90}, "template_options": {"samples": 2}}, {**twins[0]}]
    found = study(*rows, {"model": "random"}, data={"dataset": "small"})
    assert {row.name for row in found.rows} == {
        *("mock samples=2", "mock past=random", "mock", "mock context=90 samples=2", "random"),
    }
    assert found.repeated == (("mock samples=2", "mock samples=2"),)


def test_a_limit_reaches_all_language_models_and_no_others() -> None:
    rows: list[dict[str, Any]] = [
        {"model": ["mock", "random"]},
        {"model": "mock", "template": "likelihood", "limit": 9},
        {"model": "itemknn"},
    ]
    found = study(*rows, data={"dataset": "small"}, defaults={"limit": 4})
    assert {row.name: row.values.get("limit") for row in found.rows} == {
        **{"mock": 4, "random": None, "mock likelihood": 9, "itemknn": None},
    }
    error = refused({"data": {"dataset": "small"}, "rows": [{"model": "random"}], "defaults": {"limit": 4}})
    assert "no row asks a language model" in error.message


def test_a_look_takes_no_tokenizer_from_the_hub(tmp_path: Path, atomic: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("llmrs_bench.stages.forecast.open_reader", None)
    found = study({"model": "llama-2-7b"}, data={"dataset": "small", "source": str(atomic), "n_candidates": 5})
    command = shlex.split(found.data[0].command)
    assert CliRunner().invoke(app, [*command[1:], "--home", str(tmp_path)]).exit_code == 0
    [look] = forecast_study(tmp_path, found, found.rows)
    assert look.asked is not None
    assert look.asked.counted.endswith("characters a token: the tokenizer of llama-2-7b is not on this machine")


def test_recommenders_that_read_no_titles_need_none(tmp_path: Path) -> None:
    lines = [f"u{user},i{(user * 7 + step) % 30},{1000 + step}" for user in range(20) for step in range(9)]
    (tmp_path / "r.csv").write_text("\n".join(["user,item,time", *lines]))
    data = {"dataset": "mine", "source": str(tmp_path / "r.csv")}
    found = study({"model": "itemknn"}, data=data)
    made = run_study(tmp_path / "home", found, found.rows, no_progress, print)
    assert len(made.runs) == 1
    for model in ("mock", "bm25"):
        found = study({"model": model}, data=data)
        with pytest.raises(BenchError, match="have no title"):
            run_study(tmp_path / "home", found, found.rows, no_progress, print)


def test_the_recipe_of_time_asks_nobody_without_a_history() -> None:
    [plan] = open_recipe("protocols/time", {"defaults": {"model": "mock"}}).data
    assert plan.config is not None
    assert plan.config.windows == 4
    assert plan.config.min_history == 1

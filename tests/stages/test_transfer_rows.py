"""Rows of a recipe whose model is tuned on one data set and asked on others."""

from pathlib import Path
from typing import Any

import pytest

from command_line import Bench
from llmrs_bench.core.errors import OptionError
from llmrs_bench.data.datasets import known_dataset
from llmrs_bench.stages.recipe import open_recipe, study_of
from llmrs_bench.stages.study import Study
from llmrs_bench.stages.workspace import Reference
from tiny_models import tiny_llama

DATA = [{"name": "films", "dataset": "small"}, {"name": "books", "dataset": "shop"}]


def study(*rows: dict[str, Any]) -> Study:
    shared = {"model": "./base", "template": "label"}
    return study_of({"data": DATA, "rows": [{**shared, **row} for row in rows]}, "study.toml")


def test_a_source_is_a_factor_and_every_data_set_a_target() -> None:
    found = study({"name": "tuned", "tune": {"on": ["films", "books"], "samples": 4}})
    assert {(row.name, row.data, row.tuned_on) for row in found.rows} == {
        (f"tuned on={source}", target, source) for source in ("films", "books") for target in ("films", "books")
    }
    # One that is named and is the row's own is the same tuning as none that is named.
    own = study({"name": "a", "data": "films", "tune": {}}, {"name": "b", "data": "films", "tune": {"on": "films"}})
    assert own.repeated == (("b", "a"),)


def test_data_that_models_are_tuned_on_alone_have_no_board() -> None:
    found = study({"name": "tuned", "data": "books", "tune": {"on": "films"}})
    assert [plan.name for plan in found.judged] == ["books"]
    assert [row.tuned_on for row in found.rows] == ["films"]


def test_data_that_examples_are_of_are_data_of_the_recipe_or_of_the_home() -> None:
    shown = {"name": "shown", "data": "books", "template_options": {"shots": 2, "shots_from": "films"}}
    found = study(shown)
    assert [(row.examples_of, row.sources) for row in found.rows] == [("films", ("films",))]
    assert [plan.name for plan in found.judged] == ["books"]
    assert found.rows[0].with_runs({}, {"films": "small@films"})["template_options"]["shots_from"] == "small@films"
    similar = study({**shown, "template_options": {"shots": 2, "shots_from": "similar"}})
    assert similar.rows[0].sources == ()
    with pytest.raises(OptionError, match="shots_from=books is the data set that is asked about"):
        study({**shown, "template_options": {"shots": 2, "shots_from": "books"}})


def test_a_source_that_is_no_data_set_of_the_recipe_is_refused() -> None:
    with pytest.raises(OptionError, match="unknown data set of the recipe 'filsm'") as caught:
        study({"name": "tuned", "tune": {"on": "filsm"}})
    assert "films" in caught.value.hint


def test_the_recipe_of_the_package_has_both_directions() -> None:
    found = open_recipe("protocols/transfer", {"defaults": {"model": "./base"}})
    assert found.board.transfer
    tuned = {(row.tuned_on, row.data) for row in found.rows if row.tune is not None}
    assert tuned == {(source, target) for source in ("films", "books") for target in ("films", "books")}
    prompted = {(row.examples_of, row.data) for row in found.rows if row.examples_of is not None}
    assert prompted == {("films", "books"), ("books", "films")}


def test_the_recipe_of_the_package_names_data_that_the_tool_knows() -> None:
    found = open_recipe("protocols/transfer", {"defaults": {"model": "./base"}})
    known = [known_dataset(Reference.parse(plan.reference).dataset) for plan in found.data]
    assert [dataset.domain for dataset in known if dataset is not None] == ["films", "books"]


@pytest.mark.parametrize("settings", [["data.dataset=ml100k"], ["data.books.dataset=ml1m"]])
def test_two_domains_of_the_same_data_are_refused_before_anything_is_prepared(settings: list[str]) -> None:
    with pytest.raises(OptionError, match="films and books are the same data, ml1") as caught:
        open_recipe("protocols/transfer", {"defaults": {"model": "./base"}}, settings)
    assert "--set data.books.dataset=OTHER" in caught.value.hint


def test_a_model_may_be_tuned_on_the_same_data_where_no_matrix_is_asked_for() -> None:
    data = [DATA[0], {"name": "late", "dataset": "small", "split": "random"}]
    row = {"name": "tuned", "model": "./base", "template": "label", "data": "late", "tune": {"on": "films"}}
    content = {"data": data, "rows": [row]}
    assert [each.tuned_on for each in study_of(content, "study.toml").rows] == ["films"]
    with pytest.raises(OptionError, match="films and late are the same data, small"):
        study_of({**content, "board": {"transfer": True}}, "study.toml")


@pytest.mark.slow
def test_the_recipe_ends_with_the_matrix(tmp_path: Path, atomic: Path) -> None:
    bench, other = Bench(tmp_path / "home", atomic), tmp_path / "other"
    other.mkdir()
    lines = (atomic / "small.inter").read_text("utf-8").splitlines()
    (other / "shop.inter").write_text("\n".join(line for at, line in enumerate(lines) if at % 7 or not at), "utf-8")
    (other / "shop.item").write_text((atomic / "small.item").read_text("utf-8"), "utf-8")
    typed = ["--set=data.users=5", "--set=data.n_candidates=5", "--set=rows.tune.samples=4"]
    typed += ["--set=data.films.dataset=small", f"--set=data.films.source={atomic}"]
    typed += ["--set=data.books.dataset=shop", f"--set=data.books.source={other}"]
    typed += ["--set=rows.tune.options.epochs=1", "--set=board.samples=200", "--set=board.permutations=500"]
    done = bench.run("run", "protocols/transfer", "--model", str(tiny_llama(tmp_path / "base", context=1024)), *typed)
    words = " ".join(done.stdout.split())
    assert "on small" in words
    assert "on shop" in words
    assert "examples" in words.partition("by source and target")[2]
    assert "5 of 5 test users of shop have the id of a user of small" in words
    runs = {path.parent.name for path in bench.home.glob("*/*/runs/base-lora-*/manifest.json")}
    assert len(runs) == 4  # each of two models on each of two data sets
    again = bench.run("run", "protocols/transfer", "--model", str(tmp_path / "base"), *typed)
    assert " made: " not in again.stderr
    part = bench.run("run", "protocols/transfer", "--model", str(tmp_path / "base"), *typed, "--only", "bm25")
    assert "not all rows were run, so there is no matrix" in " ".join(part.stderr.split())

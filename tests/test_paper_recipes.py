"""The recipes of the package: what they say, and that each runs to its board."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from command_line import Bench
from llmrs_bench.core.config import CLICK
from llmrs_bench.stages.printed import published_tables
from llmrs_bench.stages.recipe import open_recipe
from llmrs_bench.stages.recipe_files import recipe_lines
from llmrs_bench.stages.run import OWN_MODEL, PAPER
from tiny_models import tiny_llama

CLICKS = ("paper/figure-7", "paper/table-14", "paper/table-5", "paper/table-6", "paper/table-7")
TRAINED = ("paper/table-12", "paper/table-4")
PAPERS = sorted(line.partition("\t")[0] for line in recipe_lines() if line.startswith("paper/"))
RANKED = tuple(name for name in PAPERS if name not in (*CLICKS, *TRAINED))
MOCK = {"defaults": {"model": "mock"}}


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty users in the layout of MovieLens-1M."""
    made = tmp_path_factory.mktemp("archive") / "ml-1m.zip"
    events = [(user, (user * 7 + step * 3) % 80, step) for user in range(20) for step in range(60)]
    ratings = "".join(f"{user}::{film}::{2 + (user + film) % 4}::{100 * step + user}\n" for user, film, step in events)
    with zipfile.ZipFile(made, "w") as file:
        file.writestr("ml-1m/ratings.dat", ratings)
        file.writestr("ml-1m/movies.dat", "".join(f"{n}::Film {n}, The (1990)::Drama\n" for n in range(80)))
    return made


@pytest.fixture
def films(tmp_path: Path, archive: Path) -> Bench:
    return Bench(tmp_path / "home", archive)


def ended(bench: Bench, recipe: str, *more: str) -> dict[str, Any]:
    """Run a recipe, and return its last board."""
    done = bench.run("run", recipe, "-d", "ml1m", "--source", str(bench.source), "--format", "json", *more)
    found: dict[str, Any] = json.loads("{" + done.stdout.rpartition("\n{")[2] if "\n{" in done.stdout else done.stdout)
    return found


def test_every_table_and_figure_that_was_measured_has_its_recipe() -> None:
    numbers = [f"table-{number}" for number in (4, 5, 6, 7, 9, 10, 11, 12, 13, 14)]
    assert sorted(PAPERS) == sorted(f"paper/{name}" for name in (*numbers, "figure-3", "figure-7"))


@pytest.mark.parametrize("dataset", ["ml1m", "amazon-books"])
@pytest.mark.parametrize("name", PAPERS)
def test_printed_rows_are_those_of_the_paper(name: str, dataset: str) -> None:
    study = open_recipe(name, MOCK if name not in CLICKS else {"defaults": {"model": "tuned-x"}})
    clicks = study.data[0].config is not None and study.data[0].config.task == CLICK
    tables = published_tables(dataset, "paper-ctr" if clicks else None)
    printed = [
        each for each in tables if each.source.endswith(f", {study.board.table}") and each.source.startswith(PAPER)
    ]
    if dataset == "amazon-books" and name == "paper/figure-7":
        assert not printed
        return
    [table_] = printed
    known = {text for row in table_.rows for text in (row.model, row.setting)} | {OWN_MODEL}
    curve = {f"{number} samples" for number in (8, 16, 32, 64, 128)}  # on the figure, and not to be read off
    assert {row.printed for row in study.rows if row.printed} <= known | (curve if clicks else set())
    assert any(row.printed for row in study.rows)
    assert study.board.remarks


QUICK = ("paper/table-4",)  # the others are run by `make test-slow`


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in RANKED]
)
def test_a_recipe_runs_to_its_board(name: str, films: Bench) -> None:
    board = ended(films, name, "--model", "mock", "--limit", "4")
    study = open_recipe(name, MOCK)
    asked = [row for row in study.rows if row.values.get("template") not in ("notes", "interest")]
    assert len([row for row in board["rows"] if row["model"] == "mock"]) == len(asked)
    held = [note for note in board["notes"] if note.startswith(f"{study.board.table}, ")]
    assert len(held) == len([row for row in study.rows if row.printed])
    assert all("not comparable: asked with --limit" in note for note in held)
    assert any(f"recipe {name}, " in note for note in board["notes"])


@pytest.mark.slow
def test_trained_rows_get_a_verdict(films: Bench) -> None:
    board = ended(films, "paper/table-4", "--model", "mock")
    notes = {note.partition(":")[0]: note for note in board["notes"]}
    assert "(printed .5743, inside the noise" in notes["Table 4, bprmf"] + notes["Table 4, bprmf"].replace("out", "in")
    assert "not comparable: printed of other models; this is mock" in notes["Table 4, language model"]
    assert "history is 3, in the paper 10" in str(
        ended(films, "paper/table-4", "-m", "mock", "--set", "data.history=3")
    )


@pytest.mark.slow
def test_lists_of_retrievers_have_a_board_each(films: Bench) -> None:
    board = ended(films, "paper/table-12", "--model", "mock")
    assert board["title"] == "ml1m@top-sasrec"
    assert {row["model"] for row in board["rows"]} >= {"sasrec", "mock"}
    assert any("printed of SASRec + LLM" in note or "printed of" in note for note in board["notes"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "row"), [*zip(CLICKS, ("8 samples", "both", "LoRA", "rank 4", "dropout 0"), strict=True)], ids=CLICKS
)
def test_a_recipe_that_tunes_runs_to_its_board(name: str, row: str, films: Bench, tmp_path: Path) -> None:
    base = tiny_llama(tmp_path / "base", context=512, seed=0)
    changed = ["rows.tune.options.epochs=1", "rows.tune.options.valid=8", "defaults.device=cpu"]
    if name != "paper/figure-7":  # whose rows differ in their samples
        changed.append("rows.tune.samples=8")
    small = [word for setting in changed for word in ("--set", setting)]
    board = ended(films, name, "--model", str(base), *small, "--only", row)
    assert {each["model"] for each in board["rows"]} >= {"majority", "base+lora-8"}
    [held] = [note for note in board["notes"] if f", {row}: " in note]
    assert "not comparable: " in held


@pytest.mark.slow
@pytest.mark.parametrize("name", ["paper/table-11", "paper/table-13"])
def test_a_recipe_asks_a_real_model(name: str, films: Bench, smollm2_folder: Path) -> None:
    few = ("--limit", "2", "-O", "answer_tokens=24", "--only", "*titles*" if name.endswith("11") else "*out*")
    board = ended(films, name, "--model", str(smollm2_folder), *few)
    rows = [row for row in board["rows"] if row["kind"] == "language model"]
    assert len(rows) == 2
    assert all(row["users"] == 2 for row in rows)


def test_the_same_model_is_held_against_its_printed_row(films: Bench) -> None:
    board = ended(films, "paper/table-4", "--model", "mock", "--only", "random", "--only", "popularity")
    [pop] = [note for note in board["notes"] if note.startswith("Table 4, popularity: ")]
    assert "(printed .1800, " in pop
    assert "not comparable" not in pop
    [drawn] = [note for note in board["notes"] if note.startswith("Table 4, random: ")]
    assert "inside the noise of +-" in drawn

"""The command `run`, and what users meet beside it: names, budgets, forecasts."""

import json
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from command_line import Bench
from llmrs_bench.cli.main import app
from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.types import no_progress
from llmrs_bench.stages.recipe import open_recipe
from llmrs_bench.stages.run import run_study

ASK = ("infer", "--dataset", "small", "--model", "mock")


def write(bench: Bench, text: str) -> str:
    path = bench.home.parent / "study.toml"
    path.write_text(f'[data]\ndataset = "small"\nsource = "{bench.source}"\nn_candidates = 5\n{text}')
    return str(path)


def recipe_of(saved: Path) -> Result:
    return CliRunner().invoke(app, ["recipe", str(saved)])


@pytest.fixture
def recipe(bench: Bench) -> str:
    rows = '[[rows]]\nmodel = "mock"\nhistory = [1, 3]\n[[rows]]\nmodel = "itemknn"\n'
    return write(bench, rows + '[board]\nmetrics = ["ndcg@10"]\n')


def test_a_recipe_is_looked_at_run_and_written_back(bench: Bench, recipe: str) -> None:
    look = bench.run("run", recipe, "--dry-run")
    assert "mock history=3  not counted: the data set is not prepared" in look.stdout
    assert not bench.home.exists()
    saved = bench.home.parent / "board.parquet"
    done = bench.run("run", recipe, "--save", str(saved), "--format", "json", "--set", "data.history=2")
    assert [line for line in done.stderr.splitlines() if line.startswith("[")][-1].startswith("[3/3] itemknn: made: ")
    assert {row["model"] for row in json.loads(done.stdout)["rows"]} == {"chance", "popularity", "mock", "itemknn"}
    text = recipe_of(saved).stdout
    assert "history = 2\n" in text
    (bench.home.parent / "again.toml").write_text(text)
    again = bench.run("run", str(bench.home.parent / "again.toml"), "--dry-run", "--set", "data.history=2")
    assert [line.split()[2:] for line in again.stdout.splitlines()[1:3]] == [
        ["30", "30", line.split()[4], "30", "0", "-"] for line in again.stdout.splitlines()[1:3]
    ]
    bench.run("compare", "-d", "small", "--save", str(saved))
    assert "was not made by a recipe" in recipe_of(saved).stderr


def test_a_look_asks_for_no_model(bench: Bench, recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    bench.run("run", recipe, "--only", "knn")
    look = bench.run("run", recipe, "--dry-run", "--set", "rows.model=llama-2-7b", "--only", "history=1")
    assert look.stdout.splitlines()[1].split()[2:4] == ["30", "30"]
    assert "unknown model 'lama'" in bench.run("run", recipe, "--dry-run", "--set", "rows.model=lama", code=2).stderr


def test_exit_codes_say_how_a_study_ended(bench: Bench) -> None:
    rows = '[[rows]]\nname = "tiny"\nmodel = "mock"\noptions = { context = 1 }\n[[rows]]\nmodel = "random"\n'
    failing = write(bench, rows)
    assert "--continue-on-error" in bench.run("run", failing, code=1).stderr
    tried = bench.run("run", failing, "--continue-on-error", code=1)
    assert "1 of 2 rows failed: tiny: " in tried.stderr
    assert "random" in tried.stdout
    gated = write(bench, '[[rows]]\nmodel = "random"\n[board]\nfail_if = ["ndcg@10 < 0.99"]\n')
    assert "the gate failed" in bench.run("run", gated, code=3).stderr
    text = '[[rows]]\nmodel = "mock"\nhistory = [1, 2]\n'
    stopped = write(bench, text)
    assert "2 of 2 rows are left" in bench.run("run", stopped, "--max-seconds", "0", code=5).stderr
    free = bench.run("run", write(bench, '[[rows]]\nmodel = "random"\n' + text), "--max-price", "1", code=2).stderr
    assert "the price of answers is not known" in free
    assert "This engine has no price" in free
    assert "[1/" not in free
    wrong = write(bench, '[[rows]]\nmodel = "random"\n[board]\nmetrics = ["ndgc@5"]\n')
    said = bench.run("run", wrong, code=2).stderr
    assert "unknown metric 'ndgc@5'" in said
    assert "[1/" not in said
    stopped = write(bench, text)
    assert "Did you mean 'mock history=1'" in bench.run("run", stopped, "--only", "mock histry=1", code=2).stderr
    assert "Did you mean 'paper/table-9'" in bench.run("run", "paper/tabel-9", code=2).stderr
    assert "is not TABLE.KEY=VALUE" in bench.run("run", stopped, "--set", "users=5", code=2).stderr


def test_a_part_of_a_study_leaves_the_files_of_the_whole_as_they_are(bench: Bench) -> None:
    whole, part = bench.home.parent / "whole.parquet", bench.home.parent / "part.parquet"
    rows = f'[[rows]]\nmodel = "random"\n[[rows]]\nmodel = "itemknn"\n[board]\nsave = "{whole}"\n'
    study = write(bench, rows)
    bench.run("run", study)
    before = whole.read_bytes()
    said = bench.run("run", study, "--only", "random").stderr
    assert "whole.parquet of the whole study: not written" in " ".join(said.split())
    assert whole.read_bytes() == before
    bench.run("run", study, "--only", "random", "--save", str(part))
    assert part.is_file()
    assert whole.read_bytes() == before


def test_two_that_run_one_recipe_share_the_work(bench: Bench, recipe: str) -> None:
    study, said = open_recipe(recipe), list[str]()
    runs = [
        threading.Thread(target=run_study, args=(bench.home, study, study.rows, no_progress, said.append))
        for _ in range(2)
    ]
    for each in runs:
        each.start()
    for each in runs:
        each.join()
    rows = [line.partition("] ")[2] for line in said if line.startswith("[")]
    assert len(rows) == 6
    assert len([row for row in rows if ": made: " in row]) == 3


def test_a_run_is_found_by_the_name_it_was_given(bench: Bench) -> None:
    bench.prepare("--n-candidates", "5")
    run = bench.name(*ASK, "--name", "first")
    other = bench.name("infer", "-d", "small", "--model", "itemknn")
    assert f"first = {run}" in bench.run("list", "runs").stdout
    assert "template=listwise history=10" in bench.run("list", "runs").stdout
    assert [row["name"] for row in json.loads(bench.run("list", "runs", "--run", "first", "--json").stdout)] == [
        "first"
    ]
    assert bench.run("show", "first").stdout.startswith(f"{run}: ")
    board = json.loads(bench.run("compare", "-d", "small", "--run", "first", "--format", "json").stdout)
    assert "mock" in {row["model"] for row in board["rows"]}
    held = ("compare", "-d", "small", "--baseline", "first", "--fail-if", "ndcg@10 drops > 1")
    assert bench.run(*held).exit_code == 0
    taken = bench.run("infer", "-d", "small", "--model", "random", "--name", "first", code=2)
    assert f"--name first is the name of {run}" in taken.stderr
    assert "made: " not in taken.stderr  # it is said before
    begins = bench.run("infer", "-d", "small", "--model", "random", "--name", "mock", code=2)
    assert f"--name mock is also how {run} begins" in begins.stderr
    late = bench.run(*ASK, "--limit", "3", "--name", "first", code=2)
    assert f"--name first is the name of {run}" in late.stderr
    assert "made: " not in late.stderr
    before = bench.files()
    again = bench.run("infer", "-d", "small", "--model", "itemknn", "--seed", "7", "--name", other, code=2)
    assert f"--name {other} is the name of {other}" in again.stderr
    assert bench.files() == before  # nothing was trained
    assert bench.name(*ASK) == run  # and keeps its name
    assert "was called first; its name is now other" in bench.run(*ASK, "--name", "other").stderr
    assert "was called other" in bench.run(*ASK, "--name", "first").stderr
    assert "first = " in bench.run("list", "runs").stdout
    assert bench.run("infer", "-d", "small", "--model", "itemknn", "--name", "a/b", code=2).exit_code == 2
    assert other in bench.run("list", "runs").stdout
    bench.run(*ASK, "--name", "two", "--seeds", "2", code=2)


def test_a_budget_ends_infer_with_its_answers(bench: Bench) -> None:
    bench.prepare("--n-candidates", "5")
    ended = bench.run(*ASK, "--max-seconds", "0", code=5)
    assert "Run the same command with a new budget" in ended.stderr
    assert (
        "applies only to language models"
        in bench.run("infer", "-d", "small", "--model", "itemknn", "--max-seconds", "9", code=2).stderr
    )
    bench.run(*ASK, "--max-seconds", "600")


def test_a_look_says_what_earlier_answers_took_and_writes_nothing(bench: Bench) -> None:
    bench.prepare("--n-candidates", "5")
    before = bench.files()
    first = bench.run(*ASK, "--dry-run").stdout
    assert "time            not known" in first
    assert bench.files() == before
    bench.run(*ASK)
    later = bench.run(*ASK, "--dry-run", "--history", "2").stdout
    assert "ms a token of 30 kept answers, where" in later
    other = bench.run(*ASK, "--dry-run", "-t", "likelihood").stdout
    assert "time            not known: the kept answers are of another kind" in other
    assert "time            none: every answer is kept" in bench.run(*ASK, "--dry-run").stdout


def test_a_look_says_which_rows_are_in_no_sum(bench: Bench) -> None:
    shown = 'template_options = { interest_run = "row:profile", interest = "recent-written" }'
    rows = f'[[rows]]\nname = "profile"\nmodel = "mock"\ntemplate = "interest"\n[[rows]]\nmodel = "mock"\n{shown}\n'
    study = write(bench, rows + '[[rows]]\nmodel = "random"\n')
    assert "cannot be counted yet" in bench.run("run", study, "--dry-run").stderr
    bench.run("run", study, "--only", "random")
    look = bench.run("run", study, "--dry-run")
    assert "the prompts of 1 of 3 rows cannot be counted yet" in look.stderr
    assert "shows what profile wrote" in look.stdout


def test_a_look_is_json_for_programs(bench: Bench, recipe: str) -> None:
    look = json.loads(bench.run("run", recipe, "--dry-run", "--format", "json").stdout)
    assert [row["asked"] for row in look["rows"]] == [None] * 3
    [command] = look["prepare_first"]
    assert command.startswith("llmrs-bench prepare --dataset small ")
    assert command.endswith(f" --home {bench.home}")
    assert f"  {command}" in bench.run("run", recipe, "--dry-run").stderr.splitlines()
    bench.run("run", recipe, "--only", "knn")
    look = json.loads(bench.run("run", recipe, "--dry-run", "--format", "json").stdout)
    assert [row["asked"] and row["asked"]["prompts"] for row in look["rows"]] == [30, 30, None]
    assert json.loads(bench.run(*ASK, "--dry-run", "--format", "json").stdout)["requests"] == 30
    assert "has no --format latex" in bench.run("run", recipe, "--dry-run", "--format", "latex", code=2).stderr
    assert "Add --dry-run" in bench.run(*ASK, "--format", "json", code=2).stderr


def test_the_command_that_prepares_has_its_options_in_the_same_order_each_time(tmp_path: Path) -> None:
    options = {"seed": 3, "split": "random", "users": 9, "k_core": 2, "n_candidates": 4}
    recipe = {"data": {"dataset": "demo", **options}, "rows": {"model": "random"}}
    turned = {"data": {"dataset": "demo", **dict(reversed(options.items()))}, "rows": {"model": "random"}}
    commands = {plan.command for each in (recipe, turned) for plan in open_recipe(each).data}
    assert commands == {
        "llmrs-bench prepare --dataset demo --users 9 --n-candidates 4 --k-core 2 --split random --seed 3 "
        "--allow-untitled"
    }


def test_what_prepare_says_of_columns_is_said_as_recipes_write_it(bench: Bench) -> None:
    loans = bench.home.parent / "loans.csv"
    loans.write_text("reader,book,day\n" + "".join(f"r{at % 7},b{at % 5},{at}\n" for at in range(60)))
    recipe = bench.home.parent / "loans.toml"
    recipe.write_text(f'[data]\ndataset = "loans"\nsource = "{loans}"\n[[rows]]\nmodel = "popularity"\n')
    said = " ".join(bench.run("run", str(recipe), code=1).stderr.split())
    assert "loans.csv has no columns user_id and item_id; it has reader, book, day" in said
    assert "--columns user=reader,item=book; no name looks like a column of times" in said
    written = 'columns = { user = "reader", item = "book" }'
    assert f"In a recipe, options of prepare stand below [data]: {written}." in said
    look = " ".join(bench.run("run", str(recipe), "--dry-run", code=1).stderr.split())
    assert look.partition("error: ")[2] == said.partition("error: ")[2]
    recipe.write_text(recipe.read_text().replace("[[rows]]", f"{written}\n[[rows]]"))
    undated = " ".join(bench.run("run", str(recipe), "--dry-run", code=2).stderr.split())
    assert "loans has no times of events" in undated
    assert '{ user = "NAME" }' not in undated
    recipe.write_text(recipe.read_text().replace("{ user", '{ time = "day", user'))
    bench.run("run", str(recipe), "--dry-run")
    recipe.write_text(recipe.read_text().replace('"reader", item = "book"', '"reder", item = "bok"'))
    wrong = bench.run("run", str(recipe), "--dry-run", code=2).stderr
    assert "unknown column 'reder'. Did you mean 'reader'?" in " ".join(wrong.split())
    assert "unknown column 'bok'. Did you mean 'book'?" in " ".join(wrong.split())


def test_a_look_finds_the_data_of_the_file_that_is_named(bench: Bench) -> None:
    loans = bench.home.parent / "loans.csv"
    rows = [f"r{at % 7},b{at * 3 % 20},{at}" for at in range(84)]
    loans.write_text("\n".join(["user_id,item_id,timestamp", *rows, rows[-1]]) + "\n")
    recipe = bench.home.parent / "loans.toml"
    recipe.write_text(
        f'[data]\ndataset = "loans"\nsource = "{loans}"\nallow_untitled = true\n[[rows]]\nmodel = "mock"\n'
    )
    said = bench.run("run", str(recipe)).stderr
    assert "copies dropped 1" in said  # what `prepare` says of it
    assert "not prepared" not in bench.run("run", str(recipe), "--dry-run").stdout
    titles = bench.home.parent / "titles.csv"
    titles.write_text("item_id,title\n" + "".join(f"b{at},Book {at}\n" for at in range(20)))
    look = ("run", str(recipe), "--dry-run", "--set", f"data.items={titles}")
    assert "not prepared" in bench.run(*look).stdout
    loans.write_text(loans.read_text().replace(",83", ",84"))
    assert "not prepared" in bench.run("run", str(recipe), "--dry-run").stdout
    loans.unlink()
    assert f"there is no {loans}" in " ".join(bench.run("run", str(recipe), "--dry-run", code=1).stderr.split())


def test_a_look_at_data_that_are_not_prepared_reads_the_first_rows_alone(bench: Bench) -> None:
    loans = bench.home.parent / "loans.csv"
    rows = "".join(f"r{at % 7},b{at % 5},{at}\n" for at in range(200_000))
    loans.write_text(f"user,item,day\n{rows}r1,b1\nr1,b1\n")
    recipe = bench.home.parent / "loans.toml"
    recipe.write_text(f'[data]\ndataset = "loans"\nsource = "{loans}"\nline_order = true\n[[rows]]\nmodel = "random"\n')
    bench.run("run", str(recipe), "--dry-run")
    assert "line 200002" in bench.run("run", str(recipe), code=1).stderr


def test_one_verdict_is_one(bench: Bench, recipe: str) -> None:
    rule = ("--set", "board.fail_if=ndcg@10 < 2", "--only", "itemknn")
    assert "the gate failed: 1 verdict\n" in bench.run("run", recipe, *rule, code=3).stderr


def test_one_server_needs_no_list() -> None:
    rows = {"model": "m", "engine": "openai"}
    one = "http://127.0.0.1:1/v1"
    [row] = open_recipe({"data": {"dataset": "demo"}, "rows": rows, "run": {"servers": one}}).rows
    assert row.servers == (one,)
    with pytest.raises(OptionError, match=r"\[run\]: servers=7 is not a list"):
        open_recipe({"data": {"dataset": "demo"}, "rows": rows, "run": {"servers": 7}})


def test_of_a_launch_one_process_says_what_was_mistyped(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    mistyped = ("tune", "-d", "small", "-m", "mock", "-t", "label", "--smaples", "3")
    assert "No such option: --smaples" in bench.run(*mistyped, code=2).stderr
    monkeypatch.setenv("RANK", "1")
    assert bench.run(*mistyped, code=2).output == ""
    assert bench.run(*mistyped, "--log", "json", code=2).output == ""


def test_rows_of_a_part_of_the_requests_say_how_to_see_them_again(bench: Bench, recipe: str) -> None:
    said = bench.run("run", recipe, "--only", "history=1", "--set", "rows.limit=4", "--set", 'rows.model="mock"').stderr
    command = said.partition("to see them: llmrs-bench ")[2].partition("\n")[0]
    assert "first 4 requests" in bench.run(*command.split()).stdout


def test_a_recipe_that_is_not_there_is_said_with_those_that_are(
    bench: Bench, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(recipe).parent)
    assert "Did you mean study.toml?" in bench.run("run", "studi.toml", code=1).stderr
    assert "Did you mean the file study.toml?" in bench.run("run", "study", code=2).stderr
    Path("folder.toml").mkdir()
    assert "is a folder" in bench.run("run", "folder.toml", code=1).stderr
    bench.prepare("--n-candidates", "5")
    said = bench.run("infer", "-d", "small", "-m", "lama-2-7b", code=2).stderr
    assert "Did you mean 'llama-2-7b'" in said
    assert "`llmrs-bench list models` lists all" in said
    assert "qwen" not in said


def test_tokens_of_titles_need_a_model_that_has_tokens(bench: Bench) -> None:
    bench.prepare("--n-candidates", "5")
    said = bench.run(*ASK, "-t", "likelihood", "-T", "title_tokens=5", code=2).stderr
    assert "Add -T title_tokenizer=MODEL" in said


def test_a_recipe_declares_its_primary_comparisons_by_the_names_of_rows(bench: Bench) -> None:
    rows = '[[rows]]\nmodel = "mock"\nhistory = [1, 3]\n[[rows]]\nmodel = "itemknn"\n'
    board = '[board]\nprimary = ["mrr"]\nmain = ["mock history=3"]\nagainst = ["itemknn", "popularity"]\n'
    recipe = write(bench, rows + board)
    found = json.loads(bench.run("run", recipe, "--format", "json").stdout)
    assert (found["primary"]["pairs"], found["primary"]["declared"], found["key"]) == (2, True, "mrr")
    assert "history 3" in next(row for row in found["rows"] if row["run"] in found["primary"]["main"])["setting"]
    part = bench.run("run", recipe, "--format", "json", "--only", "history=3")
    assert "not run, so in no primary comparison: itemknn" in " ".join(part.stderr.split())
    assert json.loads(part.stdout)["primary"]["pairs"] == 1


def test_a_folder_that_is_not_there_is_said_before_anything_runs(bench: Bench) -> None:
    path = write(bench, '[[rows]]\nmodel = "itemknn"\n[board]\nsave = "missing/board.parquet"\n')
    for look in ((), ("--dry-run",)):
        assert "[board] save missing/board.parquet: there is no folder" in bench.run("run", path, *look, code=2).stderr
    assert not bench.home.exists()
    assert (
        "--html missing/x.html: there is no folder"
        in bench.run("run", path, "--only", "itemknn", "--html", "missing/x.html", code=2).stderr
    )


def test_a_recipe_may_begin_with_a_byte_order_mark(bench: Bench, recipe: str) -> None:
    Path(recipe).write_text(Path(recipe).read_text(), "utf-8-sig")
    assert "mock history=3" in bench.run("run", recipe, "--dry-run").stdout

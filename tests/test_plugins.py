"""The plug-in doors, through each of which the package in examples/plugins comes in."""

import json
import re
import shlex
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import test_contracts
import test_contracts_models
from command_line import ITEMS, USERS, Bench, table
from llmrs_bench.cli.main import app
from llmrs_bench.core.registry import CLICK_MODELS, ENGINES, RECOMMENDERS, SOURCES, STRATEGIES
from llmrs_bench.llm.model_aliases import ModelSpec
from plugin_packages import EXAMPLE, importable, install_example

REGISTRIES = (SOURCES, STRATEGIES, ENGINES, RECOMMENDERS, CLICK_MODELS)
PAGE = Path(__file__).parents[1] / "docs" / "plug-ins.md"


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with importable(install_example(tmp_path_factory.mktemp("site-packages"))):
        yield


def write_csv(folder: Path) -> Path:
    """Write the files that the example's source reads: users who go through parts of films one after the other.

    Users of even numbers like films of even numbers, the others the others.
    """
    folder.mkdir(exist_ok=True)
    walks = [(user, (user * 7 + step) % ITEMS, 1000 + step) for user in range(USERS) for step in range(12)]
    events = [f"u{user},i{film},{time},{5 if user % 2 == film % 2 else 2}" for user, film, time in walks]
    films = [f"i{number},The Film of {'ABCDEF'[number // 10] * 4} {number % 10}" for number in range(ITEMS)]
    (folder / "events.csv").write_text("user_id,item_id,timestamp,rating\n" + "\n".join(events) + "\n")
    (folder / "items.csv").write_text("item_id,title\n" + "\n".join(films) + "\n")
    return folder


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A data set that was prepared from the example's source."""
    folder = tmp_path_factory.mktemp("shop")
    made = Bench(folder / "home", write_csv(folder / "files"))
    made.prepare("--format", "csv", "--users", "all", dataset="shop")
    return made


def board_of(bench: Bench, *runs: str) -> dict[str, float]:
    """Evaluate all runs, compare some, and return NDCG@10 by the name of the row."""
    bench.run("infer", "-m", "popularity", "-d", "shop")
    bench.run("evaluate", "-d", "shop")
    chosen = [word for run in runs for word in ("--run", run)]
    board = json.loads(bench.run("compare", "-d", "shop", *chosen, "--format", "json").stdout)
    return {row["model"]: row["metrics"]["ndcg@10"]["mean"] for row in board["rows"]}


# ---------------------------------------------------------------- the doors


def test_a_source_comes_in(shop: Bench, tmp_path: Path) -> None:
    bench = Bench(tmp_path / "home", shop.source)
    assert "--format csv\tfrom the package llmrs-bench-example 0.1.0" in bench.run("list", "data").stdout
    reference = bench.name("prepare", "-d", "shop", "--source", str(shop.source), "--format", "csv", "--users", "all")
    assert f"  {reference}\tformat csv, users=all" in bench.run("list", "data").stdout
    shown = bench.run("prompt", "-d", "shop", "--show", "1").stderr
    assert "The Film of" in shown
    assert {"chance", "popularity"} <= board_of(bench).keys()


def test_a_strategy_comes_in(shop: Bench) -> None:
    assert "both-ways\tShow lettered candidates in both directions" in shop.run("list", "templates").stdout
    shown = shop.run("prompt", "-d", "shop", "-t", "both-ways", "--show", "2").stderr
    listed = [re.findall(r"^[A-T]\. (.*)$", half, re.MULTILINE) for half in shown.split("/backward")]
    assert len(listed[0]) == 20
    assert listed[0] == listed[1][::-1]
    assert "Which item will the user choose next?" in shown
    run = shop.name("infer", "-m", "mock", "-d", "shop", "-t", "both-ways")
    assert "mock" in board_of(shop, run)
    assert table(shop, f"shop/*/runs/{run}/rankings.parquet").height == USERS * 20


def test_a_template_file_of_ones_own_takes_the_strategy(shop: Bench, tmp_path: Path) -> None:
    own = tmp_path / "mine.toml"
    shipped = (EXAMPLE / "src/llmrs_bench_example/templates/both-ways.toml").read_text("utf-8")
    own.write_text(shipped.replace("Which {{ item }}", "Guess which {{ item }}"))
    assert "Guess which item" in shop.run("prompt", "--check", str(own)).stderr
    assert "mine" in shop.name("infer", "-m", "mock", "-d", "shop", "-t", str(own))


def test_an_engine_comes_in(shop: Bench) -> None:
    assert "--engine ngrams   its own models, from the package llmrs-bench-example" in shop.run("list", "models").stdout
    run = shop.name("infer", "-m", "trigrams", "--engine", "ngrams", "-d", "shop", "-t", "likelihood")
    written = shop.name("infer", "-m", "bigrams", "--engine", "ngrams", "-d", "shop")
    rows = board_of(shop, run, written)
    for model in ("trigrams", "bigrams"):
        assert rows[model] > rows["chance"] + 0.1  # titles that look alike follow each other
    [store] = (shop.home / "shop" / "answers").glob("trigrams-*/store.json")
    assert json.loads(store.read_text())["versions"] == {"llmrs-bench-example": "0.1.0"}


def test_a_folder_does_not_change_what_a_model_means_to_an_engine(
    shop: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("infer", "-m", "trigrams", "--engine", "ngrams", "-d", "shop", "-t", "yes-no")
    before = shop.name(*words)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trigrams").mkdir()
    assert shop.name(*words) == before


def test_a_recommender_comes_in(shop: Bench) -> None:
    assert "followers         recommender, from the package llmrs-bench-example" in shop.run("list", "models").stdout
    run = shop.name("infer", "-m", "followers", "-d", "shop", "-O", "popularity=0.5")
    rows = board_of(shop, run)
    assert rows["followers"] > rows["chance"] + 0.3  # the next film is what users choose
    shop.prepare("--format", "csv", "--users", "all", "--candidates", "model:followers", dataset="shop-retrieved")


def test_a_click_model_comes_in(shop: Bench, tmp_path: Path) -> None:
    bench = Bench(tmp_path / "home", shop.source)
    bench.prepare("--format", "csv", "--task", "click", "--like-from", "4", dataset="clicks")
    listed = bench.run("list", "models").stdout
    assert "agreement         click model, from the package llmrs-bench-example" in listed
    bench.run("infer", "-m", "agreement", "-d", "clicks", "--export", str(tmp_path / "kept"))
    bench.run("infer", "-m", str(tmp_path / "kept"), "-d", "clicks")
    bench.run("infer", "-m", "agreement", "-d", "clicks", "-O", "newest=1", "--train-samples", "9")
    bench.run("evaluate", "-d", "clicks")
    board = json.loads(bench.run("compare", "-d", "clicks", "--format", "json").stdout)
    rows = {(row["model"], row["setting"]): row["metrics"]["auc"]["mean"] for row in board["rows"]}
    assert rows["agreement", ""] == rows["kept", ""] > 0.9  # who likes one even film likes the others
    assert rows["agreement", "newest=1, train_samples=9"] < rows["agreement", ""]
    said = bench.run("infer", "-m", "agreement", "-d", "clicks", "-O", "newst=1", code=2).stderr
    assert "unknown option 'newst'" in said


# ---------------------------------------------------------------- names that nobody knows


@pytest.mark.parametrize(
    ("words", "near"),
    [
        ("prepare --dataset new --format cvs", "unknown data source 'cvs' Did you mean 'csv'?"),
        ("prompt --dataset shop --template both-way", "unknown template 'both-way' Did you mean 'both-ways'?"),
        ("infer -m trigrams --engine ngram --dataset shop", "unknown engine 'ngram' Did you mean 'ngrams'?"),
        ("infer -m trigram --engine ngrams --dataset shop", "unknown n-gram model 'trigram' Did you mean 'trigrams'?"),
        ("infer -m follower --dataset shop", "unknown model 'follower' Did you mean 'followers'?"),
        ("infer -m followers -O popularty=1 --dataset shop", "popularty"),
    ],
)
def test_an_unknown_name_is_answered_by_the_nearest_one(shop: Bench, words: str, near: str) -> None:
    said = " ".join(shop.run(*words.split(), code=2).stderr.replace("hint: ", "").split())
    assert near in said


def test_an_engine_refuses_a_model_before_anything_is_prepared(tmp_path: Path) -> None:
    home = tmp_path / "home"
    words = ["infer", "-m", "fourgrams", "--engine", "ngrams", "-d", "demo", "--home", str(home)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert not home.exists()


def test_a_format_without_its_files_says_what_is_missing(shop: Bench, tmp_path: Path) -> None:
    assert "Add --source PATH" in shop.run("prepare", "-d", "new", "--format", "csv", code=1).stderr
    (tmp_path / "notes.txt").write_text("nothing")
    said = shop.run("prepare", "-d", "new", "--source", str(tmp_path), "--format", "csv", code=1).stderr
    assert "read as csv" in said
    assert "atomic" in said.partition("Other formats, with --format:")[2]
    said = shop.run("prepare", "-d", "new", "--source", str(tmp_path), code=1).stderr
    assert "csv" in said.partition("Other formats, with --format:")[2]


# ---------------------------------------------------------------- laws


def laws(module: Any, prefix: str) -> list[Any]:
    found = [pytest.param(value, id=name) for name, value in vars(module).items() if name.startswith(f"test_{prefix}")]
    assert found
    return found


@pytest.mark.parametrize("law", laws(test_contracts, "sources"))
def test_the_source_keeps_the_laws(law: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(test_contracts.FIXTURES, "csv", write_csv)
    law("csv", tmp_path)


@pytest.mark.parametrize(
    "law", [*laws(test_contracts, "templates"), *laws(test_contracts, "prompts"), *laws(test_contracts, "the_same")]
)
def test_the_strategy_keeps_the_laws(law: Callable[..., None]) -> None:
    law("both-ways")


@pytest.mark.parametrize("law", laws(test_contracts_models, "engines"))
def test_the_engine_keeps_the_laws(law: Callable[..., None]) -> None:
    kind = ENGINES.load("ngrams")
    engine = kind(ModelSpec("trigrams", "trigrams"), kind.Options(), device="cpu", seed=0)
    if "by_the_book" not in law.__annotations__:  # what transformers say of a model that both hold
        law(engine)


@pytest.mark.parametrize("law", laws(test_contracts_models, "recommenders"))
def test_the_recommender_keeps_the_laws(law: Callable[..., None], tmp_path: Path) -> None:
    given: tuple[Any, ...] = (("followers", {}), tmp_path)
    law(*given[: len(law.__annotations__) - 1])


# ---------------------------------------------------------------- the package, and the page about it


def test_the_wheel_holds_the_template(tmp_path: Path) -> None:
    wheel = pytest.importorskip("hatchling.builders.wheel")
    [path] = wheel.WheelBuilder(str(EXAMPLE)).build(directory=str(tmp_path), versions=["standard"])
    assert "llmrs_bench_example/templates/both-ways.toml" in zipfile.ZipFile(path).namelist()


@pytest.mark.slow
def test_the_commands_of_the_page_run_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_csv(tmp_path / "files")
    monkeypatch.chdir(tmp_path)
    shown = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    lines = [shlex.split(line) for block in shown for line in block.splitlines()]
    assert lines.pop(0)[-1] == str(EXAMPLE.relative_to(PAGE.parents[1]))
    assert len(lines) == 13
    printed = ""
    for program, *words in lines:
        assert program == "llmrs-bench"
        result = CliRunner().invoke(app, words)
        printed += result.stdout
        assert result.exit_code == 0, f"{words}: {result.output}{result.stderr}"
    assert all(
        name in printed for name in ("followers", "trigrams", "bigrams", "mock", "popularity", "chance", "agreement")
    )


def test_the_page_names_every_group_and_every_file_that_it_shows() -> None:
    text = PAGE.read_text("utf-8")
    assert set(re.findall(r"llmrs_bench\.\w+s`", text)) == {f"{registry.group}`" for registry in REGISTRIES}
    for name in re.findall(r"`(\w+\.py)`", text):
        assert list((EXAMPLE / "src").rglob(name)), name
    assert 'followers = "llmrs_bench_example.recommender:Followers"' in (EXAMPLE / "pyproject.toml").read_text("utf-8")

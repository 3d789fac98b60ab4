"""Plug-ins of other packages: how they are found, and what is said of those that cannot be used."""

import logging
import shutil
from pathlib import Path

import pytest

from command_line import Bench, table
from llmrs_bench.core.config import PromptConfig
from llmrs_bench.core.errors import OptionError, PluginError
from llmrs_bench.core.registry import CLICK_MODELS, ENGINES, RECOMMENDERS, SOURCES, STRATEGIES, Registry
from llmrs_bench.prompts.strategies.listwise import Listwise
from llmrs_bench.prompts.template import read_source, template_names
from llmrs_bench.stages.prompt import open_template, source_digest, source_files
from plugin_packages import importable, write_package

REGISTRIES = {
    "sources": SOURCES,
    "strategies": STRATEGIES,
    "engines": ENGINES,
    "recommenders": RECOMMENDERS,
    "click_models": CLICK_MODELS,
}
POPULAR = "from llmrs_bench.recommenders.popularity import Popularity as Thing\n"


@pytest.mark.parametrize(("group", "registry"), REGISTRIES.items())
def test_each_kind_is_read_from_its_group(group: str, registry: Registry, tmp_path: Path) -> None:
    builtin = next(iter(registry.builtin.values())).replace(":", " import ")
    code = f"from {builtin} as Thing\n"
    write_package(tmp_path, "mine", code, {f"llmrs_bench.{group}": {"thing": "mine.plugin:Thing"}}, version="3.1")
    with importable(tmp_path):
        assert "thing" in registry.names()
        assert registry.load("thing") is registry.load(next(iter(registry.builtin)))
        assert registry.package("thing") == {"mine": "3.1"}
    assert "thing" not in registry.names()


def test_a_package_that_comes_or_goes_is_noticed(tmp_path: Path) -> None:
    registry = Registry("engine", "llmrs_bench.engines", {})
    site = tmp_path / "site"
    site.mkdir()
    with importable(site):
        assert "late" not in registry.names()
        write_package(site, "late-engines", "", {"llmrs_bench.engines": {"late": "late_engines.plugin:Late"}})
        assert "late" in registry.names()
        shutil.rmtree(site / "late_engines-1.0.dist-info")
        assert "late" not in registry.names()


def test_the_former_name_of_a_group_is_read_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    code = "from llmrs_bench.prompts.strategies.listwise import Listwise\n"
    write_package(tmp_path, "older", code, {"llmrs_bench.forms": {"older": "older.plugin:Listwise"}})
    with importable(tmp_path), caplog.at_level(logging.WARNING):
        assert STRATEGIES.load("older") is Listwise
        assert STRATEGIES.load("older") is Listwise
    [said] = caplog.messages
    assert "the package older adds the prompt strategy 'older' in the group llmrs_bench.forms" in said
    assert "rename the group to llmrs_bench.strategies" in said


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("Thing = 1 / 0\n", "ZeroDivisionError: division by zero"),
        ("Other = 1\n", "has no attribute 'Thing'"),
        ("class Thing:\n    learns = True\n", "has no Options, fit, score"),
    ],
)
def test_a_plugin_that_cannot_be_used_names_its_package(code: str, words: str, bench: Bench, tmp_path: Path) -> None:
    write_package(tmp_path / "site", "broken", code, {"llmrs_bench.recommenders": {"thing": "broken.plugin:Thing"}})
    bench.prepared()
    with importable(tmp_path / "site"):
        said = " ".join(bench.run("infer", "-m", "thing", "-d", "small", code=1).stderr.split())
        assert "the recommender 'thing' of the package broken" in said
        assert words in said
        bench.run("infer", "-m", "popularity", "-d", "small")  # nothing else is disturbed
        bench.run("list", "models")


def test_a_name_in_two_packages_is_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_package(tmp_path, name, POPULAR, {"llmrs_bench.recommenders": {"thing": f"{name}.plugin:Thing"}})
    with (
        importable(tmp_path),
        pytest.raises(PluginError, match=r"provided by several packages: .* one, .* two"),
    ):
        RECOMMENDERS.load("thing")


def test_a_built_in_name_stays_what_it_is_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_package(tmp_path, "mine", POPULAR, {"llmrs_bench.recommenders": {"random": "mine.plugin:Thing"}})
    with importable(tmp_path), caplog.at_level(logging.WARNING):
        assert RECOMMENDERS.load("random").__name__ == "Random"
        assert RECOMMENDERS.package("random") == {}
    [said] = caplog.messages
    assert "the package mine" in said
    assert "'random'" in said


def test_another_version_of_a_plugin_makes_another_run(bench: Bench, tmp_path: Path) -> None:
    bench.prepared()
    names: list[str] = []
    for version in ("1.0", "1.1", "1.0"):
        site = tmp_path / f"site-{len(names)}"
        groups = {"llmrs_bench.recommenders": {"thing": "mine.plugin:Thing"}}
        write_package(site, "mine", POPULAR, groups, version=version)
        with importable(site):
            names.append(bench.name("infer", "-m", "thing", "-d", "small"))
    assert names[0] == names[2] != names[1]


SHOP = """
import polars as pl
from llmrs_bench.core.schemas import ITEMS
from llmrs_bench.data.sources import EVENTS, Raw

class Shop:
    def accepts(self, files):
        return files is None

    def uses(self, files):
        return ()

    def load(self, files):
        items = pl.DataFrame([(f"i{n}", f"Thing {n}", "", None, []) for n in range(30)], schema=ITEMS, orient="row")
        events = [(f"u{u}", f"i{(u + n) % 30}", n, None) for u in range(10) for n in range(6)]
        return Raw(items, pl.DataFrame(events, schema=EVENTS, orient="row"))
"""


def test_a_source_may_need_no_files(bench: Bench, tmp_path: Path) -> None:
    site = tmp_path / "site"
    write_package(site, "shop", SHOP, {"llmrs_bench.sources": {"shop": "shop.plugin:Shop"}})
    with importable(site):
        bench.run("prepare", "--dataset", "things", "--format", "shop", "--users", "all")
        bench.run("infer", "-m", "popularity", "-d", "things")
    assert table(bench, "things/*/data/items.parquet").height == 15  # those with events


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ("items, events.drop('rating')", "returned events with the columns user_id"),
        ("items, events.with_columns(pl.col('timestamp').cast(pl.String))", "timestamp (String)"),
        ("items.with_columns(x=1), events", "x (Int32)"),
        ("pl.concat([items, items.head(2)]), events", "4 items listed twice, the first is 'i0'"),
        ("items.head(10), events", "5 items with events but not listed, the first is 'i10'"),
        ("items.with_columns(title=pl.lit(None, pl.String)), events", "30 items without a title"),
    ],
)
def test_a_source_that_returns_something_else_is_told_what(
    returned: str, words: str, bench: Bench, tmp_path: Path
) -> None:
    code = SHOP.replace(
        'return Raw(items, pl.DataFrame(events, schema=EVENTS, orient="row"))',
        f"""
        events = pl.DataFrame(events, schema=EVENTS, orient="row")
        return Raw({returned})
""",
    )
    write_package(tmp_path / "site", "shop", code, {"llmrs_bench.sources": {"shop": "shop.plugin:Shop"}})
    with importable(tmp_path / "site"):
        said = bench.run("prepare", "--dataset", "things", "--format", "shop", code=1).stderr
    assert words in " ".join(said.split())
    assert not list(bench.home.rglob("manifest.json"))


def test_a_format_replaces_those_that_are_tried_for_a_data_set(bench: Bench) -> None:
    bench.prepare("--format", "atomic", dataset="ml1m")
    said = bench.prepare("--format", "movielens-1m", dataset="ml1m", code=1).stderr
    assert "read as movielens-1m" in said


# ---------------------------------------------------------------- templates of plug-ins

WORDS = 'about = "Mine."\nform = "listwise"\n\n[parts]\ntask = "rank"\ncandidates = "numbers"\n'
LISTWISE = "from llmrs_bench.prompts.strategies.listwise import Listwise as Thing\n"


def write_strategy(site: Path, package: str, template: str) -> None:
    groups = {"llmrs_bench.strategies": {package: f"{package}.plugin:Thing"}}
    templates = write_package(site, package, LISTWISE, groups) / "templates"
    templates.mkdir()
    (templates / f"{template}.toml").write_text(WORDS)
    (templates / "README.txt").write_text("no template")


def test_templates_stand_beside_the_strategies_of_plugins(tmp_path: Path) -> None:
    write_strategy(tmp_path, "mine", "polite")
    with importable(tmp_path):
        assert "polite" in template_names()
        assert read_source("polite").template_file.about == "Mine."
        with pytest.raises(OptionError) as caught:
            read_source("polit")
        assert "'polite'" in caught.value.hint
    assert "polite" not in template_names()


def test_a_template_name_that_two_packages_ship_is_refused(tmp_path: Path) -> None:
    for package in ("one", "two"):
        write_strategy(tmp_path, package, "polite")
    with importable(tmp_path), pytest.raises(OptionError, match="there are several templates polite"):
        read_source("polite")


def test_no_package_replaces_a_template_of_the_tool(tmp_path: Path) -> None:
    write_strategy(tmp_path, "mine", "listwise")
    with importable(tmp_path):
        assert read_source("listwise").template_file.about != "Mine."


def test_templates_are_listed_where_a_strategy_cannot_be_imported(bench: Bench, tmp_path: Path) -> None:
    write_strategy(tmp_path / "site", "mine", "polite")
    (tmp_path / "site" / "mine" / "plugin.py").write_text("import no_such_module\n")
    with importable(tmp_path / "site"):
        assert "polite\tMine." in bench.run("list", "templates").stdout


# ---------------------------------------------------------------- what prompts are made anew for


def test_all_code_of_prompts_and_of_the_strategy_decides_prompts(tmp_path: Path) -> None:
    code = LISTWISE.replace(" as Thing", "") + "class Thing(Listwise):\n    pass\n"
    digests = []
    for version in ("1.0", "1.1"):
        site = tmp_path / version
        groups = {"llmrs_bench.strategies": {"mine": "mine.plugin:Thing"}}
        (write_package(site, "mine", code, groups, version=version) / "own.toml").write_text(
            WORDS.replace("listwise", "mine")
        )
        with importable(site):
            template = open_template(PromptConfig(template=str(site / "mine" / "own.toml")))
            names = {path.name for path in source_files(template)}
            digests.append(source_digest(template))
            assert {"plugin.py", "context.py", "template.py", "sanitize.py", "ranking.py", "listwise.py"} <= names
    assert digests[0] != digests[1]


@pytest.mark.parametrize("registry", REGISTRIES.values())
def test_options_are_those_of_the_plugin_wherever_they_lie(registry: Registry) -> None:
    for name in registry.builtin if "Options" in registry.required else ():
        assert registry.options_of(name) is registry.load(name).Options

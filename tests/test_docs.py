"""The documentation says what is true: its commands run, its links lead somewhere, its options exist."""

import gzip
import re
import shutil
import tomllib
from collections import Counter
from pathlib import Path
from typing import get_args

import pytest
import typer
from typer.core import TyperGroup
from typer.testing import CliRunner, Result

from command_line import ITEMS, USERS
from doc_blocks import (
    NAMES,
    PAGES,
    PLUG_INS,
    REASONS,
    ROOT,
    Block,
    blocks,
    check,
    exists,
    recorded,
    sections,
    substituted,
    write_own_files,
)
from llmrs_bench.cli.main import app
from llmrs_bench.core.config import FREE_TEXT
from llmrs_bench.core.costs import COST_NAMES
from llmrs_bench.core.registry import CLICK_MODELS, ENGINES, RECOMMENDERS, STRATEGIES, Registry
from llmrs_bench.core.types import Kind
from llmrs_bench.core.view_options import ViewOptions
from llmrs_bench.llm.tune_options import TuneOptions
from llmrs_bench.metrics.names import METRIC_FORMS
from llmrs_bench.prompts.template import ORDER, template_names

PROSE = [*PAGES, PLUG_INS, ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md"]
OTHER_KEYS = {"k", "doubt", "weight"}  # of fusions


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def done(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, f"{' '.join(arguments)}\n{result.output}{result.stderr}{result.exception!r}"
    assert " is now " not in result.stderr, f"an old name: {' '.join(arguments)}\n{result.stderr}"
    return result.stdout.strip()


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, atomic: Path) -> Path:
    """A folder in which small data are prepared, ranked and evaluated, with files that readers have of their own."""
    folder = tmp_path_factory.mktemp("docs")
    home = ("--home", str(folder / "bench"))
    done("prepare", "-d", "small", "--source", str(atomic), *home)
    for model in ("itemknn", "mock"):
        done("infer", "-d", "small", "--model", model, *home)
    done("evaluate", "-d", "small", *home)
    done("export", "-d", "small", "--run", "itemknn", "--format", "csv", "--to", str(folder / "made"), *home)
    shutil.copy(next((folder / "made").glob("itemknn*.csv")), folder / "theirs.csv")
    write_own_files(folder)
    with gzip.open(folder / "ml-1m-random-candidates.tsv.gz", "wt") as file:
        file.writelines(f"u{user}\t{' '.join(f'i{item}' for item in range(ITEMS))}\n" for user in range(USERS))
    return folder


@pytest.fixture
def place(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "reader"
    shutil.copytree(prepared, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("LLMRS_BENCH_HOME", "bench")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return folder


def play(found: Block, folder: Path, source: Path) -> list[str]:
    """Check the commands of a block, run them where they may be run, and return what they write to stdout."""
    outputs: list[str] = []
    for program, *words in recorded(found, folder):
        if program != "llmrs-bench":
            assert exists([program, *words], extras(), targets()), f"{found.where}: {program} {' '.join(words)}"
            outputs.append("")
            continue
        check(words)
        outputs.append("" if found.reason else done(*substituted(words, source, outputs)))
    return outputs


def extras() -> set[str]:
    return set(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"])


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))


# Pages whose commands take seconds: they tune models, train several, run whole studies, or are many.
LONG = {
    f"docs/{name}.md"
    for name in (
        "tuning",
        "reproduction",
        "protocols",
        "recipes",
        "fairness",
        "goals",
        "clicks",
        "explanations",
        "ratings",
        "exchange",
        "recommenders",
        "prompts",
        "boards",
        "data",
    )
}


@pytest.mark.parametrize(
    ("name", "section"),
    [pytest.param(*pair, marks=[pytest.mark.slow] if pair[0] in LONG else []) for pair in sections()],
)
def test_the_commands_of_a_section_run(name: str, section: str, place: Path, atomic: Path, tmp_path: Path) -> None:
    page = ROOT / name
    tables = re.findall(r"^```toml\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    if tables:  # one file, and more rows of it further down
        rows = [table for table in tables[1:] if table.startswith("[[rows]]")]
        (place / "mine.toml").write_text("\n".join([tables[0], *rows]), "utf-8")
    for number, found in enumerate(found for found in blocks(page) if found.section == section):
        play(found, tmp_path / str(number), atomic)


@pytest.mark.slow
def test_the_first_commands_of_tuning_end_in_a_board_with_a_tuned_and_an_untuned_row(
    place: Path, atomic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    first = blocks(ROOT / "docs" / "tuning.md")[0]
    outputs = play(first, tmp_path / "shell", atomic)
    assert len(outputs) <= 6
    table = outputs[-1].partition("\nmodel ")[2]  # the headline above it names models, too
    for name in (
        "tiny-model",
        "tiny-model+lora-8",
        "popularity",
    ):  # in its row, or in the key of names that are shortened
        assert re.search(rf"^(?:.* = )?{re.escape(name)}[ (]", table, re.MULTILINE)


@pytest.mark.parametrize(
    "text",
    [
        "llmrs-bench compare -d ml1m --bye popularity",
        "llmrs-bench compare -d ml1m --by popularty",
        "llmrs-bench infer -d ml1m --model sasrek",
        "llmrs-bench infer -d ml1m --model llama-2-7b -T role=cook",
        "llmrs-bench infer -d ml1m --model llama-2-7b -O answer_token=9",
        "llmrs-bench infer -d ml1m --model llama-2-7b --engine vllm -O engine=vllm",
        "run=$(llmrs-bench evaluate -d ml1m --metrics ndgc@10)",
        "llmrs-bench compare -d ml1m \\\n    --fail-if 'ndcg@10 sinks'",
        "llmrs-bench infer -d ml1m --model llama-2-7b --orders 2",
        "llmrs-bnch list models",
        "make tests",
        "sh benchmarks/dema.sh",
        "python -m pip install '.[vlm]'",
    ],
)
def test_a_wrong_command_is_found(text: str, place: Path, atomic: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"Words.\n\n```sh\n{text}\n```\n")
    (found,) = blocks(page)
    with pytest.raises(Exception, match=r"."):
        play(found, tmp_path / "shell", atomic)


def test_a_block_that_is_not_run_says_why(tmp_path: Path) -> None:
    counts = Counter(found.reason for page in PAGES for found in blocks(page) if found.reason)
    assert not {reason for reason, count in counts.items() if count > REASONS.get(reason, 0)}
    assert not REASONS.keys() - counts.keys()
    for page in PAGES:
        assert page.read_text("utf-8").count("<!-- not run") == sum(bool(found.reason) for found in blocks(page))
        assert page.read_text("utf-8").count("\n```sh\n") == len(blocks(page))


def test_the_readme_is_short_and_shows_a_board() -> None:
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert len(lines) <= 150
    rows = [line for line in lines if re.match(r"\| .*\d\.\d{4}\b", line)]
    measured = (ROOT / "benchmarks" / "README.md").read_text("utf-8").partition("**ml100k@100**")[0]
    assert len(rows) == 13
    for row in rows:
        for figure in re.findall(r"-?\d+\.\d{4}", row):
            assert figure in measured, row


def slugs(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MkDocs make them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PROSE, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)\s]*)\)", page.read_text("utf-8"))
    wrong = []
    for link in links:
        name, _, anchor = link.partition("#")
        there = (page.parent / name).resolve() if name else page
        if not there.exists() or (anchor and anchor not in slugs(there)):
            wrong.append(link)
        if page.parent == ROOT / "docs" and there.parent != page.parent:
            wrong.append(f"{link} leads out of the site")
    assert not wrong


@pytest.mark.parametrize("page", PROSE, ids=lambda page: page.name)
def test_every_link_elsewhere_is_a_whole_address(page: Path) -> None:
    links = re.findall(r"\]\((https?:[^)\s]*)\)", page.read_text("utf-8"))
    assert not [link for link in links if not re.fullmatch(r"https://[\w-]+(\.[\w-]+)+(/[\w.~%/#?=&+,:@-]*)?", link)]


def test_the_site_has_every_page() -> None:
    listed = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(page.name for page in [*PAGES[1:], PLUG_INS])


def written(page: Path) -> str:
    """Return what a page has in code: inline, and in its shell blocks."""
    text = page.read_text("utf-8")
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))
    return "\n".join([*inline, *(found.text for found in blocks(page))])


@pytest.mark.parametrize("name", NAMES)
def test_every_option_in_the_text_exists(name: str) -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    commands = [group, *group.commands.values()]
    options = {option for command in commands for parameter in command.params for option in parameter.opts}
    options |= {"--help", "--slots"}  # the old name that a page gives as an example
    options |= {"--nproc-per-node", "--no-python", "--cpu"}  # of launchers, whose other options have underscores
    text = re.sub(r"^(?:python|make|ir_measures|sh) .*$", "", written(ROOT / name), flags=re.MULTILINE)
    assert not {option for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", text) if "_" not in option} - options


@pytest.fixture(scope="session")
def keys() -> dict[str, set[str]]:
    """The keys that -O and -T take."""

    def of(registry: Registry) -> set[str]:
        return {key for name in registry.names() for key in registry.load(name).Options.model_fields}

    parts = {part for group in ORDER for part in group} | {"system", "start"}
    return {
        "-O": of(ENGINES) | of(RECOMMENDERS) | of(CLICK_MODELS) | set(TuneOptions.model_fields) | OTHER_KEYS,
        "-T": of(STRATEGIES) | set(ViewOptions.model_fields) | parts,
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_key_in_the_text_exists(name: str, keys: dict[str, set[str]]) -> None:
    for option, known in keys.items():
        typed = re.findall(rf"{option} '?([a-z][\w.]*)", written(ROOT / name))
        assert not {key.rpartition(".")[2] for key in typed} - known


def test_nothing_that_has_a_name_is_left_out() -> None:
    text = "\n".join(written(page) for page in PAGES)
    names = {
        *ENGINES.names(),
        *RECOMMENDERS.names(),
        *CLICK_MODELS.names(),
        *STRATEGIES.names(),
        *template_names(),
        FREE_TEXT,
        *COST_NAMES,
    }
    names |= {*get_args(Kind), *METRIC_FORMS}
    assert not {name for name in names if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text)}

"""What a release consists of says the same everywhere, and names files that exist."""

import re
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from doc_blocks import ROOT
from llmrs_bench import __version__
from llmrs_bench.cli.main import app

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
INSTRUCTIONS = {"FROM", "ARG", "ENV", "WORKDIR", "COPY", "RUN", "USER", "ENTRYPOINT", "CMD"}


def test_the_version_is_the_same_everywhere() -> None:
    cited = re.findall(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text("utf-8"), re.MULTILINE)
    assert [PROJECT["project"]["version"], *cited] == [__version__, __version__]
    assert CliRunner().invoke(app, ["--version"]).stdout.strip() == __version__


def test_the_sdist_names_what_is_there() -> None:
    named = PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert all((ROOT / name).exists() for name in named)
    assert {"LICENSE", "CITATION.cff", "requirements", "docker"} <= set(named)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_a_dockerfile_copies_files_that_exist_and_runs_as_nobody_special(path: Path) -> None:
    text = path.read_text("utf-8")
    lines = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)).split("\n")
    steps = [line.split() for line in lines if line.strip()]
    assert {words[0] for words in steps} <= INSTRUCTIONS
    assert re.fullmatch(r"[\w.-]+:[\w.-]*\d[\w.-]*", steps[0][1])  # an image with a version
    copied = [word for words in steps if words[0] == "COPY" for word in words[1:-1]]
    assert copied
    assert all((ROOT / name).exists() for name in copied)
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").split() if line.startswith("!")]
    assert {name.split("/")[0] for name in copied} <= set(kept)
    assert [words[0] for words in steps if words[0] in ("USER", "ENTRYPOINT")] == ["USER", "ENTRYPOINT"]
    for words in steps:
        if "apt-get" in words:
            assert "--no-install-recommends" in words

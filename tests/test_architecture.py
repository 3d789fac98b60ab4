"""The import arrows of ARCHITECTURE.md, read from the code."""

import ast
from pathlib import Path

import pytest

import llmrs_bench

PACKAGE = Path(llmrs_bench.__file__).parent
VALUES = {"types", "schemas", "config", "registry", "errors", "catalog", "hashing", "fingerprint"}
# What each part may import, beside itself and the plain values that everybody shares.
ARROWS: dict[str, set[str]] = {
    "data": set(),
    "prompts": set(),
    "engines": set(),
    "exchange": set(),
    "fusion": set(),
    "recommenders": set(),
    "ranking": set(),
    "metrics": set(),
    "stats": set(),
    "bias": {"stats"},
    "leaderboard": {"stats"},
    "report": {"leaderboard"},
    "tables": set(),
    "artifacts": {"tables"},
    "stages": {
        *("data", "prompts", "engines", "recommenders", "ranking", "metrics", "stats", "leaderboard", "report"),
        *("artifacts", "tables", "bias", "exchange", "fusion"),
    },
    "logs": set(),
    "progress": {"logs", "report"},
    "console": {"logs", "progress"},
    "cli": {*("cli_compare", "cli_export", "cli_infer", "cli_options", "cli_prompt"), "stages", "report", "console"},
    "cli_compare": {"cli_options", "stages", "report", "console", "leaderboard"},
    "cli_export": {"cli_options", "stages", "console"},
    "cli_infer": {"cli_options", "stages", "report", "console"},
    "cli_prompt": {"cli_options", "stages", "report", "console"},
    "cli_options": {"console"},
    **{name: set() for name in VALUES},
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def part_of(dotted: str) -> str:
    return dotted.split(".")[1] if "." in dotted else ""


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("llmrs_bench"):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("llmrs_bench")}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_arrows_point_one_way(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own == "__init__":
        assert not imports(path)
        return
    used = {part_of(name) for name in imports(path)} - {own, "", "__version__"}
    assert used <= VALUES | ARROWS[own], f"{path.name} imports {sorted(used - VALUES - ARROWS[own])}"


def test_values_import_only_values() -> None:
    for name in VALUES:
        assert {part_of(used) for used in imports(PACKAGE / f"{name}.py")} <= VALUES, name


def test_truth_is_read_by_evaluate_and_to_keep_it_out_of_prompts() -> None:
    """Views need it where the target is put into slots, and evaluation where it measures position bias.

    A fusion reads it to learn weights from other users, and for the oracle; `export` writes it for other tools, and the
    HTML report shows it beside what was answered.
    """
    named = {str(path.relative_to(PACKAGE)) for path in MODULES if "truth" in {*string_constants(path)}}
    evaluating = {f"stages/{name}.py" for name in ("evaluate", "evaluations", "groups", "bias")} | {"metrics/checks.py"}
    others = {f"stages/{name}.py" for name in ("prompt", "views", "infer_fusion", "export", "samples")}
    assert named == {"schemas.py", "stages/prepare.py", *evaluating, *others}


def string_constants(path: Path) -> list[str]:
    tree = ast.parse(path.read_text("utf-8"))
    return [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def test_only_stages_open_artifacts() -> None:
    users = {
        str(path.relative_to(PACKAGE).parts[0])
        for path in MODULES
        if any(name.startswith("llmrs_bench.artifacts") for name in imports(path))
    }
    assert users == {"stages"}


def test_nothing_prints_but_the_command_line() -> None:
    for path in MODULES:
        calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
        printing = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
        assert not printing, path


def test_files_stay_small() -> None:
    long = {str(path.relative_to(PACKAGE)): len(path.read_text("utf-8").splitlines()) for path in MODULES}
    assert not {name: lines for name, lines in long.items() if lines > 300}

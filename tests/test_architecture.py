"""The import arrows of ARCHITECTURE.md, read from the code."""

import ast
from functools import cache
from pathlib import Path

import pytest

import llmrs_bench

PACKAGE = Path(llmrs_bench.__file__).parent
# What each part may import, beside itself and `core`.
ARROWS: dict[str, set[str]] = {
    "core": set(),
    "data": set(),
    "prompts": set(),
    "llm": {"prompts"},
    "exchange": set(),
    "fusion": set(),
    "counterfactuals": set(),
    "explanations": {"prompts", "stats"},
    "memory": {"data", "stats"},
    "clicks": {"metrics", "recommenders"},
    "recommenders": set(),
    "ranking": set(),
    "reranking": {"metrics"},
    "metrics": {"resampling"},
    "resampling": set(),
    "stats": {"resampling"},
    "position_bias": {"stats"},
    "leaderboard": {"metrics", "resampling", "stats"},
    "report": {"leaderboard"},
    "stages": {
        *("data", "prompts", "llm", "recommenders", "ranking", "metrics", "stats", "leaderboard", "report"),
        *("position_bias", "exchange", "fusion", "reranking", "counterfactuals", "clicks", "memory", "explanations"),
        "resampling",
    },
    "cli": {"stages", "report", "leaderboard", "llm", "exchange"},
    "results": {"stages", "report", "leaderboard", "metrics"},
    "arguments": {"results", "stages"},
    "api": {"arguments", "results", "stages", "leaderboard", "llm", "cli"},
    "__main__": {"cli"},
}
# What a stage may import of another; everything else it finds in the workspace, as an artifact.
STAGE_ARROWS: dict[str, set[str]] = {
    "workspace": set(),
    "retrieval": set(),
    "examples": {"retrieval"},
    "prompt_variants": {"examples", "retrieval"},
    "prompt": {"examples", "prompt_variants"},
    "prompt_preview": {"prompt"},
    "conversation": {"prompt", "serving"},
    "demo_lm": {"prompt"},
    "serving": {"demo_lm"},
    "tuned_models": {"demo_lm", "serving"},
    "infer_language_model": {"conversation", "demo_lm", "prompt", "serving", "ties", "tuned_models"},
    "tune_samples": {"conversation", "prompt", "prompt_variants"},
    "tune": {"prompt", "serving", "tune_samples", "tuned_models"},
    "tune_preview": {"serving", "tune"},
    "trained_models": set(),
    "unseen_items": set(),
    "infer_recommender": {"ties", "trained_models", "unseen_items"},
    "import_run": {"ties"},
    "fuse": {"ties"},
    "infer": {
        *("demo_lm", "fuse", "import_run", "infer_language_model", "infer_recommender", "prompt"),
        *("serving", "trained_models"),
    },
    "prepare": {"source", "trained_models"},
    "source": {"layouts"},
    "layouts": set(),
    "mapping": set(),
    "determinism": {"conversation", "infer_language_model", "prompt", "serving"},
    "evaluate": {
        "conversation",
        "evaluate_labelled",
        "infer_language_model",
        "infer_recommender",
        "prompt",
        "unseen_items",
    },
    "evaluate_labelled": {"unseen_items"},
    "compare": {"evaluate", "factors", "groups", "printed", "probed", "ties", "unseen_items"},
    "printed": set(),
    "transfer": {"compare"},
    "site": {"boards", "compare", "pages"},
    "compare_labelled": {"compare", "evaluate_labelled", "groups", "printed", "probed"},
    "factors": set(),
    "ties": set(),
    "groups": {"probed"},
    "boards": {"compare", "compare_labelled"},
    "gate": {"boards", "compare", "evaluate", "evaluate_labelled"},
    "pages": {"conversation", "evaluate", "groups", "prompt"},
    "export": {"serving"},
    "recipe_files": {"mapping"},
    "recipe": {"fuse", "infer", "judge", "mapping", "recipe_files", "source", "study", "tune"},
    "study": {"fuse", "infer", "judge", "source", "tune"},
    "tracking": {"evaluate_labelled"},
    "recipe_checks": {
        *("evaluate", "evaluate_labelled", "fuse", "infer", "judge", "prompt", "serving", "source", "study"),
    },
    "recipe_forecast": {"forecast", "recipe_checks", "study"},
    "lanes": {"serving", "study"},
    "run": {
        "boards",
        "compare",
        "fuse",
        "gate",
        "infer",
        "judge",
        "lanes",
        "prepare",
        "recipe_checks",
        "serving",
        "study",
        "printed",
        "transfer",
        "tune",
    },
    "forecast": {"infer", "judge", "prompt", "prompt_preview", "serving"},
    "probe": {"conversation", "serving"},
    "judge": {"conversation", "prompt", "prompt_variants", "serving"},
    "fairness": {"evaluate"},
    "probed": set(),
    "listing": set(),
    "methods": {"compare"},
    "storage": {"compare", "evaluate", "unseen_items", "usage"},
    "usage": set(),
}
LONGEST = 500  # lines of a file
MODULES = sorted(PACKAGE.rglob("*.py"))


def part_of(dotted: str) -> str:
    return dotted.split(".")[1] if "." in dotted else ""


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


@cache
def imports(path: Path) -> frozenset[str]:
    found: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("llmrs_bench"):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("llmrs_bench")}
    return frozenset(found)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_arrows_point_one_way(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own == "__init__":
        assert {name.rpartition(".")[0] for name in imports(path)} <= {"llmrs_bench.api"}  # for type checkers alone
        return
    used = {part_of(name) for name in imports(path)} - {own, "", "__version__", "core"}
    assert used <= ARROWS[own], f"{path.name} imports {sorted(used - ARROWS[own])}"


def test_stages_meet_in_the_workspace() -> None:
    found = {
        path.stem: {name.split(".")[2] for name in imports(path) if part_of(name) == "stages"} - {"workspace"}
        for path in (PACKAGE / "stages").glob("*.py")
        if path.stem != "__init__"
    }
    assert found == STAGE_ARROWS
    done: set[str] = set()
    while ready := {name for name, used in found.items() if name not in done and used <= done}:
        done |= ready
    assert done == found.keys(), f"a circle of imports among {sorted(found.keys() - done)}"


def test_truth_is_read_by_evaluate_and_to_keep_it_out_of_prompts() -> None:
    """Views need it where the target is put into slots, and evaluation where it measures position bias.

    A fusion reads it to learn weights from other users, and for the oracle; `export` writes it for other tools, and the
    HTML report shows it beside what was answered. Tuning keeps what is tested out of samples, and names its digest.
    """
    named = {str(path.relative_to(PACKAGE)) for path in MODULES if "truth" in {*string_constants(path)}}
    evaluating = {"metrics/measuring.py"} | {
        f"stages/{name}.py" for name in ("evaluate", "evaluate_labelled", "compare", "compare_labelled", "groups")
    }
    others = {
        f"stages/{name}.py" for name in ("prompt", "prompt_variants", "fuse", "export", "pages", "tune", "tune_samples")
    }
    assert named == {"core/schemas.py", "stages/prepare.py", *evaluating, *others}


def test_later_events_are_read_where_a_model_is_fitted_before_a_window() -> None:
    named = {str(path.relative_to(PACKAGE)) for path in MODULES if "later_events" in {*string_constants(path)}}
    stages = {f"stages/{name}.py" for name in ("prepare", "trained_models", "infer_recommender")}
    assert named == {"core/schemas.py", *stages}


def string_constants(path: Path) -> list[str]:
    tree = parsed(path)
    return [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def test_only_stages_open_artifacts() -> None:
    users = {
        str(path.relative_to(PACKAGE).parts[0])
        for path in MODULES
        if any(name.startswith("llmrs_bench.core.artifacts") for name in imports(path))
    }
    assert users - {"api.py", "results.py"} == {"stages"}  # the Python interface names the types alone


def test_nothing_prints_but_the_command_line() -> None:
    for path in MODULES:
        calls = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)]
        printing = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
        assert not printing, path


def test_a_file_is_neither_long_nor_a_fragment() -> None:
    """A module that one other alone imports belongs into that one, but for what the code itself shows to be apart.

    That is a plug-in or a command, found by its name; a module of another folder, for each folder is a layer; one that
    is imported where it is used alone, so that nobody else waits for it; and one idea of how answers are written.
    """
    lines = {path: len(path.read_text("utf-8").splitlines()) for path in MODULES}
    assert not {path.name: count for path, count in lines.items() if count > LONGEST}
    listed = {
        node
        for name in ("core/registry.py", "report/formats.py", "cli/main.py")
        for text in string_constants(PACKAGE / name)
        for node in (text.partition(":")[0], f"llmrs_bench.cli.{text.partition('.')[0]}")
    }
    fragments = []
    for path in MODULES:
        dotted = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        importers = [other for other in MODULES if other != path and dotted in modules_of(imports(other))]
        if dotted in listed or path.parent.name == "parsing" or len(importers) != 1:
            continue
        [importer] = importers
        beside = importer.parent == path.parent and importer.stem != "__init__"
        if beside and lines[path] + lines[importer] <= LONGEST and dotted in modules_of(imports_at_once(importer)):
            fragments.append(f"{dotted} -> {importer.name}")
    assert not fragments


def modules_of(names: frozenset[str]) -> set[str]:
    """Return the modules that imported names may be, or be of."""
    return {name for found in names for name in (found, found.rpartition(".")[0])}


def imports_at_once(path: Path) -> frozenset[str]:
    """Return what a module imports when it is imported itself."""
    nodes = [node for node in parsed(path).body if isinstance(node, ast.ImportFrom)]
    return frozenset(f"{node.module}.{alias.name}" for node in nodes for alias in node.names)

"""Small data sets prepared in several ways, and recommenders run on them, for the tests of stages."""

from pathlib import Path
from typing import Any

from llmrs_bench.core.artifacts import Artifact
from llmrs_bench.core.config import PrepareConfig
from llmrs_bench.core.types import no_progress
from llmrs_bench.stages.infer import infer, infer_config
from llmrs_bench.stages.prepare import prepare
from llmrs_bench.stages.source import Origin
from llmrs_bench.stages.workspace import Data, open_data

SMALL = {"epochs": "2", "dim": "8", "max_history": "5"}
OPTIONS: dict[str, dict[str, str]] = {
    "sasrec": SMALL,
    "bprmf": {"epochs": "2", "dim": "8"},
    "itemknn": {"neighbours": "5"},
}


def prepared(home: Path, source: Path, variant: str, **options: Any) -> Data:
    """Prepare the variant `small@VARIANT` and open it."""
    prepare(home, f"small@{variant}", PrepareConfig(dataset="small", **options), Origin(source), no_progress)
    return open_data(home, f"small@{variant}")


def run(data: Data, model: str, *, export_to: Path | None = None, **options: Any) -> Artifact:
    """Return the run of a model, with options that make it small unless others are given."""
    config = infer_config({"model": model, "options": OPTIONS.get(model, {}), **options})
    return infer(data, config, no_progress, export_to).artifact


def kept_models(data: Data) -> list[str]:
    """Return the names of the trained models that are kept."""
    return sorted(path.name for path in data.place.models.iterdir())


def retriever_options(name: str) -> dict[str, str]:
    """Return the small options of a retriever."""
    return {f"{name}.{key}": value for key, value in OPTIONS[name].items()}

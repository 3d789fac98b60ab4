"""What there is: data sets and how they were prepared, models, templates, runs."""

from pathlib import Path
from typing import Any

from llmrs_bench.core.artifacts import open_artifact
from llmrs_bench.core.config import PrepareConfig
from llmrs_bench.core.registry import ENGINES, RECOMMENDERS, SOURCES, Registry
from llmrs_bench.data.datasets import DATASETS
from llmrs_bench.llm.model_aliases import MODEL_ALIASES
from llmrs_bench.prompts.template import PART_NAMES, read_source, template_names, template_parts
from llmrs_bench.stages.workspace import Place, leaving_out, open_data, open_runs, prepare_command, prepared

# What a model was trained for after its pretraining, as the catalogue has it, and as a reader does.
_TUNED = {"none": "base", "instruction": "instructions", "chat": "chat", "reasoning": "reasoning"}


def list_data(home: Path) -> list[str]:
    """One line for each known data set, for each way it was prepared, and for each format that can be read."""
    made = prepared(home)
    lines = []
    for name in sorted({*DATASETS, *made}):
        manifests = {}
        for place in (Place(home / name / variant) for variant in made.get(name, [])):
            with leaving_out():
                manifests[place.reference] = open_artifact(place.data, hint=prepare_command(name)).manifest
        formats = sorted({manifest.parts["reader"] for manifest in manifests.values()})
        lines.append(
            f"{name}\t{DATASETS[name].homepage if name in DATASETS else 'format ' + ', '.join(formats)}".rstrip()
        )
        lines += [
            f"  {reference}\t{_differs(manifest.config) or 'defaults'}" for reference, manifest in manifests.items()
        ]
    return [*lines, *(f"--format {name}\t{_origin(SOURCES, name)}" for name in SOURCES.names())]


def _origin(registry: Registry, name: str) -> str:
    """Say where a plug-in comes from."""
    found = [f"from the package {package} {version}" for package, version in registry.package(name).items()]
    return found[0] if found else "built in"


def _differs(config: dict[str, Any]) -> str:
    skipped = ("dataset", "item_word")
    defaults = PrepareConfig(dataset="any").model_dump()
    return ", ".join(
        f"{key}={value}" for key, value in config.items() if key not in skipped and value != defaults.get(key)
    )


def list_models() -> list[str]:
    """One line for each recommender, for what else `--model` takes, and for each language model of the catalogue."""
    others = {
        "demo-lm": "language model, trained on the spot, for trying things out",
        "ORG/NAME": "any language model of the Hugging Face hub",
        "FOLDER, FILE.gguf": "any local one; the folder of a LoRA adapter",
        **{f"--engine {name}": f"its own models, {_origin(ENGINES, name)}" for name in ENGINES.plugins()},
    }
    recommenders = {
        name: "recommender" if name in RECOMMENDERS.builtin else f"recommender, {_origin(RECOMMENDERS, name)}"
        for name in RECOMMENDERS.names()
    }
    lines = [f"{name:17} {about}" for name, about in {**recommenders, **others}.items()]
    width = max(map(len, MODEL_ALIASES))
    kind = None
    for spec in MODEL_ALIASES.values():
        if kind != (
            kind := f"{spec.family}: {spec.context} tokens, {spec.architecture}, {_TUNED[spec.tuning or 'none']}"
        ):
            lines.append(kind)
        lines.append(f"  {spec.name:{width}} {spec.size_b or 0:>5g}B {spec.source}")
    return lines


def list_templates() -> list[str]:
    """One line for each template."""
    lines = []
    for name in template_names():
        template_file = read_source(name).template_file
        parts = ", ".join(f"{part}={value}" for part, value in template_file.parts.items() if isinstance(value, str))
        lines.append(f"{name}\t{template_file.about}\t{parts}")
    return lines


def list_parts() -> list[str]:
    """One line for each part that can be put into a template, as `-T PART=NAME`."""
    return [
        f"{part}={name}\t{template_part.about}"
        for part in PART_NAMES
        for name, template_part in template_parts(part).items()
    ]


def list_runs(home: Path, dataset: str) -> list[str]:
    """One line for each run of a prepared data set: its name, and the command that made it."""
    data = open_data(home, dataset)
    return [f"{run.path.name}\t{run.manifest.command}" for run in open_runs(data)]

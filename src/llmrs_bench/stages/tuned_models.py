"""What is known of a model that was tuned here, and which others are trainings of the same."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from llmrs_bench.core.artifacts import StageResult, is_complete, open_artifact, restate
from llmrs_bench.core.config import LanguageModelConfig
from llmrs_bench.core.hashing import fingerprint
from llmrs_bench.llm.adapters import TunedModel, read_tuned


def tuned_of(config: LanguageModelConfig) -> TunedModel | None:
    """Return what is known of the model of a configuration, if it was tuned here."""
    return read_tuned(_folder(config))


def training_of(config: LanguageModelConfig) -> dict[str, Any]:
    """Return the `seed` of a model's tuning, and as `series` a digest of all else that decided it.

    Models of one series are trainings of the same: they differ by their seed alone. Nothing is known of a folder
    without the manifest of its tuning.
    """
    if not is_complete(_folder(config)):
        return {}
    made = open_artifact(_folder(config), hint="tune it again.").manifest
    rest = {key: value for key, value in made.config.items() if key != "seed"}
    series = fingerprint({"name": made.name, "config": rest, "inputs": made.inputs, "parts": made.parts})
    return {"seed": made.config["seed"], "series": series}


def with_series(done: StageResult, config: LanguageModelConfig) -> StageResult:
    """Return a run that was there before with what its model's training was, which runs did not always say."""
    tuned = done.artifact.facts.get("tuned")
    if not tuned or "series" in tuned or not (training := training_of(config)):
        return done
    return replace(done, artifact=restate(done.artifact, tuned={**tuned, **training}))


def _folder(config: LanguageModelConfig) -> Path:
    return Path(config.options.get("lora", config.model))

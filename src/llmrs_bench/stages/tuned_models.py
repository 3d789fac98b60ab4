"""Which models can be tuned, what is known of one that was tuned here, and which others are trainings of the same."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from llmrs_bench.clicks.baselines import TRIVIAL
from llmrs_bench.core.artifacts import StageResult, is_complete, open_artifact, restate
from llmrs_bench.core.config import LanguageModelConfig
from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.hashing import fingerprint
from llmrs_bench.core.registry import CLICK_MODELS, RECOMMENDERS, unknown_name
from llmrs_bench.llm.adapters import TunedModel, read_tuned
from llmrs_bench.llm.model_aliases import MODEL_ALIASES
from llmrs_bench.stages.demo_lm import NAME as DEMO_LM
from llmrs_bench.stages.serving import MOCK, is_language_model


def check_tunable_model(name: str) -> None:
    """Refuse to tune what has no weights of a language model.

    Raises:
        OptionError: If it is another kind of model, or nobody knows it.
    """
    if name in (*RECOMMENDERS.names(), *CLICK_MODELS.names(), *TRIVIAL):
        raise OptionError(
            f"{name} is not a language model, and `tune` tunes only those",
            hint=f"llmrs-bench infer --model {name} trains it.",
        )
    if name == MOCK:
        raise OptionError(
            f"{MOCK} answers by a formula: it has no weights that could be tuned",
            hint="Take a language model of `llmrs-bench list models`, a folder or ORG/NAME.",
        )
    if not is_language_model(name):
        known = [*MODEL_ALIASES, DEMO_LM]
        raise unknown_name(
            "model",
            name,
            known,
            hint="Any Hugging Face id (ORG/NAME) or folder (./PATH) will do, too.",
            listing="`llmrs-bench list models`",
        )


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

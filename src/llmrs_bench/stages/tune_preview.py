"""What `tune` would learn from and take, before any weight is loaded: its samples, its steps, its time and memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from llmrs_bench.core.artifacts import Artifact, find_made, is_complete, open_artifact, this_machine
from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.training_checkpoint import kept_steps
from llmrs_bench.report.words import RenderedPrompt
from llmrs_bench.stages.serving import TUNED
from llmrs_bench.stages.tune import TuneConfig, TuneJob, counts_of
from llmrs_bench.stages.workspace import Data, leaving_out


@dataclass(frozen=True, slots=True)
class TuningForecast:
    """What a tuning would take.

    Args:
        label: What the model would be called.
        place: Its folder.
        made: Whether it is there already.
        kept: Steps that an interrupted training of it has done.
        counts: Of the samples: how many, their tokens, the share that is learned.
        valid: Validation requests.
        steps: Of the optimizer at most; `patience` may end them earlier.
        validations: At most.
        gb: Memory that it takes, an estimate; None where nothing is trained.
        free_gb: Memory that there is.
        device: Where.
        sessions: Earlier tunings of the same base, method and number format on such a machine.
        seconds: What the rest takes at most at their speed; None where there are none.
    """

    label: str
    place: Path
    made: bool
    kept: int
    counts: dict[str, Any]
    valid: int
    steps: int
    validations: int
    gb: float | None
    free_gb: float
    device: str
    sessions: int
    seconds: float | None


def show_samples(data: Data, config: TuneConfig, count: int) -> tuple[list[RenderedPrompt], dict[str, Any]]:
    """Return the first samples as the model reads them, with what is supervised, and counts over all of them.

    Raises:
        OptionError: As `tune` says, or if there are none.
    """
    if config.samples == 0:
        raise OptionError("--samples 0 learns from nothing: there is no sample to show", hint="Raise --samples.")
    job = TuneJob(data, config)
    reader = job.reader()
    maker = job.maker(reader)
    made = job.samples(maker)
    samples = [maker.sample(example) for example in made.examples]

    def decode(ids: Sequence[int]) -> str:
        return str(reader.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    shown = [
        RenderedPrompt(
            decode(sample.prompt), len(sample.prompt), (decode(sample.answer),), answer_side=reader.encoder_decoder
        )
        for sample in samples[:count]
    ]
    return shown, counts_of(made, samples)


def forecast_tuning(data: Data, config: TuneConfig) -> TuningForecast:
    """Return what `tune` would take; samples are made and counted, and no weight is loaded.

    Raises:
        OptionError: As `tune` says.
        DataError: As `tune` says.
        ModelError: If the model or its tokenizer cannot be had.
    """
    from llmrs_bench.llm.training_memory import free_memory, training_memory

    job = TuneJob(data, config)
    place, options = job.place, job.options
    made = find_made(place, job.recipe) is not None
    free = free_memory(job.device)
    if config.samples == 0:
        return TuningForecast(job.label, place, made, 0, {"samples": 0}, 0, 0, 0, None, free, job.device.type, 0, None)
    maker = job.maker(job.reader())
    examples, valid = job.samples(maker), len(job.valid(maker).examples)
    counts = counts_of(examples, [maker.sample(example) for example in examples.examples])
    model = job.checkpoint.config()
    need = training_memory(model, config.method, options, longest=counts["longest"], device=job.device)
    each = ceil(counts["samples"] / options.batch)
    steps, every = options.epochs * each, options.every(each)
    kept = 0 if made else kept_steps(job.kept, job.recipe.fingerprint)
    validations = ceil(steps / every) + 1
    earlier = [facts for facts in _sessions(data, job) if facts.get("tokens")]
    seconds = None
    if earlier:
        trained = sum(
            one["steps"] * one["tokens"] / one["samples"] * min(one["batch"], one["samples"]) for one in earlier
        )
        a_token = sum(one["seconds"] - one["seconds_evaluating"] for one in earlier) / max(trained, 1)
        seen = sum(len(one["valid_curve"]) * (one["valid"]["samples"] or one["samples"]) for one in earlier)
        a_request = sum(one["seconds_evaluating"] for one in earlier) / max(seen, 1)
        rest = (steps - kept) / steps
        asked = validations * (valid or counts["samples"])
        seconds = rest * (options.epochs * counts["tokens"] * a_token + asked * a_request)
    return TuningForecast(
        *(job.label, place, made, kept, counts, valid, steps, validations, need.total, free, job.device.type),
        sessions=len(earlier),
        seconds=0.0 if made else seconds,
    )


def _sessions(data: Data, job: TuneJob) -> list[dict[str, Any]]:
    """Return what earlier tunings of any data set recorded whose speed says something about this one."""
    like: list[Artifact] = []
    home = data.place.models.parent.parent
    for folder in sorted(home.glob(f"*/models/{TUNED}*")):
        if is_complete(folder):
            with leaving_out():
                like.append(open_artifact(folder, hint="tune it again."))
    own = job.recipe
    return [
        {**found.facts, "batch": int(found.manifest.config["options"]["batch"])}
        for found in like
        if found.manifest.stage == own.stage
        and found.manifest.machine == this_machine()
        and found.manifest.inputs.get("model") == own.inputs["model"]
        and all(found.manifest.config.get(name) == own.config[name] for name in ("method", "device"))
        and found.facts.get("dtype") == str(job.options.low(job.device)).removeprefix("torch.")
        and "processes" not in found.facts
    ]

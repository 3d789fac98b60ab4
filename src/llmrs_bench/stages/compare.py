"""Stage `compare`: the board of the runs of one prepared data set. It reads, and writes nothing."""

from collections.abc import Sequence
from typing import Any

from llmrs_bench.artifacts import Artifact, is_complete, open_artifact
from llmrs_bench.config import BOARD_METRICS, CATALOGUE_METRICS, DEPTH, MODELS, WHOLE, CompareConfig
from llmrs_bench.errors import ArtifactError, IncomparableError
from llmrs_bench.fingerprint import fingerprint
from llmrs_bench.leaderboard import Board, Entry, build_board
from llmrs_bench.metrics import parse_metrics
from llmrs_bench.ranking import TIE_RULE
from llmrs_bench.stages.evaluate import CHANCE, POPULARITY, chance_evaluation, evaluation
from llmrs_bench.stages.home import Data
from llmrs_bench.stages.runs import open_runs, pick_runs, ranks

BASELINES = (POPULARITY, "random")
COSTS = (
    "prefill_tokens",
    "cached_tokens",
    "completion_tokens",
    "thinking_tokens",
    "clipped_prompts",
    "seconds",
    "device_seconds",
    "requests_per_second",
    "peak_device_gb",
    "joules",
    "price_usd",
)


def compare(data: Data, names: Sequence[str], config: CompareConfig) -> Board:
    """Build the board of evaluated runs; chance and popularity are always on it.

    Args:
        data: The prepared data set.
        names: Names of runs, or their first characters; none means all.
        config: Metrics and bootstrap.

    Raises:
        ArtifactError: If nothing was evaluated.
        IncomparableError: If a run has other requests or another tie rule.
        OptionError: If a metric or a run is unknown.
    """
    usual = CATALOGUE_METRICS if data.whole_catalogue else BOARD_METRICS
    metrics = [str(metric) for metric in parse_metrics(config.metrics or usual)]
    runs = [run for run in open_runs(data) if ranks(run)]
    chosen = {run.path.name for run in (pick_runs(runs, names) if names else runs)}
    wanted = [run for run in runs if run.path.name in chosen or run.manifest.name == POPULARITY]
    for run in wanted:
        _refuse_other_protocol(data, run)
    evaluated = [run for run in wanted if is_complete(evaluation(data, run)[0])]
    path, _ = chance_evaluation(data)
    if not evaluated or not is_complete(path) or all(run.manifest.name != POPULARITY for run in evaluated):
        raise ArtifactError(f"{data.place.reference} has no evaluated runs", hint=_evaluate_command(data))
    left_out = [run.path.name for run in wanted if run not in evaluated]
    chance = open_artifact(path, hint=_evaluate_command(data))
    entries = [
        Entry(CHANCE, CHANCE, "baseline", "", chance.table("metrics"), exact=True),
        *(_entry(data, run) for run in evaluated),
    ]
    return build_board(
        entries,
        metrics,
        title=f"{data.place.reference}",
        protocol=_protocol(data, config),
        notes=_notes(data, left_out),
        samples=config.samples,
        seed=config.seed,
    )


def _evaluate_command(data: Data) -> str:
    return f"Run: llmrs-bench evaluate --dataset {data.place.reference}"


def _refuse_other_protocol(data: Data, run: Artifact) -> None:
    expected = {
        "requests": (run.manifest.inputs.get("requests"), data.artifact.digest("requests")),
        "tie rule": (run.manifest.parts.get("tie_rule"), TIE_RULE),
        "tie seed": (run.manifest.parts.get("tie_seed"), str(data.tie_seed)),
    }
    for field, (have, want) in expected.items():
        if have != want:
            raise IncomparableError(
                f"run {run.path.name} may not stand on the board of {data.place.reference}: its {field} is {have}, "
                f"that of the data is {want}",
                hint="It was made elsewhere or by another version: delete it and run `llmrs-bench infer` again.",
            )


def _entry(data: Data, run: Artifact) -> Entry:
    path, _ = evaluation(data, run)
    made = open_artifact(path, hint=_evaluate_command(data))
    facts = run.facts
    model = facts["model"]["name"] if facts["kind"] == "language model" else run.manifest.name
    return Entry(
        run=run.path.name,
        model=model,
        kind="baseline" if run.manifest.name in BASELINES else facts["kind"],
        setting=_setting(data, run),
        metrics=made.table("metrics"),
        group=_group(run),
        about={
            "history": facts.get("history"),
            "fit_on": facts.get("fit_on"),
            "seed": facts["seed"],
            "engine": facts.get("engine"),
            **{name: facts.get(name) for name in COSTS},
            **{name: round(value, 4) for name, value in facts.get("notes", {}).items()},
            "requests_without_ranking": made.facts["requests_without_ranking"],
            "fingerprint": run.manifest.fingerprint,
            "command": run.manifest.command,
        },
    )


def _setting(data: Data, run: Artifact) -> str:
    config, facts = run.manifest.config, run.facts
    words: list[Any] = []
    if facts["kind"] == "language model":
        words.append(config["template"])
        if facts["normalize"] != "sum":
            words.append(f"per {facts['normalize']}" if facts["normalize"] in ("token", "byte") else facts["normalize"])
        if facts["history"] != data.default_history:
            words.append(f"history {facts['history']}")
    words.extend(f"{key}={value}" for key, value in facts["typed"].items())
    return ", ".join(map(str, words))


def _group(run: Artifact) -> str:
    """Return what a run shares with runs of another seed."""
    manifest = run.manifest
    if manifest.facts["kind"] == "language model":
        return manifest.fingerprint
    config = {key: value for key, value in manifest.config.items() if key != "seed"}
    return fingerprint({"name": manifest.name, "config": config, "inputs": manifest.inputs, "parts": manifest.parts})


def _protocol(data: Data, config: CompareConfig) -> list[str]:
    options, facts = data.artifact.manifest.config, data.artifact.facts
    seen = "seen items may be among them" if options["include_seen"] else "seen items excluded"
    filters = [
        f"ratings >= {options['min_rating']:g}" if options["min_rating"] is not None else "",
        f"{options['k_core']}-core" if options["k_core"] else "",
    ]
    kept = facts["kept"]
    if options["candidates"] == WHOLE:
        asked = f"all items ranked, the first {DEPTH} kept, {seen}"
    else:
        held = "target and " if not options["candidates"].startswith(MODELS) or options["force_target"] else ""
        asked = f"{options['n_candidates']} candidates: {held}{options['candidates']}, {seen}; seed {options['seed']}"
        if options["candidates"].startswith(MODELS):
            sampled = facts["sampling"]
            asked += (
                f"; {sampled['targets_in_lists']:,} lists hold their target ({sampled['targets_retrieved']:,} found)"
            )
    return [
        f"{kept['users']:,} users, {kept['items']:,} items, {kept['interactions']:,} interactions"
        + "".join(f", {part}" for part in filters if part)
        + ("" if facts["verified"] else " (source not verified)"),
        f"leave-one-out, {facts['tie_rule']}; {facts['requests']:,} test users",
        asked,
        f"{TIE_RULE}",
        f"95 % percentile bootstrap over users, {config.samples:,} samples",
    ]


def _notes(data: Data, left_out: Sequence[str]) -> list[str]:
    if not left_out:
        return []
    return [f"not evaluated, so not on the board: {', '.join(left_out)}. {_evaluate_command(data)}"]

"""Stage `compare`: the board of the runs of one prepared data set."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from llmrs_bench.artifacts import Artifact
from llmrs_bench.config import BOARD_METRICS, CATALOGUE_METRICS, MODELS, CompareConfig
from llmrs_bench.errors import ArtifactError
from llmrs_bench.fingerprint import fingerprint
from llmrs_bench.leaderboard import BOUND, Board, Entry, Plan, Sheet, build_board
from llmrs_bench.metrics import Metric, parse_metrics
from llmrs_bench.ranking import TIE_RULE
from llmrs_bench.stages.evaluate import POPULARITY
from llmrs_bench.stages.evaluations import CHANCE, evaluate_command, evaluations, measured
from llmrs_bench.stages.groups import group_requests
from llmrs_bench.stages.home import Data
from llmrs_bench.stages.locking import INVALID_WORDS, candidate_words, common_requests, filters, lock_words, run_notes
from llmrs_bench.stages.published import published_tables
from llmrs_bench.stages.runs import open_runs, pick_runs, ranks

BASELINES = (POPULARITY, "random")
COSTS = (
    "requests",
    "prefill_tokens",
    "cached_tokens",
    "completion_tokens",
    "thinking_tokens",
    "clipped_prompts",
    "filtered",
    "unanswered",
    "seconds",
    "scoring_seconds",
    "device_seconds",
    "requests_per_second",
    "peak_device_gb",
    "joules",
    "price_usd",
    "kinds",
    "first_choices",
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A board, and the values behind its rows in the same order."""

    board: Board
    sheet: Sheet

    def noted(self, notes: Sequence[str]) -> "Comparison":
        """Return it with more notes below the board."""
        return replace(self, board=replace(self.board, notes=(*self.board.notes, *notes)))


def compare(data: Data, names: Sequence[str], config: CompareConfig) -> Comparison:
    """Build the board of evaluated runs; chance and popularity are always on it.

    Args:
        data: The prepared data set.
        names: Names of runs, or their first characters; none means all.
        config: Metrics, bootstrap, tests, groups.

    Raises:
        ArtifactError: If nothing was evaluated, or a value is not a number.
        IncomparableError: If a run was made on other data, requests or tie rules, and may not differ in them.
        OptionError: If a metric, a run or a grouping is unknown.
    """
    usual = CATALOGUE_METRICS if data.whole_catalogue else BOARD_METRICS
    metrics = parse_metrics(config.metrics or usual)
    groups = None if config.by is None else group_requests(data, config.by)
    runs = [run for run in open_runs(data) if ranks(run)]
    chosen = {run.path.name for run in (pick_runs(runs, names) if names else runs)}
    wanted = [run for run in runs if run.path.name in chosen or run.manifest.name == POPULARITY]
    allowed = {run.path.name: run_notes(data, run, config.allow_different) for run in wanted}
    evaluated = [run for run in wanted if evaluations(data, run, [], config.invalid)[0].done]
    hint = evaluate_command(data, metrics, config.invalid)
    if all(run.manifest.name != POPULARITY for run in evaluated):
        lacking = f"no evaluation of {POPULARITY}, which is on every board" if evaluated else "no evaluated runs"
        raise ArtifactError(f"{data.place.reference} has {lacking}", hint=hint)
    chance = measured(data, None, metrics, config.invalid)
    entries = [
        Entry(CHANCE, CHANCE, "baseline", "", chance.metrics, exact=True, figures=chance.figures),
        *(_entry(data, run, metrics, config, differs=bool(allowed[run.path.name])) for run in evaluated),
    ]
    board, sheet = build_board(
        entries,
        Plan(
            metrics=tuple(map(str, metrics)),
            samples=config.samples,
            seed=config.seed,
            permutations=config.permutations,
            correction=config.correction,
            by=config.by or "",
            groups=groups,
            directions={str(metric): metric.direction for metric in metrics},
        ),
        title=data.place.reference,
        protocol=_protocol(data, config),
        notes=[
            *(note for notes in allowed.values() for note in notes),
            *_left_out([run.path.name for run in wanted if run not in evaluated], hint),
        ],
    )
    if config.published:
        dataset = str(data.artifact.manifest.config["dataset"])
        tables = published_tables(dataset)
        board = replace(board, published=tuple(tables))
        if not tables:
            board = replace(board, notes=(*board.notes, f"no printed table is known for {dataset}"))
    return Comparison(board, sheet)


def _entry(data: Data, run: Artifact, metrics: Sequence[Metric], config: CompareConfig, *, differs: bool) -> Entry:
    made = measured(data, run, metrics, config.invalid)
    facts = run.facts
    model = facts["model"]["name"] if facts["kind"] == "language model" else run.manifest.name
    if facts["kind"] == BOUND:
        model += " (no model)"
    return Entry(
        run=run.path.name,
        model=model,
        kind="baseline" if run.manifest.name in BASELINES else facts["kind"],
        setting=_setting(data, run),
        metrics=common_requests(made.metrics, run) if differs else made.metrics,
        group=_group(run),
        figures=made.figures,
        about={
            "history": facts.get("history"),
            "fit_on": facts.get("fit_on"),
            "seed": facts["seed"],
            "engine": facts.get("engine"),
            **{name: facts.get(name) for name in COSTS},
            **{name: round(value, 4) for name, value in facts.get("notes", {}).items()},
            **{name: count for name, count in made.counts.items() if name != "requests"},
            "fingerprint": run.manifest.fingerprint,
            "command": run.manifest.command,
            "made": run.manifest.started.isoformat(),
            "versions": run.manifest.versions,
            "revision": facts["model"].get("revision") if facts["kind"] == "language model" else None,
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
    facts, words = data.artifact.facts, lock_words(data, config.invalid)
    kept, asked = facts["kept"], candidate_words(data)
    if data.artifact.manifest.config["candidates"].startswith(MODELS):
        sampled = facts["sampling"]
        asked += f"; {sampled['targets_in_lists']:,} lists hold their target ({sampled['targets_retrieved']:,} found)"
    return [
        f"{kept['users']:,} users, {kept['items']:,} items, {kept['interactions']:,} interactions"
        + "".join(f", {part}" for part in filters(data))
        + ("" if facts["verified"] else " (source not verified)"),
        f"{words['split']}; {facts['requests']:,} test users",
        asked,
        TIE_RULE,
        INVALID_WORDS[config.invalid],
    ]


def _left_out(names: Sequence[str], hint: str) -> list[str]:
    return [f"not evaluated, so not on the board: {', '.join(names)}. {hint}"] if names else []

"""Stage `compare`: evaluated runs and saved boards, compared where they may be, become a board."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl

from llmrs_bench.core.artifacts import Artifact
from llmrs_bench.core.config import (
    BOARD_METRICS,
    CATALOGUE_METRICS,
    DEPTH,
    IMPRESSIONS,
    MODELS,
    WHOLE,
    CompareConfig,
    Invalid,
)
from llmrs_bench.core.costs import RUN_COSTS
from llmrs_bench.core.errors import ArtifactError
from llmrs_bench.core.formatting import counted
from llmrs_bench.core.hashing import fingerprint
from llmrs_bench.core.schemas import METRICS
from llmrs_bench.core.types import no_progress
from llmrs_bench.leaderboard import BOUND, Board, BoardPlan, EvaluatedRun, ScoreMatrix, build_board
from llmrs_bench.leaderboard.comparability import (
    FIELDS,
    EvaluationProtocol,
    Field,
    refuse_differences,
    request_protocol,
)
from llmrs_bench.leaderboard.variance import SAMPLING, TRAINING
from llmrs_bench.llm.cache import read_served
from llmrs_bench.llm.model_aliases import release_of
from llmrs_bench.metrics import DEFINITIONS, Metric, parse_metrics
from llmrs_bench.report.words import example_lines, shared_words
from llmrs_bench.stages.evaluate import (
    CHANCE,
    POPULARITY,
    counted_unseen,
    has_likelihoods,
    is_evaluated,
    measured,
    ranked_runs,
)
from llmrs_bench.stages.factors import LEARNERS, asked_share, factors_of, setting_words
from llmrs_bench.stages.groups import UNKNOWN, group_requests
from llmrs_bench.stages.printed import with_published
from llmrs_bench.stages.probed import memory_lines, memory_notes, memory_of
from llmrs_bench.stages.ties import tie_rule
from llmrs_bench.stages.unseen_items import unseen_notes
from llmrs_bench.stages.workspace import Data, called, latest, leaving_out, limit_of, pick_runs, ranks, unopened

if TYPE_CHECKING:
    from llmrs_bench.leaderboard.curves import Curves
    from llmrs_bench.leaderboard.sampled import BoardEntry

log = logging.getLogger(__name__)

# How unranked items count, as boards say it.
INVALID_WORDS: dict[Invalid, str] = {
    "expected": "unranked items are placed last and contribute their expectation over all orderings",
    "worst": "unranked relevant items count as never found",
    "drop": "requests in which a model ranked nothing are left out of its row; other unranked items contribute their "
    "expectation over all orderings",
}
# The default normalisation of likelihoods, where a board has a row with it.
SUM_WORDS = "titles are scored by the sum of the log-probabilities of their tokens, unless a row names another way"


def data_protocol(data: Data, invalid: Invalid) -> EvaluationProtocol:
    """Return what boards of a prepared data set have in common."""
    return request_protocol(data.artifact.table("requests"), protocol_words(data, invalid))


def protocol_words(data: Data, invalid: Invalid) -> dict[str, str]:
    """Return what data, split, users, candidates, tie rule and metric definitions are, in words."""
    manifest = data.artifact.manifest
    facts = manifest.facts
    source = manifest.inputs["source"]
    kept = [str(facts["kept"][name]) for name in ("users", "items", "interactions")]
    return {
        "data": ", ".join([manifest.config["dataset"], f"source {source[:8]}", *filters(data), "/".join(kept)]),
        "split": f"{facts.get('split_words', 'leave-one-out')}, {facts['tie_rule']}",
        "users": asked_words(data),
        "candidates": candidate_words(data),
        "tie-rule": f"{tie_rule(data)}; seed {data.tie_seed}",
        "metric-definition": f"version {DEFINITIONS}, {INVALID_WORDS[invalid]}",
    }


def asked_words(data: Data) -> str:
    """Return how many users are tested, and with how many requests, or rows, where that is not one each."""
    asked, word = data.artifact.table("requests"), "requests"
    if data.labelled:  # those of the part valid are asked, too
        asked, word = asked.filter(pl.col("part") == "test"), "rows"
    users = asked["user_id"].n_unique()
    return counted(users, "user") if users == asked.height else f"{asked.height:,} {word} of {counted(users, 'user')}"


def filters(data: Data) -> list[str]:
    """Return which events were dropped, in words."""
    options = data.artifact.manifest.config
    return [
        *([f"ratings >= {options['min_rating']:g}"] if options["min_rating"] is not None else []),
        *([f"{options['k_core']}-core"] if options["k_core"] else []),
    ]


def candidate_words(data: Data) -> str:
    """Return what requests ask to rank, in words."""
    if data.labelled:
        return "one item a request"
    options = data.artifact.manifest.config
    seen = "seen items may be among them" if options["include_seen"] else "seen items excluded"
    if options["candidates"] == WHOLE:
        return f"all items ranked, the first {DEPTH} kept, {seen}"
    if options["candidates"] == IMPRESSIONS:
        sampled = data.artifact.facts["sampling"]
        shown, relevant = (sampled[name] / sampled["requests"] for name in ("candidates", "targets"))
        least = options.get("relevant_rating")
        kind = "real impressions" if least is None else "what users rated"
        chosen = "clicks" if least is None else f"rated {least:g} or higher"
        return f"{kind}, {shown:.1f} candidates and {relevant:.1f} {chosen} on average"
    held = "target and " if not options["candidates"].startswith(MODELS) or options["force_target"] else ""
    if options.get("target") == "all" and held:
        others = options["n_candidates"] - 1
        return f"all targets and {others} more candidates: {options['candidates']}, {seen}; seed {options['seed']}"
    drawn = "" if options.get("draws", 1) == 1 else f", drawn {options['draws']:,} times"
    return f"{options['n_candidates']} candidates: {held}{options['candidates']}{drawn}, {seen}; seed {options['seed']}"


def scope_words(data: Data) -> str:
    """Return over how many users means are, and how many candidates each has: what sets a number apart from others."""
    asked = asked_words(data)
    if data.labelled:
        return asked
    options, facts = data.artifact.manifest.config, data.artifact.facts
    if options["candidates"] == WHOLE:
        return f"{asked}, all {facts['kept']['items']:,} items ranked"
    if options["candidates"] == IMPRESSIONS:
        sampled = facts["sampling"]
        return f"{asked}, {sampled['candidates'] / sampled['requests']:.1f} candidates each on average"
    drawn = "" if options.get("draws", 1) == 1 else f", drawn {options['draws']:,} times"
    if options.get("target") == "all" and not options["candidates"].startswith(MODELS):
        return f"{asked}, all targets and {options['n_candidates'] - 1} more candidates each"
    return f"{asked}, {options['n_candidates']} candidates each{drawn}"


def run_notes(data: Data, run: Artifact, allowed: Sequence[str]) -> list[str]:
    """Return in what a run differs from its data set, where it is allowed to, as notes for the board.

    Raises:
        IncomparableError: Naming what differs and is not allowed to.
    """
    inputs, parts = run.manifest.inputs, run.manifest.parts
    found: dict[Field, tuple[str, str]] = {}
    if (limit := limit_of(run)) is not None:
        found["users"] = ("all requests", f"the first {limit:,} (--limit)")
    for table in ("interactions", "items"):
        if (have := inputs.get(table)) is not None and have != data.artifact.digest(table):
            found["data"] = (f"{table} {data.artifact.digest(table)[:8]}", f"{table} {have[:8]}")
    rule, theirs = f"{tie_rule(data)}; seed {data.tie_seed}", f"{parts.get('tie_rule')}; seed {parts.get('tie_seed')}"
    if theirs != rule:
        found["tie-rule"] = (rule, theirs)
    if inputs.get("requests") != data.artifact.digest("requests"):
        found |= _request_differences(data, run)
    found = {name: found[name] for name in FIELDS if name in found}
    return refuse_differences(found, allowed, one=data.place.reference, other=f"run {run.path.name}")


def _request_differences(data: Data, run: Artifact) -> dict[Field, tuple[str, str]]:
    """Return from a run's rankings which part of its requests differs; what is in none of them is the split."""
    requests, rankings = data.artifact.table("requests"), run.table("rankings")
    found: dict[Field, tuple[str, str]] = {}
    own, ranked = set(requests["request_id"]), set(rankings["request_id"])
    if own != ranked:
        theirs = f"{counted(len(ranked), 'user')} ({len(own & ranked):,} in common)"
        found["users"] = (counted(len(own), "user"), theirs)
    if not data.whole_catalogue:
        asked = requests.select("request_id", asked=pl.col("candidates").list.sort())
        given = rankings.group_by("request_id").agg(given=pl.col("item_id").sort())
        both = asked.join(given, on="request_id")
        if different := both.filter(pl.col("asked") != pl.col("given")).height:
            found["candidates"] = (candidate_words(data), f"{different:,} of {both.height:,} lists differ")
    return found or {"split": ("the prepared histories", "others, for the same users and candidates")}


def common_requests(metrics: pl.DataFrame, run: Artifact) -> pl.DataFrame:
    """Return the rows of the requests that a run of other users has ranked."""
    return metrics.join(run.table("rankings").select("request_id").unique(), on="request_id", how="semi")


BASELINES = (POPULARITY, "random")


@dataclass(frozen=True, slots=True)
class Comparison:
    """A board and what is behind it.

    Args:
        board: The board.
        matrix: The values behind its rows, in the same order.
        missing: The names of runs that should be on it and are not.
        entries: The runs that are on it.
        plan: How it was made.
        protocol: What stands above boards and curves alike.
        numbers: Reads, of the axes over which a row is a curve, rows (request_id, number, cutoff).
    """

    board: Board
    matrix: ScoreMatrix
    missing: tuple[str, ...]
    entries: "tuple[BoardEntry, ...]"
    plan: BoardPlan
    protocol: tuple[str, ...]
    numbers: Callable[[], Mapping[str, pl.DataFrame]] = dict

    def noted(self, notes: Sequence[str]) -> "Comparison":
        """Return it with more notes below the board."""
        return replace(self, board=replace(self.board, notes=(*self.board.notes, *notes)))


def compare(data: Data, names: Sequence[str], config: CompareConfig) -> Comparison:
    """Build the board of runs; chance and popularity are always on it. What was not evaluated yet is evaluated.

    Args:
        data: The prepared data set.
        names: Names of runs, or their first characters; none means all.
        config: Metrics, bootstrap, tests, groups.

    Raises:
        ArtifactError: If a value is not a number, or the data or the run of popularity are damaged.
        IncomparableError: If a run was made on other data, requests or tie rules, and may not differ in them.
        OptionError: If a metric, a run or a grouping is unknown.
    """
    usual = CATALOGUE_METRICS if data.whole_catalogue else BOARD_METRICS
    primary = parse_metrics(config.primary) if config.primary else []
    metrics = parse_metrics([*(config.metrics or usual), *map(str, primary)])
    groups = None if config.by is None else group_requests(data, config.by)
    data.artifact.check("requests", "truth")
    opened = ranked_runs(data, no_progress)
    runs = [run for run in opened if ranks(run)]
    whole = runs if "users" in config.allow_different else [run for run in runs if limit_of(run) is None]
    chosen = {run.path.name for run in (pick_runs(runs, names) if names else latest(whole))}
    limited = [] if names else [run.path.name for run in runs if run not in whole]
    earlier = [] if names else [run.path.name for run in whole if run.path.name not in chosen]
    wanted = [run for run in runs if run.path.name in chosen or run.manifest.name == POPULARITY]
    allowed = {run.path.name: run_notes(data, run, config.allow_different) for run in wanted}
    say_unevaluated(run.path.name for run in wanted if not is_evaluated(data, run, metrics, config.invalid))
    chance = measured(data, None, metrics, config.invalid)
    entries = [EvaluatedRun(CHANCE, CHANCE, "baseline", "", chance.metrics, exact=True, figures=chance.figures)]
    for run in wanted:
        with leaving_out(ArtifactError, named=bool(names) or run.manifest.name == POPULARITY):
            entries.append(_entry(data, run, metrics, config, differs=bool(allowed[run.path.name])))
    held = {entry.run for entry in entries}
    modest = {run.path.name for run in wanted if run.manifest.name in BASELINES or run.facts["kind"] == BOUND}
    lost = [name for name in unopened(data, opened) if not names or name.startswith(tuple(names))]
    lost += [run.path.name for run in wanted if run.path.name not in held]
    missing = [name for name in lost if names or name not in modest]
    plan = BoardPlan(
        metrics=tuple(map(str, metrics)),
        samples=config.samples,
        seed=config.seed,
        permutations=config.permutations,
        correction=config.correction,
        by=config.by or "",
        groups=groups,
        directions={str(metric): metric.direction for metric in metrics},
        primary=tuple(map(str, primary)),
        main=config.main,
        against=config.against,
        scope=scope_words(data),
        **owners(data),
    )
    kept = [run for run in wanted if run.path.name in held]
    weighed = [SUM_WORDS] if any(has_likelihoods(run) for run in kept) else []
    probed = memory_lines(data, kept)
    domains = dict.fromkeys(line for run in kept for line in example_lines(run.facts))
    protocol = (*_protocol(data, config), *weighed, *domains, *probed)
    board, matrix = build_board(
        entries,
        plan,
        title=data.place.reference,
        protocol=protocol,
        notes=[
            *(note for notes in allowed.values() for note in notes),
            *remarks(data, kept, [counted_unseen(data, run, config.invalid) for run in kept]),
            *left_out(lost),
            *(f"{name} ran with --limit: only `--allow-different users` shows it" for name in limited),
            *(f"{name} was asked again later: only `--run {name}` shows it" for name in earlier),
        ],
    )
    shown = with_published(board, data, config)
    return Comparison(shown, matrix, tuple(missing), tuple(entries), plan, protocol, partial(_numbers, data))


def _numbers(data: Data) -> dict[str, pl.DataFrame]:
    """Return what curves of one row are drawn over: windows, or quarters in time, from 1; and known events, if any."""
    from llmrs_bench.leaderboard.build_over_time import OVER_KNOWN, OVER_TIME

    times = data.artifact.table("requests").select("request_id", "cutoff")
    found: dict[str, pl.DataFrame] = {}
    if times["cutoff"].n_unique() > 1:
        groups = group_requests(data, "window").filter(pl.col("group") != UNKNOWN)
        found[OVER_TIME] = groups.select("request_id", number=pl.col("order") + 1)
    if "conditions" in data.artifact.manifest.tables:
        known = data.artifact.table("conditions").select("request_id", number="known").drop_nulls()
        found |= {OVER_KNOWN: known} if known.height else {}
    return {name: rows.join(times, on="request_id", maintain_order="left") for name, rows in found.items()}


def draw_curves(comparison: Comparison, over: str, config: CompareConfig) -> "Curves":
    """Put the runs of a board onto curves over a number; texts show the metrics that were asked for, or the main one.

    Over `time` and `cold-users` a curve is one row, and its points are other requests.

    Raises:
        OptionError: If no two runs differ in that number alone, or requests are of one time.
    """
    from llmrs_bench.leaderboard.build_curves import build_curves
    from llmrs_bench.leaderboard.build_over_time import AXES, Axis, build_over_time, check_axis

    check_axis(over)
    board = comparison.board
    if over in AXES:
        return build_over_time(
            comparison.entries,
            comparison.matrix,
            Axis(over, comparison.numbers().get(over)),
            replace(comparison.plan, metrics=board.metrics),
            title=board.title,
            protocol=comparison.protocol,
            shown=board.metrics if config.metrics else (board.key,),
            notes=board.notes,
        )
    return build_curves(
        comparison.entries,
        comparison.matrix.requests,
        over,
        replace(comparison.plan, metrics=board.metrics),
        title=board.title,
        protocol=comparison.protocol,
        shown=board.metrics if config.metrics else (board.key,),
        notes=board.notes,
    )


def owners(data: Data) -> dict[str, Any]:
    """Return what a plan says of whose requests are, where some users have several: `users`, `unit`, and `draws`."""
    asked = data.artifact.table("requests").select("request_id", "user_id")
    if asked["user_id"].is_unique().all():
        return {}
    found: dict[str, Any] = {"users": dict(asked.iter_rows()), "unit": "requests"}
    if "draws" in data.artifact.manifest.tables:
        drawn = data.artifact.table("draws")
        found["draws"] = dict(zip(drawn["request_id"], zip(drawn["asked"], drawn["draw"], strict=True), strict=True))
    return found


def _entry(
    data: Data, run: Artifact, metrics: Sequence[Metric], config: CompareConfig, *, differs: bool
) -> EvaluatedRun:
    made = measured(data, run, metrics, config.invalid)
    values = common_requests(made.metrics, run) if differs else made.metrics
    return replace(run_entry(data, run, made.counts), metrics=values, figures=made.figures)


def _release(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return when the model of a run came out and until when its data reach, as far as known."""
    return release_of(str(facts["model"]["source"]), facts.get("released"))


def run_entry(data: Data, run: Artifact, counts: Mapping[str, Any]) -> EvaluatedRun:
    """Return what a board says of a run, still without its values; `counts` are those of its evaluation."""
    facts = run.facts
    model = facts["model"]["name"] if facts["kind"] == "language model" else run.manifest.name
    if facts["kind"] == BOUND:
        model += " (no model)"
    words, (group, of) = setting_words(data, run), _group(data, run)
    seed = facts["seed"]
    if facts["kind"] == "language model" and of == TRAINING:
        seed = facts["tuned"]["seed"]
        words.pop("tune_seed", None)
    return EvaluatedRun(
        run=run.path.name,
        model=model,
        kind="baseline" if run.manifest.name in BASELINES else facts["kind"],
        setting=", ".join(words.values()),
        metrics=pl.DataFrame(schema=METRICS),
        group=group,
        factors=factors_of(data, run, model),
        about={
            **({"called": name} if (name := called(run)) else {}),
            "history": facts.get("history"),
            "fit_on": facts.get("fit_on"),
            "seed": seed,
            **({"seed_of": of} if of else {}),
            "engine": facts.get("engine"),
            **(_release(facts) if facts["kind"] == "language model" else {}),
            **{name: facts.get(name) for name in RUN_COSTS},
            **{name: round(value, 4) for name, value in facts.get("notes", {}).items()},
            **{name: count for name, count in counts.items() if name != "requests"},
            "fingerprint": run.manifest.fingerprint,
            "command": run.manifest.command,
            "made": run.manifest.started.isoformat(),
            "versions": run.manifest.versions,
            "machine": run.manifest.machine,
            "revision": facts["model"].get("revision") if facts["kind"] == "language model" else None,
            **memory_of(data, run),
        },
    )


def _group(data: Data, run: Artifact) -> tuple[str, str]:
    """Return what a run shares with runs of another seed, and what that seed is of: `training` or `sampling`.

    Texts that a tuned model samples are a row for each training.
    """
    manifest = run.manifest
    if manifest.facts["kind"] != "language model":
        config = {key: value for key, value in manifest.config.items() if key != "seed"}
        parts = {"name": manifest.name, "config": config, "inputs": manifest.inputs, "parts": manifest.parts}
        return fingerprint(parts), TRAINING
    store = data.place.answers / str(manifest.facts["answers"])
    served = read_served(store) if store.is_dir() else {}
    options, tuned = served.get("options", {}), manifest.facts.get("tuned") or {}
    if options.get("temperature"):  # else no answer depends on the seed of the engine
        shared, kind = {key: value for key, value in served.items() if key != "seed"}, SAMPLING
    elif "series" in tuned and served:
        shared = {key: value for key, value in served.items() if key not in ("model", "files")}
        shared |= {"options": {**options, "lora": None}, "training": tuned["series"]}
        kind = TRAINING
    else:
        return manifest.fingerprint, ""
    inputs = {**manifest.inputs, "answers": fingerprint(shared)}
    return fingerprint({"config": manifest.config, "inputs": inputs, "parts": manifest.parts}), kind


def _protocol(data: Data, config: CompareConfig) -> list[str]:
    facts, words = data.artifact.facts, protocol_words(data, config.invalid)
    kept, asked = facts["kept"], candidate_words(data)
    if data.artifact.manifest.config["candidates"].startswith(MODELS):
        sampled = facts["sampling"]
        asked += f"; {sampled['targets_in_lists']:,} lists hold their target ({sampled['targets_retrieved']:,} found)"
    return [
        f"{counted(kept['users'], 'user')}, {counted(kept['items'], 'item')}, "
        + counted(kept["interactions"], "interaction")
        + "".join(f", {part}" for part in filters(data))
        + ("" if facts["verified"] else " (source not verified)"),
        f"{words['split']}; {' test '.join(words['users'].rsplit(' ', 1))}",
        asked,
        *([future["words"]] if (future := facts.get("timeline")) else []),
        tie_rule(data),
        INVALID_WORDS[config.invalid],
    ]


def remarks(data: Data, runs: Sequence[Artifact], unseen: Sequence[str]) -> list[str]:
    """Return what `infer` warned of models that learn and of examples, and what models know of the data by heart.

    Of models that learned from a part it also says what they saw of the future. `unseen` says of each run how many
    targets and candidates it did not learn from.
    """
    found: dict[str, None] = {}
    counted_by: list[tuple[str, str]] = []
    whole = data.artifact.facts.get("timeline") or {}
    for run, missed in zip(runs, unseen, strict=True):
        found |= dict.fromkeys(memory_notes(data, run))
        shared, asked = shared_words(run.facts), asked_share(run)
        if run.facts["kind"] not in (*LEARNERS, "baseline") and not shared and not asked:
            continue
        words = ", ".join(setting_words(data, run).values())
        model = run.facts["model"]["name"] if shared else run.manifest.name  # learners have no examples
        label = f"{model} ({words})" if words else model
        future = run.facts.get("timeline") or {}
        counted_by.append((label, missed))
        warned = () if shared else run.facts.get("warnings", ())
        told = (each.removeprefix(run.manifest.name).lstrip(": ").partition("; --")[0] for each in warned)
        said = [*shared, *asked, *told]
        if future and future["later"] != whole.get("later"):
            said.append(future["words"].removeprefix("leaks: "))
        found |= dict.fromkeys(f"{label}: {each}" for each in said)
    return [*found, *unseen_notes(counted_by)]


def left_out(names: Sequence[str]) -> list[str]:
    """Return a note on runs that are not on the board; none where all are."""
    return [f"damaged, so not on the board: {', '.join(names)}. The warnings say what to do."] if names else []


def say_unevaluated(names: Iterable[str]) -> None:
    """Say which runs are evaluated now, if any are: a board may take a while then."""
    if found := list(names):
        log.info("not evaluated yet, so evaluated now: %s", ", ".join(found))

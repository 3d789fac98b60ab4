"""Stage `compare`: evaluated runs and saved boards, held against each other where they may be, become a board."""

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

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
    ProtocolField,
)
from llmrs_bench.core.costs import RUN_COSTS
from llmrs_bench.core.errors import ArtifactError, OptionError
from llmrs_bench.core.hashing import fingerprint
from llmrs_bench.core.registry import unknown_name
from llmrs_bench.leaderboard import (
    BOUND,
    Board,
    BoardPlan,
    EvaluatedRun,
    PublishedRow,
    PublishedTable,
    ScoreMatrix,
    build_board,
)
from llmrs_bench.leaderboard.comparability import FIELDS, EvaluationProtocol, refuse_differences, request_protocol
from llmrs_bench.metrics import DEFINITIONS, Metric, parse_metrics
from llmrs_bench.ranking import TIE_RULE
from llmrs_bench.stages.evaluate import CHANCE, POPULARITY, evaluate_command, evaluations, measured
from llmrs_bench.stages.workspace import Data, latest, leaving_out, open_runs, pick_runs, ranks, unopened

# How items count that a model was silent about, as boards say it.
INVALID_WORDS: dict[Invalid, str] = {
    "expected": "items a model is silent about stand last and count by the mean over their orders",
    "worst": "relevant items a model is silent about count as never found",
    "drop": "requests in which a model ranked nothing are left out of its row; silent items count by expectation",
}


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
        "users": f"{facts['requests']:,} users",
        "candidates": candidate_words(data),
        "tie-rule": f"{TIE_RULE}; seed {data.tie_seed}",
        "metric-definition": f"version {DEFINITIONS}, {INVALID_WORDS[invalid]}",
    }


def filters(data: Data) -> list[str]:
    """Return which events were dropped, in words."""
    options = data.artifact.manifest.config
    return [
        *([f"ratings >= {options['min_rating']:g}"] if options["min_rating"] is not None else []),
        *([f"{options['k_core']}-core"] if options["k_core"] else []),
    ]


def candidate_words(data: Data) -> str:
    """Return what requests ask to rank, in words."""
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
    return f"{options['n_candidates']} candidates: {held}{options['candidates']}, {seen}; seed {options['seed']}"


def run_notes(data: Data, run: Artifact, allowed: Sequence[str]) -> list[str]:
    """Return in what a run differs from its data set, where it is allowed to, as notes for the board.

    Raises:
        IncomparableError: Naming what differs and is not allowed to.
    """
    inputs, parts = run.manifest.inputs, run.manifest.parts
    found: dict[ProtocolField, tuple[str, str]] = {}
    for table in ("interactions", "items"):
        if (have := inputs.get(table)) is not None and have != data.artifact.digest(table):
            found["data"] = (f"{table} {data.artifact.digest(table)[:8]}", f"{table} {have[:8]}")
    rule, theirs = f"{TIE_RULE}; seed {data.tie_seed}", f"{parts.get('tie_rule')}; seed {parts.get('tie_seed')}"
    if theirs != rule:
        found["tie-rule"] = (rule, theirs)
    if inputs.get("requests") != data.artifact.digest("requests"):
        found |= _request_differences(data, run)
    found = {name: found[name] for name in FIELDS if name in found}
    return refuse_differences(found, allowed, one=data.place.reference, other=f"run {run.path.name}")


def _request_differences(data: Data, run: Artifact) -> dict[ProtocolField, tuple[str, str]]:
    """Tell from a run's rankings which part of its requests differs; what is in none of them is the split."""
    requests, rankings = data.artifact.table("requests"), run.table("rankings")
    found: dict[ProtocolField, tuple[str, str]] = {}
    own, ranked = set(requests["request_id"]), set(rankings["request_id"])
    if own != ranked:
        found["users"] = (f"{len(own):,} users", f"{len(ranked):,} users ({len(own & ranked):,} in common)")
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


UNKNOWN = "unknown"
_RELEASED = "released"
_COLD = (1, 5, 10)
_LENGTHS = (1, 5, 10, 20, 50, 100, 200)


def group_requests(data: Data, by: str) -> pl.DataFrame:
    """Put every request into a group; those of which nothing is known into `unknown`, which comes last.

    The target is the first relevant item of a request in the table of truth. Events are those of the interactions that
    models may see: no held-out event is among them.

    - `history`: how many events the user's history has, in bands.
    - `activity`: how many events the user has, in quarters of the requests; users with as many events stay together.
    - `popularity`: of the target, by its share of events (Abdollahpouri et al., FLAIRS 2019). `head`: the more popular
      items hold less than 20 % of all events; `tail`: the items that are at most as popular hold at most 20 %, as do
      items without any; `mid`: all others.
    - `cold-user`, `cold-item`: how few events the user, or the target, has: 0, 1-4, 5-9, 10 and more.
    - `category`: of the target; a request stands once in each of its categories, so that groups overlap.
    - `window`: when the request is made, in quarters of the requests; those of one time stay together.
    - `slot`: place of the target in the candidate list, from 0 as `--target-positions` counts;
      `unknown` where the list lacks it. Several orders of one request (`--candidate-orders`) count as one.
    - `year`: decade in which the target was released.
    - `released:YYYY`: whether the target was released before that year, or in it and later: against the end of a
      model's training data.

    Args:
        data: The prepared data set.
        by: One of `GROUPS`.

    Returns:
        Rows (request_id, group, order): `order` is the place of the group among all, from 0. In the order of the table
        of requests; every request is there once, but for `category`. Groups without requests are not there.

    Raises:
        OptionError: If there is no such grouping, or the data have no lists for `slot`.
    """
    name, colon, year = by.partition(":")
    if colon and name == _RELEASED and len(year) == 4 and year.isdecimal():
        return _numbered(_released(data, int(year)))
    if name not in _GROUPINGS or colon:
        raise unknown_name("group", by, list(GROUPS), hint="YYYY is a year, as in released:2023.")
    return _numbered(_GROUPINGS[name](data))


def _numbered(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows (request_id, group, key) with the place of each group in the order of the keys."""
    keys = rows.group_by("group").agg(pl.col("key").min()).sort("key", "group", nulls_last=True)
    places = keys.select("group").with_row_index("order")
    placed = rows.join(places, on="group", how="left", maintain_order="left")
    return placed.select("request_id", "group", pl.col("order").cast(pl.Int32))


def _named(rows: pl.DataFrame, group: pl.Expr, key: pl.Expr) -> pl.DataFrame:
    """Return rows (request_id, group, key); what has no group is unknown, and has no key."""
    named = rows.select("request_id", group=group, key=pl.when(group.is_not_null()).then(key.cast(pl.Float64)))
    return named.with_columns(pl.col("group").fill_null(UNKNOWN))


def _targets(data: Data) -> pl.DataFrame:
    """Return requests with the column `target`."""
    truth = data.artifact.table("truth").filter(pl.col("label") > 0)
    first = truth.unique("request_id", keep="first", maintain_order=True).select("request_id", target="item_id")
    return data.artifact.table("requests").join(first, on="request_id", how="left", maintain_order="left")


def _items(data: Data) -> pl.DataFrame:
    """Return requests with what is known of their targets."""
    items = data.artifact.table("items").select("item_id", "year", "categories")
    return _targets(data).join(items, left_on="target", right_on="item_id", how="left", maintain_order="left")


def _events(data: Data, rows: pl.DataFrame, column: str, name: str) -> pl.DataFrame:
    """Return rows with the column `events`: how often the column `name` of interactions holds what `column` says."""
    counts = data.artifact.table("interactions").group_by(name).agg(events=pl.len().cast(pl.Int64))
    counted = rows.join(counts, left_on=column, right_on=name, how="left", maintain_order="left")
    return counted.with_columns(pl.when(pl.col(column).is_not_null()).then(pl.col("events").fill_null(0)))


def _banded(rows: pl.DataFrame, column: str, starts: tuple[int, ...]) -> pl.DataFrame:
    """Group whole numbers into bands that begin at 0 and at `starts`."""
    ends = [*(start - 1 for start in starts), None]
    words = [
        f"{first}+" if last is None else str(first) if last == first else f"{first}-{last}"
        for first, last in zip((0, *starts), ends, strict=True)
    ]
    value = pl.col(column)
    band = pl.sum_horizontal([(value >= start).cast(pl.Int32) for start in starts])
    group = pl.when(value.is_not_null()).then(band.replace_strict(dict(enumerate(words)), return_dtype=pl.String))
    return _named(rows, group + " events", band)


def _history(data: Data) -> pl.DataFrame:
    requests = data.artifact.table("requests").with_columns(events=pl.col("history").list.len().cast(pl.Int64))
    return _banded(requests, "events", _LENGTHS)


def _quarters(rows: pl.DataFrame, column: str, written: pl.Expr, unit: str = "") -> pl.DataFrame:
    """Group into quarters of the rows by a number; equal ones share the quarter of the first of them.

    `written` is the number as text; a group is called by its smallest and its largest one.
    """
    value = pl.col(column)
    marked = rows.with_columns(text=written, quarter=4 * (value.rank("min") - 1) // value.count())
    first, last = (pl.col("text").sort_by(column).get(end).over("quarter") for end in (0, -1))
    group = pl.when(first == last).then(first).otherwise(first + " to " + last) + unit
    return _named(marked, pl.when(value.is_not_null()).then(group), pl.col("quarter"))


def _activity(data: Data) -> pl.DataFrame:
    rows = _events(data, data.artifact.table("requests"), "user_id", "user_id")
    return _quarters(rows, "events", pl.col("events").cast(pl.String), " events")


def _window(data: Data) -> pl.DataFrame:
    requests, time = data.artifact.table("requests"), pl.from_epoch("cutoff", "s").dt
    days = _quarters(requests, "cutoff", time.strftime("%Y-%m-%d"))
    if days["group"].n_unique() == days["key"].n_unique():
        return days
    return _quarters(requests, "cutoff", time.strftime("%Y-%m-%d %H:%M:%S"))


def _popularity(data: Data) -> pl.DataFrame:
    rows = _events(data, _targets(data), "target", "item_id")
    counts = data.artifact.table("interactions").group_by("item_id").agg(events=pl.len().cast(pl.Int64))
    levels = counts.group_by("events").agg(held=pl.col("events").sum()).sort("events")
    upto, total = pl.col("held").cum_sum(), pl.col("held").sum()
    places = levels.select(
        "events", place=pl.when(5 * (total - upto) < total).then(0).when(5 * upto > total).then(1).otherwise(2)
    )
    rows = rows.join(places, on="events", how="left", maintain_order="left")
    place = pl.when(pl.col("events").is_not_null()).then(pl.col("place").fill_null(2))
    return _named(rows, place.replace_strict({0: "head", 1: "mid", 2: "tail"}, return_dtype=pl.String), place)


def _category(data: Data) -> pl.DataFrame:
    held = pl.col("categories").list.drop_nulls().list.unique(maintain_order=True)
    rows = _items(data).with_columns(held).explode("categories", empty_as_null=True)
    return _named(rows, pl.col("categories"), pl.lit(0))


def _slot(data: Data) -> pl.DataFrame:
    if data.whole_catalogue:
        raise OptionError(
            f"{data.place.reference} has no candidate lists, so its targets have no slots", hint="Choose another group."
        )
    rows = _targets(data).explode("candidates", empty_as_null=True)
    rows = rows.with_columns(slot=pl.int_range(pl.len()).over("request_id"))
    found = rows.filter(pl.col("candidates") == pl.col("target")).select("request_id", "slot")
    rows = data.artifact.table("requests").join(found, on="request_id", how="left", maintain_order="left")
    return _named(rows, pl.col("slot").cast(pl.String), pl.col("slot"))


def _year(data: Data) -> pl.DataFrame:
    decade = pl.col("year") // 10 * 10
    return _named(_items(data), decade.cast(pl.String) + "s", decade)


def _released(data: Data, year: int) -> pl.DataFrame:
    late = pl.col("year") >= year
    group = pl.when(late).then(pl.lit(f"from {year}")).when(~late).then(pl.lit(f"before {year}"))
    return _named(_items(data), group, late)


_GROUPINGS: dict[str, Callable[[Data], pl.DataFrame]] = {
    "history": _history,
    "activity": _activity,
    "popularity": _popularity,
    "cold-user": lambda data: _banded(
        _events(data, data.artifact.table("requests"), "user_id", "user_id"), "events", _COLD
    ),
    "cold-item": lambda data: _banded(_events(data, _targets(data), "target", "item_id"), "events", _COLD),
    "category": _category,
    "window": _window,
    "slot": _slot,
    "year": _year,
}
GROUPS: tuple[str, ...] = (*_GROUPINGS, f"{_RELEASED}:YYYY")


def published_tables(dataset: str) -> list[PublishedTable]:
    """Return what was printed for a data set, in the order of files and tables.

    A row is [model, setting, values]; a value that is no number was not printed.
    """
    found = []
    for file in sorted((files("llmrs_bench") / "published").iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".toml"):
            tables = tomllib.loads(file.read_text("utf-8"))["tables"]
            found += [_table(table) for table in tables if dataset in table["data"]]
    return found


def _table(table: dict[str, Any]) -> PublishedTable:
    rows = [
        PublishedRow(model, setting, tuple(None if isinstance(value, str) else float(value) for value in values))
        for model, setting, values in table["rows"]
    ]
    return PublishedTable(table["title"], table["source"], table["protocol"], tuple(table["metrics"]), tuple(rows))


BASELINES = (POPULARITY, "random")


@dataclass(frozen=True, slots=True)
class Comparison:
    """A board, the values behind its rows in the same order, and the names of runs that should be on it and are not."""

    board: Board
    matrix: ScoreMatrix
    missing: tuple[str, ...] = ()

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
        ArtifactError: If nothing was evaluated, a value is not a number, or the data are damaged.
        IncomparableError: If a run was made on other data, requests or tie rules, and may not differ in them.
        OptionError: If a metric, a run or a grouping is unknown.
    """
    usual = CATALOGUE_METRICS if data.whole_catalogue else BOARD_METRICS
    metrics = parse_metrics(config.metrics or usual)
    groups = None if config.by is None else group_requests(data, config.by)
    opened = open_runs(data)
    runs = [run for run in opened if ranks(run)]
    chosen = {run.path.name for run in (pick_runs(runs, names) if names else latest(runs))}
    earlier = [] if names else [run.path.name for run in runs if run.path.name not in chosen]
    wanted = [run for run in runs if run.path.name in chosen or run.manifest.name == POPULARITY]
    allowed = {run.path.name: run_notes(data, run, config.allow_different) for run in wanted}
    evaluated = [run for run in wanted if evaluations(data, run, [], config.invalid)[0].done]
    hint = evaluate_command(data, metrics, config.invalid)
    if all(run.manifest.name != POPULARITY for run in evaluated):
        lacking = f"no evaluation of {POPULARITY}, which is on every board" if evaluated else "no evaluated runs"
        raise ArtifactError(f"{data.place.reference} has {lacking}", hint=hint)
    data.artifact.check("requests", "truth")
    chance = measured(data, None, metrics, config.invalid)
    entries = [EvaluatedRun(CHANCE, CHANCE, "baseline", "", chance.metrics, exact=True, figures=chance.figures)]
    for run in evaluated:
        with leaving_out(named=bool(names) or run.manifest.name == POPULARITY):
            entries.append(_entry(data, run, metrics, config, differs=bool(allowed[run.path.name])))
    idle = [run.path.name for run in wanted if run not in evaluated]
    held = {entry.run for entry in entries}
    modest = {run.path.name for run in wanted if run.manifest.name in BASELINES or run.facts["kind"] == BOUND}
    lost = [name for name in unopened(data, opened) if not names or name.startswith(tuple(names))]
    lost += [run.path.name for run in evaluated if run.path.name not in held]
    missing = [*(name for name in (*idle, *lost) if names or name not in modest)]
    board, matrix = build_board(
        entries,
        BoardPlan(
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
            *_left_out("not evaluated", idle, hint),
            *_left_out("damaged", lost, "The warnings say what to do."),
            *(f"asked again later, so shown with --run alone: {name}" for name in earlier),
        ],
    )
    if config.published:
        dataset = str(data.artifact.manifest.config["dataset"])
        tables = published_tables(dataset)
        board = replace(board, published=tuple(tables))
        if not tables:
            board = replace(board, notes=(*board.notes, f"no printed table is known for {dataset}"))
    return Comparison(board, matrix, tuple(missing))


def _entry(
    data: Data, run: Artifact, metrics: Sequence[Metric], config: CompareConfig, *, differs: bool
) -> EvaluatedRun:
    made = measured(data, run, metrics, config.invalid)
    facts = run.facts
    model = facts["model"]["name"] if facts["kind"] == "language model" else run.manifest.name
    if facts["kind"] == BOUND:
        model += " (no model)"
    return EvaluatedRun(
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
            **{name: facts.get(name) for name in RUN_COSTS},
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
    facts, words = data.artifact.facts, protocol_words(data, config.invalid)
    kept, asked = facts["kept"], candidate_words(data)
    if data.artifact.manifest.config["candidates"].startswith(MODELS):
        sampled = facts["sampling"]
        asked += f"; {sampled['targets_in_lists']:,} lists hold their target ({sampled['targets_retrieved']:,} found)"
    return [
        f"{kept['users']:,} users, {kept['items']:,} items, {kept['interactions']:,} interactions"
        + "".join(f", {part}" for part in filters(data))
        + ("" if facts["verified"] else " (source not verified)"),
        f"{words['split']}; {facts['requests']:,} test users",
        *([future["words"]] if (future := facts.get("timeline")) else []),
        asked,
        TIE_RULE,
        INVALID_WORDS[config.invalid],
    ]


def _left_out(why: str, names: Sequence[str], hint: str) -> list[str]:
    return [f"{why}, so not on the board: {', '.join(names)}. {hint}"] if names else []

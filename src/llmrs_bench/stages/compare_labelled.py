"""Stage `compare` of labelled requests: evaluated runs and the trivial rows become a board."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrs_bench.clicks.baselines import BASELINES, BASELINES_OF, baseline
from llmrs_bench.core.artifacts import Artifact
from llmrs_bench.core.config import CLICK, RATING, CompareConfig, Invalid
from llmrs_bench.core.errors import ArtifactError
from llmrs_bench.core.schemas import METRICS, SAMPLES
from llmrs_bench.leaderboard import BoardPlan, EvaluatedRun
from llmrs_bench.leaderboard.board import Factors
from llmrs_bench.leaderboard.comparability import EvaluationProtocol, Field, refuse_differences, request_protocol
from llmrs_bench.leaderboard.labelled import ANSWERED, LabelledEntry, build_labelled_board
from llmrs_bench.metrics.clicks import ClickRows, reliability
from llmrs_bench.metrics.labelled import value
from llmrs_bench.stages.compare import (
    Comparison,
    filters,
    left_out,
    protocol_words,
    remarks,
    run_entry,
    say_unevaluated,
    scope_words,
)
from llmrs_bench.stages.evaluate_labelled import (
    METRICS_OF,
    MeasuredRows,
    has_runs,
    is_evaluated,
    is_measured,
    measured_labelled,
    silent_words,
    user_numbers,
)
from llmrs_bench.stages.groups import group_requests
from llmrs_bench.stages.printed import with_published
from llmrs_bench.stages.probed import memory_lines
from llmrs_bench.stages.workspace import Data, latest, leaving_out, limit_of, open_runs, pick_runs, unopened

FEW_USERS = 100
_TOGETHER = "intervals and tests keep the rows of a user together"
TIES = {CLICK: f"equal scores count half; {_TOGETHER}", RATING: _TOGETHER}


def labelled_protocol(data: Data, invalid: Invalid) -> EvaluationProtocol:
    """Return what boards of labelled requests have in common, user by user."""
    truth = data.artifact.table("truth").select("request_id", "label")
    rows = data.labelled_rows().filter(pl.col("part") == "test").join(truth, on="request_id").sort("request_id")
    told = (
        pl.col("history").list.join("\x1e")
        + "\x1e"
        + pl.col("liked").cast(pl.List(pl.Int8)).cast(pl.List(pl.String)).list.join("")
    )
    users = rows.group_by("user_id").agg(
        candidates=pl.format("{}={}", "item_id", pl.col("label").cast(pl.Int8) if data.task == CLICK else "label"),
        cutoff=pl.col("cutoff").min(),
        history=pl.format("{}\x1e{}", "cutoff", told),
    )
    test = data.parts["test"]
    fields = {
        **protocol_words(data, invalid),
        "task": data.task,
        "users": f"{users.height:,} users, {rows.height:,} rows",
        "candidates": (
            f"{test['liked']:,} of {test['rows']:,} rows are liked"
            if data.task == CLICK
            else f"{test['rows']:,} rows, rated {test['mean']:.4f} on average"
        ),
        "tie-rule": TIES[data.task],
        "metric-definition": f"{data.task}s, version {METRICS_OF[data.task].definitions}, "
        + silent_words(data.task, invalid),
    }
    return request_protocol(users.rename({"user_id": "request_id"}), fields)


def compare_labelled(data: Data, names: Sequence[str], config: CompareConfig) -> Comparison:
    """Build the board of runs on labelled requests, with all trivial rows. What lacks an evaluation gets it.

    Args:
        data: The prepared data set, of the task `click` or `rating`.
        names: Names of runs, or their first characters; none means all.
        config: Metrics, bootstrap, tests, groups, and how often labels are permuted.

    Raises:
        ArtifactError: If the data are damaged.
        IncomparableError: If a run was made on other data or requests, and may not differ in them.
        OptionError: If a metric, a run or a grouping is unknown.
    """
    known = METRICS_OF[data.task]
    primary = known.parse(config.primary) if config.primary else ()
    metrics = known.parse([*(config.metrics or known.board), *primary])
    groups = None if config.by is None else group_requests(data, config.by)
    opened = open_runs(data) if has_runs(data) or names else []
    runs = [run for run in opened if is_measured(run)]
    wanted = pick_runs(runs, names) if names else latest(runs)
    earlier = [] if names else [run.path.name for run in runs if run not in wanted]
    notes = [note for run in wanted for note in _run_notes(data, run, config.allow_different)]
    data.artifact.check("requests", "outcomes", "truth")
    say_unevaluated(run.path.name for run in wanted if not is_evaluated(data, run, config.invalid))
    users = user_numbers(data)
    trivial = BASELINES_OF[data.task]
    measured = [(_trivial(data, name), measured_labelled(data, name, config.invalid)) for name in trivial]
    for run in wanted:
        with leaving_out(ArtifactError, named=bool(names)):
            made = measured_labelled(data, run, config.invalid)
            measured.append((run_entry(data, run, _counts(made)), made))
    held = {entry.run for entry, _ in measured}
    lost = [name for name in unopened(data, opened) if not names or name.startswith(tuple(names))]
    lost += [run.path.name for run in wanted if run.path.name not in held]
    entries = [_labelled_entry(entry, made, users) for entry, made in measured]
    if config.null:
        nulls = null_uaucs(data, entries, users, samples=config.null, seed=config.seed)
        entries = [_with_about(each, uauc_null=null) for each, null in zip(entries, nulls, strict=True)]
    plan = BoardPlan(
        metrics=metrics,
        samples=config.samples,
        seed=config.seed,
        permutations=config.permutations,
        correction=config.correction,
        by=config.by or "",
        groups=groups,
        directions={name: "lower" for name in metrics if name in known.lower},
        unit="rows",
        primary=primary,
        main=config.main,
        against=config.against,
        scope=scope_words(data),
    )
    kept = [run for run in wanted if run.path.name in held]
    missed = {entry.run: made.facts.get("unseen", {}).get("words", "") for entry, made in measured}
    probed = memory_lines(data, kept)
    protocol = (*_protocol_lines(data, measured[0][1], config), *probed)
    board, matrix = build_labelled_board(
        entries,
        users,
        plan,
        main_metric=known.board[0],
        title=data.place.reference,
        protocol=protocol,
        notes=[
            *notes,
            *_warnings(data, len(users), measured, config),
            *remarks(data, kept, [missed.get(run.path.name, "") for run in kept]),
            *left_out(lost),
            *(f"{name} was asked again later: only `--run {name}` shows it" for name in earlier),
            *(
                f"asked with --limit, so on no board of {data.task}s: {run.path.name}"
                for run in opened
                if limit_of(run)
            ),
        ],
    )
    shown = with_published(board, data, config)
    return Comparison(shown, matrix, tuple(lost), tuple(entries), plan, protocol)


def _run_notes(data: Data, run: Artifact, allowed: Sequence[str]) -> list[str]:
    """Return in what a run differs from its data set, where it is allowed to; its requests may not.

    Raises:
        IncomparableError: Naming what differs and is not allowed to.
    """
    found: dict[Field, tuple[str, str]] = {}
    for table in ("interactions", "samples", "items", "outcomes"):
        if (have := run.manifest.inputs.get(table)) not in (None, data.artifact.digest(table)):
            found["data"] = (f"{table} {data.artifact.digest(table)[:8]}", f"{table} {str(have)[:8]}")
    asked = data.artifact.digest("requests")
    if (have := run.manifest.inputs.get("requests")) != asked:
        found["users"] = (f"requests {asked[:8]}", f"requests {str(have)[:8]}")
        allowed = [name for name in allowed if name != "users"]
    return refuse_differences(found, allowed, one=data.place.reference, other=f"run {run.path.name}")


def _trivial(data: Data, name: str) -> EvaluatedRun:
    rows = data.parts["train"]["rows"]
    factors = Factors(name, numbers={"train_fraction": 1.0, "train_events": float(rows)}, whole=True)
    empty = pl.DataFrame(schema=METRICS)
    return EvaluatedRun(run=name, model=name, kind="baseline", setting="", metrics=empty, factors=factors)


def _counts(made: MeasuredRows) -> dict[str, Any]:
    names = ("requests_without_ranking", "requests_unanswered", "requests_dropped", "valid_rows_silent")
    return {name: made.facts[name] for name in names}


def _labelled_entry(entry: EvaluatedRun, made: MeasuredRows, users: Sequence[str]) -> LabelledEntry:
    requests, rows = made.rows(users)
    counts = _counts(made)
    unscored = counts["requests_without_ranking"] + counts["requests_unanswered"]
    found = LabelledEntry(entry, requests, rows)
    answered, fitted = {ANSWERED: 1.0 - unscored / made.facts["requests"]}, made.facts["calibration"]
    if not isinstance(rows, ClickRows):
        return _with_about(found, **answered, calibration=fitted)
    bins = {
        name: [asdict(each) for each in reliability(rows.labels, probability)]
        for name, probability in (("raw", rows.raw), ("calibrated", rows.calibrated))
        if probability is not None
    }
    return _with_about(
        found,
        **answered,
        calibration=None if fitted is None else {**fitted, "temperature": _inverse(fitted["slope"])},
        reliability=bins,
    )


def _inverse(slope: float) -> float | None:
    return 1.0 / slope if slope else None


def _with_about(found: LabelledEntry, **more: Any) -> LabelledEntry:
    return replace(found, entry=replace(found.entry, about={**found.entry.about, **more}))


def _protocol_lines(data: Data, made: MeasuredRows, config: CompareConfig) -> Iterator[str]:
    facts, train, found = data.artifact.facts, data.parts["train"], made.facts
    click = data.task == CLICK
    taught = (
        f"{_share(train['liked'], train['rows'])} liked"
        if click
        else f"rated {train['mean']:.3f} on average, sd {train['sd']:.3f}"
    )
    yield (
        f"{data.task} prediction; to learn from: {train['rows']:,} rows of {train['users']:,} users and "
        f"{train['items']:,} items, {taught}"
        + "".join(f", {part}" for part in filters(data))
        + ("" if facts["verified"] else " (source not verified)")
    )
    tested = f"test: {found['requests']:,} rows of {found['users']:,} users, "
    if click:
        yield (
            f"{tested}{_share(found['positives'], found['requests'])} liked; "
            f"uauc over {found['users_in_uauc']:,} users, those with rows of both labels"
        )
    else:
        least, greatest = found["scale"]
        yield (
            f"{tested}rated {found['label_mean']:.3f} on average, sd {found['label_sd']:.3f}; "
            f"scale {least:g} to {greatest:g}"
        )
    yield facts["split_words"]
    if future := facts.get("timeline"):
        yield future["words"]
    if not found["valid_rows"]:
        yield "no validation rows: nothing is calibrated"
    elif click:
        yield (
            f"-calibrated, -tuned: temperature, offset, threshold fitted on {found['valid_rows']:,} validation rows "
            "alone"
        )
    else:
        yield f"-calibrated: a line of the prediction, fitted on {found['valid_rows']:,} validation rows alone"
    yield TIES[data.task]
    yield silent_words(data.task, config.invalid)


def _share(part: float, whole: float) -> str:
    return f"{100 * part / max(whole, 1):.1f} %"


def _warnings(
    data: Data, users: int, measured: Sequence[tuple[EvaluatedRun, MeasuredRows]], config: CompareConfig
) -> Iterator[str]:
    """Say what readers of this board have to know before they compare its rows."""
    if users < FEW_USERS:
        yield f"the test has {users:,} users: intervals are wide, and below {FEW_USERS} users no more than a sketch"
    for entry, made in measured:
        facts = made.facts
        label = f"{entry.model} ({entry.setting})" if entry.setting else entry.model
        if facts["constant"] and entry.model not in ("majority", "global-mean"):
            yield f"{label}: the same score for all rows" + (
                ", so its auc is .5 whatever they are" if data.task == CLICK else ""
            )
        if outside := facts.get("outside"):
            least, greatest = facts["scale"]
            yield (
                f"{label}: {outside:,} of {facts['requests']:,} predictions are outside of the scale {least:g} to "
                f"{greatest:g}; they count as they are, but for -calibrated"
            )
        unscored = facts["requests_without_ranking"] + facts["requests_unanswered"]
        if unscored:
            left_out = "; tests against it compare other rows of a user" if config.invalid == "drop" else ""
            yield f"{label}: {unscored:,} of {facts['requests']:,} rows have no score{left_out}"
    if not config.null and data.task == CLICK:
        yield (
            "uauc has no chance level of .5 for a row that reads what the user liked before: "
            f"`llmrs-bench compare --dataset {data.place.reference} --null 20` permutes labels within users and shows "
            "each row's own"
        )


def null_uaucs(
    data: Data, entries: Sequence[LabelledEntry], users: Sequence[str], *, samples: int, seed: int
) -> list[dict[str, Any]]:
    """Return the UAUC of each row where labels of test rows are permuted within users: the level that is chance.

    Trivial rows are made again, from histories in which test rows have their permuted labels. The scores of a run stay
    as they are: where its prompts or inputs show labels of earlier test rows, its own null would need new answers.

    Args:
        data: The prepared data set.
        entries: The rows of the board.
        users: The users of their numbers.
        samples: How many permutations.
        seed: Of the permutations.

    Returns:
        For each entry `mean`, `low` and `high` (the least and the most), `permutations`, and `histories`: `anew` or
        `fixed`.
    """
    asked = data.labelled_rows().filter(pl.col("part") == "test")
    labels = asked.join(data.artifact.table("truth"), on="request_id", how="left", maintain_order="left")["label"]
    permuted = PermutedHistories(asked, labels.to_numpy() > 0)
    learnt = data.artifact.table("samples")
    numbers = np.array([users.index(name) for name in asked["user_id"]], dtype=np.intp)
    places = {name: at for at, name in enumerate(asked["request_id"])}
    at_rows = [np.array([places[name] for name in each.requests], dtype=np.intp) for each in entries]
    generator = np.random.default_rng(seed)
    drawn = np.empty((len(entries), samples))
    for sample in range(samples):
        found, told = permuted.draw(generator)
        for place, entry in enumerate(entries):
            if entry.entry.run in BASELINES:
                scores = baseline(entry.entry.run, learnt, told)["score"].to_numpy()
                rows = ClickRows(numbers, len(users), found, scores)
            else:
                assert isinstance(entry.rows, ClickRows)
                rows = entry.rows.relabelled(found[at_rows[place]])
            drawn[place, sample] = value(rows, "uauc")
    return [
        {
            "mean": float(values.mean()),
            "low": float(values.min()),
            "high": float(values.max()),
            "permutations": samples,
            "histories": "anew" if entry.entry.run in BASELINES else "fixed",
        }
        for entry, values in zip(entries, drawn, strict=True)
    ]


class PermutedHistories:
    """Test rows whose labels change places within users, in their histories too.

    Args:
        asked: The test rows, as `Data.labelled_rows` has them.
        labels: (rows,) whether each item was liked.
    """

    def __init__(self, asked: pl.DataFrame, labels: NDArray[np.bool_]) -> None:
        self.asked = asked.select(name for name in SAMPLES if name not in ("label", "liked"))
        self.labels = labels
        self.users = asked["user_id"].rank("dense").to_numpy()
        self.by_user = np.argsort(self.users, kind="stable")
        told = asked.select("user_id", "history", "liked").explode("history", "liked", empty_as_null=True)
        own = (
            asked.select("user_id", history="item_id")
            .with_row_index("row")
            .unique(["user_id", "history"], keep="first")
        )
        matched = told.join(own, on=["user_id", "history"], how="left", maintain_order="left")
        self.told = matched["liked"]
        self.sources = matched["row"].cast(pl.Int64).fill_null(-1).to_numpy()
        self.sizes = asked["history"].list.len()

    def draw(self, generator: np.random.Generator) -> tuple[NDArray[np.bool_], pl.DataFrame]:
        """Return permuted labels (rows,), and the rows with the histories that go with them."""
        order = np.lexsort((generator.random(len(self.labels)), self.users))
        labels = np.empty_like(self.labels)
        labels[self.by_user] = self.labels[order]
        known = pl.Series(labels[self.sources])
        liked = pl.select(pl.when(pl.Series(self.sources >= 0)).then(known).otherwise(self.told)).to_series()
        rows = np.repeat(np.arange(len(self.labels)), np.maximum(self.sizes.to_numpy(), 1))
        lists = pl.DataFrame({"row": rows, "liked": liked}).group_by("row", maintain_order=True).agg("liked")
        return labels, self.asked.with_columns(liked=lists["liked"].list.drop_nulls())

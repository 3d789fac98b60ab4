"""A board built from evaluated runs: values aligned by request, intervals and tests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isnan
from typing import Any, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrs_bench.core.errors import ArtifactError, IncomparableError, OptionError
from llmrs_bench.leaderboard.board import (
    ALPHA,
    BOUND,
    COST_WORDS,
    SHARES,
    SIGN,
    Board,
    Cell,
    Contrast,
    Direction,
    EvaluatedRun,
    Row,
    Section,
    cost_of,
    with_front,
)
from llmrs_bench.stats import CORRECTIONS, all_pairs, bootstrap_interval, describe, sign_flip


@dataclass(frozen=True, slots=True)
class RunScores:
    """A row before it is summed up: one run, or those that differ by their seed alone.

    `means` holds the mean of each run over the requests, by metric, or its figure where it is one of the whole run.
    """

    run: str
    runs: tuple[str, ...]
    model: str
    kind: str
    setting: str
    exact: bool
    about: Mapping[str, Any]
    means: Mapping[str, tuple[float, ...]]

    @property
    def is_bound(self) -> bool:
        """Whether it is no model but a bound that reads the targets: shown, and held against nothing."""
        return self.kind == BOUND

    @property
    def label(self) -> str:
        """Model and setting: what a row is called where it is looked for again."""
        return f"{self.model} ({self.setting})" if self.setting else self.model


@dataclass(frozen=True, slots=True)
class ScoreMatrix:
    """The values of all rows: by metric an array (lines, requests), NaN where a line was not measured on a request.

    Metrics of whole runs are in `Line.means` alone.
    """

    requests: tuple[str, ...]
    lines: tuple[RunScores, ...]
    values: Mapping[str, NDArray[np.float64]]

    def ordered(self, order: Sequence[int]) -> "ScoreMatrix":
        """Return the lines in another order."""
        places = list(order)
        return ScoreMatrix(
            self.requests,
            tuple(self.lines[place] for place in places),
            {metric: values[places] for metric, values in self.values.items()},
        )


def score_matrix(entries: Sequence[EvaluatedRun], metrics: Sequence[str]) -> ScoreMatrix:
    """Gather the values of entries; those of runs that differ by their seed are averaged, request by request.

    Raises:
        OptionError: If a metric was not measured.
        ArtifactError: If a value is not a number.
    """
    whole = [metric for metric in metrics if any(metric in entry.figures for entry in entries)]
    named = [metric for metric in dict.fromkeys([*metrics, *SHARES]) if metric not in whole]
    groups: dict[str, list[EvaluatedRun]] = {}
    for entry in entries:
        groups.setdefault(entry.group or entry.run, []).append(entry)
    frames = [entry.metrics.filter(pl.col("metric").is_in(named)) for entry in entries]
    places = pl.concat([frame.select("request_id") for frame in frames]).unique().sort("request_id").with_row_index()
    requests = places.height
    values = {metric: np.full((len(groups), requests), np.nan) for metric in named}
    lines = []
    for row, group in enumerate(groups.values()):
        means = {metric: tuple(_figure(entry, metric) for entry in group) for metric in whole}
        runs = [_values(entry, named, places) for entry in group]
        for metric in named:
            seeds = np.stack([run[metric] for run in runs])
            values[metric][row] = seeds.mean(0)  # NaN where a seed lacks the request
            there = ~np.isnan(values[metric][row])
            means[metric] = tuple(float(seed[there].mean()) if there.any() else float("nan") for seed in seeds)
        lines.append(_line(group, means))
    return ScoreMatrix(tuple(places["request_id"]), tuple(lines), values)


def _values(entry: EvaluatedRun, metrics: Sequence[str], places: pl.DataFrame) -> dict[str, NDArray[np.float64]]:
    """Return the values of metrics at the places of their requests, NaN where there is none."""
    rows = entry.metrics.filter(pl.col("metric").is_in(metrics)).join(places, on="request_id")
    parts = {name: part for (name,), part in rows.partition_by("metric", as_dict=True).items()}
    found = {}
    for metric in metrics:
        if metric not in parts:
            known = ", ".join(entry.metrics["metric"].unique().sort())
            raise OptionError(
                f"the metric {metric!r} was not measured for {entry.run}", hint=f"Measured: {known or 'nothing'}."
            )
        values, broken = parts[metric]["value"].to_numpy(), ~parts[metric]["value"].is_finite().fill_null(False)
        if broken.any():
            raise ArtifactError(
                f"{entry.run}: {metric} is not a number for {broken.sum():,} of {len(values):,} requests, "
                f"among them {parts[metric].filter(broken)['request_id'][0]}",
                hint="Delete its evaluation and run `llmrs-bench evaluate` again.",
            )
        found[metric] = np.full(places.height, np.nan)
        found[metric][parts[metric]["index"].to_numpy()] = values
    return found


def _figure(entry: EvaluatedRun, metric: str) -> float:
    if metric not in entry.figures:
        raise OptionError(
            f"the metric {metric!r} was not measured for {entry.run}", hint=f"Measured: {', '.join(entry.figures)}."
        )
    return entry.figures[metric]


def _line(group: Sequence[EvaluatedRun], means: Mapping[str, tuple[float, ...]]) -> RunScores:
    entry, seeds = group[0], len(group)
    setting = [entry.setting] if entry.setting else []
    about = dict(entry.about)
    if seeds > 1:
        setting.append(f"{seeds} seeds")
        about |= {
            "seed": [other.about.get("seed") for other in group],
            "seconds": sum(other.about.get("seconds") or 0.0 for other in group) / seeds,
        }
    elif about.get("seed"):
        setting.append(f"seed {about['seed']}")
    return RunScores(
        run=entry.run,
        runs=tuple(other.run for other in group),
        model=entry.model,
        kind=entry.kind,
        setting=", ".join(setting),
        exact=entry.exact,
        about=about,
        means=means,
    )


# The smallest p is 1/(permutations + 1): so many permutations for each test leave room below .05 after a correction.
_PER_TEST = 25
_FEWEST, _MOST = 10_000, 1_000_000
_CORRECTION_WORDS = {"holm": "Holm", "bh": "Benjamini-Hochberg", "none": "no correction"}


@dataclass(frozen=True, slots=True)
class BoardPlan:
    """How a board is made.

    Args:
        metrics: Names of the columns.
        samples: Resamples of the bootstrap.
        seed: Of resamples and permutations.
        permutations: Sign vectors of the tests; None: 25 for each test, at least 10,000 and at most 1,000,000.
        correction: `holm`, `bh` or `none`.
        by: What `groups` groups requests by.
        groups: Rows (request_id, group, order); None: no groups are shown.
        directions: Which values of a metric are better; more is, where it is silent.
    """

    metrics: tuple[str, ...]
    samples: int = 2000
    seed: int = 0
    permutations: int | None = None
    correction: str = "holm"
    by: str = ""
    groups: pl.DataFrame | None = None
    directions: Mapping[str, Direction] = field(default_factory=dict)

    def sign(self, metric: str) -> float:
        """Return 1 where more of a metric is better, -1 where less is, 0 where neither is."""
        return SIGN[self.directions.get(metric, "higher")]

    def resamples(self, tests: int) -> int:
        """Return how many permutations so many tests get."""
        return self.permutations or min(max(_FEWEST, _PER_TEST * tests), _MOST)


def explained(plan: BoardPlan, tests: int, permutations: int, pareto_by: str) -> list[str]:
    """Say how intervals and tests were made, and what the marks mean."""
    return [
        f"95 % percentile bootstrap over users, {plan.samples:,} samples",
        f"=: not distinguishable from the best of its column (paired sign-flip test, {permutations:,} permutations, "
        f"{_CORRECTION_WORDS[plan.correction]} over all {tests:,} pairs, p >= {ALPHA:g})",
        f"*: on the Pareto front of quality and {COST_WORDS[pareto_by]}",
    ]


def coverage_notes(matrix: ScoreMatrix, plan: BoardPlan, key: str) -> list[str]:
    """Say which rows were measured on fewer requests; tests use those that both rows have."""
    notes = ["one request: no interval, and every p is 1"] if len(matrix.requests) == 1 else []
    for line, values in zip(matrix.lines, matrix.values[key], strict=True):
        if missing := int(np.isnan(values).sum()):
            notes.append(
                f"{line.label}: {key} over {values.size - missing:,} of {values.size:,} requests; "
                "tests use the requests both rows have"
            )
    return notes


def server_notes(matrix: ScoreMatrix) -> list[str]:
    """Say which rows hold prompts that a server did not answer; they count as empty answers."""
    words = {
        "unanswered": "prompts got no answer from the server (-O unanswered)",
        "filtered": "prompts or answers were stopped by the server's content filter",
    }
    return [
        f"{line.label}: {count:,} {said}"
        for line in matrix.lines
        for name, said in words.items()
        if (count := line.about.get(name))
    ]


def power_notes(plan: BoardPlan, tests: int, permutations: int) -> list[str]:
    """Say where so few permutations cannot reach a corrected p below .05."""
    if plan.correction == "none" or tests < ALPHA * (permutations + 1):
        return []
    return [
        f"{permutations:,} permutations are too few for {tests:,} tests: the smallest p is "
        f"{1 / (permutations + 1):.1g}. Add --permutations {_PER_TEST * tests}"
    ]


@dataclass(frozen=True, slots=True)
class TableBlock:
    """The columns of a sheet that stand together: all requests, or those of a group."""

    by: str
    group: str
    places: NDArray[np.intp]


Table: TypeAlias = list[dict[str, Cell]]


def fill_tables(matrix: ScoreMatrix, blocks: Sequence[TableBlock], plan: BoardPlan) -> tuple[list[Table], int, int]:
    """Return for each block the cells of each line, the number of tests, and that of permutations."""
    models = np.array([at for at, line in enumerate(matrix.lines) if not line.is_bound], dtype=np.intp)
    pairs = models[all_pairs(len(models))]
    metrics = [metric for metric in plan.metrics if metric in matrix.values]
    tests = pairs.shape[0] * len(metrics) * len(blocks)
    permutations = plan.resamples(tests)
    stacks = [np.stack([matrix.values[metric] for metric in metrics])[:, :, block.places] for block in blocks]
    p = np.stack([sign_flip(stack, pairs, samples=permutations, seed=plan.seed) for stack in stacks])
    corrected = CORRECTIONS[plan.correction](p)
    places = {(int(i), int(j)): number for number, (i, j) in enumerate(pairs)}
    tables = []
    for stack, own, adjusted in zip(stacks, p, corrected, strict=True):
        flat = stack.reshape(-1, stack.shape[2])
        ends = bootstrap_interval(flat, samples=plan.samples, seed=plan.seed).reshape(*stack.shape[:2], 2)
        table: Table = [{} for _ in matrix.lines]
        for number, metric in enumerate(metrics):
            tested = {pair: (float(own[number, at]), float(adjusted[number, at])) for pair, at in places.items()}
            _fill(table, matrix.lines, metric, stack[number], ends[number], tested, plan.sign(metric))
        tables.append(table)
    return tables, tests, permutations


def _fill(
    table: Table,
    lines: Sequence[RunScores],
    metric: str,
    values: NDArray[np.float64],
    ends: NDArray[np.float64],
    tested: Mapping[tuple[int, int], tuple[float, float]],
    sign: float,
) -> None:
    """Add the cells of one metric; lines without a value get none."""
    counts = (~np.isnan(values)).sum(1)
    means = {at: float(np.nanmean(values[at])) for at in range(len(values)) if counts[at]}
    models = [at for at in means if not lines[at].is_bound]
    best = max(models, key=lambda at: sign * means[at], default=None) if sign else None
    for at, mean in means.items():
        line = lines[at]
        low, high = (mean, mean) if line.exact else (float(ends[at, 0]), float(ends[at, 1]))
        known = line.exact or (counts[at] > 1 and not isnan(low))
        versus = (
            None
            if best in (None, at) or line.is_bound
            else _contrast(values, lines, at, best, tested[min(at, best), max(at, best)])
        )
        table[at][metric] = Cell(
            mean=mean,
            low=low if known else None,
            high=high if known else None,
            rank=1 + sum(sign * means[other] > sign * mean for other in models) if sign and not line.is_bound else 0,
            versus=versus,
        )


def _contrast(
    values: NDArray[np.float64], lines: Sequence[RunScores], at: int, best: int, tested: tuple[float, float]
) -> Contrast:
    found = describe(values[at], values[best])
    if not found.users:
        raise IncomparableError(
            f"{lines[at].run} and {lines[best].run} have no request in common",
            hint="Leave one of them out with --run.",
        )
    return Contrast(
        lines[best].run,
        found.difference,
        *tested,
        found.effect,
        found.wins,
        found.ties,
        found.losses,
        found.users,
        found.needed,
    )


def figures(matrix: ScoreMatrix, plan: BoardPlan) -> Table:
    """Return for each line the cells of metrics of whole runs: ranked, without interval or test."""
    table: Table = [{} for _ in matrix.lines]
    for metric in (metric for metric in plan.metrics if metric not in matrix.values):
        sign, means = plan.sign(metric), [float(np.mean(line.means[metric])) for line in matrix.lines]
        models = [mean for line, mean in zip(matrix.lines, means, strict=True) if not line.is_bound]
        for line, cells, mean in zip(matrix.lines, table, means, strict=True):
            ranked = sign and not line.is_bound
            rank = 1 + sum(sign * other > sign * mean for other in models) if ranked else 0
            cells[metric] = Cell(mean, None, None, rank=rank)
    return table


def with_spread(line: RunScores, cells: Mapping[str, Cell]) -> dict[str, Cell]:
    """Add the standard deviation over seeds, where there are several."""
    if len(line.runs) == 1:
        return dict(cells)
    return {name: replace(cell, spread=float(np.std(line.means[name], ddof=1))) for name, cell in cells.items()}


def build_board(
    entries: Sequence[EvaluatedRun], plan: BoardPlan, *, title: str, protocol: Sequence[str], notes: Sequence[str]
) -> tuple[Board, ScoreMatrix]:
    """Put runs onto one board, sorted by `ndcg@10` or else the first metric; also return the values behind its rows.

    Intervals are percentile bootstrap intervals over users, from the same resamples for all rows. The best row of a
    metric is chosen by looking, so p-values are corrected for all pairs of rows, not for those with the best alone:
    of twenty copies of one row some would else differ from the best on one board in six (benchmarks/calibration.py).

    Raises:
        OptionError: If a metric was not measured or cannot order rows, or groups hold none of the requests.
        ArtifactError: If a value is not a number.
        IncomparableError: If two rows have no request in common.
    """
    matrix = score_matrix(entries, plan.metrics)
    key = "ndcg@10" if "ndcg@10" in plan.metrics else plan.metrics[0]
    if key not in matrix.values:
        raise OptionError(f"no row can be ordered by {key}, a figure of whole runs", hint="Name another metric first.")
    matrix = matrix.ordered(_order(matrix, key, plan.sign(key)))
    blocks = [TableBlock("", "", np.arange(len(matrix.requests))), *_groups(matrix, plan)]
    tables, tests, permutations = fill_tables(matrix, blocks, plan)
    whole_runs = figures(matrix, plan)
    whole = [
        _row(line, with_spread(line, cells | whole_runs[place]), matrix, place, blocks[0])
        for place, (line, cells) in enumerate(zip(matrix.lines, tables[0], strict=True))
    ]
    rows, pareto_by = with_front(whole, key, plan.sign(key))
    sections = [
        Section(
            block.by,
            block.group,
            len(block.places),
            tuple(
                _row(line, cells, matrix, place, block)
                for place, (line, cells) in enumerate(zip(matrix.lines, table, strict=True))
                if cells
            ),
        )
        for block, table in zip(blocks[1:], tables[1:], strict=True)
    ]
    board = Board(
        title=title,
        protocol=(*protocol, *explained(plan, tests, permutations, pareto_by)),
        metrics=plan.metrics,
        rows=tuple(rows),
        notes=(
            *(*notes, *server_notes(matrix), *coverage_notes(matrix, plan, key)),
            *power_notes(plan, tests, permutations),
        ),
        key=key,
        pareto_by=pareto_by,
        correction=plan.correction,
        tests=tests,
        permutations=permutations,
        sections=tuple(sections),
        directions=plan.directions,
    )
    return board, matrix


def _order(matrix: ScoreMatrix, key: str, sign: float) -> list[int]:
    means = [
        -(sign or 1.0) * float(np.nanmean(row)) if (~np.isnan(row)).any() else float("inf")
        for row in matrix.values[key]
    ]
    lines = matrix.lines
    return sorted(range(len(lines)), key=lambda at: (means[at], lines[at].model, lines[at].setting, lines[at].run))


def _groups(matrix: ScoreMatrix, plan: BoardPlan) -> list[TableBlock]:
    if plan.groups is None:
        return []
    index = pl.DataFrame({"request_id": matrix.requests}).with_row_index("place")
    found = plan.groups.join(index, on="request_id").drop_nulls("group").sort("order", "group", "place")
    if not found.height:
        raise OptionError(
            f"--by {plan.by}: none of the {len(matrix.requests):,} requests is in a group",
            hint="Choose another grouping; this data set does not know what this one needs.",
        )
    return [
        TableBlock(plan.by, str(name), part["place"].to_numpy().astype(np.intp))
        for (name,), part in found.group_by(["group"], maintain_order=True)
    ]


def _row(line: RunScores, cells: Mapping[str, Cell], matrix: ScoreMatrix, place: int, block: TableBlock) -> Row:
    kinds = line.about.get("kinds") or {}
    total = sum(kinds.values())
    there = [values[place, block.places] for name, values in matrix.values.items() if name not in SHARES]
    return Row(
        run=line.run,
        model=line.model,
        kind=line.kind,
        setting=line.setting,
        cells=cells,
        shares={share: _mean(matrix.values[share][place, block.places]) for share in SHARES},
        exact=line.exact,
        about=line.about,
        seeds=len(line.runs),
        users=max((int((~np.isnan(values)).sum()) for values in there), default=0),
        kinds={kind: count / total for kind, count in kinds.items()},
        cost=cost_of(line.about),
    )


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else 0.0

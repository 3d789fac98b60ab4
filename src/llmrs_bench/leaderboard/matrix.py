"""The values behind a board: an array of lines and requests for each metric."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrs_bench.core.errors import ArtifactError, OptionError
from llmrs_bench.leaderboard.board import BOUND, SHARES, Cell, EvaluatedRun


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

    Metrics of whole runs are in `Line.means` alone. `users` numbers the user of each request where some have several,
    which are not independent; None: each request is of another user.
    """

    requests: tuple[str, ...]
    lines: tuple[RunScores, ...]
    values: Mapping[str, NDArray[np.float64]]
    users: NDArray[np.intp] | None = None

    @property
    def n_users(self) -> int:
        """How many users the requests are of."""
        return len(self.requests) if self.users is None else len(np.unique(self.users))

    @property
    def n_measured(self) -> tuple[int, ...]:
        """On how many of the requests each line was measured, whatever a policy leaves out of its means."""
        return tuple(int(count) for count in (~np.isnan(self.values[SHARES[0]])).sum(1))

    def ordered(self, order: Sequence[int]) -> "ScoreMatrix":
        """Return the lines in another order."""
        places = list(order)
        return ScoreMatrix(
            self.requests,
            tuple(self.lines[place] for place in places),
            {metric: values[places] for metric, values in self.values.items()},
            self.users,
        )

    def at(self, places: NDArray[np.intp]) -> "ScoreMatrix":
        """Return the values of some requests."""
        requests = tuple(self.requests[place] for place in places)
        values = {name: each[:, places] for name, each in self.values.items()}
        return ScoreMatrix(requests, self.lines, values, None if self.users is None else self.users[places])


def score_matrix(
    entries: Sequence[EvaluatedRun], metrics: Sequence[str], users: Mapping[str, str] | None = None
) -> ScoreMatrix:
    """Gather the values of entries; those of runs that differ by their seed are averaged, request by request.

    Args:
        entries: The runs.
        metrics: What is gathered.
        users: The user of each request, where some have several.

    Raises:
        OptionError: If a metric was not measured.
        ArtifactError: If a value is not a number.
    """
    whole = [metric for metric in metrics if any(metric in entry.figures for entry in entries)]
    named = [metric for metric in dict.fromkeys([*metrics, *SHARES]) if metric not in whole]
    groups = by_seed(entries)
    frames = [entry.metrics.filter(pl.col("metric").is_in(named)) for entry in entries]
    places = pl.concat([frame.select("request_id") for frame in frames]).unique().sort("request_id").with_row_index()
    requests = places.height
    values = {metric: np.full((len(groups), requests), np.nan) for metric in named}
    lines = []
    for row, group in enumerate(groups):
        means = {metric: tuple(_figure(entry, metric) for entry in group) for metric in whole}
        runs = [request_values(entry, named, places) for entry in group]
        for metric in named:
            seeds = np.stack([run[metric] for run in runs])
            values[metric][row] = seeds.mean(0)  # NaN where a seed lacks the request
            there = ~np.isnan(values[metric][row])
            means[metric] = tuple(float(seed[there].mean()) if there.any() else float("nan") for seed in seeds)
        lines.append(line_of(group, means))
    asked = tuple(places["request_id"])
    owners = None if users is None else user_codes([users[name] for name in asked])
    return ScoreMatrix(asked, tuple(lines), values, owners)


def user_codes(users: Sequence[str]) -> NDArray[np.intp]:
    """Return a number for the user of each request, the same for the same user."""
    return np.unique(np.array(users), return_inverse=True)[1].astype(np.intp)


def by_seed(entries: Sequence[EvaluatedRun]) -> list[list[EvaluatedRun]]:
    """Return the entries of each line: runs that differ by their seed alone share one, in the order of their seeds."""
    groups: dict[str, list[EvaluatedRun]] = {}
    for entry in entries:
        groups.setdefault(entry.group or entry.run, []).append(entry)
    return [sorted(group, key=lambda entry: entry.about.get("seed") or 0) for group in groups.values()]


def request_values(entry: EvaluatedRun, metrics: Sequence[str], places: pl.DataFrame) -> dict[str, NDArray[np.float64]]:
    """Return the values of metrics at the places of their requests, NaN where there is none.

    Raises:
        OptionError: If a metric was not measured.
        ArtifactError: If a value is not a number.
    """
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


def figures(matrix: ScoreMatrix, metrics: Mapping[str, float]) -> list[dict[str, Cell]]:
    """Return for each line the cells of metrics of whole runs: without interval or test.

    Such a figure depends on how many requests it is of, so lines with fewer of them than others have no rank.

    Args:
        matrix: The lines.
        metrics: By name, 1 where more is better, -1 where less is, and 0 where neither is.
    """
    table = [dict[str, Cell]() for _ in matrix.lines]
    for metric, sign in metrics.items():
        means = [float(np.mean(line.means[metric])) for line in matrix.lines]
        whole = max(matrix.n_measured)
        ranked = [
            not line.is_bound and count == whole for line, count in zip(matrix.lines, matrix.n_measured, strict=True)
        ]
        others = [mean for mean, there in zip(means, ranked, strict=True) if there]
        for cells, mean, there in zip(table, means, ranked, strict=True):
            rank = 1 + sum(sign * other > sign * mean for other in others) if sign and there else 0
            cells[metric] = Cell(mean, None, None, rank=rank)
    return table


def figure_notes(matrix: ScoreMatrix, metrics: Sequence[str]) -> list[str]:
    """Say which rows have figures of whole runs over fewer requests than others; `metrics` are these figures."""
    if not metrics:
        return []
    whole, fewer = max(matrix.n_measured), dict[int, list[str]]()
    for line, count in zip(matrix.lines, matrix.n_measured, strict=True):
        fewer.setdefault(count, []).append(line.label)
    return [
        f"{', '.join(names)}: {', '.join(metrics)} over {count:,} of {whole:,} requests, whose number changes such "
        "figures of whole runs: not ranked among the other rows, nor to be compared with them"
        for count, names in fewer.items()
        if count < whole
    ]


def line_of(group: Sequence[EvaluatedRun], means: Mapping[str, tuple[float, ...]]) -> RunScores:
    """Return the line of runs that differ by their seed alone."""
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

"""Values for every row and request: what means, intervals and tests are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrs_bench.errors import ArtifactError, OptionError
from llmrs_bench.leaderboard.values import SHARES, Entry


@dataclass(frozen=True, slots=True)
class Line:
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
    def label(self) -> str:
        """Model and setting: what a row is called where it is looked for again."""
        return f"{self.model} ({self.setting})" if self.setting else self.model


@dataclass(frozen=True, slots=True)
class Sheet:
    """The values of all rows: by metric an array (lines, requests), NaN where a line was not measured on a request.

    Metrics of whole runs are in `Line.means` alone.
    """

    requests: tuple[str, ...]
    lines: tuple[Line, ...]
    values: Mapping[str, NDArray[np.float64]]

    def ordered(self, order: Sequence[int]) -> "Sheet":
        """Return the lines in another order."""
        places = list(order)
        return Sheet(
            self.requests,
            tuple(self.lines[place] for place in places),
            {metric: values[places] for metric, values in self.values.items()},
        )


def make_sheet(entries: Sequence[Entry], metrics: Sequence[str]) -> Sheet:
    """Gather the values of entries; those of runs that differ by their seed are averaged, request by request.

    Raises:
        OptionError: If a metric was not measured.
        ArtifactError: If a value is not a number.
    """
    whole = [metric for metric in metrics if any(metric in entry.figures for entry in entries)]
    named = [metric for metric in dict.fromkeys([*metrics, *SHARES]) if metric not in whole]
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.group or entry.run, []).append(entry)
    frames = [entry.metrics.filter(pl.col("metric").is_in(named)) for entry in entries]
    places = pl.concat([frame.select("request_id") for frame in frames]).unique().sort("request_id").with_row_index()
    requests = places.height
    values = {metric: np.full((len(groups), requests), np.nan) for metric in named}
    lines = []
    for row, group in enumerate(groups.values()):
        means = {metric: tuple(_figure(entry, metric) for entry in group) for metric in whole}
        for metric in named:
            seeds = np.stack([_values(entry, metric, places) for entry in group])
            values[metric][row] = seeds.mean(0)  # NaN where a seed lacks the request
            there = ~np.isnan(values[metric][row])
            means[metric] = tuple(float(seed[there].mean()) if there.any() else float("nan") for seed in seeds)
        lines.append(_line(group, means))
    return Sheet(tuple(places["request_id"]), tuple(lines), values)


def _values(entry: Entry, metric: str, places: pl.DataFrame) -> NDArray[np.float64]:
    rows = entry.metrics.filter(pl.col("metric") == metric)
    if not rows.height:
        known = ", ".join(entry.metrics["metric"].unique().sort())
        raise OptionError(
            f"the metric {metric!r} was not measured for {entry.run}", hint=f"Measured: {known or 'nothing'}."
        )
    broken = rows.filter(pl.col("value").is_null() | ~pl.col("value").is_finite())
    if broken.height:
        raise ArtifactError(
            f"{entry.run}: {metric} is not a number for {len(broken):,} of {len(rows):,} requests, "
            f"among them {broken['request_id'][0]}",
            hint="Delete its evaluation and run `llmrs-bench evaluate` again.",
        )
    joined = rows.join(places, on="request_id")
    found = np.full(places.height, np.nan)
    found[joined["index"].to_numpy()] = joined["value"].to_numpy()
    return found


def _figure(entry: Entry, metric: str) -> float:
    if metric not in entry.figures:
        raise OptionError(
            f"the metric {metric!r} was not measured for {entry.run}", hint=f"Measured: {', '.join(entry.figures)}."
        )
    return entry.figures[metric]


def _line(group: Sequence[Entry], means: Mapping[str, tuple[float, ...]]) -> Line:
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
    return Line(
        run=entry.run,
        runs=tuple(other.run for other in group),
        model=entry.model,
        kind=entry.kind,
        setting=", ".join(setting),
        exact=entry.exact,
        about=about,
        means=means,
    )

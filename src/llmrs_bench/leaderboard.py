"""The board: one row for each run with means, intervals and cost; chance and popularity are always among them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from llmrs_bench.errors import ArtifactError, OptionError
from llmrs_bench.stats import bootstrap_interval

SHARES = ("coverage", "answered")


@dataclass(frozen=True, slots=True)
class Entry:
    """One run that wants onto the board.

    Args:
        run: Its name on disk, or `chance`.
        model: The name of its row.
        kind: `baseline`, `recommender` or `language model`.
        setting: What sets it apart from other runs of the model, in words.
        metrics: Frame of the schema `metrics`.
        group: What runs that differ by their seed alone have in common; they share a row.
        exact: Whether its values are expectations, without sampling error.
        about: Everything else that is known: history, tokens, seconds, command, fingerprint.
    """

    run: str
    model: str
    kind: str
    setting: str
    metrics: pl.DataFrame
    group: str = ""
    exact: bool = False
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cell:
    """A mean and its 95 % interval over users; both ends are the mean where the value is exact.

    With several seeds it is the mean over them, and `spread` the standard deviation (n - 1) of their means.
    """

    mean: float
    low: float
    high: float
    spread: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the board."""

    run: str
    model: str
    kind: str
    setting: str
    cells: Mapping[str, Cell]
    shares: Mapping[str, float]
    exact: bool
    about: Mapping[str, Any]
    seeds: int = 1


@dataclass(frozen=True, slots=True)
class Board:
    """Rows, best first, and the protocol that every number on them has."""

    title: str
    protocol: tuple[str, ...]
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


def build_board(
    entries: Sequence[Entry],
    metrics: Sequence[str],
    *,
    title: str,
    protocol: Sequence[str],
    notes: Sequence[str],
    samples: int,
    seed: int,
) -> Board:
    """Put runs over the same requests onto one board, sorted by `ndcg@10` or else the first metric.

    Runs that differ by their seed alone share a row: values of a request are averaged over seeds first.
    Intervals are percentile bootstrap intervals over users, from the same resamples for all rows.

    Raises:
        OptionError: If a metric was not measured.
        ArtifactError: If the runs do not cover the same requests.
    """
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.group or entry.run, []).append(entry)
    cells: list[dict[str, Cell]] = [{} for _ in groups]
    for metric in metrics:
        seeds = [np.stack([_values(entry, metric, entries[0]) for entry in group]) for group in groups.values()]
        ends = bootstrap_interval(np.stack([values.mean(0) for values in seeds]), samples=samples, seed=seed)
        for row, group, values, (low, high) in zip(cells, groups.values(), seeds, ends, strict=True):
            mean = float(values.mean())
            spread = float(values.mean(1).std(ddof=1)) if len(group) > 1 else None
            row[metric] = Cell(mean, mean, mean) if group[0].exact else Cell(mean, float(low), float(high), spread)
    rows = [_row(group, row, entries[0]) for group, row in zip(groups.values(), cells, strict=True)]
    key = "ndcg@10" if "ndcg@10" in metrics else metrics[0]
    rows.sort(key=lambda row: (-row.cells[key].mean, row.model, row.setting, row.run))
    return Board(title, tuple(protocol), tuple(metrics), tuple(rows), tuple(notes))


def _row(group: Sequence[Entry], cells: Mapping[str, Cell], first: Entry) -> Row:
    """Return the row of runs that differ by their seed; seconds are those of a mean run."""
    entry, seeds = group[0], len(group)
    setting = [entry.setting] if entry.setting else []
    about = dict(entry.about)
    if seeds > 1:
        setting.append(f"{seeds} seeds")
        numbers = [other.about.get("seconds") or 0.0 for other in group]
        about |= {"seed": [other.about.get("seed") for other in group], "seconds": sum(numbers) / seeds}
    elif about.get("seed"):
        setting.append(f"seed {about['seed']}")
    return Row(
        run=entry.run,
        model=entry.model,
        kind=entry.kind,
        setting=", ".join(setting),
        cells=cells,
        shares={share: float(np.mean([_values(other, share, first) for other in group])) for share in SHARES},
        exact=entry.exact,
        about=about,
        seeds=seeds,
    )


def _values(entry: Entry, metric: str, first: Entry) -> "np.ndarray[Any, np.dtype[np.float64]]":
    rows = entry.metrics.filter(pl.col("metric") == metric).sort("request_id")
    if not rows.height:
        known = ", ".join(entry.metrics["metric"].unique().sort())
        raise OptionError(f"the metric {metric!r} was not measured", hint=f"Measured: {known}.")
    wanted = first.metrics.filter(pl.col("metric") == metric)["request_id"].sort()
    if not rows["request_id"].equals(wanted):
        raise ArtifactError(
            f"{entry.run} and {first.run} do not cover the same requests", hint="Run `llmrs-bench evaluate` again."
        )
    return rows["value"].to_numpy().astype(np.float64)

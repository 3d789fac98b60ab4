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
        exact: Whether its values are expectations, without sampling error.
        about: Everything else that is known: history, tokens, seconds, command, fingerprint.
    """

    run: str
    model: str
    kind: str
    setting: str
    metrics: pl.DataFrame
    exact: bool = False
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cell:
    """A mean and its 95 % interval; both ends are the mean where the value is exact."""

    mean: float
    low: float
    high: float


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

    Intervals are percentile bootstrap intervals over users, from the same resamples for all rows.

    Raises:
        OptionError: If a metric was not measured.
        ArtifactError: If the runs do not cover the same requests.
    """
    cells: dict[str, dict[str, Cell]] = {entry.run: {} for entry in entries}
    for metric in metrics:
        values = np.stack([_values(entry, metric, entries[0]) for entry in entries])
        ends = bootstrap_interval(values, samples=samples, seed=seed)
        for entry, row, (low, high) in zip(entries, values, ends, strict=True):
            mean = float(row.mean())
            cells[entry.run][metric] = Cell(mean, mean, mean) if entry.exact else Cell(mean, float(low), float(high))
    rows = [
        Row(
            run=entry.run,
            model=entry.model,
            kind=entry.kind,
            setting=entry.setting,
            cells=cells[entry.run],
            shares={share: float(_values(entry, share, entries[0]).mean()) for share in SHARES},
            exact=entry.exact,
            about=entry.about,
        )
        for entry in entries
    ]
    key = "ndcg@10" if "ndcg@10" in metrics else metrics[0]
    rows.sort(key=lambda row: (-row.cells[key].mean, row.model, row.setting, row.run))
    return Board(title, tuple(protocol), tuple(metrics), tuple(rows), tuple(notes))


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

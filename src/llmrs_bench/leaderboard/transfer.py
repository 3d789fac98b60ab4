"""Models tuned on one data set and asked on others: a matrix of source and target."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrs_bench.core.errors import OptionError
from llmrs_bench.leaderboard.board import Cell, EvaluatedRun
from llmrs_bench.leaderboard.build import CORRECTION_WORDS, BoardPlan
from llmrs_bench.leaderboard.matrix import request_values, user_codes
from llmrs_bench.stats import CORRECTIONS, describe, mean_interval, sign_flip

# What tells rows apart: model, source, method of tuning.
_Key: TypeAlias = tuple[str, str, str]

UNTUNED = "not tuned"
# What has to be beaten without any tuning: rows that read titles, and popularity.
_OTHERS = ("popularity", "bm25", "embedding")
# What an untuned model has in common with a tuned one.
_ASKED = ("template", "normalize", "history")


@dataclass(frozen=True, slots=True)
class TransferCell:
    """A model on one target.

    Args:
        cell: Mean and 95 % interval over users.
        users: On how many users (with several requests each: requests) it was measured.
        difference: Mean difference to the untuned model, on the users both have; None for that itself, and without it.
        p: Of the paired sign-flip test of this difference.
        corrected: The same, corrected for all differences of the matrix.
    """

    cell: Cell
    users: int
    difference: float | None = None
    p: float | None = None
    corrected: float | None = None


@dataclass(frozen=True, slots=True)
class TransferRow:
    """A model tuned on `source` by `method` (`lora-64`), or not tuned; rows to beat have no source.

    `cells` are by target.
    """

    model: str
    source: str
    method: str
    cells: Mapping[str, TransferCell]


@dataclass(frozen=True, slots=True)
class Transfer:
    """A matrix: rows by source, columns by target, in one metric."""

    metric: str
    targets: tuple[str, ...]
    rows: tuple[TransferRow, ...]
    protocol: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """A data set on which models were asked: its name, its runs, and how its board is made."""

    name: str
    entries: tuple[EvaluatedRun, ...]
    plan: BoardPlan


def build_transfer(targets: Sequence[Target], metric: str, notes: Sequence[str]) -> Transfer:
    """Arrange the runs of several data sets by what their models were tuned on.

    A tuned model is held against the untuned one with the same template, history and normalisation; seeds are averaged.

    Args:
        targets: The data sets, each of another name.
        metric: What is measured.
        notes: What stands below.

    Raises:
        OptionError: If no model was tuned on one of the data sets and asked on another.
    """
    names = [target.name for target in targets]
    found: dict[_Key, dict[str, TransferCell]] = {}
    tests: list[tuple[_Key, str]] = []
    for target in targets:
        values, owners = _values(target, metric)
        ends = mean_interval(
            np.stack(list(values.values())), samples=target.plan.samples, seed=target.plan.seed, clusters=owners
        )
        for (key, row), (low, high) in zip(values.items(), ends, strict=True):
            there = row[~np.isnan(row)]
            cell = Cell(float(there.mean()), *((None, None) if np.isnan(low) else (float(low), float(high))))
            made = TransferCell(cell, there.size)
            untuned = values.get((key[0], UNTUNED, ""))
            if key[1] not in ("", UNTUNED) and untuned is not None:
                pair = np.stack([row, untuned])[None]
                p = sign_flip(
                    pair,
                    np.array([[0, 1]]),
                    samples=target.plan.resamples(1, len(targets) * len(values)),
                    seed=target.plan.seed,
                    clusters=owners,
                )
                made = replace(made, difference=describe(row, untuned, owners).difference, p=float(p[0, 0]))
                tests.append((key, target.name))
            found.setdefault(key, {})[target.name] = made
    if not any(source in names and cells.keys() - {source} for (_, source, _), cells in found.items()):
        raise OptionError(
            f"no model that was tuned on one of {', '.join(names)} was asked on another of them",
            hint="Tune one (tune), export it (export --format weights) and ask it elsewhere: infer --model FOLDER.",
        )
    _correct(found, tests, targets[0].plan.correction)
    order = {name: place for place, name in enumerate([UNTUNED, *names])}
    keys = sorted(found, key=lambda key: (key[1] == "", key[0], order.get(key[1], len(order)), *key[1:]))
    return Transfer(
        metric=metric,
        targets=tuple(names),
        rows=tuple(TransferRow(*key, found[key]) for key in keys),
        protocol=(
            f"95 % bootstrap over users, {targets[0].plan.samples:,} samples",
            "difference: to the untuned model with the same template (paired sign-flip test; corrected p: "
            f"{CORRECTION_WORDS[targets[0].plan.correction]} over all differences)",
        ),
        notes=tuple(notes),
    )


def _values(target: Target, metric: str) -> tuple[dict[_Key, NDArray[np.float64]], NDArray[np.intp] | None]:
    """Return the values of each (model, source) on the requests of a target, and the user of each request."""
    frames = [entry.metrics.select("request_id") for entry in target.entries]
    index = pl.concat(frames).unique().sort("request_id").with_row_index()
    rows: dict[_Key, list[NDArray[np.float64]]] = {}
    for entry in target.entries:
        if metric in entry.figures or (key := _key(entry, target.name)) is None:
            continue
        rows.setdefault(key, []).append(request_values(entry, [metric], index)[metric])
    users = target.plan.users
    owners = None if users is None else user_codes([users[name] for name in index["request_id"]])
    return {key: np.mean(values, axis=0) for key, values in rows.items()}, owners


def _key(entry: EvaluatedRun, target: str) -> _Key | None:
    """Return the model of a run and what it was tuned on; None for what is no row of the matrix."""
    if entry.model in _OTHERS:
        return entry.model, "", ""
    if entry.kind != "language model" or entry.factors is None:
        return None
    words = entry.factors.words
    asked = ", ".join(words[name] for name in _ASKED if name in words)
    if not entry.factors.numbers.get("samples"):
        base = entry.factors.family.rpartition("+")[0] if "samples" in entry.factors.numbers else entry.model
        return f"{base} ({asked})", UNTUNED, ""
    source = words["tuned_on"].partition("=")[2] if "tuned_on" in words else target
    base = entry.factors.family.rpartition("+")[0]
    return f"{base} ({asked})", source, entry.model.removeprefix(f"{base}+")


def _correct(found: dict[_Key, dict[str, TransferCell]], tests: Sequence[tuple[_Key, str]], how: str) -> None:
    corrected = CORRECTIONS[how](np.array([found[key][target].p for key, target in tests], dtype=np.float64))
    for (key, target), p in zip(tests, corrected, strict=True):
        found[key][target] = replace(found[key][target], corrected=float(p))

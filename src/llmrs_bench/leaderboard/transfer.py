"""Models that learned from one data set, by tuning or by examples, and were asked on others: source and target."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.formatting import counted
from llmrs_bench.leaderboard.board import Cell, EvaluatedRun
from llmrs_bench.leaderboard.build import CORRECTION_WORDS, BoardPlan
from llmrs_bench.leaderboard.matrix import request_values, user_codes
from llmrs_bench.stats import CORRECTIONS, describe, mean_interval, sign_flip

# What tells rows apart: model, source, and how it learned from it.
_Key: TypeAlias = tuple[str, str, str]

NO_SOURCE = "none"
# What has to be beaten without any source: rows that read titles, and popularity.
_OTHERS = ("popularity", "bm25", "embedding")
# What says from which data set the examples of a prompt are; other values of shots_from are names of data sets.
_OF_EXAMPLES = ("shots", "shots_from")
_OWN, _SIMILAR = "self", "similar"


@dataclass(frozen=True, slots=True)
class TransferCell:
    """A model on one target.

    Args:
        cell: Mean and 95 % interval over users.
        users: On how many users (with several requests each: requests) it was measured.
        difference: Mean difference to the model without a source, on the users both have; None for that itself, and
            where it is missing.
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
    """A model that learned from `source` by `method`, or from none; rows to beat have neither.

    A method is that of tuning, as `lora-64`, or `2 examples in the prompt`. `cells` are by target.
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
    """Arrange the runs of several data sets by what their models learned from, by tuning or by examples in the prompt.

    Each is held against the model without a source, asked with the same template and options; seeds are averaged.

    Args:
        targets: The data sets, each of another name.
        metric: What is measured.
        notes: What stands below.

    Raises:
        OptionError: If no model learned from one of the data sets and was asked on another.
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
            plain = values.get((key[0], NO_SOURCE, ""))
            if key[1] not in ("", NO_SOURCE) and plain is not None:
                pair = np.stack([row, plain])[None]
                p = sign_flip(
                    pair,
                    np.array([[0, 1]]),
                    samples=target.plan.resamples(1, len(targets) * len(values)),
                    seed=target.plan.seed,
                    clusters=owners,
                )
                made = replace(made, difference=describe(row, plain, owners).difference, p=float(p[0, 0]))
                tests.append((key, target.name))
            found.setdefault(key, {})[target.name] = made
    if not any(source in names and cells.keys() - {source} for (_, source, _), cells in found.items()):
        raise OptionError(
            f"no model that learned from one of {', '.join(names)} was asked on another of them",
            hint="Show a model examples of another data set: infer -T shots=2 -T shots_from=DATA. Or tune one (tune), "
            "export it (export --format weights) and ask it elsewhere: infer --model FOLDER.",
        )
    _correct(found, tests, targets[0].plan.correction)
    order = {name: place for place, name in enumerate([NO_SOURCE, *names])}
    keys = sorted(found, key=lambda key: (key[1] == "", key[0], order.get(key[1], len(order)), *key[1:]))
    return Transfer(
        metric=metric,
        targets=tuple(names),
        rows=tuple(TransferRow(*key, found[key]) for key in keys),
        protocol=(
            f"95 % bootstrap over users, {targets[0].plan.samples:,} samples",
            "difference: to the model without a source, with the same template and options (paired sign-flip test; "
            f"corrected p: {CORRECTION_WORDS[targets[0].plan.correction]} over all differences)",
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
    """Return the model of a run and what it learned from, and how; None for what is no row of the matrix."""
    if entry.model in _OTHERS:
        return entry.model, "", ""
    if entry.kind != "language model" or entry.factors is None:
        return None
    words, numbers = entry.factors.words, entry.factors.numbers
    said = {name: words[name].partition("=")[2] for name in (*_OF_EXAMPLES, "tuned_on") if name in words}
    whose = said.get("shots_from", _OWN)
    apart = entry.factors.tuning | (set() if whose == _OWN else {*_OF_EXAMPLES})
    asked = ", ".join(text for name, text in words.items() if name not in apart)
    base, tuned = entry.model, bool(numbers.get("samples"))
    if "samples" in numbers:
        base = entry.factors.family.rpartition("+")[0]
    sources = [said.get("tuned_on", target)] if tuned else []
    methods = [entry.model.removeprefix(f"{base}+")] if tuned else []
    if whose != _OWN:
        sources.append(target if whose == _SIMILAR else whose.partition("@")[0])
        shown = counted(int(said["shots"]), "example") + (" of similar users" if whose == _SIMILAR else "")
        methods.append(f"{shown} in the prompt")
    return f"{base} ({asked})", " and ".join(dict.fromkeys(sources)) or NO_SOURCE, ", ".join(methods)


def _correct(found: dict[_Key, dict[str, TransferCell]], tests: Sequence[tuple[_Key, str]], how: str) -> None:
    corrected = CORRECTIONS[how](np.array([found[key][target].p for key, target in tests], dtype=np.float64))
    for (key, target), p in zip(tests, corrected, strict=True):
        found[key][target] = replace(found[key][target], corrected=float(p))

"""Made-up clicks with a planted rule: a user has a taste, and likes the items of that taste alone."""

from typing import Any

import numpy as np
import polars as pl

from llmrs_bench.clicks.base import ClickCorpus
from llmrs_bench.core.registry import CLICK_MODELS
from llmrs_bench.core.schemas import ITEMS, SAMPLES
from llmrs_bench.recommenders.base import TrainContext

TASTES = ["sweet", "sour"]
# Small enough that an epoch takes milliseconds.
SMALL: dict[str, dict[str, str]] = {
    name: {"epochs": "4", "batch": "64", "dim": "4", **deep}
    for name, deep in {
        "fm": {},
        "deepfm": {"hidden": "8"},
        "dcnv2": {"hidden": "8"},
        "din": {"hidden": "8", "attention": "8"},
    }.items()
}


def items_of(count: int = 40) -> pl.DataFrame:
    """Return items of which every other is sweet; the last one is of no year and no category."""
    rows: list[tuple[Any, ...]] = [
        (f"i{n}", f"Drink {n}", "", 1990 + n % 4, [TASTES[n % 2], "drink"]) for n in range(count - 1)
    ]
    rows.append((f"i{count - 1}", "Nothing", "", None, []))
    return pl.DataFrame(rows, schema=ITEMS, orient="row")


def samples_of(users: int = 30, events: int = 20, *, first: int = 0, part: str | None = None) -> pl.DataFrame:
    """Return labelled rows: the last four of each user are of the part `valid`, unless all are of `part`."""
    rows = []
    for user in range(first, first + users):
        drawn = np.random.default_rng(user).permutation(38)[:events]
        likes = [bool(item % 2 == user % 2) for item in drawn]
        ids = [f"i{item}" for item in drawn]
        for at in range(events):
            where = part or ("train" if at < events - 4 else "valid")
            row = (f"{where}-{user}-{at}", f"u{user}", ids[at], where, at, ids[:at], likes[:at], float(likes[at]))
            rows.append(row)
    return pl.DataFrame(rows, schema=SAMPLES, orient="row")


def corpus() -> ClickCorpus:
    """Return samples of 30 users, and the items."""
    return ClickCorpus(samples_of(), items_of())


def click_model(name: str, seed: int = 0, **options: Any) -> Any:
    """Return a small untrained model of clicks called `name`."""
    kind = CLICK_MODELS.load(name)
    return kind(kind.Options.parse({**SMALL.get(name, {}), **options}, owner=name), seed=seed, device="cpu")


def trained_clicks(name: str, learned: ClickCorpus | None = None, seed: int = 0, **options: Any) -> Any:
    """Return a small model of clicks called `name`, fitted on `learned`."""
    model = click_model(name, seed, **options)
    model.fit(learned or corpus(), TrainContext())
    return model

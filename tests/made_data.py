"""Prepared data sets and runs written by hand, for tests of what is measured on them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from llmrs_bench.core.artifacts import Artifact, Recipe, new_artifact, open_artifact
from llmrs_bench.core.schemas import INTERACTIONS, ITEMS, REQUESTS, TRUTH
from llmrs_bench.stages.workspace import Data, Place

Rows = Sequence[Mapping[str, Any]]


def make_data(home: Path, *, items: Rows, events: Rows, requests: Rows, truth: Rows, **config: Any) -> Data:
    """Write the artifact `data`; columns that a row does not name are empty."""
    place = Place(home / "made" / "up")
    options = {"seed": 0, "candidates": "random", "include_seen": False, "item_word": "item", "history": 10, **config}
    blank: dict[str, Mapping[str, Any]] = {
        "items": {"title": "x", "text": "", "year": None, "categories": []},
        "interactions": {"timestamp": 0, "rating": None, "part": "train"},
        "requests": {"part": "test", "cutoff": 0, "history": [], "candidates": None},
        "truth": {"label": 1.0},
    }
    rows = {"items": items, "interactions": events, "requests": requests, "truth": truth}
    schemas = {"items": ITEMS, "interactions": INTERACTIONS, "requests": REQUESTS, "truth": TRUTH}
    with new_artifact(place.data, Recipe("prepare", "made", options)) as draft:
        for name, schema in schemas.items():
            draft.write(name, pl.DataFrame([{**blank[name], **row} for row in rows[name]], schema=schema))
    return Data(place, open_artifact(place.data, hint=""))


def make_run(data: Data, name: str, rankings: pl.DataFrame) -> Artifact:
    """Write a run with these rankings."""
    recipe = Recipe("infer", name, {"name": name})
    path = recipe.place(data.place.runs)
    with new_artifact(path, recipe) as draft:
        draft.write("rankings", rankings)
    return open_artifact(path, hint="")

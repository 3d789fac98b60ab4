"""What the places of candidates did to a run: read from its views, or from its only order."""

from typing import Any

import polars as pl

from llmrs_bench.artifacts import Artifact
from llmrs_bench.bias import position_bias
from llmrs_bench.schemas import VIEW_RANKINGS
from llmrs_bench.stages.home import Data

VIEW_TABLE = "view_rankings"


def run_bias(data: Data, run: Artifact) -> dict[str, Any] | None:
    """Return the position bias of a run of a language model over candidate lists; None of any other run."""
    if run.facts.get("kind") != "language model" or data.whole_catalogue:
        return None
    relevant = data.artifact.table("truth").filter(pl.col("label") > 0).select("request_id", "item_id")
    rankings = run.table("rankings")
    shown = run.table(VIEW_TABLE) if has_views(run) else _as_shown(data, rankings)
    return position_bias(shown, relevant, rankings) if shown.height else None


def has_views(run: Artifact) -> bool:
    """Tell whether a run showed its requests in several ways."""
    return VIEW_TABLE in run.manifest.tables


def _as_shown(data: Data, rankings: pl.DataFrame) -> pl.DataFrame:
    """Return rankings of requests that were shown once, in the order of the data set."""
    lists = data.artifact.table("requests").select("request_id", item_id="candidates").explode("item_id")
    slots = lists.with_columns(slot=pl.int_range(pl.len(), dtype=pl.Int32).over("request_id"))
    placed = rankings.join(slots, on=["request_id", "item_id"], how="inner", maintain_order="left")
    return placed.with_columns(view_id="request_id").select(list(VIEW_RANKINGS))

"""The tie rule of a data set, and rankings by it: ties of all copies of a request are broken alike."""

from functools import lru_cache
from pathlib import Path

import polars as pl

from llmrs_bench.core.artifacts import open_artifact
from llmrs_bench.core.config import DEPTH
from llmrs_bench.ranking import TIE_RULE, rank_best, rank_candidates
from llmrs_bench.stages.workspace import Data


def tie_rule(data: Data) -> str:
    """Return the tie rule of a data set in words."""
    return TIE_RULE if copies_of(data) is None else f"{TIE_RULE}; of copies of a request alike"


def tie_parts(data: Data) -> dict[str, str]:
    """Return what the fingerprint of a run says of ties."""
    return {"tie_rule": tie_rule(data), "tie_seed": str(data.tie_seed)}


def ranked(data: Data, scores: pl.DataFrame, requests: pl.DataFrame | None = None) -> pl.DataFrame:
    """Order the candidates of requests, or the best items of a whole catalogue, by the tie rule of the data set.

    Args:
        data: The prepared data set.
        scores: Rows (request_id, item_id, score), as `rank_candidates` or `rank_best` takes them.
        requests: Those with candidates; None: all.
    """
    if data.whole_catalogue:
        return rank_best(scores, depth=DEPTH, seed=data.tie_seed, copies=copies_of(data))
    asked = data.artifact.table("requests") if requests is None else requests
    return rank_candidates(asked, scores, seed=data.tie_seed, copies=copies_of(data))


def copies_of(data: Data) -> pl.DataFrame | None:
    """Return rows (request_id, asked): the name of each copy of a request (`--cold-users`) without what sets it apart.

    None: no request is asked several times.
    """
    if not data.artifact.manifest.config.get("cold_users"):
        return None
    return _copies(data.artifact.path, data.artifact.digest("conditions"))


@lru_cache(maxsize=4)  # read for each block of requests
def _copies(place: Path, digest: str) -> pl.DataFrame:
    conditions = open_artifact(place, hint="prepare it again.").table("conditions")
    return conditions.select("request_id", asked=pl.col("request_id").str.replace(r"-m\d+$", ""))

"""What decides whether the runs of a data set, or a saved board, may be compared with it."""

from collections.abc import Sequence

import polars as pl

from llmrs_bench.artifacts import Artifact
from llmrs_bench.config import DEPTH, MODELS, WHOLE, Invalid, LockField
from llmrs_bench.leaderboard.lock import FIELDS, Lock, lock_requests, refuse_differences
from llmrs_bench.metrics import DEFINITIONS
from llmrs_bench.ranking import TIE_RULE
from llmrs_bench.stages.home import Data

# How items count that a model was silent about, as boards say it.
INVALID_WORDS: dict[Invalid, str] = {
    "expected": "items a model is silent about stand last and count by the mean over their orders",
    "worst": "relevant items a model is silent about count as never found",
    "drop": "requests in which a model ranked nothing are left out of its row; silent items count by expectation",
}


def data_lock(data: Data, invalid: Invalid) -> Lock:
    """Return what boards of a prepared data set have in common."""
    return lock_requests(data.artifact.table("requests"), lock_words(data, invalid))


def lock_words(data: Data, invalid: Invalid) -> dict[str, str]:
    """Return what data, split, users, candidates, tie rule and metric definitions are, in words."""
    manifest = data.artifact.manifest
    facts = manifest.facts
    source = manifest.inputs["source"]
    kept = [str(facts["kept"][name]) for name in ("users", "items", "interactions")]
    return {
        "data": ", ".join([manifest.config["dataset"], f"source {source[:8]}", *filters(data), "/".join(kept)]),
        "split": f"leave-one-out, {facts['tie_rule']}",
        "users": f"{facts['requests']:,} users",
        "candidates": candidate_words(data),
        "tie-rule": f"{TIE_RULE}; seed {data.tie_seed}",
        "metric-definition": f"version {DEFINITIONS}, {INVALID_WORDS[invalid]}",
    }


def filters(data: Data) -> list[str]:
    """Return which events were dropped, in words."""
    options = data.artifact.manifest.config
    return [
        *([f"ratings >= {options['min_rating']:g}"] if options["min_rating"] is not None else []),
        *([f"{options['k_core']}-core"] if options["k_core"] else []),
    ]


def candidate_words(data: Data) -> str:
    """Return what requests ask to rank, in words."""
    options = data.artifact.manifest.config
    seen = "seen items may be among them" if options["include_seen"] else "seen items excluded"
    if options["candidates"] == WHOLE:
        return f"all items ranked, the first {DEPTH} kept, {seen}"
    held = "target and " if not options["candidates"].startswith(MODELS) or options["force_target"] else ""
    return f"{options['n_candidates']} candidates: {held}{options['candidates']}, {seen}; seed {options['seed']}"


def run_notes(data: Data, run: Artifact, allowed: Sequence[str]) -> list[str]:
    """Return in what a run differs from its data set, where it is allowed to, as notes for the board.

    Raises:
        IncomparableError: Naming what differs and is not allowed to.
    """
    inputs, parts = run.manifest.inputs, run.manifest.parts
    found: dict[LockField, tuple[str, str]] = {}
    for table in ("interactions", "items"):
        if (have := inputs.get(table)) is not None and have != data.artifact.digest(table):
            found["data"] = (f"{table} {data.artifact.digest(table)[:8]}", f"{table} {have[:8]}")
    rule, theirs = f"{TIE_RULE}; seed {data.tie_seed}", f"{parts.get('tie_rule')}; seed {parts.get('tie_seed')}"
    if theirs != rule:
        found["tie-rule"] = (rule, theirs)
    if inputs.get("requests") != data.artifact.digest("requests"):
        found |= _request_differences(data, run)
    found = {name: found[name] for name in FIELDS if name in found}
    return refuse_differences(found, allowed, one=data.place.reference, other=f"run {run.path.name}")


def _request_differences(data: Data, run: Artifact) -> dict[LockField, tuple[str, str]]:
    """Tell from a run's rankings which part of its requests differs; what is in none of them is the split."""
    requests, rankings = data.artifact.table("requests"), run.table("rankings")
    found: dict[LockField, tuple[str, str]] = {}
    own, ranked = set(requests["request_id"]), set(rankings["request_id"])
    if own != ranked:
        found["users"] = (f"{len(own):,} users", f"{len(ranked):,} users ({len(own & ranked):,} in common)")
    if not data.whole_catalogue:
        asked = requests.select("request_id", asked=pl.col("candidates").list.sort())
        given = rankings.group_by("request_id").agg(given=pl.col("item_id").sort())
        both = asked.join(given, on="request_id")
        if different := both.filter(pl.col("asked") != pl.col("given")).height:
            found["candidates"] = (candidate_words(data), f"{different:,} of {both.height:,} lists differ")
    return found or {"split": ("the prepared histories", "others, for the same users and candidates")}


def common_requests(metrics: pl.DataFrame, run: Artifact) -> pl.DataFrame:
    """Return the rows of the requests that a run of other users has ranked."""
    return metrics.join(run.table("rankings").select("request_id").unique(), on="request_id", how="semi")

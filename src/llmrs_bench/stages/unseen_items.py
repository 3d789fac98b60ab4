"""Items that a recommender has no training event of: how many of the targets and candidates they are."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from llmrs_bench.core.artifacts import Artifact
from llmrs_bench.stages.workspace import Data

UNSEEN = "unseen_items"


def unseen_items(data: Data, learned: pl.DataFrame, asked: pl.DataFrame) -> tuple[pl.Series, dict[str, int]]:
    """Return which candidates are in none of the events `learned`, and how many these and all of them are.

    Candidates of test requests are counted, as items and as places in lists; of a whole catalogue its items alone.
    """
    if data.whole_catalogue:
        listed = data.artifact.table("items").select("item_id")
    else:
        listed = asked.filter(pl.col("part") == "test").select(item_id="candidates").explode("item_id").drop_nulls()
    items = listed.unique()
    unseen = items.join(learned, on="item_id", how="anti").sort("item_id")
    counts = {"unseen_items": unseen.height, "of_items": items.height}
    if not data.whole_catalogue:
        counts["unseen_candidates"] = listed.join(unseen, on="item_id", how="semi").height
        counts["of_candidates"] = listed.height
    return unseen["item_id"], counts


def unseen_table(unseen: Mapping[int | None, pl.Series]) -> pl.DataFrame:
    """Return the table `unseen_items` of items by window; None: before all of them."""
    parts = [
        pl.DataFrame({"item_id": items}).select(pl.lit(at, pl.Int32).alias("window"), "item_id")
        for at, items in unseen.items()
    ]
    return pl.concat(parts)


def unseen_facts(data: Data, run: Artifact, targets: pl.DataFrame) -> dict[str, Any]:
    """Return how many targets of a run have no training event, with words; nothing where that was not recorded.

    Args:
        data: The prepared data set.
        run: The run.
        targets: Its targets: request_id, item_id.
    """
    if UNSEEN not in run.manifest.tables:
        return {}
    unseen = run.table(UNSEEN)
    found: dict[str, Any] = {"of_targets": targets.height}
    if again := run.facts.get("retrained"):
        targets = targets.join(data.artifact.table("conditions").select("request_id", "window"), on="request_id")
        missed = targets.join(unseen, on=["window", "item_id"], how="semi")
        found["by_window"] = [missed.filter(pl.col("window") == each["window"]).height for each in again]
    else:
        missed = targets.join(unseen, on="item_id", how="semi")
    found["targets"] = missed.height
    return {"unseen": found | {"words": unseen_words(data, run, found)}}


def unseen_words(data: Data, run: Artifact, found: Mapping[str, Any] | None = None) -> str:
    """Say how many targets, as far as they are counted, and candidates have no training event; nothing where none."""
    said, several = [], run.facts.get("retrained") or []
    if found and found["targets"]:
        by = f" (by window {', '.join(f'{count:,}' for count in found['by_window'])})" if "by_window" in found else ""
        said.append(
            f"{found['targets']:,} of {found['of_targets']:,} {'test rows' if data.labelled else 'targets'}{by}"
        )
    parts = several or [run.facts.get("train_part") or {}]
    items, candidates, listed = (
        sum(part.get(name, 0) for part in parts) for name in ("unseen_items", "unseen_candidates", "of_candidates")
    )
    if candidates and not data.labelled:
        said.append(f"{candidates:,} of {listed:,} candidates")
    elif items and data.whole_catalogue and not several:
        said.append(f"{items:,} of {parts[0]['of_items']:,} items")
    return f"{' and '.join(said)} have no training event" if said else ""


def unseen_notes(words: Sequence[tuple[str, str]]) -> list[str]:
    """Return a note for each of some words, behind the names of all rows of which they are true."""
    rows: dict[str, dict[str, None]] = defaultdict(dict)
    for label, said in words:
        if said:
            rows[said][label] = None
    return [f"{', '.join(labels)}: {said}" for said, labels in rows.items()]

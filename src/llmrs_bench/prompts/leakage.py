"""Does a prompt reveal the target? Everything it shows beside the candidates is searched."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import polars as pl

from llmrs_bench.core.errors import LeakError


def check_views(
    views: pl.DataFrame,
    truth: pl.DataFrame,
    titles: Mapping[str, str],
    same: Mapping[str, Collection[str]] | None = None,
) -> int:
    """Look for the target in retrieved items, in examples, and by its title in what a model wrote.

    Of the task `click` the target is the item that is asked about, liked or not. The history shown is older than the
    target; where it holds the same item, the user chose it again, which is counted. A title of one word counts in a
    text only in quotes, because such words stand in any text; no title counts if an item of the history has the same.

    Args:
        views: Frame of the schema `views`.
        truth: Frame of the schema `truth`.
        titles: Item id to title.
        same: Where examples are of another data set: its items to those of this one that have the same title.

    Returns:
        How many views show a history that holds the target.

    Raises:
        LeakError: Naming the first request whose target is revealed, and where.
    """
    relevant = truth.group_by("request_id").agg(targets="item_id")
    repeated = 0
    for row in views.join(relevant, on="request_id", maintain_order="left").iter_rows(named=True):
        targets = set(row["targets"])
        places = {
            "the retrieved items": row["relevant"],
            "the examples": _items_of(row["examples"], same),
        }
        own = set(row["history"])
        repeated += bool(targets & own)
        for where, items in places.items():
            # What the user chose before is no secret, wherever it is told.
            if told := targets & (set(items) - own):
                raise _leak(row["request_id"], sorted(told)[0], where)
        past = {titles[item] for item in row["history"]}
        for target in sorted(targets):
            for where, text in (
                ("the text about the user's interest", row["interest"]),
                ("the notes about items", "\n".join(note["text"] for note in row["notes"])),
            ):
                if titles[target] not in past and _names(text, titles[target]):
                    raise _leak(row["request_id"], target, where)
    return repeated


def _items_of(examples: Sequence[Mapping[str, Any]], same: Mapping[str, Collection[str]] | None) -> list[str]:
    """Return the items of this data set that examples show."""
    told = [item for example in examples for item in (*example["history"], example["next"])]
    return told if same is None else [item for other in told for item in same.get(other, ())]


def _names(text: str, title: str) -> bool:
    words = re.escape(title)
    pattern = rf"(?<!\w){words}(?!\w)" if len(title.split()) > 1 else rf"[\"'“‘*]{words}[\"'”’*]"
    return bool(text) and re.search(pattern, text) is not None


def _leak(request_id: str, item_id: str, where: str) -> LeakError:
    return LeakError(
        f"the prompt of request {request_id!r} reveals its target {item_id!r} outside the candidates, in {where}",
        hint="Take another source for this part; for a text that a model wrote, ask it to name no items.",
    )

"""The choices that prompts show as examples: a user's own, those of similar users, or those of another data set."""

import re
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from llmrs_bench.core.errors import ArtifactError, OptionError
from llmrs_bench.core.hashing import fingerprint, generator
from llmrs_bench.core.registry import unknown_name
from llmrs_bench.core.schemas import VIEWS
from llmrs_bench.core.types import Example
from llmrs_bench.core.view_options import ViewOptions
from llmrs_bench.data.datasets import known_dataset
from llmrs_bench.data.titles import natural_title, split_year
from llmrs_bench.stages.workspace import Data, Reference, open_data, prepared

_LONGEST = 5  # items before the one that was chosen
_FEWEST = 2  # choices of a user of whom there is an example


@dataclass(frozen=True)
class Domain:
    """Another data set, of whose users prompts show choices of the training part.

    Args:
        data: It.
        target: The data set that is asked about.
    """

    data: Data
    target: Data

    @property
    def digest(self) -> str:
        """What decides its examples: the tables that they are drawn from, and what an item is called."""
        tables = {table: self.data.artifact.digest(table) for table in ("interactions", "items")}
        return fingerprint({**tables, "item_word": self.data.item_word})

    @cached_property
    def users(self) -> Mapping[str, Sequence[str]]:
        """User to the items chosen in the training part, oldest first, of those with two or more."""
        return {user: items for user, (items, _) in _sequences(self.data).items() if len(items) >= _FEWEST}

    @cached_property
    def same(self) -> Mapping[str, frozenset[str]]:
        """Item to the items of the target with the same title, if any."""
        named: dict[str, set[str]] = {}
        for item_id, title in _titles(self.target):
            named.setdefault(_key(title), set()).add(item_id)
        pairs = ((item_id, named.get(_key(title))) for item_id, title in _titles(self.data))
        return {item_id: frozenset(found) for item_id, found in pairs if found}

    @property
    def facts(self) -> dict[str, Any]:
        """What a reader should know of it: its name, its size, and what it shares with the target."""
        tested = set(self.target.artifact.table("requests")["user_id"])
        return {
            "dataset": self.data.place.reference,
            "item_word": self.data.item_word,
            "users": len(self.users),
            "items": self.data.artifact.manifest.tables["items"].rows,
            "target": self.target.place.reference,
            "target_items": self.target.artifact.manifest.tables["items"].rows,
            "same_titles": len(self.same),
            "tested_users": len(tested),
            "same_users": len(tested & self.users.keys()),
        }

    def examples(self, request: Mapping[str, Any], count: int, seed: int) -> list[Example]:
        """Return the latest choices of `count` of its users, drawn for a request.

        Items with the title of a candidate are left out of a user's choices, and so is the user of the request's id.

        Raises:
            OptionError: If there are fewer such users.
        """
        candidates, names = set(request["candidates"]), list(self.users)
        found: list[Example] = []
        for place in _drawn(generator("shots", seed, request["request_id"]), len(names)):
            if names[place] != request["user_id"]:
                chosen = self.users[names[place]]
                found += _steps([item for item in chosen if candidates.isdisjoint(self.same.get(item, ()))], 1)
            if len(found) == count:
                return found
        raise OptionError(
            f"shots={count} takes as many users of {self.data.place.reference}, and {len(found)} of them have two "
            f"choices in its training part beside candidates of request {request['request_id']!r}",
            hint=f"Use -T shots={len(found)}, or prepare it with more users." if found else "Take another data set.",
        )


def find_domain(data: Data, options: ViewOptions) -> Domain | None:
    """Return the data set of the same home that `shots_from` names; None if examples are of the data set itself.

    Raises:
        ArtifactError: If it was not prepared.
        OptionError: If there is no such data set, it is this one, or has labelled rows.
    """
    if (name := options.examples_of) is None:
        return None
    home = data.place.root.parents[1]
    known, dataset = prepared(home), Reference.parse(name).dataset
    if dataset not in known and known_dataset(dataset) is None:
        raise unknown_name("value of shots_from", name, ["self", "similar", *known])
    try:
        found = open_data(home, name)
    except ArtifactError as error:
        raise ArtifactError(f"shots_from={name}: {error.message}", hint=error.hint) from error
    here, there = data.place, found.place
    if there.root.parent == here.root.parent:
        raise OptionError(
            f"shots_from={name} is the data set that is asked about"
            if there.root == here.root
            else f"shots_from={name} is the same data in another split, so its training part may hold what is tested",
            hint="Examples of other users of the same data set are -T shots_from=similar.",
        )
    if found.labelled:
        raise OptionError(
            f"shots_from={name} was prepared with --task {found.task}, and examples are choices of a next item",
            hint=f"Prepare its rankings, too: prepare --dataset {there.root.parent.name}@NAME.",
        )
    return Domain(found, data)


class ExampleFinder:
    """Finds the examples of requests.

    Args:
        data: The prepared data set.
        options: How many, and whose.
        domain: The data set that `shots_from` names; None if it is none.
        seed: Of what is drawn.
    """

    def __init__(self, data: Data, options: ViewOptions, domain: Domain | None, seed: int) -> None:
        self.data = data
        self.options = options
        self.domain = domain
        self.seed = seed

    def find(self, requests: pl.DataFrame) -> pl.Series:
        """Return the examples of each request, as the column of `views`; none of them shows one of its candidates."""
        found = self._found(requests)
        rows = [
            [{"history": list(example.history), "next": example.next} for example in found.get(name, ())]
            for name in requests["request_id"]
        ]
        return pl.Series(rows, dtype=VIEWS["examples"])

    def _found(self, requests: pl.DataFrame) -> Mapping[str, Sequence[Example]]:
        count, rows = self.options.shots, requests.iter_rows(named=True)
        if self.domain is not None:
            return {row["request_id"]: self.domain.examples(row, count, self.seed) for row in rows}
        if self.options.shots_from == "self":
            return {row["request_id"]: _steps(without(row["history"], row["candidates"]), count) for row in rows}
        from llmrs_bench.stages.retrieval import similar_users

        trained = self.data.artifact.table("interactions").filter(pl.col("part") == "train")
        users = similar_users(requests, trained, count, self.seed)
        return {
            row["request_id"]: [
                step
                for user in users.get(row["request_id"], ())
                for step in _steps(without(self._before(user, row["cutoff"]), row["candidates"]), 1)
            ]
            for row in rows
        }

    def _before(self, user: str, cutoff: int) -> Sequence[str]:
        """Return what a user had chosen before a time."""
        items, times = self._trained[user]
        return items[: bisect_left(times, cutoff)]

    @cached_property
    def _trained(self) -> Mapping[str, tuple[list[str], list[int]]]:
        return _sequences(self.data)


def without(items: Sequence[str], left_out: Collection[str]) -> list[str]:
    """Return items but for those left out, in their order."""
    hidden = set(left_out)
    return [item_id for item_id in items if item_id not in hidden]


def _sequences(data: Data) -> dict[str, tuple[list[str], list[int]]]:
    """Return user to the items of the training part, in the order of their times, and these."""
    trained = data.artifact.table("interactions").filter(pl.col("part") == "train")
    rows = trained.group_by("user_id", maintain_order=True).agg("item_id", "timestamp").iter_rows()
    return {user: (items, times) for user, items, times in rows}


def _steps(history: Sequence[str], count: int) -> list[Example]:
    """Return the latest steps of a history: what came before, and what came next; the oldest step first."""
    places = range(max(1, len(history) - count), len(history))
    return [Example(tuple(history[max(0, place - _LONGEST) : place]), history[place]) for place in places]


def _titles(data: Data) -> Iterator[tuple[str, str]]:
    yield from data.artifact.table("items").select("item_id", "title").iter_rows()


def _key(title: str) -> str:
    """Return what two spellings of a title have in common: "Matrix, The (1999)" is "The Matrix"."""
    plain = natural_title(split_year(title)[0])
    return " ".join(re.findall(r"\w+", plain.casefold())) or plain


def _drawn(random: np.random.Generator, count: int) -> Iterator[int]:
    """Yield the numbers below `count` in a random order; the first ones cost nothing if there are millions."""
    seen = set[int]()
    while len(seen) < count:
        if (place := int(random.integers(count))) not in seen:
            seen.add(place)
            yield place

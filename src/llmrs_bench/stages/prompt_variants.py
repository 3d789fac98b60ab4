"""The variants in which each request is shown: histories, orders, retrieved items, notes."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, permutations, product
from math import factorial
from typing import TYPE_CHECKING, Any, TypeVar

import polars as pl

from llmrs_bench.core.artifacts import Artifact
from llmrs_bench.core.config import FREE_TEXT
from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.hashing import generator, hash64
from llmrs_bench.core.schemas import VIEWS
from llmrs_bench.core.view_options import ViewOptions
from llmrs_bench.prompts.parsing.thoughts import spoken
from llmrs_bench.prompts.sanitize import sanitize_text
from llmrs_bench.stages.examples import Domain, ExampleFinder, find_domain, without
from llmrs_bench.stages.workspace import Data, open_runs, pick_runs, ranks

T = TypeVar("T")
_BLOCK = 2000
_LINE = re.compile(r"[\s*\-\[(#]*([0-9]{1,3})[\])*]*[.:)\]]?[\s*]+(\S.*)")


def find_note(data: Data, what: str, name: str) -> Artifact:
    """Return the run of notes whose name begins with `name`, wanted as `what`.

    Raises:
        OptionError: If there is none, several, or it is a run that ranks.
        ArtifactError: If the data set has no runs.
    """
    found = pick_runs(open_runs(data), [name])
    if len(found) != 1:
        raise OptionError(f"{what}={name} matches {len(found)} runs", hint="Write more of the name.")
    if found[0].facts.get("form") != FREE_TEXT:
        raise OptionError(
            f"{what}={name} is a run of rankings, and holds no texts about users",
            hint=f"Make one with `llmrs-bench infer --template {what}`.",
        )
    return found[0]


def read_interest(run: Artifact) -> dict[str, str]:
    """Return request id to what the model wrote, without its thoughts, as one line; nothing where it wrote nothing."""
    return {row["request_id"]: sanitize_text(spoken(row["text"] or "")) for row in _responses(run)}


def read_notes(data: Data, run: Artifact) -> dict[str, dict[str, str]]:
    """Return request id to item id to what the model wrote about the item, in the line with its number.

    Raises:
        OptionError: If the run's prompts showed another history than the user's own.
    """
    told = str(run.manifest.config["options"].get("past", "own"))
    if told != "own":
        raise OptionError(f"notes={run.path.name} are about past={told}", hint="Make them without -T past.")
    histories = dict(data.artifact.table("requests").select("request_id", "history").iter_rows())
    shown = int(run.facts["history"])
    return {
        row["request_id"]: numbered_lines(row["text"], histories[row["request_id"]], shown - row["n_truncated"])
        for row in _responses(run)
    }


def find_explained(data: Data, name: str) -> Artifact:
    """Return the run whose name begins with `name`, the first item of each of whose lists prompts explain.

    Raises:
        OptionError: If there is none, several, or it holds texts.
        ArtifactError: If the data set has no runs.
    """
    found = pick_runs(open_runs(data), [name])
    if len(found) != 1:
        raise OptionError(f"explained_run={name} matches {len(found)} runs", hint="Write more of the name.")
    if not ranks(found[0]):
        raise OptionError(
            f"explained_run={name} is a run of texts, and recommends nothing",
            hint="Name a run that ranks: `llmrs-bench infer --model itemknn` makes one.",
        )
    return found[0]


def read_first_items(run: Artifact) -> dict[str, str]:
    """Return request id to the item that a run ranks first, of those requests in which it ranks anything."""
    first = run.table("rankings").filter((pl.col("rank") == 1) & pl.col("score").is_not_null())
    return dict(first.select("request_id", "item_id").iter_rows())


def find_scores(data: Data, name: str) -> Artifact:
    """Return the run of a recommender whose name begins with `name`, whose opinion prompts may show.

    Raises:
        OptionError: If there is none, several, or it is no recommender's that learned from this data set alone.
        ArtifactError: If the data set has no runs.
    """
    found = pick_runs(open_runs(data), [name])
    if len(found) != 1:
        raise OptionError(f"scores_run={name} matches {len(found)} runs", hint="Write more of the name.")
    run, inputs = found[0], found[0].manifest.inputs
    if (kind := run.facts["kind"]) != "recommender":
        raise OptionError(
            f"scores_run={name} is the run of {'an' if kind[0] in 'aeiou' else 'a'} {kind}, and may know targets",
            hint="Name the run of a recommender: `llmrs-bench infer --model itemknn` makes one.",
        )
    for table in ("interactions", "items", "requests"):
        if inputs.get(table) != data.artifact.digest(table):
            raise OptionError(
                f"scores_run={name} was fitted on, or asked for, other {table} than those of {data.place.reference}",
                hint="Make it again on this data set.",
            )
    return run


def read_scores(run: Artifact, how: str) -> dict[str, dict[str, str]]:
    """Return request id to item id to what a recommender says of the candidate, as prompts show it.

    A `rank` is that of the run; a `score` is moved and stretched to 0 for the lowest and 100 for the highest of the
    request, whose scores are all 100 where they are equal. What was not ranked is `not ranked`.
    """
    score = pl.col("score")
    low, high = score.min().over("request_id"), score.max().over("request_id")
    share = pl.when(high > low).then(100 * (score - low) / (high - low)).otherwise(100.0).round(0).cast(pl.Int64)
    said = pl.format("rank {}", "rank") if how == "rank" else pl.format("score {}", share)
    rows = run.table("rankings").with_columns(
        said=pl.when(score.is_not_null()).then(said).otherwise(pl.lit("not ranked"))
    )
    found: dict[str, dict[str, str]] = {}
    for request_id, item_id, text in rows.select("request_id", "item_id", "said").iter_rows():
        found.setdefault(request_id, {})[item_id] = text
    return found


def numbered_lines(text: str | None, history: Sequence[str], shown: int) -> dict[str, str]:
    """Return item id to text, from lines such as `3. Its hero fails`, about the `shown` latest items in their order.

    The first line with a number counts; numbers that no item has are left out.
    """
    items = list(history)[-shown:] if shown > 0 else []
    notes: dict[str, str] = {}
    for line in spoken(text or "").splitlines():
        if (found := _LINE.match(line)) and 1 <= int(found[1]) <= len(items):
            notes.setdefault(items[int(found[1]) - 1], sanitize_text(found[2]))
    return notes


@dataclass(frozen=True, slots=True)
class Shown:
    """What prompts show beside the data set.

    These are runs whose texts (`interest`, `notes`) or whose opinion they show, or whose first items they explain; and
    the data set that their examples are of, if that is another one.
    """

    texts: Mapping[str, Artifact]
    scores: Artifact | None
    explained: Artifact | None
    domain: Domain | None

    @property
    def inputs(self) -> dict[str, str]:
        """The digests of what is shown of them."""
        ranked = {"scores": self.scores, "explained": self.explained}
        return {
            **{name: run.digest("responses") for name, run in self.texts.items()},
            **{name: run.digest("rankings") for name, run in ranked.items() if run is not None},
            **({} if self.domain is None else {"examples": self.domain.digest}),
        }


def find_shown(data: Data, options: ViewOptions) -> Shown:
    """Return the runs and the data set that options name.

    Raises:
        ArtifactError: As `find_domain` does.
        OptionError: As `find_note`, `find_scores`, `find_explained` and `find_domain` do.
    """
    named = (("interest", options.interest_run), ("notes", options.notes_run))
    return Shown(
        {name: find_note(data, name, run) for name, run in named if run is not None},
        None if options.scores_run is None else find_scores(data, options.scores_run),
        None if options.explained_run is None else find_explained(data, options.explained_run),
        find_domain(data, options),
    )


def open_views(data: Data, options: ViewOptions, shown: Shown, *, history: int, rated: bool) -> "ViewBuilder":
    """Return what makes the views of requests; it has to be closed.

    Args:
        data: The prepared data set.
        options: What is shown.
        shown: The runs and the data set that these name.
        history: How many of the latest items.
        rated: Whether ratings are shown.
    """
    interest = read_interest(shown.texts["interest"]) if "interest" in shown.texts else {}
    notes = read_notes(data, shown.texts["notes"]) if "notes" in shown.texts else {}
    notes = notes if shown.scores is None else read_scores(shown.scores, options.scores)
    return ViewBuilder(
        data,
        options,
        history=history,
        rated=rated,
        interest=interest,
        notes=notes,
        explained=shown.explained,
        domain=shown.domain,
    )


def _responses(run: Artifact) -> Iterator[Mapping[str, Any]]:
    return chain.from_iterable(part.iter_rows(named=True) for part in run.parts("responses", _BLOCK))


if TYPE_CHECKING:
    from llmrs_bench.stages.retrieval import SearchProcess


class ViewBuilder:
    """Makes the views of requests.

    Nothing here knows which candidate is the target, but for `slots`, which put it where it is wanted. It has to be
    closed: items may be searched in a process of its own.

    Args:
        data: The prepared data set.
        options: What is shown.
        history: How many of the latest items.
        rated: Whether ratings are shown.
        interest: What a model wrote, by request id.
        notes: What a model wrote about items, or a recommender says of candidates, by request id and item id.
        explained: The run whose first item is explained, in the place of the candidates; None: these are shown.
        domain: The data set of the examples, if it is another one.
    """

    def __init__(
        self,
        data: Data,
        options: ViewOptions,
        *,
        history: int,
        rated: bool,
        interest: Mapping[str, str],
        notes: Mapping[str, Mapping[str, str]],
        explained: Artifact | None = None,
        domain: Domain | None = None,
    ) -> None:
        self.data = data
        self.options = options
        self.history = history
        self.rated = rated
        self.interest = interest
        self.notes = notes
        self.explained = None if explained is None else read_first_items(explained)
        self.seed = int(data.artifact.manifest.config["seed"])
        self.examples = ExampleFinder(data, options, domain, self.seed)
        self._stack = ExitStack()

    def close(self) -> None:
        """Stop searching."""
        self._stack.close()

    def views(self, requests: pl.DataFrame) -> pl.DataFrame:
        """Return the views of a frame of the schema `requests`, those of a request beside each other.

        Of labelled requests the labels of a history are those of its column `liked`, if it has one, else of `outcomes`.
        """
        told = requests.select(
            view_id="request_id",
            request_id="request_id",
            user_id="user_id",
            history=self._history(requests),
            liked=self._liked(requests),
            candidates=self._candidates(requests),
            relevant=self._relevant(requests),
            examples=self.examples.find(requests) if self.options.shots else _empty_lists("examples", requests.height),
            interest=self._interest(requests),
            notes=self._notes(requests),
            sample=pl.lit(0),
        )
        rows = self._rated(told).select(list(VIEWS)).cast(VIEWS)
        if not self.options.several:
            return rows
        return pl.DataFrame(list(self._shown(rows)), schema=VIEWS)

    def _candidates(self, requests: pl.DataFrame) -> pl.Series:
        if self.explained is None:
            return requests["candidates"]
        found = (self.explained.get(name) for name in requests["request_id"])
        return pl.Series([[] if item_id is None else [item_id] for item_id in found], dtype=pl.List(pl.String))

    def _interest(self, requests: pl.DataFrame) -> pl.Series:
        if not self.interest:
            return pl.repeat("", requests.height, dtype=pl.String, eager=True)
        return pl.Series([self.interest.get(name, "") for name in requests["request_id"]], dtype=pl.String)

    def _notes(self, requests: pl.DataFrame) -> pl.Series:
        if not self.notes:
            return _empty_lists("notes", requests.height)
        found = (self.notes.get(name, {}) for name in requests["request_id"])
        rows = [[{"item_id": item_id, "text": text} for item_id, text in notes.items()] for notes in found]
        return pl.Series(rows, dtype=VIEWS["notes"])

    def _history(self, requests: pl.DataFrame) -> pl.Series:
        own = requests["history"].list.tail(self.history)
        match self.options.past:
            case "none":
                return pl.Series([[] for _ in own], dtype=own.dtype)
            case "shuffled":
                pairs = zip(requests["request_id"], own, strict=True)
                return pl.Series([self._shuffled("past", name, list(items)) for name, items in pairs], dtype=own.dtype)
            case "other":
                rows = requests.select("request_id", "candidates").iter_rows()
                told = [without(self._donors[name], candidates)[-self.history :] for name, candidates in rows]
                return pl.Series(told if self.history else [[] for _ in own], dtype=own.dtype)
        return own

    def _liked(self, requests: pl.DataFrame) -> pl.Series:
        """Return which items of each history shown were liked; nothing where requests rank."""
        if not self.data.labelled or self.options.past in ("none", "other"):
            return _empty_lists("liked", requests.height)
        if "liked" not in requests.columns:
            requests = requests.join(self._outcomes, on="request_id", how="left", maintain_order="left")
        own = requests["liked"].list.tail(self.history)
        if self.options.past == "own":
            return own
        pairs = zip(requests["request_id"], own, strict=True)
        return pl.Series([self._shuffled("past", name, list(labels)) for name, labels in pairs], dtype=own.dtype)

    @cached_property
    def _outcomes(self) -> pl.DataFrame:
        return self.data.artifact.table("outcomes")

    @cached_property
    def _donors(self) -> Mapping[str, Sequence[str]]:
        """Request id to the history of another user: the next one in a seeded order of all users."""
        table = self.data.artifact.table("requests").select("request_id", "user_id", "history")
        rows = sorted(table.iter_rows(), key=lambda row: hash64(f"donor\0{self.seed}\0{row[1]}"))
        if len({row[1] for row in rows}) < 2:
            raise OptionError("past=other needs two users", hint="Prepare more users, or leave it out.")
        histories = {}
        for place, (request_id, user_id, _) in enumerate(rows):
            others = (rows[(place + step) % len(rows)] for step in range(1, len(rows)))
            histories[request_id] = next(row[2] for row in others if row[1] != user_id)
        return histories

    def _relevant(self, requests: pl.DataFrame) -> pl.Series:
        if not self.options.relevant:
            return _empty_lists("relevant", requests.height)
        texts = self._interest(requests) if self.options.query == "interest" else None
        return self._retriever.search(
            requests, query=self.options.query, recent=self.history, count=self.options.relevant, texts=texts
        )

    @cached_property
    def _retriever(self) -> "SearchProcess":
        from llmrs_bench.stages.retrieval import SearchProcess

        return self._stack.enter_context(SearchProcess(self.options, self.data.artifact.table("items")))

    @cached_property
    def _events(self) -> pl.DataFrame:
        return self.data.artifact.table("interactions")

    def _rated(self, views: pl.DataFrame) -> pl.DataFrame:
        if not self.rated:
            nothing = pl.col("history").list.eval(pl.lit(None, pl.Float32()))
            return views.with_columns(ratings=nothing)
        rows = views.select("view_id", "user_id", item_id="history").explode("item_id", empty_as_null=True).drop_nulls()
        known = rows.join(self._ratings, on=["user_id", "item_id"], how="left", maintain_order="left")
        lists = known.group_by("view_id", maintain_order=True).agg(ratings="rating")
        joined = views.join(lists, on="view_id", how="left", maintain_order="left")
        return joined.with_columns(pl.col("ratings").fill_null([]))

    @cached_property
    def _ratings(self) -> pl.DataFrame:
        columns = ["user_id", "item_id", "rating"]
        events = self.data.artifact.table("ratings") if self.data.labelled else self._events
        if not events["rating"].count():
            raise OptionError(
                f"{self.data.place.reference} has no ratings to show",
                hint=f"Use -T interest={'likes' if self.data.labelled else 'recent'}, or other data.",
            )
        return events.select(columns).unique(columns[:2], keep="last", maintain_order=True)

    def _shown(self, rows: pl.DataFrame) -> Iterator[dict[str, object]]:
        targets = self._targets if self.options.slots else {}
        for row in rows.iter_rows(named=True):
            orders = (
                self._slotted(row["candidates"], targets.get(row["request_id"]))
                if self.options.slots
                else self._orders(row["request_id"], row["candidates"])
            )
            for number, (order, sample) in enumerate(product(orders, range(self.options.samples))):
                yield {**row, "view_id": f"{row['request_id']}~{number}", "candidates": order, "sample": sample}

    def _orders(self, request_id: str, candidates: Sequence[str]) -> list[list[str]]:
        """Return distinct orders, that of the data set first."""
        found = {tuple(candidates): None}
        wanted = min(self.options.orders, factorial(min(len(candidates), 10)))
        if wanted == factorial(len(candidates)):
            return [list(order) for order in permutations(candidates)]
        number = 0
        while len(found) < wanted:
            found[tuple(self._shuffled(f"order{number}", request_id, list(candidates)))] = None
            number += 1
        return [list(order) for order in found]

    def _slotted(self, candidates: Sequence[str], target: str | None) -> list[list[str]]:
        """Return an order for each slot, with the target in it; all others keep their order."""
        if target is None or target not in candidates:
            return [list(candidates) for _ in self.options.slots]
        if (last := max(self.options.slots)) >= len(candidates):
            raise OptionError(
                f"there is no slot {last}: a list has {len(candidates)} candidates",
                hint=f"Slots are counted from 0 to {len(candidates) - 1}.",
            )
        others = [item_id for item_id in candidates if item_id != target]
        return [[*others[:slot], target, *others[slot:]] for slot in self.options.slots]

    @cached_property
    def _targets(self) -> Mapping[str, str]:
        truth = self.data.artifact.table("truth").filter(pl.col("label") > 0)
        return dict(
            truth.group_by("request_id", maintain_order=True).first().select("request_id", "item_id").iter_rows()
        )

    def _shuffled(self, what: str, request_id: str, items: list[T]) -> list[T]:
        order = generator(what, self.seed, request_id).permutation(len(items))
        return [items[place] for place in order]


def _empty_lists(column: str, height: int) -> pl.Series:
    return pl.repeat([], height, dtype=VIEWS[column], eager=True)

"""Items like those of a history, searched in a process of its own."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from types import TracebackType
from typing import Any, Self

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix

from llmrs_bench.core.errors import ArtifactError, OptionError
from llmrs_bench.core.hashing import uniform_hash
from llmrs_bench.core.registry import RECOMMENDERS
from llmrs_bench.core.types import no_progress
from llmrs_bench.core.view_options import ViewOptions
from llmrs_bench.recommenders.base import TEXT, Corpus, TrainContext
from llmrs_bench.recommenders.sequences import Vocabulary

_BLOCK = 512  # users whose similarities are held at a time
_ALL = 10**6  # more items than any query has


class Retriever:
    """Finds items by their texts: scores of the recommenders `bm25` and `embedding`, asked about the query's items.

    Args:
        options: How items are found.
        items: Frame of the schema `items`.

    Raises:
        ModelError: If no item has a text, or the embedding model cannot be had.
    """

    def __init__(self, options: ViewOptions, items: pl.DataFrame) -> None:
        kind = RECOMMENDERS.load(options.retriever)
        typed = {"max_history": str(_ALL)}
        if options.retriever_model is not None:
            typed["model"] = options.retriever_model
        self._recommender = kind(kind.Options.parse(typed, owner=options.retriever), seed=0, device="auto")
        events = pl.DataFrame(schema={"user_id": pl.String, "item_id": pl.String})
        self._recommender.fit(Corpus(events, items), TrainContext(no_progress))
        self._ids = items["item_id"].sort()
        self._places = {item_id: place for place, item_id in enumerate(self._ids)}

    def search(
        self, requests: pl.DataFrame, *, query: str, recent: int, count: int, texts: pl.Series | None = None
    ) -> pl.Series:
        """Return for each request the `count` items of its history that score best for the query, oldest first.

        The latest `recent` items are not searched, for the prompt shows them anyway, nor is any candidate, for it would
        stand out among the others. A score is that of an item for
        all items of the query together, so their order means nothing. Equal scores: the later item is found first.
        What stands in a history several times is found once, where it stands last.

        Args:
            requests: Frame of the schema `requests`.
            query: As `ViewOptions` has it; the text of `interest` comes in `texts`.
            recent: How many of the latest items the prompt shows.
            count: How many are found at most.
            texts: What is searched for besides, one text for each request.
        """
        asked = requests["candidates"] if query == "candidates" else requests["history"].list.tail(recent)
        wanted = {"history": asked.list.sort(), **({} if texts is None else {TEXT: texts})}
        found: list[list[str]] = []
        histories, candidates = requests["history"].to_list(), requests["candidates"].to_list()
        for block in self._recommender.score(pl.DataFrame(wanted), self._ids):
            for row, scores in zip(block.rows, block.scores, strict=True):
                found.append(self._best(histories[row], set(candidates[row]), recent, count, scores))
        return pl.Series(found, dtype=requests.schema["history"])

    def _best(
        self, history: Sequence[str], hidden: set[str], recent: int, count: int, scores: Sequence[float]
    ) -> list[str]:
        told = hidden | set(history[max(0, len(history) - recent) :])
        earlier = history[: max(0, len(history) - recent)]
        last = {item_id: place for place, item_id in enumerate(earlier) if item_id not in told}
        best = sorted(last, key=lambda item_id: (-scores[self._places[item_id]], -last[item_id]))[:count]
        return sorted(best, key=last.__getitem__)


def similar_users(requests: pl.DataFrame, events: pl.DataFrame, count: int, seed: int) -> dict[str, list[str]]:
    """Return for each request id the `count` other users whose items are most like those of its history.

    Likeness is the cosine of the sets of items, each weighed by log(1 + users / its users). Equal likeness is decided
    by a seeded hash. Users without a common item are never found.

    Args:
        requests: Frame of the schema `requests`.
        events: Rows (user_id, item_id) that count: those of the training part.
        count: How many are found at most.
        seed: Of the hash.
    """
    pairs = events.select("user_id", "item_id").unique(maintain_order=True)
    items, users = Vocabulary(tuple(pairs["item_id"].unique().sort())), pairs["user_id"].unique().sort()
    places = {user: place for place, user in enumerate(users)}
    columns = items.encode(pairs["item_id"])
    rows = np.array([places[user] for user in pairs["user_id"]])
    worth = np.log1p(len(users) / np.maximum(np.bincount(columns, minlength=len(items) + 1), 1))
    known = _unit(csr_matrix((worth[columns], (rows, columns)), shape=(len(users), len(items) + 1)))
    found: dict[str, list[str]] = {}
    for part in requests.iter_slices(_BLOCK):
        lengths = part["history"].list.len().to_numpy()
        chosen = items.encode(part["history"].explode(empty_as_null=False))
        owners = np.repeat(np.arange(part.height), lengths)
        told = csr_matrix((worth[chosen] * (chosen > 0), (owners, chosen)), shape=(part.height, len(items) + 1))
        likeness = np.asarray((_unit(told) @ known.T).todense())
        lot_numbers = uniform_hash(seed, part["request_id"], across=users)
        for row, (name, user) in enumerate(part.select("request_id", "user_id").iter_rows()):
            if user in places:
                likeness[row, places[user]] = 0.0
            order = np.lexsort((lot_numbers[row], -likeness[row]))[:count]
            found[name] = [users[int(place)] for place in order if likeness[row, place] > 0]
    return found


def _unit(rows: csr_matrix) -> csr_matrix:
    lengths = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    scale = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return csr_matrix(rows.multiply(scale[:, None]))


def open_retriever(options: ViewOptions, items: pl.DataFrame) -> Retriever:
    """Return the retriever that the options name.

    Raises:
        OptionError: If a model is named that it does not read.
    """
    if options.retriever_model is not None and options.retriever != "embedding":
        raise OptionError(
            f"retriever_model applies only to retriever=embedding, not to {options.retriever}",
            hint="Add -T retriever=embedding.",
        )
    return Retriever(options, items)


_opened: list[Retriever] = []  # in the process of its own alone


class SearchProcess:
    """Does what `Retriever` does.

    Args:
        options: How items are found.
        items: Frame of the schema `items`.

    Raises:
        OptionError: As `open_retriever` does.
        ModelError: As `Retriever` does.
    """

    def __init__(self, options: ViewOptions, items: pl.DataFrame) -> None:
        self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        try:
            self._call(_open, options, items)
        except BaseException:
            self.close()
            raise

    def search(
        self, requests: pl.DataFrame, *, query: str, recent: int, count: int, texts: pl.Series | None = None
    ) -> pl.Series:
        """Return what `Retriever.search` does.

        Raises:
            ArtifactError: If the process was killed.
        """
        found: pl.Series = self._call(_search, requests, query, recent, count, texts)
        return found

    def close(self) -> None:
        """Stop the process."""
        self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, function: Any, *args: Any) -> Any:
        try:
            return self._pool.submit(function, *args).result()
        except BrokenProcessPool as error:
            raise ArtifactError(
                "the process that searches histories was killed",
                hint="Most often memory ran out: see the system's log.",
            ) from error


def _open(options: ViewOptions, items: pl.DataFrame) -> None:
    _opened[:] = [open_retriever(options, items)]


def _search(requests: pl.DataFrame, query: str, recent: int, count: int, texts: pl.Series | None) -> pl.Series:
    return _opened[0].search(requests, query=query, recent=recent, count=count, texts=texts)
